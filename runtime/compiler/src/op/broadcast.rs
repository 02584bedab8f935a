//! NumPy's broadcasting: shapes are compared from the last axis on; an axis of extent 1, or one that is
//! missing, repeats. The batch axis meets only itself, an axis of extent 1, or nothing.

use super::call::FIX_BATCH;
use super::{Call, Refusal};
use crate::graph::{Shape, ValueId};

/// The operands with their samples aligned for right-aligned broadcasting, and the result's shape.
///
/// Where an operand has an axis of extent 1 in the place of the batch, the axis is taken out of it.
pub(super) fn together(call: &mut Call<'_>, operands: &[ValueId]) -> Result<(Vec<ValueId>, Shape), Refusal> {
    let shapes: Vec<Shape> = operands.iter().map(|id| call.shape(*id)).collect();
    let (samples, shape) = aligned(&shapes)?;
    let mut aligned = Vec::with_capacity(operands.len());
    for ((operand, shape), sample) in operands.iter().zip(&shapes).zip(samples) {
        aligned.push(if sample == shape.sample {
            *operand
        } else {
            call.reshape(*operand, shape.with_sample(sample))?
        });
    }
    Ok((aligned, shape))
}

/// The samples of the operands as they go together, and the shape of the result.
pub(super) fn aligned(shapes: &[Shape]) -> Result<(Vec<Vec<u32>>, Shape), Refusal> {
    let rank = shapes.iter().map(Shape::rank).max().unwrap_or(0);
    let batch = batch_axis(shapes, rank)?;
    let mut samples = Vec::with_capacity(shapes.len());
    let joined = shapes.iter().find(|shape| shape.is_batched()).map_or([0, 0], |shape| shape.joined);
    let count = joined[0] + joined[1];
    let mut whole = vec![1; rank + count - usize::from(batch.is_some())];
    for shape in shapes {
        let mut sample = shape.sample.clone();
        let meets = batch.and_then(|batch| batch.checked_sub(rank - shape.rank()));
        if let Some(own) = meets.filter(|_| !shape.is_batched())
            && sample.splice(own..=own, vec![1; count]).next() != Some(1)
        {
            return Err(mixes(shape));
        }
        if shape.is_batched() && shape.joined != joined {
            return Err(mixes(shape));
        }
        let skip = whole.len() - sample.len();
        for (whole, extent) in whole[skip..].iter_mut().zip(&sample) {
            *whole = match (*whole, *extent) {
                (1, other) | (other, 1) => other,
                (a, b) if a == b => a,
                _ => return Err(clash(shapes)),
            };
        }
        samples.push(sample);
    }
    Ok((samples, Shape { batch, joined, sample: whole }))
}

/// Where the batch axis is in the result.
fn batch_axis(shapes: &[Shape], rank: usize) -> Result<Option<usize>, Refusal> {
    let mut axis = None;
    for shape in shapes {
        let Some(own) = shape.batch else { continue };
        let place = own + rank - shape.rank();
        if axis.is_some_and(|axis| axis != place) {
            return Err(mixes(shape));
        }
        axis = Some(place);
    }
    Ok(axis)
}

fn mixes(shape: &Shape) -> Refusal {
    Refusal::unsupported(format!("broadcasting {shape} would mix samples"), FIX_BATCH)
}

fn clash(shapes: &[Shape]) -> Refusal {
    let shapes: Vec<String> = shapes.iter().map(Shape::to_string).collect();
    Refusal::shapes(format!("the shapes {} do not go together", shapes.join(" and ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_do_not_mix() {
        let batch = Shape::new(Some(0), [3]);
        let with = |other: Shape| aligned(&[batch.clone(), other]).map(|(_, shape)| shape);
        assert_eq!(with(Shape::fixed([1, 3])).unwrap(), batch);
        assert_eq!(with(Shape::fixed([2, 1, 1])).unwrap(), Shape::new(Some(1), [2, 3]));
        assert!(with(Shape::fixed([2, 3])).is_err());
        assert!(with(Shape::new(Some(1), [3])).is_err());
        assert!(with(Shape::fixed([2])).is_err());
    }
}
