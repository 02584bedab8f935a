//! Running a module on tensors from files: what `dunlin run`, golden vectors and baselines share.
//!
//! It is the device's own sandbox: under the limits of a release, what passes here passes there.

mod probe;
mod replay;
mod rows;
mod unwritten;

use std::collections::BTreeMap;

use dunlin_abi::{Card, Dim, State, TensorSpec};
use dunlin_core::VerifiedArtifact;
use dunlin_core::code::{self, Code, Coded};
use dunlin_core::document::Contract;
use dunlin_core::precompiled::{Head, PrecompiledError};
use dunlin_sandbox::{
    Admission, AdmissionError, AdmittedModel, CallError, CompileError, CompiledModel, Engine, EngineConfig,
    Instance, Limits, Logs, Metrics, OutputError, Summary, Target, WASMTIME_VERSION, validate_output,
};

pub use self::probe::Probed;
pub use self::replay::Replay;
pub(crate) use self::replay::{Answer, joined};
pub(crate) use self::rows::Rows;
use crate::tensor::{Tensor, TensorFileError};

/// The default deadline of a call, in microseconds.
pub const DEADLINE_US: u64 = 1_000_000;

/// A module that is loaded and ready.
pub struct Runner {
    // The engine's clock ends calls that take too long: it lives as long as the instance.
    _engine: Engine,
    model: CompiledModel,
    instance: Instance,
}

/// Why a module did not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It was not admitted.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// It was not compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The file of its machine code cannot be made.
    #[error(transparent)]
    Precompiled(#[from] PrecompiledError),
    /// A call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A tensor has values of another type.
    #[error("input {name:?}: {error}")]
    Value {
        /// The input.
        name: String,
        /// What does not fit.
        error: TensorFileError,
    },
    /// An input is missing.
    #[error("the model's input {wanted:?} was not given; its inputs are {known}")]
    Missing {
        /// The input.
        wanted: String,
        /// All inputs.
        known: String,
    },
    /// There is no such input.
    #[error("the model has no input {given:?}; its inputs are {known}")]
    Unknown {
        /// The name that was given.
        given: String,
        /// All inputs.
        known: String,
    },
    /// The shape is another one.
    #[error("input {name:?} has the shape {given:?}, it must have {wanted}")]
    Shape {
        /// The input.
        name: String,
        /// What the card declares.
        wanted: String,
        /// What came.
        given: Vec<u64>,
    },
    /// One call of many failed.
    #[error("samples {from} to {to} of {samples}: {error}")]
    Samples {
        /// The first sample of the call, from 0.
        from: u64,
        /// The last one.
        to: u64,
        /// All samples.
        samples: u64,
        /// What failed.
        error: Box<CallError>,
    },
    /// An output kept what was there before the call.
    #[error(
        "the model did not write element {element} of output {name:?} in the call with samples {from} to {to}: \
         a device would give whatever is in memory there as its answer"
    )]
    Unwritten {
        /// The output.
        name: String,
        /// The first such element, counted through the samples of the call from 0.
        element: usize,
        /// The first sample of the call, from 0.
        from: u64,
        /// The last one.
        to: u64,
    },
    /// An input is not what the host wrote.
    #[error(
        "the model wrote into input {name:?}, byte {byte} of it, in the call with samples {from} to {to}: the host \
         reads inputs again after a call; copy what is to be changed"
    )]
    InputWritten {
        /// The input.
        name: String,
        /// The first byte that differs, counted through the samples of the call from 0.
        byte: usize,
        /// The first sample of the call, from 0.
        from: u64,
        /// The last one.
        to: u64,
    },
    /// Constructors run at every call of a stream.
    #[error(
        "each export calls the constructors, {constructors}, before it does its work, so that a stream forgets \
         everything at every call: the linker took the module for a command. In C and C++, DUNLIN_CARD of dunlin.h \
         prevents that; without it, export a function as `_initialize` that calls `__wasm_call_ctors`"
    )]
    Constructors {
        /// The function, as `function 7 ("name")`.
        constructors: String,
    },
    /// Equal inputs, other answers.
    #[error(
        "the card says state \"none\", but the model remembers: {what} is another one for the same inputs after other \
         calls; reset what it keeps at the start of `dunlin_infer`, or say \"stream\""
    )]
    Remembers {
        /// What differs, as `output "y"`.
        what: String,
    },
    /// After a reset, other answers than of a new instance.
    #[error(
        "`dunlin_reset` does not forget everything: after it, {what} of sample {sample} of the same {samples} is another \
         one than in a new instance; set all state back to what it is after `dunlin_init`"
    )]
    Reset {
        /// The first sample that differs, from 0.
        sample: usize,
        /// The samples that were tried.
        samples: u64,
        /// What differs, as `output "y"`.
        what: String,
    },
    /// A data-dependent axis is not as long for all samples.
    #[error(
        "output {name:?} has the shape {later:?} after {first:?}: give these samples in runs of their own"
    )]
    Ragged {
        /// The output.
        name: String,
        /// Its shape in the calls before.
        first: Vec<u64>,
        /// Its shape in a later call.
        later: Vec<u64>,
    },
    /// Two inputs have different numbers of samples.
    #[error("input {name:?} has {rows} samples, the first input has {expected}")]
    Rows {
        /// The input.
        name: String,
        /// Its samples.
        rows: u64,
        /// Those of the first input.
        expected: u64,
    },
}

impl Coded for RunError {
    fn code(&self) -> Code {
        match self {
            RunError::Admission(error) => error.code(),
            RunError::Compile(error) => error.code(),
            RunError::Call(error) => error.code(),
            RunError::Samples { error, .. } => error.code(),
            RunError::Unwritten { .. } => code::model::OUTPUT_UNWRITTEN,
            RunError::InputWritten { .. } => code::model::INPUT_WRITTEN,
            RunError::Constructors { .. } => code::module::CONSTRUCTORS,
            RunError::Remembers { .. } => code::model::REMEMBERS,
            RunError::Reset { .. } => code::model::RESET,
            RunError::Precompiled(error) => error.code(),
            RunError::Value { .. }
            | RunError::Missing { .. }
            | RunError::Unknown { .. }
            | RunError::Shape { .. }
            | RunError::Ragged { .. }
            | RunError::Rows { .. } => code::fleet::TENSOR_SHAPE,
        }
    }
}

/// The shape as a person reads it: `[n, 64]`.
pub fn shape_text(spec: &TensorSpec) -> String {
    let axes = spec.shape.iter().map(|dim| match dim {
        Dim::Batch => "n".to_string(),
        Dim::Fixed(extent) => extent.to_string(),
        Dim::AtMost(most) => format!("<={most}"),
    });
    format!("[{}]", axes.collect::<Vec<_>>().join(", "))
}

/// The limits for a module on the operator's machine: those of [`Limits::default`], and the memory that
/// it declares where that is more.
pub fn local_limits(summary: &Summary) -> Limits {
    let declared = summary.memory_max_bytes.unwrap_or(summary.memory_min_bytes);
    let default = Limits::default();
    Limits { memory_bytes: declared.max(default.memory_bytes), ..default }
}

fn admitted(bytes: Vec<u8>, summary: &Summary, limits: Limits) -> Result<AdmittedModel, RunError> {
    let admission =
        Admission { limits, imports: summary.imports.clone(), card_digest: Some(summary.card_digest) };
    Ok(dunlin_sandbox::admit(VerifiedArtifact::trust_local(bytes), &admission)?)
}

/// Machine code of a module for devices that cannot compile, as a file for
/// [`ReleaseRequest::precompiled`](crate::release::ReleaseRequest::precompiled).
///
/// # Errors
/// The module is not admitted, or this build makes no code for the target.
pub fn precompile(module: Vec<u8>, target: Target) -> Result<Vec<u8>, RunError> {
    let summary = dunlin_sandbox::inspect(&module)?;
    let model = admitted(module, &summary, local_limits(&summary))?;
    let head = Head {
        artifact: model.digest(),
        target: target.to_string(),
        wasmtime: WASMTIME_VERSION.to_string(),
        interruptible: model.facts().is_interruptible(),
    };
    Ok(head.with_code(&dunlin_sandbox::precompile(&model, target)?)?)
}

/// Whether the calls of a stream see what those before them left.
///
/// # Errors
/// [`RunError::Constructors`]: each call constructs the objects of the module again.
pub fn keeps_streams(summary: &Summary) -> Result<(), RunError> {
    match (summary.card.state, &summary.constructors_each_call) {
        (State::Stream, Some(constructors)) => {
            Err(RunError::Constructors { constructors: constructors.clone() })
        }
        _ => Ok(()),
    }
}

impl Runner {
    /// Admits, compiles and instantiates a local file under its own demands.
    ///
    /// # Errors
    /// Whatever the device's sandbox would refuse, too.
    pub fn load(bytes: Vec<u8>) -> Result<Runner, RunError> {
        let summary = dunlin_sandbox::inspect(&bytes)?;
        Runner::within(bytes, &summary, local_limits(&summary))
    }

    /// Admits, compiles and instantiates a local file under these limits.
    ///
    /// # Errors
    /// As [`Runner::load`].
    pub(crate) fn within(bytes: Vec<u8>, summary: &Summary, limits: Limits) -> Result<Runner, RunError> {
        Runner::of(admitted(bytes, summary, limits)?)
    }

    fn of(admitted: AdmittedModel) -> Result<Runner, RunError> {
        keeps_streams(admitted.summary())?;
        let engine = Engine::new(EngineConfig::default())?;
        let model = engine.compile(admitted)?;
        Ok(Runner::ready(engine, model)?)
    }

    /// A model that this engine compiled, with an instance.
    ///
    /// # Errors
    /// It cannot be initialised.
    pub fn ready(engine: Engine, model: CompiledModel) -> Result<Runner, CallError> {
        let instance = model.instantiate()?;
        Ok(Runner { _engine: engine, model, instance })
    }

    /// Runs the model on as many samples of zeros as one call takes, as [`Runner::run_and_watch`].
    ///
    /// # Errors
    /// As there.
    pub fn run_zeros(&mut self) -> Result<Replay, RunError> {
        let card = self.model.card();
        let zeros = card.inputs.iter().map(|spec| {
            let shape: Vec<u64> = spec
                .shape
                .iter()
                .map(|dim| match dim {
                    Dim::Batch => u64::from(card.max_batch),
                    Dim::Fixed(extent) | Dim::AtMost(extent) => u64::from(*extent),
                })
                .collect();
            let elements = shape.iter().product::<u64>() as usize;
            let bytes = vec![0; elements * spec.dtype.size() as usize];
            (spec.name.clone(), Tensor { dtype: spec.dtype, shape, bytes })
        });
        let zeros = zeros.collect();
        self.run_and_watch(&zeros)
    }

    /// Whether the code has checks in every loop, because what a call does is not bounded.
    pub(crate) fn is_interruptible(&self) -> bool {
        self.model.is_interruptible()
    }

    /// What the module says of itself.
    pub fn card(&self) -> &Card {
        self.model.card()
    }

    /// The model, compiled.
    pub fn model(&self) -> &CompiledModel {
        &self.model
    }

    /// What a device would refuse of these outputs, which [`Runner::run`] gave: NaN, infinities, and numbers
    /// outside of the card's ranges, because a release makes them its contract. Samples that the model refused have
    /// no answer.
    ///
    /// # Errors
    /// The first number that breaks the contract.
    pub fn keep_contract(&self, replay: &Replay) -> Result<(), OutputError> {
        let contract = Contract::of_card(self.card());
        let outputs = self.card().outputs.iter().zip(&contract.outputs).zip(&replay.outputs);
        for ((spec, signed), (_, tensor)) in outputs {
            validate_output(spec, signed.finite, signed.range, &replay.answered(tensor))?;
        }
        Ok(())
    }

    /// What the model logged and measured since this was last called.
    pub fn take_speech(&mut self) -> (Logs, Metrics) {
        (self.instance.take_logs(), self.instance.take_metrics())
    }

    /// Runs samples, `max_batch` at a time, and gives every output, in the card's order.
    ///
    /// Inputs are converted to the model's types; a number that does not fit is an error, floats are
    /// rounded. A batched input has the shape of the card with any number of samples for `n`. Where no input
    /// has a batch axis, all may have one axis more in front, of time: the outputs then have it too. A
    /// `stream` model is reset first, and sees the samples in their order.
    ///
    /// # Errors
    /// An input is missing, unknown or of another shape, a call fails, or the outputs of several samples
    /// do not make one tensor.
    pub fn run(&mut self, inputs: &BTreeMap<String, Tensor>) -> Result<Vec<(String, Tensor)>, RunError> {
        let refused = |_: &mut Runner, _: &Rows, _, _, status| Err(CallError::Model { status }.into());
        Ok(self.each_call(inputs, Runner::call, refused)?.outputs)
    }

    /// As [`Runner::run`], and makes sure that each call writes every element of its outputs. A sample that the model
    /// refuses does not end the run, as it does not end the life of an instance on a device: of a call with several
    /// samples that is refused, each is asked alone.
    ///
    /// # Errors
    /// As [`Runner::run`], and [`RunError::Unwritten`].
    pub fn run_and_watch(&mut self, inputs: &BTreeMap<String, Tensor>) -> Result<Replay, RunError> {
        self.each_call(inputs, Runner::call_and_watch, Runner::ask_alone)
    }

    /// The answers for each of `count` samples from `from` on, which were refused together with `status`.
    fn ask_alone(
        &mut self,
        rows: &Rows,
        from: u64,
        count: u64,
        status: u8,
    ) -> Result<Vec<(u64, Answer)>, RunError> {
        if count == 1 {
            return Ok(vec![(1, Answer::Status(status))]);
        }
        let alone = (from..from + count).map(|sample| match self.call_and_watch(rows, sample, 1) {
            Ok(outputs) => Ok((1, Answer::Outputs(outputs))),
            Err(RunError::Call(CallError::Model { status })) => Ok((1, Answer::Status(status))),
            Err(error) => Err(error),
        });
        alone.collect()
    }

    fn each_call(
        &mut self,
        inputs: &BTreeMap<String, Tensor>,
        mut call: impl FnMut(&mut Runner, &Rows, u64, u64) -> Result<Vec<Tensor>, RunError>,
        mut refused: impl FnMut(&mut Runner, &Rows, u64, u64, u8) -> Result<Vec<(u64, Answer)>, RunError>,
    ) -> Result<Replay, RunError> {
        let rows = self.fit(inputs)?;
        self.reset()?;
        let (samples, most) = (rows.samples, u64::from(self.model.card().max_batch));
        let (mut answers, mut done) = (Vec::new(), 0);
        while done < samples {
            let count = (samples - done).min(most);
            let given = match call(self, &rows, done, count) {
                Ok(outputs) => Ok(vec![(count, Answer::Outputs(outputs))]),
                Err(RunError::Call(CallError::Model { status })) => refused(self, &rows, done, count, status),
                Err(error) => Err(error),
            };
            answers.extend(given.map_err(|error| match error {
                RunError::Call(error) if samples > count => {
                    RunError::Samples { from: done, to: done + count - 1, samples, error: error.into() }
                }
                other => other,
            })?);
            done += count;
        }
        joined(self.model.card(), rows.stacked, answers)
    }

    /// One call on `count` samples, at most `max_batch`, of inputs that [`Runner::fit`] made.
    ///
    /// # Errors
    /// The call fails.
    pub(crate) fn call(&mut self, rows: &Rows, from: u64, count: u64) -> Result<Vec<Tensor>, RunError> {
        call(&mut self.instance, rows, from, count)
    }

    /// Makes a `stream` model forget what it has seen.
    ///
    /// # Errors
    /// The call fails.
    pub(crate) fn reset(&mut self) -> Result<(), RunError> {
        Ok(self.instance.reset()?)
    }
}

/// Writes the inputs, calls, and copies the outputs; an error where the inputs were changed.
fn call(instance: &mut Instance, rows: &Rows, from: u64, count: u64) -> Result<Vec<Tensor>, RunError> {
    for (index, bytes) in rows.bytes(from, count).enumerate() {
        instance.input_mut(index)?[..bytes.len()].copy_from_slice(&bytes);
    }
    let n = u32::try_from(count).unwrap_or(u32::MAX);
    let called = instance.infer(n);
    if called.is_ok() || matches!(called, Err(CallError::Model { .. })) {
        unchanged_inputs(instance, rows, from, count)?;
    }
    called?;
    let mut outputs = Vec::with_capacity(instance.card().outputs.len());
    for (index, spec) in instance.card().outputs.iter().enumerate() {
        let shape = instance.output_shape(index, n)?.into_iter().map(u64::from).collect();
        let bytes = instance.output(index, n)?.to_vec();
        outputs.push(Tensor { dtype: spec.dtype, shape, bytes });
    }
    Ok(outputs)
}

/// What the host wrote is still there.
fn unchanged_inputs(instance: &Instance, rows: &Rows, from: u64, count: u64) -> Result<(), RunError> {
    for (index, written) in rows.bytes(from, count).enumerate() {
        let found = instance.input(index)?.iter().zip(&written).position(|(found, written)| found != written);
        if let Some(byte) = found {
            let name = instance.card().inputs.get(index).map(|spec| spec.name.clone()).unwrap_or_default();
            return Err(RunError::InputWritten { name, byte, from, to: from + count - 1 });
        }
    }
    Ok(())
}

/// Appends the samples of a later call.
pub(crate) fn join(spec: &TensorSpec, whole: &mut Tensor, part: Tensor) -> Result<(), RunError> {
    match (whole.shape.split_first_mut(), part.shape.split_first()) {
        (Some((rows, extents)), Some((more, others))) if *extents == *others => {
            *rows += more;
            whole.bytes.extend(part.bytes);
            Ok(())
        }
        _ => {
            let (first, later) = (whole.shape.clone(), part.shape);
            Err(RunError::Ragged { name: spec.name.clone(), first, later })
        }
    }
}

#[cfg(test)]
mod tests;
