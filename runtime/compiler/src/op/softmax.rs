//! Softmax, LogSoftmax and Hardmax: along one axis since opset 13; before, along all axes from one on, joined.

use super::{Call, Refusal, normalize};
use crate::emit::sweep::{Combine, Fold, Sweep};
use crate::graph::{Rearrange, ValueId};
use crate::program::{Formula, Program, operand};

/// `exp(x - max) / sum of exp(x - max)`
pub(super) fn softmax(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    lower(call, "softmax", linear(), &(operand(0) * operand(2)))
}

/// `x - max - log(sum of exp(x - max))`
pub(super) fn log_softmax(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let exponentials = Fold::new(Combine::Sum, &exponential()).then(&operand(0).log());
    lower(call, "log-softmax", exponentials, &(operand(0) - operand(1) - operand(2)))
}

fn exponential() -> Formula {
    (operand(0) - operand(1)).exp_down()
}

/// 1 at the first of the greatest numbers, else 0.
pub(super) fn hardmax(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let (x, swept) = operand_and_axes(call)?;
    let shape = call.shape(x);
    let extents: Vec<u32> =
        shape.sample.iter().zip(&swept).map(|(extent, swept)| if *swept { *extent } else { 1 }).collect();
    let reduced: Vec<u32> =
        shape.sample.iter().zip(&swept).map(|(extent, swept)| if *swept { 1 } else { *extent }).collect();
    let count = extents.iter().fold(1u64, |count, extent| count.saturating_mul((*extent).into()));
    if count >= 1 << 24 {
        return Err(Refusal::unsupported(
            "it counts too far for float32",
            "take the greatest of fewer numbers",
        ));
    }
    let reduce = |call: &mut Call<'_>, x: ValueId, combine: Combine| {
        let (extents, swept) = (shape.sample.clone(), swept.clone());
        let folds = vec![Fold::new(combine, &operand(0))];
        let sweep = Sweep { name: "extreme", extents, swept, folds, map: None, probability: false };
        call.add_kernel(sweep, vec![x], shape.with_sample(reduced.clone()))
    };
    let places = call.add_f32s(&extents, (0..count).map(|place| place as f32).collect())?;
    let greatest = reduce(call, x, Combine::Greatest)?;
    // The places of the greatest numbers, and none elsewhere.
    let found = operand(0).equal(operand(1)).select(operand(2), f32::INFINITY);
    let found = call.pointwise(&found, &[x, greatest, places])?;
    let first = reduce(call, found, Combine::Least)?;
    let one = operand(0).equal(operand(1));
    let y = call.pointwise(&one, &[places, first])?;
    if call.shape(y) == shape {
        return Ok(y);
    }
    call.rearrange(y, Rearrange::Expand, shape)
}

/// The operand, and which axes of its sample are normalised over.
fn operand_and_axes(call: &mut Call<'_>) -> Result<(ValueId, Vec<bool>), Refusal> {
    let x = call.f32(0)?;
    let shape = call.shape(x);
    let joins = call.opset < 13;
    let axis = call.int("axis", if joins { 1 } else { -1 })?;
    let swept = if joins {
        normalize::axes_from(call, &shape, axis)?
    } else {
        let place = call.sample_axis(&shape, axis, "normalises over")?;
        (0..shape.sample.len()).map(|axis| axis == place).collect()
    };
    Ok((x, swept))
}

fn lower(call: &mut Call<'_>, name: &'static str, sum: Fold, map: &Formula) -> Result<ValueId, Refusal> {
    let (x, swept) = operand_and_axes(call)?;
    over(call, name, x, swept, greatest(), sum, map)
}

/// The softmax along the last axis of a value.
pub(super) fn along_last(call: &mut Call<'_>, x: ValueId) -> Result<ValueId, Refusal> {
    let rank = call.shape(x).sample.len();
    let swept = (0..rank).map(|axis| axis + 1 == rank).collect();
    over(call, "softmax", x, swept, greatest(), linear(), &(operand(0) * operand(2)))
}

/// The same, but 0 along a row in which nothing is above minus infinity, where a softmax is NaN: with a
/// maximum that is finite, all exponentials of such a row are 0, and so is their sum. Any other row has an
/// exponential of 1, and its sum is as it was.
pub(super) fn masked_along_last(call: &mut Call<'_>, x: ValueId) -> Result<ValueId, Refusal> {
    let rank = call.shape(x).sample.len();
    let swept = (0..rank).map(|axis| axis + 1 == rank).collect();
    let greatest = greatest().then(&operand(0).max(f32::MIN));
    let sum = Fold::new(Combine::Sum, &exponential()).kept();
    let sum = sum.then(&(Formula::from(1.0) / operand(0).max(1.0)));
    over(call, "softmax", x, swept, greatest, sum, &(operand(0) * operand(2)))
}

fn over(
    call: &mut Call<'_>,
    name: &'static str,
    x: ValueId,
    swept: Vec<bool>,
    greatest: Fold,
    sum: Fold,
    map: &Formula,
) -> Result<ValueId, Refusal> {
    let shape = call.shape(x);
    let sweep = Sweep {
        name,
        extents: shape.sample.clone(),
        swept,
        folds: vec![greatest, sum],
        map: Some(Program::from(map)),
        probability: name == "softmax",
    };
    call.add_kernel(sweep, vec![x], shape)
}

/// The greatest number of a row.
fn greatest() -> Fold {
    Fold::new(Combine::Top, &operand(0))
}

/// The sum of the exponentials, as the factor that it is applied as.
fn linear() -> Fold {
    Fold::new(Combine::Sum, &exponential()).kept().then(&(Formula::from(1.0) / operand(0)))
}
