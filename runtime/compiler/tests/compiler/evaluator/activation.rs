//! Activations: the formulas of the ONNX specification, number by number.

use super::array::Array;
use super::attribute::Node;
use super::elementwise::{erf, fold, max};

pub fn apply(node: &Node<'_>) -> Option<Vec<Array>> {
    let alpha = |default: f32| node.float("alpha", default);
    let beta = |default: f32| node.float("beta", default);
    let map = |f: &dyn Fn(f64) -> f64| node.x(0).map(f);
    let result = match node.op() {
        "Relu" => map(&relu),
        "Sigmoid" => map(&sigmoid),
        "Tanh" => map(&f64::tanh),
        "Softplus" => map(&softplus),
        "Softsign" => map(&softsign),
        "Mish" => map(&|x| x * softplus(x).tanh()),
        "HardSwish" => map(&|x| x * hard_sigmoid(x, 1.0 / 6.0, 0.5)),
        "PRelu" => fold(node, |x, slope| if x < 0.0 { slope * x } else { x }),
        "LeakyRelu" => {
            let alpha = alpha(0.01);
            map(&|x| leaky_relu(x, alpha))
        }
        "Elu" => {
            let alpha = alpha(1.0);
            map(&|x| elu(x, alpha))
        }
        "Selu" => {
            let (alpha, gamma) = (alpha(1.673_263_2), node.float("gamma", 1.050_701));
            map(&|x| if x <= 0.0 { gamma * (alpha * x.exp() - alpha) } else { gamma * x })
        }
        "Celu" => {
            let alpha = alpha(1.0);
            map(&|x| max(x, 0.0) - max(-(alpha * ((x / alpha).exp() - 1.0)), 0.0))
        }
        "HardSigmoid" => {
            let (alpha, beta) = (alpha(0.2), beta(0.5));
            map(&|x| hard_sigmoid(x, alpha, beta))
        }
        "Gelu" if node.string("approximate", "none") == "tanh" => map(&|x| {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        }),
        "Gelu" => map(&|x| 0.5 * x * (1.0 + erf(x / 2.0f64.sqrt()))),
        "Swish" => {
            let alpha = alpha(1.0);
            map(&|x| x * sigmoid(alpha * x))
        }
        "ThresholdedRelu" => {
            let alpha = alpha(1.0);
            map(&|x| thresholded_relu(x, alpha))
        }
        "Shrink" => {
            let (bias, lambda) = (node.float("bias", 0.0), node.float("lambd", 0.5));
            map(&|x| match x {
                x if x < -lambda => x + bias,
                x if x > lambda => x - bias,
                _ => 0.0,
            })
        }
        _ => return None,
    };
    Some(vec![result])
}

pub fn relu(x: f64) -> f64 {
    max(x, 0.0)
}

pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `ln(1 + e^x)`, written so that `e^x` cannot overflow.
pub fn softplus(x: f64) -> f64 {
    max(x, 0.0) + (-x.abs()).exp().ln_1p()
}

pub fn softsign(x: f64) -> f64 {
    x / (1.0 + x.abs())
}

pub fn leaky_relu(x: f64, alpha: f64) -> f64 {
    if x < 0.0 { alpha * x } else { x }
}

pub fn elu(x: f64, alpha: f64) -> f64 {
    if x < 0.0 { alpha * (x.exp() - 1.0) } else { x }
}

pub fn hard_sigmoid(x: f64, alpha: f64, beta: f64) -> f64 {
    max(0.0, -max(-1.0, -(alpha * x + beta)))
}

pub fn thresholded_relu(x: f64, alpha: f64) -> f64 {
    if x > alpha { x } else { 0.0 }
}
