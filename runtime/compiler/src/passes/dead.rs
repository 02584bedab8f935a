//! Removes nodes whose results nothing reads.

use crate::graph::Graph;

/// Keeps what the outputs need, from the last node to the first.
pub(super) fn remove(graph: &mut Graph) -> u32 {
    let mut needed = vec![false; graph.values.len()];
    for output in &graph.outputs {
        needed[output.value.0] = true;
    }
    for node in graph.nodes.iter().rev() {
        if needed[node.output.0] {
            for input in &node.inputs {
                needed[input.0] = true;
            }
        }
    }
    let before = graph.nodes.len();
    graph.nodes.retain(|node| needed[node.output.0]);
    u32::try_from(before - graph.nodes.len()).unwrap_or(u32::MAX)
}
