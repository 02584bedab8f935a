//! Attention (opset 23): `softmax(scale * Q K' + mask) V` for each head, without a cache of earlier keys.
//! A query whose mask leaves it no key gives 0.
//!
//! Q, K and V are `[batch, heads, sequence, size]`, or `[batch, sequence, heads * size]` with the numbers of
//! heads as attributes. Several heads of Q may share one of K and V.

use dunlin_abi::DType;

use super::matmul::matrices;
use super::{Call, Refusal, softmax};
use crate::graph::ValueId;
use crate::program::operand;

pub(super) fn lower(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let refuse = |what: &str| Err(Refusal::unsupported(what, "export it as MatMul, Softmax and MatMul"));
    if (4..call.inputs.len()).any(|index| call.optional(index).is_some())
        || (1..4).any(|index| call.wants_output(index))
    {
        return refuse("it reads or writes a cache of keys, or its scores");
    }
    if call.float("softcap", 0.0)? != 0.0 {
        return refuse("it caps its scores");
    }
    let q = heads(call, 0, "q_num_heads")?;
    let (k, v) = (heads(call, 1, "kv_num_heads")?, heads(call, 2, "kv_num_heads")?);
    let (q_shape, k_shape, v_shape) = (call.shape(q), call.shape(k), call.shape(v));
    let [.., q_heads, rows, size] = q_shape.sample[..] else {
        return Err(Refusal::malformed("it has too few axes"));
    };
    let [.., kv_heads, columns, k_size] = k_shape.sample[..] else {
        return Err(Refusal::malformed("it has too few axes"));
    };
    let [.., v_heads, v_columns, v_size] = v_shape.sample[..] else {
        return Err(Refusal::malformed("it has too few axes"));
    };
    let front = q_shape.sample[..q_shape.sample.len() - 3].to_vec();
    let alike = [&k_shape, &v_shape]
        .iter()
        .all(|shape| shape.batch == q_shape.batch && shape.sample[..shape.sample.len() - 3] == front);
    if !alike
        || (size, columns, kv_heads) != (k_size, v_columns, v_heads)
        || kv_heads == 0
        || !q_heads.is_multiple_of(kv_heads)
    {
        return Err(Refusal::malformed(format!("{q_shape}, {k_shape} and {v_shape} do not go together")));
    }
    let scale = call.float("scale", 1.0 / libm::sqrtf(size as f32))?;
    let (k, v, columns) = unmasked(call, k, v)?;
    // Heads that share their keys are an axis of their own.
    let shared = q_heads / kv_heads;
    let with = |tail: &[u32]| q_shape.with_sample([&front[..], tail].concat());
    let q = call.reshape(q, with(&[kv_heads, shared, rows, size]))?;
    let k = call.reshape(k, with(&[kv_heads, 1, columns, size]))?;
    let v = call.reshape(v, with(&[kv_heads, 1, columns, v_size]))?;
    let rank = front.len() + 4;
    let turned: Vec<usize> = (0..rank - 2).chain([rank - 1, rank - 2]).collect();
    let k = call.transpose(k, turned)?;
    let scores = matrices(call, q, k, with(&[kv_heads, shared, rows, columns]))?;
    let scores = call.pointwise(&(operand(0) * scale), &[scores])?;
    let scores = call.reshape(scores, with(&[q_heads, rows, columns]))?;
    let scores = masked(call, scores, (rows, columns))?;
    let weights = match call.optional(3) {
        Some(_) => softmax::masked_along_last(call, scores)?,
        // Each query sees the first key, whether later ones are hidden or not.
        None => softmax::along_last(call, scores)?,
    };
    let weights = call.reshape(weights, with(&[kv_heads, shared, rows, columns]))?;
    let y = matrices(call, weights, v, with(&[kv_heads, shared, rows, v_size]))?;
    let y = call.reshape(y, with(&[q_heads, rows, v_size]))?;
    if call.shape(call.input(0)?).rank() == 4 {
        return Ok(y);
    }
    let at = front.len();
    let y = call.transpose(y, (0..at).chain([at + 1, at, at + 2]).collect())?;
    let wide = q_heads.checked_mul(v_size).ok_or_else(|| Refusal::too_large("its result"))?;
    call.reshape(y, with(&[rows, wide]))
}

/// Operand `index` as `[…, heads, sequence, size]`.
fn heads(call: &mut Call<'_>, index: usize, attribute: &str) -> Result<ValueId, Refusal> {
    let x = call.f32(index)?;
    let shape = call.shape(x);
    if shape.batch.is_some_and(|batch| batch != 0) {
        return Err(Refusal::unsupported("its first axis is not the batch", "transpose it"));
    }
    let at = shape.sample.len().saturating_sub(2);
    match (shape.rank(), u32::try_from(call.int(attribute, 0)?)) {
        (4, _) => Ok(x),
        (3, Ok(heads)) if heads > 0 && shape.sample[at + 1].is_multiple_of(heads) => {
            let apart = [&shape.sample[..=at], &[heads, shape.sample[at + 1] / heads]].concat();
            let x = call.reshape(x, shape.with_sample(apart))?;
            call.transpose(x, (0..at).chain([at + 1, at, at + 2]).collect())
        }
        _ => Err(Refusal::malformed(format!("its operand {index} {shape} does not divide into heads"))),
    }
}

/// The keys and values that a mask speaks of: those behind its end are hidden from every query.
fn unmasked(call: &mut Call<'_>, k: ValueId, v: ValueId) -> Result<(ValueId, ValueId, u32), Refusal> {
    let shape = call.shape(k);
    let place = shape.sample.len() - 2;
    let columns = shape.sample[place];
    let masked = call.optional(3).and_then(|mask| call.shape(mask).sample.last().copied());
    match masked {
        // ONNX's text lets a last axis of 1 broadcast and be padded.
        Some(1) if columns > 1 => {
            let reason = "its mask has a last axis of 1, which means one key, or all of them";
            Err(Refusal::unsupported(reason, format!("give the mask the shape [..., {columns}]")))
        }
        Some(masked) if masked < columns && masked > 0 => {
            let k = call.slice(k, place, (0, 1, masked))?;
            Ok((k, call.slice(v, place, (0, 1, masked))?, masked))
        }
        Some(_) | None => Ok((k, v, columns)),
    }
}

/// The scores with the mask, and without what comes later.
fn masked(call: &mut Call<'_>, scores: ValueId, (rows, columns): (u32, u32)) -> Result<ValueId, Refusal> {
    let shape = call.shape(scores);
    let mut scores = scores;
    if let Some(mask) = call.optional(3) {
        let formula = match call.dtype(mask) {
            DType::Bool => operand(1).select(operand(0), f32::NEG_INFINITY),
            _ => operand(0) + operand(1),
        };
        scores = call.pointwise(&formula, &[scores, mask])?;
    }
    if call.flag("is_causal")? {
        let later = |i: u32, j: u32| if j > i { f32::NEG_INFINITY } else { 0.0 };
        if u64::from(rows) * u64::from(columns) > crate::passes::fold::MAX_FOLDED_ELEMENTS as u64 {
            let reason = format!("it hides what comes later in a mask of {rows} x {columns} numbers");
            return Err(Refusal::unsupported(reason, "use shorter sequences"));
        }
        let mask = (0..rows).flat_map(|i| (0..columns).map(move |j| later(i, j))).collect();
        let mask = call.add_f32s(&[rows, columns], mask)?;
        scores = call.pointwise(&(operand(0) + operand(1)), &[scores, mask])?;
    }
    if call.shape(scores) == shape {
        return Ok(scores);
    }
    Err(Refusal::malformed("its mask does not broadcast to its scores"))
}
