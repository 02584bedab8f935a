//! Expressions over vectors of f32, so that kernels read like their formulas.
//!
//! With SIMD a vector is a `v128` of four numbers, without it one `f32`; the same expression becomes
//! either. Comparisons follow what the formulas need for NaN: see [`Expr::at_least`].

use std::ops::{Add, Div, Mul, Sub};

/// A local that holds an address or a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Index(pub(crate) u32);

/// A local that holds a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Vector(pub(crate) u32);

/// A local that holds half a vector as f64; without SIMD, all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wide(pub(crate) u32);

/// A function of two vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Two {
    Add,
    Sub,
    Mul,
    Div,
    /// `a < b ? b : a`
    AtLeast,
    /// `b < a ? b : a`
    AtMost,
    /// The sum of the bit patterns as integers.
    BitsAdd,
    /// The difference of the bit patterns as integers.
    BitsSub,
    /// The bits that exactly one of both has.
    BitsXor,
    /// The size of the first with the sign of the second.
    CopySign,
}

/// A function of one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum One {
    Neg,
    Abs,
    Sqrt,
    Floor,
    Ceil,
    Trunc,
    /// Halves to the even integer.
    Nearest,
    /// The number that the bit pattern is as a signed integer.
    FromInteger,
}

/// A comparison, which does not hold for NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compare {
    Equal,
    Less,
    LessOrEqual,
}

/// A shift of the bit patterns as integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shift {
    Left,
    Right,
    RightSigned,
}

/// A vector-valued expression.
#[derive(Clone, Debug)]
pub(crate) enum Expr {
    /// The value of a local.
    Local(Vector),
    /// The same number in every lane.
    Number(f32),
    /// The same bit pattern in every lane.
    Bits(u32),
    /// `first` in the first `lanes` lanes, `rest` in the others; without SIMD, `first`.
    Edge { lanes: u32, first: u32, rest: u32 },
    /// `lanes` numbers from memory; the other lanes are 0.
    Load { at: Index, offset: u32, lanes: u32 },
    /// One number from memory in every lane.
    Splat { at: Index, offset: u32 },
    /// A function of two vectors.
    Two(Two, Box<Expr>, Box<Expr>),
    /// `a * b + c`, fused where the level allows it.
    MulAdd(Box<Expr>, Box<Expr>, Box<Expr>),
    /// A function of one vector.
    One(One, Box<Expr>),
    /// A shift of the bit pattern.
    Shift(Shift, Box<Expr>, u32),
    /// Lane by lane, of `[a, b, then, otherwise]`, then where the comparison of a and b holds, else otherwise.
    If(Compare, Box<[Expr; 4]>),
    /// Lane by lane, the bits that both have.
    And(Box<Expr>, Box<Expr>),
    /// Lanes in another order: lane i takes lane `order[i]`; without SIMD, the vector itself.
    Shuffle(Box<Expr>, [u8; 4]),
    /// The halves of a vector, rounded to f32.
    Narrow([Wide; 2]),
    /// The lower 32 bits of each number of the halves.
    LowBits([Wide; 2]),
}

impl From<Vector> for Expr {
    fn from(vector: Vector) -> Expr {
        Expr::Local(vector)
    }
}

impl From<f32> for Expr {
    fn from(number: f32) -> Expr {
        Expr::Number(number)
    }
}

macro_rules! operator {
    ($trait:ident, $method:ident) => {
        impl<T: Into<Expr>> $trait<T> for Expr {
            type Output = Expr;

            fn $method(self, other: T) -> Expr {
                Expr::Two(Two::$trait, Box::new(self), Box::new(other.into()))
            }
        }

        impl<T: Into<Expr>> $trait<T> for Vector {
            type Output = Expr;

            fn $method(self, other: T) -> Expr {
                Expr::Two(Two::$trait, Box::new(self.into()), Box::new(other.into()))
            }
        }
    };
}

operator!(Add, add);
operator!(Sub, sub);
operator!(Mul, mul);
operator!(Div, div);

impl Expr {
    pub(crate) fn two(function: Two, a: impl Into<Expr>, b: impl Into<Expr>) -> Expr {
        Expr::Two(function, Box::new(a.into()), Box::new(b.into()))
    }

    /// The greater of both; the first one if either is NaN.
    pub(crate) fn at_least(self, least: impl Into<Expr>) -> Expr {
        Expr::two(Two::AtLeast, self, least)
    }

    /// The smaller of both; the first one if either is NaN.
    pub(crate) fn at_most(self, most: impl Into<Expr>) -> Expr {
        Expr::two(Two::AtMost, self, most)
    }

    /// `a * b + c`.
    pub(crate) fn mul_add(a: impl Into<Expr>, b: impl Into<Expr>, c: impl Into<Expr>) -> Expr {
        Expr::MulAdd(Box::new(a.into()), Box::new(b.into()), Box::new(c.into()))
    }

    /// `a < b ? then : otherwise`, which is `otherwise` if a or b is NaN.
    pub(crate) fn if_less(
        a: impl Into<Expr>,
        b: impl Into<Expr>,
        then: impl Into<Expr>,
        otherwise: impl Into<Expr>,
    ) -> Expr {
        Expr::choose(Compare::Less, a, b, then, otherwise)
    }

    /// `then` where the comparison of a and b holds, else `otherwise`.
    pub(crate) fn choose(
        compare: Compare,
        a: impl Into<Expr>,
        b: impl Into<Expr>,
        then: impl Into<Expr>,
        otherwise: impl Into<Expr>,
    ) -> Expr {
        Expr::If(compare, Box::new([a.into(), b.into(), then.into(), otherwise.into()]))
    }

    /// A function of this vector.
    pub(crate) fn one(function: One, a: impl Into<Expr>) -> Expr {
        Expr::One(function, Box::new(a.into()))
    }

    /// The bits that both have.
    pub(crate) fn and(self, bits: u32) -> Expr {
        Expr::And(Box::new(self), Box::new(Expr::Bits(bits)))
    }

    /// The bit pattern, shifted as an integer.
    pub(crate) fn shifted(self, shift: Shift, bits: u32) -> Expr {
        Expr::Shift(shift, Box::new(self), bits)
    }
}
