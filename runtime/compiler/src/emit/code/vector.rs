//! Expressions with SIMD: a vector is a `v128` of four numbers.

use dunlin_abi::Simd;
use wasm_encoder::Instruction;

use super::{Code, at};
use crate::emit::expr::{Compare, Expr, Index, One, Shift, Two};

/// Four lanes as the immediate of `v128.const`.
fn v128(bits: [u32; 4]) -> i128 {
    let low_first = bits.iter().rev().fold(0u128, |all, lane| (all << 32) | u128::from(*lane));
    low_first.cast_signed()
}

impl Code {
    pub(super) fn push_vector(&mut self, expr: &Expr) {
        self.used = self.used.max(Simd::Deterministic);
        match expr {
            Expr::Local(vector) => self.raw([Instruction::LocalGet(vector.0)]),
            Expr::Number(number) => self.raw([Instruction::V128Const(v128([number.to_bits(); 4]))]),
            Expr::Bits(bits) => self.raw([Instruction::V128Const(v128([*bits; 4]))]),
            Expr::Edge { lanes, first, rest } => {
                let lane = |index| if index < *lanes { *first } else { *rest };
                self.raw([Instruction::V128Const(v128([lane(0), lane(1), lane(2), lane(3)]))]);
            }
            Expr::Load { at: address, offset, lanes } => self.push_load(*address, *offset, *lanes),
            Expr::Splat { at: address, offset } => self.raw([
                Instruction::LocalGet(address.0),
                Instruction::F32Load(at(*offset)),
                Instruction::F32x4Splat,
            ]),
            Expr::Two(function, a, b) => {
                self.push(a);
                self.push(b);
                if *function == Two::CopySign {
                    self.raw([Instruction::V128Const(v128([0x7fff_ffff; 4]))]);
                }
                self.raw([match function {
                    Two::Add => Instruction::F32x4Add,
                    Two::Sub => Instruction::F32x4Sub,
                    Two::Mul => Instruction::F32x4Mul,
                    Two::Div => Instruction::F32x4Div,
                    Two::AtLeast => Instruction::F32x4PMax,
                    Two::AtMost => Instruction::F32x4PMin,
                    Two::BitsAdd => Instruction::I32x4Add,
                    Two::BitsSub => Instruction::I32x4Sub,
                    Two::BitsXor => Instruction::V128Xor,
                    Two::CopySign => Instruction::V128Bitselect,
                }]);
            }
            Expr::MulAdd(a, b, c) if self.simd == Simd::Relaxed => {
                [a, b, c].into_iter().for_each(|operand| self.push(operand));
                self.raw([Instruction::F32x4RelaxedMadd]);
                self.used = Simd::Relaxed;
            }
            Expr::MulAdd(a, b, c) => {
                self.push(a);
                self.push(b);
                self.raw([Instruction::F32x4Mul]);
                self.push(c);
                self.raw([Instruction::F32x4Add]);
            }
            Expr::One(function, a) => {
                self.push(a);
                self.raw([match function {
                    One::Neg => Instruction::F32x4Neg,
                    One::Abs => Instruction::F32x4Abs,
                    One::Sqrt => Instruction::F32x4Sqrt,
                    One::Floor => Instruction::F32x4Floor,
                    One::Ceil => Instruction::F32x4Ceil,
                    One::Trunc => Instruction::F32x4Trunc,
                    One::Nearest => Instruction::F32x4Nearest,
                    One::FromInteger => Instruction::F32x4ConvertI32x4S,
                }]);
            }
            Expr::Shift(shift, a, bits) => {
                self.push(a);
                self.raw([Instruction::I32Const(bits.cast_signed())]);
                self.raw([match shift {
                    Shift::Left => Instruction::I32x4Shl,
                    Shift::Right => Instruction::I32x4ShrU,
                    Shift::RightSigned => Instruction::I32x4ShrS,
                }]);
            }
            Expr::If(compare, operands) => {
                let [a, b, then, otherwise] = &**operands;
                let zero = matches!(otherwise, Expr::Bits(0));
                self.push(then);
                if !zero {
                    self.push(otherwise);
                }
                [a, b].into_iter().for_each(|operand| self.push(operand));
                self.raw([match compare {
                    Compare::Equal => Instruction::F32x4Eq,
                    Compare::Less => Instruction::F32x4Lt,
                    Compare::LessOrEqual => Instruction::F32x4Le,
                }]);
                self.raw([if zero { Instruction::V128And } else { Instruction::V128Bitselect }]);
            }
            Expr::And(a, b) => {
                self.push(a);
                self.push(b);
                self.raw([Instruction::V128And]);
            }
            Expr::Shuffle(a, order) => {
                let vector = self.set((**a).clone());
                let mut bytes = [0; 16];
                for (byte, place) in bytes.iter_mut().zip(0u8..) {
                    *byte = order[usize::from(place / 4)] * 4 + place % 4;
                }
                let operand = Instruction::LocalGet(vector.0);
                self.raw([operand.clone(), operand, Instruction::I8x16Shuffle(bytes)]);
            }
            Expr::Narrow(halves) => self.push_narrow(*halves),
            Expr::LowBits(halves) => self.push_low_bits(*halves),
        }
    }

    fn push_load(&mut self, address: Index, offset: u32, lanes: u32) {
        let address = Instruction::LocalGet(address.0);
        match lanes {
            1 => self.raw([address, Instruction::V128Load32Zero(at(offset))]),
            2 => self.raw([address, Instruction::V128Load64Zero(at(offset))]),
            3 => self.raw([
                address.clone(),
                address,
                Instruction::V128Load64Zero(at(offset)),
                Instruction::V128Load32Lane { memarg: at(offset + 8), lane: 2 },
            ]),
            _ => self.raw([address, Instruction::V128Load(at(offset))]),
        }
    }
}
