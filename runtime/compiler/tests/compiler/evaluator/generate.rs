//! Numbers from nothing, and numbers of another type.

use super::array::{Array, Kind};
use super::attribute::Node;

pub fn apply(node: &Node<'_>) -> Option<Vec<Array>> {
    let result = match node.op() {
        "Constant" => constant(node),
        "ConstantOfShape" => {
            let value = node.attribute("value").map(|a| Array::from_proto(a.t.as_ref().unwrap()));
            let value = value.unwrap_or_else(|| Array::new(&[1], vec![0.0]));
            let shape: Vec<usize> = node.x(0).ints().iter().map(|e| *e as usize).collect();
            Array::of(value.kind, &shape, |_| value.data[0])
        }
        "Range" => {
            let number = |index: usize| node.x(index).data[0];
            let (start, limit, delta) = (number(0), number(1), number(2));
            let count = ((limit - start) / delta).ceil().max(0.0) as usize;
            Array::of(node.x(0).kind, &[count], |c| start + c[0] as f64 * delta)
        }
        "Cast" => {
            let kind = Kind::of(node.int("to", 1) as i32);
            let number = |v: f64| match kind {
                Kind::Bool => f64::from(v != 0.0),
                Kind::Int => v.trunc(),
                Kind::Float | Kind::Double => v,
            };
            Array { kind, ..node.x(0).map(number) }
        }
        _ => return None,
    };
    Some(vec![result])
}

fn constant(node: &Node<'_>) -> Array {
    if let Some(tensor) = node.attribute("value") {
        return Array::from_proto(tensor.t.as_ref().unwrap());
    }
    if let Some(value) = node.attribute("value_float") {
        return Array::new(&[], vec![f64::from(value.f())]);
    }
    if let Some(value) = node.attribute("value_int") {
        return Array::integers(&[value.i()]).reshaped(&[]);
    }
    if let Some(values) = node.ints("value_ints") {
        return Array::integers(&values);
    }
    let values = node.floats("value_floats");
    Array::new(&[values.len()], values)
}
