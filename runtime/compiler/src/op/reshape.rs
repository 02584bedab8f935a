//! Reshape and Flatten: the same elements under another shape. Samples never mix.

use super::{Call, Refusal};
use crate::graph::{BATCH_EXTENT, Shape, ValueId};

/// What to do where a shape would mix samples.
const FIX_BATCH: &str = "keep the first axis with 0 or -1, or fix the batch: --input NAME=1,…";

/// `Flatten(x)`: `[product of the axes before axis, product of the others]`.
pub(super) fn flatten(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let input = call.input(0)?;
    let shape = call.shape(input);
    let (axis, rank) = (call.int("axis", 1)?, shape.rank());
    let from_start = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    let Some(axis) = usize::try_from(from_start).ok().filter(|axis| *axis <= rank) else {
        return Err(Refusal::malformed(format!("{shape} has no axis {axis}")));
    };
    let product = |extents: &[u32]| {
        extents
            .iter()
            .try_fold(1u32, |product, extent| product.checked_mul(*extent))
            .ok_or_else(|| Refusal::malformed(format!("{shape} is too large")))
    };
    if !shape.batched {
        let (before, behind) = shape.sample.split_at(axis);
        return call.add_alias(input, Shape::fixed([product(before)?, product(behind)?]));
    }
    let (before, behind) = shape.sample.split_at(axis.saturating_sub(1));
    if axis == 0 || product(before)? != 1 {
        let reason = format!("flattening {shape} at axis {axis} joins the batch axis with others");
        return Err(Refusal::unsupported(reason, "fix the batch: --input NAME=1,…"));
    }
    let sample = vec![product(behind)?];
    call.add_alias(input, Shape { batched: true, sample })
}

/// `Reshape(x, shape)`: 0 copies an axis, one -1 takes what is left.
pub(super) fn reshape(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let input = call.input(0)?;
    let wanted = call.i64s(1, "the shape")?;
    let zero_copies = !call.flag("allowzero")?;
    let old = call.shape(input);
    let sample = match wanted.split_first() {
        Some((first, rest)) if old.batched => {
            let keeps = *first == BATCH_EXTENT || *first == -1 || (*first == 0 && zero_copies);
            if !keeps {
                let reason = format!("it gives the batch axis of {old} the fixed extent {first}");
                return Err(Refusal::unsupported(reason, FIX_BATCH));
            }
            // With -1 in front there is nothing left for a second one.
            if *first == -1 && rest.contains(&-1) {
                return Err(Refusal::malformed("its shape has -1 twice"));
            }
            resolve(rest, &old.sample, old.elements(), zero_copies)?
        }
        Some(_) => resolve(&wanted, &old.sample, old.elements(), zero_copies)?,
        None if old.batched => {
            return Err(Refusal::unsupported(format!("it makes a scalar of {old}"), FIX_BATCH));
        }
        None => Vec::new(),
    };
    let shape = Shape { batched: old.batched, sample };
    if old.batched && shape.elements() != old.elements() {
        let reason = format!("from {old} to {shape}, it would mix samples");
        return Err(Refusal::unsupported(reason, FIX_BATCH));
    }
    call.add_alias(input, shape)
}

/// The extents that a shape with 0 and -1 asks for; `old` and `elements` without the batch axis.
fn resolve(wanted: &[i64], old: &[u32], elements: u64, zero_copies: bool) -> Result<Vec<u32>, Refusal> {
    let mut extents = Vec::with_capacity(wanted.len());
    let mut free = None;
    for (index, extent) in wanted.iter().enumerate() {
        extents.push(match extent {
            0 if zero_copies => *old.get(index).ok_or_else(|| {
                Refusal::malformed(format!("its shape copies the axis {index}, which is not there"))
            })?,
            -1 if free.is_none() => {
                free = Some(index);
                1
            }
            -1 => return Err(Refusal::malformed("its shape has -1 twice")),
            &BATCH_EXTENT => {
                let reason = "its shape has the batch size behind the first place";
                return Err(Refusal::unsupported(reason, FIX_BATCH));
            }
            other => u32::try_from(*other)
                .map_err(|_| Refusal::malformed(format!("its shape has the extent {other}")))?,
        });
    }
    if let Some(free) = free {
        let known = Shape::fixed(extents.clone()).elements();
        let rest = elements.checked_div(known).filter(|rest| rest.checked_mul(known) == Some(elements));
        extents[free] = rest.and_then(|rest| u32::try_from(rest).ok()).ok_or_else(|| {
            Refusal::malformed(format!("{elements} elements do not divide into {wanted:?}"))
        })?;
    }
    Ok(extents)
}
