//! What is known of a graph before its first node is planned.

use std::collections::HashMap;

use super::convolution::halo;
use crate::graph::{Graph, Op, Rearrange, ValueId};
use crate::kernel::Halo;

/// The place of a part in a concatenation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// The concatenation.
    pub(super) whole: ValueId,
    /// Its axis.
    pub(super) axis: usize,
    /// Where the part starts.
    pub(super) start: u32,
}

/// Last uses, wished borders, parts of concatenations.
pub(super) struct Foresight {
    /// For each value the last node that reads it, or a view of it.
    pub(super) last: Vec<usize>,
    /// The order of axes in which a reader of a value can use it as it is.
    pub(super) orders: Vec<Option<Vec<usize>>>,
    /// The border that readers of a value wish for.
    pub(super) wishes: Vec<Option<Halo>>,
    /// Values that can be written into a concatenation at once.
    pub(super) parts: HashMap<ValueId, Part>,
}

impl Foresight {
    pub(super) fn of(graph: &Graph) -> Foresight {
        let parts = parts(graph);
        let mut wishes = wishes(graph);
        // A part's border is that of the whole, except along the axis that is cut.
        for (value, part) in &parts {
            if let Some(mut wish) = wishes[value.0].clone() {
                wish.sides[part.axis] = (0, 0);
                merge(&mut wishes[part.whole.0], wish);
            }
        }
        Foresight { last: last_uses(graph), orders: orders(graph), wishes, parts }
    }
}

fn last_uses(graph: &Graph) -> Vec<usize> {
    let mut last = vec![0; graph.values.len()];
    for output in &graph.outputs {
        last[output.value.0] = graph.nodes.len();
    }
    for (index, node) in graph.nodes.iter().enumerate().rev() {
        let until = match &node.op {
            // Whoever reads a view reads what it is a view of.
            Op::Rearrange(_) => last[node.output.0].max(index),
            Op::Pointwise(_) | Op::MatMul(_) | Op::Conv(_) => index,
            Op::Concat { .. } | Op::Pad { .. } | Op::Kernel(_) => index,
        };
        for input in &node.inputs {
            last[input.0] = last[input.0].max(until);
        }
    }
    last
}

/// Where axes are joined, those must lie one inside the other: the heads of attention, say, which are
/// computed one by one and then joined, are best written side by side.
fn orders(graph: &Graph) -> Vec<Option<Vec<usize>>> {
    let mut orders: Vec<Option<Vec<usize>>> = vec![None; graph.values.len()];
    for node in graph.nodes.iter().rev() {
        let Some(x) = node.inputs.first() else { continue };
        let wish = match (&node.op, &orders[node.output.0]) {
            (Op::Rearrange(Rearrange::Reshape), order) => {
                let (old, new) = (graph.extents(*x), graph.extents(node.output));
                let long = |extents: &[u32]| -> Vec<usize> {
                    (0..extents.len()).filter(|axis| extents[*axis] != 1).collect()
                };
                let (from, to) = (long(old), long(new));
                let same = from.iter().map(|axis| old[*axis]).eq(to.iter().map(|axis| new[*axis]));
                match order {
                    Some(order) if same => {
                        let moved = order.iter().filter_map(|axis| to.iter().position(|other| other == axis));
                        let ones = (0..old.len()).filter(|axis| old[*axis] == 1);
                        Some(ones.chain(moved.map(|place| from[place])).collect())
                    }
                    _ => (from.len() > to.len()).then(|| (0..old.len()).collect()),
                }
            }
            (Op::Rearrange(Rearrange::Transpose(axes)), Some(order)) => {
                Some(order.iter().map(|axis| axes[*axis]).collect())
            }
            (Op::Pointwise(_), Some(order)) => {
                let alike = graph.extents(*x) == graph.extents(node.output);
                alike.then(|| order.clone())
            }
            _ => None,
        };
        if wish.is_some() {
            orders[x.0] = wish;
        }
    }
    orders
}

fn wishes(graph: &Graph) -> Vec<Option<Halo>> {
    let mut wishes: Vec<Option<Halo>> = vec![None; graph.values.len()];
    for node in graph.nodes.iter().rev() {
        match &node.op {
            Op::Conv(conv) => {
                if let (Some(x), Some(halo)) = (node.inputs.first(), halo(graph, node, conv)) {
                    merge(&mut wishes[x.0], halo);
                }
            }
            Op::Kernel(kernel) => {
                for (index, input) in node.inputs.iter().enumerate() {
                    if let Some(halo) = kernel.halo(index) {
                        merge(&mut wishes[input.0], halo);
                    }
                }
            }
            Op::Rearrange(rearrange) => {
                let (Some(wish), Some(x)) = (wishes[node.output.0].clone(), node.inputs.first()) else {
                    continue;
                };
                let (old, new) = (graph.extents(*x), graph.extents(node.output));
                if let Some(before) = wish.before(rearrange, old, new) {
                    merge(&mut wishes[x.0], before);
                }
            }
            Op::Pointwise(_) | Op::MatMul(_) | Op::Concat { .. } | Op::Pad { .. } => {}
        }
    }
    wishes
}

/// The larger of both borders; of two with different values, the one that was there first.
fn merge(wish: &mut Option<Halo>, other: Halo) {
    if other.sides.iter().all(|side| *side == (0, 0)) {
        return;
    }
    match wish {
        None => *wish = Some(other),
        Some(wish) if wish.value == other.value => {
            for (side, other) in wish.sides.iter_mut().zip(&other.sides) {
                *side = (side.0.max(other.0), side.1.max(other.1));
            }
        }
        Some(_) => {}
    }
}

/// Every value that a node computes and one concatenation reads, once.
fn parts(graph: &Graph) -> HashMap<ValueId, Part> {
    let mut parts = HashMap::new();
    let computed: HashMap<ValueId, bool> = graph
        .nodes
        .iter()
        .map(|node| (node.output, !matches!(node.op, Op::Rearrange(_) | Op::Concat { .. } | Op::Pad { .. })))
        .collect();
    let read: Vec<ValueId> = graph.outputs.iter().map(|output| output.value).collect();
    for node in &graph.nodes {
        let Op::Concat { axis } = node.op else { continue };
        let mut start = 0;
        for input in &node.inputs {
            let fits = computed.get(input) == Some(&true) && !read.contains(input);
            if fits && !parts.contains_key(input) {
                parts.insert(*input, Part { whole: node.output, axis, start });
            }
            start += graph.extents(*input)[axis];
        }
    }
    parts
}
