//! The energy of bands of frequencies.

use crate::lanes;

/// The energy of bands of frequencies, from the power of [`Fft::power`](super::Fft::power) with `BINS` =
/// N/2 + 1 bins.
///
/// ```text
/// E = sum over the bins of the band of c[k] |X[k]|² / N,   c = 1 for bins 0 and N/2, else 2
/// ```
///
/// so that bands over all bins add up to the sum of the squared samples (Parseval's theorem). Bin k
/// stands for k·rate/N hertz and belongs to a band with `low <= frequency < high`; half the rate
/// belongs to a band that ends there. Bands may overlap.
#[derive(Clone, Debug)]
pub struct Bands<const BANDS: usize, const BINS: usize> {
    /// First bin, and the bin behind the last.
    ranges: [[usize; 2]; BANDS],
}

impl<const BANDS: usize, const BINS: usize> Bands<BANDS, BINS> {
    /// Bands `[low, high]` in hertz, of samples at `rate_hz`.
    ///
    /// # Panics
    /// A limit is not within 0 and half the rate, or a band holds no bin: in a constant, a compile error.
    pub const fn new(rate_hz: f64, limits_hz: [[f64; 2]; BANDS]) -> Self {
        const { assert!(BINS >= 2, "a spectrum has N/2 + 1 bins") };
        let mut ranges = [[0; 2]; BANDS];
        let mut band = 0;
        while band < BANDS {
            let [low, high] = limits_hz[band];
            assert!(0.0 <= low && low < high && high <= rate_hz / 2.0, "0 <= low < high <= rate/2");
            let end = if high == rate_hz / 2.0 { BINS } else { first_bin(high, rate_hz, BINS) };
            ranges[band] = [first_bin(low, rate_hz, BINS), end];
            assert!(ranges[band][0] < end, "a band holds at least one bin");
            band += 1;
        }
        Bands { ranges }
    }

    /// The energy of each band, in squares of the samples' unit.
    ///
    /// ```
    /// use dunlin_blocks::fft::{Bands, Fft};
    ///
    /// let samples: [f32; 64] = std::array::from_fn(|n| if n % 2 == 0 { 1.0 } else { -1.0 });
    /// let bands = Bands::<2, 33>::new(100.0, [[0.0, 25.0], [25.0, 50.0]]);
    /// assert_eq!(bands.energies(&Fft::new().power(&samples)), [0.0, 64.0]);
    /// ```
    pub fn energies(&self, power: &[f32; BINS]) -> [f32; BANDS] {
        let samples = 2.0 * (BINS - 1) as f32;
        self.ranges.map(|[first, end]| {
            let mut doubled = 2.0 * lanes::sum(power.get(first..end).unwrap_or(&[]), |x| x);
            if first == 0 {
                doubled -= power[0];
            }
            if end == BINS {
                doubled -= power[BINS - 1];
            }
            doubled / samples
        })
    }
}

/// The first bin at or above a frequency.
const fn first_bin(frequency_hz: f64, rate_hz: f64, bins: usize) -> usize {
    let exact = frequency_hz / rate_hz * (2 * (bins - 1)) as f64;
    let bin = exact as usize;
    if (bin as f64) < exact { bin + 1 } else { bin }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_hold_the_bins_that_they_say() {
        // Bins are 10 Hz apart.
        let bands = Bands::<3, 33>::new(640.0, [[0.0, 15.0], [10.0, 20.0], [300.0, 320.0]]);
        assert_eq!(bands.ranges, [[0, 2], [1, 2], [30, 33]]);
    }
}
