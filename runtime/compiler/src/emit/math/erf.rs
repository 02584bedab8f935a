//! The error function.
//!
//! ```text
//! erf(x) = 1 - exp(-g(|x|))      with the sign of x; from 3.93 on it is 1
//! g(t) = -log(1 - erf(t)) = t + t * h(t)          h of degree 8, relative error of the result 4.2e-9
//! ```
//! g is smooth and almost a parabola, so one polynomial is enough for the whole range, and the error of
//! g fades with exp(-g).

use super::exp::exp_less_1;
use super::polynomial_by_parity;
use crate::emit::code::Code;
use crate::emit::expr::{Expr, One, Two, Vector};

/// From here on erf is 1.
const MOST: f32 = 3.93;
/// `-h(t)` from the lowest power.
const MINUS_H: [f32; 9] = [
    -1.283_791_7e-1,
    -6.366_195_7e-1,
    -1.027_763e-1,
    1.914_777_2e-2,
    1.696_291_3e-4,
    -1.675_825_6e-3,
    6.374_552_6e-4,
    -1.188_892_8e-4,
    9.391_277e-6,
];

/// The error function of x.
pub(super) fn erf(code: &mut Code, x: Vector) -> Expr {
    let size = code.set(Expr::one(One::Abs, x).at_most(MOST));
    let square = code.set(size * size);
    let minus_h = polynomial_by_parity(code, &MINUS_H, size, square);
    let minus_g = code.set(Expr::mul_add(minus_h, size, Expr::one(One::Neg, size)));
    let (p, power) = exp_less_1(code, minus_g);
    Expr::two(Two::CopySign, Expr::mul_add(p, power, power - 1.0), x)
}
