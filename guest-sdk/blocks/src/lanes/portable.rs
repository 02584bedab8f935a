//! Four floats in an array: what compilers turn into the vectors that the machine has.

pub(super) type Four = [f32; 4];

#[inline(always)]
pub(super) const fn new(floats: [f32; 4]) -> Four {
    floats
}

#[inline(always)]
pub(super) fn array(four: Four) -> [f32; 4] {
    four
}

#[inline(always)]
fn each(a: Four, b: Four, operation: impl Fn(f32, f32) -> f32) -> Four {
    [operation(a[0], b[0]), operation(a[1], b[1]), operation(a[2], b[2]), operation(a[3], b[3])]
}

#[inline(always)]
pub(super) fn add(a: Four, b: Four) -> Four {
    each(a, b, |a, b| a + b)
}

#[inline(always)]
pub(super) fn sub(a: Four, b: Four) -> Four {
    each(a, b, |a, b| a - b)
}

#[inline(always)]
pub(super) fn mul(a: Four, b: Four) -> Four {
    each(a, b, |a, b| a * b)
}

#[inline(always)]
pub(super) fn div(a: Four, b: Four) -> Four {
    each(a, b, |a, b| a / b)
}

#[inline(always)]
pub(super) fn sqrt(four: Four) -> Four {
    four.map(libm::sqrtf)
}

#[inline(always)]
pub(super) fn abs(four: Four) -> Four {
    four.map(f32::abs)
}

#[inline(always)]
pub(super) fn any_below(four: Four, bound: f32) -> bool {
    four.iter().any(|x| x.abs() < bound)
}

#[inline(always)]
pub(super) fn zero_where_below(four: Four, other: Four, bound: f32) -> Four {
    each(four, other, |x, other| if other < bound { 0.0 } else { x })
}

#[inline(always)]
pub(super) fn least(a: Four, b: Four) -> Four {
    each(a, b, |a, b| if b < a { b } else { a })
}

#[inline(always)]
pub(super) fn greatest(a: Four, b: Four) -> Four {
    each(a, b, |a, b| if a < b { b } else { a })
}

#[inline(always)]
pub(super) fn least_or_nan(a: Four, b: Four) -> Four {
    each(a, b, |a, b| if b < a || b.is_nan() { b } else { a })
}

#[inline(always)]
pub(super) fn greatest_or_nan(a: Four, b: Four) -> Four {
    each(a, b, |a, b| if a < b || b.is_nan() { b } else { a })
}

#[inline(always)]
pub(super) fn unzip(a: Four, b: Four) -> (Four, Four) {
    ([a[0], a[2], b[0], b[2]], [a[1], a[3], b[1], b[3]])
}

#[inline(always)]
pub(super) fn transpose([a, b, c, d]: [Four; 4]) -> [Four; 4] {
    [[a[0], b[0], c[0], d[0]], [a[1], b[1], c[1], d[1]], [a[2], b[2], c[2], d[2]], [a[3], b[3], c[3], d[3]]]
}

#[inline(always)]
pub(super) fn mirror(four: Four, head: Four) -> Four {
    [head[0], four[3], four[2], four[1]]
}

#[inline(always)]
pub(super) fn reversed(four: Four) -> Four {
    [four[3], four[2], four[1], four[0]]
}
