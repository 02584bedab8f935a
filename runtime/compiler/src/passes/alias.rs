//! Removes values that hold the same elements as another: Reshape, Flatten, Identity and their like.

use crate::graph::{Graph, Op};

/// Lets readers of an alias read what it stands for.
pub(super) fn remove(graph: &mut Graph) {
    let mut stands_for: Vec<_> = (0..graph.values.len()).map(crate::graph::ValueId).collect();
    for node in &mut graph.nodes {
        for input in &mut node.inputs {
            *input = stands_for[input.0];
        }
        if let (Op::Alias, [source]) = (&node.op, node.inputs.as_slice()) {
            stands_for[node.output.0] = *source;
        }
    }
    for output in &mut graph.outputs {
        output.value = stands_for[output.value.0];
    }
    graph.nodes.retain(|node| node.op != Op::Alias);
}
