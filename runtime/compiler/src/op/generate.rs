//! Tensors that the compiler makes itself: ConstantOfShape, Range, EyeLike; and Tile, which repeats one.

use dunlin_abi::DType;

use super::call::FIX_BATCH;
use super::{Call, Refusal};
use crate::constant::{Constant, ConstantData};
use crate::graph::{BATCH_EXTENT, Rearrange, Shape, ValueId, batch_factor};
use crate::import::tensor_constant;
use crate::passes::fold::MAX_FOLDED_ELEMENTS;

/// `ConstantOfShape(shape)`: one value, repeated. Where the batch axis is in the shape, it is of extent 1,
/// because the same is there for every sample.
pub(super) fn constant_of_shape(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let wanted = call.i64s(0, "the shape")?;
    let name = crate::import::node_name(call.node);
    let value =
        call.read("value", |attribute| attribute.t.as_ref().map(|tensor| tensor_constant(tensor, name)))?;
    let value = match value {
        Some(value) => value?.data,
        None => ConstantData::F32(vec![0.0]),
    };
    let extent = |extent: &i64| match *extent {
        BATCH_EXTENT => Ok(1),
        extent if batch_factor(extent).is_some() => {
            Err(Refusal::unsupported("its shape joins the batch axis with others", FIX_BATCH))
        }
        extent => u32::try_from(extent)
            .map_err(|_| Refusal::malformed(format!("its shape has the extent {extent}"))),
    };
    let shape = wanted.iter().map(extent).collect::<Result<Vec<u32>, _>>()?;
    let elements = usize::try_from(Shape::fixed(shape.clone()).elements()).ok();
    let Some(elements) = elements.filter(|elements| *elements <= MAX_FOLDED_ELEMENTS) else {
        return Err(Refusal::too_large("its shape"));
    };
    let data = value.select(&vec![0; elements]).ok_or_else(|| Refusal::malformed("its value is empty"))?;
    call.add_constant(Constant { shape, data })
}

/// `Range(start, limit, delta)`, of numbers that are known.
pub(super) fn range(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let mut bounds = Vec::with_capacity(3);
    for (index, what) in ["the start", "the limit", "the step"].into_iter().enumerate() {
        let constant = call.constant(index, what)?;
        if call.optional(index).is_some_and(|id| call.graph.marked.contains(&id)) {
            return Err(Refusal::unsupported("it counts over the batch", FIX_BATCH));
        }
        let number = constant.data.cast(DType::F64);
        match number {
            Some(ConstantData::F64(values)) if values.len() == 1 => bounds.push(values[0]),
            _ => return Err(Refusal::malformed(format!("{what} is no number"))),
        }
    }
    let (start, limit, delta) = (bounds[0], bounds[1], bounds[2]);
    let count = ((limit - start) / delta).ceil().max(0.0);
    if count > MAX_FOLDED_ELEMENTS as f64 {
        return Err(Refusal::too_large("its result"));
    }
    let dtype = call.dtype(call.input(0)?);
    let count = count as u32;
    let values = ConstantData::F64((0..count).map(|index| start + f64::from(index) * delta).collect());
    let data = match dtype {
        DType::F32 => match values {
            ConstantData::F64(values) => {
                Some(ConstantData::F32(values.into_iter().map(|v| v as f32).collect()))
            }
            other => Some(other),
        },
        _ => values.cast(dtype),
    };
    let data = data.ok_or_else(|| Refusal::malformed("its numbers do not fit its type"))?;
    call.add_constant(Constant { shape: vec![count], data })
}

/// `Tile(x, repeats)`: each axis gets an axis before it that repeats, and both become one.
pub(super) fn tile(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let x = call.input(0)?;
    let mut repeats = call.i64s(1, "the list of repeats")?;
    let shape = call.shape(x);
    if repeats.len() != shape.rank() {
        return Err(Refusal::shapes(format!("{} repeats do not fit {shape}", repeats.len())));
    }
    if let Some(batch) = shape.batch
        && repeats.remove(batch) != 1
    {
        return Err(Refusal::unsupported("it repeats the batch", FIX_BATCH));
    }
    let (mut apart, mut repeated, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for (extent, times) in shape.sample.iter().zip(&repeats) {
        if batch_factor(*times).is_some() && (*extent != 1 || *times != BATCH_EXTENT || shape.is_batched()) {
            let reason = "it repeats by the batch size what has other axes";
            return Err(Refusal::unsupported(reason, FIX_BATCH));
        }
        // What does not depend on the batch is the same for every sample, and is there once.
        let times = if *times == BATCH_EXTENT { 1 } else { *times };
        let times =
            u32::try_from(times).map_err(|_| Refusal::malformed(format!("it repeats {times} times")))?;
        let product = extent.checked_mul(times).ok_or_else(|| Refusal::too_large("its result"))?;
        apart.extend([1, *extent]);
        repeated.extend([times, *extent]);
        whole.push(product);
    }
    if whole == shape.sample {
        return Ok(x);
    }
    // The batch axis stays in front of as many axes as before.
    let batch = shape.batch.map(|batch| batch * 2);
    let x = call.reshape(x, Shape::new(batch, apart))?;
    let x = call.rearrange(x, Rearrange::Expand, Shape::new(batch, repeated))?;
    call.reshape(x, shape.with_sample(whole))
}
