//! Control charts: has the mean of a stream shifted, and which way?
//!
//! Both are told what a healthy stream is like, its mean and its standard deviation, and find shifts that a
//! limit on single samples would miss. [`Ewma`] is quick at moderate shifts and gives a smooth value to
//! show; [`Cusum`] is the quickest at the shift that it is made for. Samples that are not finite are left
//! out: the chart stands as before.

/// What a chart says after a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    /// The mean is where it should be, as far as can be told.
    None,
    /// It has risen.
    Up,
    /// It has fallen.
    Down,
}

/// The chart of the exponentially weighted moving average.
///
/// ```text
/// z' = z + λ (x - z), from the mean;   limits: mean ± L·σ·sqrt(λ/(2-λ) · (1 - (1-λ)^2n)) after n samples
/// ```
///
/// λ between 0.05 and 0.25 and L about 3 are usual: with λ = 0.2 and L = 2.962 a healthy normal stream
/// raises a false alarm once in 500 samples. Source: S. W. Roberts, "Control chart tests based on geometric
/// moving averages", Technometrics 1 (1959); NIST/SEMATECH e-Handbook of Statistical Methods, 6.3.2.4.
///
/// ```
/// use dunlin_blocks::detect::{Ewma, Shift};
///
/// let mut chart = Ewma::new(0.0, 1.0, 0.2, 3.0);
/// assert_eq!(chart.push(0.5), Shift::None);
/// let late = (0..20).map(|_| chart.push(1.5)).position(|shift| shift == Shift::Up);
/// assert_eq!(late, Some(4));
/// ```
#[derive(Clone, Debug)]
pub struct Ewma {
    mean: f64,
    lambda: f64,
    /// L·σ·sqrt(λ/(2-λ)), squared.
    limit_squared: f64,
    /// (1-λ)^2n.
    fading: f64,
    /// In f64, or a small λ would add nothing to a large value.
    value: f64,
}

impl Ewma {
    /// The chart of a stream with this mean and standard deviation, with limits at `limit` deviations of
    /// the average.
    ///
    /// # Panics
    /// `0 < lambda <= 1`, `0 < deviation` and `0 < limit` do not hold: in a constant, a compile error.
    pub const fn new(mean: f32, deviation: f32, lambda: f32, limit: f32) -> Ewma {
        assert!(0.0 < lambda && lambda <= 1.0, "0 < lambda <= 1");
        assert!(0.0 < deviation && 0.0 < limit, "deviation and limit are above 0");
        let (mean, lambda, width) = (mean as f64, lambda as f64, limit as f64 * deviation as f64);
        let limit_squared = width * width * lambda / (2.0 - lambda);
        Ewma { mean, lambda, limit_squared, fading: 1.0, value: mean }
    }

    /// Takes a sample, if it is finite, and says where the chart stands.
    #[inline]
    pub fn push(&mut self, sample: f32) -> Shift {
        if sample.is_finite() {
            self.value += self.lambda * (f64::from(sample) - self.value);
            self.fading *= (1.0 - self.lambda) * (1.0 - self.lambda);
            // 1 less than this is 1; as a subnormal number it would cost time for ever.
            if self.fading < 1e-17 {
                self.fading = 0.0;
            }
        }
        let off = self.value - self.mean;
        if off * off <= self.limit_squared * (1.0 - self.fading) {
            Shift::None
        } else if off > 0.0 {
            Shift::Up
        } else {
            Shift::Down
        }
    }

    /// The average, in the samples' unit.
    pub const fn value(&self) -> f32 {
        self.value as f32
    }

    /// How far the average may be from the mean by now, in the samples' unit.
    pub fn limit(&self) -> f32 {
        libm::sqrt(self.limit_squared * (1.0 - self.fading)) as f32
    }

    /// Begins anew at the mean.
    pub const fn reset(&mut self) {
        (self.value, self.fading) = (self.mean, 1.0);
    }
}

/// The tabular chart of cumulative sums.
///
/// ```text
/// up' = max(0, up + (x - mean)/σ - k),   down' = max(0, down - (x - mean)/σ - k);   a shift where one is above h
/// ```
///
/// k is half the shift to be found, in deviations: k = 0.5 and h = 4 or 5 are usual for a shift of one;
/// with h = 5 a healthy normal stream raises a false alarm once in 465 samples, and the shift is found
/// after 10.4 on average. The sums go on after an alarm; [`Cusum::reset`] starts them anew. Source: E. S.
/// Page, "Continuous inspection schemes", Biometrika 41 (1954); D. C. Montgomery, Introduction to
/// Statistical Quality Control, chapter 9.
///
/// ```
/// use dunlin_blocks::detect::{Cusum, Shift};
///
/// let mut chart = Cusum::new(10.0, 2.0, 0.5, 5.0);
/// assert_eq!(chart.push(11.0), Shift::None);
/// // A shift of -2 deviations adds 1.5 a sample.
/// let late = (0..10).map(|_| chart.push(6.0)).position(|shift| shift == Shift::Down);
/// assert_eq!(late, Some(3));
/// ```
#[derive(Clone, Debug)]
pub struct Cusum {
    mean: f32,
    inverse: f32,
    slack: f32,
    threshold: f32,
    sums: [f32; 2],
}

impl Cusum {
    /// The chart of a stream with this mean and standard deviation; `slack` is k, `threshold` is h, both in
    /// deviations.
    ///
    /// # Panics
    /// `0 < deviation`, `0 <= slack` and `0 < threshold` do not hold: in a constant, a compile error.
    pub const fn new(mean: f32, deviation: f32, slack: f32, threshold: f32) -> Cusum {
        assert!(0.0 < deviation && 0.0 <= slack && 0.0 < threshold, "deviation and threshold are above 0");
        Cusum { mean, inverse: 1.0 / deviation, slack, threshold, sums: [0.0; 2] }
    }

    /// Takes a sample, if it is finite, and says where the chart stands.
    #[inline]
    pub fn push(&mut self, sample: f32) -> Shift {
        let score = (sample - self.mean) * self.inverse;
        if score.is_finite() {
            let [up, down] = self.sums;
            // Not `f32::max`, which may give either zero of two. A sum never becomes infinite, or it would
            // stay so.
            let positive = |sum: f32| if sum > 0.0 { sum.min(f32::MAX) } else { 0.0 };
            self.sums = [positive(up + score - self.slack), positive(down - score - self.slack)];
        }
        match self.sums {
            [up, down] if up > self.threshold && up >= down => Shift::Up,
            [_, down] if down > self.threshold => Shift::Down,
            _ => Shift::None,
        }
    }

    /// The upper and the lower sum, in deviations.
    pub const fn sums(&self) -> [f32; 2] {
        self.sums
    }

    /// Begins anew.
    pub const fn reset(&mut self) {
        self.sums = [0.0; 2];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn limits_begin_narrow_and_widen_to_their_last() {
        let mut chart = Ewma::new(5.0, 2.0, 0.25, 3.0);
        chart.push(5.0);
        assert!((chart.limit() - 0.25 * 6.0).abs() < 1e-6, "after one sample: L σ λ");
        for _ in 0..100 {
            chart.push(5.0);
        }
        assert!((chart.limit() - 6.0 * libm::sqrtf(0.25 / 1.75)).abs() < 1e-5);
    }

    #[test]
    fn both_charts_see_both_ways_and_begin_anew() {
        let (mut ewma, mut cusum) = (Ewma::new(0.0, 1.0, 0.2, 3.0), Cusum::new(0.0, 1.0, 0.5, 4.0));
        for (level, shift) in [(2.0, Shift::Up), (-2.0, Shift::Down)] {
            let last = (0..20).map(|_| (ewma.push(level), cusum.push(level))).last();
            assert_eq!(last, Some((shift, shift)));
            ewma.reset();
            cusum.reset();
        }
    }

    #[test]
    fn a_broken_sample_changes_nothing() {
        let mut ewma = Ewma::new(0.0, 1.0, 0.2, 3.0);
        let mut cusum = Cusum::new(0.0, 1.0, 0.5, 4.0);
        assert_eq!((ewma.push(0.5), cusum.push(1.0)), (Shift::None, Shift::None));
        let before = (ewma.value(), cusum.sums());
        for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!((ewma.push(broken), cusum.push(broken)), (Shift::None, Shift::None));
        }
        assert_eq!((ewma.value(), cusum.sums()), before);
    }

    #[test]
    fn what_overflows_does_not_blind() {
        let mut ewma = Ewma::new(0.0, 1.0, 0.5, 3.0);
        let mut cusum = Cusum::new(0.0, 1.0, 0.5, 4.0);
        for sample in [f32::MAX, f32::MIN, f32::MIN, f32::MAX, f32::MAX] {
            assert_ne!((ewma.push(sample), cusum.push(sample)), (Shift::None, Shift::None));
        }
        let last = (0..200).map(|_| ewma.push(0.0)).last();
        assert_eq!(last, Some(Shift::None));
        assert!(cusum.sums().iter().all(|sum| sum.is_finite()));
    }

    #[test]
    fn a_small_lambda_still_moves_the_average() {
        // As floats, 1000 + 1e-6 (1001 - 1000) is 1000.
        let mut chart = Ewma::new(1000.0, 1.0, 1e-6, 3.0);
        let last = (0..1_000_000).map(|_| chart.push(1001.0)).last();
        assert_eq!(last, Some(Shift::Up));
        assert!((chart.value() - 1000.632).abs() < 1e-3, "{}", chart.value());
    }

    proptest! {
        #[test]
        fn within_the_slack_there_is_no_alarm(samples in prop::collection::vec(-0.5f32..0.5, 1..300)) {
            let mut chart = Cusum::new(0.0, 1.0, 0.5, 4.0);
            prop_assert!(samples.into_iter().all(|x| chart.push(x) == Shift::None));
        }

        #[test]
        fn the_average_stays_within_the_samples(samples in prop::collection::vec(-9.0f32..9.0, 1..300)) {
            let mut chart = Ewma::new(0.0, 1.0, 0.3, 3.0);
            for x in samples {
                chart.push(x);
                prop_assert!(chart.value().abs() <= 9.0);
            }
        }
    }
}
