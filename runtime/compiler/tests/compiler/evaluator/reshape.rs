//! New shapes for the same numbers, and shapes as numbers.

use super::array::{Array, Kind, axis_of};
use super::attribute::Node;

pub fn apply(node: &Node<'_>) -> Option<Vec<Array>> {
    let result = match node.op() {
        "Reshape" => reshape(node),
        "Flatten" => {
            let x = node.x(0);
            let axis = x.axis(node.int("axis", 1));
            let front: usize = x.shape[..axis].iter().product();
            x.reshaped(&[front, x.shape[axis..].iter().product()])
        }
        "Squeeze" => {
            let x = node.x(0);
            let named = node.ints_or_operand("axes", 1);
            let dropped = |axis: usize| match &named {
                Some(named) => named.iter().any(|a| x.axis(*a) == axis),
                None => x.shape[axis] == 1,
            };
            let kept = (0..x.rank()).filter(|axis| !dropped(*axis)).map(|axis| x.shape[axis]);
            x.reshaped(&kept.collect::<Vec<usize>>())
        }
        "Unsqueeze" => {
            let x = node.x(0);
            let axes = node.ints_or_operand("axes", 1).unwrap();
            let rank = x.rank() + axes.len();
            let axes: Vec<usize> = axes.iter().map(|axis| axis_of(*axis, rank)).collect();
            let mut extents = x.shape.iter();
            let extent = |axis: usize| if axes.contains(&axis) { 1 } else { *extents.next().unwrap() };
            x.reshaped(&(0..rank).map(extent).collect::<Vec<usize>>())
        }
        "Shape" => {
            let x = node.x(0);
            let rank = x.rank() as i64;
            let place = |value: i64| (if value < 0 { value + rank } else { value }).clamp(0, rank) as usize;
            let (start, end) = (place(node.int("start", 0)), place(node.int("end", i64::MAX)));
            let extents = x.shape.iter().map(|extent| *extent as i64).collect::<Vec<i64>>();
            Array::integers(extents.get(start..end).unwrap_or_default())
        }
        "Size" => Array { kind: Kind::Int, ..Array::new(&[], vec![node.x(0).data.len() as f64]) },
        _ => return None,
    };
    Some(vec![result])
}

/// 0 keeps an extent unless `allowzero`, -1 takes what is left.
fn reshape(node: &Node<'_>) -> Array {
    let x = node.x(0);
    let mut shape: Vec<usize> = vec![];
    let mut free = None;
    for (index, extent) in node.x(1).ints().into_iter().enumerate() {
        shape.push(match extent {
            0 if node.int("allowzero", 0) == 0 => x.shape[index],
            -1 => {
                free = Some(index);
                1
            }
            extent => extent as usize,
        });
    }
    if let Some(free) = free {
        shape[free] = x.data.len() / shape.iter().product::<usize>();
    }
    x.reshaped(&shape)
}
