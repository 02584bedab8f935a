//! Arithmetic on single numbers, with NumPy's broadcasting.

use super::array::{Array, Kind, broadcast};
use super::attribute::Node;

pub fn apply(node: &Node<'_>) -> Option<Vec<Array>> {
    let ints = node.inputs.iter().flatten().all(|x| x.kind == Kind::Int);
    let result = match node.op() {
        "Add" => fold(node, |a, b| a + b),
        "Sub" => fold(node, |a, b| a - b),
        "Mul" => fold(node, |a, b| a * b),
        "Div" if ints => fold(node, |a, b| (a / b).trunc()),
        "Div" => fold(node, |a, b| a / b),
        "Pow" if ints => fold(node, |a, b| a.powf(b).trunc()),
        "Pow" => fold(node, f64::powf),
        "Mod" if node.int("fmod", 0) == 1 => fold(node, |a, b| a % b),
        "Mod" => fold(node, floor_mod),
        "Max" => fold(node, max),
        "Min" => fold(node, |a, b| -max(-a, -b)),
        "Sum" => fold(node, |a, b| a + b),
        "Mean" => {
            let count = node.inputs.len() as f64;
            fold(node, |a, b| a + b).map(|sum| sum / count)
        }
        "Neg" => node.x(0).map(|v| -v),
        "Abs" => node.x(0).map(f64::abs),
        "Sign" => node.x(0).map(|v| if v == 0.0 || v.is_nan() { v } else { v.signum() }),
        "Sqrt" => node.x(0).map(f64::sqrt),
        "Reciprocal" => node.x(0).map(|v| 1.0 / v),
        "Exp" => node.x(0).map(f64::exp),
        "Log" => node.x(0).map(f64::ln),
        "Sin" => node.x(0).map(f64::sin),
        "Cos" => node.x(0).map(f64::cos),
        "Tan" => node.x(0).map(f64::tan),
        "Floor" => node.x(0).map(f64::floor),
        "Ceil" => node.x(0).map(f64::ceil),
        "Round" => node.x(0).map(f64::round_ties_even),
        "Erf" => node.x(0).map(erf),
        "Identity" | "Dropout" => node.x(0).clone(),
        "Clip" => clip(node),
        _ => return None,
    };
    Some(vec![result])
}

/// One operand after the other, each broadcast to the shape of all.
pub fn fold(node: &Node<'_>, f: fn(f64, f64) -> f64) -> Array {
    let operands = node.all();
    let shape = broadcast(&operands);
    Array::of(operands[0].kind, &shape, |c| operands.iter().map(|x| x.at(c)).reduce(f).unwrap())
}

/// The larger one, or NaN where either is.
pub fn max(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

/// The remainder that has the sign of the divisor.
fn floor_mod(a: f64, b: f64) -> f64 {
    let remainder = a % b;
    if remainder != 0.0 && (remainder < 0.0) != (b < 0.0) { remainder + b } else { remainder }
}

/// `Min(max, Max(input, min))`: bounds are attributes before opset 11, operands since.
fn clip(node: &Node<'_>) -> Array {
    let bound = |name: &str, index: usize| {
        let operand = node.optional(index).map(|x| x.data[0]);
        operand.or_else(|| node.attribute(name).map(|a| f64::from(a.f())))
    };
    let (low, high) = (bound("min", 1), bound("max", 2));
    node.x(0).map(|v| {
        let v = low.map_or(v, |low| max(v, low));
        high.map_or(v, |high| -max(-v, -high))
    })
}

/// The error function by its series of positive terms; beyond 6 it is 1 to the last bit of f64.
pub fn erf(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum, mut n) = (x, x, 1.0);
    while term.abs() > 1e-18 * sum.abs() {
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
        n += 1.0;
    }
    sum * 2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp()
}
