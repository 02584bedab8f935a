//! The functions of [`Unary`] and [`Binary`] over vectors, without branches, at every SIMD level.
//!
//! What the machine has is one instruction; the others are a file a family, each of which opens with
//! its formula, the ranges it holds for and where its coefficients come from. Coefficients without
//! another source are minimax fits of the relative error, rounded to f32 one by one with the others
//! fitted anew. The formulas hold whether or not a multiply-add is fused. `tests.rs` holds the errors,
//! which `docs/compiler.md` lists.

mod erf;
mod exp;
mod log;
mod power;
mod tanh;
#[cfg(test)]
mod tests;
mod trigonometry;

use super::code::Code;
use super::expr::{Compare, Expr, One, Two, Vector};
use crate::program::{Binary, Unary};

/// The bit of the sign.
const SIGN: u32 = 0x8000_0000;

/// An operand of a function of two numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Operand {
    /// A vector.
    Vector(Vector),
    /// The same number in every lane, which may allow for a shorter formula.
    Number(f32),
}

impl From<Vector> for Operand {
    fn from(vector: Vector) -> Operand {
        Operand::Vector(vector)
    }
}

impl From<Operand> for Expr {
    fn from(operand: Operand) -> Expr {
        match operand {
            Operand::Vector(vector) => Expr::Local(vector),
            Operand::Number(number) => Expr::Number(number),
        }
    }
}

impl Operand {
    /// A local with this operand.
    pub(crate) fn into_vector(self, code: &mut Code) -> Vector {
        match self {
            Operand::Vector(vector) => vector,
            Operand::Number(number) => code.set(number),
        }
    }
}

/// `function(x)`.
pub(crate) fn unary(code: &mut Code, function: Unary, x: Vector) -> Expr {
    match function {
        Unary::Neg => Expr::one(One::Neg, x),
        Unary::Abs => Expr::one(One::Abs, x),
        Unary::Sqrt => Expr::one(One::Sqrt, x),
        Unary::Floor => Expr::one(One::Floor, x),
        Unary::Ceil => Expr::one(One::Ceil, x),
        Unary::Trunc => Expr::one(One::Trunc, x),
        Unary::Nearest => Expr::one(One::Nearest, x),
        Unary::Exp => exp::exp(code, x),
        Unary::ExpDown => exp::exp_of_nonpositive(code, x),
        Unary::Log => log::log(code, x),
        Unary::Sin => trigonometry::sin(code, x),
        Unary::Cos => trigonometry::cos(code, x),
        Unary::Tanh => tanh::tanh(code, x),
        Unary::Sigmoid => exp::sigmoid(code, x),
        Unary::Erf => erf::erf(code, x),
    }
}

/// `function(a, b)`.
pub(crate) fn binary(
    code: &mut Code,
    function: Binary,
    a: impl Into<Operand>,
    b: impl Into<Operand>,
) -> Expr {
    let (a, b) = (a.into(), b.into());
    match function {
        Binary::Add => Expr::from(a) + b,
        Binary::Sub => Expr::from(a) - b,
        Binary::Mul => Expr::from(a) * b,
        Binary::Div => Expr::from(a) / b,
        Binary::Min => extreme(code, Expr::at_most, a, b),
        Binary::Max => extreme(code, Expr::at_least, a, b),
        Binary::Pow => power::pow(code, a, b),
        Binary::Equal => Expr::choose(Compare::Equal, a, b, 1.0, Expr::Bits(0)),
        Binary::Less => Expr::choose(Compare::Less, a, b, 1.0, Expr::Bits(0)),
        Binary::LessOrEqual => Expr::choose(Compare::LessOrEqual, a, b, 1.0, Expr::Bits(0)),
        Binary::CopySign => Expr::two(Two::CopySign, a, b),
    }
}

/// `otherwise` where the condition is 0, else `then`.
pub(crate) fn select(condition: impl Into<Expr>, then: impl Into<Expr>, otherwise: impl Into<Expr>) -> Expr {
    Expr::choose(Compare::Equal, condition, 0.0, otherwise, then)
}

/// The minimum or maximum, NaN if either is: one instruction gives its first operand where one is NaN, so
/// a number that is none comes second; else a NaN of the second is put in.
fn extreme(code: &mut Code, function: fn(Expr, Expr) -> Expr, a: Operand, b: Operand) -> Expr {
    match (a, b) {
        (x, Operand::Number(bound)) | (Operand::Number(bound), x) => {
            if bound.is_nan() {
                Expr::Number(f32::NAN)
            } else {
                function(x.into(), bound.into())
            }
        }
        (Operand::Vector(a), Operand::Vector(b)) => {
            let either = code.set(function(a.into(), b.into()));
            Expr::choose(Compare::Equal, b, b, either, b)
        }
    }
}

/// `c0 + x * (c1 + x * (c2 + …))`
fn polynomial(code: &mut Code, coefficients: &[f32], x: Vector) -> Vector {
    let mut highest_first = coefficients.iter().rev();
    let sum = code.set(*highest_first.next().unwrap_or(&0.0));
    for coefficient in highest_first {
        code.assign(sum, Expr::mul_add(sum, x, *coefficient));
    }
    sum
}

/// The same with `square = x^2`, even and odd powers apart: half the chain of operations that wait for
/// one another, of which a processor can hold only so many.
fn polynomial_by_parity(code: &mut Code, coefficients: &[f32], x: Vector, square: Vector) -> Expr {
    let every_second = |first: usize| coefficients.iter().copied().skip(first).step_by(2).collect::<Vec<_>>();
    let even = polynomial(code, &every_second(0), square);
    let odd = polynomial(code, &every_second(1), square);
    Expr::mul_add(odd, x, even)
}
