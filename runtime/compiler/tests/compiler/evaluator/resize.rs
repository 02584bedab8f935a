//! Resize: nearest and linear, in every way to transform coordinates.

use super::array::{Array, coordinates};
use super::attribute::Node;

/// What one axis is resized by.
struct Axis {
    length: f64,
    resized: usize,
    /// What the file says, or the quotient of the lengths.
    scale: f64,
    roi: (f64, f64),
}

pub fn apply(node: &Node<'_>) -> Option<Vec<Array>> {
    if node.op() != "Resize" {
        return None;
    }
    let x = node.x(0);
    let axes = axes(node);
    let nearest = node.string("mode", "nearest") == "nearest";
    let extrapolation = node.float("extrapolation_value", 0.0);
    let crop = transformation(node) == "tf_crop_and_resize";
    let shape: Vec<usize> = axes.iter().map(|axis| axis.resized).collect();
    Some(vec![Array::of(x.kind, &shape, |c| {
        let originals: Vec<f64> =
            axes.iter().zip(c).map(|(axis, i)| original(node, axis, *i as f64)).collect();
        if crop && axes.iter().zip(&originals).any(|(axis, v)| *v < 0.0 || *v > axis.length - 1.0) {
            return extrapolation;
        }
        if nearest {
            let place =
                |(axis, v): (&Axis, &f64)| round(node, axis, *v).clamp(0.0, axis.length - 1.0) as usize;
            return x.at(&axes.iter().zip(&originals).map(place).collect::<Vec<usize>>());
        }
        // The corners around the place, each by how near it is.
        let mut sum = 0.0;
        for corner in coordinates(&vec![2; axes.len()]) {
            let mut weight = 1.0;
            let mut place = vec![];
            for ((axis, v), side) in axes.iter().zip(&originals).zip(corner) {
                let near = v - v.floor();
                weight *= if side == 1 { near } else { 1.0 - near };
                place.push((v.floor() + side as f64).clamp(0.0, axis.length - 1.0) as usize);
            }
            if weight != 0.0 {
                sum += weight * x.at(&place);
            }
        }
        sum
    })])
}

fn transformation(node: &Node<'_>) -> String {
    let default = if node.opset < 11 { "asymmetric" } else { "half_pixel" };
    node.string("coordinate_transformation_mode", default)
}

/// The axes with their scales, given for all axes or for the attribute's.
fn axes(node: &Node<'_>) -> Vec<Axis> {
    let x = node.x(0);
    let rank = x.rank();
    let named = node.ints("axes").unwrap_or_else(|| (0..rank as i64).collect());
    let (roi, scales, sizes) = if node.opset < 11 {
        (None, node.optional(1), None)
    } else {
        (node.optional(1), node.optional(2).filter(|x| !x.data.is_empty()), node.optional(3))
    };
    let mut axes: Vec<Axis> = x
        .shape
        .iter()
        .map(|e| Axis { length: *e as f64, resized: *e, scale: 1.0, roi: (0.0, 1.0) })
        .collect();
    let policy = node.string("keep_aspect_ratio_policy", "stretch");
    for (index, axis) in named.iter().enumerate() {
        let axis = &mut axes[x.axis(*axis)];
        if let Some(roi) = roi.filter(|roi| !roi.data.is_empty()) {
            axis.roi = (roi.data[index], roi.data[index + named.len()]);
        }
        match (scales, sizes) {
            (Some(scales), _) => {
                axis.scale = scales.data[index];
                let part =
                    if transformation(node) == "tf_crop_and_resize" { axis.roi.1 - axis.roi.0 } else { 1.0 };
                axis.resized = (axis.length * part * axis.scale).floor() as usize;
            }
            (None, Some(sizes)) => {
                let ratio = |i: usize| sizes.data[i] / x.shape[x.axis(named[i])] as f64;
                let ratios = (0..named.len()).map(ratio);
                let (size, scale) = match policy.as_str() {
                    "not_larger" => (None, ratios.fold(f64::INFINITY, f64::min)),
                    "not_smaller" => (None, ratios.fold(0.0, f64::max)),
                    _ => (Some(sizes.data[index]), ratio(index)),
                };
                axis.resized = size.unwrap_or_else(|| (scale * axis.length + 0.5).floor()) as usize;
                axis.scale = scale;
            }
            (None, None) => panic!("neither scales nor sizes"),
        }
    }
    axes
}

/// Where a coordinate of the result lies in the operand.
fn original(node: &Node<'_>, axis: &Axis, x: f64) -> f64 {
    let Axis { length, resized, scale, roi } = axis;
    if *scale == 1.0 && *resized as f64 == *length && *roi == (0.0, 1.0) {
        return x;
    }
    let last = (*resized as f64) - 1.0;
    match transformation(node).as_str() {
        "half_pixel" => (x + 0.5) / scale - 0.5,
        "half_pixel_symmetric" => {
            let adjustment = *resized as f64 / (scale * length);
            length / 2.0 * (1.0 - adjustment) + (x + 0.5) / scale - 0.5
        }
        "pytorch_half_pixel" if *resized > 1 => (x + 0.5) / scale - 0.5,
        "pytorch_half_pixel" => 0.0,
        "align_corners" if *resized > 1 => x * (length - 1.0) / last,
        "align_corners" => 0.0,
        "asymmetric" => x / scale,
        "tf_half_pixel_for_nn" => (x + 0.5) / scale,
        "tf_crop_and_resize" if *resized > 1 => {
            roi.0 * (length - 1.0) + x * (roi.1 - roi.0) * (length - 1.0) / last
        }
        "tf_crop_and_resize" => 0.5 * (roi.0 + roi.1) * (length - 1.0),
        other => panic!("the evaluator does not know the transformation {other}"),
    }
}

fn round(node: &Node<'_>, axis: &Axis, x: f64) -> f64 {
    // Before opset 11 there was one way, towards what is left out where the axis gets shorter.
    let default = match node.opset {
        ..11 if axis.scale < 1.0 => "ceil",
        ..11 => "floor",
        _ => "round_prefer_floor",
    };
    match node.string("nearest_mode", default).as_str() {
        "round_prefer_floor" => (x - 0.5).ceil(),
        "round_prefer_ceil" => (x + 0.5).floor(),
        "floor" => x.floor(),
        "ceil" => x.ceil(),
        other => panic!("the evaluator does not know the nearest mode {other}"),
    }
}
