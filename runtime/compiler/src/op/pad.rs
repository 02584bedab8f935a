//! Pad: a border round a tensor. A border of one value is an operation of the graph, which a convolution
//! behind it takes in; borders that repeat the tensor are joins of slices of it.

use super::call::FIX_BATCH;
use super::{Call, Refusal};
use crate::graph::{Axis, Op, Rearrange, Shape, ValueId};

/// `Pad(x, pads, value, axes)`: attributes until opset 10, inputs since; negative pads cut.
pub(super) fn lower(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let x = call.input(0)?;
    let shape = call.shape(x);
    let mode = call.text("mode", "constant")?;
    let (pads, value) = if call.opset < 11 {
        let pads = call.ints(if call.opset < 2 { "paddings" } else { "pads" })?;
        let pads = pads.ok_or_else(|| Refusal::malformed("it has no pads"))?;
        (pads, call.float("value", 0.0)?)
    } else {
        let value = match call.optional(2) {
            Some(_) => call.f32s(2, "the border's value")?.first().copied().unwrap_or(0.0),
            None => 0.0,
        };
        (call.i64s(1, "the list of pads")?, value)
    };
    let axes = match call.optional_i64s(3, "the list of axes")? {
        Some(axes) => axes,
        None => (0..shape.rank() as i64).collect(),
    };
    let sides = sides(call, &shape, &axes, &pads)?;
    let x = cut(call, x, &sides)?;
    let sides: Vec<(u32, u32)> =
        sides.iter().map(|(before, after)| (grown(*before), grown(*after))).collect();
    if sides.iter().all(|side| *side == (0, 0)) {
        return Ok(x);
    }
    match mode.as_str() {
        "constant" => constant(call, x, &sides, value),
        "reflect" | "edge" | "wrap" => repeated(call, x, &sides, &mode),
        other => Err(Refusal::malformed(format!("its mode is {other:?}"))),
    }
}

/// Mode wrap goes round the tensor at most so often at each end.
const MAX_TURNS: u32 = 64;

/// What grows, grows by this much.
fn grown(pad: i32) -> u32 {
    u32::try_from(pad).unwrap_or(0)
}

/// For each axis of the sample the elements before and behind; negative where it is cut.
fn sides(call: &Call<'_>, shape: &Shape, axes: &[i64], pads: &[i64]) -> Result<Vec<(i32, i32)>, Refusal> {
    if pads.len() != axes.len() * 2 {
        return Err(Refusal::malformed(format!("{} pads do not fit {} axes", pads.len(), axes.len())));
    }
    let mut sides = vec![(0, 0); shape.sample.len()];
    for (index, axis) in axes.iter().enumerate() {
        let fit = |pad: i64| i32::try_from(pad).ok().filter(|pad| pad.unsigned_abs() < 1 << 24);
        let (Some(before), Some(after)) = (fit(pads[index]), fit(pads[axes.len() + index])) else {
            return Err(Refusal::malformed("its pads are too large"));
        };
        match shape.axis(*axis) {
            Some(Axis::Batch) if (before, after) == (0, 0) => {}
            Some(Axis::Batch) => return Err(Refusal::unsupported("it pads the batch axis", FIX_BATCH)),
            _ => sides[call.sample_axis(shape, *axis, "pads")?] = (before, after),
        }
    }
    Ok(sides)
}

/// The tensor without what negative pads cut off.
fn cut(call: &mut Call<'_>, x: ValueId, sides: &[(i32, i32)]) -> Result<ValueId, Refusal> {
    let shape = call.shape(x);
    let mut steps = Vec::with_capacity(sides.len());
    let mut sample = Vec::with_capacity(sides.len());
    for ((before, after), extent) in sides.iter().zip(&shape.sample) {
        let (before, after) = (before.min(&0).unsigned_abs(), after.min(&0).unsigned_abs());
        let left = extent.checked_sub(before).and_then(|left| left.checked_sub(after));
        steps.push((before, 1));
        sample
            .push(left.ok_or_else(|| Refusal::malformed(format!("its pads cut more off than {shape} has")))?);
    }
    if sample == shape.sample {
        return Ok(x);
    }
    let cut = shape.with_sample(sample);
    call.rearrange(x, Rearrange::Slice(steps), cut)
}

/// The tensor again and again along an axis, from so many elements before its first to so many behind its last.
fn wrapped(
    call: &mut Call<'_>,
    x: ValueId,
    axis: usize,
    (before, after): (u32, u32),
) -> Result<ValueId, Refusal> {
    let extent = call.shape(x).sample[axis];
    let (front, back) = (before % extent, after % extent);
    let turns = before / extent + 1 + after / extent;
    let mut parts = vec![x; turns as usize];
    if front > 0 {
        parts.insert(0, call.slice(x, axis, (extent - front, 1, front))?);
    }
    if back > 0 {
        parts.push(call.slice(x, axis, (0, 1, back))?);
    }
    super::concat::join(call, &parts, axis)
}

fn constant(call: &mut Call<'_>, x: ValueId, sides: &[(u32, u32)], value: f32) -> Result<ValueId, Refusal> {
    let shape = call.shape(x);
    let whole: Option<Vec<u32>> = shape
        .sample
        .iter()
        .zip(sides)
        .map(|(extent, (before, after))| extent.checked_add(*before)?.checked_add(*after))
        .collect();
    let whole = whole.ok_or_else(|| Refusal::too_large("its result"))?;
    if call.dtype(x) != dunlin_abi::DType::F32 {
        return Err(Refusal::unsupported(
            format!("it pads {}", call.dtype(x)),
            "cast it to float32 before, and back behind",
        ));
    }
    let before = sides.iter().map(|(before, _)| *before).collect();
    call.add(Op::Pad { before, value }, vec![x], shape.with_sample(whole))
}

/// One axis after the other, from slices of what is there.
fn repeated(call: &mut Call<'_>, x: ValueId, sides: &[(u32, u32)], mode: &str) -> Result<ValueId, Refusal> {
    let mut x = x;
    for (axis, (before, after)) in sides.iter().enumerate().filter(|(_, side)| **side != (0, 0)) {
        let shape = call.shape(x);
        let extent = shape.sample[axis];
        let reach = match mode {
            "reflect" => extent.saturating_sub(1),
            "wrap" => extent.saturating_mul(MAX_TURNS),
            _ => u32::MAX,
        };
        if *before > reach || *after > reach || extent == 0 {
            let reason = format!("it pads {extent} elements by ({before}, {after}) in mode {mode:?}");
            return Err(Refusal::unsupported(reason, "pad by less at a time"));
        }
        if mode == "wrap" {
            x = wrapped(call, x, axis, (*before, *after))?;
            continue;
        }
        let (front, back) = match mode {
            "reflect" => ((*before, -1, *before), (extent.saturating_sub(2), -1, *after)),
            _ => ((0, 1, 1), (extent - 1, 1, 1)),
        };
        let mut parts = Vec::with_capacity(3);
        for (slice, count) in [(front, *before), (back, *after)] {
            if count == 0 {
                continue;
            }
            let mut part = call.slice(x, axis, slice)?;
            if mode == "edge" {
                let mut sample = shape.sample.clone();
                sample[axis] = count;
                part = call.rearrange(part, Rearrange::Expand, shape.with_sample(sample))?;
            }
            parts.push(part);
        }
        parts.insert(usize::from(*before > 0), x);
        x = super::concat::join(call, &parts, axis)?;
    }
    Ok(x)
}
