//! Shapes that are given only to be taken back: a shape of a shape is one shape, and a reduction or
//! normalisation over joined axes is one over the axes themselves.
//!
//! PyTorch writes a group normalisation as `[C, H, W]` reshaped to `[groups, C / groups * H * W]`, and
//! back. Over `[groups, C / groups, H, W]` it needs no order of elements, and what stands behind it is
//! found.

use std::rc::Rc;

use super::views::Back;
use super::{Exhausted, Fuel, rewrite};
use crate::emit::sweep::Sweep;
use crate::graph::{Graph, Node, Op, Rearrange, Value, ValueId};

/// Reshapes read what other reshapes do.
pub(super) fn merge(graph: &mut Graph, _: &mut Fuel) -> Result<u32, Exhausted> {
    let mut merged = 0;
    for index in 0..graph.nodes.len() {
        let Some(source) = reshaped(graph, index) else { continue };
        let inner = graph.nodes[..index].iter().position(|node| node.output == source);
        if let Some(origin) = inner.and_then(|inner| reshaped(graph, inner)) {
            graph.nodes[index].inputs = vec![origin];
            merged += 1;
        }
    }
    Ok(merged)
}

fn reshaped(graph: &Graph, index: usize) -> Option<ValueId> {
    let node = &graph.nodes[index];
    matches!(node.op, Op::Rearrange(Rearrange::Reshape)).then(|| node.inputs.first().copied())?
}

/// Sweeps over joined axes become sweeps over those axes. The walk goes on behind the three nodes that one
/// becomes.
pub(super) fn take_apart(graph: &mut Graph, fuel: &mut Fuel) -> Result<u32, Exhausted> {
    rewrite(graph, fuel, |graph, index| {
        apart(graph, index)?;
        Some(index + 3)
    })
}

fn apart(graph: &mut Graph, index: usize) -> Option<()> {
    let node = graph.nodes[index].clone();
    let Op::Kernel(kernel) = &node.op else { return None };
    let sweep = kernel.as_sweep()?;
    let (x, extras) = node.inputs.split_first()?;
    let maker = graph.nodes[..index].iter().position(|other| other.output == *x)?;
    let source = reshaped(graph, maker)?;
    let (old, new) = (graph.extents(source).to_vec(), sweep.extents.clone());
    let (fine, part_of) = refined(&old, &new)?;
    let swept: Vec<bool> = part_of.iter().map(|axis| sweep.swept[*axis]).collect();
    let back = Back { old: fine.clone(), new, rearrange: Rearrange::Reshape };
    let mut constants = Vec::with_capacity(extras.len());
    for extra in extras {
        constants.push((graph.value(*extra).name.clone(), back.constant(graph.constant(*extra)?)?));
    }
    let result: Vec<u32> = match sweep.map {
        Some(_) => fine.clone(),
        None => fine.iter().zip(&swept).map(|(extent, swept)| if *swept { 1 } else { *extent }).collect(),
    };
    let moved = Sweep { extents: fine.clone(), swept, ..sweep.clone() };
    let add = |graph: &mut Graph, like: ValueId, sample: Vec<u32>| {
        let value = graph.value(like);
        let shape = value.shape.with_sample(sample);
        let value = Value { shape, constant: None, ..value.clone() };
        graph.add_value(value)
    };
    let (taken, made) = (add(graph, source, fine), add(graph, node.output, result));
    let extras = constants.into_iter().map(|(name, constant)| graph.add_constant(&name, constant));
    let inputs: Vec<ValueId> = std::iter::once(taken).chain(extras).collect();
    let view = |input: ValueId, output: ValueId| Node {
        op: Op::Rearrange(Rearrange::Reshape),
        inputs: vec![input],
        output,
        origins: node.origins.clone(),
    };
    let kernel = Node { op: Op::Kernel(Rc::new(moved)), inputs, output: made, origins: node.origins.clone() };
    graph.nodes.splice(index..=index, [view(source, taken), kernel, view(made, node.output)]);
    Some(())
}

/// The axes that both shapes can be joined from, if they are more than the new ones have, and for each the
/// new axis that it is a part of.
fn refined(old: &[u32], new: &[u32]) -> Option<(Vec<u32>, Vec<usize>)> {
    let (mut fine, mut part_of) = (Vec::new(), Vec::new());
    let mut olds = old.iter().rev().copied().filter(|extent| *extent != 1);
    let mut left = 1;
    for (axis, extent) in new.iter().enumerate().rev() {
        let mut wanted = *extent;
        if wanted == 1 {
            fine.push(1);
            part_of.push(axis);
        }
        while wanted != 1 {
            if left == 1 {
                left = olds.next()?;
            }
            let step = if wanted.is_multiple_of(left) {
                left
            } else if left.is_multiple_of(wanted) {
                wanted
            } else {
                return None;
            };
            fine.push(step);
            part_of.push(axis);
            wanted /= step;
            left /= step;
        }
    }
    fine.reverse();
    part_of.reverse();
    (fine.len() > new.len()).then_some((fine, part_of))
}

#[cfg(test)]
mod tests {
    use super::refined;

    #[test]
    fn axes_are_cut_where_either_shape_has_an_edge() {
        assert_eq!(refined(&[8, 6, 6], &[4, 72]), Some((vec![4, 2, 6, 6], vec![0, 1, 1, 1])));
        assert_eq!(refined(&[2, 3, 4], &[1, 2, 12]), Some((vec![1, 2, 3, 4], vec![0, 1, 2, 2])));
        assert_eq!(refined(&[6, 4], &[6, 4]), None);
        assert_eq!(refined(&[6, 4], &[8, 3]), None);
    }
}
