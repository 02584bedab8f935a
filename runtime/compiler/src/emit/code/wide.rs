//! Halves of a vector as f64, for the few formulas that need more bits than f32 has.
//!
//! With SIMD a half is a `v128` of two numbers, and a vector has two; without SIMD a half is one `f64`,
//! and there is only one. Products and sums are never fused, so the bits are the same on every host.

use std::ops::{Add, Div, Mul, Sub};

use dunlin_abi::Simd;
use wasm_encoder::{Instruction, ValType};

use super::Code;
use crate::emit::expr::{Vector, Wide};

/// A half of a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Half {
    Low,
    High,
}

/// A function of two halves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WideTwo {
    Add,
    Sub,
    Mul,
    Div,
    /// `a < b ? b : a`
    AtLeast,
    /// `b < a ? b : a`
    AtMost,
}

/// An expression over halves.
#[derive(Clone, Debug)]
pub(crate) enum WideExpr {
    /// The value of a local.
    Local(Wide),
    /// The same number in every lane.
    Number(f64),
    /// A half of a vector.
    Of(Vector, Half),
    /// The nearest integer, halves to the even one.
    Nearest(Box<WideExpr>),
    /// A function of two halves.
    Two(WideTwo, Box<WideExpr>, Box<WideExpr>),
}

impl From<Wide> for WideExpr {
    fn from(local: Wide) -> WideExpr {
        WideExpr::Local(local)
    }
}

impl From<f64> for WideExpr {
    fn from(number: f64) -> WideExpr {
        WideExpr::Number(number)
    }
}

macro_rules! operator {
    ($($trait:ident, $method:ident;)*) => {
        $(impl<T: Into<WideExpr>> $trait<T> for WideExpr {
            type Output = WideExpr;

            fn $method(self, other: T) -> WideExpr {
                WideExpr::Two(WideTwo::$trait, Box::new(self), Box::new(other.into()))
            }
        }

        impl<T: Into<WideExpr>> $trait<T> for Wide {
            type Output = WideExpr;

            fn $method(self, other: T) -> WideExpr {
                WideExpr::Two(WideTwo::$trait, Box::new(self.into()), Box::new(other.into()))
            }
        })*
    };
}

operator! { Add, add; Sub, sub; Mul, mul; Div, div; }

impl WideExpr {
    /// The number, moved between two bounds; NaN stays NaN.
    pub(crate) fn within(self, least: f64, most: f64) -> WideExpr {
        let raised = WideExpr::Two(WideTwo::AtLeast, Box::new(self), Box::new(least.into()));
        WideExpr::Two(WideTwo::AtMost, Box::new(raised), Box::new(most.into()))
    }
}

impl Code {
    /// Runs `body` for each half of a vector, and gives what it gives, by result and half.
    pub(crate) fn by_halves<const N: usize>(
        &mut self,
        body: impl Fn(&mut Code, Half) -> [Wide; N],
    ) -> [[Wide; 2]; N] {
        let low = body(self, Half::Low);
        let high = if self.simd == Simd::None { low } else { body(self, Half::High) };
        std::array::from_fn(|place| [low[place], high[place]])
    }

    /// A new local with the value of an expression.
    pub(crate) fn set_wide(&mut self, expr: impl Into<WideExpr>) -> Wide {
        let kind = if self.simd == Simd::None { ValType::F64 } else { ValType::V128 };
        let wide = Wide(self.local(kind));
        self.push_wide(&expr.into());
        self.raw([Instruction::LocalSet(wide.0)]);
        wide
    }

    fn push_wide(&mut self, expr: &WideExpr) {
        let scalar = self.simd == Simd::None;
        match expr {
            WideExpr::Local(wide) => self.raw([Instruction::LocalGet(wide.0)]),
            WideExpr::Number(number) if scalar => self.raw([Instruction::F64Const((*number).into())]),
            WideExpr::Number(number) => {
                let bits = u128::from(number.to_bits());
                self.raw([Instruction::V128Const((bits << 64 | bits).cast_signed())]);
            }
            WideExpr::Of(vector, half) => self.push_half(*vector, *half),
            WideExpr::Nearest(a) => {
                self.push_wide(a);
                self.raw([if scalar { Instruction::F64Nearest } else { Instruction::F64x2Nearest }]);
            }
            WideExpr::Two(function, a, b) => {
                self.push_wide(a);
                self.push_wide(b);
                self.raw([match (function, scalar) {
                    (WideTwo::Add, true) => Instruction::F64Add,
                    (WideTwo::Sub, true) => Instruction::F64Sub,
                    (WideTwo::Mul, true) => Instruction::F64Mul,
                    (WideTwo::Div, true) => Instruction::F64Div,
                    (WideTwo::AtLeast, true) => Instruction::F64Max,
                    (WideTwo::AtMost, true) => Instruction::F64Min,
                    (WideTwo::Add, false) => Instruction::F64x2Add,
                    (WideTwo::Sub, false) => Instruction::F64x2Sub,
                    (WideTwo::Mul, false) => Instruction::F64x2Mul,
                    (WideTwo::Div, false) => Instruction::F64x2Div,
                    (WideTwo::AtLeast, false) => Instruction::F64x2PMax,
                    (WideTwo::AtMost, false) => Instruction::F64x2PMin,
                }]);
            }
        }
    }

    fn push_half(&mut self, vector: Vector, half: Half) {
        let operand = Instruction::LocalGet(vector.0);
        self.raw([operand.clone()]);
        if self.simd == Simd::None {
            return self.raw([Instruction::F64PromoteF32]);
        }
        if half == Half::High {
            self.raw([operand, words([2, 3, 2, 3])]);
        }
        self.raw([Instruction::F64x2PromoteLowF32x4]);
    }

    /// Leaves the halves on the stack as one vector of f32.
    pub(super) fn push_narrow(&mut self, [low, high]: [Wide; 2]) {
        self.raw([Instruction::LocalGet(low.0)]);
        if self.simd == Simd::None {
            return self.raw([Instruction::F32DemoteF64]);
        }
        let demote = Instruction::F32x4DemoteF64x2Zero;
        self.raw([demote.clone(), Instruction::LocalGet(high.0), demote, words([0, 1, 4, 5])]);
    }

    /// Leaves the lower 32 bits of each number on the stack.
    pub(super) fn push_low_bits(&mut self, [low, high]: [Wide; 2]) {
        self.raw([Instruction::LocalGet(low.0)]);
        if self.simd == Simd::None {
            self.raw([
                Instruction::I64ReinterpretF64,
                Instruction::I32WrapI64,
                Instruction::F32ReinterpretI32,
            ]);
        } else {
            self.raw([Instruction::LocalGet(high.0), words([0, 2, 4, 6])]);
        }
    }
}

/// Words of two vectors; those of the second one are counted from 4 on.
fn words(order: [u8; 4]) -> Instruction<'static> {
    let mut bytes = [0; 16];
    for (byte, place) in bytes.iter_mut().zip(0u8..) {
        *byte = order[usize::from(place / 4)] * 4 + place % 4;
    }
    Instruction::I8x16Shuffle(bytes)
}
