//! Activations, with numbers of every size and, where a formula defines the result, NaN and infinities.

use proptest::prelude::*;

use crate::agree::{CURVE, Case, ROUNDED, Tolerance};
use crate::builder::{float, string};
use crate::choices::{Choices, Spread, cases, choices};
use crate::onnx::AttributeProto;

/// What may be given to a function.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Domain {
    Any,
    NoInfinity,
    Finite,
}

/// Operator, opset, names of its float attributes, what it takes.
const OPERATORS: [(&str, i64, &[&str], Domain, Tolerance); 20] = [
    ("Relu", 14, &[], Domain::Any, ROUNDED),
    ("LeakyRelu", 16, &["alpha"], Domain::Any, ROUNDED),
    ("PRelu", 16, &[], Domain::NoInfinity, ROUNDED),
    ("ThresholdedRelu", 17, &["alpha"], Domain::Finite, ROUNDED),
    ("Shrink", 17, &["bias", "lambd"], Domain::Finite, ROUNDED),
    ("Elu", 17, &["alpha"], Domain::Any, CURVE),
    ("Selu", 17, &["alpha", "gamma"], Domain::Any, CURVE),
    ("Celu", 17, &["alpha"], Domain::Any, CURVE),
    ("Sigmoid", 17, &[], Domain::Any, CURVE),
    ("HardSigmoid", 17, &["alpha", "beta"], Domain::Finite, CURVE),
    ("HardSwish", 17, &[], Domain::Finite, CURVE),
    ("Tanh", 17, &[], Domain::Any, CURVE),
    ("Softplus", 17, &[], Domain::Any, CURVE),
    ("Softsign", 17, &[], Domain::NoInfinity, CURVE),
    ("Erf", 17, &[], Domain::Any, CURVE),
    ("Gelu", 20, &[], Domain::NoInfinity, CURVE),
    ("Mish", 18, &[], Domain::NoInfinity, CURVE),
    ("Swish", 24, &["alpha"], Domain::NoInfinity, CURVE),
    ("Identity", 16, &[], Domain::Any, ROUNDED),
    ("Dropout", 13, &[], Domain::Any, ROUNDED),
];

fn activation(c: &mut Choices) {
    let (operator, opset, names, domain, tolerance) = c.one_of(&OPERATORS);
    let batch = c.batch();
    let rank = c.between(1, 3);
    let sample = c.shape(rank, 400);
    let spread = c.one_of(&[Spread::Small, Spread::Any, Spread::Wide]);
    let mut case = Case::new(c, opset, batch, tolerance);
    let x = c.floats(&batch.shape(&sample), spread).map(|v| match domain {
        Domain::Finite if v.is_nan() => 0.5,
        Domain::Finite | Domain::NoInfinity if v.is_infinite() => v.signum(),
        _ => v,
    });
    // Products of the largest numbers overflow or not as they are associated.
    let x = x.map(|v| if v.is_finite() && domain != Domain::Any { v.clamp(-1e12, 1e12) } else { v });
    case.given("x", &batch.dims(&sample), x);
    let mut attributes: Vec<AttributeProto> = vec![];
    for name in names {
        if c.flag() {
            attributes.push(float(name, c.one_of(&[0.25, 0.5, 1.5])));
        }
    }
    if operator == "Gelu" && c.flag() {
        attributes.push(string("approximate", c.one_of(&["tanh", "none"])));
    }
    if operator == "PRelu" {
        // One slope for all, one a channel, or one an element.
        let slope = match c.pick(3) {
            0 => vec![1],
            1 => [vec![sample[0]], vec![1; rank - 1]].concat(),
            _ => sample.clone(),
        };
        case.weights(c, "slope", &slope, Spread::Small);
        case.finish(operator, &["x", "slope"], &[]);
    } else {
        case.finish(operator, &["x"], &attributes);
    }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn activations_agree(mut c in choices()) {
        activation(&mut c);
    }
}
