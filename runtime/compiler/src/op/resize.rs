//! Resize, and Upsample before it: nearest elements and linear means, with tables of where each place of
//! the result lies in the operand.

use super::call::FIX_BATCH;
use super::{Call, Refusal};
use crate::constant::{Constant, ConstantData};
use crate::emit::resample::{self, Resample};
use crate::graph::{Axis, Shape, ValueId, batch_factor};
use crate::program::operand;

/// Places along a resampled axis, at most.
const MAX_PLACES: f64 = (1 << 22) as f64;
/// Axes that are mixed, at most: every one doubles what is read.
const MAX_MIXED: usize = 3;

/// What one axis is resized by.
#[derive(Clone, Copy, Debug)]
struct Scaled {
    extent: f64,
    resized: f64,
    scale: f64,
    /// The part of the axis that `tf_crop_and_resize` takes.
    region: (f64, f64),
}

/// How places are found.
struct Ways {
    transformation: String,
    nearest: Option<String>,
}

pub(super) fn lower(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let old = call.opset < 11;
    let mode = mode(call)?;
    if call.flag("antialias")? {
        return Err(Refusal::unsupported("it smooths before it shrinks", "resize with antialias = 0"));
    }
    let transformation =
        call.text("coordinate_transformation_mode", if old { "asymmetric" } else { "half_pixel" })?;
    let rounding = call.text("nearest_mode", if old { "floor" } else { "round_prefer_floor" })?;
    let crop = transformation == "tf_crop_and_resize";
    let shape = call.shape(call.input(0)?);
    let axes = match call.ints("axes")? {
        Some(axes) => axes,
        None => (0..shape.rank() as i64).collect(),
    };
    let given = |index: usize| call.optional(index).filter(|id| call.shape(*id).elements() > 0);
    let regions = match given(1).filter(|_| crop) {
        Some(_) => {
            let numbers = call.f32s(1, "the region")?;
            if numbers.len() != axes.len() * 2 {
                return Err(Refusal::malformed("its region does not fit its axes"));
            }
            numbers.iter().map(|number| f64::from(*number)).collect()
        }
        None if crop => return Err(Refusal::malformed("it crops without a region")),
        None => [vec![0.0; axes.len()], vec![1.0; axes.len()]].concat(),
    };
    let (by_scales, by_sizes) =
        if old { (Some(1), None) } else { (given(2).map(|_| 2), given(3).map(|_| 3)) };
    let region = |index: usize| (regions[index], regions[axes.len() + index]);
    let scaled = match (by_scales, by_sizes) {
        (Some(input), None) => scales(call, &shape, &axes, &call.f32s(input, "the scales")?, region, crop)?,
        (None, Some(input)) => sizes(call, &shape, &axes, &call.i64s(input, "the sizes")?, region)?,
        _ => return Err(Refusal::malformed("it needs either scales or sizes")),
    };
    let nearest = (mode == "nearest").then_some(rounding);
    resampled(call, &shape, &scaled, &Ways { transformation, nearest })
}

/// `Upsample(x, scales)`: an attribute at first, an input in opset 9, and gone since.
pub(super) fn upsample(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    if call.opset >= 10 {
        return Err(Refusal::malformed("opset 10 has replaced it by Resize"));
    }
    let mode = mode(call)?;
    let scales = if call.opset < 9 {
        let scales = call.read("scales", |attribute| Some(attribute.floats.clone()))?;
        scales.ok_or_else(|| Refusal::malformed("it has no scales"))?
    } else {
        call.f32s(1, "the scales")?
    };
    let shape = call.shape(call.input(0)?);
    let axes: Vec<i64> = (0..shape.rank() as i64).collect();
    let scaled = self::scales(call, &shape, &axes, &scales, |_| (0.0, 1.0), false)?;
    let nearest = (mode == "nearest").then(|| "floor".to_string());
    resampled(call, &shape, &scaled, &Ways { transformation: "asymmetric".to_string(), nearest })
}

fn mode(call: &Call<'_>) -> Result<String, Refusal> {
    match call.text("mode", "nearest")?.as_str() {
        "cubic" => Err(Refusal::unsupported("it interpolates with cubic curves", "use linear or nearest")),
        "bilinear" => Ok("linear".to_string()),
        mode @ ("nearest" | "linear") => Ok(mode.to_string()),
        other => Err(Refusal::malformed(format!("its mode is {other:?}"))),
    }
}

/// Every axis of the sample as it is.
fn untouched(shape: &Shape) -> Vec<Scaled> {
    let each = |extent: &u32| {
        let extent = f64::from(*extent);
        Scaled { extent, resized: extent, scale: 1.0, region: (0.0, 1.0) }
    };
    shape.sample.iter().map(each).collect()
}

fn checked(axis: &Scaled) -> Result<(), Refusal> {
    if axis.scale > 0.0 && (1.0..=MAX_PLACES).contains(&axis.resized) {
        return Ok(());
    }
    Err(Refusal::malformed(format!("it resizes {} elements to {}", axis.extent, axis.resized)))
}

fn scales(
    call: &Call<'_>,
    shape: &Shape,
    axes: &[i64],
    scales: &[f32],
    region: impl Fn(usize) -> (f64, f64),
    crop: bool,
) -> Result<Vec<Scaled>, Refusal> {
    if scales.len() != axes.len() {
        return Err(Refusal::malformed(format!("{} scales do not fit {} axes", scales.len(), axes.len())));
    }
    let mut scaled = untouched(shape);
    for (index, (axis, scale)) in axes.iter().zip(scales).enumerate() {
        if shape.axis(*axis) == Some(Axis::Batch) && *scale == 1.0 {
            continue;
        }
        let axis = &mut scaled[call.sample_axis(shape, *axis, "resizes")?];
        axis.region = region(index);
        axis.scale = f64::from(*scale);
        let part = if crop { axis.region.1 - axis.region.0 } else { 1.0 };
        axis.resized = (axis.extent * part * axis.scale).floor();
        checked(axis)?;
    }
    Ok(scaled)
}

fn sizes(
    call: &Call<'_>,
    shape: &Shape,
    axes: &[i64],
    sizes: &[i64],
    region: impl Fn(usize) -> (f64, f64),
) -> Result<Vec<Scaled>, Refusal> {
    if sizes.len() != axes.len() {
        return Err(Refusal::malformed(format!("{} sizes do not fit {} axes", sizes.len(), axes.len())));
    }
    let policy = call.text("keep_aspect_ratio_policy", "stretch")?;
    let mut scaled = untouched(shape);
    let mut places = Vec::with_capacity(axes.len());
    for (index, (axis, size)) in axes.iter().zip(sizes).enumerate() {
        let whole = batch_factor(*size).is_some_and(|factor| u64::from(factor) == shape.batch_factor());
        if shape.axis(*axis) == Some(Axis::Batch) && whole {
            continue;
        }
        if batch_factor(*size).is_some() {
            return Err(Refusal::unsupported("it resizes to the batch size", FIX_BATCH));
        }
        let place = call.sample_axis(shape, *axis, "resizes")?;
        let axis = &mut scaled[place];
        axis.region = region(index);
        axis.resized = *size as f64;
        axis.scale = axis.resized / axis.extent;
        checked(axis)?;
        places.push(place);
    }
    let ratios = places.iter().map(|place| scaled[*place].scale);
    let common = match policy.as_str() {
        "stretch" => return Ok(scaled),
        "not_larger" => ratios.fold(f64::INFINITY, f64::min),
        "not_smaller" => ratios.fold(0.0, f64::max),
        other => return Err(Refusal::malformed(format!("its keep_aspect_ratio_policy is {other:?}"))),
    };
    for place in places {
        let axis = &mut scaled[place];
        axis.scale = common;
        axis.resized = (common * axis.extent + 0.5).floor();
        checked(axis)?;
    }
    Ok(scaled)
}

impl Ways {
    /// Where place `o` of the result lies in the operand.
    fn original(&self, axis: &Scaled, o: f64) -> Result<f64, Refusal> {
        let Scaled { extent, resized, scale, region } = *axis;
        let half = (o + 0.5) / scale - 0.5;
        Ok(match self.transformation.as_str() {
            "half_pixel" => half,
            "half_pixel_symmetric" => extent / 2.0 * (1.0 - resized / (scale * extent)) + half,
            "pytorch_half_pixel" if resized > 1.0 => half,
            "align_corners" if resized > 1.0 => o * (extent - 1.0) / (resized - 1.0),
            "pytorch_half_pixel" | "align_corners" => 0.0,
            "asymmetric" => o / scale,
            "tf_half_pixel_for_nn" => (o + 0.5) / scale,
            "tf_crop_and_resize" if resized > 1.0 => {
                let step = (region.1 - region.0) * (extent - 1.0) / (resized - 1.0);
                region.0 * (extent - 1.0) + o * step
            }
            "tf_crop_and_resize" => 0.5 * (region.0 + region.1) * (extent - 1.0),
            other => {
                let reason = format!("its coordinate_transformation_mode is {other:?}");
                return Err(Refusal::malformed(reason));
            }
        })
    }

    /// The places of an axis, two of each and a weight if they are mixed, and whether all lie within it.
    fn table(&self, axis: &Scaled) -> Result<Table, Refusal> {
        let mut table = Table { indices: Vec::new(), weights: Vec::new(), inside: Vec::new() };
        let held = |place: f64| place.clamp(0.0, axis.extent - 1.0) as i32;
        // At most `MAX_PLACES`.
        for o in 0..axis.resized as u32 {
            let place = self.original(axis, f64::from(o))?;
            table.inside.push(place >= 0.0 && place <= axis.extent - 1.0);
            match self.nearest.as_deref() {
                None => {
                    table.indices.extend([held(place.floor()), held(place.floor() + 1.0)]);
                    table.weights.push((place - place.floor()) as f32);
                }
                Some("round_prefer_floor") => table.indices.push(held((place - 0.5).ceil())),
                Some("round_prefer_ceil") => table.indices.push(held((place + 0.5).floor())),
                Some("floor") => table.indices.push(held(place.floor())),
                Some("ceil") => table.indices.push(held(place.ceil())),
                Some(other) => return Err(Refusal::malformed(format!("its nearest_mode is {other:?}"))),
            }
        }
        Ok(table)
    }
}

struct Table {
    indices: Vec<i32>,
    /// None if nothing is mixed.
    weights: Vec<f32>,
    inside: Vec<bool>,
}

impl Table {
    /// The same without weights, if only one of each two elements counts.
    fn simplified(mut self) -> Table {
        let single = |(pair, weight): (&[i32], &f32)| match pair {
            [a, b] if a == b || *weight == 0.0 => Some(*a),
            _ => None,
        };
        let singles: Option<Vec<i32>> = self.indices.chunks(2).zip(&self.weights).map(single).collect();
        if let (Some(singles), false) = (singles, self.weights.is_empty()) {
            (self.indices, self.weights) = (singles, Vec::new());
        }
        self
    }

    /// Whether every place is its own.
    fn is_identity(&self, extent: f64) -> bool {
        let same = self.indices.iter().zip(0i32..).all(|(index, place)| *index == place);
        self.weights.is_empty() && self.indices.len() as f64 == extent && same
    }
}

fn resampled(call: &mut Call<'_>, shape: &Shape, scaled: &[Scaled], ways: &Ways) -> Result<ValueId, Refusal> {
    let x = call.f32(0)?;
    let mut sample: Vec<u32> = scaled.iter().map(|axis| axis.resized as u32).collect();
    let (mut axes, mut inputs) = (Vec::new(), vec![x]);
    let mut outside = Vec::new();
    for (place, axis) in scaled.iter().enumerate() {
        let table = ways.table(axis)?.simplified();
        if ways.transformation == "tf_crop_and_resize" && table.inside.contains(&false) {
            outside.push((place, table.inside.clone()));
        }
        if table.is_identity(axis.extent) {
            continue;
        }
        axes.push(resample::Axis { axis: place, mixes: !table.weights.is_empty() });
        let count = u32::try_from(table.indices.len()).unwrap_or(u32::MAX);
        let indices = Constant { shape: vec![count], data: ConstantData::I32(table.indices) };
        inputs.push(call.add_constant(indices)?);
        if !table.weights.is_empty() {
            inputs.push(call.add_f32s(&[sample[place]], table.weights)?);
        }
    }
    if axes.iter().filter(|axis| axis.mixes).count() > MAX_MIXED {
        let reason = format!("it interpolates along more than {MAX_MIXED} axes");
        return Err(Refusal::unsupported(reason, "resize a few axes at a time"));
    }
    let mut y = x;
    if !axes.is_empty() {
        // Lanes lie along the last axis that stays, or along one more.
        let stays = |place: &usize| axes.iter().all(|axis| axis.axis != *place);
        let wide = (0..sample.len()).rev().filter(stays).find(|place| sample[*place] > 1);
        let unit = wide.or_else(|| (0..sample.len()).rev().find(stays));
        let result = shape.with_sample(sample.clone());
        if unit.is_none() {
            inputs[0] = call.reshape(x, shape.with_sample([shape.sample.as_slice(), &[1]].concat()))?;
            sample.push(1);
        }
        let unit = unit.unwrap_or(sample.len() - 1);
        let resized = call.add_kernel(Resample { axes, unit }, inputs, shape.with_sample(sample))?;
        y = call.reshape(resized, result)?;
    }
    for (place, inside) in outside {
        let value = call.float("extrapolation_value", 0.0)?;
        let extents = [&[scaled[place].resized as u32][..], &vec![1; scaled.len() - place - 1]].concat();
        let inside =
            call.add_f32s(&extents, inside.iter().map(|inside| f32::from(u8::from(*inside))).collect())?;
        y = call.pointwise(&operand(1).select(operand(0), value), &[y, inside])?;
    }
    Ok(y)
}
