//! Squeeze and Unsqueeze: axes of extent 1 taken out and put in.

use dunlin_abi::Dim;

use super::call::{FIX_BATCH, check_axes};
use super::{Call, Refusal};
use crate::graph::ValueId;

/// The axes: an attribute until opset 12, an input since.
fn axes(call: &Call<'_>) -> Result<Option<Vec<i64>>, Refusal> {
    match call.optional(1) {
        Some(_) => call.i64s(1, "the list of axes").map(Some),
        None => call.ints("axes"),
    }
}

/// Axes as places in a shape of `rank` axes, each at most once.
fn places(axes: &[i64], rank: usize) -> Result<Vec<usize>, Refusal> {
    check_axes(rank)?;
    check_axes(axes.len())?;
    let mut places = Vec::with_capacity(axes.len());
    for axis in axes {
        let from_start = if *axis < 0 { axis.saturating_add(rank as i64) } else { *axis };
        match usize::try_from(from_start) {
            Ok(place) if place < rank && !places.contains(&place) => places.push(place),
            _ => {
                return Err(Refusal::malformed(format!(
                    "the axis {axis} is not one of {rank}, or is there twice"
                )));
            }
        }
    }
    Ok(places)
}

fn add(call: &mut Call<'_>, input: ValueId, dims: &[Dim]) -> Result<ValueId, Refusal> {
    let Some(shape) = call.shape(input).with_dims(dims) else {
        return Err(Refusal::unsupported("its result has more than one batch axis", FIX_BATCH));
    };
    call.reshape(input, shape)
}

pub(super) fn squeeze(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let input = call.input(0)?;
    let dims = call.shape(input).dims();
    let places = match axes(call)? {
        Some(axes) => places(&axes, dims.len())?,
        None => (0..dims.len()).filter(|place| dims[*place] == Dim::Fixed(1)).collect(),
    };
    if let Some(place) = places.iter().find(|place| dims[**place] != Dim::Fixed(1)) {
        return Err(Refusal::shapes(format!("the axis {place} to squeeze does not have the extent 1")));
    }
    let kept = dims.iter().enumerate().filter(|(place, _)| !places.contains(place));
    let dims: Vec<Dim> = kept.map(|(_, dim)| *dim).collect();
    add(call, input, &dims)
}

pub(super) fn unsqueeze(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let input = call.input(0)?;
    let Some(axes) = axes(call)? else { return Err(Refusal::malformed("it has no axes")) };
    let mut old = call.shape(input).dims().into_iter();
    let rank = old.len() + axes.len();
    let places = places(&axes, rank)?;
    let next = |place| if places.contains(&place) { Some(Dim::Fixed(1)) } else { old.next() };
    let dims: Vec<Dim> = (0..rank).filter_map(next).collect();
    add(call, input, &dims)
}
