//! The typed graph between ONNX and WebAssembly: values with static shapes, nodes in order.
//!
//! Invariants: a node reads only values that are inputs, constants or made by an earlier node; every
//! value is made at most once; every shape is known, but for the batch axis, which a [`Shape`] keeps
//! apart. Nodes say what to compute for *one sample*: their axes are those of [`Shape::sample`]. They
//! say nothing about memory; where elements lie is decided later, in `layout`.

use std::collections::HashSet;
use std::fmt;
use std::rc::Rc;

use dunlin_abi::{DType, Dim};

use crate::constant::Constant;
use crate::kernel::{Kernel, is_number};
use crate::program::Program;

/// Inside folded shape arithmetic, the extent of the batch axis: no number, but a mark that `Shape`
/// makes, data movement carries and `Reshape` consumes. Arithmetic on it is refused.
///
/// Samples that have been joined with other axes (`[n, 16, 24]` as `[n * 16, 24]`) have marks that say by
/// which factor: see [`batch_extent`]. The numbers are such as nobody writes; the smallest integer
/// is not among them, because exporters write it for "from the start".
pub(crate) const BATCH_EXTENT: i64 = i64::MIN / 2;
/// The mark among integers of 32 bits.
const NARROW_BATCH_EXTENT: i32 = i32::MIN / 2;
/// Marks have factors up to this.
const MAX_BATCH_FACTOR: u32 = 1 << 24;

/// The mark for `factor` times the batch size; `None` if it is too large, or 0.
pub(crate) fn batch_extent(factor: u64) -> Option<i64> {
    let fits = (1..=u64::from(MAX_BATCH_FACTOR)).contains(&factor);
    fits.then(|| BATCH_EXTENT + (factor as i64 - 1))
}

/// An integer of 32 bits from one of 64, with marks as marks; `None` if it does not fit.
pub(crate) fn narrowed(value: i64) -> Option<i32> {
    match batch_factor(value) {
        Some(factor) => NARROW_BATCH_EXTENT.checked_add(i32::try_from(factor).ok()? - 1),
        None => i32::try_from(value).ok(),
    }
}

/// An integer of 64 bits from one of 32, with marks as marks.
pub(crate) fn widened(value: i32) -> i64 {
    let factor = i64::from(value) - i64::from(NARROW_BATCH_EXTENT) + 1;
    u64::try_from(factor)
        .ok()
        .filter(|factor| *factor <= u64::from(MAX_BATCH_FACTOR))
        .and_then(batch_extent)
        .unwrap_or_else(|| value.into())
}

/// The factor of a mark; `None` if the extent is none.
pub(crate) fn batch_factor(extent: i64) -> Option<u32> {
    let factor = extent.wrapping_sub(BATCH_EXTENT).checked_add(1)?;
    u32::try_from(factor).ok().filter(|factor| (1..=MAX_BATCH_FACTOR).contains(factor))
}

/// The most axes of anything, far above what ONNX files have, so that no loop over axes is long.
pub(crate) const MAX_AXES: usize = 64;

/// A value of a [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ValueId(pub(crate) usize);

/// The axes of a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    /// Which ONNX axis is the batch, if one is.
    pub(crate) batch: Option<usize>,
    /// How many axes of the sample, directly before and directly behind the samples, ONNX's batch axis is
    /// joined with: `[n * 16, 24]` is `[16, 24]` for each sample, with one behind.
    pub(crate) joined: [usize; 2],
    /// The extents of the axes of one sample, joined ones included.
    pub(crate) sample: Vec<u32>,
}

/// One axis of a [`Shape`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Axis {
    /// The batch axis.
    Batch,
    /// An index into [`Shape::sample`].
    Sample(usize),
}

impl Shape {
    /// A shape without a batch axis.
    pub(crate) fn fixed(extents: impl Into<Vec<u32>>) -> Shape {
        Shape::new(None, extents)
    }

    /// A shape with a batch axis, if there is one, that is joined with no other.
    pub(crate) fn new(batch: Option<usize>, sample: impl Into<Vec<u32>>) -> Shape {
        Shape { batch, joined: [0, 0], sample: sample.into() }
    }

    /// The same batch axis before other extents.
    pub(crate) fn with_sample(&self, sample: impl Into<Vec<u32>>) -> Shape {
        Shape { batch: self.batch, joined: self.joined, sample: sample.into() }
    }

    /// The axes of the sample that ONNX's batch axis is joined with.
    pub(crate) fn joined_axes(&self) -> std::ops::Range<usize> {
        let first = self.batch.unwrap_or(0);
        first..(first + self.joined[0] + self.joined[1]).min(self.sample.len()).max(first)
    }

    /// Whether the batch axis is joined with others.
    pub(crate) fn is_joined(&self) -> bool {
        self.joined != [0, 0]
    }

    /// ONNX's batch axis has this many times as many elements as there are samples.
    pub(crate) fn batch_factor(&self) -> u64 {
        let joined = self.sample.get(self.joined_axes()).unwrap_or_default();
        joined.iter().fold(1, |product, extent| product.saturating_mul(u64::from(*extent)))
    }

    /// Whether there is a batch axis.
    pub(crate) fn is_batched(&self) -> bool {
        self.batch.is_some()
    }

    /// The number of ONNX axes.
    pub(crate) fn rank(&self) -> usize {
        (self.sample.len() + usize::from(self.is_batched())).saturating_sub(self.joined[0] + self.joined[1])
    }

    /// The elements of one sample.
    pub(crate) fn elements(&self) -> u64 {
        self.sample.iter().fold(1, |product, extent| product.saturating_mul(u64::from(*extent)))
    }

    /// ONNX's axis `axis`, which counts from the end if it is negative; `None` if there is no such axis.
    pub(crate) fn axis(&self, axis: i64) -> Option<Axis> {
        let rank = i64::try_from(self.rank()).ok()?;
        let index = if axis < 0 { axis.checked_add(rank)? } else { axis };
        let index = usize::try_from(index).ok().filter(|index| *index < self.rank())?;
        Some(match self.batch {
            Some(batch) if index == batch => Axis::Batch,
            Some(batch) if index > batch => Axis::Sample(index - 1 + self.joined[0] + self.joined[1]),
            Some(_) | None => Axis::Sample(index),
        })
    }

    /// The shape with these axes, and a batch axis that is joined with as many as the one of this shape;
    /// `None` if there is more than one batch axis, or an axis depends on data.
    pub(crate) fn with_dims(&self, dims: &[Dim]) -> Option<Shape> {
        let mut shape = Shape::new(None, Vec::with_capacity(dims.len()));
        for (place, dim) in dims.iter().enumerate() {
            match dim {
                Dim::Fixed(extent) => shape.sample.push(*extent),
                Dim::Batch if shape.batch.is_none() => {
                    (shape.batch, shape.joined) = (Some(place), self.joined);
                    shape.sample.extend_from_slice(self.sample.get(self.joined_axes()).unwrap_or_default());
                }
                Dim::Batch | Dim::AtMost(_) => return None,
            }
        }
        Some(shape)
    }

    /// The axes as a card writes them.
    pub(crate) fn dims(&self) -> Vec<Dim> {
        let mut dims: Vec<Dim> = self.sample.iter().map(|extent| Dim::Fixed(*extent)).collect();
        dims.drain(self.joined_axes());
        if let Some(batch) = self.batch {
            dims.insert(batch.min(dims.len()), Dim::Batch);
        }
        dims
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dim = |dim: &Dim| match dim {
            Dim::Batch if self.is_joined() => format!("n * {}", self.batch_factor()),
            Dim::Batch => "n".to_string(),
            Dim::Fixed(extent) | Dim::AtMost(extent) => extent.to_string(),
        };
        write!(f, "[{}]", self.dims().iter().map(dim).collect::<Vec<_>>().join(", "))
    }
}

/// A tensor.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    /// Its name in the ONNX file.
    pub(crate) name: String,
    /// The type of its elements. While the model computes, truth values are the f32 1 and 0.
    pub(crate) dtype: DType,
    /// Its axes.
    pub(crate) shape: Shape,
    /// Its numbers, where they are known.
    pub(crate) constant: Option<Constant>,
}

/// A matrix product, with what happens to each of its numbers before it is stored.
///
/// `y[…, i, j] = epilogue(bias[j] + sum over k of x[…, i, k] * w[…, k, j], extras[…, i, j]…)`
/// Operands: x, w, the bias `[n]` if there is one, and the extras, which broadcast to the result.
/// Axes in front of the last two broadcast.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MatMul {
    /// Whether the third operand is a bias.
    pub(crate) bias: bool,
    /// Operand 0 is the sum, the others are the extras.
    pub(crate) epilogue: Program,
}

/// One spatial axis of a sliding window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Window {
    /// Taps.
    pub(crate) size: u32,
    /// From one output to the next, in elements of the input.
    pub(crate) stride: u32,
    /// From one tap to the next, in elements of the input.
    pub(crate) dilation: u32,
    /// Elements of padding before the first.
    pub(crate) before: u32,
    /// Elements of padding behind the last.
    pub(crate) after: u32,
}

impl Window {
    /// Outputs along an axis of `extent` elements; 0 if the window does not fit.
    pub(crate) fn outputs(&self, extent: u32) -> u32 {
        let padded = u64::from(extent) + u64::from(self.before) + u64::from(self.after);
        match padded.checked_sub(self.reach()) {
            Some(rest) => u32::try_from(rest / u64::from(self.stride.max(1)) + 1).unwrap_or(u32::MAX),
            None => 0,
        }
    }
}

impl Window {
    /// Whether the last output leaves nothing of the padded axis.
    pub(crate) fn is_full(&self, extent: u32) -> bool {
        let padded = u64::from(extent) + u64::from(self.before) + u64::from(self.after);
        let rest = padded.checked_sub(self.reach());
        rest.is_some_and(|rest| rest.is_multiple_of(self.stride.max(1).into()))
    }

    /// From the first tap to behind the last.
    fn reach(&self) -> u64 {
        u64::from(self.size.saturating_sub(1)) * u64::from(self.dilation) + 1
    }

    /// Elements behind the last that `outputs` windows read.
    pub(crate) fn read_behind(&self, extent: u32, outputs: u32) -> u32 {
        let read = u64::from(outputs.saturating_sub(1)) * u64::from(self.stride) + self.reach();
        let there = u64::from(extent) + u64::from(self.before);
        u32::try_from(read.saturating_sub(there)).unwrap_or(u32::MAX)
    }
}

/// A convolution, with what happens to each of its numbers before it is stored.
///
/// Operands: x `[…, C, spatial…]`, constant w `[M, C / groups, taps…]`, the bias `[M]` if there is one,
/// and the extras, which broadcast to the result `[…, M, spatial…]`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Conv {
    /// One for each spatial axis.
    pub(crate) windows: Vec<Window>,
    /// Whether it is transposed: place o of the result gets `x[i] * w[k]` wherever
    /// `i * stride + k * dilation - before = o`.
    pub(crate) transposed: bool,
    /// Groups of channels that do not see each other.
    pub(crate) groups: u32,
    /// Whether the third operand is a bias.
    pub(crate) bias: bool,
    /// Operand 0 is the sum, the others are the extras.
    pub(crate) epilogue: Program,
}

/// The same elements at other places: nothing is computed, and mostly nothing is moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rearrange {
    /// The elements in row-major order under another shape.
    Reshape,
    /// Axis i of the result is axis `0[i]` of the operand.
    Transpose(Vec<usize>),
    /// For each axis the first element and the distance to the next, which may be negative.
    Slice(Vec<(u32, i32)>),
    /// Axes of extent 1, or missing in front, repeat.
    Expand,
}

/// What a node computes for one sample.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// A function of the elements at one place of all operands, which broadcast as NumPy's do.
    Pointwise(Program),
    /// A matrix product.
    MatMul(MatMul),
    /// A convolution.
    Conv(Conv),
    /// A view of the operand.
    Rearrange(Rearrange),
    /// The operands one behind the other along an axis.
    Concat {
        /// The axis.
        axis: usize,
    },
    /// The operand with a border of one value round it.
    Pad {
        /// Elements before the first of each axis.
        before: Vec<u32>,
        /// The border's value.
        value: f32,
    },
    /// A loop nest of its own, which no pass looks into.
    Kernel(Rc<dyn Kernel>),
}

/// One step of the computation.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// What to compute.
    pub(crate) op: Op,
    /// The operands.
    pub(crate) inputs: Vec<ValueId>,
    /// The result.
    pub(crate) output: ValueId,
    /// The ONNX nodes that it comes from, by their places in [`Graph::origins`].
    pub(crate) origins: Vec<usize>,
}

/// A node of the ONNX file, for the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The name by which people find it.
    pub(crate) name: String,
    /// Its operator.
    pub(crate) operator: String,
}

/// An output of the model.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    /// Its name.
    pub(crate) name: String,
    /// Its axes.
    pub(crate) shape: Shape,
    /// The value that holds it.
    pub(crate) value: ValueId,
}

/// A model.
#[derive(Clone, Debug, Default)]
pub(crate) struct Graph {
    /// Every value, by [`ValueId`].
    pub(crate) values: Vec<Value>,
    /// The steps, in order.
    pub(crate) nodes: Vec<Node>,
    /// What the host writes.
    pub(crate) inputs: Vec<ValueId>,
    /// What the host reads.
    pub(crate) outputs: Vec<Output>,
    /// The nodes of the file that were translated so far; the last one is being translated.
    pub(crate) origins: Vec<Origin>,
    /// Constants in which some integers are marks for the batch size; in all others every integer is itself.
    pub(crate) marked: HashSet<ValueId>,
    /// Elements of all constants together, so that folding cannot fill the memory.
    pub(crate) constant_elements: u64,
    /// Elements of the constants that the file holds.
    pub(crate) file_elements: u64,
    /// Multiplications that folding has done, so that it ends soon.
    pub(crate) folded_macs: u64,
}

impl Graph {
    /// Adds a value that nothing makes yet.
    pub(crate) fn add_value(&mut self, value: Value) -> ValueId {
        self.values.push(value);
        ValueId(self.values.len() - 1)
    }

    /// Adds a constant.
    pub(crate) fn add_constant(&mut self, name: &str, constant: Constant) -> ValueId {
        let (dtype, shape) = (constant.data.dtype(), Shape::fixed(constant.shape.clone()));
        self.constant_elements = self.constant_elements.saturating_add(constant.data.len() as u64);
        self.add_value(Value { name: name.to_string(), dtype, shape, constant: Some(constant) })
    }

    /// Adds a node and the value that it makes.
    pub(crate) fn add_node(
        &mut self,
        name: &str,
        dtype: DType,
        op: Op,
        inputs: Vec<ValueId>,
        shape: Shape,
    ) -> ValueId {
        let output = self.add_value(Value { name: name.to_string(), dtype, shape, constant: None });
        let origins = self.origins.len().checked_sub(1).into_iter().collect();
        self.nodes.push(Node { op, inputs, output, origins });
        output
    }

    /// The value.
    pub(crate) fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0]
    }

    /// The extents of one sample of the value.
    pub(crate) fn extents(&self, id: ValueId) -> &[u32] {
        &self.value(id).shape.sample
    }

    /// The value's numbers, where they are known.
    pub(crate) fn constant(&self, id: ValueId) -> Option<&Constant> {
        self.value(id).constant.as_ref()
    }

    /// The first node with an operand of a type that it does not take.
    pub(crate) fn mistyped(&self) -> Option<&Node> {
        self.nodes.iter().find(|node| {
            let mut inputs = node.inputs.iter().enumerate();
            inputs.any(|(index, input)| !node.op.takes(index, self.value(*input).dtype))
        })
    }

    /// Multiply-accumulates of one sample.
    pub(crate) fn macs(&self) -> u64 {
        self.nodes.iter().map(|node| self.node_macs(node)).fold(0, u64::saturating_add)
    }

    /// Multiply-accumulates of one node for one sample.
    pub(crate) fn node_macs(&self, node: &Node) -> u64 {
        let extents: Vec<&[u32]> = node.inputs.iter().map(|id| self.extents(*id)).collect();
        node.op.macs(&extents, self.value(node.output).shape.elements())
    }
}

impl Op {
    /// Whether operand `index` may have elements of this type. An operation of f32 cannot be given integers:
    /// import refuses it, and [`Graph::mistyped`] finds it behind every pass.
    pub(crate) fn takes(&self, index: usize, dtype: DType) -> bool {
        match self {
            Op::Pointwise(_) | Op::MatMul(_) | Op::Conv(_) | Op::Pad { .. } => is_number(dtype),
            Op::Rearrange(_) | Op::Concat { .. } => {
                is_number(dtype) || matches!(dtype, DType::I32 | DType::I64)
            }
            Op::Kernel(kernel) => kernel.takes(index, dtype),
        }
    }

    /// Multiply-accumulates for operands of these extents and a result of `elements` elements.
    pub(crate) fn macs(&self, extents: &[&[u32]], elements: u64) -> u64 {
        let product = |extents: &[u32]| extents.iter().fold(1u64, |p, e| p.saturating_mul((*e).into()));
        match (self, extents) {
            (Op::MatMul(_), [[.., k], ..]) => elements.saturating_mul((*k).into()),
            (Op::Conv(conv), [_, [_, taps @ ..], ..]) => {
                let strides = conv.windows.iter().map(|window| u64::from(window.stride)).product::<u64>();
                elements.saturating_mul(product(taps)) / if conv.transposed { strides.max(1) } else { 1 }
            }
            (Op::Kernel(kernel), _) => kernel.macs(elements),
            (Op::MatMul(_) | Op::Conv(_), _) => 0,
            (Op::Pointwise(_) | Op::Rearrange(_) | Op::Concat { .. } | Op::Pad { .. }, _) => 0,
        }
    }
}
