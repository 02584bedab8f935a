//! MatMul: NumPy's matrix product, and Gemm: `y = alpha * A' * B' + beta * C`, where `'` may be a
//! transposition.
//!
//! Axes in front of the last two broadcast. Rows may be samples: `[n, k]` times `[k, m]` is one row of
//! k numbers a sample.

use super::call::FIX_BATCH;
use super::{Call, Refusal, broadcast};
use crate::graph::{Axis, MatMul, Op, Shape, ValueId};
use crate::program::{Program, operand};

pub(super) fn lower(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let (a, b) = (call.f32(0)?, call.f32(1)?);
    product(call, a, b)
}

/// The matrix product of two values.
pub(super) fn product(call: &mut Call<'_>, a: ValueId, b: ValueId) -> Result<ValueId, Refusal> {
    let (a_shape, b_shape) = (call.shape(a), call.shape(b));
    let clash = || Refusal::shapes(format!("the shapes {a_shape} and {b_shape} do not go together"));
    // A vector is a matrix of one row on the left and of one column on the right.
    let (a_vector, b_vector) = (a_shape.rank() == 1, b_shape.rank() == 1);
    let (Some(k_axis), Some(rows_axis), Some(b_k_axis)) = (
        a_shape.axis(-1),
        a_shape.axis(if a_vector { -1 } else { -2 }),
        b_shape.axis(if b_vector { -1 } else { -2 }),
    ) else {
        return Err(Refusal::malformed("an operand is a scalar"));
    };
    let columns_are_batch = !b_vector && b_shape.axis(-1) == Some(Axis::Batch);
    if k_axis == Axis::Batch || b_k_axis == Axis::Batch || columns_are_batch {
        return Err(Refusal::unsupported("it sums over the batch, or mixes samples", FIX_BATCH));
    }
    let rows_are_batch = !a_vector && rows_axis == Axis::Batch;
    if rows_are_batch && b_shape.is_batched() {
        return Err(Refusal::unsupported("it mixes samples", FIX_BATCH));
    }
    // Axes that the samples are joined with are rows too.
    let joined = if rows_are_batch { a_shape.sample[a_shape.joined_axes()].to_vec() } else { Vec::new() };
    let x = if a_vector || rows_are_batch {
        let rows =
            joined.iter().try_fold(1u32, |rows, extent| rows.checked_mul(*extent)).ok_or_else(clash)?;
        let mut sample = a_shape.sample.clone();
        let end = sample.len().saturating_sub(1);
        sample.splice(end - joined.len()..end, [rows]);
        call.reshape(a, Shape::new(a_shape.batch, sample))?
    } else {
        a
    };
    let w =
        if b_vector { call.reshape(b, Shape::fixed([b_shape.sample.as_slice(), &[1]].concat()))? } else { b };
    let (operands, front) = fronts(call, [x, w], rows_are_batch)?;
    let [x, w] = operands;
    let ([.., m, k], [.., w_k, n]) = (call.graph.extents(x), call.graph.extents(w)) else {
        return Err(clash());
    };
    if k != w_k {
        return Err(clash());
    }
    let (m, n) = (*m, *n);
    let whole = front.with_sample([front.sample.as_slice(), &[m, n]].concat());
    let y = matrices(call, x, w, whole)?;
    // Axes that were put in go out again.
    let mut sample = front.sample.clone();
    let batch = if rows_are_batch { Some(front.sample.len()) } else { front.batch };
    sample.extend(joined);
    sample.extend((!a_vector && !rows_are_batch).then_some(m));
    sample.extend((!b_vector).then_some(n));
    let joined = if rows_are_batch { a_shape.joined } else { front.joined };
    call.reshape(y, Shape { batch, joined, sample })
}

/// The products of matrices, whose axes in front broadcast to those of `shape`.
pub(super) fn matrices(
    call: &mut Call<'_>,
    x: ValueId,
    w: ValueId,
    shape: Shape,
) -> Result<ValueId, Refusal> {
    let matmul = MatMul { bias: false, epilogue: Program::identity() };
    call.add(Op::MatMul(matmul), vec![x, w], shape)
}

/// The operands with the axes in front of their matrices aligned, and the shape of the result without
/// its matrix. Where the rows are the samples, the batch axis is not among those in front.
fn fronts(
    call: &mut Call<'_>,
    operands: [ValueId; 2],
    rows_are_batch: bool,
) -> Result<([ValueId; 2], Shape), Refusal> {
    let fronts = operands.map(|id| {
        let shape = call.shape(id);
        let extents = &shape.sample[..shape.sample.len().saturating_sub(2)];
        let batch = shape.batch.filter(|_| !rows_are_batch);
        let joined = if batch.is_some() { shape.joined } else { [0, 0] };
        Shape { batch, joined, sample: extents.to_vec() }
    });
    let (aligned, front) = broadcast::aligned(&fronts)?;
    let mut operands = operands;
    for ((operand, front), aligned) in operands.iter_mut().zip(&fronts).zip(&aligned) {
        if aligned != &front.sample {
            let old = call.shape(*operand);
            let matrix = &old.sample[front.sample.len()..];
            *operand = call.reshape(*operand, old.with_sample([aligned.as_slice(), matrix].concat()))?;
        }
    }
    // A batch of rows keeps its mark, so that the product is one of samples.
    let batch = if rows_are_batch { Some(0) } else { front.batch };
    Ok((operands, Shape { batch, joined: front.joined, sample: front.sample }))
}

pub(super) fn gemm(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let (alpha, beta) = (call.float("alpha", 1.0)?, call.float("beta", 1.0)?);
    let a = matrix(call, 0, "transA")?;
    let b = matrix(call, 1, "transB")?;
    // Into the weights, where they are known.
    let known = call.graph.constant(b).is_some();
    let b = if known { scaled(call, b, alpha)? } else { b };
    let y = product(call, a, b)?;
    let y = if known { y } else { scaled(call, y, alpha)? };
    let Some(c) = call.optional_f32(2)?.filter(|_| beta != 0.0) else { return Ok(y) };
    let c = scaled(call, c, beta)?;
    let sum = call.pointwise(&(operand(0) + operand(1)), &[y, c])?;
    if call.shape(sum) == call.shape(y) {
        return Ok(sum);
    }
    Err(Refusal::shapes("C does not broadcast to the product's shape"))
}

/// Operand `index`, a matrix, transposed if the attribute says so.
fn matrix(call: &mut Call<'_>, index: usize, transposed: &str) -> Result<ValueId, Refusal> {
    let id = call.f32(index)?;
    let shape = call.shape(id);
    if shape.rank() != 2 {
        return Err(Refusal::malformed(format!(
            "its operand {index} has the shape {shape}, which is no matrix"
        )));
    }
    match (call.flag(transposed)?, shape.is_batched()) {
        (true, true) if shape.is_joined() => {
            let order = if shape.batch == Some(0) {
                [&[shape.sample.len() - 1][..], &(0..shape.sample.len() - 1).collect::<Vec<_>>()].concat()
            } else {
                [&(1..shape.sample.len()).collect::<Vec<_>>()[..], &[0]].concat()
            };
            let sample: Vec<u32> = order.iter().map(|axis| shape.sample[*axis]).collect();
            let moved = Shape { batch: shape.batch.map(|batch| 1 - batch), joined: shape.joined, sample };
            call.rearrange(id, crate::graph::Rearrange::Transpose(order), moved)
        }
        (false, _) => Ok(id),
        (true, false) => call.transpose(id, vec![1, 0]),
        (true, true) => {
            let batch = shape.batch.map(|batch| 1 - batch);
            let moved = Shape { batch, ..shape };
            call.rearrange(id, crate::graph::Rearrange::Reshape, moved)
        }
    }
}

/// `factor * value`.
fn scaled(call: &mut Call<'_>, value: ValueId, factor: f32) -> Result<ValueId, Refusal> {
    if factor == 1.0 {
        return Ok(value);
    }
    call.pointwise(&(operand(0) * factor), &[value])
}
