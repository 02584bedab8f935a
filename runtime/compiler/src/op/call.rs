//! One node while it is translated: typed access to its inputs and attributes, and ways to add results.

use std::rc::Rc;

use dunlin_abi::DType;

use super::{Refusal, integer};
use crate::constant::{Constant, ConstantData};
use crate::emit::integer::{IntegerMap, Width, has_meaning};
use crate::error::CompileError;
use crate::graph::{Axis, Graph, MAX_AXES, Op, Rearrange, Shape, ValueId};
use crate::import::node_name;
use crate::import::onnx::{AttributeProto, NodeProto};
use crate::kernel::Kernel;
use crate::passes::fold;
use crate::program::{Formula, Program};
use crate::{MAX_CONSTANT_ELEMENTS, MAX_MADE_ELEMENTS, MAX_TENSOR_BYTES};

/// What to do where samples would depend on each other.
pub(super) const FIX_BATCH: &str = "fix the batch: --input NAME=1,…";

/// One node, its operands and the graph that it goes into.
pub(crate) struct Call<'a> {
    pub(super) node: &'a NodeProto,
    pub(super) inputs: Vec<Option<ValueId>>,
    pub(super) graph: &'a mut Graph,
    pub(super) opset: i64,
    /// Results behind the first, by their places.
    pub(super) further: Vec<(usize, ValueId)>,
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
        self.check_dtype(id, DType::F32, "f32")?;
        Ok(id)
    }

    /// Input `index`, which must be float32, if it is there.
    pub(super) fn optional_f32(&self, index: usize) -> Result<Option<ValueId>, Refusal> {
        self.optional(index).map(|_| self.f32(index)).transpose()
    }

    /// Input `index`, which must hold truth values.
    pub(super) fn truth(&self, index: usize) -> Result<ValueId, Refusal> {
        let id = self.input(index)?;
        self.check_dtype(id, DType::Bool, "bool")?;
        Ok(id)
    }

    fn check_dtype(&self, id: ValueId, dtype: DType, name: &str) -> Result<(), Refusal> {
        let value = self.graph.value(id);
        if value.dtype == dtype {
            return Ok(());
        }
        let reason = format!("its operand {:?} is {}, not {name}", value.name, value.dtype);
        Err(Refusal::unsupported(reason, "export the model in float32"))
    }

    /// The type of a value's elements.
    pub(super) fn dtype(&self, id: ValueId) -> DType {
        self.graph.value(id).dtype
    }

    /// The shape of a value.
    pub(super) fn shape(&self, id: ValueId) -> Shape {
        self.graph.value(id).shape.clone()
    }

    /// The place of ONNX's axis `axis` in the sample of `shape`.
    pub(super) fn sample_axis(&self, shape: &Shape, axis: i64, what: &str) -> Result<usize, Refusal> {
        match shape.axis(axis) {
            Some(Axis::Sample(place)) => Ok(place),
            Some(Axis::Batch) => {
                let reason = format!("it {what} the batch axis, and samples must not depend on each other");
                Err(Refusal::unsupported(reason, FIX_BATCH))
            }
            None => Err(Refusal::malformed(format!("{shape} has no axis {axis}"))),
        }
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

    /// The integers of input `index`, which must be known now.
    pub(super) fn i64s(&self, index: usize, what: &str) -> Result<Vec<i64>, Refusal> {
        let integers = integer::values(self.constant(index, what)?);
        integers.ok_or_else(|| Refusal::malformed(format!("{what} is not int64")))
    }

    /// The integers of input `index`, if it is there.
    pub(super) fn optional_i64s(&self, index: usize, what: &str) -> Result<Option<Vec<i64>>, Refusal> {
        self.optional(index).map(|_| self.i64s(index, what)).transpose()
    }

    /// The numbers of input `index`, which must be known now and float32.
    pub(super) fn f32s(&self, index: usize, what: &str) -> Result<Vec<f32>, Refusal> {
        let numbers = self.constant(index, what)?.f32s().map(<[f32]>::to_vec);
        numbers.ok_or_else(|| Refusal::malformed(format!("{what} is not float32")))
    }

    fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.node.attribute.iter().find(|attribute| attribute.name() == name)
    }

    /// Whether the node has an attribute.
    pub(super) fn has(&self, name: &str) -> bool {
        self.attribute(name).is_some()
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

    /// A list of integers.
    pub(super) fn ints(&self, name: &str) -> Result<Option<Vec<i64>>, Refusal> {
        self.read(name, |attribute| Some(attribute.ints.clone()))
    }

    /// A float attribute.
    pub(super) fn float(&self, name: &str, default: f32) -> Result<f32, Refusal> {
        Ok(self.read(name, |attribute| attribute.f)?.unwrap_or(default))
    }

    /// A text attribute.
    pub(super) fn text(&self, name: &str, default: &str) -> Result<String, Refusal> {
        let text = |attribute: &AttributeProto| String::from_utf8(attribute.s.clone()?).ok();
        Ok(self.read(name, text)?.unwrap_or_else(|| default.to_string()))
    }

    /// An attribute that is 0 or 1.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Refusal> {
        self.flag_or(name, false)
    }

    /// An attribute that is 0 or 1, and may be missing.
    pub(super) fn flag_or(&self, name: &str, default: bool) -> Result<bool, Refusal> {
        match self.int(name, default.into())? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(Refusal::malformed(format!("the attribute {name:?} is {other}, not 0 or 1"))),
        }
    }

    /// The name of the result, for the report.
    fn name(&self) -> String {
        self.node.output.first().map_or_else(|| node_name(self.node).to_string(), Clone::clone)
    }

    /// Whether anything reads, or could read, result `index`.
    pub(super) fn wants_output(&self, index: usize) -> bool {
        self.node.output.get(index).is_some_and(|name| !name.is_empty())
    }

    /// Gives a result behind the first.
    pub(super) fn give_further(&mut self, index: usize, value: ValueId) {
        self.further.push((index, value));
    }

    /// Adds a constant as a result or as an operand.
    pub(super) fn add_constant(&mut self, constant: Constant) -> Result<ValueId, Refusal> {
        check_axes(constant.shape.len())?;
        let actual = self.graph.constant_elements.saturating_add(constant.data.len() as u64);
        if self.node.op_type() == "Constant" {
            self.graph.file_elements += constant.data.len() as u64;
        }
        let made = self.graph.file_elements.saturating_mul(4).max(MAX_MADE_ELEMENTS);
        let limit = MAX_CONSTANT_ELEMENTS.min(self.graph.file_elements.saturating_add(made));
        if actual > limit {
            let what = "the model's constants, folded ones included, together".to_string();
            return Err(CompileError::TooLarge { what, actual, limit, unit: "elements" }.into());
        }
        let name = self.name();
        // Marks come from the shape of something, and go on in what is computed from them.
        let makes_marks = matches!(self.node.op_type(), "Shape" | "Size");
        let marked =
            makes_marks || self.inputs.iter().flatten().any(|input| self.graph.marked.contains(input));
        let marked = marked && integer::holds_marks(&constant);
        let id = self.graph.add_constant(&name, constant);
        if marked {
            self.graph.marked.insert(id);
        }
        Ok(id)
    }

    /// Adds float32 numbers as a constant.
    pub(super) fn add_f32s(&mut self, shape: &[u32], numbers: Vec<f32>) -> Result<ValueId, Refusal> {
        let constant = Constant::new(shape.to_vec(), ConstantData::F32(numbers));
        let constant =
            constant.ok_or_else(|| Refusal::malformed("a tensor has another size than its shape"))?;
        self.add_constant(constant)
    }

    /// Adds what computes a float32 result: a constant if all operands are, a node otherwise.
    pub(super) fn add(&mut self, op: Op, inputs: Vec<ValueId>, shape: Shape) -> Result<ValueId, Refusal> {
        self.add_typed(DType::F32, op, inputs, shape)
    }

    /// Adds a loop nest of its own.
    pub(super) fn add_kernel(
        &mut self,
        kernel: impl Kernel + 'static,
        inputs: Vec<ValueId>,
        shape: Shape,
    ) -> Result<ValueId, Refusal> {
        self.add(Op::Kernel(Rc::new(kernel)), inputs, shape)
    }

    /// Adds what computes a result: a constant if all operands are, a node otherwise.
    pub(super) fn add_typed(
        &mut self,
        dtype: DType,
        op: Op,
        inputs: Vec<ValueId>,
        shape: Shape,
    ) -> Result<ValueId, Refusal> {
        check_axes(shape.rank())?;
        let (actual, limit) = (shape.elements().saturating_mul(dtype.size().max(4).into()), MAX_TENSOR_BYTES);
        let name = self.name();
        if actual > limit {
            let what = format!("one sample of tensor {name:?}");
            return Err(CompileError::TooLarge { what, actual, limit, unit: "bytes" }.into());
        }
        if let Some(mut folded) = self.folded(&op, &inputs, &shape) {
            if let (DType::Bool, Some(numbers)) = (dtype, folded.f32s()) {
                folded.data = ConstantData::Bool(numbers.iter().map(|number| *number != 0.0).collect());
            }
            return self.add_constant(folded);
        }
        if shape.elements() == 0 {
            let reason = format!("its result has the shape {shape}, which holds nothing");
            return Err(Refusal::unsupported(reason, "remove the node"));
        }
        if let Some(input) = inputs.iter().enumerate().find(|(index, id)| !op.takes(*index, self.dtype(**id)))
        {
            let value = self.graph.value(*input.1);
            let reason =
                format!("its operand {:?} is {}, and it computes with float32", value.name, value.dtype);
            return Err(Refusal::unsupported(reason, "cast the operand to float32 before it"));
        }
        if inputs.iter().any(|id| self.graph.marked.contains(id)) {
            return Err(Refusal::unsupported(
                "it calculates with the batch size, which is not known",
                FIX_BATCH,
            ));
        }
        Ok(self.graph.add_node(&name, dtype, op, inputs, shape))
    }

    fn folded(&mut self, op: &Op, inputs: &[ValueId], shape: &Shape) -> Option<Constant> {
        let constants: Vec<&Constant> =
            inputs.iter().map(|id| self.graph.constant(*id)).collect::<Option<_>>()?;
        let extents: Vec<&[u32]> = inputs.iter().map(|id| self.graph.extents(*id)).collect();
        let looked_at = constants.iter().map(|constant| constant.data.len() as u64).sum::<u64>();
        let looked_at = looked_at.saturating_add(shape.elements()).saturating_mul(fold::ELEMENT_MACS);
        let macs = op.macs(&extents, shape.elements()).saturating_add(looked_at);
        let macs = self.graph.folded_macs.saturating_add(macs);
        if macs > fold::MAX_FOLDED_MACS {
            return None;
        }
        let folded = fold::evaluate(op, &constants, shape)?;
        self.graph.folded_macs = macs;
        Some(folded)
    }

    /// A function of the elements at one place of all operands, with NumPy's broadcasting.
    pub(super) fn pointwise(&mut self, formula: &Formula, operands: &[ValueId]) -> Result<ValueId, Refusal> {
        self.pointwise_typed(DType::F32, formula, operands)
    }

    /// The same for truth values as the result. A function of integers gives integers where it does not
    /// give truth values; it is computed at once if all operands are known.
    pub(super) fn pointwise_typed(
        &mut self,
        dtype: DType,
        formula: &Formula,
        operands: &[ValueId],
    ) -> Result<ValueId, Refusal> {
        let (operands, shape) = super::broadcast::together(self, operands)?;
        let program = Program::from(formula);
        if let Some(folded) = integer::fold(self.graph, &program, dtype, &operands, &shape)? {
            return self.add_constant(folded);
        }
        if let Some(integers) = operands.iter().map(|id| self.dtype(*id)).find(|d| Width::of(*d).is_some()) {
            let result = if dtype == DType::Bool { DType::Bool } else { integers };
            return self.integers(program, (integers, result), operands, shape);
        }
        let (program, operands) = self.with_numbers(&program, operands);
        self.add_typed(dtype, Op::Pointwise(program), operands, shape)
    }

    /// A function of integers of the first type with a result of the second, on the device.
    fn integers(
        &mut self,
        program: Program,
        (dtype, result): (DType, DType),
        operands: Vec<ValueId>,
        shape: Shape,
    ) -> Result<ValueId, Refusal> {
        let dtypes: Vec<DType> = operands.iter().map(|id| self.dtype(*id)).collect();
        let Some(width) = Width::of(dtype) else { return Err(integer::no_meaning()) };
        if !has_meaning(&program) {
            return Err(integer::no_meaning());
        }
        if dtypes.iter().any(|other| !matches!(other, DType::Bool) && *other != dtype) {
            return Err(Refusal::malformed("its operands have different types"));
        }
        let map = IntegerMap { program, width, operands: dtypes, result };
        self.add_typed(result, Op::Kernel(Rc::new(map)), operands, shape)
    }

    /// A value that is not known, as elements of another type, of which one at least is an integer.
    pub(super) fn cast_integers(&mut self, input: ValueId, to: DType) -> Result<ValueId, Refusal> {
        let (from, shape) = (self.dtype(input), self.shape(input));
        let Some(width) = Width::of(from).or(Width::of(to)) else { return Err(integer::no_meaning()) };
        let map = IntegerMap { program: Program::identity(), width, operands: vec![from], result: to };
        self.add_typed(to, Op::Kernel(Rc::new(map)), vec![input], shape)
    }

    /// The program with single numbers that are known in it, instead of as operands, unless all are known.
    fn with_numbers(&self, program: &Program, operands: Vec<ValueId>) -> (Program, Vec<ValueId>) {
        let number = |id: &ValueId| match self.graph.constant(*id)?.f32s()? {
            [number] => Some(*number),
            _ => None,
        };
        let numbers: Vec<Option<f32>> = operands.iter().map(number).collect();
        if numbers.iter().all(Option::is_none) || operands.iter().all(|id| self.graph.constant(*id).is_some())
        {
            return (program.clone(), operands);
        }
        let mut kept = Vec::with_capacity(operands.len());
        let parts: Vec<Program> = operands
            .into_iter()
            .zip(numbers)
            .map(|(operand, number)| match number {
                Some(number) => Program::from(&Formula::from(number)),
                None => {
                    kept.push(operand);
                    Program::identity().with_operands(|_| kept.len() - 1)
                }
            })
            .collect();
        (program.compose(&parts), kept)
    }

    /// The same elements at other places.
    pub(super) fn rearrange(
        &mut self,
        input: ValueId,
        rearrange: Rearrange,
        shape: Shape,
    ) -> Result<ValueId, Refusal> {
        let before = self.graph.value(input);
        if shape == before.shape && rearrange == Rearrange::Reshape {
            return Ok(input);
        }
        let dtype = before.dtype;
        self.add_typed(dtype, Op::Rearrange(rearrange), vec![input], shape)
    }

    /// The same elements in row-major order under another shape.
    pub(super) fn reshape(&mut self, input: ValueId, shape: Shape) -> Result<ValueId, Refusal> {
        let before = self.shape(input);
        if before.elements() != shape.elements() || before.is_batched() != shape.is_batched() {
            return Err(Refusal::malformed(format!("{before} does not have as many elements as {shape}")));
        }
        self.rearrange(input, Rearrange::Reshape, shape)
    }

    /// The axes of the sample in another order; the batch axis stays where it is.
    pub(super) fn transpose(&mut self, input: ValueId, axes: Vec<usize>) -> Result<ValueId, Refusal> {
        let before = self.shape(input);
        let sample: Vec<u32> = axes.iter().map(|axis| before.sample[*axis]).collect();
        self.rearrange(input, Rearrange::Transpose(axes), before.with_sample(sample))
    }

    /// `len` elements along one axis of the sample, from `start` on, `step` apart.
    pub(super) fn slice(
        &mut self,
        input: ValueId,
        axis: usize,
        (start, step, len): (u32, i32, u32),
    ) -> Result<ValueId, Refusal> {
        let before = self.shape(input);
        let mut sample = before.sample.clone();
        let mut steps = vec![(0, 1); sample.len()];
        (steps[axis], sample[axis]) = ((start, step), len);
        self.rearrange(input, Rearrange::Slice(steps), before.with_sample(sample))
    }
}

/// Refuses shapes that no model has.
pub(super) fn check_axes(axes: usize) -> Result<(), Refusal> {
    if axes <= MAX_AXES {
        return Ok(());
    }
    Err(Refusal::malformed(format!("a shape has {axes} axes, more than {MAX_AXES}")))
}
