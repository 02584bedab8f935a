//! Compiles a case, runs it twice in wasmtime, and says what became of it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use dunlin_abi::{Dim, Simd, TensorSpec};
use dunlin_compiler::{Compiled, Constant, ConstantData, Options, compile};
use dunlin_core::code::{Coded, onnx as code};
use prost::Message;
use wasmtime::{Config, Engine, Instance, Memory, Module, OptLevel, RegallocAlgorithm, Store};

use super::archive::{Case, Tensor};
use super::compare::{Tolerance, compare};
use crate::onnx::ModelProto;
use crate::onnx::tensor_shape_proto::dimension::Value as Extent;
use crate::onnx::type_proto::Value as Type;

/// Relative to the largest expected magnitude, or to 1.
const TOLERANCE: f64 = 1e-4;

/// What became of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every output is right.
    Pass,
    /// The compiler says that it cannot translate the model.
    Refused,
    /// An output differs, or has another type or shape, or an input was written.
    Wrong,
    /// The compiler panicked, or says that the fault is its own.
    Fault,
    /// The module trapped, or returned another status than 0.
    Trap,
}

impl Verdict {
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Refused => "refused",
            Verdict::Wrong => "wrong",
            Verdict::Fault => "fault",
            Verdict::Trap => "trap",
        }
    }
}

/// A verdict with its reason.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub verdict: Verdict,
    /// The code of the compiler's error, or nothing.
    pub code: &'static str,
    /// The largest difference, or what is wrong.
    pub detail: String,
}

impl Outcome {
    fn new(verdict: Verdict, detail: impl Into<String>) -> Outcome {
        Outcome { verdict, code: "", detail: detail.into() }
    }
}

/// An engine that compiles fast: the models are small and run twice.
pub fn engine() -> Engine {
    let mut config = Config::new();
    config.cranelift_opt_level(OptLevel::None);
    config.cranelift_regalloc_algorithm(RegallocAlgorithm::SinglePass);
    config.memory_init_cow(false);
    Engine::new(&config).unwrap()
}

/// Compiles and runs one case at one SIMD level. A panic is a verdict, not the end.
pub fn judge(engine: &Engine, case: &Case, simd: Simd) -> Outcome {
    let attempt = catch_unwind(AssertUnwindSafe(|| attempt(engine, case, simd)));
    match attempt {
        Ok(Ok(outcome) | Err(outcome)) => outcome,
        Err(payload) => {
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string));
            Outcome::new(Verdict::Fault, format!("panic: {}", text.unwrap_or_default()))
        }
    }
}

fn attempt(engine: &Engine, case: &Case, simd: Simd) -> Result<Outcome, Outcome> {
    let rows = rows(case).map_err(|reason| Outcome::new(Verdict::Fault, reason))?;
    let constants = case.constants.iter().map(|(name, tensor)| Ok((name.clone(), constant(name, tensor)?)));
    let constants: Result<Vec<_>, String> = constants.collect();
    let constants = constants.map_err(|reason| Outcome::new(Verdict::Refused, reason))?;
    let poison = std::env::var_os("DUNLIN_POISON").is_some_and(|value| value == "1");
    let max_batch = rows.unwrap_or(1);
    let options = Options { constants, max_batch, simd, poison, ..Options::default() };
    let compiled = compile(&case.onnx, &options).map_err(|error| {
        let verdict = if error.code().id == code::FAULT.id { Verdict::Fault } else { Verdict::Refused };
        Outcome { verdict, code: error.code().id, detail: error.to_string() }
    })?;
    if !case.has_numbers {
        return Ok(Outcome::new(Verdict::Pass, "it compiles; there are no numbers to compare"));
    }
    let mut run = Run::new(engine, compiled, rows.unwrap_or(1))?;
    run.write(case)?;
    run.infer()?;
    let worst = run.check(case)?;
    // Again, where the arena and the outputs hold something.
    run.spoil_outputs();
    run.infer()?;
    run.check(case)
        .map_err(|outcome| Outcome { detail: format!("second call: {}", outcome.detail), ..outcome })?;
    Ok(Outcome::new(Verdict::Pass, format!("{worst:.3e}")))
}

/// The rows of the batch; nothing if the first axis of the inputs is not one symbol, which is the rule of
/// the compiler.
fn rows(case: &Case) -> Result<Option<u32>, String> {
    let model = ModelProto::decode(case.onnx.as_slice()).map_err(|error| error.to_string())?;
    let graph = model.graph.unwrap_or_default();
    let constants: Vec<&str> = graph.initializer.iter().map(|tensor| tensor.name()).collect();
    let free = |name: &str| !constants.contains(&name) && !case.constants.contains_key(name);
    let mut symbols = Vec::new();
    let mut rows = None;
    for input in graph.input.iter().filter(|input| free(input.name())) {
        let Some(Type::TensorType(tensor)) = input.r#type.as_ref().and_then(|kind| kind.value.as_ref())
        else {
            return Ok(None);
        };
        let first = tensor.shape.as_ref().and_then(|shape| shape.dim.first());
        symbols.push(match first.map(|dim| &dim.value) {
            Some(Some(Extent::DimParam(name))) => name.clone(),
            Some(None) => String::new(),
            Some(Some(Extent::DimValue(_))) | None => return Ok(None),
        });
        rows = case.inputs.get(input.name()).and_then(|tensor| tensor.shape.first()).map(|rows| *rows as u32);
    }
    Ok(rows.filter(|_| symbols.windows(2).all(|pair| pair[0] == pair[1])))
}

fn constant(name: &str, tensor: &Tensor) -> Result<Constant, String> {
    use dunlin_abi::DType;
    let data = match tensor.dtype {
        DType::F32 => ConstantData::F32(tensor.elements(f32::from_le_bytes)),
        DType::F64 => ConstantData::F64(tensor.elements(f64::from_le_bytes)),
        DType::I32 => ConstantData::I32(tensor.elements(i32::from_le_bytes)),
        DType::I64 => ConstantData::I64(tensor.elements(i64::from_le_bytes)),
        DType::Bool => ConstantData::Bool(tensor.bytes.iter().map(|byte| *byte != 0).collect()),
        other => return Err(format!("the constant {name} has the type {other}, which no constant can have")),
    };
    let shape = tensor.shape.iter().map(|extent| *extent as u32).collect();
    Constant::new(shape, data).ok_or_else(|| format!("the constant {name} has the shape {:?}", tensor.shape))
}

/// A module at work.
struct Run {
    store: Store<()>,
    instance: Instance,
    memory: Memory,
    compiled: Compiled,
    rows: u32,
}

impl Run {
    fn new(engine: &Engine, compiled: Compiled, rows: u32) -> Result<Run, Outcome> {
        let fault = |error: wasmtime::Error| {
            Outcome::new(Verdict::Fault, format!("the module does not load: {error:#}"))
        };
        let module = Module::new(engine, &compiled.wasm).map_err(fault)?;
        let mut store = Store::new(engine, ());
        let instance = Instance::new(&mut store, &module, &[]).map_err(fault)?;
        let Some(memory) = instance.get_memory(&mut store, "memory") else {
            return Err(Outcome::new(Verdict::Fault, "the module exports no memory"));
        };
        let mut run = Run { store, instance, memory, compiled, rows };
        if let Ok(init) = run.instance.get_typed_func::<(), i32>(&mut run.store, "dunlin_init") {
            let status = init.call(&mut run.store, ());
            status_zero(status)?;
        }
        Ok(run)
    }

    fn call(&mut self, function: &str, argument: u32) -> wasmtime::Result<i32> {
        let function = self.instance.get_typed_func::<i32, i32>(&mut self.store, function)?;
        function.call(&mut self.store, argument as i32)
    }

    fn address(&mut self, function: &str, index: usize) -> Result<usize, Outcome> {
        let address = self.call(function, index as u32);
        address
            .map(|address| address as u32 as usize)
            .map_err(|error| Outcome::new(Verdict::Trap, format!("{error:#}")))
    }

    fn infer(&mut self) -> Result<(), Outcome> {
        status_zero(self.call("dunlin_infer", self.rows))
    }

    /// The shape that a tensor of the card has with this batch.
    fn shape(&self, spec: &TensorSpec) -> Vec<usize> {
        let extent = |dim: &Dim| match dim {
            Dim::Batch => self.rows as usize,
            Dim::Fixed(extent) | Dim::AtMost(extent) => *extent as usize,
        };
        spec.shape.iter().map(extent).collect()
    }

    fn write(&mut self, case: &Case) -> Result<(), Outcome> {
        for (index, spec) in self.compiled.report.card.inputs.clone().iter().enumerate() {
            let name = &spec.name;
            let wrong = |detail: String| Outcome::new(Verdict::Wrong, detail);
            let tensor =
                case.inputs.get(name).ok_or_else(|| wrong(format!("the case has no input/{name}")))?;
            let shape = self.shape(spec);
            if (tensor.dtype, &tensor.shape) != (spec.dtype, &shape) {
                let (dtype, of) = (tensor.dtype, &tensor.shape);
                return Err(wrong(format!(
                    "input {name}: the card says {} {shape:?}, expected {dtype} {of:?}",
                    spec.dtype
                )));
            }
            let address = self.address("dunlin_input", index)?;
            self.memory.data_mut(&mut self.store)[address..][..tensor.bytes.len()]
                .copy_from_slice(&tensor.bytes);
        }
        Ok(())
    }

    /// Compares inputs and outputs; the largest difference.
    fn check(&mut self, case: &Case) -> Result<f64, Outcome> {
        let card = self.compiled.report.card.clone();
        let wrong = |detail: String| Outcome::new(Verdict::Wrong, detail);
        for (index, spec) in card.inputs.iter().enumerate() {
            let address = self.address("dunlin_input", index)?;
            let written = &case.inputs[&spec.name].bytes;
            if self.memory.data(&self.store)[address..][..written.len()] != written[..] {
                return Err(wrong(format!("the module wrote over its input {}", spec.name)));
            }
        }
        let mut worst = 0.0f64;
        for (name, expected) in &case.outputs {
            let index = card.outputs.iter().position(|spec| spec.name == *name);
            let index = index.ok_or_else(|| wrong(format!("the card has no output {name}")))?;
            let (spec, shape) = (&card.outputs[index], self.shape(&card.outputs[index]));
            // An output whose batch is joined with other axes has a card that shows them apart.
            let apart =
                self.compiled.report.warnings.iter().any(|warning| warning.contains("which the card calls"));
            let elements = |shape: &[usize]| shape.iter().product::<usize>();
            let fits = shape == expected.shape || (apart && elements(&shape) == elements(&expected.shape));
            if spec.dtype != expected.dtype || !fits {
                let (dtype, of) = (expected.dtype, &expected.shape);
                return Err(wrong(format!(
                    "output {name} is {} {shape:?}, expected {dtype} {of:?}",
                    spec.dtype
                )));
            }
            let address = self.address("dunlin_output", index)?;
            let bytes = self.memory.data(&self.store)[address..][..expected.bytes.len()].to_vec();
            let actual = Tensor { dtype: spec.dtype, shape, bytes };
            let tolerance = match (case.tolerances.get(name), case.each) {
                (Some(relative), _) => Tolerance::OfLargest(*relative),
                (None, Some((rtol, atol))) => Tolerance::OfEach { rtol, atol },
                (None, None) => Tolerance::OfLargest(TOLERANCE),
            };
            let found = compare(&actual, expected, tolerance)
                .map_err(|reason| wrong(format!("output {name}: {reason}")))?;
            worst = worst.max(found);
        }
        Ok(worst)
    }

    fn spoil_outputs(&mut self) {
        for (index, spec) in self.compiled.report.card.outputs.clone().iter().enumerate() {
            let bytes = self.shape(spec).iter().product::<usize>() * spec.dtype.size() as usize;
            if let Ok(address) = self.address("dunlin_output", index) {
                self.memory.data_mut(&mut self.store)[address..][..bytes].fill(0xA5);
            }
        }
    }
}

fn status_zero(status: wasmtime::Result<i32>) -> Result<(), Outcome> {
    match status {
        Ok(0) => Ok(()),
        Ok(status) => Err(Outcome::new(Verdict::Trap, format!("the module returned the status {status}"))),
        Err(error) => Err(Outcome::new(Verdict::Trap, format!("{error:#}"))),
    }
}
