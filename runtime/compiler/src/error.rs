//! Everything that can go wrong between an ONNX file and a module, with its stable code.

use std::fmt;

use dunlin_core::code::{Code, Coded, onnx};

/// One node that the compiler cannot translate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// The operator, with its domain where that is not ONNX's own.
    pub operator: String,
    /// The node: its name, or what it makes where it has none.
    pub node: String,
    /// Why not.
    pub reason: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Unsupported { operator, node, reason, remedy } = self;
        write!(f, "{operator} (node {node:?}): {reason}; {remedy}")
    }
}

/// All refused nodes, a line each.
fn lines(nodes: &[Unsupported]) -> String {
    nodes.iter().map(|node| format!("\n  {node}")).collect()
}

/// Why a model was not compiled.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// Something is larger than the compiler accepts.
    #[error("{what} has {actual} {unit}, the compiler accepts at most {limit}")]
    TooLarge {
        /// What is too large.
        what: String,
        /// How large it is.
        actual: u64,
        /// How large it may be.
        limit: u64,
        /// What is counted.
        unit: &'static str,
    },
    /// The file is not a valid ONNX model.
    #[error("not a valid ONNX model: {0}")]
    Malformed(String),
    /// An opset or IR version that is too old or too new.
    #[error("the model uses {what} {actual}, the compiler knows {least} to {most}")]
    Version {
        /// Which version.
        what: &'static str,
        /// The file's.
        actual: i64,
        /// The oldest that is known.
        least: i64,
        /// The newest that is known.
        most: i64,
    },
    /// Nodes that cannot be translated: every one of the model.
    #[error("{} of the model's nodes cannot be translated:{}", .0.len(), lines(.0))]
    Unsupported(Vec<Unsupported>),
    /// A tensor's element type is not supported where it is used.
    #[error("tensor {tensor:?} has the element type {dtype}, but {wanted}")]
    DType {
        /// The tensor.
        tensor: String,
        /// Its type, by ONNX's name.
        dtype: String,
        /// What is supported there.
        wanted: &'static str,
    },
    /// A tensor's numbers are in another file.
    #[error("the numbers of tensor {0:?} are in another file; save the model as one file")]
    ExternalData(String),
    /// A symbolic axis has no extent.
    #[error(
        "input {input:?} has the shape {shape}, and its axis {axis} ({dim}) has no fixed extent; {remedy}"
    )]
    DimensionUnbound {
        /// The input.
        input: String,
        /// Its shape in the file.
        shape: String,
        /// The axis.
        axis: usize,
        /// The name of the extent.
        dim: String,
        /// What to do.
        remedy: String,
    },
    /// An option does not fit the model.
    #[error("{0}")]
    Option(String),
    /// Weights and arena do not fit a 32-bit memory.
    #[error("the model needs {bytes} bytes of memory, a module has at most {limit}")]
    Memory {
        /// What is needed.
        bytes: u64,
        /// What there is.
        limit: u64,
    },
    /// The inputs and outputs cannot be described in a card.
    #[error("the model cannot be described in a card: {0}")]
    Card(#[from] dunlin_abi::CardError),
    /// The module does not validate: a fault of the compiler.
    #[error("the compiled module does not validate, a fault of the compiler: {0}")]
    Fault(String),
}

impl Coded for CompileError {
    fn code(&self) -> Code {
        match self {
            CompileError::TooLarge { .. } => onnx::TOO_LARGE,
            CompileError::Malformed(_) => onnx::MALFORMED,
            CompileError::Version { .. } => onnx::VERSION,
            CompileError::Unsupported(_) => onnx::UNSUPPORTED_OPERATOR,
            CompileError::DType { .. } => onnx::UNSUPPORTED_DTYPE,
            CompileError::ExternalData(_) => onnx::EXTERNAL_DATA,
            CompileError::DimensionUnbound { .. } => onnx::DIMENSION_UNBOUND,
            CompileError::Option(_) => onnx::OPTION,
            CompileError::Memory { .. } => onnx::MEMORY,
            CompileError::Card(_) => onnx::CARD,
            CompileError::Fault(_) => onnx::FAULT,
        }
    }
}
