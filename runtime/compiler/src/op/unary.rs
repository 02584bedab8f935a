//! Relu, Sigmoid, Tanh: functions of one number, applied to every element.

use super::{Call, Refusal};
use crate::graph::{Op, Unary, ValueId};

pub(super) fn relu(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    map(call, Unary::Relu)
}

pub(super) fn sigmoid(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    map(call, Unary::Sigmoid)
}

pub(super) fn tanh(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    map(call, Unary::Tanh)
}

fn map(call: &mut Call<'_>, function: Unary) -> Result<ValueId, Refusal> {
    let input = call.f32(0)?;
    let shape = call.shape(input);
    let len = u32::try_from(shape.elements()).map_err(|_| Refusal::malformed("its input is too large"))?;
    call.add(Op::Map { function, len }, vec![input], shape)
}
