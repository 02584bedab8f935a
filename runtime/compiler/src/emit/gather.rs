//! Slabs of a tensor, picked by indices that are known only when the model runs: an embedding.
//!
//! ```text
//! for o in outer, for j in count
//!   p = indices[j], counted from the end where it is negative, and held within the axis
//!   for i in inner: y[o, j, i] = x[o, p, i]
//! ```
//! ONNX calls an index out of range an error; a module must not read elsewhere, so it takes the nearest.

use wasm_encoder::{Instruction, MemArg};

use super::code::Code;
use super::expr::{Expr, Index};
use crate::kernel::{Kernel, Operand};

/// A gather over `[outer, extent, inner]`; operands: x, and indices of 32 bits.
#[derive(Debug)]
pub(crate) struct Gather {
    /// Extents before the axis.
    pub(crate) outer: u32,
    /// The extent of the axis.
    pub(crate) extent: u32,
    /// Extents behind the axis.
    pub(crate) inner: u32,
    /// How many indices there are.
    pub(crate) count: u32,
}

impl Kernel for Gather {
    fn title(&self) -> String {
        format!("gather {} of {}, {} numbers each", self.count, self.extent, self.inner)
    }

    fn emit(&self, code: &mut Code, y: &Operand, operands: &[Operand], _: Option<Index>) {
        let [x, indices, ..] = operands else { return };
        let row = i64::from(self.inner) * 4;
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
                code.advance(indices.at, 4);
            });
            code.advance(indices.at, -4 * i64::from(self.count));
            code.advance(x.at, row * i64::from(self.extent));
        });
    }
}

impl Gather {
    /// `place = min(index < 0 ? index + extent : index, extent - 1)`, compared without signs, so that what
    /// is still negative is held too.
    fn place(&self, code: &mut Code, indices: Index, place: Index) {
        let (extent, last) = (self.extent.cast_signed(), self.extent.saturating_sub(1).cast_signed());
        let index = Instruction::LocalGet(place.0);
        code.raw([
            Instruction::LocalGet(indices.0),
            Instruction::I32Load(MemArg { offset: 0, align: 2, memory_index: 0 }),
            Instruction::LocalTee(place.0),
            Instruction::I32Const(extent),
            Instruction::I32Add,
            index.clone(),
            index.clone(),
            Instruction::I32Const(0),
            Instruction::I32LtS,
            Instruction::Select,
            Instruction::LocalTee(place.0),
            Instruction::I32Const(last),
            index.clone(),
            Instruction::I32Const(last),
            Instruction::I32LtU,
            Instruction::Select,
            Instruction::LocalSet(place.0),
        ]);
    }
}
