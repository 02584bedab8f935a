//! Where and Clip: choosing between numbers.

use dunlin_abi::DType;

use super::{Call, Refusal, integer};
use crate::graph::ValueId;
use crate::program::operand;

/// `Where(condition, x, y)`
pub(super) fn choose(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let (condition, x, y) = (call.truth(0)?, call.input(1)?, call.input(2)?);
    if call.dtype(x) != call.dtype(y) {
        return Err(Refusal::malformed("its operands have different types"));
    }
    let formula = operand(0).select(operand(1), operand(2));
    let dtype = if call.dtype(x) == DType::Bool { DType::Bool } else { DType::F32 };
    call.pointwise_typed(dtype, &formula, &[condition, x, y])
}

/// `Clip(x, min, max)`: the bounds are attributes until opset 10, inputs since; `min(max, max(x, min))`.
pub(super) fn clip(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let x = call.input(0)?;
    let mut formula = operand(0);
    if call.opset < 11 {
        let (least, most) = (call.float("min", f32::MIN)?, call.float("max", f32::MAX)?);
        return call.pointwise(&formula.max(least).min(most), &[x]);
    }
    let mut operands = vec![x];
    for index in [1, 2] {
        let Some(bound) = call.optional(index) else { continue };
        if call.dtype(bound) != call.dtype(x) || call.shape(bound).elements() != 1 {
            return Err(Refusal::malformed("a bound is no number of its input's type"));
        }
        // A bound that is known goes into the formula, where it is cheaper.
        let known = call.graph.constant(bound).filter(|bound| integer::values(bound).is_none());
        let bound = match known.and_then(|bound| bound.f32s()?.first().copied()) {
            Some(number) => number.into(),
            None => {
                operands.push(bound);
                operand(operands.len() - 1)
            }
        };
        formula = if index == 1 { formula.max(bound) } else { formula.min(bound) };
    }
    call.pointwise(&formula, &operands)
}
