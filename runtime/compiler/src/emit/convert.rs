//! Truth values between the host and the model: bytes there, the f32 1 and 0 here.
//!
//! ```text
//! for i in 0..len: y[i] = x[i] != 0
//! ```

use dunlin_abi::DType;
use wasm_encoder::{Instruction, MemArg};

use super::code::Code;
use super::expr::Index;
use crate::constant::{Constant, ConstantData};
use crate::kernel::{Kernel, Operand};

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conversion {
    /// From bytes, 0 or not, to the numbers 0 and 1.
    FromHost,
    /// From numbers, 0 or not, to the bytes 0 and 1.
    ToHost,
}

/// A conversion of `len` truth values.
#[derive(Debug)]
pub(crate) struct Convert {
    /// From what to what.
    pub(crate) conversion: Conversion,
    /// How many.
    pub(crate) len: u32,
}

fn at(align: u32) -> MemArg {
    MemArg { offset: 0, align, memory_index: 0 }
}

impl Kernel for Convert {
    fn title(&self) -> String {
        match self.conversion {
            Conversion::FromHost => "bool to f32".to_string(),
            Conversion::ToHost => "f32 to bool".to_string(),
        }
    }

    fn takes(&self, _: usize, dtype: DType) -> bool {
        dtype == DType::Bool
    }

    fn evaluate(&self, operands: &[&Constant]) -> Option<ConstantData> {
        let numbers = operands.first()?.numbers()?;
        Some(ConstantData::Bool(numbers.into_iter().map(|number| number != 0.0).collect()))
    }

    fn emit(&self, code: &mut Code, y: &Operand, operands: &[Operand], _: Option<Index>) {
        use Instruction as I;
        let [x, ..] = operands else { return };
        let (read_bytes, written_bytes) = match self.conversion {
            Conversion::FromHost => (1, 4),
            Conversion::ToHost => (4, 1),
        };
        code.counted(self.len, |code| {
            code.raw([I::LocalGet(y.at.0), I::LocalGet(x.at.0)]);
            match self.conversion {
                Conversion::FromHost => {
                    code.raw([I::I32Load8U(at(0)), I::I32Const(0), I::I32Ne]);
                    code.raw([I::F32ConvertI32S, I::F32Store(at(2))]);
                }
                Conversion::ToHost => {
                    code.raw([I::F32Load(at(2)), I::F32Const(0.0f32.into()), I::F32Ne, I::I32Store8(at(0))]);
                }
            }
            code.advance(x.at, read_bytes);
            code.advance(y.at, written_bytes);
        });
    }
}
