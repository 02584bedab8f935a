//! Contracts on their own, for `examples/tile_sweep.rs`, which measures the choices of the compiler.
//! Not an interface for anybody else.

use dunlin_abi::Simd;

use crate::emit::code::lanes;
pub use crate::emit::contract::Tile;
use crate::emit::contract::{Contract, Moves, RowAxis, SumAxis, Weights, bare, candidates, choose};
use crate::program::{Program, operand};

/// A layer on its own.
#[derive(Clone, Debug)]
pub struct Layer {
    /// What a person calls it.
    pub name: String,
    contract: Contract,
    /// Elements of x, w, y.
    elements: [u64; 3],
}

/// A row or sum axis with the stride of x, y and w.
fn row(len: u32, x: u32, y: u32, w: u32) -> RowAxis {
    RowAxis { len, x: x.into(), y: y.into(), w: w.into(), bias: 0 }
}

fn sum(len: u32, x: u32, w: u32) -> SumAxis {
    SumAxis { len, x: x.into(), w: w.into() }
}

impl Layer {
    fn new(
        name: String,
        rows: Vec<RowAxis>,
        sums: Vec<SumAxis>,
        n: u32,
        weights: Weights,
        elements: [u64; 3],
    ) -> Layer {
        let contract = Contract {
            rows,
            sums,
            columns: n,
            weights,
            bias: weights == Weights::Packed,
            epilogue: Program::from(&operand(0).max(0.0)),
            extras: Vec::new(),
            block: None,
        };
        Layer { name, contract, elements }
    }

    /// A square convolution of an image with a halo.
    pub fn conv([height, width]: [u32; 2], ci: u32, co: u32, window: u32, stride: u32) -> Layer {
        let (in_height, in_width) = ((height - 1) * stride + window, (width - 1) * stride + window);
        let line = in_width * ci;
        Layer::new(
            format!("conv {window}x{window}/{stride} {height}x{width} {ci}->{co}"),
            vec![row(height, line * stride, width * co, 0), row(width, ci * stride, co, 0)],
            vec![sum(window, line, 0), sum(window, ci, 0), sum(ci, 1, 0)],
            co,
            Weights::Packed,
            [
                u64::from(in_height * line),
                u64::from(window * window * ci) * u64::from(co.next_multiple_of(4)),
                u64::from(height * width * co),
            ],
        )
    }

    /// Rows times a constant matrix.
    pub fn dense(rows: u32, k: u32, n: u32) -> Layer {
        Layer::new(
            format!("dense {rows} x {k}->{n}"),
            vec![row(rows, k, n, 0)],
            vec![sum(k, 1, 0)],
            n,
            Weights::Packed,
            [u64::from(rows * k), u64::from(k) * u64::from(n.next_multiple_of(4)), u64::from(rows * n)],
        )
    }

    /// Products of computed matrices.
    pub fn matmul(batch: u32, m: u32, k: u32, n: u32) -> Layer {
        Layer::new(
            format!("matmul {batch} x [{m},{k}][{k},{n}]"),
            vec![row(batch, m * k, m * n, k * n), row(m, k, n, 0)],
            vec![sum(k, 1, n)],
            n,
            Weights::Rows,
            [batch * m * k, batch * k * n, batch * m * n].map(u64::from),
        )
    }

    /// Multiply-accumulates.
    pub fn macs(&self) -> u64 {
        let rows: u64 = self.contract.rows.iter().map(|axis| u64::from(axis.len)).product();
        rows * self.contract.depth() * u64::from(self.contract.columns)
    }

    /// What the compiler chooses.
    pub fn chosen(&self, simd: Simd) -> Tile {
        choose(&self.contract, lanes(simd))
    }

    /// What it chooses from.
    pub fn candidates(&self, simd: Simd) -> Vec<Tile> {
        candidates(&self.contract, lanes(simd))
    }

    /// A module that exports `run(n)`, which computes the layer n times.
    pub fn module(&self, simd: Simd, tile: Option<Tile>) -> Vec<u8> {
        let mut end = 4096u64;
        let mut place = |elements: u64| {
            let at = end;
            end = (end + elements * 4 + 64).next_multiple_of(64);
            at.cast_signed()
        };
        let [x, w, y] = self.elements.map(&mut place);
        let bias = place(u64::from(self.contract.columns) + 4);
        let at = Moves { y, x, w, bias, extras: Vec::new() };
        bare::module(&self.contract, simd, tile, &at, end).wasm
    }
}

/// What the machine can do at most, through the same engine.
pub mod limit {
    use wasm_encoder::{
        BlockType, CodeSection, ExportKind, ExportSection, Function, FunctionSection, Instruction,
        MemorySection, MemoryType, Module, TypeSection, ValType,
    };

    const ACCUMULATORS: u32 = 12;
    const UNROLL: u32 = 8;
    const TURNS: i32 = 100;
    /// Operations of one run of [`multiply_adds`].
    pub const FLOPS: f64 = 8.0 * ACCUMULATORS as f64 * UNROLL as f64 * TURNS as f64;

    /// A module that exports `run(n)`: fused multiply-adds of 128 bits from registers to registers.
    pub fn multiply_adds() -> Vec<u8> {
        let (runs, turns, first) = (0, 1, 2);
        let factor = first + ACCUMULATORS;
        let mut body = Function::new([(1, ValType::I32), (ACCUMULATORS + 1, ValType::V128)]);
        let count = |local| {
            [
                Instruction::LocalGet(local),
                Instruction::I32Const(1),
                Instruction::I32Sub,
                Instruction::LocalTee(local),
                Instruction::BrIf(0),
                Instruction::End,
            ]
        };
        let start = Instruction::Loop(BlockType::Empty);
        let mut code = vec![start.clone(), Instruction::I32Const(TURNS), Instruction::LocalSet(turns), start];
        for accumulator in (0..UNROLL).flat_map(|_| first..factor) {
            code.extend([
                Instruction::LocalGet(accumulator),
                Instruction::LocalGet(factor),
                Instruction::LocalGet(factor),
                Instruction::F32x4RelaxedMadd,
                Instruction::LocalSet(accumulator),
            ]);
        }
        code.extend(count(turns));
        code.extend(count(runs));
        for accumulator in first..factor {
            let memarg = wasm_encoder::MemArg { offset: 0, align: 0, memory_index: 0 };
            code.extend([
                Instruction::I32Const(0),
                Instruction::LocalGet(accumulator),
                Instruction::V128Store(memarg),
            ]);
        }
        code.push(Instruction::End);
        code.iter().for_each(|instruction| {
            body.instruction(instruction);
        });
        let (mut types, mut functions, mut bodies) =
            (TypeSection::new(), FunctionSection::new(), CodeSection::new());
        types.ty().function([ValType::I32], []);
        functions.function(0);
        bodies.function(&body);
        let mut exports = ExportSection::new();
        exports.export("run", ExportKind::Func, 0);
        let mut memories = MemorySection::new();
        memories.memory(MemoryType {
            minimum: 1,
            maximum: Some(1),
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
        let mut module = Module::new();
        module.section(&types).section(&functions).section(&memories).section(&exports).section(&bodies);
        module.finish()
    }
}
