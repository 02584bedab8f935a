//! Reductions: sums, means, norms and extremes over axes.
//!
//! The axes are an attribute at first, and an input since opset 13 (ReduceSum) or 18 (the others).
//! Samples are never reduced with one another.

use std::rc::Rc;

use dunlin_abi::DType;

use super::integer::Arithmetic;
use super::{Call, Refusal, integer};
use crate::constant::Constant;
use crate::emit::extreme::Extreme;
use crate::emit::integer::{Width, has_meaning};
use crate::emit::integer_fold::IntegerFold;
use crate::emit::sweep::{Combine, Fold, Sweep};
use crate::graph::{Axis, Op, Shape, ValueId};
use crate::kernel::Layout;
use crate::passes::fold::MAX_FOLDED_ELEMENTS;
use crate::program::{Binary, Formula, Program, operand};

macro_rules! reductions {
    ($($name:ident: $title:literal, since $opset:literal, $folds:expr;)*) => {
        $(pub(super) fn $name(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
            lower(call, $title, $opset, $folds)
        })*
    };
}

reductions! {
    sum: "sum", since 13, |_| vec![total(&operand(0))];
    mean: "mean", since 18, |count| vec![total(&operand(0)).then(&(operand(0) / count))];
    max: "maximum", since 18, |_| vec![Fold::new(Combine::Greatest, &operand(0))];
    min: "minimum", since 18, |_| vec![Fold::new(Combine::Least, &operand(0))];
    product: "product", since 18, |_| vec![Fold::new(Combine::Product, &operand(0))];
    l1: "sum of sizes", since 18, |_| vec![total(&operand(0).abs())];
    l2: "length", since 18, |_| vec![total(&square()).then(&operand(0).sqrt())];
    log_sum: "logarithm of the sum", since 18, |_| vec![total(&operand(0)).then(&operand(0).log())];
    log_sum_exp: "log-sum-exp", since 18, |_| log_sum_exp_folds();
    sum_square: "sum of squares", since 18, |_| vec![total(&square())];
}

fn total(of: &Formula) -> Fold {
    Fold::new(Combine::Sum, of)
}

fn square() -> Formula {
    operand(0) * operand(0)
}

/// `m + log(sum of exp(x - m))` with the maximum m, or 0 in its place if it is infinite.
fn log_sum_exp_folds() -> Vec<Fold> {
    let finite = operand(0).abs().less(f32::INFINITY).select(operand(0), 0.0);
    vec![
        Fold::new(Combine::Greatest, &operand(0)).then(&finite),
        total(&(operand(0) - operand(1)).exp()).then(&(operand(0).log() + operand(1))),
    ]
}

fn lower(
    call: &mut Call<'_>,
    name: &'static str,
    axes_are_input_since: i64,
    folds: impl FnOnce(f32) -> Vec<Fold>,
) -> Result<ValueId, Refusal> {
    let x = call.input(0)?;
    let shape = call.shape(x);
    let as_input = call.opset >= axes_are_input_since;
    if as_input && call.has("axes") || !as_input && call.inputs.len() > 1 {
        return Err(Refusal::malformed(format!("its axes do not stand where opset {} has them", call.opset)));
    }
    let axes = if as_input { call.optional_i64s(1, "the list of axes")? } else { call.ints("axes")? };
    let axes = axes.unwrap_or_default();
    let keeps = call.flag_or("keepdims", true)?;
    if axes.is_empty() && call.flag("noop_with_empty_axes")? {
        return over_nothing(call, x, &folds(1.0));
    }
    let rank = i64::try_from(shape.rank()).unwrap_or(0);
    let axes = if axes.is_empty() { (0..rank).collect() } else { axes };
    let mut swept = vec![false; shape.sample.len()];
    for axis in axes {
        swept[call.sample_axis(&shape, axis, "reduces")?] = true;
    }
    let axes = shape.sample.iter().zip(&swept);
    let result = if keeps {
        let whole = axes.map(|(extent, swept)| if *swept { 1 } else { *extent });
        shape.with_sample(whole.collect::<Vec<u32>>())
    } else {
        let left = axes.filter(|(_, swept)| !**swept).map(|(extent, _)| *extent);
        without(&shape, &swept, left.collect())
    };
    let arithmetic = Arithmetic::of(call.graph, x);
    if let (Some(arithmetic), Some(constant)) = (arithmetic, call.graph.constant(x)) {
        let count = shape.sample.iter().zip(&swept).filter(|(_, swept)| **swept);
        let count = count.fold(1.0, |count, (extent, _)| count * *extent as f32);
        let folded = fold_integers(constant, arithmetic, &swept, &folds(count), result.sample)?;
        return call.add_constant(folded);
    }
    let y = match Width::of(call.dtype(x)) {
        Some(width) => integers(call, name, x, swept, width, folds)?,
        None => {
            let x = call.f32(0)?;
            kept(call, name, x, swept, folds)?
        }
    };
    call.reshape(y, result)
}

/// The same for integers that are known on the device only.
fn integers(
    call: &mut Call<'_>,
    name: &'static str,
    x: ValueId,
    swept: Vec<bool>,
    width: Width,
    folds: impl FnOnce(f32) -> Vec<Fold>,
) -> Result<ValueId, Refusal> {
    let (shape, dtype) = (call.shape(x), call.dtype(x));
    let axes = shape.sample.iter().zip(&swept);
    let whole: Vec<u32> = axes.clone().map(|(extent, swept)| if *swept { 1 } else { *extent }).collect();
    let count = axes.filter(|(_, swept)| **swept).fold(1.0, |count, (extent, _)| count * *extent as f32);
    let folds = folds(count);
    let [Fold { combine, of, then, .. }] = folds.as_slice() else { return Err(no_integers()) };
    if !has_meaning(of) || !has_meaning(then) {
        return Err(no_integers());
    }
    let combine = function(*combine);
    let fold = IntegerFold { name, dtype, width, swept, combine, of: of.clone(), then: then.clone() };
    call.add_typed(dtype, Op::Kernel(Rc::new(fold)), vec![x], shape.with_sample(whole))
}

/// How integers are combined.
fn function(combine: Combine) -> Binary {
    match combine {
        Combine::Sum => Binary::Add,
        Combine::Product => Binary::Mul,
        Combine::Least => Binary::Min,
        Combine::Greatest | Combine::Top => Binary::Max,
    }
}

/// A reduction that keeps the swept axes, with the extent 1; `folds` are told how many numbers there are.
fn kept(
    call: &mut Call<'_>,
    name: &'static str,
    x: ValueId,
    swept: Vec<bool>,
    folds: impl FnOnce(f32) -> Vec<Fold>,
) -> Result<ValueId, Refusal> {
    let shape = call.shape(x);
    let axes = shape.sample.iter().zip(&swept);
    let whole: Vec<u32> = axes.clone().map(|(extent, swept)| if *swept { 1 } else { *extent }).collect();
    let count = axes.filter(|(_, swept)| **swept).fold(1.0, |count, (extent, _)| count * *extent as f32);
    let extents = shape.sample.clone();
    let sweep = Sweep { name, extents, swept, folds: folds(count), map: None, probability: false };
    call.add_kernel(sweep, vec![x], shape.with_sample(whole))
}

/// `GlobalAveragePool(x)`: the mean over all axes behind the channels.
pub(super) fn global_mean(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    global(call, "mean", |count| vec![total(&operand(0)).then(&(operand(0) / count))])
}

/// `GlobalMaxPool(x)`: the greatest number of each channel.
pub(super) fn global_max(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    global(call, "maximum", |_| vec![Fold::new(Combine::Greatest, &operand(0))])
}

fn global(
    call: &mut Call<'_>,
    name: &'static str,
    folds: impl FnOnce(f32) -> Vec<Fold>,
) -> Result<ValueId, Refusal> {
    let x = call.f32(0)?;
    let shape = call.shape(x);
    let mut swept = vec![false; shape.sample.len()];
    for axis in 2..i64::try_from(shape.rank()).unwrap_or(2) {
        swept[call.sample_axis(&shape, axis, "reduces")?] = true;
    }
    if shape.rank() < 3 {
        return Err(Refusal::malformed(format!("{shape} has no axes behind its channels")));
    }
    kept(call, name, x, swept, folds)
}

/// Without axes to reduce, what is done to each number stays.
fn over_nothing(call: &mut Call<'_>, x: ValueId, folds: &[Fold]) -> Result<ValueId, Refusal> {
    let [only] = folds else { return Ok(x) };
    let program = only.then.compose(std::slice::from_ref(&only.of));
    if program.is_identity() || program == Program::from(&(operand(0) / 1.0)) {
        return Ok(x);
    }
    let (x, shape) = (call.f32(0)?, call.shape(x));
    call.add(Op::Pointwise(program), vec![x], shape)
}

/// The shape without the swept axes: the batch axis moves to the front by as many as were before it.
fn without(shape: &Shape, swept: &[bool], kept: Vec<u32>) -> Shape {
    let before = (0..shape.rank() as i64).take_while(|axis| shape.axis(*axis) != Some(Axis::Batch));
    let gone =
        before.filter(|axis| matches!(shape.axis(*axis), Some(Axis::Sample(place)) if swept[place])).count();
    Shape { batch: shape.batch.map(|batch| batch - gone), joined: shape.joined, sample: kept }
}

fn fold_integers(
    x: &Constant,
    arithmetic: Arithmetic,
    swept: &[bool],
    folds: &[Fold],
    extents: Vec<u32>,
) -> Result<Constant, Refusal> {
    let [fold] = folds else { return Err(no_integers()) };
    let function = function(fold.combine);
    let start = match function {
        Binary::Add => Some(0),
        Binary::Mul => Some(1),
        _ => None,
    };
    let values = arithmetic.values(x).ok_or_else(no_integers)?;
    // Where each number goes: swept axes do not move it.
    let sizes = x.shape.iter().zip(swept).map(|(extent, swept)| if *swept { 1 } else { *extent });
    let places = Layout::row_major(&sizes.collect::<Vec<_>>()).broadcast(&x.shape).places();
    let count = extents.iter().fold(1u64, |count, extent| count.saturating_mul((*extent).into()));
    if count > MAX_FOLDED_ELEMENTS as u64 {
        return Err(integer::overflow());
    }
    let mut results: Vec<Option<i64>> = vec![start; usize::try_from(count).unwrap_or(0)];
    for (value, place) in values.iter().zip(places) {
        let Some(result) = results.get_mut(place.unsigned_abs() as usize) else { continue };
        let number = integer::evaluate(&fold.of, arithmetic, |_| *value)?;
        *result = Some(match *result {
            Some(before) => integer::binary(function, arithmetic, before, number)?,
            None => number,
        });
    }
    let results: Option<Vec<i64>> = results.into_iter().collect();
    let results = results.ok_or_else(|| Refusal::malformed("it has no least or greatest of no numbers"))?;
    let then = |result: i64| integer::evaluate(&fold.then, arithmetic, |_| result);
    let data = arithmetic.data(results.into_iter().map(then).collect::<Result<_, _>>()?)?;
    Constant::new(extents, data).ok_or_else(integer::overflow)
}

fn no_integers() -> Refusal {
    Refusal::unsupported("it would compute with integers", "cast its operand to float32")
}

/// `ArgMax(x)` and `ArgMin(x)`: the place of the greatest or the smallest number along an axis, as int64.
pub(super) fn arg(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let x = call.input(0)?;
    let (shape, dtype) = (call.shape(x), call.dtype(x));
    let axis = call.sample_axis(&shape, call.int("axis", 0)?, "searches")?;
    let (keeps, last) = (call.flag_or("keepdims", true)?, call.flag("select_last_index")?);
    if !matches!(dtype, DType::F32 | DType::I32 | DType::I64) {
        return Err(Refusal::unsupported(
            format!("it searches among {dtype}"),
            "cast its operand to float32",
        ));
    }
    let greatest = call.node.op_type() == "ArgMax";
    let mut sample = shape.sample.clone();
    sample[axis] = 1;
    let kernel = Extreme { dtype, axis, greatest, last };
    let y = call.add_typed(DType::I64, Op::Kernel(Rc::new(kernel)), vec![x], shape.with_sample(sample))?;
    if keeps {
        return Ok(y);
    }
    let swept: Vec<bool> = (0..shape.sample.len()).map(|other| other == axis).collect();
    let kept = shape.sample.iter().zip(&swept).filter(|(_, swept)| !**swept);
    let kept = kept.map(|(extent, _)| *extent).collect();
    call.reshape(y, without(&shape, &swept, kept))
}
