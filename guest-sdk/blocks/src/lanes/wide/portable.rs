//! Four doubles in an array: what compilers turn into the vectors that the machine has.

pub(super) type Four = [f64; 4];

#[inline(always)]
pub(super) const fn splat(double: f64) -> Four {
    [double; 4]
}

#[inline(always)]
pub(super) fn promote(floats: [f32; 4]) -> Four {
    floats.map(f64::from)
}

#[inline(always)]
pub(super) fn demote(four: Four) -> [f32; 4] {
    four.map(|x| x as f32)
}

#[inline(always)]
pub(super) fn array(four: Four) -> [f64; 4] {
    four
}

#[inline(always)]
fn each(a: Four, b: Four, operation: impl Fn(f64, f64) -> f64) -> Four {
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
pub(super) fn abs(four: Four) -> Four {
    four.map(f64::abs)
}

#[inline(always)]
pub(super) fn any_below(four: Four, bound: f64) -> bool {
    four.iter().any(|x| x.abs() < bound)
}

#[inline(always)]
pub(super) fn zero_where_below(four: Four, other: Four, bound: f64) -> Four {
    each(four, other, |x, other| if other < bound { 0.0 } else { x })
}

#[inline(always)]
pub(super) fn greatest(a: Four, b: Four) -> Four {
    each(a, b, |a, b| if a < b { b } else { a })
}
