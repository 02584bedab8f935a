//! Features brought to a common scale by parameters from training.

/// `(x - centre) / spread` for each of `N` features.
///
/// A spread of 0, of a feature that never changed in training, counts as 1, as scikit-learn has it. NaN and
/// infinities stay what they are. The division is a product with the spread's inverse, rounded once more.
///
/// ```
/// use dunlin_blocks::scale::Scaler;
///
/// const SCALER: Scaler<2> = Scaler::standard([10.0, 5.0], [2.0, 0.0]);
/// let mut features = [14.0, 6.0];
/// SCALER.apply(&mut features);
/// assert_eq!(features, [2.0, 1.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scaler<const N: usize> {
    centre: [f32; N],
    inverse: [f32; N],
}

impl<const N: usize> Scaler<N> {
    const fn new(centre: [f32; N], spread: [f32; N]) -> Self {
        let mut inverse = [1.0; N];
        let mut n = 0;
        while n < N {
            if spread[n] != 0.0 {
                inverse[n] = 1.0 / spread[n];
            }
            n += 1;
        }
        Scaler { centre, inverse }
    }

    /// By mean and standard deviation: z-scores. scikit-learn's `StandardScaler`, from `mean_` and `scale_`.
    pub const fn standard(mean: [f32; N], deviation: [f32; N]) -> Self {
        Scaler::new(mean, deviation)
    }

    /// By median and interquartile range, which a few outliers in training do not move. scikit-learn's
    /// `RobustScaler`, from `center_` and `scale_`. Of a normal distribution the range is 1.349 deviations.
    pub const fn robust(median: [f32; N], interquartile_range: [f32; N]) -> Self {
        Scaler::new(median, interquartile_range)
    }

    /// By the least and the greatest value, which become 0 and 1. scikit-learn's `MinMaxScaler`, from
    /// `data_min_` and `data_max_`.
    pub const fn limits(least: [f32; N], greatest: [f32; N]) -> Self {
        let mut spread = greatest;
        let mut n = 0;
        while n < N {
            spread[n] -= least[n];
            n += 1;
        }
        Scaler::new(least, spread)
    }

    /// Scales the features in place.
    #[inline]
    pub fn apply(&self, features: &mut [f32; N]) {
        for ((feature, centre), inverse) in features.iter_mut().zip(&self.centre).zip(&self.inverse) {
            *feature = (*feature - centre) * inverse;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_maps_its_marks_to_0_and_1() {
        let ways = [
            (Scaler::standard([3.0], [2.0]), 3.0, 5.0),
            (Scaler::robust([-1.0], [4.0]), -1.0, 3.0),
            (Scaler::limits([10.0], [30.0]), 10.0, 30.0),
        ];
        for (scaler, zero, one) in ways {
            let [mut zero, mut one] = [[zero], [one]];
            scaler.apply(&mut zero);
            scaler.apply(&mut one);
            assert_eq!((zero, one), ([0.0], [1.0]));
        }
    }

    #[test]
    fn what_never_changed_is_only_shifted() {
        let mut features = [7.5, f32::NAN];
        Scaler::limits([7.0, 0.0], [7.0, 1.0]).apply(&mut features);
        assert!(features[0] == 0.5 && features[1].is_nan());
    }
}
