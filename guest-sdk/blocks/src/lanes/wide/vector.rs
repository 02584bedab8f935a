//! Four doubles in two vectors of WebAssembly.

use core::arch::wasm32::{
    f32x4_demote_f64x2_zero, f64x2, f64x2_abs, f64x2_add, f64x2_extract_lane, f64x2_lt, f64x2_mul,
    f64x2_pmax, f64x2_promote_low_f32x4, f64x2_splat, f64x2_sub, i32x4_shuffle, v128, v128_andnot,
    v128_any_true, v128_or,
};

pub(super) type Four = [v128; 2];

#[inline(always)]
pub(super) const fn splat(double: f64) -> Four {
    [f64x2(double, double); 2]
}

#[inline(always)]
pub(super) fn promote(floats: v128) -> Four {
    let high = i32x4_shuffle::<2, 3, 2, 3>(floats, floats);
    [f64x2_promote_low_f32x4(floats), f64x2_promote_low_f32x4(high)]
}

#[inline(always)]
pub(super) fn demote([low, high]: Four) -> v128 {
    i32x4_shuffle::<0, 1, 4, 5>(f32x4_demote_f64x2_zero(low), f32x4_demote_f64x2_zero(high))
}

#[inline(always)]
pub(super) fn array([low, high]: Four) -> [f64; 4] {
    [
        f64x2_extract_lane::<0>(low),
        f64x2_extract_lane::<1>(low),
        f64x2_extract_lane::<0>(high),
        f64x2_extract_lane::<1>(high),
    ]
}

#[inline(always)]
pub(super) fn add(a: Four, b: Four) -> Four {
    [f64x2_add(a[0], b[0]), f64x2_add(a[1], b[1])]
}

#[inline(always)]
pub(super) fn sub(a: Four, b: Four) -> Four {
    [f64x2_sub(a[0], b[0]), f64x2_sub(a[1], b[1])]
}

#[inline(always)]
pub(super) fn mul(a: Four, b: Four) -> Four {
    [f64x2_mul(a[0], b[0]), f64x2_mul(a[1], b[1])]
}

#[inline(always)]
pub(super) fn abs([low, high]: Four) -> Four {
    [f64x2_abs(low), f64x2_abs(high)]
}

#[inline(always)]
pub(super) fn any_below([low, high]: Four, bound: f64) -> bool {
    let bound = f64x2_splat(bound);
    v128_any_true(v128_or(f64x2_lt(f64x2_abs(low), bound), f64x2_lt(f64x2_abs(high), bound)))
}

#[inline(always)]
pub(super) fn zero_where_below(four: Four, other: Four, bound: f64) -> Four {
    let bound = f64x2_splat(bound);
    [v128_andnot(four[0], f64x2_lt(other[0], bound)), v128_andnot(four[1], f64x2_lt(other[1], bound))]
}

#[inline(always)]
pub(super) fn greatest(a: Four, b: Four) -> Four {
    [f64x2_pmax(a[0], b[0]), f64x2_pmax(a[1], b[1])]
}
