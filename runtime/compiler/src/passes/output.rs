//! Gives every output a node of its own that writes it: outputs that are inputs, constants or another
//! output under another name are copied.

use std::collections::HashSet;

use crate::graph::{Graph, Op, Unary};

pub(super) fn separate(graph: &mut Graph) {
    let made: HashSet<_> = graph.nodes.iter().map(|node| node.output).collect();
    let mut taken = HashSet::new();
    for index in 0..graph.outputs.len() {
        let output = &graph.outputs[index];
        let (value, shape, name) = (output.value, output.shape.clone(), output.name.clone());
        if made.contains(&value) && taken.insert(value) {
            continue;
        }
        // Outputs are checked to fit a 32-bit memory before they get here; a copy of nothing is none.
        let len = u32::try_from(shape.elements()).unwrap_or(u32::MAX);
        let copy = Op::Map { function: Unary::Identity, len };
        graph.outputs[index].value = graph.add_node(&name, copy, vec![value], shape);
    }
}
