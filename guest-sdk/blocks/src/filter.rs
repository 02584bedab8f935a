//! Filters of a stream: biquads and cascades of them, and FIR.
//!
//! Filters are arithmetic: a NaN or an infinity that enters a [`Cascade`] stays until
//! [`reset`](Cascade::reset), and one that enters a [`Fir`] for as many samples as it has taps. A model
//! that may see them refuses them first.

use core::ops::{Add, Mul, Sub};

use crate::lanes::{self, F32x4};
use crate::series::{cos_pi, sin_pi};
use crate::window::{Symmetry, hamming};

/// What a filter can filter: one channel (`f32`), or four side by side ([`F32x4`]).
pub trait Sample: Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> {
    /// Silence.
    const ZERO: Self;

    /// The number in every channel.
    fn splat(number: f32) -> Self;

    /// Whether the magnitude of a channel is below [`SILENT`].
    fn is_silent(self) -> bool;

    /// The state of a section that gave `self`, with 0 in the channels where all of it is below [`SILENT`].
    fn settled(self, state: [Self; 2]) -> [Self; 2];
}

/// What a filter at rest may take for nothing: about 600 dB below 1, and far above the subnormal numbers,
/// with which most processors reckon tens of times more slowly.
pub const SILENT: f32 = 1e-30;

impl Sample for f32 {
    const ZERO: f32 = 0.0;

    #[inline(always)]
    fn splat(number: f32) -> f32 {
        number
    }

    #[inline(always)]
    fn is_silent(self) -> bool {
        self.abs() < SILENT
    }

    #[inline(always)]
    fn settled(self, state: [f32; 2]) -> [f32; 2] {
        let [a, b] = state;
        if self.is_silent() && a.is_silent() && b.is_silent() { [0.0; 2] } else { state }
    }
}

impl Sample for F32x4 {
    const ZERO: F32x4 = F32x4::ZERO;

    #[inline(always)]
    fn splat(number: f32) -> F32x4 {
        F32x4::splat(number)
    }

    #[inline(always)]
    fn is_silent(self) -> bool {
        self.any_below(SILENT)
    }

    #[inline(always)]
    fn settled(self, [a, b]: [F32x4; 2]) -> [F32x4; 2] {
        // In this order, as a NaN in `a` stays and one in the others would be passed over.
        let greatest = a.abs().greatest(b.abs()).greatest(self.abs());
        [a.zero_where_below(greatest, SILENT), b.zero_where_below(greatest, SILENT)]
    }
}

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

/// Sections one after the other, in transposed direct form II, as scipy's `sosfilt`.
///
/// ```text
/// y = b0 x + s1,   s1' = b1 x - a1 y + s2,   s2' = b2 x - a2 y
/// ```
///
/// `S` is `f32` for one channel, [`F32x4`] for four, which cost as much as one. In silence the state fades
/// and is taken for 0 below [`SILENT`]: it would otherwise stay among the subnormal numbers for ever, at a
/// fiftieth of the speed.
///
/// ```
/// use dunlin_blocks::filter::{Biquad, Cascade};
///
/// // Mains hum out, then a Butterworth low pass of order 4 at 100 Hz, of samples at 1 kHz.
/// const SECTIONS: [Biquad; 3] = {
///     let [first, second] = Biquad::butterworth_low_pass(1000.0, 100.0);
///     [Biquad::notch(1000.0, 50.0, 10.0), first, second]
/// };
/// let mut filter = Cascade::<3>::new(SECTIONS);
/// let last = (0..500).map(|_| filter.step(1.0)).last();
/// assert!((last.unwrap() - 1.0).abs() < 1e-3, "what does not change passes");
/// ```
#[derive(Clone, Debug)]
pub struct Cascade<const SECTIONS: usize, S = f32> {
    sections: [Biquad; SECTIONS],
    state: [[S; 2]; SECTIONS],
}

impl<const SECTIONS: usize, S: Sample> Cascade<SECTIONS, S> {
    /// The cascade at rest.
    pub const fn new(sections: [Biquad; SECTIONS]) -> Self {
        Cascade { sections, state: [[S::ZERO; 2]; SECTIONS] }
    }

    /// Takes the next sample and gives the filtered one.
    #[inline]
    pub fn step(&mut self, sample: S) -> S {
        self.sections.iter().zip(&mut self.state).fold(sample, |x, (section, state)| {
            let [b0, b1, b2] = section.b.map(S::splat);
            let [a1, a2] = section.a.map(S::splat);
            let y = b0 * x + state[0];
            state[0] = b1 * x - a1 * y + state[1];
            state[1] = b2 * x - a2 * y;
            if y.is_silent() {
                *state = y.settled(*state);
            }
            y
        })
    }

    /// Filters the next samples in place.
    #[inline]
    pub fn run(&mut self, samples: &mut [S]) {
        for sample in samples {
            *sample = self.step(*sample);
        }
    }

    /// Back to rest.
    pub fn reset(&mut self) {
        self.state = [[S::ZERO; 2]; SECTIONS];
    }
}

/// A filter with a finite impulse response: `y[n] = sum over k of taps[k] x[n-k]`, as scipy's
/// `lfilter(taps, 1, x)`.
///
/// ```
/// use dunlin_blocks::filter::Fir;
///
/// let mut mean_of_two = Fir::new([0.5, 0.5]);
/// assert_eq!([2.0, 4.0, 8.0].map(|x| mean_of_two.step(x)), [1.0, 3.0, 6.0]);
/// ```
#[derive(Clone, Debug)]
pub struct Fir<const TAPS: usize> {
    /// Last tap first, as the oldest sample comes first.
    reversed: [f32; TAPS],
    /// The last samples, twice in a row, so that the last `TAPS` always lie side by side.
    history: [[f32; TAPS]; 2],
    next: usize,
}

impl<const TAPS: usize> Fir<TAPS> {
    /// The filter at rest.
    pub const fn new(taps: [f32; TAPS]) -> Self {
        const { assert!(TAPS > 0, "a filter has a tap") };
        let mut reversed = taps;
        let mut k = 0;
        while k < TAPS {
            reversed[TAPS - 1 - k] = taps[k];
            k += 1;
        }
        Fir { reversed, history: [[0.0; TAPS]; 2], next: 0 }
    }

    /// A low pass by Hamming's window, 1 at 0 Hz and ½ at `cutoff_hz`: scipy's
    /// `firwin(TAPS, cutoff_hz, fs=rate_hz)`.
    ///
    /// # Panics
    /// `0 < cutoff < rate/2` does not hold: in a constant, a compile error.
    pub const fn low_pass(rate_hz: f64, cutoff_hz: f64) -> Self {
        assert!(0.0 < cutoff_hz && cutoff_hz < rate_hz / 2.0, "0 < cutoff < rate/2");
        let share = 2.0 * cutoff_hz / rate_hz;
        let weights: [f32; TAPS] = hamming(Symmetry::Symmetric);
        let (mut exact, mut sum) = ([0.0; TAPS], 0.0);
        let mut n = 0;
        while n < TAPS {
            let x = n as f64 - (TAPS - 1) as f64 / 2.0;
            let sinc = if x == 0.0 { share } else { sin_pi(share * x) / (core::f64::consts::PI * x) };
            exact[n] = sinc * weights[n] as f64;
            sum += exact[n];
            n += 1;
        }
        let mut taps = [0.0; TAPS];
        let mut n = 0;
        while n < TAPS {
            taps[n] = (exact[n] / sum) as f32;
            n += 1;
        }
        Fir::new(taps)
    }

    /// Takes the next sample and gives the filtered one.
    #[inline]
    pub fn step(&mut self, sample: f32) -> f32 {
        let [first, second] = &mut self.history;
        for half in [first, second] {
            if let Some(place) = half.get_mut(self.next) {
                *place = sample;
            }
        }
        self.next = if self.next + 1 < TAPS { self.next + 1 } else { 0 };
        let last = self.history.as_flattened().get(self.next..).unwrap_or(&[]);
        lanes::dot(&self.reversed, last)
    }

    /// Filters the next samples in place.
    #[inline]
    pub fn run(&mut self, samples: &mut [f32]) {
        for sample in samples {
            *sample = self.step(*sample);
        }
    }

    /// Back to rest.
    pub const fn reset(&mut self) {
        (self.history, self.next) = ([[0.0; TAPS]; 2], 0);
    }
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

    #[test]
    fn four_channels_give_what_each_gives_alone() {
        let sections = Biquad::butterworth_high_pass::<2>(100.0, 5.0);
        let mut together = Cascade::<2, F32x4>::new(sections);
        let mut alone = [0, 1, 2, 3].map(|_| Cascade::<2>::new(sections));
        for n in 0..100u8 {
            let samples = core::array::from_fn(|channel| libm::sinf(f32::from(n) * (channel + 1) as f32));
            let found = together.step(F32x4::from_array(samples)).to_array();
            assert_eq!(found, core::array::from_fn(|channel| alone[channel].step(samples[channel])));
        }
    }

    #[test]
    fn a_fir_gives_its_taps_for_an_impulse_and_forgets() {
        let taps: [f32; 37] = core::array::from_fn(|k| k as f32 + 1.0);
        let mut fir = Fir::new(taps);
        for _ in 0..2 {
            let response: [f32; 40] = core::array::from_fn(|n| fir.step(if n == 0 { 1.0 } else { 0.0 }));
            assert_eq!((&response[..37], &response[37..]), (&taps[..], &[0.0; 3][..]));
        }
        fir.step(f32::NAN);
        fir.reset();
        assert_eq!(fir.step(1.0), 1.0);
    }

    #[test]
    fn in_silence_a_cascade_comes_to_rest() {
        let sections = Biquad::butterworth_low_pass::<2>(1000.0, 50.0);
        let (mut one, mut four) = (Cascade::<2>::new(sections), Cascade::<2, F32x4>::new(sections));
        for n in 0..1000 {
            let on = if n == 0 { 1.0 } else { 0.0 };
            one.step(on);
            four.step(F32x4::from_array([on, -on, 0.0, 1e6 * on]));
        }
        assert_eq!(one.state, [[0.0; 2]; 2]);
        assert!(four.state.iter().flatten().all(|state| state.to_array() == [0.0; 4]), "{:?}", four.state);
    }

    #[test]
    fn a_nan_stays_in_its_channel_and_silence_does_not_hide_it() {
        let mut filter = Cascade::<1, F32x4>::new([Biquad::low_pass(10.0, 1.0, 1.0)]);
        filter.step(F32x4::from_array([f32::NAN, 1.0, 0.0, 0.0]));
        let last = (0..500).map(|_| filter.step(F32x4::ZERO).to_array()).last();
        assert!(last.is_some_and(|last| last[0].is_nan() && last[1..] == [0.0; 3]), "{last:?}");
    }

    #[test]
    fn after_a_reset_a_cascade_is_at_rest() {
        let mut filter = Cascade::<1>::new([Biquad::low_pass(10.0, 1.0, 1.0)]);
        assert!(filter.step(f32::NAN).is_nan() && filter.step(1.0).is_nan());
        filter.reset();
        assert_eq!(filter.step(1.0), filter.sections[0].b[0]);
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

        #[test]
        fn a_fir_is_linear(x in prop::array::uniform32(-1.0f32..1.0), factor in -4.0f32..4.0) {
            let (mut once, mut scaled) = (Fir::<9>::low_pass(1.0, 0.1), Fir::<9>::low_pass(1.0, 0.1));
            for x in x {
                prop_assert!((scaled.step(factor * x) - factor * once.step(x)).abs() < 1e-5);
            }
        }
    }
}
