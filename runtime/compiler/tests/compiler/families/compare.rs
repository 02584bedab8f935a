//! Comparisons, logic and choices, with NaN and infinities.

use proptest::prelude::*;

use super::elementwise::operands;
use crate::agree::{Case, EXACT};
use crate::builder::int;
use crate::choices::{Choices, Spread, cases, choices};
use crate::evaluator::Array;
use crate::onnx::tensor_proto::DataType;

const COMPARISONS: [&str; 5] = ["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"];

/// Truth values leave the model as they are, or as numbers.
fn leave(c: &mut Choices, mut case: Case, name: &str) {
    if c.flag() {
        return case.finish("Cast", &[name], &[int("to", DataType::Float as i64)]);
    }
    case.outputs(&[name]);
    case.agree();
}

fn comparison(c: &mut Choices) {
    let batch = c.batch();
    let operator = c.one_of(&COMPARISONS);
    let mut case = Case::new(c, 17, batch, EXACT);
    let names = operands(c, &mut case, batch, &[Spread::Any, Spread::Any]);
    case.node(operator, &[&names[0], &names[1]], "t", &[]);
    leave(c, case, "t");
}

fn test_of_one(c: &mut Choices) {
    let batch = c.batch();
    let mut case = Case::new(c, 13, batch, EXACT);
    let sample = c.shape(2, 200);
    case.input(c, "x", batch, &sample, Spread::Any);
    if c.flag() {
        case.node("IsNaN", &["x"], "t", &[]);
    } else {
        let attributes = [int("detect_negative", c.int(0, 1)), int("detect_positive", c.int(0, 1))];
        case.node("IsInf", &["x"], "t", &attributes[..c.pick(3)]);
    }
    leave(c, case, "t");
}

fn logic(c: &mut Choices) {
    let batch = c.batch();
    let mut case = Case::new(c, 17, batch, EXACT);
    let names = operands(c, &mut case, batch, &[Spread::Small, Spread::Small]);
    case.values("limit", &Array::new(&[], vec![0.5]));
    let (first, second) = (c.one_of(&COMPARISONS), c.one_of(&COMPARISONS));
    case.node(first, &[&names[0], "limit"], "a", &[]);
    case.node(second, &[&names[1], "limit"], "b", &[]);
    case.node(c.one_of(&["And", "Or", "Xor"]), &["a", "b"], "t", &[]);
    case.node("Not", &["t"], "u", &[]);
    let name = c.one_of(&["t", "u"]);
    leave(c, case, name);
}

fn choice(c: &mut Choices) {
    let batch = c.batch();
    let mut case = Case::new(c, 17, batch, EXACT);
    let names = operands(c, &mut case, batch, &[Spread::Small, Spread::Any, Spread::Any]);
    case.values("limit", &Array::new(&[], vec![0.5]));
    case.node(c.one_of(&COMPARISONS), &[&names[0], "limit"], "t", &[]);
    case.finish("Where", &["t", &names[1], &names[2]], &[]);
}

/// Truth values come from the host, or are constants.
fn given_truths(c: &mut Choices) {
    let batch = c.batch();
    let mut case = Case::new(c, 17, batch, EXACT);
    let sample = c.shape(2, 200);
    let truths = c.truths(&batch.shape(&sample));
    case.given("t", &batch.dims(&sample), truths);
    case.input(c, "x", batch, &sample, Spread::Any);
    case.weights(c, "z", &[1], Spread::Small);
    case.finish("Where", &["t", "x", "z"], &[]);
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn comparisons_agree(mut c in choices()) {
        comparison(&mut c);
    }

    #[test]
    fn tests_of_one_number_agree(mut c in choices()) {
        test_of_one(&mut c);
    }

    #[test]
    fn logic_agrees(mut c in choices()) {
        logic(&mut c);
    }

    #[test]
    fn choices_by_conditions_agree(mut c in choices()) {
        choice(&mut c);
    }

    #[test]
    fn choices_by_given_truths_agree(mut c in choices()) {
        given_truths(&mut c);
    }
}
