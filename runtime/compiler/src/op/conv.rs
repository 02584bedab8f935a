//! Conv: `y[m, o] = bias[m] + sum over c, t of x[c, o * stride + t * dilation - before] * w[m, c, t]`,
//! with one or two spatial axes.

use super::window::windows;
use super::{Call, Refusal};
use crate::graph::{Conv, Op, Shape, ValueId};
use crate::program::Program;

pub(super) fn lower(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let (x, w, bias) = (call.f32(0)?, call.f32(1)?, call.optional_f32(2)?);
    let shape = call.shape(x);
    let spatial = spatial_axes(&shape)?;
    let weights = call.constant(1, "its weight tensor")?.shape.clone();
    let [m, per_group, taps @ ..] = weights.as_slice() else {
        return Err(Refusal::malformed("its weights have less than 3 axes"));
    };
    let groups = groups(call)?;
    let channels = shape.sample[shape.sample.len() - spatial - 1];
    if per_group.checked_mul(groups) != Some(channels) || m % groups != 0 || taps.len() != spatial {
        let weights = Shape::fixed(weights.clone());
        return Err(Refusal::shapes(format!(
            "the weights {weights} in {groups} groups do not fit the input {shape}"
        )));
    }
    check_kernel_shape(call, taps)?;
    let extents = shape.sample[shape.sample.len() - spatial..].to_vec();
    let windows = windows(call, &extents, taps)?;
    let outputs: Vec<u32> =
        windows.iter().zip(&extents).map(|(window, extent)| window.outputs(*extent)).collect();
    if outputs.contains(&0) {
        return Err(Refusal::shapes(format!("its window does not fit into {shape}")));
    }
    let mut sample = shape.sample[..shape.sample.len() - spatial - 1].to_vec();
    sample.push(*m);
    sample.extend(outputs);
    let m = *m;
    let mut inputs = vec![x, w];
    if let Some(bias) = bias {
        call.constant(2, "its bias")?;
        if call.graph.extents(bias) != [m] {
            return Err(Refusal::malformed(format!("its bias does not have {m} numbers")));
        }
        inputs.push(bias);
    }
    let conv =
        Conv { windows, transposed: false, groups, bias: bias.is_some(), epilogue: Program::identity() };
    call.add(Op::Conv(conv), inputs, shape.with_sample(sample))
}

/// How many spatial axes an image batch `[N, C, …]` has.
pub(super) fn spatial_axes(shape: &Shape) -> Result<usize, Refusal> {
    if shape.batch.is_some_and(|batch| batch != 0) {
        return Err(Refusal::unsupported(
            format!("the batch is not the first axis of {shape}"),
            super::call::FIX_BATCH,
        ));
    }
    match shape.rank() {
        rank @ 3..=4 => Ok(rank - 2),
        rank => Err(Refusal::unsupported(
            format!("its input {shape} has {} spatial axes", rank.saturating_sub(2)),
            "use one or two spatial axes",
        )),
    }
}

/// The number of groups.
pub(super) fn groups(call: &Call<'_>) -> Result<u32, Refusal> {
    let groups = call.int("group", 1)?;
    u32::try_from(groups)
        .ok()
        .filter(|groups| *groups > 0)
        .ok_or_else(|| Refusal::malformed(format!("it has {groups} groups")))
}

/// `kernel_shape` only repeats what the weights say.
pub(super) fn check_kernel_shape(call: &Call<'_>, taps: &[u32]) -> Result<(), Refusal> {
    match call.ints("kernel_shape")? {
        Some(sizes)
            if sizes.iter().map(|size| u32::try_from(*size).unwrap_or(0)).ne(taps.iter().copied()) =>
        {
            Err(Refusal::malformed(format!("its kernel_shape is {sizes:?}, its weights have {taps:?} taps")))
        }
        Some(_) | None => Ok(()),
    }
}
