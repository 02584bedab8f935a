//! Matrix products: batches that broadcast, vectors, constants on either side, and Gemm.

use proptest::prelude::*;

use crate::agree::{Case, SUMS};
use crate::builder::{float, int};
use crate::choices::{Choices, Spread, cases, choices};

/// Extents of products: around the widths of blocks, too.
fn extents(c: &mut Choices) -> (usize, usize, usize) {
    (c.one_of(&[1, 2, 3, 4, 5, 9]), c.extent(), c.one_of(&[1, 3, 4, 7, 8, 15, 16, 31, 33, 70]))
}

fn matmul(c: &mut Choices) {
    let batch = c.batch();
    let (m, k, n) = extents(c);
    let mut case = Case::new(c, 17, batch, SUMS);
    let front = c.one_of(&[&[][..], &[2], &[3, 2], &[1, 3]]);
    let narrow: Vec<usize> = front.iter().map(|extent| if c.flag() { 1 } else { *extent }).collect();
    let (left, right) = ([front, &[m, k]].concat(), [front, &[k, n]].concat());
    match c.pick(7) {
        // A matrix, or a batch of matrices, on the right of every sample.
        0 => {
            case.input(c, "a", batch, &left, Spread::Small);
            case.weights(c, "b", &[k, n], Spread::Small);
        }
        1 => {
            case.input(c, "a", batch, &left, Spread::Small);
            case.weights(c, "b", &[narrow.as_slice(), &[k, n]].concat(), Spread::Small);
        }
        // The same on the left.
        2 => {
            case.weights(c, "a", &[narrow.as_slice(), &[m, k]].concat(), Spread::Small);
            case.input(c, "b", batch, &right, Spread::Small);
        }
        // Both of the model's, broadcasting.
        3 => {
            case.input(c, "a", batch, &left, Spread::Small);
            case.input(c, "b", batch, &[narrow.as_slice(), &[k, n]].concat(), Spread::Small);
        }
        // A row a sample.
        4 => {
            case.input(c, "a", batch, &[k], Spread::Small);
            case.weights(c, "b", &[k, n], Spread::Small);
        }
        // Vectors.
        5 => {
            case.input(c, "a", batch, &left, Spread::Small);
            case.weights(c, "b", &[k], Spread::Small);
        }
        _ => {
            case.weights(c, "a", &[k], Spread::Small);
            case.input(c, "b", batch, &right, Spread::Small);
        }
    }
    case.finish("MatMul", &["a", "b"], &[]);
}

fn gemm(c: &mut Choices) {
    let batch = c.batch();
    let fixed = batch.max.is_none();
    let (_, k, n) = extents(c);
    let mut case = Case::new(c, 13, batch, SUMS);
    // The samples are the rows, or the columns of a transposed operand where they are fixed.
    let trans_a = fixed && c.flag();
    let (m, k) = if trans_a { (k, batch.samples) } else { (batch.samples, k) };
    case.input(c, "a", batch, &[if trans_a { m } else { k }], Spread::Small);
    let trans_b = c.flag();
    let dims = if trans_b { [n, k] } else { [k, n] };
    if fixed && c.flag() {
        crate::agree::whole(&mut case, c, "b", &dims, Spread::Small);
    } else {
        case.weights(c, "b", &dims, Spread::Small);
    }
    let mut attributes = vec![int("transB", i64::from(trans_b))];
    if trans_a {
        attributes.push(int("transA", 1));
    }
    if c.flag() {
        attributes.push(float("alpha", c.one_of(&[0.5, 2.0, -1.0])));
        attributes.push(float("beta", c.one_of(&[0.0, 0.25, 3.0])));
    }
    let rows = if fixed { m } else { 1 };
    let added = match c.pick(6) {
        0 => return case.finish("Gemm", &["a", "b"], &attributes),
        1 => vec![],
        2 => vec![n],
        3 => vec![1, n],
        4 => vec![rows, 1],
        _ => vec![rows, n],
    };
    case.weights(c, "c", &added, Spread::Small);
    case.finish("Gemm", &["a", "b", "c"], &attributes);
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn matrix_products_agree(mut c in choices()) {
        matmul(&mut c);
    }

    #[test]
    fn general_matrix_products_agree(mut c in choices()) {
        gemm(&mut c);
    }
}
