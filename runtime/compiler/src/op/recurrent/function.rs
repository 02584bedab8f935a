//! The activation functions of recurrent operators, from the list on ONNX's pages of RNN, GRU and LSTM.

use super::super::{Call, Refusal};
use crate::op::elementwise::softplus_of;
use crate::program::Formula;

/// What a function of a gate is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Affine,
    Elu,
    HardSigmoid,
    LeakyRelu,
    Relu,
    ScaledTanh,
    Sigmoid,
    Softplus,
    Softsign,
    Tanh,
    ThresholdedRelu,
}

/// Which parameters a function has, and what they are where the node does not say; `None` where ONNX
/// does not say either.
struct Parameter {
    alpha: Option<Option<f32>>,
    beta: Option<Option<f32>>,
}

/// A function of a gate, with its parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Function {
    kind: Kind,
    alpha: f32,
    beta: f32,
    /// What is beyond this, on either side, is cut off before.
    clip: Option<f32>,
}

impl Kind {
    fn named(name: &str) -> Option<Kind> {
        // Names are compared without regard to case, as onnxruntime does.
        Some(match name.to_ascii_lowercase().as_str() {
            "affine" => Kind::Affine,
            "elu" => Kind::Elu,
            "hardsigmoid" => Kind::HardSigmoid,
            "leakyrelu" => Kind::LeakyRelu,
            "relu" => Kind::Relu,
            "scaledtanh" => Kind::ScaledTanh,
            "sigmoid" => Kind::Sigmoid,
            "softplus" => Kind::Softplus,
            "softsign" => Kind::Softsign,
            "tanh" => Kind::Tanh,
            "thresholdedrelu" => Kind::ThresholdedRelu,
            _ => return None,
        })
    }

    fn parameters(self) -> Parameter {
        let (alpha, beta) = match self {
            Kind::Relu | Kind::Sigmoid | Kind::Softplus | Kind::Softsign | Kind::Tanh => (None, None),
            Kind::Elu | Kind::ThresholdedRelu => (Some(Some(1.0)), None),
            Kind::LeakyRelu => (Some(Some(0.01)), None),
            Kind::HardSigmoid => (Some(Some(0.2)), Some(Some(0.5))),
            Kind::Affine => (Some(Some(1.0)), Some(Some(0.0))),
            Kind::ScaledTanh => (Some(None), Some(None)),
        };
        Parameter { alpha, beta }
    }
}

impl Function {
    /// The same without a limit for what goes in.
    pub(super) fn unclipped(self) -> Function {
        Function { clip: None, ..self }
    }

    /// The function of a number.
    pub(super) fn of(&self, x: Formula) -> Formula {
        let x = match self.clip {
            Some(clip) => x.max(-clip).min(clip),
            None => x,
        };
        let (alpha, beta) = (self.alpha, self.beta);
        match self.kind {
            Kind::Affine => x * alpha + beta,
            Kind::Elu => x.clone().less(0.0).select((x.clone().exp() - 1.0) * alpha, x),
            Kind::HardSigmoid => (x * alpha + beta).max(0.0).min(1.0),
            Kind::LeakyRelu => x.clone().less(0.0).select(x.clone() * alpha, x),
            Kind::Relu => x.max(0.0),
            Kind::ScaledTanh => (x * beta).tanh() * alpha,
            Kind::Sigmoid => x.sigmoid(),
            Kind::Softplus => softplus_of(x),
            Kind::Softsign => x.clone() / (x.abs() + 1.0),
            Kind::Tanh => x.tanh(),
            Kind::ThresholdedRelu => x.clone().less(alpha).select(0.0, x),
        }
    }
}

/// The functions of every direction: those in the node, or `defaults` for each.
///
/// `activation_alpha` and `activation_beta` are lists that the functions with such a parameter take from,
/// in order.
pub(super) fn functions(
    call: &Call<'_>,
    directions: usize,
    defaults: &[&str],
) -> Result<Vec<Vec<Function>>, Refusal> {
    let list = |name: &str| {
        let names = call.read(name, |attribute| {
            attribute
                .strings
                .iter()
                .map(|name| String::from_utf8(name.clone()).ok())
                .collect::<Option<Vec<_>>>()
        })?;
        Ok::<_, Refusal>(names.filter(|names| !names.is_empty()))
    };
    let floats =
        |name: &str| Ok::<_, Refusal>(call.read(name, |a| Some(a.floats.clone()))?.unwrap_or_default());
    let names = list("activations")?
        .unwrap_or_else(|| (0..directions).flat_map(|_| defaults.iter().map(ToString::to_string)).collect());
    if names.len() != directions * defaults.len() {
        let (count, each) = (names.len(), defaults.len());
        let reason = format!("it has {count} activations, not {each} for each of {directions} directions");
        return Err(Refusal::malformed(reason));
    }
    let clip = call.read("clip", |attribute| attribute.f)?;
    if clip.is_some_and(|clip| clip.is_nan() || clip <= 0.0) {
        return Err(Refusal::malformed(format!("its clip is {}, not above 0", clip.unwrap_or_default())));
    }
    let (mut alphas, mut betas) =
        (floats("activation_alpha")?.into_iter(), floats("activation_beta")?.into_iter());
    let mut all = Vec::with_capacity(names.len());
    for name in &names {
        let kind = Kind::named(name).ok_or_else(|| {
            let remedy = "use one of those that ONNX lists for recurrent operators";
            Refusal::unsupported(format!("the activation {name:?} is not known"), remedy)
        })?;
        let Parameter { alpha, beta } = kind.parameters();
        let take = |what: &str, default: Option<Option<f32>>, given: &mut std::vec::IntoIter<f32>| {
            let Some(default) = default else { return Ok(0.0) };
            given.next().or(default).ok_or_else(|| {
                let remedy = format!("give its activation_{what}");
                Refusal::unsupported(format!("the activation {name:?} has no default {what}"), remedy)
            })
        };
        let (alpha, beta) = (take("alpha", alpha, &mut alphas)?, take("beta", beta, &mut betas)?);
        all.push(Function { kind, alpha, beta, clip });
    }
    Ok(all.chunks(defaults.len().max(1)).map(<[Function]>::to_vec).collect())
}
