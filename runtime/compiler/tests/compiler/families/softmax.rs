//! Softmax, LogSoftmax and Hardmax.

use proptest::prelude::*;

use crate::agree::{Case, EXACT, SUMS};
use crate::builder::int;
use crate::choices::{Batch, Choices, Spread, cases, choices};
use crate::evaluator::Array;

/// Numbers along an axis: near each other, far apart, or in part minus infinity.
fn logits(c: &mut Choices, batch: Batch, sample: &[usize], axis: usize) -> Array {
    let shape = batch.shape(sample);
    let spread = c.one_of(&[Spread::Small, Spread::Wide, Spread::Small]);
    let x = c.floats(&shape, spread);
    if !c.flag() {
        return x;
    }
    let stride: usize = shape[axis + 1..].iter().product();
    let data = x.data.iter().enumerate().map(|(place, v)| {
        let along = place / stride % shape[axis];
        if along % 3 == 1 { f64::NEG_INFINITY } else { *v }
    });
    Array::new(&shape, data.collect())
}

fn softmax(c: &mut Choices, operator: &str) {
    let batch = c.batch();
    let opset = c.one_of(&[17, 11]);
    let rank = c.between(1, 3);
    let sample = c.shape(rank, 300);
    // The batch itself may be the axis where it is fixed.
    let least = usize::from(batch.max.is_some() || c.flag());
    let axis = c.between(least, rank);
    let tolerance = if operator == "Hardmax" { EXACT } else { SUMS };
    let mut case = Case::new(c, opset, batch, tolerance);
    let x = logits(c, batch, &sample, axis);
    case.given("x", &batch.dims(&sample), x);
    let default = if opset < 13 { axis == 1 } else { axis == rank };
    let written = if c.flag() { axis as i64 } else { axis as i64 - rank as i64 - 1 };
    let attributes = [int("axis", written)];
    case.finish(operator, &["x"], if default && c.flag() { &[] } else { &attributes });
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn softmax_agrees(mut c in choices()) {
        softmax(&mut c, "Softmax");
    }

    #[test]
    fn log_softmax_agrees(mut c in choices()) {
        softmax(&mut c, "LogSoftmax");
    }

    #[test]
    fn hardmax_agrees(mut c in choices()) {
        softmax(&mut c, "Hardmax");
    }
}
