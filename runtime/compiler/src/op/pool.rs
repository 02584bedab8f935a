//! Pools: the greatest number, the average or the norm of a window, or of all places of a channel.
//!
//! A window that sees everything is a reduction. An average is a sum and a factor: where windows reach
//! into padding that does not count, the factor of each place is a product of one for each axis.

use super::conv::spatial_axes;
use super::window::{list, windows};
use super::{Call, Refusal};
use crate::emit::slide::{Fold as SlideFold, Slide};
use crate::emit::sweep::{Combine, Fold, Sweep};
use crate::graph::{Shape, ValueId, Window};
use crate::program::{Formula, Program, operand};

/// Places along an axis, at most: each may have a factor of its own.
const MAX_PLACES: u32 = 1 << 20;

pub(super) fn max_pool(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    // It only orders the indices, which are not computed.
    call.flag("storage_order")?;
    let pool = Pool::of(call)?;
    pool.add(call, "maximum", SlideFold::Max, &operand(0), Vec::new())
}

pub(super) fn average_pool(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let include = call.flag("count_include_pad")?;
    let pool = Pool::of(call)?;
    let (mut factor, mut extras) = (1.0, Vec::new());
    let mut formula = operand(0);
    for axis in 0..pool.windows.len() {
        let counts = pool.counts(axis, include);
        match counts.split_first() {
            Some((first, rest)) if rest.iter().all(|count| count == first) => factor *= *first,
            _ => {
                let extents = [&[pool.outputs[axis]][..], &vec![1; pool.windows.len() - axis - 1]].concat();
                let reciprocals = counts.iter().map(|count| 1.0 / count).collect();
                extras.push(call.add_f32s(&extents, reciprocals)?);
                formula = formula * operand(extras.len());
            }
        }
    }
    let formula = if factor == 1.0 { formula } else { formula * (1.0 / factor) };
    pool.add(call, "average", SlideFold::Sum, &formula, extras)
}

/// `(sum of |x|^p)^(1 / p)`
pub(super) fn lp_pool(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let p = power(call)?;
    let mut pool = Pool::of(call)?;
    pool.x = call.pointwise(&powered(operand(0), p), &[pool.x])?;
    pool.add(call, "norm", SlideFold::Sum, &root(operand(0), p), Vec::new())
}

pub(super) fn global_lp_pool(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let p = power(call)?;
    global(call, "norm", |_| Fold::new(Combine::Sum, &powered(operand(0), p)).then(&root(operand(0), p)))
}

fn power(call: &Call<'_>) -> Result<f32, Refusal> {
    match call.int("p", 2)? {
        p @ 1..=64 => Ok(p as f32),
        p => Err(Refusal::unsupported(format!("its p is {p}"), "use a p from 1 to 64")),
    }
}

fn powered(x: Formula, p: f32) -> Formula {
    match p {
        1.0 => x.abs(),
        2.0 => x.clone() * x,
        _ => x.abs().pow(p),
    }
}

fn root(x: Formula, p: f32) -> Formula {
    match p {
        1.0 => x,
        2.0 => x.sqrt(),
        _ => x.pow(1.0 / p),
    }
}

fn global(call: &mut Call<'_>, name: &'static str, fold: impl Fn(f32) -> Fold) -> Result<ValueId, Refusal> {
    let x = call.f32(0)?;
    let shape = call.shape(x);
    let first = shape.sample.len() - spatial_axes(&shape)?;
    reduced(call, x, first, name, &fold)
}

/// All places of each channel as one.
fn reduced(
    call: &mut Call<'_>,
    x: ValueId,
    first: usize,
    name: &'static str,
    fold: &dyn Fn(f32) -> Fold,
) -> Result<ValueId, Refusal> {
    let shape = call.shape(x);
    let count = shape.sample[first..].iter().fold(1.0, |count, extent| count * *extent as f32);
    let swept: Vec<bool> = (0..shape.sample.len()).map(|axis| axis >= first).collect();
    let mut sample = shape.sample.clone();
    sample[first..].fill(1);
    let extents = shape.sample.clone();
    let sweep = Sweep { name, extents, swept, folds: vec![fold(count)], map: None, probability: false };
    call.add_kernel(sweep, vec![x], shape.with_sample(sample))
}

/// The windows of a pool.
struct Pool {
    x: ValueId,
    shape: Shape,
    /// With the padding behind that is read.
    windows: Vec<Window>,
    outputs: Vec<u32>,
    /// The padding behind that the node has.
    declared: Vec<u32>,
}

impl Pool {
    fn of(call: &Call<'_>) -> Result<Pool, Refusal> {
        let x = call.f32(0)?;
        let shape = call.shape(x);
        let spatial = spatial_axes(&shape)?;
        let extents = &shape.sample[shape.sample.len() - spatial..];
        if !call.has("kernel_shape") {
            return Err(Refusal::malformed("it has no kernel_shape"));
        }
        let sizes = list(call, "kernel_shape", spatial, 1, 1)?;
        let up = call.flag("ceil_mode")? && call.text("auto_pad", "NOTSET")? == "NOTSET";
        let mut windows = windows(call, extents, &sizes)?;
        let declared = windows.iter().map(|window| window.after).collect();
        let mut outputs = Vec::with_capacity(spatial);
        for (window, extent) in windows.iter_mut().zip(extents) {
            let mut count = window.outputs(*extent);
            // One window more that is not full, but none that begins in the padding behind.
            let next = u64::from(count) * u64::from(window.stride);
            let room = u64::from(*extent) + u64::from(window.before);
            if up && count > 0 && next < room && !window.is_full(*extent) {
                count += 1;
            }
            if count == 0 || count > MAX_PLACES {
                return Err(Refusal::shapes(format!("its window does not fit into {shape}")));
            }
            window.after = window.read_behind(*extent, count);
            outputs.push(count);
        }
        Ok(Pool { x, shape, windows, outputs, declared })
    }

    /// The taps of each place that count: those on numbers, or on padding that the node has too. Where none
    /// counts, the sum is 0, and so is the mean.
    fn counts(&self, axis: usize, include: bool) -> Vec<f32> {
        let (window, extents) = (self.windows[axis], &self.shape.sample);
        let extent = i64::from(extents[extents.len() - self.windows.len() + axis]);
        let (least, most) = match include {
            true => (-i64::from(window.before), extent + i64::from(self.declared[axis])),
            false => (0, extent),
        };
        let dilation = i64::from(window.dilation);
        let first = |o: u32| i64::from(o) * i64::from(window.stride) - i64::from(window.before);
        // Taps before a place.
        let taps = |from: i64, place: i64| {
            ((place - from + dilation - 1).max(0) / dilation).clamp(0, window.size.into())
        };
        (0..self.outputs[axis])
            .map(|o| (taps(first(o), most) - taps(first(o), least)).max(1) as f32)
            .collect()
    }

    /// Adds what computes it; a window over everything is a reduction.
    fn add(
        &self,
        call: &mut Call<'_>,
        name: &'static str,
        fold: SlideFold,
        then: &Formula,
        extras: Vec<ValueId>,
    ) -> Result<ValueId, Refusal> {
        let front = self.shape.sample.len() - self.windows.len();
        let everything = self.windows.iter().zip(&self.shape.sample[front..]).all(|(window, extent)| {
            window.size == *extent && (window.before, window.after, window.dilation) == (0, 0, 1)
        });
        if everything && extras.is_empty() {
            let combine = if fold == SlideFold::Max { Combine::Greatest } else { Combine::Sum };
            return reduced(call, self.x, front, name, &|_| Fold::new(combine, &operand(0)).then(then));
        }
        let sample = [&self.shape.sample[..front], &self.outputs].concat();
        let slide = Slide {
            name: name.to_string(),
            channel: front - 1,
            windows: self.windows.clone(),
            fold,
            epilogue: Program::from(then),
        };
        let inputs = [&[self.x], extras.as_slice()].concat();
        call.add_kernel(slide, inputs, self.shape.with_sample(sample))
    }
}
