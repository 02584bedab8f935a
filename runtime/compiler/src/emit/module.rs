//! The module: card, layers, types, functions, memory, exports, code, weights, in this order.
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
use super::infer::{self, Run};
use super::widen;
use crate::Options;
use crate::error::CompileError;
use crate::kernel::Operand;
use crate::layout::{Plan, Step};
use crate::memory::{Address, Memory};
use crate::report::LAYERS_SECTION;

/// The code of a model, before the card is known.
pub(crate) struct Emitted {
    /// Bodies with the number of their parameters.
    kernels: Vec<(Vec<u8>, u32)>,
    init: Option<Vec<u8>>,
    infer: Vec<u8>,
    input: Vec<u8>,
    output: Vec<u8>,
    /// The SIMD level that the code uses.
    pub(crate) simd: Simd,
}

/// Type 0 is `(i32) -> i32`, type 1 `() -> i32`; type 1 + p is a kernel with p parameters.
const ABI_TYPE: u32 = 0;
const INIT_TYPE: u32 = 1;

fn fault(what: &str) -> CompileError {
    CompileError::Fault(what.to_string())
}

/// Functions, each of which is there once.
struct Functions {
    bodies: Vec<(Vec<u8>, u32)>,
    known: HashMap<(Vec<u8>, u32), u32>,
}

impl Functions {
    fn add(&mut self, body: Vec<u8>, params: u32) -> Result<u32, CompileError> {
        let function = (body, params);
        if let Some(known) = self.known.get(&function) {
            return Ok(*known);
        }
        let index = u32::try_from(self.bodies.len()).map_err(|_| fault("too many kernels"))?;
        self.bodies.push(function.clone());
        self.known.insert(function, index);
        Ok(index)
    }
}

impl Emitted {
    /// Writes the code of all steps.
    pub(crate) fn emit(plan: &Plan, memory: &Memory, options: &Options) -> Result<Emitted, CompileError> {
        let Options { max_batch, simd, .. } = *options;
        let mut functions = Functions { bodies: Vec::new(), known: HashMap::new() };
        let mut runs = Vec::with_capacity(plan.steps.len());
        let mut used = Simd::None;
        for (index, step) in plan.steps.iter().enumerate() {
            if options.poison {
                poison(&mut functions, &mut runs, &memory.unread(plan, index))?;
            }
            let scratch = step.scratch.map(|buffer| memory.buffer(buffer));
            let places = std::iter::once(&step.y).chain(&step.operands).map(|place| memory.address(place));
            let addresses: Vec<Address> = places.chain(scratch).collect();
            let params = u32::try_from(addresses.len()).map_err(|_| fault("too many operands"))?;
            let mut code = Code::new(simd, params);
            kernel(&mut code, step, params);
            used = used.max(code.used);
            runs.push(Run { function: functions.add(code.finish().into_raw_body(), params)?, addresses });
        }
        let init = if memory.widenings.is_empty() {
            None
        } else {
            let mut calls = Vec::with_capacity(memory.widenings.len());
            for widening in &memory.widenings {
                let mut code = Code::new(simd, 1);
                widen::emit(&mut code, widening.count, Index(0));
                used = used.max(code.used);
                calls.push((functions.add(code.finish().into_raw_body(), 1)?, widening.address));
            }
            Some(widen::init(&calls).into_raw_body())
        };
        let addresses =
            |buffers: &[usize]| buffers.iter().map(|buffer| memory.buffer(*buffer)).collect::<Vec<_>>();
        Ok(Emitted {
            kernels: functions.bodies,
            init,
            infer: infer::emit(&runs, max_batch).into_raw_body(),
            input: infer::address_of(&addresses(&plan.inputs)).into_raw_body(),
            output: infer::address_of(&addresses(&plan.outputs)).into_raw_body(),
            simd: used,
        })
    }

    /// The functions that the host calls: name, type and body.
    fn exported(&self) -> impl Iterator<Item = (&'static str, u32, &Vec<u8>)> {
        let init = self.init.as_ref().map(|body| (export::INIT, INIT_TYPE, body));
        let own =
            [(export::INPUT, &self.input), (export::OUTPUT, &self.output), (export::INFER, &self.infer)];
        init.into_iter().chain(own.map(|(name, body)| (name, ABI_TYPE, body)))
    }

    /// Bytes of all function bodies.
    pub(crate) fn code_bytes(&self) -> u64 {
        let kernels: usize = self.kernels.iter().map(|(body, _)| body.len()).sum();
        let exported: usize = self.exported().map(|(_, _, body)| body.len()).sum();
        (kernels + exported) as u64
    }

    /// Puts the module together.
    pub(crate) fn into_module(
        self,
        card: &Card,
        layers: &[u8],
        memory: &Memory,
    ) -> Result<Vec<u8>, CompileError> {
        let card = card.to_bytes()?;
        let mut types = TypeSection::new();
        types.ty().function([ValType::I32], [ValType::I32]);
        types.ty().function([], [ValType::I32]);
        let most = self.kernels.iter().map(|(_, params)| *params).max().unwrap_or(0);
        for params in 1..=most {
            types.ty().function(std::iter::repeat_n(ValType::I32, params as usize), []);
        }
        let (mut functions, mut code) = (FunctionSection::new(), CodeSection::new());
        for (body, params) in &self.kernels {
            functions.function(INIT_TYPE + *params);
            code.raw(body);
        }
        let mut exports = ExportSection::new();
        exports.export(export::MEMORY, ExportKind::Memory, 0);
        for (name, kind, body) in self.exported() {
            exports.export(name, ExportKind::Func, functions.len());
            functions.function(kind);
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
        module.section(&CustomSection { name: LAYERS_SECTION.into(), data: layers.into() });
        module.section(&types).section(&functions).section(&memories).section(&exports).section(&code);
        if !data.is_empty() {
            module.section(&data);
        }
        Ok(module.finish())
    }
}

/// Calls of functions that fill so many words with NaN.
fn poison(
    functions: &mut Functions,
    runs: &mut Vec<Run>,
    regions: &[(u32, u32)],
) -> Result<(), CompileError> {
    for (first, words) in regions {
        let mut code = Code::new(Simd::None, 1);
        code.counted(*words, |code| {
            code.store(Index(0), 0, 1, f32::NAN);
            code.advance(Index(0), 4);
        });
        let function = functions.add(code.finish().into_raw_body(), 1)?;
        runs.push(Run { function, addresses: vec![Address { first: *first, stride_bytes: 0 }] });
    }
    Ok(())
}

/// Writes the kernel of one step; parameter 0 is the result, then come the operands and the scratch memory.
fn kernel(code: &mut Code, step: &Step, params: u32) {
    let y = Operand { at: Index(0), layout: step.y.layout.clone() };
    let operands: Vec<Operand> = (1..)
        .zip(&step.operands)
        .map(|(index, place)| Operand { at: Index(index), layout: place.layout.clone() })
        .collect();
    let scratch = step.scratch.map(|_| Index(params - 1));
    step.kernel.emit(code, &y, &operands, scratch);
}
