//! `dunlin_infer(n)`: checks n, then calls the kernels in order, once a sample.
//!
//! ```text
//! if n - 1 >= max_batch (unsigned): return -1
//! for s in 0..n: for each step: kernel(address of y, addresses of the operands)
//! return 0
//! ```
//! Where `max_batch` is 1 there is no loop. Addresses of inputs and outputs move on by one sample a
//! turn; everything else is a constant.

use std::collections::BTreeMap;

use dunlin_abi::{STATUS_OK, Simd};
use wasm_encoder::{BlockType, Function, Instruction};

use super::code::Code;
use super::expr::Index;
use crate::memory::Address;

/// What `dunlin_infer` returns for an n that is not 1 to `max_batch`.
const STATUS_WRONG_BATCH: i32 = -1;

/// A call of a kernel.
pub(super) struct Run {
    /// The index of the kernel's function.
    pub(super) function: u32,
    /// The result, then the operands.
    pub(super) addresses: Vec<Address>,
}

/// The body of `dunlin_infer`.
pub(super) fn emit(runs: &[Run], max_batch: u32) -> Function {
    let mut code = Code::new(Simd::None, 1);
    let n = Index(0);
    code.checked(n, max_batch, Some(STATUS_WRONG_BATCH));
    // How far the regions of all samples have moved, for each distance between samples.
    let mut moved: BTreeMap<u32, Index> = BTreeMap::new();
    if max_batch > 1 {
        let strides = runs.iter().flat_map(|run| &run.addresses).map(|address| address.stride_bytes);
        for stride in strides.filter(|stride| *stride != 0) {
            moved.entry(stride).or_insert_with(|| code.index());
        }
    }
    let sample = |code: &mut Code| {
        for run in runs {
            for address in &run.addresses {
                code.raw([Instruction::I32Const(address.first.cast_signed())]);
                if let Some(moved) = moved.get(&address.stride_bytes) {
                    code.raw([Instruction::LocalGet(moved.0), Instruction::I32Add]);
                }
            }
            code.raw([Instruction::Call(run.function)]);
        }
        for (stride_bytes, moved) in &moved {
            code.advance(*moved, i64::from(*stride_bytes));
        }
    };
    if max_batch == 1 {
        sample(&mut code)
    } else {
        code.counted_by(n, sample)
    }
    code.raw([Instruction::I32Const(STATUS_OK)]);
    code.finish()
}

/// `dunlin_input` or `dunlin_output`: the address of tensor `index`, and 0 if there is none.
pub(super) fn address_of(addresses: &[Address]) -> Function {
    let mut code = Code::new(Simd::None, 1);
    for (index, address) in (0i32..).zip(addresses) {
        code.raw([
            Instruction::LocalGet(0),
            Instruction::I32Const(index),
            Instruction::I32Eq,
            Instruction::If(BlockType::Empty),
            Instruction::I32Const(address.first.cast_signed()),
            Instruction::Return,
            Instruction::End,
        ]);
    }
    code.raw([Instruction::I32Const(0)]);
    code.finish()
}
