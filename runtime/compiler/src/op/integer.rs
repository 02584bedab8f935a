//! Arithmetic with integers that are known while the model is compiled: shapes, axes and indices, as
//! exporters compute them in the graph. It is the arithmetic of `emit::integer`, which computes what is
//! known on the device only.
//!
//! The extent of the batch axis is a mark among them, not a number: it may be chosen and moved, and it
//! differs from every negative number, but calculating with it is refused. Only the
//! constants in `Graph::marked` hold marks; in any other, every integer is itself.

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

/// How integers are computed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arithmetic {
    /// Their width.
    width: Width,
    /// Whether some of them are marks.
    marks: bool,
}

impl Arithmetic {
    /// That of a value; `None` if it holds no integers.
    pub(super) fn of(graph: &Graph, value: ValueId) -> Option<Arithmetic> {
        let width = Width::of(graph.value(value).dtype)?;
        Some(Arithmetic { width, marks: graph.marked.contains(&value) })
    }

    fn factor(self, value: i64) -> Option<u32> {
        batch_factor(value).filter(|_| self.marks)
    }

    /// The integers of a constant, with truth values as 1 and 0.
    pub(super) fn values(self, constant: &Constant) -> Option<Vec<i64>> {
        match &constant.data {
            ConstantData::Bool(values) => Some(values.iter().map(|value| i64::from(*value)).collect()),
            ConstantData::I32(values) if !self.marks => Some(values.iter().map(|v| i64::from(*v)).collect()),
            _ => values(constant),
        }
    }

    /// Integers as data of this width.
    pub(super) fn data(self, values: Vec<i64>) -> Result<ConstantData, Refusal> {
        let narrow = |value: i64| if self.marks { narrowed(value) } else { i32::try_from(value).ok() };
        Ok(match self.width {
            Width::Bits64 => ConstantData::I64(values),
            Width::Bits32 => {
                let narrow: Option<Vec<i32>> = values.into_iter().map(narrow).collect();
                ConstantData::I32(narrow.ok_or_else(overflow)?)
            }
        })
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
    let of_operands = operands.iter().filter_map(|id| Arithmetic::of(graph, *id));
    let both = |a: Arithmetic, b: Arithmetic| Arithmetic { marks: a.marks || b.marks, ..a };
    let Some(arithmetic) = of_operands.reduce(both) else { return Ok(None) };
    if shape.elements() > fold::MAX_FOLDED_ELEMENTS as u64 {
        return Err(Refusal::malformed("its integers are too many"));
    }
    let Some(columns) = fold::broadcast_all(&constants, &shape.sample, |c| arithmetic.values(c)) else {
        return Err(Refusal::malformed("its operands have different types"));
    };
    let count = usize::try_from(shape.elements()).unwrap_or(0);
    let value = |index: usize| {
        evaluate(program, arithmetic, |place| columns.get(place).map_or(0, |column| column[index]))
    };
    let results = (0..count).map(value).collect::<Result<Vec<i64>, Refusal>>()?;
    let data = match dtype {
        DType::Bool => ConstantData::Bool(results.iter().map(|result| *result != 0).collect()),
        _ => arithmetic.data(results)?,
    };
    Ok(Constant::new(shape.sample.clone(), data))
}

/// Whether some integers of a constant are such as stand for the batch size.
pub(super) fn holds_marks(constant: &Constant) -> bool {
    values(constant).is_some_and(|values| values.iter().any(|value| batch_factor(*value).is_some()))
}

/// A result that fits no constant, because it is one of the numbers that stand for the batch size.
pub(super) fn overflow() -> Refusal {
    Refusal::unsupported("its integers overflow", "export the model with smaller integers")
}

/// What a program gives for integers.
pub(super) fn evaluate(
    program: &Program,
    arithmetic: Arithmetic,
    operand: impl Fn(usize) -> i64,
) -> Result<i64, Refusal> {
    let mut results: Vec<i64> = Vec::with_capacity(program.insts().len());
    for inst in program.insts() {
        results.push(match *inst {
            Inst::Operand(place) => operand(place),
            Inst::Number(bits) => whole(bits).ok_or_else(no_meaning)?.into(),
            Inst::Unary(function, a) => unary(function, arithmetic, results[a])?,
            Inst::Binary(function, a, b) => binary(function, arithmetic, results[a], results[b])?,
            Inst::Select(condition, then, otherwise) => {
                if number(arithmetic, results[condition])? == 0 {
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
fn unmarked(arithmetic: Arithmetic, result: Option<i64>) -> Result<i64, Refusal> {
    let value = result.ok_or_else(no_meaning)?;
    if arithmetic.factor(value).is_some() { Err(overflow()) } else { Ok(value) }
}

/// A value that is no mark.
fn number(arithmetic: Arithmetic, value: i64) -> Result<i64, Refusal> {
    if arithmetic.factor(value).is_some() {
        let reason = "it calculates with the batch size, which is not known";
        return Err(Refusal::unsupported(reason, super::call::FIX_BATCH));
    }
    Ok(value)
}

fn unary(function: Unary, arithmetic: Arithmetic, a: i64) -> Result<i64, Refusal> {
    unmarked(arithmetic, emit::integer::unary(function, arithmetic.width, number(arithmetic, a)?))
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

pub(super) fn binary(function: Binary, arithmetic: Arithmetic, a: i64, b: i64) -> Result<i64, Refusal> {
    if let Some(result) = with_marks(function, a, b).filter(|_| arithmetic.marks) {
        return Ok(result);
    }
    let (a, b) = (number(arithmetic, a)?, number(arithmetic, b)?);
    unmarked(arithmetic, emit::integer::binary(function, arithmetic.width, a, b))
}
