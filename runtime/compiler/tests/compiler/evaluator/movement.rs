//! Numbers that move and do not change.

use super::array::{Array, broadcast};
use super::attribute::Node;

pub fn apply(node: &Node<'_>) -> Option<Vec<Array>> {
    let result = match node.op() {
        "Transpose" => {
            let x = node.x(0);
            let perm = node.ints("perm").unwrap_or_else(|| (0..x.rank() as i64).rev().collect());
            let shape: Vec<usize> = perm.iter().map(|axis| x.shape[*axis as usize]).collect();
            Array::of(x.kind, &shape, |c| {
                let mut from = vec![0; c.len()];
                perm.iter().zip(c).for_each(|(axis, i)| from[*axis as usize] = *i);
                x.at(&from)
            })
        }
        "Concat" => concat(&node.all(), node.int("axis", 0)),
        "Split" => return Some(split(node)),
        "Slice" => slice(node),
        "Gather" => {
            let (x, indices) = (node.x(0), node.x(1));
            let axis = x.axis(node.int("axis", 0));
            let shape = [&x.shape[..axis], &indices.shape, &x.shape[axis + 1..]].concat();
            Array::of(x.kind, &shape, |c| {
                let (front, rest) = c.split_at(axis);
                let (place, back) = rest.split_at(indices.rank());
                let index = indices.at(place) as i64;
                let index = if index < 0 { index + x.shape[axis] as i64 } else { index };
                x.at(&[front, &[index as usize], back].concat())
            })
        }
        "Expand" => {
            let x = node.x(0);
            let extents: Vec<usize> = node.x(1).ints().iter().map(|e| *e as usize).collect();
            let target = Array::of(x.kind, &extents, |_| 0.0);
            Array::of(x.kind, &broadcast(&[x, &target]), |c| x.at(c))
        }
        "Tile" => {
            let x = node.x(0);
            let repeats = node.x(1).ints();
            let shape: Vec<usize> = x.shape.iter().zip(repeats).map(|(e, n)| e * n as usize).collect();
            Array::of(x.kind, &shape, |c| {
                x.at(&c.iter().zip(&x.shape).map(|(i, extent)| i % extent).collect::<Vec<usize>>())
            })
        }
        "DepthToSpace" => depth_to_space(node),
        "SpaceToDepth" => {
            let x = node.x(0);
            let b = node.int("blocksize", 1) as usize;
            let [n, channels, h, w] = x.shape[..] else { panic!("four axes") };
            Array::of(x.kind, &[n, channels * b * b, h / b, w / b], |c| {
                let (block, channel) = (c[1] / channels, c[1] % channels);
                x.at(&[c[0], channel, c[2] * b + block / b, c[3] * b + block % b])
            })
        }
        _ => return None,
    };
    Some(vec![result])
}

fn concat(operands: &[&Array], axis: i64) -> Array {
    let axis = operands[0].axis(axis);
    let mut shape = operands[0].shape.clone();
    shape[axis] = operands.iter().map(|x| x.shape[axis]).sum();
    Array::of(operands[0].kind, &shape, |c| {
        let mut from = c.to_vec();
        for x in operands {
            if from[axis] < x.shape[axis] {
                return x.at(&from);
            }
            from[axis] -= x.shape[axis];
        }
        unreachable!("a place behind the last operand")
    })
}

/// Sizes from the attribute, the operand, or equal parts of which the last may be smaller.
fn split(node: &Node<'_>) -> Vec<Array> {
    let x = node.x(0);
    let axis = x.axis(node.int("axis", 0));
    let sizes = node.ints_or_operand("split", 1).unwrap_or_else(|| {
        let (extent, parts) = (x.shape[axis] as i64, node.proto.output.len() as i64);
        let part = (extent + parts - 1) / parts;
        (0..parts).map(|i| part.min(extent - i * part)).collect()
    });
    let mut start = 0;
    let mut results = vec![];
    for size in sizes {
        let mut shape = x.shape.clone();
        shape[axis] = size as usize;
        results.push(Array::of(x.kind, &shape, |c| {
            let mut from = c.to_vec();
            from[axis] += start;
            x.at(&from)
        }));
        start += size as usize;
    }
    results
}

fn slice(node: &Node<'_>) -> Array {
    let x = node.x(0);
    let starts = node.ints_or_operand("starts", 1).unwrap();
    let ends = node.ints_or_operand("ends", 2).unwrap();
    let axes = node.ints_or_operand("axes", 3).unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = node.optional(4).map_or(vec![1; starts.len()], Array::ints);
    let mut shape = x.shape.clone();
    let mut first_and_step: Vec<(i64, i64)> = vec![(0, 1); x.rank()];
    for (index, axis) in axes.iter().enumerate() {
        let axis = x.axis(*axis);
        let (extent, step) = (x.shape[axis] as i64, steps[index]);
        let from_front = |value: i64| if value < 0 { value.saturating_add(extent) } else { value };
        let (start, end) = (from_front(starts[index]), from_front(ends[index]));
        let (start, end) = if step > 0 {
            (start.clamp(0, extent), end.clamp(0, extent))
        } else {
            (start.clamp(0, extent - 1), end.clamp(-1, extent - 1))
        };
        let distance = if step > 0 { end - start } else { start - end };
        shape[axis] = distance.max(0).div_euclid(step.abs()) as usize
            + usize::from(distance > 0 && distance % step.abs() != 0);
        first_and_step[axis] = (start, step);
    }
    Array::of(x.kind, &shape, |c| {
        let places =
            c.iter().zip(&first_and_step).map(|(i, (first, step))| (first + *i as i64 * step) as usize);
        x.at(&places.collect::<Vec<usize>>())
    })
}

/// DCR takes the block from the front of the channel, CRD from its back.
fn depth_to_space(node: &Node<'_>) -> Array {
    let x = node.x(0);
    let b = node.int("blocksize", 1) as usize;
    let [n, c_in, h, w] = x.shape[..] else { panic!("four axes") };
    let channels = c_in / (b * b);
    let crd = node.string("mode", "DCR") == "CRD";
    Array::of(x.kind, &[n, channels, h * b, w * b], |c| {
        let block = c[2] % b * b + c[3] % b;
        let channel = if crd { c[1] * b * b + block } else { block * channels + c[1] };
        x.at(&[c[0], channel, c[2] / b, c[3] / b])
    })
}
