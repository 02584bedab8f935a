//! The body of one function: locals, vector expressions and counted loops.
//!
//! **Every loop has one form.** The number of trips is a constant, or a parameter that was checked
//! against one; it is put into a local of its own, which nothing else writes; the loop counts it down
//! to 0 and has no other way back to its start:
//!
//! ```text
//! i32.const TRIPS   local.set $i
//! loop $l
//!   …                              ;; never writes $i
//!   local.get $i  i32.const 1  i32.sub  local.tee $i  br_if $l
//! end
//! ```
//!
//! So the work of a module is bounded by the product of its constants, which a verifier can read off.
//! A [`Pin`] is a forward branch out of a block that is never taken; it only keeps the order of loads.

mod half;
mod lanes;
mod scalar;
mod vector;
pub(crate) mod wide;

use dunlin_abi::Simd;
use wasm_encoder::{BlockType, Function, Instruction, MemArg, ValType};

use super::expr::{Expr, Index, Vector};

/// A block that pins lead out of: its depth.
#[derive(Clone, Copy)]
pub(crate) struct Pin(u32);

/// The body of one function while it is written.
pub(crate) struct Code {
    /// The level that is allowed.
    simd: Simd,
    /// The level that was used so far.
    pub(crate) used: Simd,
    params: u32,
    locals: Vec<ValType>,
    /// Locals that nobody needs any more.
    free: Vec<(ValType, u32)>,
    /// Locals that are in use, in the order in which they were taken.
    taken: Vec<(ValType, u32)>,
    body: Vec<Instruction<'static>>,
    depth: u32,
}

/// All accesses are to the one memory; the hint says that tensors of f32 are 4-byte aligned.
fn at(offset: u32) -> MemArg {
    MemArg { offset: u64::from(offset), align: 2, memory_index: 0 }
}

/// Numbers in a vector at a SIMD level.
pub(crate) const fn lanes(simd: Simd) -> u32 {
    match simd {
        Simd::None => 1,
        Simd::Deterministic | Simd::Relaxed => 4,
    }
}

impl Code {
    /// An empty function with `params` parameters of type i32.
    pub(crate) fn new(simd: Simd, params: u32) -> Code {
        Code {
            simd,
            used: Simd::None,
            params,
            locals: Vec::new(),
            free: Vec::new(),
            taken: Vec::new(),
            body: Vec::new(),
            depth: 0,
        }
    }

    /// The numbers in a vector.
    pub(crate) fn lanes(&self) -> u32 {
        lanes(self.simd)
    }

    /// Appends instructions.
    pub(crate) fn raw(&mut self, instructions: impl IntoIterator<Item = Instruction<'static>>) {
        self.body.extend(instructions);
    }

    fn local(&mut self, kind: ValType) -> u32 {
        let local = match self.free.iter().rposition(|(free, _)| *free == kind) {
            Some(place) => self.free.remove(place).1,
            None => {
                self.locals.push(kind);
                // Kernels have some hundred locals.
                self.params + u32::try_from(self.locals.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.taken.push((kind, local));
        local
    }

    /// Locals that `body` takes are free again behind it, so that a long kernel has few of them.
    pub(crate) fn scoped<T>(&mut self, body: impl FnOnce(&mut Code) -> T) -> T {
        let outer = self.taken.len();
        let result = body(self);
        self.free.extend(self.taken.drain(outer.min(self.taken.len())..).rev());
        result
    }

    /// Says that nobody needs this vector any more; said where it was taken, not in a loop within.
    pub(crate) fn release(&mut self, vector: Vector) {
        if let Some(place) = self.taken.iter().rposition(|(_, local)| *local == vector.0) {
            let local = self.taken.remove(place);
            self.free.push(local);
        }
    }

    /// Parameters and locals.
    pub(crate) fn local_count(&self) -> usize {
        self.params as usize + self.locals.len()
    }

    /// A new local of any type, for instructions that are no expressions.
    pub(crate) fn raw_local(&mut self, kind: ValType) -> u32 {
        self.local(kind)
    }

    /// Notes that the function uses SIMD, where the level has any.
    fn uses_vectors(&mut self) {
        if self.simd != Simd::None {
            self.used = self.used.max(Simd::Deterministic);
        }
    }

    /// A new local for an address or a count.
    pub(crate) fn index(&mut self) -> Index {
        Index(self.local(ValType::I32))
    }

    /// A new local for a vector.
    pub(crate) fn vector(&mut self) -> Vector {
        let kind = if self.simd == Simd::None { ValType::F32 } else { ValType::V128 };
        Vector(self.local(kind))
    }

    /// A new local with the value of `index`.
    pub(crate) fn copy(&mut self, index: Index) -> Index {
        let copy = self.index();
        self.raw([Instruction::LocalGet(index.0), Instruction::LocalSet(copy.0)]);
        copy
    }

    /// `index += bytes`, which may be negative.
    pub(crate) fn advance(&mut self, index: Index, bytes: i64) {
        // Addresses are counted modulo 2^32.
        #[allow(clippy::cast_possible_truncation)]
        let bytes = bytes as i32;
        if bytes != 0 {
            self.raw([
                Instruction::LocalGet(index.0),
                Instruction::I32Const(bytes),
                Instruction::I32Add,
                Instruction::LocalSet(index.0),
            ]);
        }
    }

    /// Runs `body` `trips` times: the loop of this crate, or no loop at all for one trip.
    pub(crate) fn counted(&mut self, trips: u32, body: impl FnOnce(&mut Code)) {
        match trips {
            0 => {}
            1 => body(self),
            _ => self.scoped(|code| {
                let counter = code.index();
                code.raw([Instruction::I32Const(trips.cast_signed()), Instruction::LocalSet(counter.0)]);
                code.count_down(counter, body);
            }),
        }
    }

    /// Begins a function with a look at a parameter: unless it is 1 to `most`, the function returns, with
    /// `status` if it has a result. A parameter that is never written may then be the trips of a loop.
    pub(crate) fn checked(&mut self, parameter: Index, most: u32, status: Option<i32>) {
        self.raw([
            Instruction::LocalGet(parameter.0),
            Instruction::I32Const(1),
            Instruction::I32Sub,
            Instruction::I32Const(most.cast_signed()),
            Instruction::I32GeU,
            Instruction::If(BlockType::Empty),
        ]);
        self.raw(status.map(Instruction::I32Const));
        self.raw([Instruction::Return, Instruction::End]);
    }

    /// Runs `body` as often as `trips` says, which was [`Code::checked`].
    pub(crate) fn counted_by(&mut self, trips: Index, body: impl FnOnce(&mut Code)) {
        self.scoped(|code| {
            let counter = code.copy(trips);
            code.count_down(counter, body);
        });
    }

    fn count_down(&mut self, counter: Index, body: impl FnOnce(&mut Code)) {
        self.raw([Instruction::Loop(BlockType::Empty)]);
        self.depth += 1;
        body(self);
        self.depth -= 1;
        self.raw([
            Instruction::LocalGet(counter.0),
            Instruction::I32Const(1),
            Instruction::I32Sub,
            Instruction::LocalTee(counter.0),
            Instruction::BrIf(0),
            Instruction::End,
        ]);
    }

    /// A block that pins can lead out of.
    pub(crate) fn pinned(&mut self, body: impl FnOnce(&mut Code, Pin)) {
        self.raw([Instruction::Block(BlockType::Empty)]);
        self.depth += 1;
        let pin = Pin(self.depth);
        body(self, pin);
        self.depth -= 1;
        self.raw([Instruction::End]);
    }

    /// Keeps loads behind this place behind the arithmetic before it: Cranelift moves pure operations
    /// to their use but not across a branch. It leaves the block if `address` is 0, which it never is.
    pub(crate) fn pin(&mut self, pin: Pin, address: Index) {
        self.raw([
            Instruction::LocalGet(address.0),
            Instruction::I32Eqz,
            Instruction::BrIf(self.depth - pin.0),
        ]);
    }

    /// Runs `body` if `address` is not 0, which it never is.
    pub(crate) fn fenced(&mut self, address: Index, body: impl FnOnce(&mut Code)) {
        self.raw([Instruction::LocalGet(address.0), Instruction::If(BlockType::Empty)]);
        self.depth += 1;
        body(self);
        self.depth -= 1;
        self.raw([Instruction::End]);
    }

    /// Runs `step(offset in bytes, lanes)` for all of `len` numbers, vector by vector, and leaves every
    /// pointer behind its last number. `unroll` vectors share one turn of the loop.
    pub(crate) fn along(
        &mut self,
        len: u32,
        unroll: u32,
        pointers: &[Index],
        step: impl Fn(&mut Code, u32, u32),
    ) {
        let lanes = self.lanes();
        let turn = lanes * unroll;
        self.counted(len / turn, |code| {
            (0..unroll).for_each(|vector| step(code, vector * lanes * 4, lanes));
            pointers.iter().for_each(|pointer| code.advance(*pointer, i64::from(turn) * 4));
        });
        let rest = len % turn;
        for start in (0..rest).step_by(lanes as usize) {
            step(self, start * 4, lanes.min(rest - start));
        }
        pointers.iter().for_each(|pointer| self.advance(*pointer, i64::from(rest) * 4));
    }

    /// A new local with the value of an expression.
    pub(crate) fn set(&mut self, expr: impl Into<Expr>) -> Vector {
        let vector = self.vector();
        self.assign(vector, expr);
        vector
    }

    /// `vector = expr`.
    pub(crate) fn assign(&mut self, vector: Vector, expr: impl Into<Expr>) {
        self.push(&expr.into());
        self.raw([Instruction::LocalSet(vector.0)]);
    }

    /// Writes the first `lanes` numbers of an expression to memory, and nothing behind them.
    pub(crate) fn store(&mut self, to: Index, offset: u32, lanes: u32, expr: impl Into<Expr>) {
        let expr = expr.into();
        if lanes == self.lanes() {
            self.raw([Instruction::LocalGet(to.0)]);
            self.push(&expr);
            let memarg = at(offset);
            self.raw([match self.simd {
                Simd::None => Instruction::F32Store(memarg),
                Simd::Deterministic | Simd::Relaxed => Instruction::V128Store(memarg),
            }]);
            return;
        }
        let vector = self.set(expr);
        let operands = [Instruction::LocalGet(to.0), Instruction::LocalGet(vector.0)];
        if lanes >= 2 {
            self.raw(operands.clone());
            self.raw([Instruction::V128Store64Lane { memarg: at(offset), lane: 0 }]);
        }
        if lanes % 2 == 1 {
            let (offset, lane) = if lanes == 3 { (offset + 8, 2) } else { (offset, 0) };
            self.raw(operands);
            self.raw([Instruction::V128Store32Lane { memarg: at(offset), lane }]);
        }
    }

    /// Leaves the value of an expression on the stack.
    fn push(&mut self, expr: &Expr) {
        if self.simd == Simd::None { self.push_scalar(expr) } else { self.push_vector(expr) }
    }

    /// The encoded function.
    pub(crate) fn finish(mut self) -> Function {
        let mut function = Function::new_with_locals_types(self.locals);
        self.body.push(Instruction::End);
        self.body.iter().for_each(|instruction| {
            function.instruction(instruction);
        });
        function
    }
}
