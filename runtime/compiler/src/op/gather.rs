//! Gather: `y[o, j, i] = x[o, indices[j], i]`.
//!
//! Indices that are known make slices and joins of slices; indices that the model is given are read
//! by a kernel.

use std::rc::Rc;

use dunlin_abi::DType;

use super::{Call, Refusal, integer};
use crate::constant::ConstantData;
use crate::emit::gather::Gather;
use crate::emit::integer::Width;
use crate::graph::{Op, Shape, ValueId};

pub(super) fn lower(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let (data, indices) = (call.input(0)?, call.input(1)?);
    let shape = call.shape(data);
    let place = call.sample_axis(&shape, call.int("axis", 0)?, "picks from")?;
    let Some(known) = call.graph.constant(indices) else {
        return at_run_time(call, data, indices, place);
    };
    let extents = known.shape.clone();
    let Some(wanted) = integer::values(known) else {
        return Err(Refusal::malformed("its indices are no integers"));
    };
    let extent = shape.sample[place];
    let places: Vec<u32> = wanted.iter().map(|index| from_start(*index, extent)).collect::<Result<_, _>>()?;
    let mut sample = shape.sample[..place].to_vec();
    sample.extend_from_slice(&extents);
    sample.extend_from_slice(&shape.sample[place + 1..]);
    let batch = shape.batch.map(|batch| if batch > place { batch + extents.len() - 1 } else { batch });
    let whole = Shape { batch, joined: shape.joined, sample };
    if let Some(constant) = call.graph.constant(data) {
        let picked = picked(constant, place, &places, &whole)?;
        return call.add_constant(picked);
    }
    let mut runs: Vec<ValueId> = Vec::new();
    for (start, step, len) in runs_of(&places) {
        runs.push(call.slice(data, place, (start, step, len))?);
    }
    let joined = super::concat::join(call, &runs, place)?;
    call.reshape(joined, whole)
}

fn too_large() -> Refusal {
    Refusal::malformed("its result is too large")
}

/// A kernel that reads the indices; where the samples have indices of their own, x is the same for all.
fn at_run_time(
    call: &mut Call<'_>,
    data: ValueId,
    indices: ValueId,
    axis: usize,
) -> Result<ValueId, Refusal> {
    let (shape, picks) = (call.shape(data), call.shape(indices));
    let Some(index) = Width::of(call.dtype(indices)) else {
        return Err(Refusal::malformed("its indices are no integers"));
    };
    let batch = match (shape.batch, picks.batch) {
        (Some(batch), None) if batch > axis => Some(batch + picks.sample.len() - 1),
        (batch, None) => batch,
        (None, Some(batch)) => Some(axis + batch),
        (Some(_), Some(_)) => {
            let reason = "its tensor and its indices both depend on the batch";
            return Err(Refusal::unsupported(reason, super::call::FIX_BATCH));
        }
    };
    let product = |extents: &[u32]| {
        let product = extents.iter().try_fold(1u32, |product, extent| product.checked_mul(*extent));
        product.ok_or_else(too_large)
    };
    let words = if call.dtype(data) == DType::I64 { 2 } else { 1 };
    let (before, behind) = (&shape.sample[..axis], &shape.sample[axis + 1..]);
    let sample = [before, &picks.sample, behind].concat();
    let gather = Gather {
        outer: product(before)?,
        extent: shape.sample[axis],
        inner: product(behind)?.checked_mul(words).ok_or_else(too_large)?,
        count: product(&picks.sample)?,
        index,
    };
    let dtype = call.dtype(data);
    call.add_typed(dtype, Op::Kernel(Rc::new(gather)), vec![data, indices], Shape::new(batch, sample))
}

fn picked(
    data: &crate::Constant,
    axis: usize,
    places: &[u32],
    whole: &Shape,
) -> Result<crate::Constant, Refusal> {
    let elements = whole.elements();
    if elements > crate::passes::fold::MAX_FOLDED_ELEMENTS as u64 {
        let (what, limit) =
            ("a gathered constant".to_string(), crate::passes::fold::MAX_FOLDED_ELEMENTS as u64);
        return Err(crate::CompileError::TooLarge { what, actual: elements, limit, unit: "elements" }.into());
    }
    let product = |extents: &[u32]| extents.iter().map(|extent| *extent as usize).product::<usize>();
    let (outer, inner) = (product(&data.shape[..axis]), product(&data.shape[axis + 1..]));
    let extent = data.shape[axis] as usize;
    let mut sources = Vec::with_capacity(outer * places.len() * inner);
    for o in 0..outer {
        for place in places {
            sources.extend((0..inner).map(|i| (o * extent + *place as usize) * inner + i));
        }
    }
    let gathered: Option<ConstantData> = data.data.select(&sources);
    let constant = gathered.and_then(|data| crate::Constant::new(whole.sample.clone(), data));
    constant.ok_or_else(|| Refusal::malformed("an index is out of range"))
}

/// An index, which counts from the end if it is negative, as a place.
fn from_start(index: i64, extent: u32) -> Result<u32, Refusal> {
    let place = if index < 0 { index.saturating_add(extent.into()) } else { index };
    let place = u32::try_from(place).ok().filter(|place| *place < extent);
    place.ok_or_else(|| Refusal::malformed(format!("the index {index} is out of an axis of extent {extent}")))
}

/// The places as runs of equal steps: start, step, count.
fn runs_of(places: &[u32]) -> Vec<(u32, i32, u32)> {
    let mut runs: Vec<(u32, i32, u32)> = Vec::new();
    for place in places {
        if let Some((start, step, len)) = runs.last_mut() {
            let last = i64::from(*start) + i64::from(*step) * (i64::from(*len) - 1);
            let here = i64::from(*place) - last;
            let fits = i32::try_from(here).ok().filter(|here| *len == 1 || here == step);
            if let Some(here) = fits.filter(|here| *here != 0) {
                (*step, *len) = (here, *len + 1);
                continue;
            }
        }
        runs.push((*place, 1, 1));
    }
    runs
}
