//! Normalisations, in inference.

use super::array::{Array, coordinates};
use super::attribute::Node;

pub fn apply(node: &Node<'_>) -> Option<Vec<Array>> {
    let x = node.x(0);
    let epsilon = node.float("epsilon", 1e-5);
    let results = match node.op() {
        "BatchNormalization" => {
            let number = |index: usize, channel: usize| node.x(index).at(&[channel]);
            vec![Array::of(x.kind, &x.shape, |c| {
                let channel = c.get(1).copied().unwrap_or(0);
                (x.at(c) - number(3, channel)) / (number(4, channel) + epsilon).sqrt() * number(1, channel)
                    + number(2, channel)
            })]
        }
        "InstanceNormalization" => {
            vec![group(x, x.shape[1], epsilon, |c| (node.x(1).at(&[c]), node.x(2).at(&[c])))]
        }
        "GroupNormalization" => {
            let groups = node.int("num_groups", 1) as usize;
            let size = x.shape[1] / groups;
            // Scale and bias are one a group in opset 18, one a channel since opset 21.
            let index = |channel: usize| if node.opset >= 21 { channel } else { channel / size };
            vec![group(x, groups, epsilon, |c| (node.x(1).at(&[index(c)]), node.x(2).at(&[index(c)])))]
        }
        "LayerNormalization" => layer(node, x, epsilon),
        "RMSNormalization" => {
            let axis = x.axis(node.int("axis", -1));
            vec![Array::of(x.kind, &x.shape, |c| {
                let squares = inner(x, &c[..axis]).iter().map(|v| v * v).collect::<Vec<f64>>();
                x.at(c) / (mean(&squares) + epsilon).sqrt() * node.x(1).at(c)
            })]
        }
        _ => return None,
    };
    Some(results)
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn variance(values: &[f64]) -> f64 {
    let mean = mean(values);
    values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / values.len() as f64
}

/// All numbers behind the first coordinates.
fn inner(x: &Array, front: &[usize]) -> Vec<f64> {
    coordinates(&x.shape[front.len()..]).iter().map(|rest| x.at(&[front, rest.as_slice()].concat())).collect()
}

/// The channels of each group together, each channel with its scale and bias.
fn group(x: &Array, groups: usize, epsilon: f64, affine: impl Fn(usize) -> (f64, f64)) -> Array {
    let size = x.shape[1] / groups;
    Array::of(x.kind, &x.shape, |c| {
        let first = c[1] / size * size;
        let values: Vec<f64> = (first..first + size).flat_map(|channel| inner(x, &[c[0], channel])).collect();
        let (scale, bias) = affine(c[1]);
        scale * (x.at(c) - mean(&values)) / (variance(&values) + epsilon).sqrt() + bias
    })
}

/// The result, the means and the inverse deviations.
fn layer(node: &Node<'_>, x: &Array, epsilon: f64) -> Vec<Array> {
    let axis = x.axis(node.int("axis", -1));
    let deviation = |values: &[f64]| (variance(values) + epsilon).sqrt();
    let y = Array::of(x.kind, &x.shape, |c| {
        let values = inner(x, &c[..axis]);
        let bias = node.optional(2).map_or(0.0, |bias| bias.at(c));
        (x.at(c) - mean(&values)) / deviation(&values) * node.x(1).at(c) + bias
    });
    let extents = x.shape.iter().enumerate().map(|(i, extent)| if i < axis { *extent } else { 1 });
    let kept: Vec<usize> = extents.collect();
    let means = Array::of(x.kind, &kept, |c| mean(&inner(x, &c[..axis])));
    let inverse = Array::of(x.kind, &kept, |c| 1.0 / deviation(&inner(x, &c[..axis])));
    vec![y, means, inverse]
}
