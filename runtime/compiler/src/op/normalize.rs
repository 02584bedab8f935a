//! Normalisations: `(x - mean) / sqrt(variance + epsilon) * scale + bias`, and its kind, over axes of x.
//!
//! Formulas from ONNX's operator pages. The variance is the mean of squared differences, in a second
//! pass, so that a large mean costs no digits.

use super::{Call, Refusal, broadcast};
use crate::emit::sweep::{Combine, Fold, Sweep};
use crate::graph::{Shape, ValueId};
use crate::program::{Formula, Program, operand};

/// `scale / sqrt(x + epsilon)`
fn inverse_root(sum: Formula, count: f32, epsilon: f32) -> Formula {
    Formula::from(1.0) / (sum / count + epsilon).sqrt()
}

/// Result 1 is the mean, result 2 the inverse of the deviation.
fn moments(count: f32, epsilon: f32) -> Vec<Fold> {
    let difference = || operand(0) - operand(1);
    vec![
        Fold::new(Combine::Sum, &operand(0)).then(&(operand(0) / count)),
        Fold::new(Combine::Sum, &(difference() * difference())).then(&inverse_root(
            operand(0),
            count,
            epsilon,
        )),
    ]
}

/// A normalisation of x over the swept axes, with the extras that its map reads.
pub(super) fn over(
    call: &mut Call<'_>,
    name: &'static str,
    (x, extras): (ValueId, &[ValueId]),
    swept: Vec<bool>,
    folds: Vec<Fold>,
    map: &Formula,
) -> Result<ValueId, Refusal> {
    let shape = call.shape(x);
    let (operands, together) = broadcast::together(call, &[&[x], extras].concat())?;
    if together != shape {
        return Err(Refusal::malformed(format!("its scale or bias does not broadcast to {shape}")));
    }
    let sweep = Sweep {
        name,
        extents: shape.sample.clone(),
        swept,
        folds,
        map: Some(Program::from(map)),
        probability: false,
    };
    call.add_kernel(sweep, operands, shape)
}

fn count(shape: &Shape, swept: &[bool]) -> f32 {
    shape
        .sample
        .iter()
        .zip(swept)
        .filter(|(_, swept)| **swept)
        .fold(1.0, |count, (extent, _)| count * *extent as f32)
}

/// The axes from ONNX's axis `axis` on.
pub(super) fn axes_from(call: &Call<'_>, shape: &Shape, axis: i64) -> Result<Vec<bool>, Refusal> {
    let rank = i64::try_from(shape.rank()).unwrap_or(i64::MAX);
    let first = if axis < 0 { axis.saturating_add(rank) } else { axis };
    if !(0..rank).contains(&first) {
        return Err(Refusal::malformed(format!("{shape} has no axis {axis}")));
    }
    let mut swept = vec![false; shape.sample.len()];
    for axis in first..rank {
        swept[call.sample_axis(shape, axis, "normalises over")?] = true;
    }
    Ok(swept)
}

fn check_stash(call: &Call<'_>) -> Result<(), Refusal> {
    match call.int("stash_type", 1)? {
        1 => Ok(()),
        _ => Err(Refusal::unsupported("it does not compute in float32", "export it with stash_type 1")),
    }
}

/// `LayerNormalization(x, scale, bias)` over all axes from `axis` on.
pub(super) fn layer(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let (x, scale, bias) = (call.f32(0)?, call.f32(1)?, call.optional_f32(2)?);
    check_stash(call)?;
    let shape = call.shape(x);
    let swept = axes_from(call, &shape, call.int("axis", -1)?)?;
    let folds = moments(count(&shape, &swept), call.float("epsilon", 1e-5)?);
    for further in [1, 2] {
        if call.wants_output(further) {
            let sample =
                shape.sample.iter().zip(&swept).map(|(extent, swept)| if *swept { 1 } else { *extent });
            let result = shape.with_sample(sample.collect::<Vec<_>>());
            let name = if further == 1 { "mean" } else { "inverse deviation" };
            let (extents, folds) = (shape.sample.clone(), folds[..further].to_vec());
            let sweep = Sweep { name, extents, swept: swept.clone(), folds, map: None, probability: false };
            let value = call.add_kernel(sweep, vec![x], result)?;
            call.give_further(further, value);
        }
    }
    let normal = (operand(0) - operand(1)) * operand(2) * operand(3);
    match bias {
        Some(bias) => {
            over(call, "layer normalisation", (x, &[scale, bias]), swept, folds, &(normal + operand(4)))
        }
        None => over(call, "layer normalisation", (x, &[scale]), swept, folds, &normal),
    }
}

/// `RMSNormalization(x, scale)`: without the mean.
pub(super) fn rms(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let (x, scale) = (call.f32(0)?, call.f32(1)?);
    check_stash(call)?;
    let shape = call.shape(x);
    let swept = axes_from(call, &shape, call.int("axis", -1)?)?;
    let root = inverse_root(operand(0), count(&shape, &swept), call.float("epsilon", 1e-5)?);
    let folds = vec![Fold::new(Combine::Sum, &(operand(0) * operand(0))).then(&root)];
    over(
        call,
        "root mean square normalisation",
        (x, &[scale]),
        swept,
        folds,
        &(operand(0) * operand(1) * operand(2)),
    )
}

/// The place of the channels of x, behind the axis of the samples.
fn channel_axis(call: &Call<'_>, shape: &Shape) -> Result<usize, Refusal> {
    if shape.rank() < 3 {
        return Err(Refusal::malformed(format!("{shape} has no axes behind its channels")));
    }
    let axis = call.sample_axis(shape, 1, "normalises")?;
    if shape.batch.is_some_and(|batch| batch != 0) {
        call.sample_axis(shape, shape.batch.map_or(0, |batch| batch as i64), "normalises over")?;
    }
    Ok(axis)
}

/// A scale or bias with a number a channel, as it broadcasts to extents whose axis `axis` is the channels.
fn column(call: &mut Call<'_>, index: usize, channels: &[u32], behind: usize) -> Result<ValueId, Refusal> {
    let value = call.f32(index)?;
    let shape = call.shape(value);
    let expected: u64 = channels.iter().map(|extent| u64::from(*extent)).product();
    if shape.rank() != 1 || shape.is_batched() || shape.elements() != expected {
        return Err(Refusal::malformed(format!(
            "its operand {index} has the shape {shape}, not [{expected}]"
        )));
    }
    call.reshape(value, Shape::fixed([channels, &vec![1; behind]].concat()))
}

/// `(x - mean) * (scale / deviation) + bias`, where scale and bias are the same for whole sweeps.
fn scaled() -> Formula {
    (operand(0) - operand(1)) * (operand(2) * operand(3)) + operand(4)
}

/// `InstanceNormalization(x, scale, bias)` over the axes behind the channels.
pub(super) fn instance(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let x = call.f32(0)?;
    let shape = call.shape(x);
    let axis = channel_axis(call, &shape)?;
    let behind = shape.sample.len() - axis - 1;
    let channels = [shape.sample[axis]];
    let (scale, bias) = (column(call, 1, &channels, behind)?, column(call, 2, &channels, behind)?);
    let swept: Vec<bool> = (0..shape.sample.len()).map(|other| other > axis).collect();
    let folds = moments(count(&shape, &swept), call.float("epsilon", 1e-5)?);
    over(call, "instance normalisation", (x, &[scale, bias]), swept, folds, &scaled())
}

/// `GroupNormalization(x, scale, bias)` over groups of channels and the axes behind them; scale and bias
/// have a number a group until opset 20, a number a channel since.
pub(super) fn group(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let x = call.f32(0)?;
    check_stash(call)?;
    let shape = call.shape(x);
    let axis = channel_axis(call, &shape)?;
    let groups = u32::try_from(call.int("num_groups", 0)?).unwrap_or(0);
    let channels = shape.sample[axis];
    if groups == 0 || !channels.is_multiple_of(groups) {
        return Err(Refusal::malformed(format!("{channels} channels do not divide into {groups} groups")));
    }
    let behind = shape.sample.len() - axis - 1;
    let own = [groups, channels / groups];
    let (columns, ones) = if call.opset < 21 { (&own[..1], behind + 1) } else { (&own[..], behind) };
    let (scale, bias) = (column(call, 1, columns, ones)?, column(call, 2, columns, ones)?);
    let apart = shape.with_sample([&shape.sample[..axis], &own, &shape.sample[axis + 1..]].concat());
    let x = call.reshape(x, apart.clone())?;
    let swept: Vec<bool> = (0..apart.sample.len()).map(|other| other > axis).collect();
    let folds = moments(count(&apart, &swept), call.float("epsilon", 1e-5)?);
    let map = if columns.len() == 1 {
        scaled()
    } else {
        (operand(0) - operand(1)) * operand(2) * operand(3) + operand(4)
    };
    let y = over(call, "group normalisation", (x, &[scale, bias]), swept, folds, &map)?;
    call.reshape(y, shape)
}

/// `MeanVarianceNormalization(x) = (x - mean) / (deviation + 1e-9)` over a list of axes.
pub(super) fn mean_variance(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let x = call.f32(0)?;
    let shape = call.shape(x);
    let mut swept = vec![false; shape.sample.len()];
    for axis in call.ints("axes")?.unwrap_or_else(|| vec![0, 2, 3]) {
        swept[call.sample_axis(&shape, axis, "normalises over")?] = true;
    }
    let count = count(&shape, &swept);
    let mut folds = moments(count, 0.0);
    let [_, deviation] = folds.as_mut_slice() else { return Err(Refusal::malformed("it has no axes")) };
    deviation.then = Program::from(&(Formula::from(1.0) / ((operand(0) / count).sqrt() + 1e-9)));
    over(
        call,
        "mean variance normalisation",
        (x, &[]),
        swept,
        folds,
        &((operand(0) - operand(1)) * operand(2)),
    )
}

/// `LpNormalization(x) = x / norm` along an axis, and 0 where the norm is.
pub(super) fn lp(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let x = call.f32(0)?;
    let shape = call.shape(x);
    let place = call.sample_axis(&shape, call.int("axis", -1)?, "normalises over")?;
    let swept = (0..shape.sample.len()).map(|axis| axis == place).collect();
    // All numbers are 0 where the norm is, so any other divisor does.
    let norm = match call.int("p", 2)? {
        1 => Fold::new(Combine::Sum, &operand(0).abs()).then(&operand(0).max(f32::from_bits(1))),
        2 => Fold::new(Combine::Sum, &(operand(0) * operand(0)))
            .then(&operand(0).sqrt().max(f32::from_bits(1))),
        p => return Err(Refusal::malformed(format!("its p is {p}, not 1 or 2"))),
    };
    over(call, "norm", (x, &[]), swept, vec![norm], &(operand(0) / operand(1)))
}
