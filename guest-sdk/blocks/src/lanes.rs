//! Four floats at a time, with the same bits on every target: what the kernels of this crate are written
//! over.
//!
//! In WebAssembly with `simd128` an [`F32x4`] is one 128-bit vector, elsewhere four floats in an array,
//! which compilers turn into the vectors that the machine has. Each operation rounds once, as IEEE 754
//! says; there is no fused multiply-add and no relaxed SIMD. [`dot`] and [`sum`] fix the order of
//! additions.

use core::ops::{Add, Div, Mul, Sub};

#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
#[path = "lanes/portable.rs"]
mod four;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[path = "lanes/vector.rs"]
mod four;
mod wide;

pub use wide::{F64x4, sum_wide};

/// Four floats, on which every operation works lane by lane.
///
/// ```
/// use dunlin_blocks::lanes::F32x4;
///
/// let x = F32x4::from_array([1.0, 2.0, 3.0, 4.0]);
/// let y = x * x + F32x4::splat(0.5);
/// assert_eq!(y.to_array(), [1.5, 4.5, 9.5, 16.5]);
/// assert_eq!(y.sum(), 32.0);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct F32x4(four::Four);

impl F32x4 {
    /// Four zeros.
    pub const ZERO: F32x4 = F32x4::from_array([0.0; 4]);

    /// The four floats of an array.
    #[inline(always)]
    pub const fn from_array(floats: [f32; 4]) -> F32x4 {
        F32x4(four::new(floats))
    }

    /// One float in every lane.
    #[inline(always)]
    pub const fn splat(float: f32) -> F32x4 {
        F32x4::from_array([float; 4])
    }

    /// The lanes as an array.
    #[inline(always)]
    pub fn to_array(self) -> [f32; 4] {
        four::array(self.0)
    }

    /// The square root of each lane, correctly rounded; NaN for what is below zero.
    #[inline(always)]
    pub fn sqrt(self) -> F32x4 {
        F32x4(four::sqrt(self.0))
    }

    /// The magnitude of each lane.
    #[inline(always)]
    pub fn abs(self) -> F32x4 {
        F32x4(four::abs(self.0))
    }

    /// Whether a lane's magnitude is below `bound`. A NaN is not.
    #[inline(always)]
    pub fn any_below(self, bound: f32) -> bool {
        four::any_below(self.0, bound)
    }

    /// 0 in the lanes where `other` is below `bound`; the rest, and where `other` is NaN, as it is.
    #[inline(always)]
    pub fn zero_where_below(self, other: F32x4, bound: f32) -> F32x4 {
        F32x4(four::zero_where_below(self.0, other.0, bound))
    }

    /// In each lane the lesser of both; NaN where one of them is NaN.
    #[inline(always)]
    pub fn least_or_nan(self, other: F32x4) -> F32x4 {
        F32x4(four::least_or_nan(self.0, other.0))
    }

    /// In each lane the greater of both; NaN where one of them is NaN.
    #[inline(always)]
    pub fn greatest_or_nan(self, other: F32x4) -> F32x4 {
        F32x4(four::greatest_or_nan(self.0, other.0))
    }

    /// In each lane `other` where it is less than `self`, else `self`: a NaN in `other` is passed over,
    /// one in `self` stays.
    #[inline(always)]
    pub fn least(self, other: F32x4) -> F32x4 {
        F32x4(four::least(self.0, other.0))
    }

    /// In each lane `other` where it is greater than `self`, else `self`: a NaN in `other` is passed
    /// over, one in `self` stays.
    #[inline(always)]
    pub fn greatest(self, other: F32x4) -> F32x4 {
        F32x4(four::greatest(self.0, other.0))
    }

    /// The sum of the lanes: (0 + 2) + (1 + 3).
    #[inline(always)]
    pub fn sum(self) -> f32 {
        let [a, b, c, d] = self.to_array();
        (a + c) + (b + d)
    }

    /// The even and the odd lanes of eight floats in a row: `[0, 2, 4, 6]` and `[1, 3, 5, 7]`.
    #[inline(always)]
    pub fn unzip(first: F32x4, second: F32x4) -> (F32x4, F32x4) {
        let (even, odd) = four::unzip(first.0, second.0);
        (F32x4(even), F32x4(odd))
    }

    /// Row r, lane c of the result is row c, lane r of the rows.
    #[inline(always)]
    pub fn transpose(rows: [F32x4; 4]) -> [F32x4; 4] {
        four::transpose(rows.map(|row| row.0)).map(F32x4)
    }

    /// Lane 0 of `head`, then lanes 3, 2 and 1 of `self`: how a spectrum is read backwards, from a
    /// multiple of four down.
    #[inline(always)]
    pub fn mirror(self, head: F32x4) -> F32x4 {
        F32x4(four::mirror(self.0, head.0))
    }

    /// The lanes from last to first.
    #[inline(always)]
    pub fn reversed(self) -> F32x4 {
        F32x4(four::reversed(self.0))
    }
}

macro_rules! operator {
    ($($name:ident $method:ident;)*) => {$(
        impl $name for F32x4 {
            type Output = F32x4;

            #[inline(always)]
            fn $method(self, other: F32x4) -> F32x4 {
                F32x4(four::$method(self.0, other.0))
            }
        }
    )*};
}
operator! { Add add; Sub sub; Mul mul; Div div; }

/// The scalar product of two slices, as far as the shorter one goes.
///
/// Four vectors of sums run side by side over blocks of 16, are added as (0 + 2) + (1 + 3), take the rest
/// four by four, and are summed; the last one to three products come at the end. NaN where a product is
/// NaN.
///
/// ```
/// assert_eq!(dunlin_blocks::lanes::dot(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]), 32.0);
/// ```
#[inline]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let length = a.len().min(b.len());
    let (a, b) = (&a[..length], &b[..length]);
    let ((a16, a), (b16, b)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    let mut sums = [F32x4::ZERO; 4];
    for (a, b) in a16.iter().zip(b16) {
        let (a, b) = (a.as_chunks::<4>().0, b.as_chunks::<4>().0);
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum = *sum + F32x4::from_array(*a) * F32x4::from_array(*b);
        }
    }
    let mut total = (sums[0] + sums[2]) + (sums[1] + sums[3]);
    let ((a4, a), (b4, b)) = (a.as_chunks::<4>(), b.as_chunks::<4>());
    for (a, b) in a4.iter().zip(b4) {
        total = total + F32x4::from_array(*a) * F32x4::from_array(*b);
    }
    a.iter().zip(b).fold(total.sum(), |total, (a, b)| total + a * b)
}

/// The sum of `each` of the floats, in the order of [`dot`].
///
/// ```
/// let floats = [1.0, 2.0, 3.0, 4.0, 5.0];
/// assert_eq!(dunlin_blocks::lanes::sum(&floats, |x| x * x), 55.0);
/// ```
#[inline]
pub fn sum(floats: &[f32], each: impl Fn(F32x4) -> F32x4) -> f32 {
    let (blocks, rest) = floats.as_chunks::<16>();
    let mut sums = [F32x4::ZERO; 4];
    for block in blocks {
        for (sum, four) in sums.iter_mut().zip(block.as_chunks::<4>().0) {
            *sum = *sum + each(F32x4::from_array(*four));
        }
    }
    let mut total = (sums[0] + sums[2]) + (sums[1] + sums[3]);
    let (fours, rest) = rest.as_chunks::<4>();
    for four in fours {
        total = total + each(F32x4::from_array(*four));
    }
    rest.iter().fold(total.sum(), |total, x| total + each(F32x4::splat(*x)).to_array()[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffles_put_lanes_where_their_docs_say() {
        let [a, b] = [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]].map(F32x4::from_array);
        let (even, odd) = F32x4::unzip(a, b);
        assert_eq!((even.to_array(), odd.to_array()), ([0.0, 2.0, 4.0, 6.0], [1.0, 3.0, 5.0, 7.0]));
        assert_eq!(b.mirror(a).to_array(), [0.0, 7.0, 6.0, 5.0]);
        assert_eq!(b.reversed().to_array(), [7.0, 6.0, 5.0, 4.0]);
        let [c, d] = [[8.0, 9.0, 10.0, 11.0], [12.0, 13.0, 14.0, 15.0]].map(F32x4::from_array);
        let columns = F32x4::transpose([a, b, c, d]).map(F32x4::to_array);
        assert_eq!(columns[1], [1.0, 5.0, 9.0, 13.0]);
        assert_eq!(columns[3], [3.0, 7.0, 11.0, 15.0]);
    }

    #[test]
    fn least_and_greatest_pass_over_a_nan_in_the_other() {
        let [x, nan] = [1.0, f32::NAN].map(F32x4::splat);
        assert_eq!(x.least(nan).to_array(), [1.0; 4]);
        assert_eq!(x.greatest(nan).to_array(), [1.0; 4]);
        assert!(nan.least(x).to_array()[0].is_nan());
        for of in [F32x4::least_or_nan, F32x4::greatest_or_nan] {
            assert!(of(x, nan).to_array()[3].is_nan() && of(nan, x).to_array()[0].is_nan());
        }
        let two = F32x4::splat(2.0);
        assert_eq!((x.least_or_nan(two).to_array(), x.greatest_or_nan(two).to_array()), ([1.0; 4], [2.0; 4]));
    }

    #[test]
    fn what_is_below_a_bound_is_taken_out() {
        let x = F32x4::from_array([-0.5, 2.0, f32::NAN, 1.0]);
        assert!(x.any_below(0.6) && !x.any_below(0.5) && !F32x4::splat(f32::NAN).any_below(9.0));
        let [a, b, c, d] = x.zero_where_below(x.abs(), 1.0).to_array();
        assert!((a, b, d) == (0.0, 2.0, 1.0) && c.is_nan());
    }

    #[test]
    fn every_length_is_summed_whole() {
        let ones = [1.0; 70];
        for length in 0..=ones.len() {
            assert_eq!(dot(&ones[..length], &ones), length as f32);
            assert_eq!(sum(&ones[..length], |x| x + x), 2.0 * length as f32);
        }
    }
}
