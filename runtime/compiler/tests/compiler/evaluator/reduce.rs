//! Reductions along any axes.

use super::array::{Array, Kind, coordinates};
use super::attribute::Node;

pub fn apply(node: &Node<'_>) -> Option<Vec<Array>> {
    let sum = |v: &[f64]| v.iter().sum::<f64>();
    let rule: &dyn Fn(&[f64]) -> f64 = match node.op() {
        "ReduceSum" => &sum,
        "ReduceMean" => &|v| sum(v) / v.len() as f64,
        "ReduceMax" => &|v| v.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        "ReduceMin" => &|v| v.iter().copied().fold(f64::INFINITY, f64::min),
        "ReduceProd" => &|v| v.iter().product(),
        "ReduceL1" => &|v| v.iter().map(|v| v.abs()).sum(),
        "ReduceL2" => &|v| v.iter().map(|v| v * v).sum::<f64>().sqrt(),
        "ReduceSumSquare" => &|v| v.iter().map(|v| v * v).sum(),
        "ReduceLogSum" => &|v| sum(v).ln(),
        "ReduceLogSumExp" => &|v| {
            let largest = v.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let shift = if largest.is_finite() { largest } else { 0.0 };
            v.iter().map(|v| (v - shift).exp()).sum::<f64>().ln() + shift
        },
        _ => return None,
    };
    let x = node.x(0);
    let named = node.ints_or_operand("axes", 1).unwrap_or_default();
    let mut axes: Vec<usize> = named.iter().map(|axis| x.axis(*axis)).collect();
    if axes.is_empty() && node.int("noop_with_empty_axes", 0) == 0 {
        axes = (0..x.rank()).collect();
    }
    let reduced: Vec<usize> = axes.iter().map(|axis| x.shape[*axis]).collect();
    let kept = |axis: usize| !axes.contains(&axis);
    let wide: Vec<usize> = (0..x.rank()).map(|axis| if kept(axis) { x.shape[axis] } else { 1 }).collect();
    let result = Array::of(x.kind, &wide, |c| {
        let mut other = c.to_vec();
        let values: Vec<f64> = coordinates(&reduced)
            .iter()
            .map(|inner| {
                axes.iter().zip(inner).for_each(|(axis, i)| other[*axis] = *i);
                x.at(&other)
            })
            .collect();
        let result = rule(&values);
        if x.kind == Kind::Int { result.trunc() } else { result }
    });
    if node.int("keepdims", 1) == 1 {
        return Some(vec![result]);
    }
    let narrow: Vec<usize> = (0..x.rank()).filter(|axis| kept(*axis)).map(|axis| x.shape[axis]).collect();
    Some(vec![result.reshaped(&narrow)])
}
