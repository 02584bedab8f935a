//! Add, Sub, Mul, Div: two tensors, element by element, with NumPy's broadcasting.
//!
//! Axes are compared from the last one on; an axis of extent 1, or one that is missing, repeats.
//! Neighbouring axes along which both operands behave alike are merged, so that the kernel has as
//! few loops as possible. Integer constants are folded, for shape arithmetic.

use super::{Call, Refusal};
use crate::constant::{Constant, ConstantData};
use crate::graph::{BATCH_EXTENT, Binary, Op, Shape, ValueId, ZipAxis};
use crate::passes::fold;

pub(super) fn add(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    lower(call, Binary::Add)
}

pub(super) fn sub(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    lower(call, Binary::Sub)
}

pub(super) fn mul(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    lower(call, Binary::Mul)
}

pub(super) fn div(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    lower(call, Binary::Div)
}

fn lower(call: &mut Call<'_>, function: Binary) -> Result<ValueId, Refusal> {
    let (left, right) = (call.input(0)?, call.input(1)?);
    if let (Some(a), Some(b)) = (call.graph.constant(left), call.graph.constant(right))
        && let (Some(a_values), Some(b_values)) = (a.i64s(), b.i64s())
    {
        let (shape, axes) = broadcast(&Shape::fixed(a.shape.clone()), &Shape::fixed(b.shape.clone()))?;
        let values = integers(function, a_values, b_values, &axes)?;
        return call.add_constant(Constant { shape: shape.sample, data: ConstantData::I64(values) });
    }
    let (left, right) = (call.f32(0)?, call.f32(1)?);
    zip(call, function, left, right)
}

/// Adds `function(left, right)` of two float32 values.
pub(super) fn zip(
    call: &mut Call<'_>,
    function: Binary,
    left: ValueId,
    right: ValueId,
) -> Result<ValueId, Refusal> {
    let (shape, axes) = broadcast(&call.shape(left), &call.shape(right))?;
    call.add(Op::Zip { function, axes }, vec![left, right], shape)
}

/// Integer arithmetic on constants, where a batch size has no place.
fn integers(function: Binary, a: &[i64], b: &[i64], axes: &[ZipAxis]) -> Result<Vec<i64>, Refusal> {
    if a.contains(&BATCH_EXTENT) || b.contains(&BATCH_EXTENT) {
        let reason = "it calculates with the batch size, which is not known yet";
        return Err(Refusal::unsupported(reason, "fix the batch: --input NAME=1,…"));
    }
    let places = fold::places(axes);
    if places.len() > fold::MAX_FOLDED_ELEMENTS {
        return Err(Refusal::malformed("its integers are too many"));
    }
    let apply = |(left, right): (usize, usize)| {
        let (a, b) = (*a.get(left)?, *b.get(right)?);
        match function {
            Binary::Add => a.checked_add(b),
            Binary::Sub => a.checked_sub(b),
            Binary::Mul => a.checked_mul(b),
            Binary::Div => a.checked_div(b),
        }
    };
    let values = places.map(apply).collect::<Option<_>>();
    values.ok_or_else(|| Refusal::malformed("its integers overflow, or are divided by 0"))
}

/// The result's shape and the merged axes of one sample.
pub(super) fn broadcast(left: &Shape, right: &Shape) -> Result<(Shape, Vec<ZipAxis>), Refusal> {
    let rank = left.rank().max(right.rank());
    let batched = left.batched || right.batched;
    let clash = || Refusal::malformed(format!("the shapes {left} and {right} do not go together"));
    let (a, b) = (sample(left, rank, batched)?, sample(right, rank, batched)?);
    let mut extents = Vec::with_capacity(a.len());
    let mut axes: Vec<ZipAxis> = Vec::new();
    for (a, b) in a.into_iter().zip(b) {
        let len = match (a, b) {
            (1, other) | (other, 1) => other,
            (a, b) if a == b => a,
            _ => return Err(clash()),
        };
        extents.push(len);
        if len == 1 {
            continue;
        }
        let axis = ZipAxis { len, left: a != 1, right: b != 1 };
        match axes.last_mut() {
            Some(last) if (last.left, last.right) == (axis.left, axis.right) => {
                last.len = last.len.checked_mul(len).ok_or_else(clash)?;
            }
            Some(_) | None => axes.push(axis),
        }
    }
    if axes.is_empty() {
        axes.push(ZipAxis { len: 1, left: true, right: true });
    }
    Ok((Shape { batched, sample: extents }, axes))
}

/// The extents of one sample, with ones in front up to `rank` axes.
fn sample(shape: &Shape, rank: usize, batched: bool) -> Result<Vec<u32>, Refusal> {
    let mixes = || {
        let reason = format!("broadcasting {shape} against a batch of {rank} axes would mix samples");
        Refusal::unsupported(reason, "fix the batch: --input NAME=1,…")
    };
    let missing = rank - shape.rank();
    let sample = if shape.batched {
        if missing > 0 {
            return Err(mixes());
        }
        shape.sample.clone()
    } else {
        let mut extents = vec![1; missing];
        extents.extend_from_slice(&shape.sample);
        // The place of the other operand's batch axis must repeat.
        if batched && extents.remove(0) != 1 {
            return Err(mixes());
        }
        extents
    };
    Ok(sample)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(len: u32, left: bool, right: bool) -> ZipAxis {
        ZipAxis { len, left, right }
    }

    #[test]
    fn axes_that_behave_alike_are_merged() {
        let merged =
            |a: &[u32], b: &[u32]| broadcast(&Shape::fixed(a), &Shape::fixed(b)).map(|(_, axes)| axes);
        assert_eq!(merged(&[2, 3, 4], &[2, 3, 4]).unwrap(), [axis(24, true, true)]);
        assert_eq!(merged(&[2, 3, 4], &[4]).unwrap(), [axis(6, true, false), axis(4, true, true)]);
        assert_eq!(merged(&[2, 1, 4], &[3, 1]).unwrap().len(), 3);
        assert_eq!(merged(&[1, 1], &[1]).unwrap(), [axis(1, true, true)]);
        assert!(merged(&[2, 3], &[2]).is_err());
    }

    #[test]
    fn samples_do_not_mix() {
        let batch = Shape { batched: true, sample: vec![3] };
        assert!(broadcast(&batch, &Shape::fixed([1, 3])).is_ok());
        assert!(broadcast(&batch, &Shape::fixed([2, 3])).is_err());
        assert!(broadcast(&batch, &Shape::fixed([1, 1, 3])).is_err());
    }
}
