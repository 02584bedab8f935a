//! Arithmetic with integers that are known while the model is compiled: shapes, axes and indices, as
//! exporters compute them in the graph.
//!
//! The extent of the batch axis is a mark among them, not a number: it may be chosen and moved, and it
//! differs from every negative number, but calculating with it is refused.

use dunlin_abi::DType;

use super::Refusal;
use crate::constant::{Constant, ConstantData};
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
    let value =
        |index: usize| evaluate(program, |place| columns.get(place).map_or(0, |column| column[index]));
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

pub(super) fn overflow() -> Refusal {
    Refusal::malformed("its integers overflow, or are divided by 0")
}

pub(super) fn evaluate(program: &Program, operand: impl Fn(usize) -> i64) -> Result<i64, Refusal> {
    let mut results: Vec<i64> = Vec::with_capacity(program.insts().len());
    for inst in program.insts() {
        results.push(match *inst {
            Inst::Operand(place) => operand(place),
            Inst::Number(bits) => whole(f32::from_bits(bits))?,
            Inst::Unary(function, a) => unary(function, results[a])?,
            Inst::Binary(function, a, b) => binary(function, results[a], results[b])?,
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

fn whole(number: f32) -> Result<i64, Refusal> {
    // Formulas hold small whole numbers only where integers go through them.
    if number.fract() == 0.0 && number.abs() < 16_777_216.0 { Ok(number as i64) } else { Err(no_meaning()) }
}

fn no_meaning() -> Refusal {
    Refusal::unsupported("its function has no meaning for integers", "export the model in float32")
}

/// A value that is no mark.
fn number(value: i64) -> Result<i64, Refusal> {
    if batch_factor(value).is_some() {
        let reason = "it calculates with the batch size, which is not known";
        return Err(Refusal::unsupported(reason, super::call::FIX_BATCH));
    }
    Ok(value)
}

fn unary(function: Unary, a: i64) -> Result<i64, Refusal> {
    let a = number(a)?;
    match function {
        Unary::Neg => a.checked_neg().ok_or_else(overflow),
        Unary::Abs => a.checked_abs().ok_or_else(overflow),
        Unary::Floor | Unary::Ceil | Unary::Trunc | Unary::Nearest => Ok(a),
        Unary::Sqrt | Unary::Exp | Unary::ExpDown | Unary::Log | Unary::Sin | Unary::Cos => Err(no_meaning()),
        Unary::Tanh | Unary::Sigmoid | Unary::Erf => Err(no_meaning()),
    }
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

pub(super) fn binary(function: Binary, a: i64, b: i64) -> Result<i64, Refusal> {
    if let Some(result) = with_marks(function, a, b) {
        return Ok(result);
    }
    let (a, b) = (number(a)?, number(b)?);
    let result = match function {
        Binary::Add => a.checked_add(b),
        Binary::Sub => a.checked_sub(b),
        Binary::Mul => a.checked_mul(b),
        Binary::Div => a.checked_div(b),
        Binary::Min => Some(a.min(b)),
        Binary::Max => Some(a.max(b)),
        Binary::Pow => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
        Binary::Equal => Some((a == b).into()),
        Binary::Less => Some((a < b).into()),
        Binary::LessOrEqual => Some((a <= b).into()),
        Binary::CopySign => return Err(no_meaning()),
    };
    result.ok_or_else(overflow)
}
