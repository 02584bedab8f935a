//! Filters with a finite impulse response.

use crate::lanes;
use crate::series::sin_pi;
use crate::window::{Symmetry, hamming};

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
        Fir::new(Fir::low_pass_taps(rate_hz, cutoff_hz))
    }

    /// The taps of [`Fir::low_pass`].
    ///
    /// # Panics
    /// As there.
    pub const fn low_pass_taps(rate_hz: f64, cutoff_hz: f64) -> [f32; TAPS] {
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
        taps
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

    proptest! {
        #[test]
        fn a_fir_is_linear(x in prop::array::uniform32(-1.0f32..1.0), factor in -4.0f32..4.0) {
            let (mut once, mut scaled) = (Fir::<9>::low_pass(1.0, 0.1), Fir::<9>::low_pass(1.0, 0.1));
            for x in x {
                prop_assert!((scaled.step(factor * x) - factor * once.step(x)).abs() < 1e-5);
            }
        }
    }
}
