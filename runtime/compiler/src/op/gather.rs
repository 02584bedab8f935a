//! Gather of constants: `y[o, j, i] = x[o, indices[j], i]`, as exporters use it to take a shape apart.

use super::{Call, Refusal};
use crate::MAX_TENSOR_BYTES;
use crate::constant::{Constant, ConstantData};
use crate::error::CompileError;
use crate::graph::{Axis, Shape, ValueId};

pub(super) fn lower(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let axis = call.int("axis", 0)?;
    let data = call.constant(0, "the tensor to gather from")?;
    let indices = call.constant(1, "the indices to gather")?;
    let shape = Shape::fixed(data.shape.clone());
    let Some(Axis::Sample(axis)) = shape.axis(axis) else {
        return Err(Refusal::malformed(format!("{shape} has no axis {axis}")));
    };
    let wanted: Vec<i64> = match &indices.data {
        ConstantData::I64(values) => values.clone(),
        ConstantData::I32(values) => values.iter().map(|value| i64::from(*value)).collect(),
        ConstantData::F32(_) | ConstantData::F64(_) | ConstantData::Bool(_) => {
            return Err(Refusal::malformed("its indices are no integers"));
        }
    };
    let extent = data.shape[axis] as usize;
    let places: Vec<usize> = wanted.iter().map(|index| place(*index, extent)).collect::<Result<_, _>>()?;
    let outer: usize = data.shape[..axis].iter().map(|extent| *extent as usize).product();
    let inner: usize = data.shape[axis + 1..].iter().map(|extent| *extent as usize).product();
    let elements = (outer as u64).saturating_mul(places.len() as u64).saturating_mul(inner as u64);
    if elements > MAX_TENSOR_BYTES / 8 {
        let (what, limit) = ("a gathered constant".to_string(), MAX_TENSOR_BYTES / 8);
        return Err(CompileError::TooLarge { what, actual: elements, limit, unit: "elements" }.into());
    }
    let mut sources = Vec::with_capacity(outer * places.len() * inner);
    for o in 0..outer {
        for place in &places {
            sources.extend((0..inner).map(|i| (o * extent + place) * inner + i));
        }
    }
    let gathered =
        data.data.select(&sources).ok_or_else(|| Refusal::malformed("an index is out of range"))?;
    let mut shape = data.shape[..axis].to_vec();
    shape.extend_from_slice(&indices.shape);
    shape.extend_from_slice(&data.shape[axis + 1..]);
    call.add_constant(Constant { shape, data: gathered })
}

/// An index, which counts from the end if it is negative, as a place.
fn place(index: i64, extent: usize) -> Result<usize, Refusal> {
    let from_start = if index < 0 { index.saturating_add(extent as i64) } else { index };
    usize::try_from(from_start)
        .ok()
        .filter(|place| *place < extent)
        .ok_or_else(|| Refusal::malformed(format!("the index {index} is out of an axis of extent {extent}")))
}
