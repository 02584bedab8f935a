//! ONNX in, WebAssembly out: a model becomes one module, bytes to bytes.
//!
//! The way of a model: `import` decodes and checks the file and builds the typed `graph` with the
//! operators of `op`; `passes` make it smaller; `layout` decides where every tensor lies and which
//! kernels run; `memory` and `arena` give addresses; `emit` writes the code. Nothing here reads a clock, a file or luck: the same bytes and options
//! give the same module on every host. A file from anywhere may be given: it is refused, never a panic.
//! `docs/compiler.md` tells why the kernels look as they do.

mod arena;
mod card;
mod card_section;
mod constant;
mod emit;
mod error;
mod external;
mod graph;
mod half;
mod import;
mod kernel;
mod layout;
mod memory;
mod op;
mod passes;
mod profile;
mod program;
mod report;
#[doc(hidden)]
pub mod sweep;
mod view;

use dunlin_abi::Simd;

pub use card_section::{CardSectionError, read_card, with_card};
pub use constant::{Constant, ConstantData};
pub use error::{CompileError, Unsupported};
pub use external::{External, NoExternal};
pub use profile::{MAX_TIMES, ProfileError, Profiled, layers, profiled};
pub use report::{LAYERS_SECTION, Layer, Report, WeightFormat};

/// The largest ONNX file, in bytes; and the most that a model uses of other files, all together.
pub const MAX_ONNX_BYTES: u64 = 1 << 30;
/// The most memory that decoding an ONNX file may take, in bytes, apart from bytes that are copied out of it
/// as they are: weights, names. It bounds nodes, attributes, initialisers, declarations and integers alike.
pub const MAX_DECODED_BYTES: u64 = 1 << 28;
/// The largest tensor, in bytes, and in elements for constants in the file.
pub const MAX_TENSOR_BYTES: u64 = 1 << 30;
/// The most elements of all constants together, those that folding makes included.
pub const MAX_CONSTANT_ELEMENTS: u64 = 1 << 28;
/// The most elements of constants that folding makes, or four times as many as the file has if that is more: a
/// small file must not fill the memory.
pub const MAX_MADE_ELEMENTS: u64 = 1 << 26;

/// How to compile.
#[derive(Clone, Debug)]
pub struct Options {
    /// Shapes for inputs with symbolic axes: all axes, or all but the first, which then stays the batch.
    pub inputs: Vec<(String, Vec<u32>)>,
    /// Inputs that become constants.
    pub constants: Vec<(String, Constant)>,
    /// The most samples of one call, at least 1; more than 1 only with a symbolic first axis.
    pub max_batch: u32,
    /// The most that the code may use of SIMD.
    pub simd: Simd,
    /// How large weights are stored.
    pub weights: WeightFormat,
    /// The [`layers`] of an earlier module of the model: weights are packed as they were there, where that
    /// can be, so that tensors which are the same have the same bytes and need no second delivery. Without
    /// it the packing may change with the compiler, or with the size of an input.
    pub like: Vec<Layer>,
    /// For tests of the compiler: the module fills what holds nothing of use in its arena with NaN before every
    /// kernel, so that a kernel which reads there is found.
    pub poison: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            inputs: Vec::new(),
            constants: Vec::new(),
            max_batch: 1,
            simd: Simd::Relaxed,
            weights: WeightFormat::F32,
            like: Vec::new(),
            poison: false,
        }
    }
}

/// A compiled model.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The module.
    pub wasm: Vec<u8>,
    /// What is to be said about it.
    pub report: Report,
}

/// Compiles an ONNX model that is one file.
///
/// # Errors
/// As [`compile_with`], and where the numbers of a tensor are in another file.
pub fn compile(onnx: &[u8], options: &Options) -> Result<Compiled, CompileError> {
    compile_with(onnx, options, &NoExternal)
}

/// Compiles an ONNX model, parts of which may be in other files.
///
/// # Errors
/// The file is malformed, too large or of an unknown version; it has operators that cannot be
/// translated, all of which are named in one [`CompileError::Unsupported`]; or the options do not fit.
pub fn compile_with(
    onnx: &[u8],
    options: &Options,
    external: &dyn External,
) -> Result<Compiled, CompileError> {
    if !(1..=dunlin_abi::MAX_BATCH).contains(&options.max_batch) {
        let (batch, most) = (options.max_batch, dunlin_abi::MAX_BATCH);
        return Err(CompileError::Option(format!("max_batch is {batch}, it must be 1 to {most}")));
    }
    let import::Imported { mut graph, operators, warnings } = import::import(onnx, options, external)?;
    let passes = passes::run(&mut graph)?;
    let plan = layout::plan(&graph, options.simd, &report::blocks(&options.like))?;
    let memory = memory::Memory::plan(&plan, options.max_batch, options.weights)?;
    if cfg!(debug_assertions) {
        layout::check(&graph, &plan, &memory)?;
    }
    let emitted = emit::module::Emitted::emit(&plan, &memory, options)?;
    let card = card::card(&graph, onnx, options.max_batch, emitted.simd, memory.arena_bytes);
    let layers = report::layers(&graph, &plan);
    let code_bytes = emitted.code_bytes();
    let wasm = emitted.into_module(&card, &report::section(&layers)?, &memory)?;
    validate(&wasm)?;
    let report = Report {
        card,
        operators: operators.into_iter().collect(),
        passes,
        macs: graph.macs(),
        parameters: memory.parameters,
        weights: options.weights,
        weight_bytes: memory.segments.iter().map(|segment| segment.bytes.len() as u64).sum(),
        arena_bytes: memory.arena_bytes.into(),
        code_bytes,
        module_bytes: wasm.len() as u64,
        estimated_ns: layers.iter().map(|layer| layer.estimated_ns).sum(),
        layers,
        warnings,
    };
    Ok(Compiled { wasm, report })
}

/// Checks what was written with a validator that did not write it.
fn validate(wasm: &[u8]) -> Result<(), CompileError> {
    use wasmparser::WasmFeatures;
    let features = WasmFeatures::WASM1
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::SIMD
        | WasmFeatures::RELAXED_SIMD;
    let mut validator = wasmparser::Validator::new_with_features(features);
    validator.validate_all(wasm).map(|_| ()).map_err(|error| CompileError::Fault(error.to_string()))
}
