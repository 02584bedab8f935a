//! Second-order sections, and their designs.

use crate::series::{cos_pi, sin_pi};

/// The coefficients of one second-order section:
///
/// ```text
/// y[n] = b0 x[n] + b1 x[n-1] + b2 x[n-2] - a1 y[n-1] - a2 y[n-2]
/// ```
///
/// The designs are those of R. Bristow-Johnson's Audio EQ Cookbook (W3C Note, 2021), with ω = 2πf/rate and
/// α = sin ω / 2Q, divided by a0 = 1 + α. They are computed in f64 and rounded once. Each design panics
/// unless `0 < f < rate/2` and `0 < Q`: in a constant, a compile error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Biquad {
    /// Of the inputs, the newest first.
    pub b: [f32; 3],
    /// Of the outputs: a1 and a2.
    pub a: [f32; 2],
}

/// cos ω and α.
const fn cos_and_alpha(rate_hz: f64, frequency_hz: f64, q: f64) -> [f64; 2] {
    assert!(0.0 < frequency_hz && frequency_hz < rate_hz / 2.0, "0 < frequency < rate/2");
    assert!(0.0 < q, "the quality is above 0");
    let turns = 2.0 * frequency_hz / rate_hz;
    [cos_pi(turns), sin_pi(turns) / (2.0 * q)]
}

impl Biquad {
    /// The section that gives what it takes.
    pub const IDENTITY: Biquad = Biquad { b: [1.0, 0.0, 0.0], a: [0.0; 2] };

    const fn normalised(b: [f64; 3], [cos, alpha]: [f64; 2]) -> Biquad {
        let a0 = 1.0 + alpha;
        Biquad {
            b: [(b[0] / a0) as f32, (b[1] / a0) as f32, (b[2] / a0) as f32],
            a: [(-2.0 * cos / a0) as f32, ((1.0 - alpha) / a0) as f32],
        }
    }

    /// Low pass: 1 at 0 Hz, Q at `cutoff_hz`. With Q = √½ it is Butterworth's of second order.
    pub const fn low_pass(rate_hz: f64, cutoff_hz: f64, q: f64) -> Biquad {
        let [cos, alpha] = cos_and_alpha(rate_hz, cutoff_hz, q);
        Biquad::normalised([(1.0 - cos) / 2.0, 1.0 - cos, (1.0 - cos) / 2.0], [cos, alpha])
    }

    /// High pass: 1 at half the rate, Q at `cutoff_hz`.
    pub const fn high_pass(rate_hz: f64, cutoff_hz: f64, q: f64) -> Biquad {
        let [cos, alpha] = cos_and_alpha(rate_hz, cutoff_hz, q);
        Biquad::normalised([(1.0 + cos) / 2.0, -(1.0 + cos), (1.0 + cos) / 2.0], [cos, alpha])
    }

    /// Band pass: 1 at `centre_hz`, √½ at the ends of a band that is about `centre_hz / q` wide.
    pub const fn band_pass(rate_hz: f64, centre_hz: f64, q: f64) -> Biquad {
        let [cos, alpha] = cos_and_alpha(rate_hz, centre_hz, q);
        Biquad::normalised([alpha, 0.0, -alpha], [cos, alpha])
    }

    /// Notch: 0 at `centre_hz`, 1 far away; the width as in [`Biquad::band_pass`].
    pub const fn notch(rate_hz: f64, centre_hz: f64, q: f64) -> Biquad {
        let [cos, alpha] = cos_and_alpha(rate_hz, centre_hz, q);
        Biquad::normalised([1.0, -2.0 * cos, 1.0], [cos, alpha])
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
        let section =
            |s: &Biquad| polynomial(s.b.map(f64::from)) / polynomial([1.0, s.a[0].into(), s.a[1].into()]);
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

    proptest! {
        /// Both poles lie within the unit circle: |a2| < 1 and |a1| < 1 + a2 (Jury's criterion).
        #[test]
        fn every_design_is_stable(share in 1e-3f64..0.499, q in 0.05f64..50.0) {
            for design in [Biquad::low_pass, Biquad::high_pass, Biquad::band_pass, Biquad::notch] {
                let [a1, a2] = design(1.0, share, q).a;
                prop_assert!(a2.abs() < 1.0 && a1.abs() < 1.0 + a2, "a1 {a1}, a2 {a2}");
            }
        }
    }
}
