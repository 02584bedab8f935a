//! Why a model was not evaluated, with its stable code.

use dunlin_core::code::{self, Code, Coded};

use crate::run::RunError;

/// Why a model was not evaluated.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// It does not run on the data.
    #[error(transparent)]
    Run(#[from] RunError),
    /// There is no such tensor.
    #[error("the model has no {kind} {name:?}; it has {known}")]
    Unknown {
        /// `input` or `output`.
        kind: &'static str,
        /// The name that was given.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// The data are empty.
    #[error("the data have the shape {0:?}, which holds no samples along the first axis")]
    NoSamples(Vec<u64>),
    /// Samples have outputs of different sizes.
    #[error("output {0:?} is not as long for every sample, so that it cannot be judged")]
    Ragged(String),
    /// The labels do not belong to the data or the output.
    #[error("the labels {0}")]
    Labels(String),
    /// More best classes than there are.
    #[error("the best {top} classes are asked for, the output has {classes}")]
    Top {
        /// What was asked for.
        top: u32,
        /// What there is.
        classes: usize,
    },
    /// Two models that answer differently in kind.
    #[error("the two modules give outputs of different shapes, so that they cannot be compared")]
    Incomparable,
}

impl Coded for EvaluateError {
    fn code(&self) -> Code {
        match self {
            EvaluateError::Run(error) => error.code(),
            EvaluateError::Unknown { .. } | EvaluateError::Top { .. } => code::fleet::ARGUMENT,
            EvaluateError::NoSamples(_)
            | EvaluateError::Ragged(_)
            | EvaluateError::Labels(_)
            | EvaluateError::Incomparable => code::fleet::TENSOR_SHAPE,
        }
    }
}
