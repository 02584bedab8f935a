//! Slabs of a tensor, picked by indices that are known only when the model runs: an embedding.
//!
//! ```text
//! for o in outer, for j in count
//!   p = indices[j], counted from the end where it is negative, and held within the axis
//!   for i in inner: y[o, j, i] = x[o, p, i]
//! ```
//! ONNX calls an index out of range an error; a module must not read elsewhere, so it takes the nearest.

use dunlin_abi::DType;
use wasm_encoder::{Instruction, MemArg, ValType};

use super::code::Code;
use super::expr::{Expr, Index};
use super::integer::Width;
use crate::kernel::{Kernel, Operand, is_number};

/// A gather over `[outer, extent, inner]` of 32-bit words; operands: x of any type, and indices.
#[derive(Debug)]
pub(crate) struct Gather {
    /// Extents before the axis.
    pub(crate) outer: u32,
    /// The extent of the axis.
    pub(crate) extent: u32,
    /// Words of the extents behind the axis.
    pub(crate) inner: u32,
    /// How many indices there are.
    pub(crate) count: u32,
    /// The width of the indices.
    pub(crate) index: Width,
}

impl Kernel for Gather {
    fn title(&self) -> String {
        format!("gather {} of {}, {} numbers each", self.count, self.extent, self.inner)
    }

    fn takes(&self, index: usize, dtype: DType) -> bool {
        match index {
            0 => is_number(dtype) || Width::of(dtype).is_some(),
            _ => Width::of(dtype) == Some(self.index),
        }
    }

    fn emit(&self, code: &mut Code, y: &Operand, operands: &[Operand], _: Option<Index>) {
        let [x, indices, ..] = operands else { return };
        let row = i64::from(self.inner) * 4;
        let index_bytes = if self.index == Width::Bits64 { 8 } else { 4 };
        let place = code.index();
        let from = code.index();
        code.counted(self.outer, |code| {
            code.counted(self.count, |code| {
                self.place(code, indices.at, place);
                code.raw([
                    Instruction::LocalGet(place.0),
                    Instruction::I32Const(self.inner.wrapping_mul(4).cast_signed()),
                    Instruction::I32Mul,
                    Instruction::LocalGet(x.at.0),
                    Instruction::I32Add,
                    Instruction::LocalSet(from.0),
                ]);
                code.along(self.inner, 4, &[y.at, from], |code, offset, lanes| {
                    code.store(y.at, offset, lanes, Expr::Load { at: from, offset, lanes });
                });
                code.advance(indices.at, index_bytes);
            });
            code.advance(indices.at, -index_bytes * i64::from(self.count));
            code.advance(x.at, row * i64::from(self.extent));
        });
    }
}

impl Gather {
    /// `place = min(index < 0 ? index + extent : index, extent - 1)` in 64 bits, compared without signs, so
    /// that what is still negative is held too.
    fn place(&self, code: &mut Code, indices: Index, place: Index) {
        use Instruction as I;
        let (extent, last) = (i64::from(self.extent), i64::from(self.extent.saturating_sub(1)));
        code.scoped(|code| {
            let wide = code.raw_local(ValType::I64);
            let index = I::LocalGet(wide);
            let memarg = |align| MemArg { offset: 0, align, memory_index: 0 };
            code.raw([I::LocalGet(indices.0)]);
            match self.index {
                Width::Bits32 => code.raw([I::I32Load(memarg(2)), I::I64ExtendI32S]),
                Width::Bits64 => code.raw([I::I64Load(memarg(3))]),
            }
            code.raw([I::LocalTee(wide), I::I64Const(extent), I::I64Add, index.clone(), index.clone()]);
            code.raw([I::I64Const(0), I::I64LtS, I::Select, I::LocalTee(wide), I::I64Const(last)]);
            code.raw([index, I::I64Const(last), I::I64LtU, I::Select, I::I32WrapI64, I::LocalSet(place.0)]);
        });
    }
}
