//! Mean and variance of all samples of a stream, by Welford's recurrence.

/// Mean, variance and extremes of all samples so far, in constant memory and without cancellation.
///
/// ```text
/// d = x - mean,   mean' = mean + d/n,   m2' = m2 + d (x - mean')
/// ```
///
/// in f64, so that the millionth sample still counts. Samples that are not finite are left out. Source: B.
/// P. Welford, "Note on a method for calculating corrected sums of squares and products", Technometrics 4
/// (1962).
///
/// ```
/// use dunlin_blocks::stats::Running;
///
/// let mut running = Running::new();
/// for x in [2.0, 4.0, f32::NAN, 6.0] {
///     running.push(x);
/// }
/// assert_eq!((running.count(), running.mean(), running.sample_variance()), (3, 4.0, 4.0));
/// assert_eq!(running.extremes(), [2.0, 6.0]);
/// ```
#[derive(Clone, Debug)]
pub struct Running {
    count: u64,
    mean: f64,
    m2: f64,
    extremes: [f32; 2],
}

impl Running {
    /// No sample yet.
    #[expect(clippy::new_without_default, reason = "a block is made in a constant")]
    pub const fn new() -> Running {
        Running { count: 0, mean: 0.0, m2: 0.0, extremes: [f32::INFINITY, f32::NEG_INFINITY] }
    }

    /// Takes a sample, if it is finite.
    #[inline]
    pub fn push(&mut self, sample: f32) {
        if !sample.is_finite() {
            return;
        }
        self.count += 1;
        let x = f64::from(sample);
        let difference = x - self.mean;
        self.mean += difference / self.count as f64;
        self.m2 += difference * (x - self.mean);
        let [least, greatest] = self.extremes;
        self.extremes =
            [if sample < least { sample } else { least }, if greatest < sample { sample } else { greatest }];
    }

    /// Finite samples so far.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The mean; NaN before the first sample.
    pub const fn mean(&self) -> f32 {
        if self.count == 0 { f32::NAN } else { self.mean as f32 }
    }

    /// The variance of the samples themselves, m2/n: numpy's `var`. NaN before the first sample.
    pub const fn variance(&self) -> f32 {
        if self.count == 0 { f32::NAN } else { (self.m2 / self.count as f64) as f32 }
    }

    /// The variance of what they were drawn from, m2/(n - 1): `var(ddof=1)`. NaN before the second
    /// sample.
    pub const fn sample_variance(&self) -> f32 {
        if self.count < 2 { f32::NAN } else { (self.m2 / (self.count - 1) as f64) as f32 }
    }

    /// The least and the greatest sample; infinity and minus infinity before the first.
    pub const fn extremes(&self) -> [f32; 2] {
        self.extremes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_large_offset_does_not_drown_the_variance() {
        let mut running = Running::new();
        for n in 0..1_000_000 {
            running.push(if n % 2 == 0 { 16_384.0 } else { 16_385.0 });
        }
        assert_eq!((running.mean(), running.variance()), (16_384.5, 0.25));
    }

    proptest! {
        #[test]
        fn it_equals_two_passes(samples in prop::collection::vec(-1e3f32..1e3, 1..200)) {
            let mut running = Running::new();
            samples.iter().for_each(|x| running.push(*x));
            let n = samples.len() as f64;
            let mean = samples.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
            let variance = samples.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n;
            prop_assert!((f64::from(running.mean()) - mean).abs() <= 1e-4);
            prop_assert!((f64::from(running.variance()) - variance).abs() <= 1e-6 * variance.max(1.0));
        }
    }
}
