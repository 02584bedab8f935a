//! Expressions without SIMD: a vector is one `f32`, and its bit pattern an `i32`.

use wasm_encoder::Instruction;

use super::{Code, at};
use crate::emit::expr::{Compare, Expr, One, Shift, Two};

impl Code {
    pub(super) fn push_scalar(&mut self, expr: &Expr) {
        match expr {
            Expr::Local(vector) => self.raw([Instruction::LocalGet(vector.0)]),
            Expr::Number(number) => self.raw([Instruction::F32Const((*number).into())]),
            Expr::Bits(bits) | Expr::Edge { first: bits, .. } => {
                self.raw([Instruction::F32Const(f32::from_bits(*bits).into())]);
            }
            Expr::Load { at: address, offset, .. } | Expr::Splat { at: address, offset } => {
                self.raw([Instruction::LocalGet(address.0), Instruction::F32Load(at(*offset))]);
            }
            Expr::Two(function, a, b) => self.push_scalar_two(*function, a, b),
            Expr::MulAdd(a, b, c) => {
                self.push(a);
                self.push(b);
                self.raw([Instruction::F32Mul]);
                self.push(c);
                self.raw([Instruction::F32Add]);
            }
            Expr::One(function, a) => {
                self.push(a);
                match function {
                    One::Neg => self.raw([Instruction::F32Neg]),
                    One::Abs => self.raw([Instruction::F32Abs]),
                    One::Sqrt => self.raw([Instruction::F32Sqrt]),
                    One::Floor => self.raw([Instruction::F32Floor]),
                    One::Ceil => self.raw([Instruction::F32Ceil]),
                    One::Trunc => self.raw([Instruction::F32Trunc]),
                    One::Nearest => self.raw([Instruction::F32Nearest]),
                    One::FromInteger => {
                        self.raw([Instruction::I32ReinterpretF32, Instruction::F32ConvertI32S]);
                    }
                }
            }
            Expr::Shift(shift, a, bits) => {
                self.push(a);
                self.raw([Instruction::I32ReinterpretF32, Instruction::I32Const(bits.cast_signed())]);
                self.raw([match shift {
                    Shift::Left => Instruction::I32Shl,
                    Shift::Right => Instruction::I32ShrU,
                    Shift::RightSigned => Instruction::I32ShrS,
                }]);
                self.raw([Instruction::F32ReinterpretI32]);
            }
            Expr::If(compare, operands) => {
                let [a, b, then, otherwise] = &**operands;
                [then, otherwise, a, b].into_iter().for_each(|operand| self.push(operand));
                self.raw([match compare {
                    Compare::Equal => Instruction::F32Eq,
                    Compare::Less => Instruction::F32Lt,
                    Compare::LessOrEqual => Instruction::F32Le,
                }]);
                self.raw([Instruction::Select]);
            }
            Expr::And(a, b) => self.push_bits(a, b, Instruction::I32And),
            Expr::Shuffle(a, _) => self.push(a),
            Expr::Narrow(halves) => self.push_narrow(*halves),
            Expr::LowBits(halves) => self.push_low_bits(*halves),
        }
    }

    fn push_scalar_two(&mut self, function: Two, a: &Expr, b: &Expr) {
        let instruction = match function {
            Two::BitsAdd => return self.push_bits(a, b, Instruction::I32Add),
            Two::BitsSub => return self.push_bits(a, b, Instruction::I32Sub),
            Two::BitsXor => return self.push_bits(a, b, Instruction::I32Xor),
            Two::Add => Instruction::F32Add,
            Two::Sub => Instruction::F32Sub,
            Two::Mul => Instruction::F32Mul,
            Two::Div => Instruction::F32Div,
            Two::AtLeast => Instruction::F32Max,
            Two::AtMost => Instruction::F32Min,
            Two::CopySign => Instruction::F32Copysign,
        };
        self.push(a);
        self.push(b);
        self.raw([instruction]);
    }

    fn push_bits(&mut self, a: &Expr, b: &Expr, instruction: Instruction<'static>) {
        self.push(a);
        self.raw([Instruction::I32ReinterpretF32]);
        self.push(b);
        self.raw([Instruction::I32ReinterpretF32, instruction, Instruction::F32ReinterpretI32]);
    }
}
