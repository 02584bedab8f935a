//! `Map(Dense(x))` becomes `Dense(x)` with an activation, where nothing else reads the product.

use crate::graph::{Graph, Node, Op, Unary};

pub(super) fn fuse(graph: &mut Graph) {
    let uses = graph.uses();
    let mut fused: Vec<Node> = Vec::with_capacity(graph.nodes.len());
    // The place in `fused` of the node that makes each value.
    let mut maker = vec![None; graph.values.len()];
    for node in graph.nodes.drain(..) {
        if let (Op::Map { function, .. }, [input]) = (&node.op, node.inputs.as_slice())
            && uses[input.0] == 1
            && let Some(place) = maker[input.0]
            && let Some(Node { op: Op::Dense(dense), output, .. }) = fused.get_mut::<usize>(place)
            && dense.activation == Unary::Identity
        {
            dense.activation = *function;
            *output = node.output;
            maker[node.output.0] = Some(place);
        } else {
            maker[node.output.0] = Some(fused.len());
            fused.push(node);
        }
    }
    graph.nodes = fused;
}
