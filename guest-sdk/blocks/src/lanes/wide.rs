//! Four doubles: what recursive filters keep, and what sums are made in where single precision loses too much.

use core::ops::{Add, Mul, Sub};

use super::F32x4;

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
#[path = "wide/portable.rs"]
mod four;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[path = "wide/vector.rs"]
mod four;

/// Four doubles, on which every operation works lane by lane.
///
/// ```
/// use dunlin_blocks::lanes::{F32x4, F64x4};
///
/// let x = F64x4::from_lanes(F32x4::splat(16_777_216.0)) + F64x4::splat(1.0);
/// assert_eq!(x.to_array(), [16_777_217.0; 4]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct F64x4(four::Four);

impl F64x4 {
    /// Four zeros.
    pub const ZERO: F64x4 = F64x4::splat(0.0);

    /// One double in every lane.
    #[inline(always)]
    pub const fn splat(double: f64) -> F64x4 {
        F64x4(four::splat(double))
    }

    /// The floats as doubles: exact.
    #[inline(always)]
    pub fn from_lanes(floats: F32x4) -> F64x4 {
        F64x4(four::promote(floats.0))
    }

    /// The doubles rounded to floats.
    #[inline(always)]
    pub fn to_lanes(self) -> F32x4 {
        F32x4(four::demote(self.0))
    }

    /// The lanes as an array.
    #[inline(always)]
    pub fn to_array(self) -> [f64; 4] {
        four::array(self.0)
    }

    /// The magnitude of each lane.
    #[inline(always)]
    pub fn abs(self) -> F64x4 {
        F64x4(four::abs(self.0))
    }

    /// Whether a lane's magnitude is below `bound`. A NaN is not.
    #[inline(always)]
    pub fn any_below(self, bound: f64) -> bool {
        four::any_below(self.0, bound)
    }

    /// 0 in the lanes where `other` is below `bound`; the rest, and where `other` is NaN, as it is.
    #[inline(always)]
    pub fn zero_where_below(self, other: F64x4, bound: f64) -> F64x4 {
        F64x4(four::zero_where_below(self.0, other.0, bound))
    }

    /// In each lane `other` where it is greater than `self`, else `self`: a NaN in `other` is passed
    /// over, one in `self` stays.
    #[inline(always)]
    pub fn greatest(self, other: F64x4) -> F64x4 {
        F64x4(four::greatest(self.0, other.0))
    }

    /// The sum of the lanes: (0 + 2) + (1 + 3).
    #[inline(always)]
    pub fn sum(self) -> f64 {
        let [a, b, c, d] = self.to_array();
        (a + c) + (b + d)
    }
}

macro_rules! operator {
    ($($name:ident $method:ident;)*) => {$(
        impl $name for F64x4 {
            type Output = F64x4;

            #[inline(always)]
            fn $method(self, other: F64x4) -> F64x4 {
                F64x4(four::$method(self.0, other.0))
            }
        }
    )*};
}
operator! { Add add; Sub sub; Mul mul; }

/// The sum of `each` of the floats, in f64 and in one order: two vectors of sums over blocks of eight, then four
/// by four, and the last one to three at the end.
///
/// ```
/// // As floats, 2^24 + 1 + 1 is 2^24.
/// assert_eq!(dunlin_blocks::lanes::sum_wide(&[16_777_216.0, 1.0, 1.0], |x| x), 16_777_218.0);
/// ```
#[inline]
pub fn sum_wide(floats: &[f32], each: impl Fn(F64x4) -> F64x4) -> f64 {
    let each = |four: &[f32; 4]| each(F64x4::from_lanes(F32x4::from_array(*four)));
    let (blocks, rest) = floats.as_chunks::<8>();
    let mut sums = [F64x4::ZERO; 2];
    for block in blocks {
        for (sum, four) in sums.iter_mut().zip(block.as_chunks::<4>().0) {
            *sum = *sum + each(four);
        }
    }
    let mut total = sums[0] + sums[1];
    let (fours, rest) = rest.as_chunks::<4>();
    for four in fours {
        total = total + each(four);
    }
    rest.iter().fold(total.sum(), |total, x| total + each(&[*x; 4]).to_array()[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_a_bound_is_taken_out() {
        let x = F64x4::from_lanes(F32x4::from_array([-0.5, 2.0, f32::NAN, 1.0]));
        assert!(x.any_below(0.6) && !x.any_below(0.5));
        let [a, b, c, d] = x.zero_where_below(x.abs(), 1.0).to_array();
        assert!((a, b, d) == (0.0, 2.0, 1.0) && c.is_nan());
        assert!(x.greatest(F64x4::ZERO).to_array()[2].is_nan());
        assert_eq!(F64x4::ZERO.greatest(x).to_array(), [0.0, 2.0, 0.0, 1.0]);
    }

    #[test]
    fn every_length_is_summed_whole() {
        let ones = [1.0; 40];
        for length in 0..=ones.len() {
            assert_eq!(sum_wide(&ones[..length], |x| x + x), 2.0 * length as f64);
        }
    }

    #[test]
    fn large_doubles_become_infinite_floats() {
        let [a, ..] = F64x4::splat(1e300).to_lanes().to_array();
        assert_eq!(a, f32::INFINITY);
    }
}
