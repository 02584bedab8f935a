//! The typed graph between ONNX and WebAssembly: values with static shapes, nodes in order.
//!
//! Invariants: a node reads only values that are inputs, constants or made by an earlier node; every
//! value is made at most once; every shape is known, but for the batch axis, which a [`Shape`] keeps
//! apart as one flag. Nodes say what to compute for *one sample*, and carry the numbers that their
//! kernel needs, so that no pass and no kernel has to look at shapes again.

use std::fmt;

use dunlin_abi::{DType, Dim};

use crate::constant::Constant;

/// Inside folded shape arithmetic, the extent of the batch axis: no number, but a mark that `Shape`
/// makes, data movement carries and `Reshape` consumes. Arithmetic on it is refused.
pub(crate) const BATCH_EXTENT: i64 = i64::MIN;

/// The most axes of anything, far above what ONNX files have, so that no loop over axes is long.
pub(crate) const MAX_AXES: usize = 64;

/// A value of a [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ValueId(pub(crate) usize);

/// The axes of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Whether the first ONNX axis is the batch.
    pub(crate) batched: bool,
    /// The extents of the other axes.
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
        Shape { batched: false, sample: extents.into() }
    }

    /// The number of ONNX axes.
    pub(crate) fn rank(&self) -> usize {
        self.sample.len() + usize::from(self.batched)
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
        Some(match (self.batched, index) {
            (true, 0) => Axis::Batch,
            (true, index) => Axis::Sample(index - 1),
            (false, index) => Axis::Sample(index),
        })
    }

    /// The shape with these axes; `None` if the batch is not the first, or an axis depends on data.
    pub(crate) fn from_dims(dims: &[Dim]) -> Option<Shape> {
        let batched = dims.first() == Some(&Dim::Batch);
        let sample = dims.iter().skip(usize::from(batched)).map(|dim| match dim {
            Dim::Fixed(extent) => Some(*extent),
            Dim::Batch | Dim::AtMost(_) => None,
        });
        Some(Shape { batched, sample: sample.collect::<Option<_>>()? })
    }

    /// The axes as a card writes them.
    pub(crate) fn dims(&self) -> Vec<Dim> {
        let batch = self.batched.then_some(Dim::Batch);
        batch.into_iter().chain(self.sample.iter().map(|extent| Dim::Fixed(*extent))).collect()
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let batch = self.batched.then(|| "n".to_string());
        let axes: Vec<String> = batch.into_iter().chain(self.sample.iter().map(u32::to_string)).collect();
        write!(f, "[{}]", axes.join(", "))
    }
}

/// A tensor.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    /// Its name in the ONNX file.
    pub(crate) name: String,
    /// The type of its elements; everything that is computed on the device is [`DType::F32`].
    pub(crate) dtype: DType,
    /// Its axes.
    pub(crate) shape: Shape,
    /// Its numbers, where they are known.
    pub(crate) constant: Option<Constant>,
}

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unary {
    /// `x`
    Identity,
    /// `max(x, 0)`
    Relu,
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// `tanh(x)`
    Tanh,
}

/// A function of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Binary {
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a * b`
    Mul,
    /// `a / b`
    Div,
}

/// How the right operand of a [`Dense`] lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weights {
    /// A constant, packed for the kernel when the module is written.
    Packed,
    /// A row-major `[k, n]` tensor that another node computes.
    Rows,
}

/// `y[r, j] = activation(bias[j] + sum over i of x[r, i] * w[i, j])`. Operands: x, w and maybe bias.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Dense {
    /// Rows of x and y.
    pub(crate) rows: u32,
    /// The length of the sum.
    pub(crate) k: u32,
    /// Columns of w and y.
    pub(crate) n: u32,
    /// Elements from `x[r, i]` to `x[r + 1, i]`.
    pub(crate) x_row: u32,
    /// Elements from `x[r, i]` to `x[r, i + 1]`.
    pub(crate) x_step: u32,
    /// Where w comes from.
    pub(crate) weights: Weights,
    /// What is applied to every output.
    pub(crate) activation: Unary,
}

/// One axis of a [`Zip`], after axes that behave alike were merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ZipAxis {
    /// The extent.
    pub(crate) len: u32,
    /// Whether the left operand has this axis, or repeats along it.
    pub(crate) left: bool,
    /// Whether the right operand has this axis, or repeats along it.
    pub(crate) right: bool,
}

/// What a node computes for one sample.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Op {
    /// A matrix product with bias and activation.
    Dense(Dense),
    /// A function of every element.
    Map {
        /// The function.
        function: Unary,
        /// How many elements.
        len: u32,
    },
    /// A function of two tensors, element by element, with NumPy's broadcasting.
    Zip {
        /// The function.
        function: Binary,
        /// The axes of the result, outermost first; at least one.
        axes: Vec<ZipAxis>,
    },
    /// `y[o, i, j] = exp(x[o, i, j] - m) / s`, with m the maximum and s the sum over i.
    Softmax {
        /// Extents before the axis.
        outer: u32,
        /// The extent of the axis.
        len: u32,
        /// Extents behind the axis.
        inner: u32,
    },
    /// The same bytes under another shape; removed before anything is emitted.
    Alias,
}

impl Op {
    /// Multiply-accumulates of one sample.
    pub(crate) fn macs(&self) -> u64 {
        match self {
            Op::Dense(dense) => {
                let outputs = u64::from(dense.rows).saturating_mul(dense.n.into());
                outputs.saturating_mul(dense.k.into())
            }
            Op::Map { .. } | Op::Zip { .. } | Op::Softmax { .. } | Op::Alias => 0,
        }
    }
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
    /// Elements of all constants together, so that folding cannot fill the memory.
    pub(crate) constant_elements: u64,
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

    /// Adds a node and the f32 value that it makes.
    pub(crate) fn add_node(&mut self, name: &str, op: Op, inputs: Vec<ValueId>, shape: Shape) -> ValueId {
        let value = Value { name: name.to_string(), dtype: DType::F32, shape, constant: None };
        let output = self.add_value(value);
        self.nodes.push(Node { op, inputs, output });
        output
    }

    /// The value.
    pub(crate) fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0]
    }

    /// The value's numbers, where they are known.
    pub(crate) fn constant(&self, id: ValueId) -> Option<&Constant> {
        self.value(id).constant.as_ref()
    }

    /// How often nodes and outputs read each value.
    pub(crate) fn uses(&self) -> Vec<u32> {
        let mut uses = vec![0; self.values.len()];
        let read = self.nodes.iter().flat_map(|node| node.inputs.iter().copied());
        for id in read.chain(self.outputs.iter().map(|output| output.value)) {
            uses[id.0] += 1;
        }
        uses
    }

    /// Multiply-accumulates of one sample.
    pub(crate) fn macs(&self) -> u64 {
        self.nodes.iter().map(|node| node.op.macs()).fold(0, u64::saturating_add)
    }
}
