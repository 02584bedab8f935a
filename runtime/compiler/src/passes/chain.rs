//! Element-wise nodes that follow one another become one loop.
//!
//! A node goes into the one that reads it if nobody else does and it has as many elements as the
//! result: where it would repeat, it would be computed again and again. Every change removes a node.

use super::{Exhausted, Fuel, rewrite};
use crate::graph::{Graph, Node, Op, ValueId};
use crate::program::Program;

/// The longest program, in instructions: it must fit a function body of 16 KiB with 64 locals.
const MAX_INSTS: usize = 48;
/// The most operands of a fused node.
const MAX_OPERANDS: usize = 8;

pub(super) fn fuse(graph: &mut Graph, fuel: &mut Fuel) -> Result<u32, Exhausted> {
    rewrite(graph, fuel, |graph, index| {
        let (producer, node) = step(graph, index)?;
        graph.nodes[index] = node;
        graph.nodes.remove(producer);
        // The node has moved one place to the front, and may take in another one.
        Some(index - 1)
    })
}

/// A producer that can go into node `index`, and the node with it.
fn step(graph: &Graph, index: usize) -> Option<(usize, Node)> {
    let node = &graph.nodes[index];
    let Op::Pointwise(outer) = &node.op else { return None };
    node.inputs.iter().find_map(|input| {
        let producer = graph.nodes[..index].iter().rposition(|other| other.output == *input)?;
        let Op::Pointwise(inner) = &graph.nodes[producer].op else { return None };
        let alike = graph.extents(*input) == graph.extents(node.output);
        if !alike || !only_reader(graph, *input, index) {
            return None;
        }
        let (program, inputs) = merged(outer, &node.inputs, inner, &graph.nodes[producer].inputs, *input);
        if program.insts().len() > MAX_INSTS || inputs.len() > MAX_OPERANDS {
            return None;
        }
        let origins = [graph.nodes[producer].origins.as_slice(), &node.origins].concat();
        Some((producer, Node { op: Op::Pointwise(program), inputs, output: node.output, origins }))
    })
}

/// Whether node `index` alone reads a value.
pub(super) fn only_reader(graph: &Graph, value: ValueId, index: usize) -> bool {
    let others = graph.nodes.iter().enumerate().filter(|(other, _)| *other != index);
    let read = others.into_iter().any(|(_, node)| node.inputs.contains(&value));
    !read && graph.outputs.iter().all(|output| output.value != value)
}

/// `outer` with `inner` in the place of the operand `taken`, and the operands of both, each once.
pub(super) fn merged(
    outer: &Program,
    outer_inputs: &[ValueId],
    inner: &Program,
    inner_inputs: &[ValueId],
    taken: ValueId,
) -> (Program, Vec<ValueId>) {
    let mut inputs: Vec<ValueId> = Vec::new();
    let mut place = |value: ValueId| {
        inputs.iter().position(|input| *input == value).unwrap_or_else(|| {
            inputs.push(value);
            inputs.len() - 1
        })
    };
    let inner_places: Vec<usize> = inner_inputs.iter().map(|value| place(*value)).collect();
    let operands: Vec<Program> = outer_inputs
        .iter()
        .map(|value| {
            if *value == taken {
                inner.with_operands(|old| inner_places[old])
            } else {
                let new = place(*value);
                Program::identity().with_operands(|_| new)
            }
        })
        .collect();
    (outer.compose(&operands), inputs)
}
