//! Softmax, LogSoftmax and Hardmax: along one axis, and before opset 13 along all axes from `axis` on.

use super::array::Array;
use super::attribute::Node;

pub fn apply(node: &Node<'_>) -> Option<Vec<Array>> {
    let rule: fn(&[f64], usize) -> f64 = match node.op() {
        "Softmax" => |line, i| (line[i] - largest(line)).exp() / sum_of_exp(line),
        "LogSoftmax" => |line, i| line[i] - largest(line) - sum_of_exp(line).ln(),
        "Hardmax" => |line, i| f64::from(line.iter().position(|v| *v == largest(line)) == Some(i)),
        _ => return None,
    };
    let x = node.x(0);
    let old = node.opset < 13;
    let axis = x.axis(node.int("axis", if old { 1 } else { -1 }));
    if !old {
        return Some(vec![along(x, axis, rule)]);
    }
    let front: usize = x.shape[..axis].iter().product();
    let flat = x.reshaped(&[front, x.data.len() / front]);
    Some(vec![along(&flat, 1, rule).reshaped(&x.shape)])
}

fn along(x: &Array, axis: usize, rule: fn(&[f64], usize) -> f64) -> Array {
    Array::of(x.kind, &x.shape, |c| {
        let mut other = c.to_vec();
        let mut line = vec![];
        for i in 0..x.shape[axis] {
            other[axis] = i;
            line.push(x.at(&other));
        }
        rule(&line, c[axis])
    })
}

fn largest(line: &[f64]) -> f64 {
    line.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

fn sum_of_exp(line: &[f64]) -> f64 {
    line.iter().map(|v| (v - largest(line)).exp()).sum()
}
