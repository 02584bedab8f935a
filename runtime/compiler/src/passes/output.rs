//! Gives every output a value of its own that a node makes: outputs that are inputs, constants, views
//! or another output under another name are copied, and truth values become those of the host.

use std::collections::HashSet;
use std::rc::Rc;

use dunlin_abi::DType;

use super::{Exhausted, Fuel};
use crate::emit::convert::{Conversion, Convert};
use crate::emit::integer::{IntegerMap, Width};
use crate::graph::{Graph, Op, Rearrange, ValueId};
use crate::program::Program;

/// What a value is but for its shape.
fn unshaped(graph: &Graph, mut value: ValueId) -> ValueId {
    while let Some(node) = graph.nodes.iter().find(|node| node.output == value)
        && let (Op::Rearrange(Rearrange::Reshape), Some(source)) = (&node.op, node.inputs.first())
    {
        value = *source;
    }
    value
}

pub(super) fn separate(graph: &mut Graph, _: &mut Fuel) -> Result<u32, Exhausted> {
    let computes = |op: &Op| !matches!(op, Op::Rearrange(_));
    let made: HashSet<_> =
        graph.nodes.iter().filter(|node| computes(&node.op)).map(|node| node.output).collect();
    let mut taken = HashSet::new();
    let mut copied = 0;
    for index in 0..graph.outputs.len() {
        // Another shape is no other order, and only the card tells of it.
        let source = unshaped(graph, graph.outputs[index].value);
        if made.contains(&source) && !taken.contains(&source) {
            graph.outputs[index].value = source;
        }
        let output = &graph.outputs[index];
        let (value, shape, name) = (output.value, output.shape.clone(), output.name.clone());
        let dtype = graph.value(value).dtype;
        if dtype != DType::Bool && made.contains(&value) && taken.insert(value) {
            continue;
        }
        let len = u32::try_from(shape.elements()).unwrap_or(u32::MAX);
        let op = match dtype {
            DType::Bool => Op::Kernel(Rc::new(Convert { conversion: Conversion::ToHost, len })),
            dtype => match Width::of(dtype) {
                Some(width) => Op::Kernel(Rc::new(IntegerMap {
                    program: Program::identity(),
                    width,
                    operands: vec![dtype],
                    result: dtype,
                })),
                None => Op::Pointwise(Program::identity()),
            },
        };
        graph.outputs[index].value = graph.add_node(&name, dtype, op, vec![value], shape);
        copied += 1;
    }
    Ok(copied)
}
