//! Which of `K` centroids is nearest: the assignment of k-means, and how far from all that is known a point
//! is.

use crate::lanes::F32x4;

/// Centroids of `N` features, from training (scikit-learn's `KMeans.cluster_centers_`).
///
/// ```
/// use dunlin_blocks::cluster::Centroids;
///
/// static KNOWN: Centroids<2, 3> = Centroids { centres: [[0.0, 0.0, 0.0], [10.0, 0.0, 0.0]] };
/// let nearest = KNOWN.nearest(&[7.0, 4.0, 0.0]);
/// assert_eq!((nearest.index, nearest.distance), (1, 5.0));
/// ```
#[derive(Clone, Debug)]
pub struct Centroids<const K: usize, const N: usize> {
    /// A row for each centroid.
    pub centres: [[f32; N]; K],
}

/// The nearest centroid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Nearest {
    /// Its row.
    pub index: usize,
    /// Its Euclidean distance, in the features' unit.
    pub distance: f32,
}

impl<const K: usize, const N: usize> Centroids<K, N> {
    /// The squared Euclidean distance to each: `sum over i of (x[i] - centre[i])²`.
    #[inline]
    pub fn squared_distances(&self, x: &[f32; N]) -> [f32; K] {
        core::array::from_fn(|k| squared_distance(x, &self.centres[k]))
    }

    /// The nearest; the first of equals. Where a feature is NaN no centroid is near: row 0, at an infinite
    /// distance, which is an anomaly by any threshold.
    #[inline]
    pub fn nearest(&self, x: &[f32; N]) -> Nearest {
        const { assert!(K > 0, "there is a centroid") };
        let (mut index, mut least) = (0, f32::INFINITY);
        for (k, squared) in self.squared_distances(x).into_iter().enumerate() {
            if squared < least {
                (index, least) = (k, squared);
            }
        }
        Nearest { index, distance: libm::sqrtf(least) }
    }
}

#[inline(always)]
fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    let ((a4, a), (b4, b)) = (a.as_chunks::<4>(), b.as_chunks::<4>());
    let mut sum = F32x4::ZERO;
    for (a, b) in a4.iter().zip(b4) {
        let difference = F32x4::from_array(*a) - F32x4::from_array(*b);
        sum = sum + difference * difference;
    }
    a.iter().zip(b).fold(sum.sum(), |sum, (a, b)| sum + (a - b) * (a - b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn without_a_value_nothing_is_near() {
        let centroids = Centroids { centres: [[0.0; 6], [1.0; 6]] };
        let mut x = [0.9; 6];
        assert_eq!(centroids.nearest(&x).index, 1);
        x[5] = f32::NAN;
        assert_eq!(centroids.nearest(&x), Nearest { index: 0, distance: f32::INFINITY });
    }

    proptest! {
        #[test]
        fn the_nearest_is_no_farther_than_any(
            centres in prop::array::uniform4(prop::array::uniform7(-9.0f32..9.0)),
            x in prop::array::uniform7(-9.0f32..9.0),
        ) {
            let nearest = Centroids { centres }.nearest(&x);
            for centre in centres {
                let squared: f64 = centre.iter().zip(x).map(|(a, b)| f64::from(a - b).powi(2)).sum();
                prop_assert!(f64::from(nearest.distance) <= squared.sqrt() + 1e-4);
            }
        }
    }
}
