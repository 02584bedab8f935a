//! exp, exp - 1 and sigmoid.
//!
//! ```text
//! exp(x) = 2^n * exp(r)      n = round(x / ln 2)      r = x - n ln 2      |r| <= ln 2 / 2
//! exp(r) = 1 + r + r^2 * p(r)                          p of degree 4, relative error 3.2e-9
//! ```
//! x / ln 2 is added to a number so large that the sum is rounded to an integer, which then stands in
//! its low bits; shifted to the exponent, those bits are a power of two. ln 2 is taken in two parts, the
//! first so short that its products with n are exact.
//!
//! One exponent reaches from 2^-126 to 2^127. Results from the smallest denormal to the greatest number
//! need `2^-150` to `2^128`: two factors. A result of at most 1 needs one factor, `2^(n + 24)`, and a
//! last multiplication by `2^-24`, which rounds denormal results correctly.
//!
//! `sigmoid(x) = 1 / (1 + exp(-x)) = 2^-24 / (2^-24 + 2^-24 exp(-x))`, again with one factor, because
//! above 20 it is 1 and below -104 it is 0.
//!
//! `exp(x) - 1 = 2^n * (exp(r) - 1) + (2^n - 1)` has small relative errors near 0 and small absolute ones
//! elsewhere; `exp(r) - 1 = r + r^2 * q(r)` with q of degree 4 has a relative error of 1.4e-8.

use super::polynomial_by_parity;
use crate::emit::code::Code;
use crate::emit::expr::{Expr, Shift, Two, Vector};

/// `1.5 * 2^23`: adding it rounds to an integer.
pub(super) const ROUND: f32 = 12_582_912.0;
/// ln 2 in two parts; the first has 10 bits.
pub(super) const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
/// The exponent of 1.
const BIAS: f32 = 127.0;
/// Below this exp is 0.
const LEAST: f32 = -104.0;
/// Above this exp is infinite.
const MOST: f32 = 89.0;
/// Above this sigmoid is 1.
const SIGMOID_MOST: f32 = 20.0;
/// Places that results of at most 1 are moved by.
const MOVED: f32 = 24.0;
/// `2^-24`
const MOVED_BACK: f32 = 1.0 / 16_777_216.0;
/// `(exp(r) - 1 - r) / r^2` from the lowest power, for an error relative to `exp(r)`.
const EXP: [f32; 5] = [4.999_999_4e-1, 1.666_652e-1, 4.166_824_4e-2, 8.368_84e-3, 1.382_294_8e-3];
/// The same for an error relative to `exp(r) - 1`.
const EXP_LESS_1: [f32; 5] = [4.999_999_7e-1, 1.666_654_5e-1, 4.166_746e-2, 8.366_432e-3, 1.386_843_5e-3];

/// `n = round(x * factor)`, and with it the number whose low bits are `n + bias`.
fn rounded(code: &mut Code, x: Vector, factor: f32, bias: f32) -> (Vector, Vector) {
    let bits = code.set(Expr::mul_add(x, factor, ROUND + bias));
    let n = code.set(bits - (ROUND + bias));
    (bits, n)
}

/// `exp(x - n ln 2)` for the nearest n, and with it the number whose low bits are `n + bias`.
fn reduced(code: &mut Code, x: Vector, bias: f32) -> (Vector, Vector) {
    let (bits, n) = rounded(code, x, std::f32::consts::LOG2_E, bias);
    let r = code.set(Expr::mul_add(n, -LN_2.0, x));
    let r = code.set(Expr::mul_add(n, -LN_2.1, r));
    let square = code.set(r * r);
    let p = polynomial_by_parity(code, &EXP, r, square);
    (code.set(Expr::mul_add(p, square, r) + 1.0), bits)
}

/// `e^x`
pub(crate) fn exp(code: &mut Code, x: Vector) -> Expr {
    let x = code.set(Expr::from(x).at_least(LEAST).at_most(MOST));
    let (exp_r, bits) = reduced(code, x, 2.0 * BIAS);
    scaled(code, exp_r, bits)
}

/// `a * 2^n`, where the low bits of the second are `n + 254`, for n from -254 to 254.
pub(super) fn scaled(code: &mut Code, a: Vector, bits: Vector) -> Expr {
    // floor(n / 2) + 127 and what is left of n, with 127 more.
    let half = code.set(Expr::from(bits).shifted(Shift::Right, 1));
    let rest = Expr::two(Two::BitsSub, bits, half);
    a * Expr::from(half).shifted(Shift::Left, 23) * rest.shifted(Shift::Left, 23)
}

/// `e^x` for x up to 0, where one power of two is enough. Up to 70 it still holds.
pub(crate) fn exp_of_nonpositive(code: &mut Code, x: Vector) -> Expr {
    let x = code.set(Expr::from(x).at_least(LEAST));
    let (exp_r, bits) = reduced(code, x, BIAS + MOVED);
    exp_r * Expr::from(bits).shifted(Shift::Left, 23) * MOVED_BACK
}

/// `1 / (1 + exp(-x))`
pub(super) fn sigmoid(code: &mut Code, x: Vector) -> Expr {
    let x = code.set(Expr::from(x).at_least(LEAST).at_most(SIGMOID_MOST));
    let (bits, n) = rounded(code, x, -std::f32::consts::LOG2_E, BIAS - MOVED);
    // -r: exp(r) = 1 - (-r + r^2 * -p(r)).
    let r = code.set(Expr::mul_add(n, LN_2.0, x));
    let r = code.set(Expr::mul_add(n, LN_2.1, r));
    let [c2, c3, c4, c5, c6] = EXP;
    let square = code.set(r * r);
    let p = polynomial_by_parity(code, &[-c2, c3, -c4, c5, -c6], r, square);
    let exp_r = Expr::Number(1.0) - Expr::mul_add(p, square, r);
    let power = Expr::from(bits).shifted(Shift::Left, 23);
    Expr::Number(MOVED_BACK) / Expr::mul_add(exp_r, power, MOVED_BACK)
}

/// `p = e^r - 1` and `2^n` of an x from -80 to 80, so that `e^x - 1 = 2^n p + (2^n - 1)`. ln 2 has one part
/// here, so far from 0 `e^x` has an error of some `2^-25 x`.
pub(super) fn exp_less_1(code: &mut Code, x: Vector) -> (Vector, Vector) {
    let (bits, n) = rounded(code, x, std::f32::consts::LOG2_E, BIAS);
    let r = code.set(Expr::mul_add(n, -std::f32::consts::LN_2, x));
    let square = code.set(r * r);
    let p = polynomial_by_parity(code, &EXP_LESS_1, r, square);
    let exp_r_less_1 = code.set(Expr::mul_add(p, square, r));
    (exp_r_less_1, code.set(Expr::from(bits).shifted(Shift::Left, 23)))
}
