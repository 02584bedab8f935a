//! Normalisations.

use proptest::prelude::*;

use crate::agree::{Case, SUMS};
use crate::builder::{float, int};
use crate::choices::{Batch, Choices, Spread, cases, choices};

fn epsilon(c: &mut Choices) -> Vec<crate::onnx::AttributeProto> {
    if c.flag() { vec![float("epsilon", c.one_of(&[1e-5, 1e-3, 0.5]))] } else { vec![] }
}

/// Channels first, then no to two spatial axes.
fn image(c: &mut Choices, least: usize) -> Vec<usize> {
    let spatial = c.between(least, 2);
    [vec![c.extent()], c.shape(spatial, 60)].concat()
}

fn start(c: &mut Choices, opset: i64, shape: &[usize]) -> (Case, Batch) {
    let batch = c.batch();
    let mut case = Case::new(c, opset, batch, SUMS);
    case.input(c, "x", batch, shape, Spread::Small);
    (case, batch)
}

fn batch_norm(c: &mut Choices) {
    let shape = image(c, 0);
    let opset = c.one_of(&[17, 9, 14]);
    let (mut case, _) = start(c, opset, &shape);
    for (name, spread) in [("scale", Spread::Small), ("bias", Spread::Small), ("mean", Spread::Small)] {
        case.weights(c, name, &shape[..1], spread);
    }
    case.weights(c, "var", &shape[..1], Spread::Positive);
    let attributes = epsilon(c);
    case.finish("BatchNormalization", &["x", "scale", "bias", "mean", "var"], &attributes);
}

fn layer_norm(c: &mut Choices, operator: &str) {
    let rank = c.between(1, 3);
    let shape = c.shape(rank, 300);
    let opset = if operator == "LayerNormalization" { 17 } else { 23 };
    let (mut case, _) = start(c, opset, &shape);
    let axis = c.pick(rank);
    case.weights(c, "scale", &shape[axis..], Spread::Small);
    let mut attributes = epsilon(c);
    let (front, back) = (axis as i64 + 1, axis as i64 - rank as i64);
    if back != -1 || c.flag() {
        attributes.push(int("axis", if c.flag() { front } else { back }));
    }
    if operator == "LayerNormalization" && c.flag() {
        case.weights(c, "bias", &shape[axis..], Spread::Small);
        case.finish(operator, &["x", "scale", "bias"], &attributes);
    } else {
        case.finish(operator, &["x", "scale"], &attributes);
    }
}

fn instance_norm(c: &mut Choices) {
    let shape = image(c, 1);
    let opset = c.one_of(&[17, 22]);
    let (mut case, _) = start(c, opset, &shape);
    case.weights(c, "scale", &shape[..1], Spread::Small);
    case.weights(c, "bias", &shape[..1], Spread::Small);
    let attributes = epsilon(c);
    case.finish("InstanceNormalization", &["x", "scale", "bias"], &attributes);
}

fn group_norm(c: &mut Choices) {
    let (groups, size) = (c.between(1, 4), c.between(1, 5));
    let spatial = c.between(1, 2);
    let shape = [vec![groups * size], c.shape(spatial, 40)].concat();
    let opset = c.one_of(&[21, 18]);
    let (mut case, _) = start(c, opset, &shape);
    let affine = [if opset == 18 { groups } else { groups * size }];
    case.weights(c, "scale", &affine, Spread::Small);
    case.weights(c, "bias", &affine, Spread::Small);
    let attributes = [epsilon(c), vec![int("num_groups", groups as i64)]].concat();
    case.finish("GroupNormalization", &["x", "scale", "bias"], &attributes);
}

proptest! {
    #![proptest_config(cases(32))]

    #[test]
    fn batch_normalisations_agree(mut c in choices()) {
        batch_norm(&mut c);
    }

    #[test]
    fn layer_normalisations_agree(mut c in choices()) {
        layer_norm(&mut c, "LayerNormalization");
    }

    #[test]
    fn root_mean_square_normalisations_agree(mut c in choices()) {
        layer_norm(&mut c, "RMSNormalization");
    }

    #[test]
    fn instance_normalisations_agree(mut c in choices()) {
        instance_norm(&mut c);
    }

    #[test]
    fn group_normalisations_agree(mut c in choices()) {
        group_norm(&mut c);
    }
}
