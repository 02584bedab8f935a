//! The functions that are added to a module: a look at the clock, and bulk operations in steps.
//!
//! Where the engine checks the clock, it does so at the entry of a function and in every loop: the function
//! `poll` is empty there. Elsewhere it asks for more memory than there can be, which is how code without a
//! host function of its own reaches the host: the limiter looks at the clock and refuses.

use wasm_encoder::{
    BlockType, CodeSection, Encode as _, Function, Instruction, NameMap, NameSection, ValType,
};

use super::CHUNK_BYTES;
use crate::names::HELPER;

/// The indices of the functions.
pub(super) struct Helpers {
    poll: u32,
    fill: u32,
    copy: u32,
    /// Whether they ask the host for the time.
    asks: bool,
}

impl Helpers {
    /// The functions of a module that has so many others.
    pub(super) fn after(functions: u32, asks: bool) -> Helpers {
        Helpers { poll: functions, fill: functions + 1, copy: functions + 2, asks }
    }

    /// `() -> ()`: looks at the clock.
    pub(super) fn poll(&self) -> Vec<u8> {
        encoded(&[Instruction::Call(self.poll)])
    }

    /// The same wherever the lowest bits of a local are 0.
    pub(super) fn poll_where(&self, local: u32, mask: u32) -> Vec<u8> {
        encoded(&[
            Instruction::LocalGet(local),
            Instruction::I32Const(mask.cast_signed()),
            Instruction::I32And,
            Instruction::I32Eqz,
            Instruction::If(BlockType::Empty),
            Instruction::Call(self.poll),
            Instruction::End,
        ])
    }

    /// As `memory.fill`.
    pub(super) fn fill(&self) -> Vec<u8> {
        encoded(&[Instruction::Call(self.fill)])
    }

    /// As `memory.copy`.
    pub(super) fn copy(&self) -> Vec<u8> {
        encoded(&[Instruction::Call(self.copy)])
    }

    /// Adds their bodies, in the order of their indices.
    pub(super) fn define(&self, code: &mut CodeSection) {
        let ask = [Instruction::I32Const(-1), Instruction::MemoryGrow(0), Instruction::Drop];
        let poll = if self.asks { ask.as_slice() } else { &[] };
        for body in [poll.to_vec(), self.body_of_fill(), self.body_of_copy()] {
            let mut function = Function::new([]);
            body.iter().for_each(|instruction| {
                function.instruction(instruction);
            });
            function.instruction(&Instruction::End);
            code.function(&function);
        }
    }

    /// `(to, value, bytes)`: a step at a time, upwards.
    fn body_of_fill(&self) -> Vec<Instruction<'static>> {
        use Instruction as I;
        let fill = I::MemoryFill(0);
        let mut body = whole(&[0], &fill);
        body.extend([I::Loop(BlockType::Empty), I::Call(self.poll)]);
        body.extend([I::LocalGet(0), I::LocalGet(1), step(), fill.clone()]);
        body.extend(move_by(0, I::I32Add));
        body.extend(again());
        body.extend([I::LocalGet(0), I::LocalGet(1), I::LocalGet(2), fill]);
        body
    }

    /// `(to, from, bytes)`: a step at a time, in the direction in which nothing is overwritten that is copied
    /// later.
    fn body_of_copy(&self) -> Vec<Instruction<'static>> {
        use Instruction as I;
        let copy = I::MemoryCopy { src_mem: 0, dst_mem: 0 };
        let mut body = whole(&[0, 1], &copy);
        body.extend([I::LocalGet(0), I::LocalGet(1), I::I32LeU, I::If(BlockType::Empty)]);
        body.extend([I::Loop(BlockType::Empty), I::Call(self.poll)]);
        body.extend([I::LocalGet(0), I::LocalGet(1), step(), copy.clone()]);
        body.extend(move_by(0, I::I32Add));
        body.extend(move_by(1, I::I32Add));
        body.extend(again());
        body.push(I::Else);
        // From behind: the last step of what is left.
        body.extend([I::Loop(BlockType::Empty), I::Call(self.poll)]);
        for address in [0, 1] {
            body.extend([I::LocalGet(address), I::LocalGet(2), step(), I::I32Sub, I::I32Add]);
        }
        body.extend([step(), copy.clone()]);
        body.extend(again());
        body.extend([I::End, I::LocalGet(0), I::LocalGet(1), I::LocalGet(2), copy]);
        body
    }

    /// What they are called: see [`names::is_helper`](crate::names::is_helper).
    pub(super) fn names(&self) -> NameSection {
        let mut names = NameMap::new();
        for (index, name) in [(self.poll, "poll"), (self.fill, "fill"), (self.copy, "copy")] {
            names.append(index, &format!("{HELPER}{name}"));
        }
        let mut section = NameSection::new();
        section.functions(&names);
        section
    }
}

/// The operation as it is and a return, where it is one step or less, or leads outside of memory, by one of
/// these addresses, and traps.
fn whole(addresses: &[u32], operation: &Instruction<'static>) -> Vec<Instruction<'static>> {
    use Instruction as I;
    let mut body = vec![I::LocalGet(2), step(), I::I32LeU];
    for address in addresses {
        body.extend([I::LocalGet(*address), I::I64ExtendI32U, I::LocalGet(2), I::I64ExtendI32U, I::I64Add]);
        body.extend([I::MemorySize(0), I::I64ExtendI32U, I::I64Const(16), I::I64Shl, I::I64GtU, I::I32Or]);
    }
    body.push(I::If(BlockType::Empty));
    body.extend([I::LocalGet(0), I::LocalGet(1), I::LocalGet(2), operation.clone(), I::Return, I::End]);
    body
}

fn step() -> Instruction<'static> {
    Instruction::I32Const(CHUNK_BYTES.cast_signed())
}

/// Moves a local by a step.
fn move_by(local: u32, operator: Instruction<'static>) -> [Instruction<'static>; 4] {
    [Instruction::LocalGet(local), step(), operator, Instruction::LocalSet(local)]
}

/// One step less is left; the loop goes on while that is more than one.
fn again() -> Vec<Instruction<'static>> {
    let mut end = move_by(2, Instruction::I32Sub).to_vec();
    end.extend([Instruction::LocalGet(2), step(), Instruction::I32GtU, Instruction::BrIf(0)]);
    end.push(Instruction::End);
    end
}

/// The types of the helpers, for the end of the type section.
pub(super) fn types() -> Vec<Vec<u8>> {
    let function = |params: &[ValType]| {
        let mut bytes = vec![0x60];
        params.encode(&mut bytes);
        0u32.encode(&mut bytes);
        bytes
    };
    vec![function(&[]), function(&[ValType::I32; 3])]
}

/// Their entries in the function section, behind so many types.
pub(super) fn declarations(types: u32) -> Vec<Vec<u8>> {
    let declared = [types, types + 1, types + 1].map(|index| {
        let mut bytes = Vec::new();
        index.encode(&mut bytes);
        bytes
    });
    declared.into()
}

fn encoded(instructions: &[Instruction<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    instructions.iter().for_each(|instruction| instruction.encode(&mut bytes));
    bytes
}
