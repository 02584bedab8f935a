//! One vector of halves, read, widened and written.

use wasm_encoder::{Instruction, MemArg, ValType};

use super::Code;
use crate::emit::expr::Index;
use dunlin_abi::Simd;

impl Code {
    /// Writes a vector of float32 to `to` from as many halves at `from`, by a factor of `scale`.
    pub(crate) fn widen(&mut self, to: Index, from: Index, scale: f32) {
        let memarg = |align| MemArg { offset: 0, align, memory_index: 0 };
        let load = Instruction::LocalGet(from.0);
        if self.simd == Simd::None {
            let half = Index(self.local(ValType::I32));
            self.raw([load, Instruction::I32Load16U(memarg(1)), Instruction::LocalSet(half.0)]);
            self.raw([Instruction::LocalGet(to.0), Instruction::LocalGet(half.0)]);
            self.raw([
                Instruction::I32Const(0x7fff),
                Instruction::I32And,
                Instruction::I32Const(13),
                Instruction::I32Shl,
            ]);
            self.raw([
                Instruction::F32ReinterpretI32,
                Instruction::F32Const(scale.into()),
                Instruction::F32Mul,
            ]);
            self.raw([Instruction::LocalGet(half.0), Instruction::I32Const(16), Instruction::I32Shl]);
            self.raw([
                Instruction::F32ReinterpretI32,
                Instruction::F32Copysign,
                Instruction::F32Store(memarg(2)),
            ]);
            return;
        }
        self.uses_vectors();
        let half = self.local(ValType::V128);
        let every = |word: u32| {
            let lane = u128::from(word);
            Instruction::V128Const((lane | lane << 32 | lane << 64 | lane << 96).cast_signed())
        };
        self.raw([load, Instruction::V128Load16x4U(memarg(1)), Instruction::LocalSet(half)]);
        self.raw([
            Instruction::LocalGet(to.0),
            Instruction::LocalGet(half),
            every(0x7fff),
            Instruction::V128And,
        ]);
        self.raw([
            Instruction::I32Const(13),
            Instruction::I32x4Shl,
            every(scale.to_bits()),
            Instruction::F32x4Mul,
        ]);
        self.raw([Instruction::LocalGet(half), every(0x8000), Instruction::V128And]);
        self.raw([Instruction::I32Const(16), Instruction::I32x4Shl, Instruction::V128Or]);
        self.raw([Instruction::V128Store(memarg(2))]);
    }
}
