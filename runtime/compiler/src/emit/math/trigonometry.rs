//! Sine and cosine.
//!
//! ```text
//! |x| = n * pi/2 + r      |r| <= pi/4
//! sin(r) = r + r^3 * s(r^2)     s of degree 2, relative error 3.7e-9
//! cos(r) = c(r^2)               c of degree 4, relative error 1.2e-10
//! sin(|x|) = sin(r), cos(r), -sin(r), -cos(r)  for n = 0, 1, 2, 3 modulo 4; the cosine has n + 1
//! ```
//! r is computed in f64, where pi/2 is taken in three parts, two of them with 24 bits, so that their
//! products with n are exact for `|x| < 2^29`. There r has all the bits that f32 can hold. From `2^29` on,
//! where neighbouring numbers are 64 apart and more than ten turns, the result is NaN.

use super::{SIGN, polynomial};
use crate::emit::code::Code;
use crate::emit::code::wide::WideExpr;
use crate::emit::expr::{Compare, Expr, One, Shift, Two, Vector};

/// From here on the result is NaN.
const LIMIT: f32 = 536_870_912.0;
/// `1.5 * 2^52`: adding it rounds to an integer, which is then in the low bits.
const ROUND: f64 = 6_755_399_441_055_744.0;
/// pi/2 in three parts: 24 bits, 24 bits and the rest.
const HALF_PI: [f64; 3] = [1.570_796_251_296_997, 7.549_789_415_861_596e-8, 5.390_302_858_158_119e-15];
/// `(sin(r) - r) / r^3` in powers of `r^2`, from the lowest.
const SIN: [f32; 3] = [-1.666_665_5e-1, 8.332_19e-3, -1.951_840_8e-4];
/// `cos(r)` in powers of `r^2`, from the lowest.
const COS: [f32; 5] = [1.0, -0.5, 4.166_664_6e-2, -1.388_731e-3, 2.443_233_8e-5];
/// The bits of 2.
const TWO: u32 = 0x4000_0000;

/// The sine of x.
pub(super) fn sin(code: &mut Code, x: Vector) -> Expr {
    let sine = turned(code, x, 0);
    // The sine of |x| may be negative itself.
    Expr::two(Two::BitsXor, sine, Expr::from(x).and(SIGN))
}

/// The cosine of x.
pub(super) fn cos(code: &mut Code, x: Vector) -> Expr {
    turned(code, x, 1)
}

/// The sine of `|x|`, `quarters` of a turn further on.
fn turned(code: &mut Code, x: Vector, quarters: u32) -> Expr {
    let size = code.set(Expr::one(One::Abs, x));
    let size = code.set(Expr::if_less(size, LIMIT, size, f32::NAN));
    let [sum, r] = code.by_halves(|code, half| {
        let size = code.set_wide(WideExpr::Of(size, half));
        let sum = code.set_wide(size * std::f64::consts::FRAC_2_PI + ROUND);
        let n = code.set_wide(sum - ROUND);
        let parts = HALF_PI.into_iter().fold(WideExpr::from(size), |r, part| r - n * part);
        [sum, code.set_wide(parts)]
    });
    let r = code.set(Expr::Narrow(r));
    let n = Expr::two(Two::BitsAdd, Expr::LowBits(sum), Expr::Bits(quarters));
    // The lowest two bits become the bit below the sign, and the sign.
    let n = code.set(n.shifted(Shift::Left, 30));
    let square = code.set(r * r);
    let sin = polynomial(code, &SIN, square);
    let sin = code.set(Expr::mul_add(sin * square, r, r));
    let cos = polynomial(code, &COS, square);
    let even = Expr::choose(Compare::Equal, Expr::from(n).and(TWO), 0.0, sin, cos);
    Expr::two(Two::BitsXor, even, Expr::from(n).and(SIGN))
}
