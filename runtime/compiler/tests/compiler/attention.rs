//! Attention whose mask leaves a query no key: 0, as ONNX's text has it, where a softmax is NaN.

use dunlin_compiler::{Options, compile};

use crate::builder::{D, Model, f32_tensor, int, numbers};
use crate::onnx::TensorProto;
use crate::onnx::tensor_proto::DataType;
use crate::run::{Running, difference};

const ROWS: usize = 3;
const COLUMNS: usize = 4;
const SIZE: usize = 5;

fn bools(name: &str, dims: &[i64], values: &[bool]) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: dims.to_vec(),
        data_type: Some(DataType::Bool as i32),
        int32_data: values.iter().map(|value| i32::from(*value)).collect(),
        ..Default::default()
    }
}

/// `softmax(q k' / sqrt(size) + mask) v`, where a row of minus infinity gives 0.
fn expected(q: &[f32], k: &[f32], v: &[f32], mask: &[f64], columns: usize) -> Vec<f64> {
    let mut result = vec![];
    for (i, row) in q.chunks(SIZE).enumerate() {
        let dot = |key: &[f32]| row.iter().zip(key).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let scores: Vec<f64> = (0..columns)
            .map(|j| dot(&k[j * SIZE..][..SIZE]) / (SIZE as f64).sqrt() + mask[i * columns + j])
            .collect();
        let weights: Vec<f64> = scores.iter().map(|score| score.exp()).collect();
        let sum: f64 = weights.iter().sum();
        for place in 0..SIZE {
            let mean =
                weights.iter().enumerate().map(|(j, w)| w * f64::from(v[j * SIZE + place])).sum::<f64>();
            result.push(if sum == 0.0 { 0.0 } else { mean / sum });
        }
    }
    result
}

/// Q is the input; K, V and the mask are constants.
fn check(mask: TensorProto, added: &[f64], columns: usize, attributes: &[crate::onnx::AttributeProto]) {
    let (q, k, v) = (numbers(1, ROWS * SIZE), numbers(2, COLUMNS * SIZE), numbers(3, COLUMNS * SIZE));
    let dims = [1, 1, COLUMNS as i64, SIZE as i64];
    let model = Model::new(23)
        .input("q", &[D::Symbol("n"), D::Fixed(1), D::Fixed(ROWS as i64), D::Fixed(SIZE as i64)])
        .f32("k0", &dims, &k)
        .f32("v0", &dims, &v)
        // Computed, and one for each sample.
        .f32("zero", &[1, 1, 1, 1], &[0.0])
        .node("Mul", &["q", "zero"], "nothing", &[])
        .node("ReduceMax", &["nothing", "axes"], "z", &[])
        .i64("axes", &[2], &[2, 3])
        .node("Add", &["k0", "z"], "k", &[])
        .node("Add", &["v0", "z"], "v", &[])
        .constant(mask)
        .node("Attention", &["q", "k", "v", "mask"], "y", attributes)
        .output("y");
    let actual = Running::new(&model.bytes(), &Options::default()).infer(1, &q);
    let expected = expected(&q, &k, &v, added, columns);
    assert!(difference(&actual, &expected) < 1e-5, "{actual:?} {expected:?}");
}

#[test]
fn a_query_without_a_key_gives_0() {
    let mut allowed = [true; ROWS * COLUMNS];
    allowed[COLUMNS..2 * COLUMNS].fill(false);
    allowed[1] = false;
    let added = allowed.map(|allowed| if allowed { 0.0 } else { f64::NEG_INFINITY });
    let dims = [ROWS as i64, COLUMNS as i64];
    check(bools("mask", &dims, &allowed), &added, COLUMNS, &[]);
    let floats = added.map(|number| number as f32);
    check(f32_tensor("mask", &dims, &floats), &added, COLUMNS, &[]);
    // The first query sees the first key alone, which the mask hides.
    let causal: Vec<bool> = (0..ROWS * COLUMNS).map(|place| place % COLUMNS != 0).collect();
    let added: Vec<f64> = (0..ROWS * COLUMNS)
        .map(|place| {
            let (i, j) = (place / COLUMNS, place % COLUMNS);
            if j == 0 || j > i { f64::NEG_INFINITY } else { 0.0 }
        })
        .collect();
    check(bools("mask", &dims, &causal), &added, COLUMNS, &[int("is_causal", 1)]);
}

#[test]
fn keys_behind_the_end_of_a_mask_are_hidden() {
    let mask = [true, false, true, false, false, true];
    let added = mask.map(|allowed| if allowed { 0.0 } else { f64::NEG_INFINITY });
    check(bools("mask", &[ROWS as i64, 2], &mask), &added, 2, &[]);
}

#[test]
fn a_mask_of_one_column_is_refused() {
    let model = Model::new(23)
        .input("q", &[D::Fixed(1), D::Fixed(1), D::Fixed(2), D::Fixed(4)])
        .constant(bools("mask", &[2, 1], &[true, false]))
        .node("Attention", &["q", "q", "q", "mask"], "y", &[])
        .output("y");
    let error = compile(&model.bytes(), &Options::default()).unwrap_err().to_string();
    assert!(error.contains("[..., 2]"), "{error}");
}

#[test]
fn a_plain_softmax_of_minus_infinities_stays_nan() {
    let model = Model::new(17).input("x", &[D::Fixed(2), D::Fixed(3)]);
    let model = model.node("Softmax", &["x"], "y", &[]).output("y");
    let x = [f32::NEG_INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY, 0.0, 0.0, f32::NEG_INFINITY];
    let y = Running::new(&model.bytes(), &Options::default()).infer(1, &x);
    assert!(y[..3].iter().all(|number| number.is_nan()), "{y:?}");
    assert_eq!(y[3..], [0.5, 0.5, 0.0]);
}
