//! Concat of constants, as exporters use it to put a shape together.

use super::{Call, Refusal};
use crate::constant::{Constant, ConstantData};
use crate::graph::{Axis, Shape, ValueId};

pub(super) fn lower(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let Some(axis) = call.read("axis", |attribute| attribute.i)? else {
        return Err(Refusal::malformed("it has no axis"));
    };
    let first = call.constant(0, "a tensor to concatenate")?;
    let shape = Shape::fixed(first.shape.clone());
    let Some(Axis::Sample(axis)) = shape.axis(axis) else {
        return Err(Refusal::malformed(format!("{shape} has no axis {axis}")));
    };
    let mut parts = Vec::with_capacity(call.inputs.len());
    for index in 0..call.inputs.len() {
        let part = call.constant(index, "a tensor to concatenate")?;
        let others = |shape: &[u32]| [&shape[..axis], &shape[axis + 1..]].concat();
        if part.shape.len() != first.shape.len() || others(&part.shape) != others(&first.shape) {
            return Err(Refusal::malformed(format!("{:?} does not go with {:?}", part.shape, first.shape)));
        }
        parts.push(part);
    }
    let constant = concatenate(&parts, axis)
        .ok_or_else(|| Refusal::malformed("its operands have different types, or are too large"))?;
    call.add_constant(constant)
}

/// Slabs of each part in turn, for every index in front of the axis.
fn concatenate(parts: &[&Constant], axis: usize) -> Option<Constant> {
    let first = parts.first()?;
    let outer: usize = first.shape[..axis].iter().map(|extent| *extent as usize).product();
    let inner: usize = first.shape[axis + 1..].iter().map(|extent| *extent as usize).product();
    let extent = parts.iter().try_fold(0u32, |sum, part| sum.checked_add(part.shape[axis]))?;
    let mut data: Option<ConstantData> = None;
    for o in 0..outer {
        for part in parts {
            let slab = part.shape[axis] as usize * inner;
            let indices: Vec<usize> = (o * slab..(o + 1) * slab).collect();
            let piece = part.data.select(&indices)?;
            match &mut data {
                Some(data) => data.append(&piece)?,
                None => data = Some(piece),
            }
        }
    }
    let mut shape = first.shape.clone();
    shape[axis] = extent;
    Constant::new(shape, data.or_else(|| first.data.select(&[]))?)
}
