//! The attributes that sliding windows share: sizes, strides, dilations and the forms of padding.

use super::{Call, Refusal};
use crate::graph::Window;

/// The windows of a node over spatial axes of these extents, with taps of these sizes.
pub(super) fn windows(call: &Call<'_>, extents: &[u32], sizes: &[u32]) -> Result<Vec<Window>, Refusal> {
    let axes = extents.len();
    if sizes.len() != axes || sizes.contains(&0) {
        return Err(Refusal::malformed(format!("its window {sizes:?} does not fit {axes} spatial axes")));
    }
    let (strides, dilations) = (list(call, "strides", axes, 1, 1)?, list(call, "dilations", axes, 1, 1)?);
    let pads = pads(call, axes)?;
    let form = call.text("auto_pad", "NOTSET")?;
    (0..axes)
        .map(|axis| {
            let mut window = Window {
                size: sizes[axis],
                stride: strides[axis],
                dilation: dilations[axis],
                before: pads[axis],
                after: pads[axes + axis],
            };
            match form.as_str() {
                "NOTSET" => {}
                "VALID" => (window.before, window.after) = (0, 0),
                "SAME_UPPER" | "SAME_LOWER" => same(&mut window, extents[axis], form == "SAME_UPPER")?,
                other => return Err(Refusal::malformed(format!("its auto_pad is {other:?}"))),
            }
            Ok(window)
        })
        .collect()
}

/// A number of at least `least` for each spatial axis.
pub(super) fn list(
    call: &Call<'_>,
    name: &str,
    axes: usize,
    default: u32,
    least: u32,
) -> Result<Vec<u32>, Refusal> {
    let Some(values) = call.ints(name)? else { return Ok(vec![default; axes]) };
    let fits = |value: &i64| u32::try_from(*value).ok().filter(|value| *value >= least && *value < 1 << 24);
    let values: Option<Vec<u32>> = values.iter().map(fits).collect();
    values
        .filter(|values| values.len() == axes)
        .ok_or_else(|| Refusal::malformed(format!("its {name} do not fit {axes} spatial axes")))
}

/// The padding before each axis, then behind each.
pub(super) fn pads(call: &Call<'_>, axes: usize) -> Result<Vec<u32>, Refusal> {
    let Some(values) = call.ints("pads")? else { return Ok(vec![0; 2 * axes]) };
    if values.iter().any(|value| *value < 0) {
        return Err(Refusal::unsupported("its padding is negative", "slice the tensor before"));
    }
    let values: Option<Vec<u32>> =
        values.iter().map(|value| u32::try_from(*value).ok().filter(|value| *value < 1 << 24)).collect();
    values
        .filter(|values| values.len() == 2 * axes)
        .ok_or_else(|| Refusal::malformed(format!("its pads do not fit {axes} spatial axes")))
}

/// As many outputs as `extent / stride`, rounded up: the odd element of padding goes behind (`upper`) or
/// before.
fn same(window: &mut Window, extent: u32, upper: bool) -> Result<(), Refusal> {
    let reach = u64::from(window.size - 1) * u64::from(window.dilation) + 1;
    let outputs = u64::from(extent.div_ceil(window.stride));
    let span = outputs.saturating_sub(1) * u64::from(window.stride) + reach;
    let total =
        u32::try_from(span.saturating_sub(extent.into())).map_err(|_| Refusal::too_large("its window"))?;
    let (less, more) = (total / 2, total - total / 2);
    (window.before, window.after) = if upper { (less, more) } else { (more, less) };
    Ok(())
}
