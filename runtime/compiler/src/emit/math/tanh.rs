//! The hyperbolic tangent.
//!
//! ```text
//! tanh(|x|) = (1 - e) / (1 + e)      e = exp(-2 |x|); from 9.02 on it is 1
//! ```
//! One formula for the whole range, because `1 - e` has all its digits near 0 too. Both the difference and
//! the sum are rounded once.

use super::exp::exp_less_1;
use crate::emit::code::Code;
use crate::emit::expr::{Expr, One, Two, Vector};

/// From here on tanh is 1.
const MOST: f32 = 9.02;

/// The hyperbolic tangent of x.
pub(super) fn tanh(code: &mut Code, x: Vector) -> Expr {
    let size = Expr::one(One::Abs, x).at_most(MOST);
    let exponent = code.set(size * -2.0);
    let (p, power) = exp_less_1(code, exponent);
    let difference = Expr::mul_add(p, power, power - 1.0);
    let sum = Expr::mul_add(p, power, power + 1.0);
    Expr::two(Two::CopySign, difference / sum, x)
}
