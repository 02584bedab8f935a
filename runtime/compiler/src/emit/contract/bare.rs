//! A module with nothing but one contract, for tests and for `examples/tile_sweep.rs`.
//!
//! It exports its memory and `run(n)`, which computes the contract n times.

use dunlin_abi::Simd;
use wasm_encoder::{
    CodeSection, ExportKind, ExportSection, FunctionSection, Instruction, MemorySection, MemoryType, Module,
    TypeSection, ValType,
};

use super::{Contract, Moves, Pointers, Tile, model, part};
use crate::emit::code::{Code, lanes};
use crate::emit::expr::Index;

/// The module, and what there is to know about its code.
pub(crate) struct Bare {
    pub(crate) wasm: Vec<u8>,
    /// Bytes of each body, and its locals.
    #[cfg_attr(not(test), allow(dead_code))]
    pub(crate) functions: Vec<(usize, usize)>,
}

/// The module of a contract, whose operands start at these addresses in bytes.
pub(crate) fn module(contract: &Contract, simd: Simd, tile: Option<Tile>, at: &Moves, bytes: u64) -> Bare {
    let shape = contract.normalised();
    let tile = tile.unwrap_or_else(|| model::choose(&shape, lanes(simd)));
    let mut pointers = vec![at.y, at.x, at.w];
    pointers.extend(contract.bias.then_some(at.bias));
    pointers.extend(&at.extras);
    let params = u32::try_from(pointers.len()).unwrap_or(u32::MAX);
    let (mut types, mut functions, mut code) =
        (TypeSection::new(), FunctionSection::new(), CodeSection::new());
    types.ty().function([ValType::I32], []);
    types.ty().function(std::iter::repeat_n(ValType::I32, params as usize), []);
    let mut run = Code::new(Simd::None, 1);
    let mut sizes = Vec::new();
    let parts = part::parts(&shape, lanes(simd), &tile);
    let mut calls = Vec::new();
    for (index, part) in (1u32..).zip(&parts) {
        let mut body = Code::new(simd, params);
        let first_extra = if contract.bias { 4 } else { 3 };
        let pointers = Pointers {
            y: Index(0),
            x: Index(1),
            w: Index(2),
            bias: contract.bias.then_some(Index(3)),
            extras: (first_extra..params).map(Index).collect(),
        };
        part.emit(&mut body, &pointers);
        let locals = body.local_count();
        let body = body.finish().into_raw_body();
        sizes.push((body.len(), locals));
        functions.function(1);
        code.raw(&body);
        let offsets = &part.offsets;
        let mut addresses = vec![at.y + offsets.y * 4, at.x + offsets.x * 4, at.w + offsets.w * 4];
        addresses.extend(contract.bias.then_some(at.bias + offsets.bias * 4));
        addresses.extend(at.extras.iter().zip(&offsets.extras).map(|(at, offset)| at + offset * 4));
        // Addresses are counted modulo 2^32.
        #[allow(clippy::cast_possible_truncation)]
        calls.extend(addresses.into_iter().map(|address| Instruction::I32Const(address as i32)));
        calls.push(Instruction::Call(index - 1));
    }
    run.counted_by(Index(0), |run| run.raw(calls));
    functions.function(0);
    code.function(&run.finish());
    let mut exports = ExportSection::new();
    exports.export("memory", ExportKind::Memory, 0);
    exports.export("run", ExportKind::Func, functions.len() - 1);
    let mut memories = MemorySection::new();
    let minimum = bytes.div_ceil(65536);
    memories.memory(MemoryType {
        minimum,
        maximum: Some(minimum),
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut module = Module::new();
    module.section(&types).section(&functions).section(&memories).section(&exports).section(&code);
    Bare { wasm: module.finish(), functions: sizes }
}
