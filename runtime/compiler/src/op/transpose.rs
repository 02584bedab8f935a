//! Transpose, Slice, Expand: the same elements at other places, without code of their own.

use super::call::FIX_BATCH;
use super::{Call, Refusal, broadcast};
use crate::graph::{Axis, BATCH_EXTENT, Rearrange, Shape, ValueId, batch_factor};

/// `Transpose(x)`: axis i of the result is axis `perm[i]` of x; without perm, the axes are reversed.
pub(super) fn transpose(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let input = call.input(0)?;
    let shape = call.shape(input);
    let rank = i64::try_from(shape.rank()).unwrap_or(i64::MAX);
    let perm = call.ints("perm")?.unwrap_or_else(|| (0..rank).rev().collect());
    let axes: Option<Vec<Axis>> = perm.iter().map(|axis| shape.axis(*axis)).collect();
    let axes = axes.filter(|axes| axes.len() == shape.rank());
    let Some(axes) = axes.filter(|axes| axes.iter().enumerate().all(|(i, axis)| !axes[..i].contains(axis)))
    else {
        return Err(Refusal::malformed(format!("{perm:?} is no order of the axes of {shape}")));
    };
    let batch = axes.iter().position(|axis| *axis == Axis::Batch);
    let order: Vec<usize> = axes
        .iter()
        .flat_map(|axis| match axis {
            Axis::Sample(place) => *place..*place + 1,
            Axis::Batch => shape.joined_axes(),
        })
        .collect();
    let sample: Vec<u32> = order.iter().map(|place| shape.sample[*place]).collect();
    let moved = Shape { batch, joined: shape.joined, sample };
    if order.iter().enumerate().all(|(place, axis)| place == *axis) {
        return call.reshape(input, moved);
    }
    call.rearrange(input, Rearrange::Transpose(order), moved)
}

/// `Slice(x)`: starts, ends, axes and steps are attributes until opset 9, inputs since.
pub(super) fn slice(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let mut value = call.input(0)?;
    let (starts, ends, axes, steps) = if call.opset < 10 {
        let list = |name: &str| call.ints(name);
        (list("starts")?.unwrap_or_default(), list("ends")?.unwrap_or_default(), list("axes")?, None)
    } else {
        let (starts, ends) = (call.i64s(1, "the list of starts")?, call.i64s(2, "the list of ends")?);
        (
            starts,
            ends,
            call.optional_i64s(3, "the list of axes")?,
            call.optional_i64s(4, "the list of steps")?,
        )
    };
    let count = starts.len();
    let axes = axes.unwrap_or_else(|| (0..count as i64).collect());
    let steps = steps.unwrap_or_else(|| vec![1; count]);
    if [ends.len(), axes.len(), steps.len()] != [count; 3] {
        return Err(Refusal::malformed("its lists have different lengths"));
    }
    for index in 0..count {
        let shape = call.shape(value);
        let (start, end, step) = (starts[index], ends[index], steps[index]);
        let place = match shape.axis(axes[index]) {
            // The whole batch is no cut.
            Some(Axis::Batch)
                if start == 0
                    && step == 1
                    && (batch_factor(end) == u32::try_from(shape.batch_factor()).ok()
                        || end >= i64::from(i32::MAX)) =>
            {
                continue;
            }
            _ => call.sample_axis(&shape, axes[index], "cuts")?,
        };
        let (start, step, len) = range(start, end, step, shape.sample[place])?;
        if (start, step, len) != (0, 1, shape.sample[place]) {
            value = call.slice(value, place, (start, step, len))?;
        }
    }
    Ok(value)
}

/// Start, step and count of `start..end` in steps, with ONNX's rules for what is out of range.
fn range(start: i64, end: i64, step: i64, extent: u32) -> Result<(u32, i32, u32), Refusal> {
    let wrong = |what: &str| Refusal::malformed(format!("its {what} has no meaning for an axis of {extent}"));
    if batch_factor(start).is_some() || batch_factor(step).is_some() {
        return Err(Refusal::unsupported("it calculates with the batch size", FIX_BATCH));
    }
    let extent = i64::from(extent);
    let from_start = |index: i64| if index < 0 { index.saturating_add(extent) } else { index };
    let (start, end) =
        (from_start(start), from_start(if batch_factor(end).is_some() { i64::MAX } else { end }));
    let (start, count) = if step > 0 {
        let (start, end) = (start.clamp(0, extent), end.clamp(0, extent));
        (start, (end - start).max(0).saturating_add(step - 1) / step)
    } else if step < 0 {
        let (start, end) = (start.clamp(0, extent - 1), end.clamp(-1, extent - 1));
        let back = step.checked_neg().ok_or_else(|| wrong("step"))?;
        (start, (start - end).max(0).saturating_add(back - 1) / back)
    } else {
        return Err(Refusal::malformed("its step is 0"));
    };
    let step = if count > 1 { i32::try_from(step).map_err(|_| wrong("step"))? } else { 1 };
    let fit = |value: i64| u32::try_from(value).map_err(|_| wrong("range"));
    Ok((fit(start)?, step, fit(count)?))
}

/// `Expand(x, shape)`: repeated to the shape that x and `shape` broadcast to.
pub(super) fn expand(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let input = call.input(0)?;
    let wanted = call.i64s(1, "the shape")?;
    let mut target = Shape::new(None, Vec::with_capacity(wanted.len()));
    for (place, extent) in wanted.iter().enumerate() {
        match u32::try_from(*extent) {
            Ok(extent) => target.sample.push(extent),
            Err(_) if *extent == BATCH_EXTENT && target.batch.is_none() => target.batch = Some(place),
            Err(_) => return Err(Refusal::malformed(format!("its shape has the extent {extent}"))),
        }
    }
    let shape = call.shape(input);
    // What does not depend on the batch is the same for every sample: it repeats where it is read.
    if let Some(place) = target.batch.filter(|_| !shape.is_batched()) {
        target.sample.insert(place, 1);
        target.batch = None;
    }
    let (samples, whole) = broadcast::aligned(&[shape.clone(), target])?;
    let aligned = samples.into_iter().next().unwrap_or_default();
    let input =
        if aligned == shape.sample { input } else { call.reshape(input, shape.with_sample(aligned))? };
    if call.shape(input) == whole {
        return Ok(input);
    }
    call.rearrange(input, Rearrange::Expand, whole)
}
