//! Gemm: `y = alpha * A' * B' + beta * C`, where `'` may be a transposition.
//!
//! alpha and beta go into constant weights and biases when the model is compiled. A bias that is the
//! same for every row goes into the kernel; any other C is added behind it.

use super::{Call, Refusal, arithmetic};
use crate::constant::{Constant, ConstantData};
use crate::graph::{Binary, Dense, Op, Shape, Unary, ValueId, Weights};

pub(super) fn lower(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let (a, b) = (call.f32(0)?, call.f32(1)?);
    let (alpha, beta) = (call.float("alpha", 1.0)?, call.float("beta", 1.0)?);
    let (trans_a, trans_b) = (call.flag("transA")?, call.flag("transB")?);
    let left = left(&call.shape(a), trans_a)?;
    let (b_rows, b_columns) = matrix(&call.shape(b))?;
    let (k, n) = if trans_b { (b_columns, b_rows) } else { (b_rows, b_columns) };
    if left.k != k {
        let (a, b) = (call.shape(a), call.shape(b));
        return Err(Refusal::malformed(format!("A {a} and B {b} do not go together")));
    }
    let (weights, w, scale) = match call.graph.constant(b) {
        Some(constant) => {
            let packed = weights(constant, k, n, trans_b, alpha)?;
            (Weights::Packed, call.add_constant(packed)?, 1.0)
        }
        None if trans_b => {
            let reason = "B is computed by the model and transposed";
            return Err(Refusal::unsupported(reason, "make B a constant, or compute it untransposed"));
        }
        None => (Weights::Rows, b, alpha),
    };
    let mut inputs = vec![a, w];
    let c = if beta == 0.0 { None } else { call.optional(2) };
    let bias = c.and_then(|c| bias(call.graph.constant(c)?, n, beta)).filter(|_| scale == 1.0);
    let fused = bias.is_some();
    if let Some(bias) = bias {
        inputs.push(call.add_constant(bias)?);
    }
    let Left { batched, rows, k, x_row, x_step } = left;
    let dense = Dense { rows, k, n, x_row, x_step, weights, activation: Unary::Identity };
    let sample = if batched { vec![n] } else { vec![rows, n] };
    let shape = Shape { batched, sample };
    let product = call.add(Op::Dense(dense), inputs, shape.clone())?;
    let product = scaled(call, product, scale)?;
    let (Some(_), false) = (c, fused) else { return Ok(product) };
    let c = call.f32(2)?;
    let c = scaled(call, c, beta)?;
    let sum = arithmetic::zip(call, Binary::Add, product, c)?;
    if call.shape(sum) != shape {
        return Err(Refusal::malformed("C does not broadcast to the product's shape"));
    }
    Ok(sum)
}

/// How the kernel walks A.
struct Left {
    batched: bool,
    rows: u32,
    k: u32,
    x_row: u32,
    x_step: u32,
}

fn left(shape: &Shape, transposed: bool) -> Result<Left, Refusal> {
    match (shape.batched, shape.sample.as_slice()) {
        (true, _) if transposed => Err(Refusal::unsupported(
            "it sums over the batch, because A is transposed",
            "fix the batch: --input NAME=1,…",
        )),
        (true, [k]) => Ok(Left { batched: true, rows: 1, k: *k, x_row: *k, x_step: 1 }),
        (false, [k, rows]) if transposed => {
            Ok(Left { batched: false, rows: *rows, k: *k, x_row: 1, x_step: *rows })
        }
        (false, [rows, k]) => Ok(Left { batched: false, rows: *rows, k: *k, x_row: *k, x_step: 1 }),
        (true | false, _) => Err(Refusal::malformed(format!("A has the shape {shape}, which is no matrix"))),
    }
}

fn matrix(shape: &Shape) -> Result<(u32, u32), Refusal> {
    match shape.sample.as_slice() {
        [rows, columns] if !shape.batched => Ok((*rows, *columns)),
        _ if shape.batched => Err(Refusal::unsupported(
            "B depends on the batch axis, which it would have to sum over",
            "fix the batch: --input NAME=1,…",
        )),
        _ => Err(Refusal::malformed(format!("B has the shape {shape}, which is no matrix"))),
    }
}

/// `alpha * B'` as a row-major `[k, n]` constant.
fn weights(b: &Constant, k: u32, n: u32, transposed: bool, alpha: f32) -> Result<Constant, Refusal> {
    let values = b.f32s().ok_or_else(|| Refusal::malformed("B is not float32"))?;
    let (rows, columns) = (k as usize, n as usize);
    let place = |i: usize, j: usize| if transposed { j * rows + i } else { i * columns + j };
    let cells = (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j)));
    let scaled = cells.map(|(i, j)| alpha * values[place(i, j)]).collect();
    Ok(Constant { shape: vec![k, n], data: ConstantData::F32(scaled) })
}

/// `beta * C` as a bias of `n` numbers, if C is the same for every row.
fn bias(c: &Constant, n: u32, beta: f32) -> Option<Constant> {
    let values = c.f32s()?;
    let (last, rest) = c.shape.split_last().map_or((1, &[][..]), |(last, rest)| (*last, rest));
    let same_for_every_row = rest.iter().all(|extent| *extent == 1) && rest.len() <= 1;
    if !same_for_every_row || (last != n && last != 1) {
        return None;
    }
    let numbers = (0..n as usize).map(|j| beta * values[if last == 1 { 0 } else { j }]).collect();
    Some(Constant { shape: vec![n], data: ConstantData::F32(numbers) })
}

/// `factor * value`.
fn scaled(call: &mut Call<'_>, value: ValueId, factor: f32) -> Result<ValueId, Refusal> {
    if factor == 1.0 {
        return Ok(value);
    }
    let factor = call.add_constant(Constant { shape: vec![], data: ConstantData::F32(vec![factor]) })?;
    arithmetic::zip(call, Binary::Mul, value, factor)
}
