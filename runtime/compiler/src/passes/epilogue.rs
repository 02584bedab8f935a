//! An element-wise node behind a product or a convolution moves into its kernel, with its other operands
//! (a residual, say) as extras, where nothing else reads the sum and the result has its shape.
//!
//! The fused node takes the place of the element-wise one, behind everything that either reads. Every change
//! removes a node.

use super::chain::{merged, only_reader};
use super::{Exhausted, Fuel, rewrite};
use crate::graph::{Graph, Node, Op, ValueId};
use crate::program::Program;

/// The longest epilogue, in instructions: it is written once for each vector of a tile.
const MAX_INSTS: usize = 24;
/// The most extras.
const MAX_EXTRAS: usize = 2;

pub(super) fn fuse(graph: &mut Graph, fuel: &mut Fuel) -> Result<u32, Exhausted> {
    rewrite(graph, fuel, |graph, index| {
        let (producer, node) = step(graph, index)?;
        graph.nodes[index] = node;
        graph.nodes.remove(producer);
        Some(index)
    })
}

/// The operands of a contraction without its extras, and its epilogue.
pub(super) fn contraction(op: &Op) -> Option<(usize, &Program)> {
    match op {
        Op::MatMul(matmul) => Some((2 + usize::from(matmul.bias), &matmul.epilogue)),
        Op::Conv(conv) => Some((2 + usize::from(conv.bias), &conv.epilogue)),
        Op::Pointwise(_) | Op::Rearrange(_) | Op::Concat { .. } | Op::Pad { .. } | Op::Kernel(_) => None,
    }
}

/// The same contraction with another epilogue.
pub(super) fn with_epilogue(op: &Op, program: Program) -> Option<Op> {
    match op.clone() {
        Op::MatMul(mut matmul) => {
            matmul.epilogue = program;
            Some(Op::MatMul(matmul))
        }
        Op::Conv(mut conv) => {
            conv.epilogue = program;
            Some(Op::Conv(conv))
        }
        Op::Pointwise(_) | Op::Rearrange(_) | Op::Concat { .. } | Op::Pad { .. } | Op::Kernel(_) => None,
    }
}

fn step(graph: &Graph, index: usize) -> Option<(usize, Node)> {
    let node = &graph.nodes[index];
    let Op::Pointwise(outer) = &node.op else { return None };
    node.inputs.iter().find_map(|input| {
        let producer = graph.nodes[..index].iter().rposition(|other| other.output == *input)?;
        let source = &graph.nodes[producer];
        let (own, epilogue) = contraction(&source.op)?;
        let alike = graph.extents(*input) == graph.extents(node.output);
        if !alike || !only_reader(graph, *input, index) {
            return None;
        }
        // The sum is the first operand of its epilogue, under the name of the value that goes.
        let (own_inputs, extras) = source.inputs.split_at(own);
        let inner_inputs: Vec<ValueId> = [&[*input], extras].concat();
        let (program, inputs) = merged(outer, &node.inputs, epilogue, &inner_inputs, *input);
        let extras = inputs.get(1..)?;
        if program.insts().len() > MAX_INSTS || extras.len() > MAX_EXTRAS {
            return None;
        }
        let op = with_epilogue(&source.op, program)?;
        let origins = [source.origins.as_slice(), &node.origins].concat();
        let inputs = [own_inputs, extras].concat();
        Some((producer, Node { op, inputs, output: node.output, origins }))
    })
}
