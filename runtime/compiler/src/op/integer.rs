//! Arithmetic with integers that are known while the model is compiled: shapes, axes and indices, as
//! exporters compute them in the graph. It is the arithmetic of `emit::integer`, which computes what is
//! known on the device only.
//!
//! The extent of the batch axis is a mark among them, not a number: it may be chosen and moved, and it
//! differs from every negative number, but calculating with it is refused.

use dunlin_abi::DType;

use super::Refusal;
use crate::constant::{Constant, ConstantData};
use crate::emit;
use crate::emit::integer::{Width, whole};
use crate::graph::{Graph, Shape, ValueId, batch_extent, batch_factor, narrowed, widened};
use crate::passes::fold;
use crate::program::{Binary, Inst, Program, Unary};

/// The integers of a constant; `None` if it holds something else.
pub(super) fn values(constant: &Constant) -> Option<Vec<i64>> {
    match &constant.data {
        ConstantData::I64(values) => Some(values.clone()),
        ConstantData::I32(values) => Some(values.iter().map(|value| widened(*value)).collect()),
        ConstantData::F32(_) | ConstantData::F64(_) | ConstantData::Bool(_) => None,
    }
}

/// The same, with truth values as 1 and 0.
fn values_or_truths(constant: &Constant) -> Option<Vec<i64>> {
    match &constant.data {
        ConstantData::Bool(values) => Some(values.iter().map(|value| i64::from(*value)).collect()),
        ConstantData::I64(_) | ConstantData::I32(_) | ConstantData::F32(_) | ConstantData::F64(_) => {
            values(constant)
        }
    }
}

/// The result of a function of integers that are all known; `None` if there are no integers.
pub(super) fn fold(
    graph: &Graph,
    program: &Program,
    dtype: DType,
    operands: &[ValueId],
    shape: &Shape,
) -> Result<Option<Constant>, Refusal> {
    let constants: Option<Vec<&Constant>> = operands.iter().map(|id| graph.constant(*id)).collect();
    let Some(constants) = constants else { return Ok(None) };
    let Some(integers) =
        constants.iter().map(|c| c.data.dtype()).find(|d| matches!(d, DType::I64 | DType::I32))
    else {
        return Ok(None);
    };
    if shape.elements() > fold::MAX_FOLDED_ELEMENTS as u64 {
        return Err(Refusal::malformed("its integers are too many"));
    }
    let Some(columns) = fold::broadcast_all(&constants, &shape.sample, values_or_truths) else {
        return Err(Refusal::malformed("its operands have different types"));
    };
    let count = usize::try_from(shape.elements()).unwrap_or(0);
    let width = Width::of(integers).unwrap_or(Width::Bits64);
    let value =
        |index: usize| evaluate(program, width, |place| columns.get(place).map_or(0, |column| column[index]));
    let results = (0..count).map(value).collect::<Result<Vec<i64>, Refusal>>()?;
    let data = match (dtype, integers) {
        (DType::Bool, _) => ConstantData::Bool(results.iter().map(|result| *result != 0).collect()),
        (_, DType::I32) => {
            let narrow: Option<Vec<i32>> = results.iter().map(|result| narrowed(*result)).collect();
            ConstantData::I32(narrow.ok_or_else(overflow)?)
        }
        _ => ConstantData::I64(results),
    };
    Ok(Constant::new(shape.sample.clone(), data))
}

/// Whether a constant holds the batch size, or something that was calculated from it.
pub(super) fn depends_on_batch(constant: &Constant) -> bool {
    values(constant).is_some_and(|values| values.iter().any(|value| batch_factor(*value).is_some()))
}

/// A result that fits no constant, because it is one of the numbers that stand for the batch size.
pub(super) fn overflow() -> Refusal {
    Refusal::unsupported("its integers overflow", "export the model with smaller integers")
}

/// What a program gives for integers of this width.
pub(super) fn evaluate(
    program: &Program,
    width: Width,
    operand: impl Fn(usize) -> i64,
) -> Result<i64, Refusal> {
    let mut results: Vec<i64> = Vec::with_capacity(program.insts().len());
    for inst in program.insts() {
        results.push(match *inst {
            Inst::Operand(place) => operand(place),
            Inst::Number(bits) => whole(bits).ok_or_else(no_meaning)?.into(),
            Inst::Unary(function, a) => unary(function, width, results[a])?,
            Inst::Binary(function, a, b) => binary(function, width, results[a], results[b])?,
            Inst::Select(condition, then, otherwise) => {
                if number(results[condition])? == 0 {
                    results[otherwise]
                } else {
                    results[then]
                }
            }
        });
    }
    results.last().copied().ok_or_else(overflow)
}

pub(super) fn no_meaning() -> Refusal {
    Refusal::unsupported("its function has no meaning for integers", "cast its operands to float32")
}

/// A result, which must not be one of the marks by chance.
fn unmarked(result: Option<i64>) -> Result<i64, Refusal> {
    let value = result.ok_or_else(no_meaning)?;
    if batch_factor(value).is_some() { Err(overflow()) } else { Ok(value) }
}

/// A value that is no mark.
fn number(value: i64) -> Result<i64, Refusal> {
    if batch_factor(value).is_some() {
        let reason = "it calculates with the batch size, which is not known";
        return Err(Refusal::unsupported(reason, super::call::FIX_BATCH));
    }
    Ok(value)
}

fn unary(function: Unary, width: Width, a: i64) -> Result<i64, Refusal> {
    unmarked(emit::integer::unary(function, width, number(a)?))
}

/// What can be said of the batch size without knowing it: its multiples, and that it is at least 1.
fn with_marks(function: Binary, a: i64, b: i64) -> Option<i64> {
    match (function, batch_factor(a), batch_factor(b)) {
        // No extent is negative.
        (Binary::Equal, Some(_), _) if b < 0 => Some(i64::from(a == b)),
        (Binary::Equal, _, Some(_)) if a < 0 => Some(i64::from(a == b)),
        (Binary::Mul, Some(factor), None) => batch_extent(u64::from(factor).checked_mul(b.try_into().ok()?)?),
        (Binary::Mul, None, Some(factor)) => batch_extent(u64::from(factor).checked_mul(a.try_into().ok()?)?),
        (Binary::Div, Some(factor), None) => {
            let divisor = u32::try_from(b).ok().filter(|divisor| *divisor > 0)?;
            let quotient = factor.is_multiple_of(divisor).then(|| factor / divisor)?;
            batch_extent(quotient.into())
        }
        (Binary::Div, Some(factor), Some(other)) => {
            factor.is_multiple_of(other).then(|| i64::from(factor / other))
        }
        (Binary::Max | Binary::Min, Some(_), Some(_)) if a == b => Some(a),
        (Binary::Max, Some(_), None) if (0..=1).contains(&b) => Some(a),
        (Binary::Max, None, Some(_)) if (0..=1).contains(&a) => Some(b),
        _ => None,
    }
}

pub(super) fn binary(function: Binary, width: Width, a: i64, b: i64) -> Result<i64, Refusal> {
    if let Some(result) = with_marks(function, a, b) {
        return Ok(result);
    }
    unmarked(emit::integer::binary(function, width, number(a)?, number(b)?))
}
