//! Element-wise nodes move before views: `f(view(product), …)` becomes `view(f(product, …))`, so that what
//! stands behind a product is found there by the passes that put it into the product.
//!
//! The other operands are seen through the view backwards: constants are laid out anew, and what is
//! computed gets the view that takes back the first one.

use super::chain::only_reader;
use super::epilogue::contraction;
use crate::constant::Constant;
use crate::graph::{Graph, Node, Op, Rearrange, Value, ValueId};
use crate::kernel::Layout;

pub(super) fn hoist(graph: &mut Graph) -> u32 {
    let mut moved = 0;
    let mut index = 0;
    while index < graph.nodes.len() {
        if step(graph, index).is_some() {
            moved += 1;
            // The node is before its view now, and may go on to the next one.
            index = index.saturating_sub(1);
        } else {
            index += 1;
        }
    }
    moved
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

fn step(graph: &mut Graph, index: usize) -> Option<()> {
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
            Other::Source
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
            Other::Source => source,
            Other::Constant(constant) => graph.add_constant(&name, constant),
            Other::View => {
                let seen = graph.add_value(Value { name, dtype, shape: shape.clone(), constant: None });
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
    /// It is what the view is of.
    Source,
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
