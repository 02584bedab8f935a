//! The operators that are one formula of their operands: a line each. A formula of integers is computed with
//! integers: see `emit::integer`.
//!
//! An operator with attributes, or with a rule of its own for types, has a file of its own.

use dunlin_abi::DType;

use super::{Call, Refusal};
use crate::constant::{Constant, ConstantData};
use crate::emit::integer::Width;
use crate::emit::remainder::Remainder;
use crate::graph::ValueId;
use crate::program::{Formula, operand};

/// One operand, one formula.
pub(super) fn map(call: &mut Call<'_>, formula: impl FnOnce(Formula) -> Formula) -> Result<ValueId, Refusal> {
    let x = call.f32(0)?;
    call.pointwise(&formula(operand(0)), &[x])
}

/// One operand of numbers or integers, one formula.
fn map_any(call: &mut Call<'_>, formula: impl FnOnce(Formula) -> Formula) -> Result<ValueId, Refusal> {
    let x = call.input(0)?;
    call.pointwise(&formula(operand(0)), &[x])
}

/// Two operands that broadcast, one formula.
fn zip(call: &mut Call<'_>, formula: impl FnOnce(Formula, Formula) -> Formula) -> Result<ValueId, Refusal> {
    let (a, b) = (call.input(0)?, call.input(1)?);
    if call.dtype(a) != call.dtype(b) {
        return Err(Refusal::malformed("its operands have different types"));
    }
    call.pointwise(&formula(operand(0), operand(1)), &[a, b])
}

/// Two operands that broadcast, and truth values as the result.
fn compare(
    call: &mut Call<'_>,
    formula: impl FnOnce(Formula, Formula) -> Formula,
) -> Result<ValueId, Refusal> {
    let (a, b) = (call.input(0)?, call.input(1)?);
    if call.dtype(a) != call.dtype(b) {
        return Err(Refusal::malformed("its operands have different types"));
    }
    call.pointwise_typed(DType::Bool, &formula(operand(0), operand(1)), &[a, b])
}

/// Two truth values that broadcast.
fn logic(call: &mut Call<'_>, formula: impl FnOnce(Formula, Formula) -> Formula) -> Result<ValueId, Refusal> {
    let (a, b) = (call.truth(0)?, call.truth(1)?);
    call.pointwise_typed(DType::Bool, &formula(operand(0), operand(1)), &[a, b])
}

/// Operands of one function: more are combined by several, so that no formula is deep and no kernel has many
/// operands.
const MAX_COMBINED: usize = 8;

/// Any number of operands that broadcast, combined from the left.
fn gather(call: &mut Call<'_>, formula: impl Fn(Formula, Formula) -> Formula) -> Result<ValueId, Refusal> {
    let operands: Vec<ValueId> =
        (0..call.inputs.len()).map(|index| call.input(index)).collect::<Result<_, _>>()?;
    let Some(first) = operands.first().map(|id| call.dtype(*id)) else {
        return Err(Refusal::malformed("it has no operands"));
    };
    if operands.iter().any(|id| call.dtype(*id) != first) {
        return Err(Refusal::malformed("its operands have different types"));
    }
    let (mut whole, mut rest) = (operands[0], &operands[1..]);
    loop {
        let (next, more) = rest.split_at(rest.len().min(MAX_COMBINED - 1));
        let combined = (1..=next.len()).fold(operand(0), |whole, place| formula(whole, operand(place)));
        whole = call.pointwise(&combined, &[&[whole], next].concat())?;
        rest = more;
        if rest.is_empty() {
            return Ok(whole);
        }
    }
}

macro_rules! operators {
    ($kind:ident: $($name:ident($($x:ident),+) = $formula:expr;)*) => {
        $(pub(super) fn $name(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
            $kind(call, |$($x),+| $formula)
        })*
    };
}

operators! {
    map:
    ceil(x) = x.ceil();
    cos(x) = x.cos();
    erf(x) = x.erf();
    exp(x) = x.exp();
    floor(x) = x.floor();
    hard_swish(x) = x.clone() * (x * (1.0 / 6.0) + 0.5).max(0.0).min(1.0);
    log(x) = x.log();
    mish(x) = x.clone() * softplus_of(x).tanh();
    reciprocal(x) = Formula::from(1.0) / x;
    round(x) = x.nearest();
    sigmoid(x) = x.sigmoid();
    sin(x) = x.sin();
    softplus(x) = softplus_of(x);
    softsign(x) = x.clone() / (x.abs() + 1.0);
    sqrt(x) = x.sqrt();
    tan(x) = x.clone().sin() / x.cos();
    tanh(x) = x.tanh();
}

operators! {
    map_any:
    abs(x) = x.abs();
    neg(x) = -x;
    relu(x) = x.max(0.0);
}

operators! {
    zip:
    add(a, b) = a + b;
    div(a, b) = a / b;
    mul(a, b) = a * b;
    sub(a, b) = a - b;
}

operators! {
    compare:
    equal(a, b) = a.equal(b);
    greater(a, b) = b.less(a);
    greater_or_equal(a, b) = b.less_or_equal(a);
    less(a, b) = a.less(b);
    less_or_equal(a, b) = a.less_or_equal(b);
}

operators! {
    logic:
    and(a, b) = a * b;
    or(a, b) = a.max(b);
    xor(a, b) = a.equal(b).equal(0.0);
}

operators! {
    gather:
    max(a, b) = a.max(b);
    min(a, b) = a.min(b);
    sum(a, b) = a + b;
}

/// `log(1 + exp(x))`, as `max(x, 0) + log(1 + exp(-|x|))`, which never overflows.
pub(super) fn softplus_of(x: Formula) -> Formula {
    x.clone().max(0.0) + ((-x.abs()).exp_down() + 1.0).log()
}

/// 1, 0 or -1; of floats, zeros keep their sign, and NaN stays NaN.
pub(super) fn sign(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let (id, x) = (call.input(0)?, operand(0));
    let of_a_number = match Width::of(call.dtype(id)) {
        Some(_) => x.clone().less(0.0).select(-1.0, 1.0),
        None => x.clone().equal(x.clone()).select(Formula::from(1.0).copy_sign(x.clone()), x.clone()),
    };
    call.pointwise(&x.clone().equal(0.0).select(x, of_a_number), &[id])
}

/// `1 - x` for a truth value.
pub(super) fn not(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let x = call.truth(0)?;
    call.pointwise_typed(DType::Bool, &operand(0).equal(0.0), &[x])
}

pub(super) fn is_nan(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let x = call.f32(0)?;
    call.pointwise_typed(DType::Bool, &operand(0).equal(operand(0)).equal(0.0), &[x])
}

/// The mean of any number of operands that broadcast.
pub(super) fn mean(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let count = call.inputs.len();
    let sum = sum(call)?;
    call.pointwise(&(operand(0) / count as f32), &[sum])
}

/// `a^b`, of the type of a. Integers are raised to a known whole number.
pub(super) fn pow(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let (a, b) = (call.input(0)?, call.input(1)?);
    if Width::of(call.dtype(a)).is_some() {
        return integer_power(call, a, b);
    }
    let a = call.f32(0)?;
    let b = super::cast::to(call, b, DType::F32)?;
    call.pointwise(&operand(0).pow(operand(1)), &[a, b])
}

/// The largest exponent of an integer: 3 to the power of 40 does not fit 64 bits, but 1, 0, -1 and 2 may
/// have larger ones.
const MAX_EXPONENT: f64 = 64.0;

/// The square for every further bit of the exponent, times the base where the bit is set.
fn integer_power(call: &mut Call<'_>, a: ValueId, b: ValueId) -> Result<ValueId, Refusal> {
    let exponent = call.graph.constant(b).and_then(|constant| constant.data.cast(DType::F64));
    let exponent = match exponent {
        Some(ConstantData::F64(values)) if values.windows(2).all(|pair| pair[0] == pair[1]) => {
            values.first().copied().filter(|e| e.fract() == 0.0 && (0.0..=MAX_EXPONENT).contains(e))
        }
        _ => None,
    };
    let Some(exponent) = exponent else {
        let reason =
            format!("it raises integers to a power that is no known whole number of 0 to {MAX_EXPONENT}");
        return Err(Refusal::unsupported(reason, "cast its operands to float32"));
    };
    let exponent = exponent as u32;
    let bits = (0..u32::BITS - exponent.leading_zeros()).rev();
    let power = bits.fold(Formula::from(1.0), |power, bit| {
        let square = power.clone() * power;
        if exponent >> bit & 1 == 1 { square * operand(0) } else { square }
    });
    // With zeros of the exponent's shape, so that the result has the shape to which both broadcast.
    let shape = call.shape(b).sample;
    let count = shape.iter().map(|extent| *extent as usize).product();
    let data = match call.dtype(a) {
        DType::I32 => ConstantData::I32(vec![0; count]),
        _ => ConstantData::I64(vec![0; count]),
    };
    let zeros = call.add_constant(Constant { shape, data })?;
    call.pointwise(&(power + operand(1)), &[a, zeros])
}

/// Infinity of the signs that the attributes name.
pub(super) fn is_inf(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let x = call.f32(0)?;
    let (negative, positive) =
        (call.flag_or("detect_negative", true)?, call.flag_or("detect_positive", true)?);
    let formula = match (negative, positive) {
        (true, true) => operand(0).abs().equal(f32::INFINITY),
        (true, false) => operand(0).equal(f32::NEG_INFINITY),
        (false, true) => operand(0).equal(f32::INFINITY),
        (false, false) => Formula::from(0.0),
    };
    call.pointwise_typed(DType::Bool, &formula, &[x])
}

/// The rest of a division: with the sign of the dividend if `fmod` is 1, which it must be for floats, else
/// with the sign of the divisor.
pub(super) fn modulo(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let (a, b) = (call.input(0)?, call.input(1)?);
    if call.dtype(a) != call.dtype(b) {
        return Err(Refusal::malformed("its operands have different types"));
    }
    let truncates = call.flag("fmod")?;
    if Width::of(call.dtype(a)).is_none() {
        if !truncates {
            return Err(Refusal::malformed("fmod must be 1 for float32"));
        }
        let (operands, shape) = super::broadcast::together(call, &[a, b])?;
        return call.add_kernel(Remainder, operands, shape);
    }
    let (x, y) = (operand(0), operand(1));
    let truncated = x.clone() - (x / y.clone()).trunc() * y.clone();
    let formula = if truncates {
        truncated
    } else {
        let same_sign = truncated.clone().less(0.0).equal(y.clone().less(0.0));
        let of_the_divisor = same_sign.select(truncated.clone(), truncated.clone() + y);
        truncated.clone().equal(0.0).select(truncated, of_the_divisor)
    };
    call.pointwise(&formula, &[a, b])
}
