//! Element-wise nodes move before views: `f(view(product), …)` becomes `view(f(product, …))`, so that what
//! stands behind a product is found there by the passes that put it into the product.
//!
//! The other operands are seen through the view backwards: constants get the order of the view's source, an operand that is
//! the same view of something else is replaced by what it is a view of, and anything else gets the view that
//! takes back the first one. Element-wise nodes never move before those that were put in, so each change
//! leaves fewer pairs of a view of the file and an element-wise node behind it.

use std::collections::HashSet;

use super::chain::only_reader;
use super::epilogue::contraction;
use super::{Exhausted, Fuel, rewrite};
use crate::constant::Constant;
use crate::graph::{Graph, Node, Op, Rearrange, Value, ValueId};
use crate::kernel::Layout;

pub(super) fn hoist(graph: &mut Graph, fuel: &mut Fuel) -> Result<u32, Exhausted> {
    // The views that were put in to take back others.
    let mut put_in = HashSet::new();
    rewrite(graph, fuel, |graph, index| {
        step(graph, index, &mut put_in)?;
        // The node is before its view now, and may go on to the next one.
        Some(index.saturating_sub(1))
    })
}

/// What maker of a value comes before `index`.
fn maker(graph: &Graph, value: ValueId, index: usize) -> Option<usize> {
    graph.nodes[..index].iter().rposition(|node| node.output == value)
}

/// Whether views alone lead from a contraction, a normalisation or an element-wise node to this value, and nothing else
/// reads on the way.
fn leads_to_loop(graph: &Graph, mut value: ValueId, mut reader: usize) -> bool {
    loop {
        let Some(index) = maker(graph, value, reader).filter(|_| only_reader(graph, value, reader)) else {
            return false;
        };
        match (&graph.nodes[index].op, graph.nodes[index].inputs.first()) {
            (Op::Rearrange(Rearrange::Reshape | Rearrange::Transpose(_)), Some(source)) => {
                (value, reader) = (*source, index);
            }
            (Op::Kernel(kernel), _) => return kernel.as_sweep().is_some_and(|sweep| sweep.map.is_some()),
            (op, _) => return matches!(op, Op::Pointwise(_)) || contraction(op).is_some(),
        }
    }
}

fn step(graph: &mut Graph, index: usize, put_in: &mut HashSet<ValueId>) -> Option<()> {
    let Op::Pointwise(program) = &graph.nodes[index].op else { return None };
    let program = program.clone();
    let inputs = graph.nodes[index].inputs.clone();
    let output = graph.nodes[index].output;
    let extents = graph.extents(output).to_vec();
    let (place, view) = inputs.iter().enumerate().find_map(|(place, input)| {
        let view = maker(graph, *input, index)?;
        let fits =
            matches!(graph.nodes[view].op, Op::Rearrange(Rearrange::Reshape | Rearrange::Transpose(_)))
                && graph.extents(*input) == extents
                && !put_in.contains(input)
                && leads_to_loop(graph, *input, index);
        fits.then_some((place, view))
    })?;
    let Op::Rearrange(rearrange) = graph.nodes[view].op.clone() else { return None };
    let source = *graph.nodes[view].inputs.first()?;
    let back = Back { old: graph.extents(source).to_vec(), new: extents, rearrange };
    // All of the others must be seen through the view before anything is changed.
    let mut others: Vec<Other> = Vec::with_capacity(inputs.len());
    for (other, input) in inputs.iter().enumerate() {
        others.push(if other == place || *input == inputs[place] {
            Other::Source(source)
        } else if let Some(twin) = back.twin(graph, *input, index) {
            Other::Source(twin)
        } else if let Some(constant) = graph.constant(*input) {
            Other::Constant(back.constant(constant)?)
        } else if graph.extents(*input) == back.new {
            Other::View
        } else {
            return None;
        });
    }
    let node = graph.nodes.remove(index);
    let old_view = graph.nodes.remove(view);
    let mut at = index - 1;
    let mut new_inputs = Vec::with_capacity(inputs.len());
    let shape = graph.value(source).shape.clone();
    for (input, other) in inputs.iter().zip(others) {
        let (name, dtype) = (graph.value(*input).name.clone(), graph.value(*input).dtype);
        new_inputs.push(match other {
            Other::Source(source) => source,
            Other::Constant(constant) => graph.add_constant(&name, constant),
            Other::View => {
                let seen = graph.add_value(Value { name, dtype, shape: shape.clone(), constant: None });
                put_in.insert(seen);
                let op = Op::Rearrange(back.inverse());
                let origins = old_view.origins.clone();
                graph.nodes.insert(at, Node { op, inputs: vec![*input], output: seen, origins });
                at += 1;
                seen
            }
        });
    }
    let (name, dtype) = (graph.value(output).name.clone(), graph.value(output).dtype);
    let result = graph.add_value(Value { name, dtype, shape, constant: None });
    let hoisted =
        Node { op: Op::Pointwise(program), inputs: new_inputs, output: result, origins: node.origins };
    graph.nodes.insert(at, hoisted);
    graph.nodes.insert(at + 1, Node { inputs: vec![result], output, ..old_view });
    Some(())
}

/// How another operand is seen through the view.
enum Other {
    /// It is what the view, or the same view of something else, is of.
    Source(ValueId),
    /// It is a constant, now this one.
    Constant(Constant),
    /// It gets the view back.
    View,
}

/// A view, seen backwards.
pub(super) struct Back {
    /// What the view is of.
    pub(super) old: Vec<u32>,
    /// What it is.
    pub(super) new: Vec<u32>,
    /// The view.
    pub(super) rearrange: Rearrange,
}

impl Back {
    /// What a value is of that is the same view.
    fn twin(&self, graph: &Graph, value: ValueId, index: usize) -> Option<ValueId> {
        let node = &graph.nodes[maker(graph, value, index)?];
        let source = *node.inputs.first()?;
        let same = matches!(&node.op, Op::Rearrange(other) if *other == self.rearrange);
        (same && graph.extents(source) == self.old && graph.extents(value) == self.new).then_some(source)
    }

    fn inverse(&self) -> Rearrange {
        match &self.rearrange {
            Rearrange::Transpose(axes) => {
                let mut inverse = vec![0; axes.len()];
                axes.iter().enumerate().for_each(|(new, old)| inverse[*old] = new);
                Rearrange::Transpose(inverse)
            }
            Rearrange::Reshape | Rearrange::Slice(_) | Rearrange::Expand => Rearrange::Reshape,
        }
    }

    /// A constant that broadcasts to the new extents, as it broadcasts to the old ones.
    pub(super) fn constant(&self, constant: &Constant) -> Option<Constant> {
        let layout = Layout::row_major(&constant.shape).broadcast(&self.new);
        let (_, seen) = layout.rearranged(&self.inverse(), &self.old)?;
        let axes = seen.extents.iter().zip(&seen.strides);
        let shape: Vec<u32> = axes.map(|(extent, stride)| if *stride == 0 { 1 } else { *extent }).collect();
        let compact = Layout { extents: shape.clone(), strides: seen.strides };
        let places: Vec<usize> = compact.places().map(|place| place.unsigned_abs() as usize).collect();
        Constant::new(shape, constant.data.select(&places)?)
    }
}
