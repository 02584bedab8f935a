//! Concat: tensors one behind the other along an axis.

use super::{Call, Refusal};
use crate::constant::{Constant, ConstantData};
use crate::graph::{Axis, BATCH_EXTENT, Op, Shape, ValueId, batch_extent};

pub(super) fn lower(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let Some(axis) = call.read("axis", |attribute| attribute.i)? else {
        return Err(Refusal::malformed("it has no axis"));
    };
    let parts: Vec<ValueId> =
        (0..call.inputs.len()).map(|index| call.input(index)).collect::<Result<_, _>>()?;
    concat(call, &parts, axis)
}

/// The parts along ONNX's axis `axis`.
pub(super) fn concat(call: &mut Call<'_>, parts: &[ValueId], axis: i64) -> Result<ValueId, Refusal> {
    let parts = batched_alike(call, parts)?;
    let batched = parts.iter().find(|part| call.shape(**part).is_batched());
    let Some(part) = batched.or(parts.first()) else {
        return Err(Refusal::malformed("it has no operands"));
    };
    let shape = call.shape(*part);
    let place = call.sample_axis(&shape, axis, "joins tensors along")?;
    join(call, &parts, place)
}

/// Parts that are the same for every sample, such as the class token of a vision transformer that is
/// expanded to the batch size, lose the axis of extent 1 that stands where the others have the batch.
fn batched_alike(call: &mut Call<'_>, parts: &[ValueId]) -> Result<Vec<ValueId>, Refusal> {
    let batched = parts.iter().map(|part| call.shape(*part)).find(Shape::is_batched);
    let Some((batch, rank)) = batched.and_then(|shape| Some((shape.batch?, shape.rank()))) else {
        return Ok(parts.to_vec());
    };
    let mut alike = Vec::with_capacity(parts.len());
    for part in parts {
        let mut shape = call.shape(*part);
        if shape.rank() != rank {
            return Err(Refusal::shapes(format!("{shape} does not have {rank} axes")));
        }
        let shared = !shape.is_batched() && shape.sample.get(batch) == Some(&1);
        alike.push(if shared {
            shape.sample.remove(batch);
            call.reshape(*part, shape)?
        } else {
            *part
        });
    }
    Ok(alike)
}

/// The parts along an axis of their samples.
pub(super) fn join(call: &mut Call<'_>, parts: &[ValueId], place: usize) -> Result<ValueId, Refusal> {
    let Some(first) = parts.first() else { return Err(Refusal::malformed("it has no operands")) };
    let (shape, dtype) = (call.shape(*first), call.dtype(*first));
    // One batched part makes the result batched.
    let batched = parts.iter().map(|part| call.shape(*part)).find(Shape::is_batched);
    let batch = batched.unwrap_or_else(|| shape.clone()).with_sample([]);
    let mut whole = batch.with_sample(shape.sample.clone());
    whole.sample[place] = 0;
    for part in parts {
        let other = call.shape(*part);
        let mut alike = other.clone();
        let extent = alike.sample.get_mut(place).map(std::mem::take);
        let (Some(extent), true) = (extent, call.dtype(*part) == dtype) else {
            return Err(Refusal::malformed("its operands have different types or axes"));
        };
        let mut expected = whole.clone();
        expected.sample[place] = 0;
        if alike.sample != expected.sample || other.is_batched() && other.with_sample([]) != batch {
            return Err(Refusal::shapes(format!("{other} does not go with {shape}")));
        }
        let sum = whole.sample[place].checked_add(extent);
        whole.sample[place] = sum.ok_or_else(|| Refusal::too_large("its result"))?;
    }
    // Parts without elements, as exporters leave them, add nothing.
    let parts: Vec<ValueId> = parts.iter().copied().filter(|part| call.shape(*part).elements() > 0).collect();
    match parts.as_slice() {
        [] => call.reshape(*first, whole),
        [only] => Ok(*only),
        _ => call.add_typed(dtype, Op::Concat { axis: place }, parts, whole),
    }
}

/// `Split(x)`: pieces of x along an axis, whose extents are an attribute until opset 12, an input since;
/// without either, as many equal pieces as there are results, of which the last may be smaller.
pub(super) fn split(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let input = call.input(0)?;
    let shape = call.shape(input);
    let axis = call.int("axis", 0)?;
    let place = call.sample_axis(&shape, axis, "cuts")?;
    let count = u32::try_from(call.node.output.len()).unwrap_or(u32::MAX);
    let given =
        if call.opset < 13 { call.ints("split")? } else { call.optional_i64s(1, "the list of extents")? };
    let extent = shape.sample[place];
    let extents: Vec<i64> = match given {
        Some(extents) => extents,
        None => {
            let pieces = u32::try_from(call.int("num_outputs", count.into())?).unwrap_or(0);
            if pieces != count || count == 0 {
                return Err(Refusal::malformed(format!("it has {count} results, not {pieces}")));
            }
            let piece = extent.div_ceil(count);
            (0..count)
                .map(|index| i64::from(piece.min(extent.saturating_sub(index.saturating_mul(piece)))))
                .collect()
        }
    };
    if extents.len() != count as usize
        || extents.iter().any(|e| *e < 0)
        || extents.iter().map(|extent| i128::from(*extent)).sum::<i128>() != i128::from(extent)
    {
        return Err(Refusal::malformed(format!(
            "{extent} elements do not divide into {extents:?} for {count} results"
        )));
    }
    let mut start = 0;
    let mut first = None;
    for (index, extent) in extents.iter().enumerate() {
        let len = u32::try_from(*extent).unwrap_or(0);
        if call.wants_output(index) {
            let piece = call.slice(input, place, (start, 1, len))?;
            if index == 0 { first = Some(piece) } else { call.give_further(index, piece) }
        }
        start += len;
    }
    first.ok_or_else(|| Refusal::malformed("it makes no first result"))
}

/// `Shape(x)`: known here, because every shape is static; the batch axis becomes its mark.
pub(super) fn shape(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let input = call.input(0)?;
    let shape = call.shape(input);
    let rank = i64::try_from(shape.rank()).unwrap_or(i64::MAX);
    let clamp = |index: i64| (if index < 0 { index.saturating_add(rank) } else { index }).clamp(0, rank);
    let (start, end) = (clamp(call.int("start", 0)?), clamp(call.int("end", i64::MAX)?));
    let extent = |axis: i64| match shape.axis(axis) {
        Some(Axis::Sample(place)) => i64::from(shape.sample[place]),
        Some(Axis::Batch) | None => batch_extent(shape.batch_factor()).unwrap_or(BATCH_EXTENT),
    };
    let extents: Vec<i64> = (start..end).map(extent).collect();
    let count = u32::try_from(extents.len()).map_err(|_| Refusal::malformed("it has too many axes"))?;
    call.add_constant(Constant { shape: vec![count], data: ConstantData::I64(extents) })
}

/// `Size(x)`: the number of elements.
pub(super) fn size(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let input = call.input(0)?;
    let shape = call.shape(input);
    let elements = if shape.is_batched() {
        batch_extent(shape.elements()).ok_or_else(|| Refusal::too_large("its tensor"))?
    } else {
        i64::try_from(shape.elements()).unwrap_or(i64::MAX)
    };
    call.add_constant(Constant { shape: vec![], data: ConstantData::I64(vec![elements]) })
}
