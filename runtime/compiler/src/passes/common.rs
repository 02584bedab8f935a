//! Common subexpressions: of nodes that do the same with the same operands, the first one stays.

use std::collections::HashMap;

use super::{Exhausted, Fuel};
use crate::graph::{Graph, Shape, ValueId};

pub(super) fn merge(graph: &mut Graph, _: &mut Fuel) -> Result<u32, Exhausted> {
    let mut stands_for: Vec<ValueId> = (0..graph.values.len()).map(ValueId).collect();
    let mut known: HashMap<(String, Vec<ValueId>, Shape), ValueId> = HashMap::new();
    let mut merged = 0;
    for node in &mut graph.nodes {
        for input in &mut node.inputs {
            *input = stands_for[input.0];
        }
        // What a node does is all that its debug text says, and for a view also the shape that it gives.
        let shape = graph.values[node.output.0].shape.clone();
        let what = (format!("{:?}", node.op), node.inputs.clone(), shape);
        match known.get(&what) {
            Some(first) => {
                stands_for[node.output.0] = *first;
                merged += 1;
            }
            None => {
                known.insert(what, node.output);
            }
        }
    }
    for output in &mut graph.outputs {
        output.value = stands_for[output.value.0];
    }
    graph.nodes.retain(|node| stands_for[node.output.0] == node.output);
    Ok(merged)
}
