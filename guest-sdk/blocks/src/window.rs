//! Windows over a stream of samples: which samples are looked at together, and how they fade at the ends.

use crate::lanes::F32x4;
use crate::series::cos_pi;

/// The last `N` samples of a stream, given out every `HOP` samples once `N` have come.
///
/// With `HOP` equal to `N` windows do not overlap; with half of it each sample is in two; with more, samples
/// between windows are passed over. Samples are kept as they come, NaN too.
///
/// ```
/// use dunlin_blocks::window::Sliding;
///
/// let mut last = Sliding::<4, 2>::new();
/// let windows: Vec<[f32; 4]> = (0..8u8).filter_map(|i| last.push(i.into())).collect();
/// assert_eq!(windows, [[0.0, 1.0, 2.0, 3.0], [2.0, 3.0, 4.0, 5.0], [4.0, 5.0, 6.0, 7.0]]);
/// ```
#[derive(Clone, Debug)]
pub struct Sliding<const N: usize, const HOP: usize> {
    samples: [f32; N],
    /// Where the next sample goes: the place of the oldest one.
    next: usize,
    /// Samples until the next window is due.
    wait: usize,
}

impl<const N: usize, const HOP: usize> Sliding<N, HOP> {
    /// An empty window.
    #[expect(clippy::new_without_default, reason = "a block is made in a constant")]
    pub const fn new() -> Self {
        const { assert!(N > 0 && HOP > 0, "a window and its hop have at least one sample") };
        Sliding { samples: [0.0; N], next: 0, wait: N }
    }

    /// Takes a sample, and gives the last `N`, oldest first, if a window is due.
    #[inline]
    pub fn push(&mut self, sample: f32) -> Option<[f32; N]> {
        if let Some(place) = self.samples.get_mut(self.next) {
            *place = sample;
        }
        self.next = if self.next + 1 < N { self.next + 1 } else { 0 };
        self.wait -= 1;
        if self.wait > 0 {
            return None;
        }
        self.wait = HOP;
        let mut window = [0.0; N];
        let (newer, older) = self.samples.split_at_checked(self.next)?;
        let (first, last) = window.split_at_mut_checked(older.len())?;
        first.copy_from_slice(older);
        last.copy_from_slice(newer);
        Some(window)
    }

    /// Forgets all samples.
    pub const fn reset(&mut self) {
        (self.next, self.wait) = (0, N);
    }
}

/// Where a window of `N` weights ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Symmetry {
    /// The period is `N`: for spectra. scipy's `get_window(…, fftbins=True)`, and what librosa takes.
    Periodic,
    /// The period is `N - 1`, first and last weight are equal: for the design of filters.
    Symmetric,
}

/// `sum over k of (-1)^k a[k] cos(2πkn/P)`, P the period.
const fn cosine_sum<const N: usize>(a: [f64; 3], symmetry: Symmetry) -> [f32; N] {
    let mut weights = [1.0; N];
    let period = match symmetry {
        Symmetry::Periodic => N,
        Symmetry::Symmetric if N > 1 => N - 1,
        Symmetry::Symmetric => return weights,
    } as f64;
    let mut n = 0;
    while n < N {
        let turn = 2.0 * n as f64 / period;
        weights[n] = (a[0] - a[1] * cos_pi(turn) + a[2] * cos_pi(2.0 * turn)) as f32;
        n += 1;
    }
    weights
}

/// Hann's window: `0.5 - 0.5 cos(2πn/P)`.
///
/// ```
/// use dunlin_blocks::window::{Symmetry, hann};
///
/// const WEIGHTS: [f32; 4] = hann(Symmetry::Periodic);
/// assert_eq!(WEIGHTS, [0.0, 0.5, 1.0, 0.5]);
/// ```
///
/// Source: F. J. Harris, "On the use of windows for harmonic analysis with the discrete Fourier transform",
/// Proceedings of the IEEE 66 (1978).
pub const fn hann<const N: usize>(symmetry: Symmetry) -> [f32; N] {
    cosine_sum([0.5, 0.5, 0.0], symmetry)
}

/// Hamming's window: `0.54 - 0.46 cos(2πn/P)`, as scipy has it. Source: as [`hann`].
pub const fn hamming<const N: usize>(symmetry: Symmetry) -> [f32; N] {
    cosine_sum([0.54, 0.46, 0.0], symmetry)
}

/// Blackman's window: `0.42 - 0.5 cos(2πn/P) + 0.08 cos(4πn/P)`. Source: as [`hann`].
pub const fn blackman<const N: usize>(symmetry: Symmetry) -> [f32; N] {
    cosine_sum([0.42, 0.5, 0.08], symmetry)
}

/// Multiplies each sample by its weight.
///
/// ```
/// let mut samples = [1.0, 2.0, 3.0];
/// dunlin_blocks::window::apply(&mut samples, &[0.0, 0.5, 1.0]);
/// assert_eq!(samples, [0.0, 1.0, 3.0]);
/// ```
#[inline]
pub fn apply<const N: usize>(samples: &mut [f32; N], weights: &[f32; N]) {
    let (fours, rest) = samples.as_chunks_mut::<4>();
    let (weights, last) = weights.as_chunks::<4>();
    for (samples, weights) in fours.iter_mut().zip(weights) {
        *samples = (F32x4::from_array(*samples) * F32x4::from_array(*weights)).to_array();
    }
    for (sample, weight) in rest.iter_mut().zip(last) {
        *sample *= weight;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_due_when_it_is_full_and_after_each_hop() {
        let mut sliding = Sliding::<5, 3>::new();
        let due: std::vec::Vec<usize> = (1..=14).filter(|n| sliding.push(*n as f32).is_some()).collect();
        assert_eq!(due, [5, 8, 11, 14]);
    }

    #[test]
    fn a_hop_above_the_length_passes_samples_over() {
        let mut sliding = Sliding::<2, 5>::new();
        let windows: std::vec::Vec<_> = (0..8u8).filter_map(|n| sliding.push(n.into())).collect();
        assert_eq!(windows, [[0.0, 1.0], [5.0, 6.0]]);
    }

    #[test]
    fn after_a_reset_it_is_as_new() {
        let mut sliding = Sliding::<3, 1>::new();
        assert_eq!((0..7u8).filter(|n| sliding.push((*n).into()).is_some()).count(), 5);
        sliding.reset();
        let windows: std::vec::Vec<_> = (7..10u8).map(|n| sliding.push(n.into())).collect();
        assert_eq!(windows, [None, None, Some([7.0, 8.0, 9.0])]);
    }

    #[test]
    fn symmetric_windows_end_as_they_begin() {
        let blackman: [f32; 5] = blackman(Symmetry::Symmetric);
        let wanted = [0.0, 0.34, 1.0, 0.34, 0.0];
        assert!(blackman.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-7), "{blackman:?}");
        assert_eq!(hamming::<1>(Symmetry::Symmetric), [1.0]);
    }
}
