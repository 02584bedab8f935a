//! Everything that can go wrong between an ONNX file and a module, with its stable code.

use std::fmt;

use dunlin_core::code::{Code, Coded, onnx};

/// Kinds of refusals that a message lists.
const MAX_KINDS: usize = 40;

/// One node that the compiler cannot translate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// The operator, with its domain where that is not ONNX's own.
    pub operator: String,
    /// The node: its name, or what it makes where it has none.
    pub node: String,
    /// The layer of the network that the exporter made it from, where the file has it.
    pub layer: Option<String>,
    /// Why not.
    pub reason: String,
    /// What to do about it.
    pub remedy: String,
}

impl Unsupported {
    /// Where it is, for people.
    fn place(&self) -> String {
        match &self.layer {
            Some(layer) => format!("node {:?} of layer {layer:?}", self.node),
            None => format!("node {:?}", self.node),
        }
    }

    /// What refusals that belong together have in common: the reason counts without the names in it.
    fn kind(&self) -> (&str, String, &str) {
        let reason: Vec<&str> = self.reason.split('"').step_by(2).collect();
        (&self.operator, reason.concat(), &self.remedy)
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Unsupported { operator, reason, remedy, .. } = self;
        write!(f, "{} ({}): {reason}; {remedy}", operator.escape_debug(), self.place())
    }
}

/// A line for each kind of refusal, with the number of nodes where it is more than one.
fn lines(nodes: &[Unsupported]) -> String {
    let mut kinds: Vec<(&Unsupported, &Unsupported, usize)> = Vec::new();
    for node in nodes {
        match kinds.iter_mut().find(|(first, ..)| first.kind() == node.kind()) {
            Some((_, last, count)) => (*last, *count) = (node, *count + 1),
            None => kinds.push((node, node, 1)),
        }
    }
    let line = |(first, last, count): &(&Unsupported, &Unsupported, usize)| match count {
        1 => format!("\n  {first}"),
        _ => {
            let Unsupported { operator, reason, remedy, .. } = first;
            let (operator, first, last) = (operator.escape_debug(), first.place(), last.place());
            format!("\n  {count} x {operator}: {reason}; {remedy}; first at {first}, last at {last}")
        }
    };
    let mut text: String = kinds.iter().take(MAX_KINDS).map(line).collect();
    if let Some(more) = kinds.len().checked_sub(MAX_KINDS).filter(|more| *more > 0) {
        text += &format!("\n  and {more} other kinds");
    }
    text
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
    /// The file is valid, but has something besides nodes that the compiler does not support.
    #[error("{what}, which the compiler does not support; {remedy}")]
    Form {
        /// What the file has.
        what: String,
        /// What to do about it.
        remedy: &'static str,
    },
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
    /// A tensor's numbers are in another file, and cannot be read from it.
    #[error("the numbers of tensor {tensor:?} are in the file {file:?}: {reason}")]
    ExternalData {
        /// The tensor.
        tensor: String,
        /// The file, as the model names it.
        file: String,
        /// Why they cannot be read.
        reason: String,
    },
    /// The nodes make a tensor of another shape than the file declares.
    #[error(
        "tensor {tensor:?} is declared as {declared}, but node {node:?} ({operator}) makes {made}",
        operator = operator.escape_debug()
    )]
    DeclaredShape {
        /// The tensor.
        tensor: String,
        /// What the file says.
        declared: String,
        /// What comes of the nodes.
        made: String,
        /// The node that makes it.
        node: String,
        /// The operator of that node.
        operator: String,
    },
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
            CompileError::Form { .. } => onnx::UNSUPPORTED_FORM,
            CompileError::DType { .. } => onnx::UNSUPPORTED_DTYPE,
            CompileError::ExternalData { .. } => onnx::EXTERNAL_DATA,
            CompileError::DeclaredShape { .. } => onnx::DECLARED_SHAPE,
            CompileError::DimensionUnbound { .. } => onnx::DIMENSION_UNBOUND,
            CompileError::Option(_) => onnx::OPTION,
            CompileError::Memory { .. } => onnx::MEMORY,
            CompileError::Card(_) => onnx::CARD,
            CompileError::Fault(_) => onnx::FAULT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(node: &str, reason: &str) -> Unsupported {
        Unsupported {
            operator: "Loop".into(),
            node: node.into(),
            layer: (node == "b").then(|| "decoder".into()),
            reason: reason.into(),
            remedy: "unroll it".into(),
        }
    }

    #[test]
    fn refusals_that_repeat_are_one_line() {
        let nodes = [node("a", "its \"x\" is i8"), node("c", "it waits"), node("b", "its \"y\" is i8")];
        let text = CompileError::Unsupported(nodes.to_vec()).to_string();
        let expected = "3 of the model's nodes cannot be translated:\n  \
            2 x Loop: its \"x\" is i8; unroll it; first at node \"a\", last at node \"b\" of layer \"decoder\"\n  \
            Loop (node \"c\"): it waits; unroll it";
        assert_eq!(text, expected);
    }

    #[test]
    fn many_kinds_are_cut() {
        let nodes: Vec<Unsupported> = (0..100).map(|i| node("a", &format!("reason {i}"))).collect();
        let text = CompileError::Unsupported(nodes).to_string();
        assert!(text.ends_with("\n  and 60 other kinds"), "{text}");
    }
}
