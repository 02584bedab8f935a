//! The place of the greatest or the smallest number along an axis: ArgMax and ArgMin.
//!
//! ```text
//! for each place of the other axes
//!   best = x[0], y = 0
//!   for i in axis: if x[i] > best: best = x[i], y = i          or <, or with equals
//! ```
//! A NaN is never greater or smaller, so it is found only in the first place.

use dunlin_abi::DType;
use wasm_encoder::{Instruction, MemArg, ValType};

use super::code::Code;
use super::expr::Index;
use super::pointwise::{merged_bytes, nest};
use super::sweep::part;
use crate::kernel::{Kernel, Operand, Want, device_bytes};

/// The kernel: x of float32, int32 or int64, the result int64 with the extent 1 along the axis.
#[derive(Debug)]
pub(crate) struct Extreme {
    /// The type of x.
    pub(crate) dtype: DType,
    /// The axis.
    pub(crate) axis: usize,
    /// Whether the greatest number is looked for.
    pub(crate) greatest: bool,
    /// Of several that are equal, whether it is the last.
    pub(crate) last: bool,
}

impl Extreme {
    /// Whether the number before the best one on the stack takes its place.
    fn better(&self) -> Instruction<'static> {
        use Instruction as I;
        match (self.dtype, self.greatest, self.last) {
            (DType::I64, true, false) => I::I64GtS,
            (DType::I64, true, true) => I::I64GeS,
            (DType::I64, false, false) => I::I64LtS,
            (DType::I64, false, true) => I::I64LeS,
            (DType::I32, true, false) => I::I32GtS,
            (DType::I32, true, true) => I::I32GeS,
            (DType::I32, false, false) => I::I32LtS,
            (DType::I32, false, true) => I::I32LeS,
            (_, true, false) => I::F32Gt,
            (_, true, true) => I::F32Ge,
            (_, false, false) => I::F32Lt,
            (_, false, true) => I::F32Le,
        }
    }

    fn load(&self) -> (ValType, Instruction<'static>) {
        let memarg = |align| MemArg { offset: 0, align, memory_index: 0 };
        match self.dtype {
            DType::I64 => (ValType::I64, Instruction::I64Load(memarg(3))),
            DType::I32 => (ValType::I32, Instruction::I32Load(memarg(2))),
            _ => (ValType::F32, Instruction::F32Load(memarg(2))),
        }
    }
}

impl Kernel for Extreme {
    fn title(&self) -> String {
        format!("place of the {} number", if self.greatest { "greatest" } else { "smallest" })
    }

    fn takes(&self, _: usize, dtype: DType) -> bool {
        dtype == self.dtype
    }

    fn want(&self, _: usize) -> Want {
        Want::Any
    }

    fn anywhere(&self) -> bool {
        true
    }

    fn emit(&self, code: &mut Code, y: &Operand, operands: &[Operand], _: Option<Index>) {
        use Instruction as I;
        let [x, ..] = operands else { return };
        let swept: Vec<bool> = (0..x.layout.extents.len()).map(|axis| axis == self.axis).collect();
        let (y_kept, x_kept) = (part(&y.layout, &swept, false), part(&x.layout, &swept, false));
        let kept = merged_bytes(&[(&y_kept, 8), (&x_kept, device_bytes(self.dtype))]);
        let (len, stride) = (x.layout.extents[self.axis], x.layout.strides[self.axis]);
        let stride = stride * i64::from(device_bytes(self.dtype));
        let (kind, load) = self.load();
        nest(code, &kept, &[y.at, x.at], &mut |code| {
            code.scoped(|code| {
                let [best, next] = [0; 2].map(|_| code.raw_local(kind));
                let [found, place] = [0; 2].map(|_| code.raw_local(ValType::I64));
                let better = code.raw_local(ValType::I32);
                code.raw([I::LocalGet(x.at.0), load.clone(), I::LocalSet(best)]);
                code.raw([I::I64Const(0), I::LocalTee(found), I::LocalSet(place)]);
                code.counted(len, |code| {
                    code.raw([I::LocalGet(x.at.0), load.clone(), I::LocalTee(next), I::LocalGet(best)]);
                    code.raw([self.better(), I::LocalSet(better)]);
                    for (new, old) in [(next, best), (place, found)] {
                        code.raw([new, old, better].map(I::LocalGet));
                        code.raw([I::Select, I::LocalSet(old)]);
                    }
                    code.raw([I::LocalGet(place), I::I64Const(1), I::I64Add, I::LocalSet(place)]);
                    code.advance(x.at, stride);
                });
                code.advance(x.at, -stride * i64::from(len));
                code.raw([I::LocalGet(y.at.0), I::LocalGet(found)]);
                code.raw([I::I64Store(MemArg { offset: 0, align: 3, memory_index: 0 })]);
            });
        });
    }
}
