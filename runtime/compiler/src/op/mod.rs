//! ONNX's operators: a file a family, and a line an operator in [`OPERATORS`].
//!
//! An operator's `lower` function reads the node through a [`Call`], checks it, works out the shape
//! of the result and adds what computes it to the graph. Where all operands are constants, the result
//! is one too: shapes depend on it, so folding happens here and not in a later pass.

mod arithmetic;
mod call;
mod cast;
mod concat;
mod constant;
mod gather;
mod gemm;
mod identity;
mod matmul;
mod reshape;
mod shape;
mod softmax;
mod squeeze;
mod unary;

use std::ops::RangeInclusive;

use crate::error::CompileError;
use crate::graph::{Graph, ValueId};
use crate::import::is_onnx_domain;
use crate::import::onnx::NodeProto;
pub(crate) use call::Call;

/// Why a node was not translated.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It is valid, but we cannot do it.
    Unsupported {
        /// Why not.
        reason: String,
        /// What to do about it.
        remedy: String,
    },
    /// It breaks a rule of ONNX.
    Malformed(String),
    /// Something that ends the compilation at once.
    Compile(CompileError),
}

impl Refusal {
    pub(crate) fn unsupported(reason: impl Into<String>, remedy: impl Into<String>) -> Refusal {
        Refusal::Unsupported { reason: reason.into(), remedy: remedy.into() }
    }

    pub(crate) fn malformed(reason: impl Into<String>) -> Refusal {
        Refusal::Malformed(reason.into())
    }
}

impl From<CompileError> for Refusal {
    fn from(error: CompileError) -> Refusal {
        Refusal::Compile(error)
    }
}

/// An operator of ONNX's own domain.
pub(crate) struct Operator {
    /// ONNX's name.
    name: &'static str,
    /// How many inputs a node may have.
    inputs: RangeInclusive<usize>,
    /// Every attribute that `lower` understands; any other is refused.
    attributes: &'static [&'static str],
    /// Translates one node.
    lower: fn(&mut Call<'_>) -> Result<ValueId, Refusal>,
}

const fn operator(
    name: &'static str,
    inputs: RangeInclusive<usize>,
    attributes: &'static [&'static str],
    lower: fn(&mut Call<'_>) -> Result<ValueId, Refusal>,
) -> Operator {
    Operator { name, inputs, attributes, lower }
}

/// Every operator that the compiler knows, by name.
#[rustfmt::skip]
const OPERATORS: &[Operator] = &[
    operator("Add",       2..=2, &[], arithmetic::add),
    operator("Cast",      1..=1, &["to", "saturate", "round_mode"], cast::lower),
    operator("Concat",    1..=usize::MAX, &["axis"], concat::lower),
    operator("Constant",  0..=0, &["value", "value_float", "value_floats", "value_int", "value_ints"], constant::lower),
    operator("Div",       2..=2, &[], arithmetic::div),
    operator("Dropout",   1..=3, &["ratio", "seed"], identity::dropout),
    operator("Flatten",   1..=1, &["axis"], reshape::flatten),
    operator("Gather",    2..=2, &["axis"], gather::lower),
    operator("Gemm",      2..=3, &["alpha", "beta", "transA", "transB"], gemm::lower),
    operator("Identity",  1..=1, &[], identity::identity),
    operator("MatMul",    2..=2, &[], matmul::lower),
    operator("Mul",       2..=2, &[], arithmetic::mul),
    operator("Relu",      1..=1, &[], unary::relu),
    operator("Reshape",   2..=2, &["allowzero"], reshape::reshape),
    operator("Shape",     1..=1, &["start", "end"], shape::lower),
    operator("Sigmoid",   1..=1, &[], unary::sigmoid),
    operator("Softmax",   1..=1, &["axis"], softmax::lower),
    operator("Squeeze",   1..=2, &["axes"], squeeze::squeeze),
    operator("Sub",       2..=2, &[], arithmetic::sub),
    operator("Tanh",      1..=1, &[], unary::tanh),
    operator("Unsqueeze", 1..=2, &["axes"], squeeze::unsqueeze),
];

/// The operator of a node.
pub(crate) fn find(node: &NodeProto) -> Result<&'static Operator, Refusal> {
    if !is_onnx_domain(node.domain()) {
        let reason = format!("the domain {:?} is not known", node.domain());
        return Err(Refusal::unsupported(reason, "export the model with ONNX's own operators"));
    }
    OPERATORS.iter().find(|operator| operator.name == node.op_type()).ok_or_else(|| {
        Refusal::unsupported(
            "the compiler does not know this operator",
            "express it with those that `docs/compiler.md` lists, or add it as that page shows",
        )
    })
}

/// Translates one node with its operator.
pub(crate) fn lower(
    operator: &Operator,
    node: &NodeProto,
    inputs: Vec<Option<ValueId>>,
    graph: &mut Graph,
    opset: i64,
) -> Result<ValueId, Refusal> {
    if !operator.inputs.contains(&inputs.len()) {
        let (least, most) = (operator.inputs.start(), operator.inputs.end());
        return Err(Refusal::malformed(format!("it has {} inputs, not {least} to {most}", inputs.len())));
    }
    for (index, attribute) in node.attribute.iter().enumerate() {
        let name = attribute.name();
        if !operator.attributes.contains(&name) {
            return Err(Refusal::unsupported(
                format!("the attribute {name:?} is not known"),
                "export the model with the standard attributes",
            ));
        }
        if node.attribute[..index].iter().any(|earlier| earlier.name() == name) {
            return Err(Refusal::malformed(format!("the attribute {name:?} is there twice")));
        }
    }
    (operator.lower)(&mut Call { node, inputs, graph, opset })
}

#[cfg(test)]
mod tests {
    use super::OPERATORS;

    #[test]
    fn the_table_is_sorted_and_without_duplicates() {
        assert!(OPERATORS.windows(2).all(|pair| pair[0].name < pair[1].name));
    }
}
