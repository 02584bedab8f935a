//! Constants in every form, ranges, and other types.

use proptest::prelude::*;

use crate::agree::{Case, EXACT};
use crate::builder::{f32_tensor, float, floats, i64_tensor, int, ints, tensor};
use crate::choices::{Choices, Spread, cases, choices};
use crate::onnx::tensor_proto::DataType;

const FLOAT: i64 = DataType::Float as i64;

/// A constant that the model makes, added to an input that broadcasts with it.
fn generated(c: &mut Choices) {
    let batch = c.batch();
    let mut case = Case::new(c, 17, batch, EXACT);
    // Whole numbers, so that sums are exact.
    let width = c.between(1, 9);
    let x = c.integers(&batch.shape(&[width]), -50, 50);
    let x = crate::evaluator::Array::new(&x.shape, x.data);
    case.given("x", &batch.dims(&[width]), x);
    let values: Vec<f32> = (0..width).map(|v| v as f32 * 0.5).collect();
    let whole: Vec<i64> = (0..width as i64).map(|v| 3 - v).collect();
    let to_float = [int("to", FLOAT)];
    match c.pick(8) {
        0 => case.node("Constant", &[], "k", &[tensor("value", f32_tensor("", &[width as i64], &values))]),
        1 => case.node("Constant", &[], "k", &[float("value_float", 0.25)]),
        2 => case.node("Constant", &[], "k", &[floats("value_floats", &values)]),
        3 => {
            case.node("Constant", &[], "i", &[int("value_int", -7)]);
            case.node("Cast", &["i"], "k", &to_float);
        }
        4 => {
            case.node("Constant", &[], "i", &[ints("value_ints", &whole)]);
            case.node("Cast", &["i"], "k", &to_float);
        }
        5 => {
            case.list("shape", &[width as i64]);
            let value = tensor("value", f32_tensor("", &[1], &[1.5]));
            case.node(
                "ConstantOfShape",
                &["shape"],
                "k",
                if c.flag() { &[] } else { std::slice::from_ref(&value) },
            );
        }
        6 => {
            let step = c.one_of(&[1, 2, -1, -3]);
            for (name, value) in [("start", 4), ("limit", 4 + width as i64 * step), ("step", step)] {
                case.constant(i64_tensor(name, &[], &[value]));
            }
            case.node("Range", &["start", "limit", "step"], "i", &[]);
            case.node("Cast", &["i"], "k", &to_float);
        }
        _ => {
            for (name, value) in [("start", 0.5), ("limit", width as f32 * 0.25 + 0.5), ("step", 0.25)] {
                case.constant(f32_tensor(name, &[], &[value]));
            }
            case.node("Range", &["start", "limit", "step"], "k", &[]);
        }
    }
    let operands = if c.flag() { ["x", "k"] } else { ["k", "x"] };
    case.finish("Add", &operands, &[]);
}

/// From a type to another and back to numbers.
fn cast(c: &mut Choices) {
    let batch = c.batch();
    let mut case = Case::new(c, 13, batch, EXACT);
    let sample = c.shape(2, 100);
    let shape = batch.shape(&sample);
    let types = [DataType::Float, DataType::Int64, DataType::Int32, DataType::Bool];
    let x = match c.pick(3) {
        // What an integer can hold: beyond that the result is not defined.
        0 => c.floats(&shape, Spread::Small).map(|v| v * 1000.0),
        1 => c.integers(&shape, -1000, 1000),
        _ => c.truths(&shape),
    };
    case.given("x", &batch.dims(&sample), x);
    case.node("Cast", &["x"], "z", &[int("to", c.one_of(&types) as i64)]);
    case.finish("Cast", &["z"], &[int("to", FLOAT)]);
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn constants_agree(mut c in choices()) {
        generated(&mut c);
    }

    #[test]
    fn types_agree(mut c in choices()) {
        cast(&mut c);
    }
}
