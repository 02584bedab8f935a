//! ConvTranspose: `y[m, o] = bias[m] + sum over c, i, t with i * stride + t * dilation - before = o of
//! x[c, i] * w[c, m, t]`, with one or two spatial axes.
//!
//! The weights are brought into the order of a convolution's, so that every pass sees one.

use super::conv::{check_kernel_shape, groups, spatial_axes};
use super::window::{list, pads};
use super::{Call, Refusal};
use crate::graph::{Conv, Op, Shape, ValueId, Window};
use crate::program::Program;

/// Every phase has kernels of its own.
const MAX_PHASES: u64 = 256;

pub(super) fn lower(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let (x, w, bias) = (call.f32(0)?, call.f32(1)?, call.optional_f32(2)?);
    let shape = call.shape(x);
    let spatial = spatial_axes(&shape)?;
    let (front, extents) = shape.sample.split_at(shape.sample.len() - spatial);
    let weights = call.constant(1, "its weight tensor")?.shape.clone();
    let [channels, columns, taps @ ..] = weights.as_slice() else {
        return Err(Refusal::malformed("its weights have less than 3 axes"));
    };
    let groups = groups(call)?;
    let m = columns.checked_mul(groups);
    let (Some(m), true) =
        (m, front.last() == Some(channels) && channels % groups == 0 && taps.len() == spatial)
    else {
        let weights = Shape::fixed(weights.clone());
        return Err(Refusal::shapes(format!(
            "the weights {weights} in {groups} groups do not fit the input {shape}"
        )));
    };
    check_kernel_shape(call, taps)?;
    let (windows, outputs) = windows(call, extents, taps)?;
    let phases = windows.iter().zip(&outputs).map(|(window, extent)| u64::from(window.stride.min(*extent)));
    if phases.product::<u64>() > MAX_PHASES {
        let strides: Vec<u32> = windows.iter().map(|window| window.stride).collect();
        let reason = format!("its strides {strides:?} make more than {MAX_PHASES} different places");
        return Err(Refusal::unsupported(reason, "use smaller strides, or Resize and a convolution"));
    }
    let mut sample = front[..front.len() - 1].to_vec();
    sample.push(m);
    sample.extend(outputs);
    let per_group = channels / groups;
    let turned = turned(&call.f32s(1, "its weight tensor")?, (groups, per_group, *columns), taps);
    let mut inputs = vec![x, call.add_f32s(&[&[m, per_group], taps].concat(), turned)?];
    let _ = w;
    if let Some(bias) = bias {
        call.constant(2, "its bias")?;
        if call.graph.extents(bias) != [m] {
            return Err(Refusal::malformed(format!("its bias does not have {m} numbers")));
        }
        inputs.push(bias);
    }
    let conv =
        Conv { windows, transposed: true, groups, bias: bias.is_some(), epilogue: Program::identity() };
    call.add(Op::Conv(conv), inputs, shape.with_sample(sample))
}

/// Weights `[groups, c, m, taps]` as `[groups, m, c, taps]`.
fn turned(numbers: &[f32], (groups, c, m): (u32, u32, u32), taps: &[u32]) -> Vec<f32> {
    let (groups, c, m) = (groups as usize, c as usize, m as usize);
    let window: usize = taps.iter().map(|tap| *tap as usize).product();
    let mut turned = Vec::with_capacity(numbers.len());
    for group in 0..groups {
        for (to, from) in (0..m).flat_map(|to| (0..c).map(move |from| (to, from))) {
            let first = ((group * c + from) * m + to) * window;
            turned.extend_from_slice(&numbers[first..first + window]);
        }
    }
    turned
}

/// The windows, of which only the padding before counts, and the extents of the result.
fn windows(call: &Call<'_>, extents: &[u32], taps: &[u32]) -> Result<(Vec<Window>, Vec<u32>), Refusal> {
    let axes = extents.len();
    if taps.contains(&0) {
        return Err(Refusal::malformed("its window has no taps"));
    }
    let (strides, dilations) = (list(call, "strides", axes, 1, 1)?, list(call, "dilations", axes, 1, 1)?);
    let (pads, added) = (pads(call, axes)?, list(call, "output_padding", axes, 0, 0)?);
    let form = call.text("auto_pad", "NOTSET")?;
    let wanted = call.ints("output_shape")?;
    let too_large = || Refusal::too_large("its result");
    let mut windows = Vec::with_capacity(axes);
    let mut outputs = Vec::with_capacity(axes);
    for axis in 0..axes {
        let (stride, dilation) = (strides[axis], dilations[axis]);
        if added[axis] >= stride.max(dilation) {
            let reason = format!("its output_padding {} is not less than a stride", added[axis]);
            return Err(Refusal::malformed(reason));
        }
        let extent = i64::from(extents[axis]);
        let reach = i64::from(taps[axis] - 1) * i64::from(dilation) + 1;
        let full = i64::from(stride) * (extent - 1) + i64::from(added[axis]) + reach;
        let same = matches!(form.as_str(), "SAME_UPPER" | "SAME_LOWER");
        let output = match &wanted {
            // Some exporters write the axes of samples and channels too.
            Some(wanted) if wanted.len() == axes || wanted.len() == axes + 2 => {
                Some(wanted[wanted.len() - axes + axis])
            }
            Some(wanted) => {
                return Err(Refusal::malformed(format!("its output_shape is {wanted:?}")));
            }
            None => same.then(|| extent * i64::from(stride)),
        };
        let (before, output) = match (output, form.as_str()) {
            (Some(output), "NOTSET" | "VALID" | "SAME_UPPER" | "SAME_LOWER") => {
                let total = full.saturating_sub(output).max(0);
                (if form == "SAME_UPPER" { total / 2 } else { total - total / 2 }, output)
            }
            (None, "VALID") => (0, full),
            (None, "NOTSET") => {
                let (before, after) = (i64::from(pads[axis]), i64::from(pads[axes + axis]));
                (before, full - before - after)
            }
            (_, other) => return Err(Refusal::malformed(format!("its auto_pad is {other:?}"))),
        };
        let output = u32::try_from(output).ok().filter(|output| *output > 0).ok_or_else(too_large)?;
        let before = u32::try_from(before).map_err(|_| too_large())?;
        windows.push(Window { size: taps[axis], stride, dilation, before, after: 0 });
        outputs.push(output);
    }
    Ok((windows, outputs))
}
