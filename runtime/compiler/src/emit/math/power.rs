//! `a^b`, as C's `pow` has it.
//!
//! ```text
//! |a| = 2^k z      s = (z - 1) / (z + 1)      |s| <= 0.178
//! l = log2 |a| = k + s * p(s^2)               p of degree 4, relative error 7e-12, in f64
//! |a|^b = 2^n * 2^f      n = round(b l)      f = b l - n      2^f of degree 6, relative error 3e-9
//! ```
//! l and b l are computed in f64, because their absolute error is the relative error of the result.
//! `l` is minus infinity for 0 and infinity for infinity, which gives the limits. Then come the rules
//! for signs: a negative a needs an integer b, and an odd one keeps the sign. `a^0` and `1^b` are 1 even
//! for NaN.
//!
//! Where b is the number 0, 1, 2, 3, -1, 0.5 or -0.5, it is a product, a quotient or a square root; those
//! of a = -infinity are NaN, as square roots are.

use super::exp::{ROUND, scaled};
use super::log::split;
use super::{Operand, SIGN, polynomial};
use crate::emit::code::Code;
use crate::emit::code::wide::WideExpr;
use crate::emit::expr::{Compare, Expr, One, Two, Vector};

/// `log2((1 + s) / (1 - s)) / s` in powers of `s^2`, from the lowest.
const LOG_2: [f64; 5] = [
    2.885_390_081_797_699,
    0.961_796_663_522_240_2,
    0.577_085_486_686_646_5,
    0.411_558_036_979_205_8,
    0.342_848_954_368_538_5,
];
/// `2^f` from the lowest power.
const EXP_2: [f32; 7] =
    [1.0, 6.931_472e-1, 2.402_264_8e-1, 5.550_359_6e-2, 9.618_499e-3, 1.339_097e-3, 1.532_927_9e-4];
/// From here on `2^x` is infinite, and 0 for `-x`.
const MOST: f64 = 160.0;
/// Twice the exponent of 1, for [`scaled`].
const BIAS: f32 = 254.0;

/// `a^b`
pub(super) fn pow(code: &mut Code, a: Operand, b: Operand) -> Expr {
    let base = a.into_vector(code);
    match b {
        Operand::Number(b) => power_of_number(code, base, b),
        Operand::Vector(b) => any(code, base, b),
    }
}

/// `a^b` for a b that is known.
fn power_of_number(code: &mut Code, a: Vector, b: f32) -> Expr {
    // A negative 0 becomes 0, whose root is 0.
    let root = |a: Vector| Expr::one(One::Sqrt, a + 0.0);
    if b == 0.0 {
        1.0.into()
    } else if b == 1.0 {
        a.into()
    } else if b == 2.0 {
        a * a
    } else if b == 3.0 {
        a * a * a
    } else if b == -1.0 {
        Expr::Number(1.0) / a
    } else if b == 0.5 {
        root(a)
    } else if b == -0.5 {
        Expr::Number(1.0) / root(a)
    } else {
        let b = code.set(b);
        any(code, a, b)
    }
}

fn any(code: &mut Code, a: Vector, b: Vector) -> Expr {
    let size = code.set(Expr::one(One::Abs, a));
    // Finite, so that it has a product with a logarithm of 0.
    let b = code.set(Expr::from(b).at_least(f32::MIN).at_most(f32::MAX));
    let power = size_of_power(code, size, b);
    let power = code.set(power);

    let half = code.set(b * 0.5);
    let is_integer = |x: Vector, then: Expr, otherwise: Expr| {
        Expr::choose(Compare::Equal, Expr::one(One::Nearest, x), x, then, otherwise)
    };
    let odd = Expr::two(Two::BitsXor, power, Expr::from(a).and(SIGN));
    let of_finite = Expr::choose(Compare::Less, size, f32::INFINITY, f32::NAN, power);
    let broken = code.set(Expr::if_less(a, 0.0, of_finite, power));
    let of_integer = code.set(is_integer(half, power.into(), odd));
    let signed = code.set(is_integer(b, of_integer.into(), broken.into()));
    let signed = code.set(Expr::choose(Compare::Equal, a, 1.0, 1.0, signed));
    Expr::choose(Compare::Equal, b, 0.0, 1.0, signed)
}

/// `size^b` for a size that is not negative and a finite b.
fn size_of_power(code: &mut Code, size: Vector, b: Vector) -> Expr {
    let (z, k) = split(code, size);
    let k = code.set(Expr::choose(Compare::Less, size, f32::INFINITY, k, size));
    let k = code.set(Expr::choose(Compare::Equal, size, 0.0, f32::NEG_INFINITY, k));
    let [n, f] = code.by_halves(|code, half| {
        let z = code.set_wide(WideExpr::Of(z, half));
        let s = code.set_wide((z - 1.0) / (z + 1.0));
        let square = code.set_wide(s * s);
        let [lower @ .., highest] = LOG_2;
        let p = lower.into_iter().rev().fold(WideExpr::from(highest), |p, c| p * square + c);
        let log = p * s + WideExpr::Of(k, half);
        let product = code.set_wide((log * WideExpr::Of(b, half)).within(-MOST, MOST));
        let n = code.set_wide(WideExpr::Nearest(Box::new(product.into())));
        [n, code.set_wide(product - n)]
    });
    let f = code.set(Expr::Narrow(f));
    let exp_f = polynomial(code, &EXP_2, f);
    let bits = code.set(Expr::Narrow(n) + (ROUND + BIAS));
    scaled(code, exp_f, bits)
}
