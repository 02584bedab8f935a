//! MatMul: NumPy's matrix product, with one matrix on the right.
//!
//! The right operand is a constant matrix, or a matrix (for each sample, if it depends on the batch)
//! that the model computes. Axes in front of the left operand's last one are rows.

use super::{Call, Refusal};
use crate::constant::Constant;
use crate::graph::{Dense, Op, Shape, Unary, ValueId, Weights};

pub(super) fn lower(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let (a, b) = (call.f32(0)?, call.f32(1)?);
    let (a_shape, b_shape) = (call.shape(a), call.shape(b));
    let clash = || Refusal::malformed(format!("the shapes {a_shape} and {b_shape} do not go together"));
    let right = right(&a_shape, &b_shape)?;
    let Some((k, front)) = a_shape.sample.split_last() else {
        return Err(if a_shape.batched { sums_over_batch() } else { clash() });
    };
    if *k != right.k {
        return Err(clash());
    }
    let rows = front.iter().try_fold(1u32, |rows, extent| rows.checked_mul(*extent)).ok_or_else(clash)?;
    let (weights, w) = match call.graph.constant(b) {
        Some(constant) => {
            let matrix = Constant { shape: vec![right.k, right.n], data: constant.data.clone() };
            (Weights::Packed, call.add_constant(matrix)?)
        }
        None => (Weights::Rows, b),
    };
    let batched = a_shape.batched || b_shape.batched;
    let mut sample = vec![1; right.ones.saturating_sub(front.len())];
    sample.extend_from_slice(front);
    sample.extend(right.has_columns.then_some(right.n));
    let (k, n) = (right.k, right.n);
    let dense = Dense { rows, k, n, x_row: k, x_step: 1, weights, activation: Unary::Identity };
    call.add(Op::Dense(dense), vec![a, w], Shape { batched, sample })
}

fn sums_over_batch() -> Refusal {
    Refusal::unsupported("it sums over the batch", "fix the batch: --input NAME=1,…")
}

/// The right operand as a matrix.
struct Right {
    k: u32,
    n: u32,
    /// A vector on the right gives no axis to the result.
    has_columns: bool,
    /// Rows that the result has at least, counted in axes of extent 1 that the left operand lacks.
    ones: usize,
}

fn right(a: &Shape, b: &Shape) -> Result<Right, Refusal> {
    let many = || {
        let reason = format!("the product of {a} and {b} is one of many matrices on the right");
        Refusal::unsupported(reason, "split it into products with one matrix each")
    };
    match b.sample.as_slice() {
        // A matrix for each sample: the left operand must be one matrix a sample, or one for all.
        [k, n] if b.batched && a.sample.len() == 2 => Ok(Right { k: *k, n: *n, has_columns: true, ones: 0 }),
        _ if b.batched && b.sample.len() < 2 => Err(sums_over_batch()),
        _ if b.batched => Err(many()),
        [k] => Ok(Right { k: *k, n: 1, has_columns: false, ones: 0 }),
        [front @ .., k, n] if front.iter().all(|extent| *extent == 1) => {
            if a.batched && b.sample.len() > a.rank() {
                return Err(many());
            }
            // A vector on the left gives no axis of rows.
            let rows = usize::from(a.rank() > 1);
            let ones = if front.is_empty() || a.batched { 0 } else { front.len() + rows };
            Ok(Right { k: *k, n: *n, has_columns: true, ones })
        }
        [_, _, ..] => Err(many()),
        [] => Err(Refusal::malformed("its right operand is a scalar")),
    }
}
