//! Pad, in its four modes.

use super::array::Array;
use super::attribute::Node;

pub fn apply(node: &Node<'_>) -> Option<Vec<Array>> {
    if node.op() != "Pad" {
        return None;
    }
    let x = node.x(0);
    let pads = node.ints_or_operand("pads", 1).unwrap();
    let axes = node.optional(3).map_or_else(|| (0..x.rank() as i64).collect(), Array::ints);
    let value = node.optional(2).map_or_else(|| node.float("value", 0.0), |x| x.data[0]);
    let mut begins = vec![0i64; x.rank()];
    let mut shape = x.shape.clone();
    for (index, axis) in axes.iter().enumerate() {
        let axis = x.axis(*axis);
        begins[axis] = pads[index];
        shape[axis] = (shape[axis] as i64 + pads[index] + pads[index + axes.len()]) as usize;
    }
    let source: fn(i64, i64) -> Option<i64> = match node.string("mode", "constant").as_str() {
        "constant" => |place, extent| (0..extent).contains(&place).then_some(place),
        "edge" => |place, extent| Some(place.clamp(0, extent - 1)),
        "wrap" => |place, extent| Some(place.rem_euclid(extent)),
        "reflect" => |place, extent| {
            let period = (2 * (extent - 1)).max(1);
            let place = place.rem_euclid(period);
            Some(place.min(period - place))
        },
        other => panic!("the evaluator does not know the mode {other}"),
    };
    Some(vec![Array::of(x.kind, &shape, |c| {
        let place = |axis: usize| source(c[axis] as i64 - begins[axis], x.shape[axis] as i64);
        let places: Option<Vec<i64>> = (0..x.rank()).map(place).collect();
        places.map_or(value, |places| x.at(&places.iter().map(|p| *p as usize).collect::<Vec<usize>>()))
    })])
}
