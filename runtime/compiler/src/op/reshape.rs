//! Reshape and Flatten: the same elements under another shape. Samples never mix.

use super::call::FIX_BATCH;
use super::{Call, Refusal};
use crate::graph::{BATCH_EXTENT, Shape, ValueId, batch_extent, batch_factor};

/// `Flatten(x)`: `[product of the axes before axis, product of the others]`.
pub(super) fn flatten(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let input = call.input(0)?;
    let shape = call.shape(input);
    let (axis, rank) = (call.int("axis", 1)?, shape.rank());
    let from_start = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
    let Some(axis) = usize::try_from(from_start).ok().filter(|axis| *axis <= rank) else {
        return Err(Refusal::malformed(format!("{shape} has no axis {axis}")));
    };
    let joins = || {
        let reason = format!("flattening {shape} at axis {axis} joins the batch axis with others");
        Refusal::unsupported(reason, FIX_BATCH)
    };
    let Some(batch) = shape.batch else {
        let (before, behind) = shape.sample.split_at(axis);
        return call.reshape(input, Shape::fixed([product(before)?, product(behind)?]));
    };
    let (side, other, place) = if axis > batch {
        let (before, behind) = shape.sample.split_at(axis - 1);
        (before, behind, 0)
    } else {
        let (before, behind) = shape.sample.split_at(axis);
        (behind, before, 1)
    };
    if product(side)? != 1 {
        return Err(joins());
    }
    call.reshape(input, Shape::new(Some(place), vec![product(other)?]))
}

fn product(extents: &[u32]) -> Result<u32, Refusal> {
    let product = extents.iter().try_fold(1u32, |product, extent| product.checked_mul(*extent));
    product.ok_or_else(|| Refusal::too_large("its tensor"))
}

/// `Reshape(x, shape)`: 0 copies an axis, one -1 takes what is left.
pub(super) fn reshape(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let input = call.input(0)?;
    let mut wanted = call.i64s(1, "the shape")?;
    let old = call.shape(input);
    if wanted.iter().filter(|extent| **extent == -1).count() > 1 {
        return Err(Refusal::malformed("its shape has -1 twice"));
    }
    if !call.flag("allowzero")? {
        copy_axes(&mut wanted, &old)?;
    }
    let Some(batch) = old.batch else {
        let sample = resolve(&wanted, old.elements())?;
        return call.reshape(input, Shape::fixed(sample));
    };
    let shape = with_batch(&wanted, &old, batch)?;
    call.reshape(input, shape)
}

/// Puts the old extents in the places of zeros.
fn copy_axes(wanted: &mut [i64], old: &Shape) -> Result<(), Refusal> {
    let dims = old.dims();
    for (index, extent) in wanted.iter_mut().enumerate().filter(|(_, extent)| **extent == 0) {
        *extent = match dims.get(index) {
            Some(dunlin_abi::Dim::Batch) => batch_extent(old.batch_factor()).unwrap_or(BATCH_EXTENT),
            Some(dunlin_abi::Dim::Fixed(extent) | dunlin_abi::Dim::AtMost(extent)) => i64::from(*extent),
            None => {
                let reason = format!("its shape copies the axis {index}, which is not there");
                return Err(Refusal::malformed(reason));
            }
        };
    }
    Ok(())
}

/// The wanted shape of a tensor with a batch axis, which is where its mark is, or else where -1 is.
///
/// What lies before the samples stays before them, and what lies behind stays behind: where the wanted
/// axes do not use all of it up, the rest is joined with the batch axis.
fn with_batch(wanted: &[i64], old: &Shape, batch: usize) -> Result<Shape, Refusal> {
    let marked = wanted.iter().position(|extent| batch_factor(*extent).is_some());
    let place = match marked.or_else(|| wanted.iter().position(|extent| *extent == -1)) {
        Some(place) => place,
        None => {
            let fixed = wanted.get(batch).copied().unwrap_or(1);
            let reason = format!("it gives the batch axis of {old} the fixed extent {fixed}");
            return Err(Refusal::unsupported(reason, FIX_BATCH));
        }
    };
    let mut rest = wanted.to_vec();
    let factor = batch_factor(rest.remove(place));
    if rest.iter().any(|extent| batch_factor(*extent).is_some()) {
        return Err(Refusal::unsupported("its shape has the batch size twice", FIX_BATCH));
    }
    let own = u64::from(factor.unwrap_or(1));
    let available = old.elements().checked_div(own).unwrap_or(0);
    let extents = resolve(&rest, available)?;
    let product =
        |extents: &[u32]| extents.iter().fold(1u64, |all, extent| all.saturating_mul((*extent).into()));
    let first = batch + old.joined[0];
    let (before, behind) = old.sample.split_at(first.min(old.sample.len()));
    let mixes = || {
        let reason = format!("from {old} to {wanted:?}, it would mix samples");
        Refusal::unsupported(reason.replace(&BATCH_EXTENT.to_string(), "n"), FIX_BATCH)
    };
    let left = |all: u64, used: u64| {
        let rest = all.checked_div(used).filter(|rest| rest.checked_mul(used) == Some(all));
        rest.and_then(|rest| u32::try_from(rest).ok()).ok_or_else(mixes)
    };
    let outer = left(product(before), product(&extents[..place]))?;
    let inner = left(product(behind), product(&extents[place..]))?;
    if factor.is_some_and(|factor| u64::from(outer) * u64::from(inner) != u64::from(factor)) {
        return Err(mixes());
    }
    let mut sample = extents[..place].to_vec();
    sample.extend([outer, inner].iter().filter(|extent| **extent != 1));
    sample.extend_from_slice(&extents[place..]);
    Ok(Shape { batch: Some(place), joined: [usize::from(outer != 1), usize::from(inner != 1)], sample })
}

/// The extents that a shape with one -1 asks for.
fn resolve(wanted: &[i64], elements: u64) -> Result<Vec<u32>, Refusal> {
    let extent = |extent: &i64| {
        let wrong = || Refusal::malformed(format!("its shape has the extent {extent}"));
        if *extent == -1 { Ok(1) } else { u32::try_from(*extent).map_err(|_| wrong()) }
    };
    let mut extents = wanted.iter().map(extent).collect::<Result<Vec<u32>, _>>()?;
    if let Some(free) = wanted.iter().position(|extent| *extent == -1) {
        let known = Shape::fixed(extents.clone()).elements();
        let rest = elements.checked_div(known).filter(|rest| rest.checked_mul(known) == Some(elements));
        extents[free] = rest
            .and_then(|rest| u32::try_from(rest).ok())
            .ok_or_else(|| Refusal::shapes(format!("{elements} elements do not divide into {wanted:?}")))?;
    }
    Ok(extents)
}
