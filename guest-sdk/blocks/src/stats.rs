//! What samples are like: moments, extremes and quantiles, of a slice, of the last samples, and of all so
//! far.
//!
//! Functions of a slice take NaN as arithmetic does. [`Running`] and [`P2`], which live as long as a stream,
//! leave out samples that are not finite.

mod p2;
mod running;

pub use p2::P2;
pub use running::Running;

use crate::lanes::{self, F32x4, F64x4};

/// The mean; NaN of nothing.
///
/// ```
/// assert_eq!(dunlin_blocks::stats::mean(&[1.0, 2.0, 6.0]), 3.0);
/// ```
#[inline]
pub fn mean(samples: &[f32]) -> f32 {
    wide_mean(samples, |x| x) as f32
}

/// The root of the mean square; NaN of nothing.
///
/// ```
/// assert_eq!(dunlin_blocks::stats::rms(&[3.0, -3.0]), 3.0);
/// ```
#[inline]
pub fn rms(samples: &[f32]) -> f32 {
    libm::sqrt(wide_mean(samples, |x| x * x)) as f32
}

/// The mean of `each` of the samples, in f64: samples of 24 bits with a large offset lose nothing.
#[inline]
fn wide_mean(samples: &[f32], each: impl Fn(F64x4) -> F64x4) -> f64 {
    lanes::sum_wide(samples, each) / samples.len() as f64
}

/// The least and the greatest sample; both NaN where a sample is NaN. Of nothing, infinity and minus infinity.
///
/// ```
/// assert_eq!(dunlin_blocks::stats::extremes(&[2.0, -1.0]), [-1.0, 2.0]);
/// assert!(dunlin_blocks::stats::extremes(&[2.0, f32::NAN])[0].is_nan());
/// ```
#[inline]
pub fn extremes(samples: &[f32]) -> [f32; 2] {
    let (fours, rest) = samples.as_chunks::<4>();
    let start = (F32x4::splat(f32::INFINITY), F32x4::splat(f32::NEG_INFINITY));
    let (least, greatest) = fours.iter().fold(start, |(least, greatest), four| {
        let four = F32x4::from_array(*four);
        (least.least_or_nan(four), greatest.greatest_or_nan(four))
    });
    let (least, greatest) = (least.to_array(), greatest.to_array());
    let lower = |a: f32, b: &f32| if *b < a || b.is_nan() { *b } else { a };
    let higher = |a: f32, b: &f32| if a < *b || b.is_nan() { *b } else { a };
    [
        least.iter().chain(rest).fold(f32::INFINITY, lower),
        greatest.iter().chain(rest).fold(f32::NEG_INFINITY, higher),
    ]
}

/// Central moments of samples.
///
/// ```text
/// m[k] = sum of (x - mean)^k / n
/// variance = m[2],   skewness = m[3] / m[2]^(3/2),   kurtosis = m[4] / m[2]^2
/// ```
///
/// Numpy's `var`, scipy's `skew` and `kurtosis(fisher=False)`: population moments, a normal distribution
/// has a kurtosis of 3. Kurtosis is the classical first sign of a damaged bearing: knocks raise it (D. Dyer
/// and R. M. Stewart, "Detection of rolling element bearing damage by statistical vibration analysis",
/// Journal of Mechanical Design 100, 1978).
///
/// ```
/// use dunlin_blocks::stats::Moments;
///
/// let moments = Moments::of(&[-1.0, 1.0, -1.0, 1.0]);
/// assert_eq!((moments.mean, moments.variance, moments.skewness, moments.kurtosis), (0.0, 1.0, 0.0, 1.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moments {
    /// In the samples' unit.
    pub mean: f32,
    /// In the square of the samples' unit.
    pub variance: f32,
    /// 0 where the distribution is even; NaN where samples do not differ.
    pub skewness: f32,
    /// 3 where the distribution is normal; NaN where samples do not differ.
    pub kurtosis: f32,
}

impl Moments {
    /// The moments of samples, in two passes and in f64, so that a large offset costs nothing. NaN of nothing, and
    /// where a sample is NaN or infinite.
    #[inline]
    pub fn of(samples: &[f32]) -> Moments {
        let mean = wide_mean(samples, |x| x);
        let centre = F64x4::splat(mean);
        let moment = |power: fn(F64x4) -> F64x4| wide_mean(samples, |x| power(x - centre));
        let variance = moment(|x| x * x);
        Moments {
            mean: mean as f32,
            variance: variance as f32,
            skewness: (moment(|x| x * x * x) / (variance * libm::sqrt(variance))) as f32,
            kurtosis: (moment(|x| (x * x) * (x * x)) / (variance * variance)) as f32,
        }
    }
}

/// The quantile at `q` of samples, which are left in another order: exact, with straight lines between
/// samples, as numpy's `quantile`.
///
/// NaN counts as greater than all numbers (a negative NaN as less); NaN of nothing. `q` is kept within 0
/// and 1, and is 0 where it is NaN.
///
/// ```
/// use dunlin_blocks::stats::quantile;
///
/// let mut samples = [4.0, 1.0, 3.0, 2.0];
/// assert_eq!(quantile(&mut samples, 0.5), 2.5);
/// assert_eq!(quantile(&mut samples, 1.0), 4.0);
/// ```
pub fn quantile(samples: &mut [f32], q: f32) -> f32 {
    let Some(last) = samples.len().checked_sub(1) else { return f32::NAN };
    let place = if q > 0.0 { q.min(1.0) } else { 0.0 } * last as f32;
    let below = (place as usize).min(last);
    let share = place - below as f32;
    let (_, low, above) = samples.select_nth_unstable_by(below, f32::total_cmp);
    let low = *low;
    match above.iter().copied().min_by(f32::total_cmp) {
        Some(high) if share > 0.0 => low + share * (high - low),
        _ => low,
    }
}

/// The median and the interquartile range of samples, which are left in another order.
///
/// ```
/// assert_eq!(dunlin_blocks::stats::median_and_iqr(&mut [5.0, 1.0, 2.0, 3.0, 4.0]), [3.0, 2.0]);
/// ```
pub fn median_and_iqr(samples: &mut [f32]) -> [f32; 2] {
    [quantile(samples, 0.5), quantile(samples, 0.75) - quantile(samples, 0.25)]
}

/// The last `N` samples of a stream, or as many as have come, to be asked for their statistics.
///
/// Nothing is updated from sample to sample, so no error adds up and a NaN is gone with the sample. To ask
/// takes a pass over the samples.
///
/// ```
/// use dunlin_blocks::stats::{self, Recent};
///
/// let mut recent = Recent::<3>::new();
/// for x in [9.0, 1.0, 2.0, 6.0] {
///     recent.push(x);
/// }
/// assert_eq!(stats::mean(recent.samples()), 3.0);
/// assert_eq!(recent.quantile(0.5), 2.0);
/// ```
#[derive(Clone, Debug)]
pub struct Recent<const N: usize> {
    samples: [f32; N],
    next: usize,
    count: usize,
}

impl<const N: usize> Recent<N> {
    /// No sample yet.
    #[expect(clippy::new_without_default, reason = "a block is made in a constant")]
    pub const fn new() -> Self {
        const { assert!(N > 0, "there is at least one sample") };
        Recent { samples: [0.0; N], next: 0, count: 0 }
    }

    /// Takes a sample; the oldest of `N` goes.
    #[inline]
    pub fn push(&mut self, sample: f32) {
        if let Some(place) = self.samples.get_mut(self.next) {
            *place = sample;
        }
        self.next = if self.next + 1 < N { self.next + 1 } else { 0 };
        self.count = (self.count + 1).min(N);
    }

    /// The samples, in no order that means something.
    pub fn samples(&self) -> &[f32] {
        self.samples.get(..self.count).unwrap_or(&[])
    }

    /// The quantile at `q`; see [`quantile`].
    pub fn quantile(&self, q: f32) -> f32 {
        let mut copy = self.samples;
        quantile(copy.get_mut(..self.count).unwrap_or(&mut []), q)
    }

    /// Forgets all samples.
    pub const fn reset(&mut self) {
        (self.next, self.count) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn of_nothing_there_is_no_number() {
        assert!(mean(&[]).is_nan() && rms(&[]).is_nan() && quantile(&mut [], 0.5).is_nan());
        assert_eq!(extremes(&[]), [f32::INFINITY, f32::NEG_INFINITY]);
        assert!(Moments::of(&[2.0, 2.0]).kurtosis.is_nan());
    }

    #[test]
    fn a_nan_reaches_every_statistic_of_a_slice() {
        for place in [0, 3, 5] {
            let mut samples = [1.0; 6];
            samples[place] = f32::NAN;
            let [least, greatest] = extremes(&samples);
            let moments = Moments::of(&samples);
            let found = [mean(&samples), rms(&samples), least, greatest, moments.variance, moments.kurtosis];
            assert!(found.iter().all(|x| x.is_nan()), "{found:?}");
        }
    }

    #[test]
    fn a_quantile_counts_a_nan_as_the_greatest() {
        let mut samples = [f32::NAN, 1.0, 2.0];
        assert_eq!(quantile(&mut samples, 0.5), 2.0);
        assert!(quantile(&mut samples, 1.0).is_nan());
        assert_eq!(quantile(&mut samples, f32::NAN), 1.0);
    }

    #[test]
    fn recent_samples_replace_the_oldest() {
        let mut recent = Recent::<2>::new();
        assert!(recent.samples().is_empty());
        [f32::NAN, 2.0, 4.0].into_iter().for_each(|x| recent.push(x));
        assert_eq!((mean(recent.samples()), recent.quantile(0.0)), (3.0, 2.0));
        recent.reset();
        recent.push(7.0);
        assert_eq!(recent.samples(), [7.0]);
    }

    proptest! {
        #[test]
        fn a_quantile_has_its_share_of_samples_below(
            mut samples in prop::collection::vec(-1e6f32..1e6, 1..60), q in 0.0f32..=1.0,
        ) {
            let found = quantile(&mut samples, q);
            let below = samples.iter().filter(|x| **x < found).count() as f32;
            let at_most = samples.iter().filter(|x| **x <= found).count() as f32;
            let place = q * (samples.len() - 1) as f32;
            prop_assert!(below <= place + 1.0 && at_most >= place.floor() + 1.0, "{found}");
        }

        /// Counts of a converter with 24 bits, anywhere in its range.
        #[test]
        fn moments_of_counts_ignore_their_offset(
            counts in prop::collection::vec(-8i32..=8, 8..2000), offset in -8_388_600i32..8_388_600,
        ) {
            let of = |offset: i32| {
                let samples: std::vec::Vec<f32> = counts.iter().map(|x| (x + offset) as f32).collect();
                (Moments::of(&samples), mean(&samples))
            };
            let ((a, _), (b, shifted)) = (of(0), of(offset));
            prop_assume!(a.variance > 0.0);
            prop_assert_eq!(b.mean, shifted);
            prop_assert!((f64::from(b.mean) - f64::from(a.mean) - f64::from(offset)).abs() <= 0.5);
            prop_assert!((a.variance - b.variance).abs() <= 1e-6 * a.variance, "{} {}", a.variance, b.variance);
            prop_assert!((a.skewness - b.skewness).abs() <= 1e-5, "{} {}", a.skewness, b.skewness);
            prop_assert!((a.kurtosis - b.kurtosis).abs() <= 1e-5 * a.kurtosis, "{} {}", a.kurtosis, b.kurtosis);
        }

        #[test]
        fn extremes_are_those_of_a_sort(mut samples in prop::collection::vec(-1e3f32..1e3, 1..40)) {
            let found = extremes(&samples);
            samples.sort_by(f32::total_cmp);
            prop_assert_eq!(found, [samples[0], samples[samples.len() - 1]]);
        }
    }
}
