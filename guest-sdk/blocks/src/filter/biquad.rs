//! Second-order sections, and their designs.

use crate::series::{cos_pi, sin_pi};

/// The coefficients of one second-order section:
///
/// ```text
/// y[n] = b0 x[n] + b1 x[n-1] + b2 x[n-2] - a1 y[n-1] - a2 y[n-2]
/// ```
///
/// The designs are those of R. Bristow-Johnson's Audio EQ Cookbook (W3C Note, 2021), with ω = 2πf/rate and
/// α = sin ω / 2Q, divided by a0 = 1 + α. They are computed and kept in f64: a pole of a low cutoff lies so near
/// to 1 that single precision would move it, or put it outside of the unit circle. b is scaled by the rounded a, so
/// that the gain of a low pass at 0 Hz, and of a high pass at half the rate, is 1.
///
/// Each design panics, which in a constant is a compile error, unless `0 < f < rate/2`, `0 < Q`, and the filter can
/// be computed: rounding errors of a [`Cascade`](super::Cascade) are amplified by
///
/// ```text
/// (1 + α) max(1, Q) / min(sin² ω/2, cos² ω/2)
/// ```
///
/// which must not exceed [`MOST_AMPLIFICATION`](Biquad::MOST_AMPLIFICATION). For Butterworth filters up to order 8
/// that leaves cutoffs from 10⁻⁶ of the rate to 10⁻⁶ of it below half the rate; with Q = 50, from 5·10⁻⁶. For a
/// lower one, lower the rate first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Biquad {
    /// Of the inputs, the newest first.
    pub b: [f64; 3],
    /// Of the outputs: a1 and a2.
    pub a: [f64; 2],
}

/// What the designs are made from.
struct Angle {
    cos: f64,
    alpha: f64,
}

impl Angle {
    const fn new(rate_hz: f64, frequency_hz: f64, q: f64) -> Angle {
        assert!(0.0 < frequency_hz && frequency_hz < rate_hz / 2.0, "0 < frequency < rate/2");
        assert!(0.0 < q, "the quality is above 0");
        let half_turns = frequency_hz / rate_hz;
        let (sin, cos) = (sin_pi(half_turns), cos_pi(half_turns));
        let (sin_squared, cos_squared) = (sin * sin, cos * cos);
        let alpha = sin * cos / q;
        let least = if sin_squared < cos_squared { sin_squared } else { cos_squared };
        let amplification = (1.0 + alpha) * if q > 1.0 { q } else { 1.0 } / least;
        assert!(
            amplification <= Biquad::MOST_AMPLIFICATION,
            "the frequency is too close to 0 or to rate/2 for this quality: filter at a lower or a higher rate"
        );
        Angle { cos: cos_squared - sin_squared, alpha }
    }

    /// a1 and a2.
    const fn poles(&self) -> [f64; 2] {
        let a0 = 1.0 + self.alpha;
        [-2.0 * self.cos / a0, (1.0 - self.alpha) / a0]
    }
}

impl Biquad {
    /// The section that gives what it takes.
    pub const IDENTITY: Biquad = Biquad { b: [1.0, 0.0, 0.0], a: [0.0; 2] };

    /// The most by which a design may amplify rounding errors, which are 2⁻⁵³ of a number.
    pub const MOST_AMPLIFICATION: f64 = 3e11;

    /// Low pass: 1 at 0 Hz, Q at `cutoff_hz`. With Q = √½ it is Butterworth's of second order.
    pub const fn low_pass(rate_hz: f64, cutoff_hz: f64, q: f64) -> Biquad {
        let [a1, a2] = Angle::new(rate_hz, cutoff_hz, q).poles();
        // (1 - cos ω) / 2 a0. In this order both sums are exact where the cutoff is low.
        let quarter = ((a1 + 1.0) + a2) / 4.0;
        Biquad { b: [quarter, 2.0 * quarter, quarter], a: [a1, a2] }
    }

    /// High pass: 1 at half the rate, Q at `cutoff_hz`.
    pub const fn high_pass(rate_hz: f64, cutoff_hz: f64, q: f64) -> Biquad {
        let [a1, a2] = Angle::new(rate_hz, cutoff_hz, q).poles();
        // (1 + cos ω) / 2 a0.
        let quarter = ((1.0 - a1) + a2) / 4.0;
        Biquad { b: [quarter, -2.0 * quarter, quarter], a: [a1, a2] }
    }

    /// Band pass: 1 at `centre_hz`, √½ at the ends of a band that is about `centre_hz / q` wide.
    pub const fn band_pass(rate_hz: f64, centre_hz: f64, q: f64) -> Biquad {
        let angle = Angle::new(rate_hz, centre_hz, q);
        let gain = angle.alpha / (1.0 + angle.alpha);
        Biquad { b: [gain, 0.0, -gain], a: angle.poles() }
    }

    /// Notch: 0 at `centre_hz`, 1 far away; the width as in [`Biquad::band_pass`].
    pub const fn notch(rate_hz: f64, centre_hz: f64, q: f64) -> Biquad {
        let angle = Angle::new(rate_hz, centre_hz, q);
        let (a0, [a1, a2]) = (1.0 + angle.alpha, angle.poles());
        Biquad { b: [1.0 / a0, a1, 1.0 / a0], a: [a1, a2] }
    }

    /// A Butterworth low pass of order 2·`SECTIONS`: flat, and √½ at `cutoff_hz`. As scipy's `butter(2 *
    /// SECTIONS, cutoff_hz, fs=rate_hz, output="sos")`, but for the order of the sections and their gains:
    /// here section k has Q = 1 / 2 cos((2k + 1)π / 4 SECTIONS) and gain 1.
    pub const fn butterworth_low_pass<const SECTIONS: usize>(
        rate_hz: f64,
        cutoff_hz: f64,
    ) -> [Biquad; SECTIONS] {
        let mut sections = [Biquad::IDENTITY; SECTIONS];
        let mut k = 0;
        while k < SECTIONS {
            sections[k] = Biquad::low_pass(rate_hz, cutoff_hz, butterworth_q(k, SECTIONS));
            k += 1;
        }
        sections
    }

    /// A Butterworth high pass of order 2·`SECTIONS`; see [`Biquad::butterworth_low_pass`].
    pub const fn butterworth_high_pass<const SECTIONS: usize>(
        rate_hz: f64,
        cutoff_hz: f64,
    ) -> [Biquad; SECTIONS] {
        let mut sections = [Biquad::IDENTITY; SECTIONS];
        let mut k = 0;
        while k < SECTIONS {
            sections[k] = Biquad::high_pass(rate_hz, cutoff_hz, butterworth_q(k, SECTIONS));
            k += 1;
        }
        sections
    }
}

/// The quality of pole pair k of a Butterworth filter.
const fn butterworth_q(k: usize, sections: usize) -> f64 {
    0.5 / cos_pi((2 * k + 1) as f64 / (4 * sections) as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// |H| of sections at a frequency, from their coefficients.
    fn gain(sections: &[Biquad], turns: f64) -> f64 {
        let polynomial = |c: [f64; 3]| {
            let re = c[0] + c[1] * cos_pi(turns) + c[2] * cos_pi(2.0 * turns);
            let im = c[1] * sin_pi(turns) + c[2] * sin_pi(2.0 * turns);
            (re * re + im * im).sqrt()
        };
        let section = |s: &Biquad| polynomial(s.b) / polynomial([1.0, s.a[0], s.a[1]]);
        sections.iter().map(section).product()
    }

    #[test]
    fn designs_have_the_gains_that_they_say() {
        let at = |biquad: Biquad, hz: f64| gain(&[biquad], 2.0 * hz / 1000.0);
        let q = 2.5;
        let (low, high) = (Biquad::low_pass(1000.0, 120.0, q), Biquad::high_pass(1000.0, 120.0, q));
        let (band, notch) = (Biquad::band_pass(1000.0, 120.0, q), Biquad::notch(1000.0, 120.0, q));
        let found =
            [at(low, 0.0), at(low, 120.0), at(high, 500.0), at(high, 120.0), at(band, 120.0), at(notch, 0.0)];
        for (found, wanted) in found.into_iter().zip([1.0, q, 1.0, q, 1.0, 1.0]) {
            assert!((found - wanted).abs() < 1e-5, "{found} is not {wanted}");
        }
        assert!(at(low, 500.0) < 1e-6 && at(high, 0.0) < 1e-6 && at(notch, 120.0) < 1e-5);
    }

    #[test]
    fn butterworth_is_flat_and_half_the_power_at_the_cutoff() {
        let sections: [Biquad; 3] = Biquad::butterworth_low_pass(1000.0, 100.0);
        assert!((gain(&sections, 0.2) - 0.5f64.sqrt()).abs() < 1e-5);
        assert!((gain(&sections, 0.05) - 1.0).abs() < 1e-5);
    }

    #[test]
    fn a_low_cutoff_keeps_its_gain() {
        for share in [1e-6, 1e-5, 1e-4, 1e-3, 0.1, 0.49, 0.4999, 0.499_999] {
            let low: [Biquad; 2] = Biquad::butterworth_low_pass(1.0, share);
            let high: [Biquad; 2] = Biquad::butterworth_high_pass(1.0, share);
            let found = [
                gain_at_zero(&low, 1.0),
                gain_at_zero(&high, -1.0),
                gain(&low, 2.0 * share) / 0.5f64.sqrt(),
                gain(&high, 2.0 * share) / 0.5f64.sqrt(),
            ];
            assert!(found.iter().all(|gain| (gain - 1.0).abs() < 2e-5), "{share}: {found:?}");
        }
    }

    /// The gain at 0 Hz, or with z = -1 at half the rate, in the order in which sums are exact.
    fn gain_at_zero(sections: &[Biquad], z: f64) -> f64 {
        let of = |s: &Biquad| (s.b[0] + z * s.b[1] + s.b[2]) / ((1.0 + z * s.a[0]) + s.a[1]);
        sections.iter().map(of).product()
    }

    #[test]
    fn refuses_what_cannot_be_computed() {
        let design =
            |share: f64, q: f64| std::panic::catch_unwind(|| Biquad::low_pass(1.0, share, q)).is_ok();
        assert!(design(1e-6, 2.563) && !design(5e-7, 0.5f64.sqrt()));
        assert!(design(0.499_999, 2.563) && !design(0.499_999_5, 0.5f64.sqrt()));
        assert!(design(5e-6, 50.0) && !design(4e-6, 50.0));
        assert!(!design(0.1, 1e-15));
    }

    proptest! {
        /// Both poles lie within the unit circle: |a2| < 1 and |a1| < 1 + a2 (Jury's criterion).
        #[test]
        fn every_design_is_stable(exponent in -5.1f64..-0.31, q in 0.05f64..50.0) {
            let share = libm::pow(10.0, exponent);
            for design in [Biquad::low_pass, Biquad::high_pass, Biquad::band_pass, Biquad::notch] {
                let [a1, a2] = design(1.0, share, q).a;
                prop_assert!(a2.abs() < 1.0 && a1.abs() < 1.0 + a2, "a1 {a1}, a2 {a2}");
            }
        }
    }
}
