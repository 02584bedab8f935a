//! Four floats in one vector of WebAssembly. The intrinsics are safe functions, as the whole build has the
//! feature.

use core::arch::wasm32::{
    f32x4, f32x4_abs, f32x4_add, f32x4_div, f32x4_extract_lane, f32x4_lt, f32x4_mul, f32x4_ne, f32x4_pmax,
    f32x4_pmin, f32x4_splat, f32x4_sqrt, f32x4_sub, i32x4_shuffle, v128, v128_andnot, v128_any_true,
    v128_bitselect, v128_or,
};

pub(super) type Four = v128;

#[inline(always)]
pub(super) const fn new([a, b, c, d]: [f32; 4]) -> Four {
    f32x4(a, b, c, d)
}

#[inline(always)]
pub(super) fn array(four: Four) -> [f32; 4] {
    [
        f32x4_extract_lane::<0>(four),
        f32x4_extract_lane::<1>(four),
        f32x4_extract_lane::<2>(four),
        f32x4_extract_lane::<3>(four),
    ]
}

#[inline(always)]
pub(super) fn add(a: Four, b: Four) -> Four {
    f32x4_add(a, b)
}

#[inline(always)]
pub(super) fn sub(a: Four, b: Four) -> Four {
    f32x4_sub(a, b)
}

#[inline(always)]
pub(super) fn mul(a: Four, b: Four) -> Four {
    f32x4_mul(a, b)
}

#[inline(always)]
pub(super) fn div(a: Four, b: Four) -> Four {
    f32x4_div(a, b)
}

#[inline(always)]
pub(super) fn sqrt(four: Four) -> Four {
    f32x4_sqrt(four)
}

#[inline(always)]
pub(super) fn abs(four: Four) -> Four {
    f32x4_abs(four)
}

#[inline(always)]
pub(super) fn any_below(four: Four, bound: f32) -> bool {
    v128_any_true(f32x4_lt(f32x4_abs(four), f32x4_splat(bound)))
}

#[inline(always)]
pub(super) fn zero_where_below(four: Four, other: Four, bound: f32) -> Four {
    v128_andnot(four, f32x4_lt(other, f32x4_splat(bound)))
}

#[inline(always)]
pub(super) fn least(a: Four, b: Four) -> Four {
    f32x4_pmin(a, b)
}

#[inline(always)]
pub(super) fn greatest(a: Four, b: Four) -> Four {
    f32x4_pmax(a, b)
}

#[inline(always)]
pub(super) fn least_or_nan(a: Four, b: Four) -> Four {
    v128_bitselect(b, a, v128_or(f32x4_lt(b, a), f32x4_ne(b, b)))
}

#[inline(always)]
pub(super) fn greatest_or_nan(a: Four, b: Four) -> Four {
    v128_bitselect(b, a, v128_or(f32x4_lt(a, b), f32x4_ne(b, b)))
}

#[inline(always)]
pub(super) fn unzip(a: Four, b: Four) -> (Four, Four) {
    (i32x4_shuffle::<0, 2, 4, 6>(a, b), i32x4_shuffle::<1, 3, 5, 7>(a, b))
}

#[inline(always)]
pub(super) fn transpose([a, b, c, d]: [Four; 4]) -> [Four; 4] {
    let (ab_low, ab_high) = (i32x4_shuffle::<0, 4, 1, 5>(a, b), i32x4_shuffle::<2, 6, 3, 7>(a, b));
    let (cd_low, cd_high) = (i32x4_shuffle::<0, 4, 1, 5>(c, d), i32x4_shuffle::<2, 6, 3, 7>(c, d));
    [
        i32x4_shuffle::<0, 1, 4, 5>(ab_low, cd_low),
        i32x4_shuffle::<2, 3, 6, 7>(ab_low, cd_low),
        i32x4_shuffle::<0, 1, 4, 5>(ab_high, cd_high),
        i32x4_shuffle::<2, 3, 6, 7>(ab_high, cd_high),
    ]
}

#[inline(always)]
pub(super) fn mirror(four: Four, head: Four) -> Four {
    i32x4_shuffle::<0, 7, 6, 5>(head, four)
}

#[inline(always)]
pub(super) fn reversed(four: Four) -> Four {
    i32x4_shuffle::<3, 2, 1, 0>(four, four)
}
