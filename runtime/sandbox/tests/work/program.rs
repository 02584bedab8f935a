//! Modules out of arbitrary bytes, in the form that `dunlin_sandbox::Work` proves, or near to it.
//!
//! Each byte is a choice, and where there are none left, the choice is to be done. Programs are whole
//! models of one to three functions, with counted loops, branches, calls and bulk operations; the last
//! choices damage the sequence of instructions here and there. Many are proven, some by a hair.

use wasm_encoder::{
    BlockType, CodeSection, CustomSection, ExportKind, ExportSection, Function, FunctionSection, Instruction,
    MemArg, MemorySection, MemoryType, Module, TypeSection, ValType,
};

const CARD: &str = r#"{"abi": 1, "max_batch": 1, "producer": "test",
    "inputs": [{"name": "x", "dtype": "f32", "shape": [1]}],
    "outputs": [{"name": "y", "dtype": "f32", "shape": [1]}]}"#;

/// The most that a checked parameter may be.
pub(crate) const MOST: i32 = 4;

/// The locals of a function: 0 is its parameter, and by rights the last two count no loop.
const LOCALS: u32 = 8;

/// What the functions of all programs are called; the first is `dunlin_infer`.
pub(crate) const NAMES: [&str; 3] = ["dunlin_infer", "second", "third"];

/// The module that these bytes stand for.
pub(crate) fn module(bytes: &[u8]) -> Vec<u8> {
    let mut chance = Chance(bytes);
    let count = 1 + chance.below(3);
    let bodies: Vec<Vec<Instruction<'static>>> = (0..count)
        .map(|index| Writer { chance: &mut chance, index, count, room: 60, loops: Vec::new() }.function())
        .collect();
    model(&bodies)
}

/// A model with these bodies, each `(param i32) (result i32)`, under [`NAMES`].
pub(crate) fn model(bodies: &[Vec<Instruction<'static>>]) -> Vec<u8> {
    let constant = |value| vec![Instruction::I32Const(value), Instruction::End];
    let addresses = [("dunlin_input", constant(1024)), ("dunlin_output", constant(2048))];
    let named = NAMES.iter().zip(bodies).map(|(name, body)| (*name, body.clone())).chain(addresses);
    let (mut functions, mut exports, mut code) =
        (FunctionSection::new(), ExportSection::new(), CodeSection::new());
    exports.export("memory", ExportKind::Memory, 0);
    for (index, (name, body)) in (0..).zip(named) {
        functions.function(0);
        exports.export(name, ExportKind::Func, index);
        let mut function = Function::new([(LOCALS - 1, ValType::I32)]);
        body.iter().for_each(|instruction| {
            function.instruction(instruction);
        });
        code.function(&function);
    }
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32], [ValType::I32]);
    let mut memories = MemorySection::new();
    let size =
        MemoryType { minimum: 1, maximum: Some(1), memory64: false, shared: false, page_size_log2: None };
    memories.memory(size);
    let card = CustomSection { name: "dunlin.card".into(), data: CARD.as_bytes().into() };
    let mut module = Module::new();
    module.section(&card).section(&types).section(&functions).section(&memories).section(&exports);
    module.section(&code);
    module.finish()
}

/// The check of a parameter at the beginning of a function that gives a status.
pub(crate) fn check() -> [Instruction<'static>; 9] {
    [
        Instruction::LocalGet(0),
        Instruction::I32Const(1),
        Instruction::I32Sub,
        Instruction::I32Const(MOST),
        Instruction::I32GeU,
        Instruction::If(BlockType::Empty),
        Instruction::I32Const(-1),
        Instruction::Return,
        Instruction::End,
    ]
}

/// The end of a counted loop, but for its `end`.
pub(crate) fn count_down(local: u32) -> [Instruction<'static>; 5] {
    [
        Instruction::LocalGet(local),
        Instruction::I32Const(1),
        Instruction::I32Sub,
        Instruction::LocalTee(local),
        Instruction::BrIf(0),
    ]
}

/// The bytes that are left.
struct Chance<'a>(&'a [u8]);

impl Chance<'_> {
    fn byte(&mut self) -> u8 {
        let [first, rest @ ..] = self.0 else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, end: u32) -> u32 {
        u32::from(self.byte()) % end
    }
}

/// Writes one function.
struct Writer<'a, 'b> {
    chance: &'a mut Chance<'b>,
    index: u32,
    count: u32,
    /// Statements that it may still have.
    room: u32,
    /// The open blocks, the innermost last; whether each is a loop.
    loops: Vec<bool>,
}

impl Writer<'_, '_> {
    fn function(&mut self) -> Vec<Instruction<'static>> {
        let mut body = Vec::new();
        if self.chance.below(16) != 1 {
            body.extend(check());
        }
        self.statements(&mut body);
        body.push(Instruction::I32Const(0));
        for _ in 0..self.chance.below(8).saturating_sub(5) {
            self.damage(&mut body);
        }
        body.push(Instruction::End);
        body
    }

    /// Statements, until chance is done.
    fn statements(&mut self, body: &mut Vec<Instruction<'static>>) {
        loop {
            let kind = self.chance.below(24);
            if kind == 0 || self.room == 0 {
                return;
            }
            self.room -= 1;
            self.statement(kind, body);
        }
    }

    fn depth(&self) -> u32 {
        u32::try_from(self.loops.len()).unwrap_or(u32::MAX)
    }

    /// One to be read.
    fn local(&mut self) -> u32 {
        self.chance.below(LOCALS)
    }

    /// One to be written, which is seldom that of a loop.
    fn target(&mut self) -> u32 {
        match self.chance.below(32) {
            0 => self.local(),
            // That of the innermost loop, or of one around it.
            1 => self.depth(),
            2 => self.depth().saturating_sub(1),
            n => LOCALS - 2 + n % 2,
        }
    }

    /// Where a branch leads: nearly never to the start of a loop, and rather out of the function.
    fn label(&mut self, end: u32) -> u32 {
        let label = self.chance.below(end);
        let back = self.loops.iter().rev().nth(label as usize) == Some(&true);
        if back && self.chance.below(32) != 1 { self.depth() } else { label }
    }

    fn statement(&mut self, kind: u32, body: &mut Vec<Instruction<'static>>) {
        let depth = self.depth();
        use Instruction as I;
        let memory = MemArg { offset: 0, align: 2, memory_index: 0 };
        match kind {
            1..=6 if depth < 5 => self.counted_loop(body),
            7 | 8 if depth < 5 => self.block(body),
            9 => {
                let (value, local) = (self.chance.byte(), self.target());
                body.extend([I::I32Const(i32::from(value)), I::LocalSet(local)]);
            }
            10 => {
                let (from, to) = (self.local(), self.target());
                body.extend([I::LocalGet(from), I::LocalSet(to)]);
            }
            11 => {
                let (local, label) = (self.local(), self.label(depth + 1));
                // Out of the function, it takes the result along.
                let out = [I::I32Const(7), I::LocalGet(local), I::BrIf(label), I::Drop];
                body.extend_from_slice(if label == depth { &out } else { &out[1..3] });
            }
            12 if depth > 0 => {
                let targets: Vec<u32> = (0..=self.chance.below(3)).map(|_| self.label(depth)).collect();
                if targets.iter().all(|target| *target < depth) {
                    let default = targets.first().copied().unwrap_or_default();
                    body.extend([I::LocalGet(self.local()), I::BrTable(targets.into(), default)]);
                }
            }
            13 | 14 => {
                // Of a later function, or seldom of any, so that few recurse.
                let later = self.index + 1 + self.chance.below(self.count);
                if later < self.count || self.chance.below(16) == 1 {
                    body.extend([I::LocalGet(self.local()), I::Call(later % self.count), I::Drop]);
                }
            }
            15..=17 => self.bulk(kind == 15, body),
            18 => body.extend([I::LocalGet(self.local()), I::LocalGet(self.local()), I::I32DivU, I::Drop]),
            19 => body.extend([I::LocalGet(self.local()), I::F32ConvertI32S, I::F32Sqrt, I::Drop]),
            20 => body.extend([I::I32Const(64), I::LocalGet(self.local()), I::I32Store(memory)]),
            // A counter is counted down, and not compared, or not with the start of its loop.
            21 if self.chance.below(4) == 1 => {
                let counter = if self.chance.below(2) == 1 { depth } else { self.target() };
                let label = self.chance.below(depth + 1);
                body.extend_from_slice(&count_down(counter)[..4]);
                body.push(if label == depth { I::Drop } else { I::BrIf(label) });
            }
            22 => body.extend([I::I32Const(7), I::Return]),
            _ => body.push(I::Nop),
        }
    }

    /// A loop of the form, but for the local that is counted and how many trips there are.
    fn counted_loop(&mut self, body: &mut Vec<Instruction<'static>>) {
        let counter = if self.chance.below(32) == 1 { self.local() } else { 1 + self.depth() % (LOCALS - 3) };
        let start = match self.chance.below(16) {
            0..=9 => Instruction::I32Const(1 + self.chance.below(5).cast_signed()),
            10..=13 => Instruction::LocalGet(0),
            14 if self.chance.below(4) == 1 => Instruction::LocalGet(self.local()),
            14 => Instruction::I32Const(17),
            _ => Instruction::I32Const(-i32::from(self.chance.byte())),
        };
        body.extend([start, Instruction::LocalSet(counter), Instruction::Loop(BlockType::Empty)]);
        self.loops.push(true);
        self.statements(body);
        self.loops.pop();
        for _ in 0..=u32::from(self.chance.below(16) == 1) {
            body.extend(count_down(counter));
        }
        body.push(Instruction::End);
    }

    fn block(&mut self, body: &mut Vec<Instruction<'static>>) {
        match self.chance.below(4) {
            0 => body.push(Instruction::Block(BlockType::Empty)),
            1 if self.chance.below(8) == 1 => body.push(Instruction::Loop(BlockType::Empty)),
            _ => body.extend([Instruction::LocalGet(self.local()), Instruction::If(BlockType::Empty)]),
        }
        self.loops.push(matches!(body.last(), Some(Instruction::Loop(_))));
        self.statements(body);
        self.loops.pop();
        body.push(Instruction::End);
    }

    /// Some bytes of memory, of which the length is nearly always a constant.
    fn bulk(&mut self, fill: bool, body: &mut Vec<Instruction<'static>>) {
        let length = match self.chance.below(40) {
            0 => Instruction::LocalGet(self.local()),
            1 => Instruction::I32Const(-1),
            _ => Instruction::I32Const(i32::from(self.chance.byte())),
        };
        let to = Instruction::I32Const(i32::from(self.chance.byte()) * 256);
        body.extend([to, Instruction::I32Const(3), length]);
        body.push(match fill {
            true => Instruction::MemoryFill(0),
            false => Instruction::MemoryCopy { src_mem: 0, dst_mem: 0 },
        });
    }

    /// Exchanges, takes away or repeats an instruction.
    fn damage(&mut self, body: &mut Vec<Instruction<'static>>) {
        if body.is_empty() {
            return;
        }
        let mut place =
            || (usize::from(self.chance.byte()) << 8 | usize::from(self.chance.byte())) % body.len();
        let (a, b) = (place(), place());
        match self.chance.below(3) {
            0 => body.swap(a, b),
            1 => drop(body.remove(a)),
            _ => body.insert(a, body[b].clone()),
        }
    }
}
