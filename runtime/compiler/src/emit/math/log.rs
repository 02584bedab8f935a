//! The natural logarithm.
//!
//! ```text
//! log(x) = k ln 2 + log(z)      x = 2^k z      z from 0.699 to 1.398      r = z - 1
//! log(1 + r) = r - r^2 / 2 + r^3 * p(r)        p of degree 7, relative error 5.8e-9
//! ```
//! k is taken from the exponent after z's lower bound was subtracted from the bit pattern, as in Arm's
//! optimized routines. Denormal numbers are multiplied by `2^24` first. ln 2 is taken in two parts.

use super::exp::LN_2;
use super::polynomial_by_parity;
use crate::emit::code::Code;
use crate::emit::expr::{Compare, Expr, One, Shift, Two, Vector};

/// The bits of z's lower bound, 0.69921875.
const LOWEST: u32 = 0x3f33_0000;
/// Sign and exponent.
const EXPONENT: u32 = 0xff80_0000;
/// What denormal numbers are multiplied by, and its logarithm to the base 2.
const UP: (f32, f32) = (16_777_216.0, 24.0);
/// `p(r)` from the lowest power.
const LOG: [f32; 8] = [
    3.333_330_5e-1,
    -2.500_076_3e-1,
    2.000_365_7e-1,
    -1.662_805_2e-1,
    1.414_623_3e-1,
    -1.304_704_4e-1,
    1.312_866_8e-1,
    -8.447_621e-2,
];

/// z and k of a positive finite x.
pub(super) fn split(code: &mut Code, x: Vector) -> (Vector, Vector) {
    let small =
        |then: Expr, otherwise: Expr| Expr::choose(Compare::Less, x, f32::MIN_POSITIVE, then, otherwise);
    let bits = code.set(small(x * UP.0, x.into()));
    let above = code.set(Expr::two(Two::BitsSub, bits, Expr::Bits(LOWEST)));
    let z = code.set(Expr::two(Two::BitsSub, bits, Expr::from(above).and(EXPONENT)));
    let k = Expr::one(One::FromInteger, Expr::from(above).shifted(Shift::RightSigned, 23));
    let k = code.set(k - small(UP.1.into(), Expr::Bits(0)));
    (z, k)
}

/// `log(x)`: minus infinity for 0, NaN below.
pub(super) fn log(code: &mut Code, x: Vector) -> Expr {
    let (z, k) = split(code, x);
    let r = code.set(z - 1.0);
    let square = code.set(r * r);
    let p = polynomial_by_parity(code, &LOG, r, square);
    let sum = code.set(square * r * p);
    code.assign(sum, Expr::mul_add(k, LN_2.1, sum));
    code.assign(sum, Expr::mul_add(square, -0.5, sum));
    code.assign(sum, r + sum);
    let log = code.set(Expr::mul_add(k, LN_2.0, sum));
    // Infinity and NaN are their own logarithms.
    let log = code.set(Expr::choose(Compare::Less, x, f32::INFINITY, log, x));
    let below = Expr::choose(Compare::Less, x, 0.0, f32::NAN, f32::NEG_INFINITY);
    Expr::choose(Compare::LessOrEqual, x, 0.0, below, log)
}
