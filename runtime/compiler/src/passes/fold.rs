//! Computes with constants while the model is compiled.
//!
//! Straight from the formulas, with `libm` instead of the host's functions, so that the same model
//! gives the same bytes everywhere. What would cost too much stays a node of the model.

use crate::constant::{Constant, ConstantData};
use crate::graph::{Binary, Dense, Op, Shape, Unary, ZipAxis};

/// A folded result has at most this many elements.
pub(crate) const MAX_FOLDED_ELEMENTS: usize = 1 << 24;
/// All folded products of a model together take at most this many multiplications.
pub(crate) const MAX_FOLDED_MACS: u64 = 1 << 30;

/// The function of one number.
fn unary(function: Unary, x: f32) -> f32 {
    match function {
        Unary::Identity => x,
        // `max` would turn a NaN into 0.
        Unary::Relu if x < 0.0 => 0.0,
        Unary::Relu => x,
        Unary::Sigmoid => {
            let exp = libm::expf(-x.abs());
            if x < 0.0 { exp / (1.0 + exp) } else { 1.0 / (1.0 + exp) }
        }
        Unary::Tanh => libm::tanhf(x),
    }
}

/// The function of two numbers.
fn binary(function: Binary, a: f32, b: f32) -> f32 {
    match function {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
    }
}

/// For each element of the result, in order, the places of the two operands' elements.
pub(crate) fn places(axes: &[ZipAxis]) -> impl ExactSizeIterator<Item = (usize, usize)> + use<> {
    // (extent, step of the left operand, step of the right operand), innermost first.
    let mut steps = Vec::with_capacity(axes.len());
    let (mut left, mut right) = (1usize, 1usize);
    for axis in axes.iter().rev() {
        let len = axis.len as usize;
        steps.push((len, if axis.left { left } else { 0 }, if axis.right { right } else { 0 }));
        left = left.saturating_mul(if axis.left { len } else { 1 });
        right = right.saturating_mul(if axis.right { len } else { 1 });
    }
    let total = axes.iter().fold(1usize, |total, axis| total.saturating_mul(axis.len as usize));
    (0..total).map(move |index| {
        steps
            .iter()
            .fold((index, (0, 0)), |(rest, (a, b)), (len, left, right)| {
                let i = rest % len;
                (rest / len, (a + i * left, b + i * right))
            })
            .1
    })
}

/// The result of a node whose operands are all known; `None` if it must be computed on the device.
pub(crate) fn evaluate(op: &Op, inputs: &[&Constant], shape: &Shape) -> Option<Constant> {
    let elements = usize::try_from(shape.elements()).ok().filter(|count| *count <= MAX_FOLDED_ELEMENTS)?;
    if shape.batched {
        return None;
    }
    let data = match (op, inputs) {
        (Op::Alias, [x]) => x.data.clone(),
        (Op::Map { function, .. }, [x]) => f32s(x.f32s()?.iter().map(|x| unary(*function, *x))),
        // An extent of 0 would leave nothing to count.
        (Op::Zip { axes, .. }, [_, _]) if elements == 0 || axes.is_empty() => f32s(std::iter::empty()),
        (Op::Zip { function, axes }, [a, b]) => {
            let (a, b) = (a.f32s()?, b.f32s()?);
            f32s(places(axes).map(|(left, right)| binary(*function, a[left], b[right])))
        }
        (Op::Softmax { outer, len, inner }, [x]) => softmax(x.f32s()?, *outer, *len, *inner),
        (Op::Dense(geometry), [x, w, bias @ ..]) => {
            let bias = match bias {
                [] => None,
                [bias, ..] => Some(bias.f32s()?),
            };
            dense(geometry, x.f32s()?, w.f32s()?, bias)
        }
        (Op::Alias | Op::Map { .. } | Op::Zip { .. } | Op::Softmax { .. } | Op::Dense(_), _) => return None,
    };
    Constant::new(shape.sample.clone(), data)
}

fn f32s(values: impl Iterator<Item = f32>) -> ConstantData {
    ConstantData::F32(values.collect())
}

fn softmax(x: &[f32], outer: u32, len: u32, inner: u32) -> ConstantData {
    let (outer, len, inner) = (outer as usize, len as usize, inner as usize);
    let mut y = x.to_vec();
    for o in 0..outer {
        for j in 0..inner {
            let place = |i: usize| (o * len + i) * inner + j;
            let max = (0..len).map(|i| x[place(i)]).fold(f32::NEG_INFINITY, f32::max);
            let exp = |i: usize| libm::expf(x[place(i)] - max);
            let sum: f32 = (0..len).map(exp).sum();
            for i in 0..len {
                y[place(i)] = exp(i) / sum;
            }
        }
    }
    ConstantData::F32(y)
}

fn dense(dense: &Dense, x: &[f32], w: &[f32], bias: Option<&[f32]>) -> ConstantData {
    let (rows, k, n) = (dense.rows as usize, dense.k as usize, dense.n as usize);
    let mut y = Vec::with_capacity(rows * n);
    for r in 0..rows {
        for j in 0..n {
            let start = bias.map_or(0.0, |bias| bias[j]);
            let terms =
                (0..k).map(|i| x[r * dense.x_row as usize + i * dense.x_step as usize] * w[i * n + j]);
            y.push(unary(dense.activation, terms.fold(start, |sum, term| sum + term)));
        }
    }
    ConstantData::F32(y)
}
