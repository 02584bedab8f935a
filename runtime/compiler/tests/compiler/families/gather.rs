//! Gather, by indices that the file or the host gives.

use proptest::prelude::*;

use crate::agree::{Case, EXACT, whole};
use crate::builder::int;
use crate::choices::{Choices, Spread, cases, choices, fixed};

/// Indices of the file: whole numbers from both ends of the axis, in any shape.
fn constant(c: &mut Choices) {
    let batch = c.batch();
    let rank = c.between(1, 3);
    let sample = c.shape(rank, 200);
    let mut case = Case::new(c, 13, batch, EXACT);
    case.input(c, "x", batch, &sample, Spread::Any);
    let axis = c.between(usize::from(batch.max.is_some()), rank);
    let extent = batch.shape(&sample)[axis] as i64;
    let shape = c.one_of(&[&[][..], &[1], &[3], &[2, 2], &[7]]);
    let indices = c.integers(shape, -extent, extent - 1).ints();
    let dims: Vec<i64> = shape.iter().map(|extent| *extent as i64).collect();
    case.constant(crate::builder::i64_tensor("i", &dims, &indices));
    let written = if c.flag() { axis as i64 } else { axis as i64 - rank as i64 - 1 };
    case.finish("Gather", &["x", "i"], &[int("axis", written)]);
}

/// An embedding: rows of a table, by indices of the host.
fn embedding(c: &mut Choices) {
    let batch = c.batch();
    let (rows, width) = (c.extent(), c.extent());
    let rank = c.between(0, 2);
    let sample = c.shape(rank, 20);
    let mut case = Case::new(c, 13, batch, EXACT);
    case.weights(c, "table", &[rows, width], Spread::Any);
    let indices = c.integers(&batch.shape(&sample), -(rows as i64), rows as i64 - 1);
    case.given("i", &batch.dims(&sample), indices);
    let axis = [int("axis", 0)];
    case.finish("Gather", &["table", "i"], if c.flag() { &axis } else { &[] });
}

/// Numbers and indices both of the host, with everything fixed.
fn both(c: &mut Choices) {
    let rank = c.between(1, 3);
    let shape = c.shape(rank, 200);
    let axis = c.pick(rank);
    let mut case = Case::new(c, 13, crate::agree::NO_BATCH, EXACT);
    whole(&mut case, c, "x", &shape, Spread::Any);
    let count = c.one_of(&[&[4][..], &[1], &[2, 3]]);
    let indices = c.integers(count, -(shape[axis] as i64), shape[axis] as i64 - 1);
    case.given("i", &fixed(count), indices);
    case.finish("Gather", &["x", "i"], &[int("axis", axis as i64)]);
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn constant_indices_agree(mut c in choices()) {
        constant(&mut c);
    }

    #[test]
    fn embeddings_agree(mut c in choices()) {
        embedding(&mut c);
    }

    #[test]
    fn indices_into_inputs_agree(mut c in choices()) {
        both(&mut c);
    }
}
