//! Running a module on tensors from files: what `dunlin run`, golden vectors and baselines share.
//!
//! It is the device's own sandbox under the limits given, so that what passes here passes there.

use std::collections::BTreeMap;

use dunlin_abi::{Card, Dim, TensorSpec};
use dunlin_core::VerifiedArtifact;
use dunlin_core::code::{self, Code, Coded};
use dunlin_sandbox::{
    Admission, AdmissionError, CallError, CompileError, CompiledModel, Engine, EngineConfig, Instance,
    Limits, Summary,
};

use crate::tensor::{Tensor, TensorFileError};

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
            RunError::Value { .. }
            | RunError::Missing { .. }
            | RunError::Unknown { .. }
            | RunError::Shape { .. }
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

/// The limits for a module on the operator's machine: what its memory declares, and a minute a call.
pub fn local_limits(summary: &Summary) -> Limits {
    let declared = summary.memory_max_bytes.unwrap_or(summary.memory_min_bytes);
    let default = Limits::default();
    Limits { memory_bytes: declared.max(default.memory_bytes), ..default }
}

impl Runner {
    /// Admits, compiles and instantiates a local file under its own demands.
    ///
    /// # Errors
    /// Whatever the device's sandbox would refuse, too.
    pub fn load(bytes: Vec<u8>) -> Result<Runner, RunError> {
        let summary = dunlin_sandbox::inspect(&bytes)?;
        let admission = Admission {
            limits: local_limits(&summary),
            imports: summary.imports.clone(),
            card_digest: Some(summary.card_digest),
        };
        let admitted = dunlin_sandbox::admit(VerifiedArtifact::trust_local(bytes), &admission)?;
        let engine = Engine::new(EngineConfig::default())?;
        let model = engine.compile(admitted)?;
        let instance = model.instantiate()?;
        Ok(Runner { _engine: engine, model, instance })
    }

    /// What the module says of itself.
    pub fn card(&self) -> &Card {
        self.model.card()
    }

    /// The compiled model.
    pub fn model(&self) -> &CompiledModel {
        &self.model
    }

    /// The instance that calls go to.
    pub fn instance(&mut self) -> &mut Instance {
        &mut self.instance
    }

    /// Runs samples, `max_batch` at a time, and gives every output, in the card's order.
    ///
    /// Inputs are converted to the model's types where no number changes by it. A batched input has
    /// the shape of the card with any number of samples for `n`.
    ///
    /// # Errors
    /// An input is missing, unknown or of another shape, or a call fails.
    pub fn run(&mut self, inputs: &BTreeMap<String, Tensor>) -> Result<Vec<(String, Tensor)>, RunError> {
        let card = self.model.card().clone();
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
        let samples = sample_count(&card, &columns)?;
        let mut outputs: Vec<Tensor> = card
            .outputs
            .iter()
            .map(|spec| Tensor { dtype: spec.dtype, shape: Vec::new(), bytes: Vec::new() })
            .collect();
        let mut done = 0;
        while done < samples {
            let n = (samples - done).min(u64::from(card.max_batch));
            self.call(&columns, done, n as u32, &mut outputs)?;
            done += n;
        }
        for (output, spec) in outputs.iter_mut().zip(&card.outputs) {
            if spec.is_batched() && !output.shape.is_empty() {
                output.shape[0] = samples;
            }
        }
        Ok(card.outputs.into_iter().map(|spec| spec.name).zip(outputs).collect())
    }

    fn call(
        &mut self,
        columns: &[Tensor],
        from: u64,
        n: u32,
        outputs: &mut [Tensor],
    ) -> Result<(), RunError> {
        let batched = self.model.card().inputs.iter().map(TensorSpec::is_batched).collect::<Vec<_>>();
        for (index, column) in columns.iter().enumerate() {
            let slice = if batched[index] { column.rows(from, from + u64::from(n)) } else { column.clone() };
            self.instance.input_mut(index)?[..slice.bytes.len()].copy_from_slice(&slice.bytes);
        }
        self.instance.infer(n)?;
        for (index, output) in outputs.iter_mut().enumerate() {
            output.shape = self.instance.output_shape(index, n)?.into_iter().map(u64::from).collect();
            let bytes: u64 = output.shape.iter().product::<u64>() * u64::from(output.dtype.size());
            output.bytes.extend_from_slice(&self.instance.output(index, n)?[..bytes as usize]);
        }
        Ok(())
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
