//! Comparisons, logic, and the choice by a condition.

use super::array::{Array, Kind, broadcast};
use super::attribute::Node;

pub fn apply(node: &Node<'_>) -> Option<Vec<Array>> {
    let result = match node.op() {
        "Equal" => pairs(node, |a, b| a == b),
        "Less" => pairs(node, |a, b| a < b),
        "LessOrEqual" => pairs(node, |a, b| a <= b),
        "Greater" => pairs(node, |a, b| a > b),
        "GreaterOrEqual" => pairs(node, |a, b| a >= b),
        "And" => pairs(node, |a, b| a != 0.0 && b != 0.0),
        "Or" => pairs(node, |a, b| a != 0.0 || b != 0.0),
        "Xor" => pairs(node, |a, b| (a != 0.0) != (b != 0.0)),
        "Not" => truths(node.x(0), |v| v == 0.0),
        "IsNaN" => truths(node.x(0), f64::is_nan),
        "IsInf" => {
            let negative = node.int("detect_negative", 1) == 1;
            let positive = node.int("detect_positive", 1) == 1;
            truths(node.x(0), |v| v.is_infinite() && if v < 0.0 { negative } else { positive })
        }
        "Where" => {
            let (condition, x, y) = (node.x(0), node.x(1), node.x(2));
            let shape = broadcast(&[condition, x, y]);
            Array::of(x.kind, &shape, |c| if condition.at(c) != 0.0 { x.at(c) } else { y.at(c) })
        }
        _ => return None,
    };
    Some(vec![result])
}

fn pairs(node: &Node<'_>, f: fn(f64, f64) -> bool) -> Array {
    let (a, b) = (node.x(0), node.x(1));
    Array::of(Kind::Bool, &broadcast(&[a, b]), |c| f64::from(f(a.at(c), b.at(c))))
}

fn truths(x: &Array, f: impl Fn(f64) -> bool) -> Array {
    Array { kind: Kind::Bool, ..x.map(|v| f64::from(f(v))) }
}
