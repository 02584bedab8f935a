//! Reductions along any axes.

use proptest::prelude::*;

use crate::agree::{Case, EXACT, SUMS, Tolerance};
use crate::builder::{int, ints};
use crate::choices::{Choices, Spread, cases, choices};

const OPERATORS: [(&str, Spread, Tolerance); 10] = [
    ("ReduceSum", Spread::Small, SUMS),
    ("ReduceMean", Spread::Small, SUMS),
    ("ReduceMax", Spread::Extreme, EXACT),
    ("ReduceMin", Spread::Extreme, EXACT),
    ("ReduceProd", Spread::Positive, Tolerance { each: 2e-5, whole: 0.0, floor: 1e-37 }),
    ("ReduceL1", Spread::Small, SUMS),
    ("ReduceL2", Spread::Small, SUMS),
    ("ReduceLogSum", Spread::Positive, SUMS),
    ("ReduceLogSumExp", Spread::Wide, SUMS),
    ("ReduceSumSquare", Spread::Small, SUMS),
];

fn reduce(c: &mut Choices) {
    let batch = c.batch();
    let (operator, spread, tolerance) = c.one_of(&OPERATORS);
    let opset = c.one_of(&[18, 13, 11]);
    let rank = c.between(1, 4);
    let limit = if operator == "ReduceProd" { 24 } else { 400 };
    let sample = c.shape(rank, limit);
    let mut case = Case::new(c, opset, batch, tolerance);
    case.input(c, "x", batch, &sample, spread);
    // The batch can be reduced only where it is fixed.
    let least = i64::from(batch.max.is_some());
    let mut axes: Vec<i64> = (least..=rank as i64).filter(|_| c.flag()).collect();
    if axes.is_empty() && (least == 1 || c.flag()) {
        axes.push(rank as i64);
    }
    let axes: Vec<i64> =
        axes.iter().map(|axis| if c.flag() { *axis } else { axis - rank as i64 - 1 }).collect();
    let mut attributes = vec![];
    let keep = c.pick(3);
    if keep < 2 {
        attributes.push(int("keepdims", keep as i64));
    }
    let by_operand = opset >= 18 || operator == "ReduceSum" && opset >= 13;
    if axes.is_empty() {
        // All axes, by saying nothing.
        case.finish(operator, &["x"], &attributes);
    } else if by_operand {
        case.list("axes", &axes);
        case.finish(operator, &["x", "axes"], &attributes);
    } else {
        attributes.push(ints("axes", &axes));
        case.finish(operator, &["x"], &attributes);
    }
}

/// Without axes and with `noop_with_empty_axes` nothing is summed up.
fn nothing(c: &mut Choices) {
    let batch = c.batch();
    let operator = c.one_of(&["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd"]);
    let mut case = Case::new(c, 18, batch, EXACT);
    let sample = c.shape(2, 100);
    case.input(c, "x", batch, &sample, Spread::Small);
    let attributes = [int("noop_with_empty_axes", 1), int("keepdims", c.int(0, 1))];
    if c.flag() {
        case.list("axes", &[]);
        case.finish(operator, &["x", "axes"], &attributes);
    } else {
        case.finish(operator, &["x"], &attributes);
    }
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn reductions_agree(mut c in choices()) {
        reduce(&mut c);
    }
}

proptest! {
    #![proptest_config(cases(16))]

    #[test]
    fn reductions_of_nothing_agree(mut c in choices()) {
        nothing(&mut c);
    }
}
