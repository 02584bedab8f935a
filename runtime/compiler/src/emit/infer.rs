//! `dunlin_infer(n)`: checks n, then calls the kernels in order, once a sample.
//!
//! ```text
//! if n - 1 >= max_batch (unsigned): return -1
//! for s in 0..n: for each node: kernel(address of y, addresses of the operands)
//! return 0
//! ```
//! Where `max_batch` is 1 there is no loop. Addresses of inputs and outputs move on by one sample a
//! turn; everything else is a constant.

use std::collections::BTreeMap;

use dunlin_abi::{STATUS_OK, Simd};
use wasm_encoder::{BlockType, Function, Instruction};

use super::code::Code;
use super::expr::Index;
use crate::memory::Place;

/// What `dunlin_infer` returns for an n that is not 1 to `max_batch`.
const STATUS_WRONG_BATCH: i32 = -1;

/// A call of a kernel.
pub(super) struct Step {
    /// The index of the kernel's function.
    pub(super) function: u32,
    /// The result, then the operands.
    pub(super) places: Vec<Place>,
}

/// The body of `dunlin_infer`.
pub(super) fn emit(steps: &[Step], max_batch: u32) -> Function {
    let mut code = Code::new(Simd::None, 1);
    let n = Index(0);
    code.raw([
        Instruction::LocalGet(n.0),
        Instruction::I32Const(1),
        Instruction::I32Sub,
        Instruction::I32Const(max_batch.cast_signed()),
        Instruction::I32GeU,
        Instruction::If(BlockType::Empty),
        Instruction::I32Const(STATUS_WRONG_BATCH),
        Instruction::Return,
        Instruction::End,
    ]);
    let mut moving: BTreeMap<u32, (Index, u32)> = BTreeMap::new();
    for place in steps.iter().flat_map(|step| &step.places) {
        if let Place::Samples { address, stride_bytes } = place {
            moving.entry(*address).or_insert_with(|| (code.index(), *stride_bytes));
        }
    }
    for (address, (pointer, _)) in &moving {
        code.raw([Instruction::I32Const(address.cast_signed()), Instruction::LocalSet(pointer.0)]);
    }
    let sample = |code: &mut Code| {
        for step in steps {
            code.raw(step.places.iter().map(|place| argument(*place, &moving)));
            code.raw([Instruction::Call(step.function)]);
        }
        for (pointer, stride_bytes) in moving.values() {
            code.advance(*pointer, i64::from(*stride_bytes));
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

/// The address of a place in this turn.
fn argument(place: Place, moving: &BTreeMap<u32, (Index, u32)>) -> Instruction<'static> {
    match place {
        Place::Shared(address) => Instruction::I32Const(address.cast_signed()),
        Place::Samples { address, .. } => match moving.get(&address) {
            Some((pointer, _)) => Instruction::LocalGet(pointer.0),
            None => Instruction::I32Const(address.cast_signed()),
        },
    }
}

/// `dunlin_input` or `dunlin_output`: the address of tensor `index`, and 0 if there is none.
pub(super) fn address_of(places: &[Place]) -> Function {
    let mut code = Code::new(Simd::None, 1);
    for (index, place) in (0i32..).zip(places) {
        let (Place::Shared(address) | Place::Samples { address, .. }) = place;
        code.raw([
            Instruction::LocalGet(0),
            Instruction::I32Const(index),
            Instruction::I32Eq,
            Instruction::If(BlockType::Empty),
            Instruction::I32Const(address.cast_signed()),
            Instruction::Return,
            Instruction::End,
        ]);
    }
    code.raw([Instruction::I32Const(0)]);
    code.finish()
}
