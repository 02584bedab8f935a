//! The module: card, types, functions, memory, exports, code, weights, in this order.
//!
//! The card comes first, so that it can be read before the rest has arrived. Kernels with equal code
//! are one function. There are no imports, no start section, no tables and no globals.

use std::collections::HashMap;

use dunlin_abi::{CARD_SECTION, Card, Simd, export};
use wasm_encoder::{
    CodeSection, ConstExpr, CustomSection, DataSection, ExportKind, ExportSection, FunctionSection,
    MemorySection, MemoryType, Module, TypeSection, ValType,
};

use super::code::Code;
use super::expr::Index;
use super::infer::{self, Step};
use super::{dense, elementwise, softmax};
use crate::error::CompileError;
use crate::graph::{Graph, Node, Op};
use crate::memory::{Memory, Place};

/// The code of a model, before the card is known.
pub(crate) struct Emitted {
    /// Bodies with the number of their parameters.
    kernels: Vec<(Vec<u8>, u32)>,
    infer: Vec<u8>,
    input: Vec<u8>,
    output: Vec<u8>,
    /// The SIMD level that the code uses.
    pub(crate) simd: Simd,
}

/// Type 0 is `(i32) -> i32`; type p is a kernel with p parameters.
const ABI_TYPE: u32 = 0;

fn fault(what: &str) -> CompileError {
    CompileError::Fault(what.to_string())
}

impl Emitted {
    /// Writes the code of all nodes.
    pub(crate) fn emit(
        graph: &Graph,
        memory: &Memory,
        max_batch: u32,
        simd: Simd,
    ) -> Result<Emitted, CompileError> {
        let mut kernels: Vec<(Vec<u8>, u32)> = Vec::new();
        let mut known: HashMap<(Vec<u8>, u32), u32> = HashMap::new();
        let mut steps = Vec::with_capacity(graph.nodes.len());
        let mut used = Simd::None;
        for node in &graph.nodes {
            let params = u32::try_from(node.inputs.len()).map_err(|_| fault("too many operands"))? + 1;
            let mut code = Code::new(simd, params);
            kernel(&mut code, node)?;
            used = used.max(code.used);
            let kernel = (code.finish().into_raw_body(), params);
            let function = match known.get(&kernel) {
                Some(function) => *function,
                None => {
                    let function = u32::try_from(kernels.len()).map_err(|_| fault("too many kernels"))?;
                    kernels.push(kernel.clone());
                    known.insert(kernel, function);
                    function
                }
            };
            steps.push(Step { function, places: places(graph, memory, node)? });
        }
        let of = |value| memory.place(value).ok_or_else(|| fault("a tensor has no place"));
        let inputs: Vec<Place> = graph.inputs.iter().map(|value| of(*value)).collect::<Result<_, _>>()?;
        let outputs: Vec<Place> =
            graph.outputs.iter().map(|output| of(output.value)).collect::<Result<_, _>>()?;
        Ok(Emitted {
            kernels,
            infer: infer::emit(&steps, max_batch).into_raw_body(),
            input: infer::address_of(&inputs).into_raw_body(),
            output: infer::address_of(&outputs).into_raw_body(),
            simd: used,
        })
    }

    /// Bytes of all function bodies.
    pub(crate) fn code_bytes(&self) -> u64 {
        let kernels: usize = self.kernels.iter().map(|(body, _)| body.len()).sum();
        (kernels + self.infer.len() + self.input.len() + self.output.len()) as u64
    }

    /// Puts the module together.
    pub(crate) fn into_module(self, card: &Card, memory: &Memory) -> Result<Vec<u8>, CompileError> {
        let card = card.to_bytes()?;
        let mut types = TypeSection::new();
        types.ty().function([ValType::I32], [ValType::I32]);
        let most = self.kernels.iter().map(|(_, params)| *params).max().unwrap_or(0);
        for params in 1..=most {
            types.ty().function(std::iter::repeat_n(ValType::I32, params as usize), []);
        }
        let (mut functions, mut code) = (FunctionSection::new(), CodeSection::new());
        for (body, params) in &self.kernels {
            functions.function(*params);
            code.raw(body);
        }
        let mut exports = ExportSection::new();
        exports.export(export::MEMORY, ExportKind::Memory, 0);
        for (name, body) in
            [(export::INPUT, &self.input), (export::OUTPUT, &self.output), (export::INFER, &self.infer)]
        {
            exports.export(name, ExportKind::Func, functions.len());
            functions.function(ABI_TYPE);
            code.raw(body);
        }
        let mut memories = MemorySection::new();
        let (minimum, maximum) = (memory.pages, Some(memory.pages));
        memories.memory(MemoryType {
            minimum,
            maximum,
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
        let mut data = DataSection::new();
        for segment in &memory.segments {
            let address = ConstExpr::i32_const(segment.address.cast_signed());
            data.active(0, &address, segment.bytes.iter().copied());
        }
        let mut module = Module::new();
        module.section(&CustomSection { name: CARD_SECTION.into(), data: card.into() });
        module.section(&types).section(&functions).section(&memories).section(&exports).section(&code);
        if !data.is_empty() {
            module.section(&data);
        }
        Ok(module.finish())
    }
}

/// Where a node's result and operands lie.
fn places(graph: &Graph, memory: &Memory, node: &Node) -> Result<Vec<Place>, CompileError> {
    let operands = (0..node.inputs.len()).map(|index| memory.operand(graph, node, index));
    let all: Option<Vec<Place>> = std::iter::once(memory.place(node.output)).chain(operands).collect();
    all.ok_or_else(|| fault("an operand has no place"))
}

/// Writes the kernel of one node; parameter 0 is the result, the others are the operands.
fn kernel(code: &mut Code, node: &Node) -> Result<(), CompileError> {
    let (y, a, b, c) = (Index(0), Index(1), Index(2), Index(3));
    match (&node.op, node.inputs.len()) {
        (Op::Dense(dense), operands @ 2..=3) => {
            let bias = (operands == 3).then_some(c);
            dense::emit(code, dense, &dense::Operands { y, x: a, w: b, bias });
        }
        (Op::Map { function, len }, 1) => elementwise::map(code, *function, *len, y, a),
        (Op::Zip { function, axes }, 2) => elementwise::zip(code, *function, axes, [y, a, b]),
        (Op::Softmax { outer, len, inner }, 1) => softmax::emit(code, (*outer, *len, *inner), y, a),
        (Op::Alias | Op::Dense(_) | Op::Map { .. } | Op::Zip { .. } | Op::Softmax { .. }, _) => {
            return Err(fault("a node has no kernel, or another number of operands"));
        }
    }
    Ok(())
}
