//! Activations with parameters, from the formulas of ONNX's operator pages.

use super::elementwise::map;
use super::{Call, Refusal};
use crate::graph::ValueId;
use crate::program::{Formula, operand};

/// `x < 0 ? alpha * x : x`
pub(super) fn leaky_relu(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let alpha = call.float("alpha", 0.01)?;
    map(call, |x| x.clone().less(0.0).select(x.clone() * alpha, x))
}

/// `x < 0 ? slope * x : x`, with a slope that broadcasts to x.
pub(super) fn prelu(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let (x, slope) = (call.f32(0)?, call.f32(1)?);
    let formula = operand(0).less(0.0).select(operand(0) * operand(1), operand(0));
    let y = call.pointwise(&formula, &[x, slope])?;
    if call.shape(y) == call.shape(x) {
        Ok(y)
    } else {
        Err(Refusal::malformed("its slope does not broadcast to its input"))
    }
}

/// `x < 0 ? alpha * (exp(x) - 1) : x`
pub(super) fn elu(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let alpha = call.float("alpha", 1.0)?;
    map(call, |x| x.clone().less(0.0).select((x.clone().exp_down() - 1.0) * alpha, x))
}

/// `max(x, 0) + min(0, alpha * (exp(x / alpha) - 1))`
pub(super) fn celu(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let alpha = call.float("alpha", 1.0)?;
    map(call, |x| x.clone().less(0.0).select(((x.clone() / alpha).exp() - 1.0) * alpha, x))
}

/// `gamma * (x <= 0 ? alpha * (exp(x) - 1) : x)`
pub(super) fn selu(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let alpha = call.float("alpha", 1.673_263_2)?;
    let gamma = call.float("gamma", 1.050_701)?;
    map(call, |x| {
        x.clone().less_or_equal(0.0).select((x.clone().exp_down() - 1.0) * (alpha * gamma), x * gamma)
    })
}

/// `max(0, min(1, alpha * x + beta))`
pub(super) fn hard_sigmoid(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let (alpha, beta) = (call.float("alpha", 0.2)?, call.float("beta", 0.5)?);
    map(call, |x| (x * alpha + beta).min(1.0).max(0.0))
}

/// `x > alpha ? x : 0`
pub(super) fn thresholded_relu(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let alpha = call.float("alpha", 1.0)?;
    map(call, |x| Formula::from(alpha).less(x.clone()).select(x, 0.0))
}

/// `x < -lambd ? x + bias : x > lambd ? x - bias : 0`
pub(super) fn shrink(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let (bias, lambda) = (call.float("bias", 0.0)?, call.float("lambd", 0.5)?);
    map(call, |x| {
        let above = Formula::from(lambda).less(x.clone()).select(x.clone() - bias, 0.0);
        x.clone().less(-lambda).select(x + bias, above)
    })
}

/// `x * sigmoid(alpha * x)`
pub(super) fn swish(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let alpha = call.float("alpha", 1.0)?;
    map(call, |x| x.clone() * (x * alpha).sigmoid())
}

/// `x * Phi(x)`, exactly or by tanh.
pub(super) fn gelu(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    match call.text("approximate", "none")?.as_str() {
        "none" => map(call, |x| x.clone() * 0.5 * ((x * std::f32::consts::FRAC_1_SQRT_2).erf() + 1.0)),
        "tanh" => map(call, |x| {
            let cube = x.clone() * x.clone() * x.clone();
            let inner = (cube * 0.044_715 + x.clone()) * 0.797_884_6;
            x * 0.5 * (inner.tanh() + 1.0)
        }),
        other => Err(Refusal::malformed(format!("its approximation is {other:?}, not \"none\" or \"tanh\""))),
    }
}
