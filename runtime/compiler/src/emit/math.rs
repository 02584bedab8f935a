//! exp, sigmoid and tanh as polynomials over vectors.
//!
//! The coefficients are those of `expf` and `tanhf` in S. Moshier's Cephes library (single precision,
//! release 2.2, 1992). Errors against libm in f64 over the whole range, as the test in
//! `tests/compiler/math.rs` measures them and holds them: see `docs/compiler.md`. Infinities give the limits,
//! NaN gives NaN.
// Digits as published, more than f32 holds.
#![allow(clippy::excessive_precision, clippy::unreadable_literal)]

use super::code::Code;
use super::expr::{Expr, Shift, Two, Vector};
use crate::graph::Unary;

/// `1.5 * 2^23`: adding it rounds to an integer, which is then in the low bits.
const ROUND: f32 = 12_582_912.0;
/// `ln 2` in two parts; the first has few bits, so that its small multiples are exact.
const LN_2: (f32, f32) = (0.693359375, -2.12194440e-4);
/// Below this exp is 0, above that infinite.
const EXP_RANGE: (f32, f32) = (-104.0, 89.0);
/// `exp(r) = 1 + r + r^2 * p(r)` for `|r| <= ln 2 / 2`, from the highest power.
const EXP: [f32; 6] =
    [1.9875691500E-4, 1.3981999507E-3, 8.3334519073E-3, 4.1665795894E-2, 1.6666665459E-1, 5.0000001201E-1];
/// `tanh(x) = x + x^3 * p(x^2)` for `|x| < 0.625`, from the highest power.
const TANH: [f32; 5] =
    [-5.70498872745E-3, 2.06390887954E-2, -5.37397155531E-2, 1.33314422036E-1, -3.33332819422E-1];
/// Where tanh changes from the polynomial to exp.
const TANH_SMALL: f32 = 0.625;

/// `function(x)`.
pub(super) fn apply(code: &mut Code, function: Unary, x: Vector) -> Expr {
    match function {
        Unary::Identity => x.into(),
        Unary::Relu => Expr::from(x).at_least(0.0),
        Unary::Sigmoid => sigmoid(code, x),
        Unary::Tanh => tanh(code, x),
    }
}

/// `((c0 * x + c1) * x + c2) * x + …`
fn horner(code: &mut Code, coefficients: &[f32], x: Vector) -> Vector {
    let (first, rest) = coefficients.split_first().unwrap_or((&0.0, &[]));
    let mut sum = code.set(*first);
    for coefficient in rest {
        sum = code.set(Expr::mul_add(sum, x, *coefficient));
    }
    sum
}

/// `exp(x) = 2^n * exp(r)` with `n = round(x / ln 2)` and `r = x - n ln 2`.
pub(super) fn exp(code: &mut Code, x: Vector) -> Expr {
    let x = code.set(Expr::from(x).at_least(EXP_RANGE.0).at_most(EXP_RANGE.1));
    let rounded = code.set(Expr::mul_add(x, std::f32::consts::LOG2_E, ROUND));
    let n = code.set(rounded - ROUND);
    let r = code.set(Expr::mul_add(n, -LN_2.0, x));
    let r = code.set(Expr::mul_add(n, -LN_2.1, r));
    let p = horner(code, &EXP, r);
    let square = code.set(r * r);
    let exp_r = code.set(Expr::mul_add(p, square, r) + 1.0);
    // 2^n is the product of two powers, because n reaches from -150 to 128 and one exponent does not.
    let power = |n: Expr| Expr::two(Two::BitsAdd, n, Expr::Bits(127)).shifted(Shift::Left, 23);
    let n = code.set(Expr::two(Two::BitsSub, rounded, Expr::Bits(ROUND.to_bits())));
    let half = code.set(Expr::from(n).shifted(Shift::RightSigned, 1));
    let rest = Expr::two(Two::BitsSub, n, half);
    exp_r * power(half.into()) * power(rest)
}

/// `1 / (1 + e)` for `x >= 0` and `e / (1 + e)` for `x < 0`, with `e = exp(-|x|)`, which is never large.
fn sigmoid(code: &mut Code, x: Vector) -> Expr {
    let distance = code.set(Expr::Number(0.0) - Expr::Abs(Box::new(x.into())));
    let exp = exp(code, distance);
    let exp = code.set(exp);
    Expr::if_less(x, 0.0, exp, 1.0) / (exp + 1.0)
}

/// A polynomial near 0, `1 - 2 / (exp(2 |x|) + 1)` elsewhere, with the sign of x.
fn tanh(code: &mut Code, x: Vector) -> Expr {
    let size = code.set(Expr::Abs(Box::new(x.into())));
    let double = code.set(size + size);
    let exp = exp(code, double);
    let large = Expr::Number(1.0) - Expr::Number(2.0) / (exp + 1.0);
    let square = code.set(size * size);
    let p = horner(code, &TANH, square);
    let small = Expr::mul_add(square * p, size, size);
    Expr::two(Two::CopySign, Expr::if_less(size, TANH_SMALL, small, large), x)
}
