//! Resize, and Upsample before it: nearest elements and linear means, with tables of where each place of
//! the result lies in the operand.

use super::call::FIX_BATCH;
use super::{Call, Refusal};
use crate::constant::{Constant, ConstantData};
use crate::emit::resample::{self, Resample};
use crate::graph::{Axis, Shape, ValueId, batch_factor};
use crate::program::operand;

/// Places along a resampled axis, at most.
const MAX_PLACES: f32 = (1 << 22) as f32;
/// Axes that are mixed, at most: every one doubles what is read.
const MAX_MIXED: usize = 3;

/// As near to the middle between two elements a place is in the middle: scales such as 2/7 are not exact in
/// float32. onnxruntime has the same bound.
const HALF: f32 = 1e-6;

/// What one axis is resized by. The arithmetic is float32, as in onnxruntime and in the exporters: in another
/// precision a length, or which element is nearest, comes out differently.
#[derive(Clone, Copy, Debug)]
struct Scaled {
    extent: u32,
    resized: u32,
    scale: f32,
    /// The part of the axis that `tf_crop_and_resize` takes.
    region: (f32, f32),
}

/// ONNX's `coordinate_transformation_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transformation {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    TfHalfPixelForNn,
    TfCropAndResize,
}

/// Which element is the nearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rounding {
    RoundPreferFloor,
    RoundPreferCeil,
    Floor,
    Ceil,
    /// Opset 10: up where the axis gets shorter, else down. Its text is silent, ONNX's tests of it are not.
    UpWhereShorter,
}

/// How places are found.
struct Ways {
    transformation: Transformation,
    /// None to interpolate.
    nearest: Option<Rounding>,
}

pub(super) fn lower(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let old = call.opset < 11;
    let mode = mode(call)?;
    let transformation = transformation(call, if old { "asymmetric" } else { "half_pixel" })?;
    let rounding = if old { Rounding::UpWhereShorter } else { rounding(call)? };
    let crop = transformation == Transformation::TfCropAndResize;
    let shape = call.shape(call.input(0)?);
    let axes = match call.ints("axes")? {
        Some(axes) => axes,
        None => (0..shape.rank() as i64).collect(),
    };
    let places: Vec<Option<Axis>> = axes.iter().map(|axis| shape.axis(*axis)).collect();
    if (1..places.len()).any(|index| places[..index].contains(&places[index])) {
        return Err(Refusal::malformed("it names an axis twice"));
    }
    let given = |index: usize| call.optional(index).filter(|id| call.shape(*id).elements() > 0);
    let regions = match given(1).filter(|_| crop) {
        Some(_) => {
            let numbers = call.f32s(1, "the region")?;
            if numbers.len() != axes.len() * 2 {
                return Err(Refusal::malformed("its region does not fit its axes"));
            }
            numbers
        }
        None if crop => return Err(Refusal::malformed("it crops without a region")),
        None => [vec![0.0; axes.len()], vec![1.0; axes.len()]].concat(),
    };
    let (by_scales, by_sizes) =
        if old { (Some(1), None) } else { (given(2).map(|_| 2), given(3).map(|_| 3)) };
    let region = |index: usize| (regions[index], regions[axes.len() + index]);
    let scaled = match (by_scales, by_sizes) {
        (Some(input), None) => {
            scales(call, &shape, &axes, &call.f32s(input, "the scales")?, region, transformation)?
        }
        (None, Some(input)) => sizes(call, &shape, &axes, &call.i64s(input, "the sizes")?, region)?,
        _ => return Err(Refusal::malformed("it needs either scales or sizes")),
    };
    // What gets no shorter is not smoothed, whatever the attribute says.
    if call.flag("antialias")? && scaled.iter().any(|axis| axis.scale < 1.0) {
        return Err(Refusal::unsupported("it smooths before it shrinks", "resize with antialias = 0"));
    }
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
    let scaled = self::scales(call, &shape, &axes, &scales, |_| (0.0, 1.0), Transformation::Asymmetric)?;
    let nearest = (mode == "nearest").then_some(Rounding::Floor);
    resampled(call, &shape, &scaled, &Ways { transformation: Transformation::Asymmetric, nearest })
}

fn mode(call: &Call<'_>) -> Result<String, Refusal> {
    match call.text("mode", "nearest")?.as_str() {
        "cubic" => Err(Refusal::unsupported("it interpolates with cubic curves", "use linear or nearest")),
        "bilinear" => Ok("linear".to_string()),
        mode @ ("nearest" | "linear") => Ok(mode.to_string()),
        other => Err(Refusal::malformed(format!("its mode is {other:?}"))),
    }
}

fn transformation(call: &Call<'_>, default: &str) -> Result<Transformation, Refusal> {
    Ok(match call.text("coordinate_transformation_mode", default)?.as_str() {
        "half_pixel" => Transformation::HalfPixel,
        "half_pixel_symmetric" => Transformation::HalfPixelSymmetric,
        "pytorch_half_pixel" => Transformation::PytorchHalfPixel,
        "align_corners" => Transformation::AlignCorners,
        "asymmetric" => Transformation::Asymmetric,
        "tf_half_pixel_for_nn" => Transformation::TfHalfPixelForNn,
        "tf_crop_and_resize" => Transformation::TfCropAndResize,
        other => {
            return Err(Refusal::malformed(format!("its coordinate_transformation_mode is {other:?}")));
        }
    })
}

fn rounding(call: &Call<'_>) -> Result<Rounding, Refusal> {
    Ok(match call.text("nearest_mode", "round_prefer_floor")?.as_str() {
        "round_prefer_floor" => Rounding::RoundPreferFloor,
        "round_prefer_ceil" => Rounding::RoundPreferCeil,
        "floor" => Rounding::Floor,
        "ceil" => Rounding::Ceil,
        other => return Err(Refusal::malformed(format!("its nearest_mode is {other:?}"))),
    })
}

/// Every axis of the sample as it is.
fn untouched(shape: &Shape) -> Vec<Scaled> {
    let each = |extent: &u32| Scaled { extent: *extent, resized: *extent, scale: 1.0, region: (0.0, 1.0) };
    shape.sample.iter().map(each).collect()
}

/// The length of a resized axis, which is whole.
fn length(axis: &Scaled, resized: f32) -> Result<u32, Refusal> {
    if axis.scale.is_nan() || axis.scale < 0.0 || resized < 0.0 {
        return Err(Refusal::malformed(format!("it resizes {} elements by {}", axis.extent, axis.scale)));
    }
    if !(1.0..=MAX_PLACES).contains(&resized) {
        let reason =
            format!("it resizes {} elements to {resized}, which is not 1 to {MAX_PLACES}", axis.extent);
        return Err(Refusal::unsupported(reason, "choose other scales or sizes"));
    }
    Ok(resized as u32)
}

fn scales(
    call: &Call<'_>,
    shape: &Shape,
    axes: &[i64],
    scales: &[f32],
    region: impl Fn(usize) -> (f32, f32),
    transformation: Transformation,
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
        axis.scale = *scale;
        // ONNX's text has the region of a crop in the length; its shape inference, its reference implementation
        // and onnxruntime leave it out.
        let exact = axis.extent as f32 * axis.scale;
        if transformation == Transformation::AlignCorners && exact.fract() != 0.0 {
            // ONNX's tests align the last element with the fraction, onnxruntime and the exporters with the
            // length.
            let reason = format!("it aligns corners, and {} elements by {scale} are {exact}", axis.extent);
            return Err(Refusal::unsupported(reason, "export the model with sizes instead of scales"));
        }
        axis.resized = length(axis, exact.floor())?;
    }
    Ok(scaled)
}

fn sizes(
    call: &Call<'_>,
    shape: &Shape,
    axes: &[i64],
    sizes: &[i64],
    region: impl Fn(usize) -> (f32, f32),
) -> Result<Vec<Scaled>, Refusal> {
    if sizes.len() != axes.len() {
        return Err(Refusal::malformed(format!("{} sizes do not fit {} axes", sizes.len(), axes.len())));
    }
    let policy = call.text("keep_aspect_ratio_policy", "stretch")?;
    let mut scaled = untouched(shape);
    let mut places = Vec::with_capacity(axes.len());
    // Every axis counts, those too that keep their extent.
    let mut ratios = Vec::with_capacity(axes.len());
    for (index, (axis, size)) in axes.iter().zip(sizes).enumerate() {
        let whole = batch_factor(*size).is_some_and(|factor| u64::from(factor) == shape.batch_factor());
        if shape.axis(*axis) == Some(Axis::Batch) && whole {
            ratios.push(1.0);
            continue;
        }
        if batch_factor(*size).is_some() {
            return Err(Refusal::unsupported("it resizes to the batch size", FIX_BATCH));
        }
        let place = call.sample_axis(shape, *axis, "resizes")?;
        let axis = &mut scaled[place];
        axis.region = region(index);
        axis.scale = *size as f32 / axis.extent as f32;
        axis.resized = length(axis, *size as f32)?;
        ratios.push(axis.scale);
        places.push(place);
    }
    let common = match policy.as_str() {
        "stretch" => return Ok(scaled),
        "not_larger" => ratios.iter().copied().fold(f32::INFINITY, f32::min),
        "not_smaller" => ratios.iter().copied().fold(0.0, f32::max),
        other => return Err(Refusal::malformed(format!("its keep_aspect_ratio_policy is {other:?}"))),
    };
    if places.len() < ratios.len() && common != 1.0 {
        return Err(Refusal::unsupported("it resizes the batch axis, to keep the ratio", FIX_BATCH));
    }
    for place in places {
        let axis = &mut scaled[place];
        axis.scale = common;
        axis.resized = length(axis, (common * axis.extent as f32).round())?;
    }
    Ok(scaled)
}

impl Rounding {
    /// The element nearest to a place; it may lie outside.
    fn nearest(self, place: f32, scale: f32) -> f32 {
        let half = (place.fract() - 0.5).abs() <= HALF;
        match self {
            Rounding::RoundPreferFloor if half => place.floor(),
            Rounding::RoundPreferCeil if half => place.ceil(),
            Rounding::RoundPreferFloor | Rounding::RoundPreferCeil => place.round(),
            Rounding::UpWhereShorter if scale < 1.0 => place.ceil(),
            Rounding::Floor | Rounding::UpWhereShorter => place.floor(),
            Rounding::Ceil => place.ceil(),
        }
    }
}

impl Ways {
    /// Where place `o` of the result lies in the operand.
    fn original(&self, axis: &Scaled, o: u32) -> f32 {
        let Scaled { scale, region, .. } = *axis;
        let (o, extent, resized) = (o as f32, axis.extent as f32, axis.resized as f32);
        match self.transformation {
            Transformation::PytorchHalfPixel | Transformation::AlignCorners if axis.resized == 1 => 0.0,
            Transformation::HalfPixel | Transformation::PytorchHalfPixel => (o + 0.5) / scale - 0.5,
            Transformation::HalfPixelSymmetric => {
                let adjustment = resized / (scale * extent);
                let offset = extent / 2.0 * (1.0 - adjustment);
                // float64 in between, as in onnxruntime.
                (f64::from(offset) + (f64::from(o) + 0.5) / f64::from(scale) - 0.5) as f32
            }
            Transformation::AlignCorners => o * (extent - 1.0) / (resized - 1.0),
            Transformation::Asymmetric => o / scale,
            Transformation::TfHalfPixelForNn => (o + 0.5) / scale,
            Transformation::TfCropAndResize if axis.resized == 1 => {
                (0.5 * f64::from(region.0 + region.1) * f64::from(extent - 1.0)) as f32
            }
            Transformation::TfCropAndResize => {
                region.0 * (extent - 1.0) + (o * (region.1 - region.0) * (extent - 1.0)) / (resized - 1.0)
            }
        }
    }

    /// The places of an axis, two of each and a weight if they are mixed, and whether all lie within it.
    fn table(&self, axis: &Scaled) -> Table {
        let mut table = Table { indices: Vec::new(), weights: Vec::new(), inside: Vec::new() };
        let last = axis.extent.saturating_sub(1) as f32;
        let held = |place: f32| place.clamp(0.0, last) as i32;
        // ONNX's reference and onnxruntime leave an axis alone that nothing resizes, in every mode. An axis that
        // keeps its extent under another scale or region is not left alone, as onnxruntime does if all are so:
        // ONNX's text makes no exception for it.
        let alone = axis.scale == 1.0 && axis.resized == axis.extent && axis.region == (0.0, 1.0);
        // At most `MAX_PLACES`.
        for o in 0..axis.resized {
            let place = if alone { o as f32 } else { self.original(axis, o) };
            table.inside.push(place >= 0.0 && place <= last);
            match self.nearest {
                None => {
                    table.indices.extend([held(place.floor()), held(place.floor() + 1.0)]);
                    table.weights.push(place - place.floor());
                }
                Some(rounding) if !alone => table.indices.push(held(rounding.nearest(place, axis.scale))),
                Some(_) => table.indices.push(held(place)),
            }
        }
        table
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
    fn is_identity(&self, extent: u32) -> bool {
        let same = self.indices.iter().zip(0i32..).all(|(index, place)| *index == place);
        self.weights.is_empty() && self.indices.len() == extent as usize && same
    }
}

fn resampled(call: &mut Call<'_>, shape: &Shape, scaled: &[Scaled], ways: &Ways) -> Result<ValueId, Refusal> {
    let x = call.f32(0)?;
    let mut sample: Vec<u32> = scaled.iter().map(|axis| axis.resized).collect();
    let (mut axes, mut inputs) = (Vec::new(), vec![x]);
    let mut outside = Vec::new();
    for (place, axis) in scaled.iter().enumerate() {
        let table = ways.table(axis).simplified();
        if ways.transformation == Transformation::TfCropAndResize && table.inside.contains(&false) {
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
        let extents = [&[scaled[place].resized][..], &vec![1; scaled.len() - place - 1]].concat();
        let inside =
            call.add_f32s(&extents, inside.iter().map(|inside| f32::from(u8::from(*inside))).collect())?;
        y = call.pointwise(&operand(1).select(operand(0), value), &[y, inside])?;
    }
    Ok(y)
}
