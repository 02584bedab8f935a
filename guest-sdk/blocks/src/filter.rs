//! Filters of a stream: biquads and cascades of them, and FIR.
//!
//! Filters are arithmetic: a NaN or an infinity that enters a [`Cascade`] stays until
//! [`reset`](Cascade::reset), and one that enters a [`Fir`] for as many samples as it has taps. A model
//! that may see them refuses them first.

mod biquad;
mod fir;

use core::ops::{Add, Mul, Sub};

pub use biquad::Biquad;
pub use fir::Fir;

use crate::lanes::{F32x4, F64x4};

/// What a filter can filter: one channel (`f32`), or four side by side ([`F32x4`]).
pub trait Sample: Copy {
    /// What the filter computes in.
    type Wide: Wide;

    /// The sample in double precision: exact.
    fn widen(self) -> Self::Wide;

    /// Rounded to single precision.
    fn narrow(wide: Self::Wide) -> Self;
}

/// Samples in double precision.
pub trait Wide: Copy + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self> {
    /// Silence.
    const ZERO: Self;

    /// The number in every channel.
    fn splat(number: f64) -> Self;

    /// Whether the magnitude of a channel is below [`SILENT`].
    fn is_silent(self) -> bool;

    /// The state of a section that gave `self`, with 0 in the channels where all of it is below [`SILENT`].
    fn settled(self, state: [Self; 2]) -> [Self; 2];
}

/// What a filter at rest may take for nothing: about 600 dB below 1, and far above the subnormal numbers,
/// with which most processors reckon tens of times more slowly.
pub const SILENT: f64 = 1e-30;

impl Sample for f32 {
    type Wide = f64;

    #[inline(always)]
    fn widen(self) -> f64 {
        self.into()
    }

    #[inline(always)]
    fn narrow(wide: f64) -> f32 {
        wide as f32
    }
}

impl Wide for f64 {
    const ZERO: f64 = 0.0;

    #[inline(always)]
    fn splat(number: f64) -> f64 {
        number
    }

    #[inline(always)]
    fn is_silent(self) -> bool {
        self.abs() < SILENT
    }

    #[inline(always)]
    fn settled(self, state: [f64; 2]) -> [f64; 2] {
        let [a, b] = state;
        if self.is_silent() && a.is_silent() && b.is_silent() { [0.0; 2] } else { state }
    }
}

impl Sample for F32x4 {
    type Wide = F64x4;

    #[inline(always)]
    fn widen(self) -> F64x4 {
        F64x4::from_lanes(self)
    }

    #[inline(always)]
    fn narrow(wide: F64x4) -> F32x4 {
        wide.to_lanes()
    }
}

impl Wide for F64x4 {
    const ZERO: F64x4 = F64x4::ZERO;

    #[inline(always)]
    fn splat(number: f64) -> F64x4 {
        F64x4::splat(number)
    }

    #[inline(always)]
    fn is_silent(self) -> bool {
        self.any_below(SILENT)
    }

    #[inline(always)]
    fn settled(self, [a, b]: [F64x4; 2]) -> [F64x4; 2] {
        // In this order, as a NaN in `a` stays and one in the others would be passed over.
        let greatest = a.abs().greatest(b.abs()).greatest(self.abs());
        [a.zero_where_below(greatest, SILENT), b.zero_where_below(greatest, SILENT)]
    }
}

/// Sections one after the other, in transposed direct form II, as scipy's `sosfilt`.
///
/// ```text
/// y = b0 x + s1,   s1' = b1 x - a1 y + s2,   s2' = b2 x - a2 y
/// ```
///
/// `S` is `f32` for one channel, [`F32x4`] for four, which cost less than two. Whatever the samples are, the filter
/// computes in f64 and rounds once at its end: the errors of single precision would grow with the square of the rate
/// over the cutoff. In silence the state fades
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
pub struct Cascade<const SECTIONS: usize, S: Sample = f32> {
    sections: [Biquad; SECTIONS],
    state: [[S::Wide; 2]; SECTIONS],
}

impl<const SECTIONS: usize, S: Sample> Cascade<SECTIONS, S> {
    /// The cascade at rest.
    pub const fn new(sections: [Biquad; SECTIONS]) -> Self {
        Cascade { sections, state: [[S::Wide::ZERO; 2]; SECTIONS] }
    }

    /// Takes the next sample and gives the filtered one.
    #[inline]
    pub fn step(&mut self, sample: S) -> S {
        let last = self.sections.iter().zip(&mut self.state).fold(sample.widen(), |x, (section, state)| {
            let [b0, b1, b2] = section.b.map(S::Wide::splat);
            let [a1, a2] = section.a.map(S::Wide::splat);
            let y = b0 * x + state[0];
            state[0] = b1 * x - a1 * y + state[1];
            state[1] = b2 * x - a2 * y;
            if y.is_silent() {
                *state = y.settled(*state);
            }
            y
        });
        S::narrow(last)
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
        self.state = [[S::Wide::ZERO; 2]; SECTIONS];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_low_cutoff_settles_at_its_input() {
        // 10 Hz, 2 Hz and 0.5 Hz at 48 kHz.
        for share in [2.08e-4, 4.17e-5, 1.04e-5] {
            let mut filter = Cascade::<2>::new(Biquad::butterworth_low_pass(1.0, share));
            let last = (0..(8.0 / share) as u32).map(|_| filter.step(1.0)).last().unwrap();
            assert!((last - 1.0).abs() < 1e-6, "{share}: {last}");
        }
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
        assert_eq!(filter.step(1.0), filter.sections[0].b[0] as f32);
    }
}
