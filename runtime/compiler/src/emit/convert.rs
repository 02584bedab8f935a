//! Elements of one type become those of another, one by one: what the host writes or reads that is not
//! float32, and integers that the model computes with as numbers.
//!
//! ```text
//! for i in 0..len: y[i] = convert(x[i])
//! ```

use dunlin_abi::DType;
use wasm_encoder::{Instruction, MemArg, ValType};

use super::code::Code;
use super::expr::Index;
use crate::kernel::{Kernel, Operand};

/// A conversion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conversion {
    /// 64-bit integers to indices of 32 bits; what does not fit becomes the largest.
    I64ToI32,
    /// 32-bit integers to float32.
    I32ToF32,
    /// Numbers to 32-bit integers, towards zero; what does not fit becomes the nearest that does, and NaN 0.
    F32ToI32,
    /// Truth values of the host (bytes, 0 or not) to the numbers 0 and 1.
    BoolToF32,
    /// Numbers, 0 or not, to truth values of the host.
    F32ToBool,
}

/// The numbers that 32-bit integers reach.
const LEAST: f32 = -2_147_483_648.0;
const MOST: f32 = 2_147_483_520.0;

/// A conversion of `len` elements.
#[derive(Debug)]
pub(crate) struct Convert {
    /// From what to what.
    pub(crate) conversion: Conversion,
    /// How many.
    pub(crate) len: u32,
}

impl Convert {
    /// What turns an input of the host's type into what the model computes with; `None` if nothing need.
    pub(crate) fn of_input(dtype: DType, len: u32) -> Option<(Convert, DType)> {
        let (conversion, to) = match dtype {
            DType::I64 => (Conversion::I64ToI32, DType::I32),
            DType::Bool => (Conversion::BoolToF32, DType::Bool),
            _ => return None,
        };
        Some((Convert { conversion, len }, to))
    }
}

fn at(align: u32) -> MemArg {
    MemArg { offset: 0, align, memory_index: 0 }
}

impl Kernel for Convert {
    fn title(&self) -> String {
        let (from, to) = match self.conversion {
            Conversion::I64ToI32 => ("i64", "i32"),
            Conversion::I32ToF32 => ("i32", "f32"),
            Conversion::F32ToI32 => ("f32", "i32"),
            Conversion::BoolToF32 => ("bool", "f32"),
            Conversion::F32ToBool => ("f32", "bool"),
        };
        format!("{from} to {to}")
    }

    fn emit(&self, code: &mut Code, y: &Operand, operands: &[Operand], _: Option<Index>) {
        let [x, ..] = operands else { return };
        let (from, to) = (Instruction::LocalGet(x.at.0), Instruction::LocalGet(y.at.0));
        let (read_bytes, written_bytes) = match self.conversion {
            Conversion::I64ToI32 => (8, 4),
            Conversion::I32ToF32 | Conversion::F32ToI32 => (4, 4),
            Conversion::BoolToF32 => (1, 4),
            Conversion::F32ToBool => (4, 1),
        };
        let wide = code.raw_local(ValType::I64);
        let number = code.raw_local(ValType::F32);
        code.counted(self.len, |code| {
            code.raw([to, from]);
            match self.conversion {
                Conversion::I64ToI32 => {
                    let wide_get = Instruction::LocalGet(wide);
                    code.raw([
                        Instruction::I64Load(at(3)),
                        Instruction::LocalTee(wide),
                        Instruction::I32WrapI64,
                    ]);
                    code.raw([Instruction::I32Const(i32::MAX), wide_get.clone(), wide_get]);
                    code.raw([Instruction::I32WrapI64, Instruction::I64ExtendI32S, Instruction::I64Eq]);
                    code.raw([Instruction::Select, Instruction::I32Store(at(2))]);
                }
                Conversion::I32ToF32 => {
                    code.raw([
                        Instruction::I32Load(at(2)),
                        Instruction::F32ConvertI32S,
                        Instruction::F32Store(at(2)),
                    ]);
                }
                Conversion::F32ToI32 => {
                    let get = Instruction::LocalGet(number);
                    code.raw([Instruction::F32Load(at(2)), Instruction::LocalTee(number)]);
                    code.raw([Instruction::F32Const(0.0f32.into()), get.clone(), get, Instruction::F32Eq]);
                    code.raw([Instruction::Select, Instruction::F32Const(LEAST.into()), Instruction::F32Max]);
                    code.raw([Instruction::F32Const(MOST.into()), Instruction::F32Min]);
                    code.raw([Instruction::I32TruncF32S, Instruction::I32Store(at(2))]);
                }
                Conversion::BoolToF32 => {
                    code.raw([Instruction::I32Load8U(at(0)), Instruction::I32Const(0), Instruction::I32Ne]);
                    code.raw([Instruction::F32ConvertI32S, Instruction::F32Store(at(2))]);
                }
                Conversion::F32ToBool => {
                    code.raw([
                        Instruction::F32Load(at(2)),
                        Instruction::F32Const(0.0f32.into()),
                        Instruction::F32Ne,
                    ]);
                    code.raw([Instruction::I32Store8(at(0))]);
                }
            }
            code.advance(x.at, read_bytes);
            code.advance(y.at, written_bytes);
        });
    }
}
