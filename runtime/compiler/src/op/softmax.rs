//! Softmax: along one axis since opset 13; before, along all axes from one on, joined.

use super::{Call, Refusal};
use crate::graph::{Axis, Op, ValueId};

pub(super) fn lower(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let input = call.f32(0)?;
    let shape = call.shape(input);
    let joins = call.opset < 13;
    let axis = call.int("axis", if joins { 1 } else { -1 })?;
    let place = match shape.axis(axis) {
        Some(Axis::Sample(place)) => place,
        Some(Axis::Batch) => {
            let reason = "it normalises over the batch, and samples must not depend on each other";
            return Err(Refusal::unsupported(reason, "fix the batch: --input NAME=1,…"));
        }
        None => return Err(Refusal::malformed(format!("{shape} has no axis {axis}"))),
    };
    let product = |extents: &[u32]| {
        let product = extents.iter().try_fold(1u32, |product, extent| product.checked_mul(*extent));
        product.ok_or_else(|| Refusal::malformed(format!("{shape} is too large")))
    };
    let (outer, len, inner) = if joins {
        (product(&shape.sample[..place])?, product(&shape.sample[place..])?, 1)
    } else {
        (product(&shape.sample[..place])?, shape.sample[place], product(&shape.sample[place + 1..])?)
    };
    call.add(Op::Softmax { outer, len, inner }, vec![input], shape.clone())
}
