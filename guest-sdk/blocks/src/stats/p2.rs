//! A quantile of all samples of a stream in five numbers, by the P² algorithm.

/// An estimate of one quantile of all samples so far, in constant memory.
///
/// Five markers hold the least sample, the greatest, the quantile, and one on either side between; a
/// marker that strays from its rank by one or more moves along a parabola through its neighbours. It is an
/// estimate: exact for up to five samples, then within a few per cent of the spread where the
/// distribution is smooth and does not change. For the exact quantile of the last samples, take
/// [`Recent`](super::Recent). Samples that are not finite are left out.
///
/// Source: R. Jain and I. Chlamtac, "The P² algorithm for dynamic calculation of quantiles and histograms
/// without storing observations", Communications of the ACM 28 (1985).
///
/// ```
/// use dunlin_blocks::stats::P2;
///
/// let mut p95 = P2::new(0.95);
/// for n in 0..10_000u32 {
///     p95.push((n * 7919 % 10_000) as f32);
/// }
/// assert!((p95.quantile() - 9_500.0).abs() < 50.0);
/// ```
#[derive(Clone, Debug)]
pub struct P2 {
    q: f64,
    count: u64,
    /// Heights of the markers, ascending.
    heights: [f64; 5],
    /// Their ranks, from 1; whole numbers.
    ranks: [f64; 5],
}

impl P2 {
    /// The quantile at `q`.
    ///
    /// # Panics
    /// `0 < q < 1` does not hold: in a constant, a compile error.
    pub const fn new(q: f64) -> P2 {
        assert!(0.0 < q && q < 1.0, "0 < q < 1");
        P2 { q, count: 0, heights: [0.0; 5], ranks: [1.0, 2.0, 3.0, 4.0, 5.0] }
    }

    /// Takes a sample, if it is finite.
    pub fn push(&mut self, sample: f32) {
        if !sample.is_finite() {
            return;
        }
        let x = f64::from(sample);
        self.count += 1;
        if self.count <= 5 {
            let known = self.count as usize;
            self.heights[known - 1] = x;
            self.heights[..known].sort_unstable_by(f64::total_cmp);
            return;
        }
        if x < self.heights[0] {
            self.heights[0] = x;
        } else if self.heights[4] < x {
            self.heights[4] = x;
        }
        // Markers above the sample are one rank higher now; the last one always.
        for marker in 1..4 {
            if x < self.heights[marker] {
                self.ranks[marker] += 1.0;
            }
        }
        self.ranks[4] += 1.0;
        for (marker, share) in [(1, self.q / 2.0), (2, self.q), (3, (1.0 + self.q) / 2.0)] {
            let wanted = 1.0 + share * (self.count - 1) as f64;
            self.adjust(marker, wanted - self.ranks[marker]);
        }
    }

    /// Moves a marker by one rank towards where it should be, if there is room.
    fn adjust(&mut self, marker: usize, off: f64) {
        let [below, here, above] = [self.ranks[marker - 1], self.ranks[marker], self.ranks[marker + 1]];
        let step = if off >= 1.0 && above - here > 1.0 {
            1.0
        } else if off <= -1.0 && below - here < -1.0 {
            -1.0
        } else {
            return;
        };
        let [low, height, high] = [self.heights[marker - 1], self.heights[marker], self.heights[marker + 1]];
        let (up, down) = ((high - height) / (above - here), (height - low) / (here - below));
        let parabola =
            height + step / (above - below) * ((here - below + step) * up + (above - here - step) * down);
        self.heights[marker] = if low < parabola && parabola < high {
            parabola
        } else if step > 0.0 {
            height + up
        } else {
            height - down
        };
        self.ranks[marker] = here + step;
    }

    /// Finite samples so far.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The estimate; NaN before the first sample. Of up to five samples, the one at the nearest rank.
    pub fn quantile(&self) -> f32 {
        match self.count {
            0 => f32::NAN,
            1..=5 => {
                let rank = libm::round(self.q * (self.count - 1) as f64) as usize;
                self.heights[rank.min(4)] as f32
            }
            _ => self.heights[2] as f32,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The example of the paper, section 6: the median after 20 observations.
    #[test]
    fn it_follows_the_example_of_the_paper() {
        let observations = [
            0.02, 0.15, 0.74, 3.39, 0.83, 22.37, 10.15, 15.43, 38.62, 15.92, 34.60, 10.28, 1.47, 0.40, 0.05,
            11.39, 0.27, 0.42, 0.09, 11.37,
        ];
        let mut median = P2::new(0.5);
        observations.into_iter().for_each(|x| median.push(x));
        assert!((median.quantile() - 4.44).abs() < 0.01, "{}", median.quantile());
    }

    #[test]
    fn few_samples_are_exact_and_broken_ones_are_left_out() {
        let mut p90 = P2::new(0.9);
        assert!(p90.quantile().is_nan());
        [3.0, f32::NAN, 1.0, f32::INFINITY, 2.0].into_iter().for_each(|x| p90.push(x));
        assert_eq!((p90.count(), p90.quantile()), (3, 3.0));
    }

    proptest! {
        #[test]
        fn it_stays_within_the_samples_and_near_the_quantile(
            samples in prop::collection::vec(0.0f32..1.0, 500..800), q in 0.1f64..0.9,
        ) {
            let mut p2 = P2::new(q);
            samples.iter().for_each(|x| p2.push(*x));
            prop_assert!((f64::from(p2.quantile()) - q).abs() < 0.12, "{} is far from {q}", p2.quantile());
            prop_assert!(p2.heights.is_sorted());
        }
    }
}
