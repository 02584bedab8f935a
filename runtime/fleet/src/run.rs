//! Running a module on tensors from files: what `dunlin run`, golden vectors and baselines share.
//!
//! It is the device's own sandbox: under the limits of a release, what passes here passes there.

use std::collections::BTreeMap;
use std::time::Duration;

use dunlin_abi::{Card, Dim, TensorSpec};
use dunlin_core::VerifiedArtifact;
use dunlin_core::code::{self, Code, Coded};
use dunlin_core::precompiled::{Head, PrecompiledError};
use dunlin_sandbox::{
    Admission, AdmissionError, AdmittedModel, CallError, CompileError, CompiledModel, Engine, EngineConfig,
    Instance, Limits, Summary, Target, WASMTIME_VERSION,
};

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
    #[error("input {name:?} must have the shape {wanted}, not {given:?}")]
    Shape {
        /// The input.
        name: String,
        /// What the card declares.
        wanted: String,
        /// What came.
        given: Vec<u64>,
    },
    /// Several samples for an output that has no axis to hold them.
    #[error("output {name:?} has no batch axis, so that one run takes one sample, not {samples}")]
    Unbatched {
        /// The output.
        name: String,
        /// How many samples came.
        samples: u64,
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
            RunError::Precompiled(error) => error.code(),
            RunError::Value { .. }
            | RunError::Missing { .. }
            | RunError::Unknown { .. }
            | RunError::Shape { .. }
            | RunError::Unbatched { .. }
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
/// [`ReleaseRequest::precompiled`](crate::release::ReleaseRequest::precompiled). With the deadline of the
/// release it has checks for the clock only where they are needed.
///
/// # Errors
/// The module is not admitted, or this build makes no code for the target.
pub fn precompile(module: Vec<u8>, target: Target, deadline_us: Option<u64>) -> Result<Vec<u8>, RunError> {
    let summary = dunlin_sandbox::inspect(&module)?;
    let deadline = Duration::from_micros(deadline_us.unwrap_or(DEADLINE_US));
    let limits = Limits { deadline, ..local_limits(&summary) };
    let model = admitted(module, &summary, limits)?;
    let head = Head {
        artifact: model.digest(),
        target: target.to_string(),
        wasmtime: WASMTIME_VERSION.to_string(),
        interruptible: model.facts().is_interruptible(),
    };
    Ok(head.with_code(&dunlin_sandbox::precompile(&model, target)?)?)
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
        let admitted = admitted(bytes, summary, limits)?;
        let engine = Engine::new(EngineConfig::default())?;
        let model = engine.compile(admitted)?;
        let instance = model.instantiate()?;
        Ok(Runner { _engine: engine, model, instance })
    }

    /// Whether calls are watched by the clock; if not, it is proven that they end in time.
    pub(crate) fn is_interruptible(&self) -> bool {
        self.model.is_interruptible()
    }

    /// What the module says of itself.
    pub fn card(&self) -> &Card {
        self.model.card()
    }

    /// Runs samples, `max_batch` at a time, and gives every output, in the card's order.
    ///
    /// Inputs are converted to the model's types; a number that does not fit is an error, floats are
    /// rounded. A batched input has the shape of the card with any number of samples for `n`.
    ///
    /// # Errors
    /// An input is missing, unknown or of another shape, a call fails, or the outputs of several samples
    /// do not make one tensor.
    pub fn run(&mut self, inputs: &BTreeMap<String, Tensor>) -> Result<Vec<(String, Tensor)>, RunError> {
        let (columns, samples) = self.fit(inputs)?;
        let specs = self.model.card().outputs.clone();
        if let Some(spec) = specs.iter().find(|spec| samples > 1 && !spec.is_batched()) {
            return Err(RunError::Unbatched { name: spec.name.clone(), samples });
        }
        let most = u64::from(self.model.card().max_batch);
        let mut outputs = self.call(&columns, 0, samples.min(most))?;
        let mut done = samples.min(most);
        while done < samples {
            let count = (samples - done).min(most);
            let parts = self.call(&columns, done, count)?;
            for ((whole, part), spec) in outputs.iter_mut().zip(parts).zip(&specs) {
                join(spec, whole, part)?;
            }
            done += count;
        }
        Ok(specs.into_iter().map(|spec| spec.name).zip(outputs).collect())
    }

    /// The inputs in the card's order and types, and how many samples they hold.
    ///
    /// # Errors
    /// An input is missing, unknown, of another shape, or has a number that does not fit.
    pub(crate) fn fit(&self, inputs: &BTreeMap<String, Tensor>) -> Result<(Vec<Tensor>, u64), RunError> {
        let card = self.model.card();
        let known = || card.inputs.iter().map(|input| input.name.as_str()).collect::<Vec<_>>().join(", ");
        for given in inputs.keys() {
            if !card.inputs.iter().any(|input| input.name == *given) {
                return Err(RunError::Unknown { given: given.clone(), known: known() });
            }
        }
        let mut columns = Vec::with_capacity(card.inputs.len());
        for spec in &card.inputs {
            let tensor = inputs.get(&spec.name);
            let tensor =
                tensor.ok_or_else(|| RunError::Missing { wanted: spec.name.clone(), known: known() })?;
            columns.push(fitted(spec, tensor)?);
        }
        let samples = sample_count(card, &columns)?;
        Ok((columns, samples))
    }

    /// One call on `count` samples, at most `max_batch`, of inputs that [`Runner::fit`] made.
    ///
    /// # Errors
    /// The call fails.
    pub(crate) fn call(
        &mut self,
        columns: &[Tensor],
        from: u64,
        count: u64,
    ) -> Result<Vec<Tensor>, RunError> {
        let card = self.model.card();
        for (index, (column, spec)) in columns.iter().zip(&card.inputs).enumerate() {
            let rows = spec.is_batched().then(|| column.rows(from, from + count));
            let bytes = &rows.as_ref().unwrap_or(column).bytes;
            self.instance.input_mut(index)?[..bytes.len()].copy_from_slice(bytes);
        }
        let n = u32::try_from(count).unwrap_or(u32::MAX);
        self.instance.infer(n)?;
        let mut outputs = Vec::with_capacity(card.outputs.len());
        for (index, spec) in card.outputs.iter().enumerate() {
            let shape = self.instance.output_shape(index, n)?.into_iter().map(u64::from).collect();
            let bytes = self.instance.output(index, n)?.to_vec();
            outputs.push(Tensor { dtype: spec.dtype, shape, bytes });
        }
        Ok(outputs)
    }

    /// Makes a `stream` model forget what it has seen.
    ///
    /// # Errors
    /// The call fails.
    pub(crate) fn reset(&mut self) -> Result<(), RunError> {
        Ok(self.instance.reset()?)
    }
}

/// Appends the samples of a later call.
fn join(spec: &TensorSpec, whole: &mut Tensor, part: Tensor) -> Result<(), RunError> {
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

fn fitted(spec: &TensorSpec, tensor: &Tensor) -> Result<Tensor, RunError> {
    let fits = tensor.shape.len() == spec.shape.len()
        && tensor.shape.iter().zip(&spec.shape).all(|(extent, dim)| match dim {
            Dim::Batch => *extent >= 1,
            Dim::Fixed(fixed) => *extent == u64::from(*fixed),
            Dim::AtMost(most) => *extent <= u64::from(*most),
        });
    if !fits {
        let given = tensor.shape.clone();
        return Err(RunError::Shape { name: spec.name.clone(), wanted: shape_text(spec), given });
    }
    tensor.cast(spec.dtype).map_err(|error| RunError::Value { name: spec.name.clone(), error })
}

fn sample_count(card: &Card, columns: &[Tensor]) -> Result<u64, RunError> {
    let mut samples = None;
    for (spec, column) in card.inputs.iter().zip(columns).filter(|(spec, _)| spec.is_batched()) {
        let rows = column.shape[0];
        let expected = *samples.get_or_insert(rows);
        if rows != expected {
            return Err(RunError::Rows { name: spec.name.clone(), rows, expected });
        }
    }
    Ok(samples.unwrap_or(1))
}

#[cfg(test)]
mod tests;
