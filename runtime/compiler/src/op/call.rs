//! One node while it is translated: typed access to its inputs and attributes, and ways to add results.

use dunlin_abi::DType;

use super::Refusal;
use crate::constant::Constant;
use crate::error::CompileError;
use crate::graph::{Graph, MAX_AXES, Op, Shape, ValueId};
use crate::import::node_name;
use crate::import::onnx::{AttributeProto, NodeProto};
use crate::passes::fold;
use crate::{MAX_CONSTANT_ELEMENTS, MAX_TENSOR_BYTES};

/// One node, its operands and the graph that it goes into.
pub(crate) struct Call<'a> {
    pub(super) node: &'a NodeProto,
    pub(super) inputs: Vec<Option<ValueId>>,
    pub(super) graph: &'a mut Graph,
    pub(super) opset: i64,
}

impl Call<'_> {
    /// Input `index`, which must be there.
    pub(super) fn input(&self, index: usize) -> Result<ValueId, Refusal> {
        self.optional(index).ok_or_else(|| Refusal::malformed(format!("its input {index} is missing")))
    }

    /// Input `index`, if it is there.
    pub(super) fn optional(&self, index: usize) -> Option<ValueId> {
        self.inputs.get(index).copied().flatten()
    }

    /// Input `index`, which must be float32.
    pub(super) fn f32(&self, index: usize) -> Result<ValueId, Refusal> {
        let id = self.input(index)?;
        let value = self.graph.value(id);
        if value.dtype == DType::F32 {
            return Ok(id);
        }
        let reason = format!("its operand {:?} is {}, not f32", value.name, value.dtype);
        Err(Refusal::unsupported(reason, "export the model in float32"))
    }

    /// The shape of a value.
    pub(super) fn shape(&self, id: ValueId) -> Shape {
        self.graph.value(id).shape.clone()
    }

    /// The numbers of input `index`, which must be known now.
    pub(super) fn constant(&self, index: usize, what: &str) -> Result<&Constant, Refusal> {
        self.graph.constant(self.input(index)?).ok_or_else(|| {
            Refusal::unsupported(
                format!("{what} is computed from the model's inputs"),
                "export the model with fixed shapes, or give the input as a constant (--const NAME=VALUE)",
            )
        })
    }

    /// The 64-bit integers of input `index`, which must be known now.
    pub(super) fn i64s(&self, index: usize, what: &str) -> Result<Vec<i64>, Refusal> {
        let integers = self.constant(index, what)?.i64s();
        integers.map(<[i64]>::to_vec).ok_or_else(|| Refusal::malformed(format!("{what} is not int64")))
    }

    fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.node.attribute.iter().find(|attribute| attribute.name() == name)
    }

    /// An attribute, read by `read`; `None` if the node does not have it.
    pub(super) fn read<T>(
        &self,
        name: &str,
        read: impl FnOnce(&AttributeProto) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let wrong = || Refusal::malformed(format!("the attribute {name:?} has the wrong type"));
        self.attribute(name).map(|attribute| read(attribute).ok_or_else(wrong)).transpose()
    }

    /// An integer attribute.
    pub(super) fn int(&self, name: &str, default: i64) -> Result<i64, Refusal> {
        Ok(self.read(name, |attribute| attribute.i)?.unwrap_or(default))
    }

    /// A float attribute.
    pub(super) fn float(&self, name: &str, default: f32) -> Result<f32, Refusal> {
        Ok(self.read(name, |attribute| attribute.f)?.unwrap_or(default))
    }

    /// An attribute that is 0 or 1.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Refusal> {
        match self.int(name, 0)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(Refusal::malformed(format!("the attribute {name:?} is {other}, not 0 or 1"))),
        }
    }

    /// The name of the result, for the report.
    fn name(&self) -> String {
        self.node.output.first().map_or_else(|| node_name(self.node).to_string(), Clone::clone)
    }

    /// Adds a constant as a result or as an operand.
    pub(super) fn add_constant(&mut self, constant: Constant) -> Result<ValueId, Refusal> {
        check_axes(constant.shape.len())?;
        let actual = self.graph.constant_elements.saturating_add(constant.data.len() as u64);
        if actual > MAX_CONSTANT_ELEMENTS {
            let what = "the model's constants, folded ones included, together".to_string();
            let limit = MAX_CONSTANT_ELEMENTS;
            return Err(CompileError::TooLarge { what, actual, limit, unit: "elements" }.into());
        }
        let name = self.name();
        Ok(self.graph.add_constant(&name, constant))
    }

    /// Adds what computes a float32 result: a constant if all operands are, a node otherwise.
    pub(super) fn add(&mut self, op: Op, inputs: Vec<ValueId>, shape: Shape) -> Result<ValueId, Refusal> {
        check_axes(shape.rank())?;
        let (actual, limit) = (shape.elements().saturating_mul(4), MAX_TENSOR_BYTES);
        let name = self.name();
        if actual > limit {
            let what = format!("one sample of tensor {name:?}");
            return Err(CompileError::TooLarge { what, actual, limit, unit: "bytes" }.into());
        }
        let constants: Option<Vec<&Constant>> = inputs.iter().map(|id| self.graph.constant(*id)).collect();
        let folded_macs = self.graph.folded_macs.saturating_add(op.macs());
        let constants = constants.filter(|_| folded_macs <= fold::MAX_FOLDED_MACS);
        if let Some(folded) = constants.and_then(|constants| fold::evaluate(&op, &constants, &shape)) {
            self.graph.folded_macs = folded_macs;
            return self.add_constant(folded);
        }
        if shape.elements() == 0 {
            let reason = format!("its result has the shape {shape}, which holds nothing");
            return Err(Refusal::unsupported(reason, "remove the node"));
        }
        Ok(self.graph.add_node(&name, op, inputs, shape))
    }

    /// The same elements under another shape.
    pub(super) fn add_alias(&mut self, input: ValueId, shape: Shape) -> Result<ValueId, Refusal> {
        let before = self.shape(input);
        if before.elements() != shape.elements() || before.batched != shape.batched {
            return Err(Refusal::malformed(format!("{before} does not have as many elements as {shape}")));
        }
        self.add(Op::Alias, vec![input], shape)
    }
}

/// Refuses shapes that no model has.
pub(super) fn check_axes(axes: usize) -> Result<(), Refusal> {
    if axes <= MAX_AXES {
        return Ok(());
    }
    Err(Refusal::malformed(format!("a shape has {axes} axes, more than {MAX_AXES}")))
}
