//! The file of golden vectors and the comparison.

use super::*;
use alloc::string::ToString as _;
use alloc::vec;
use dunlin_abi::{Meaning, Simd, State};
use proptest::prelude::*;

fn card(classes: u32, dynamic: bool) -> Card {
    let last = if dynamic { Dim::AtMost(classes) } else { Dim::Fixed(classes) };
    let mut scores = TensorSpec::new("p", DType::F32, [Dim::Batch, last]);
    scores.meaning = Some(Meaning::Probability);
    scores.labels = (0..classes).map(|class| class.to_string()).collect();
    Card {
        abi: 1,
        inputs: vec![TensorSpec::new("x", DType::I16, [Dim::Batch, Dim::Fixed(3)])],
        outputs: vec![scores, TensorSpec::new("y", DType::I64, [Dim::Batch])],
        max_batch: 1,
        state: State::None,
        simd: Simd::None,
        stack_bytes: 0,
        arena_bytes: 0,
        producer: "test".to_string(),
        source_sha256: None,
    }
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn golden(card: &Card, vectors: usize, classes: usize, fill: u8) -> Golden {
    let vector = GoldenVector {
        inputs: vec![vec![fill; 6]],
        outputs: vec![vec![fill; 4 * classes], vec![fill; 8]],
        status: 0,
    };
    Golden::new(card, vec![vector; vectors])
}

proptest! {
    #[test]
    fn vectors_survive_their_bytes_and_nothing_shorter_or_longer_does(
        classes in 2u32..5, vectors in 1usize..5, fill in any::<u8>(), dynamic in any::<bool>(), cut in any::<usize>(),
        refused in prop::option::of((0usize..5, 1u8..))
    ) {
        let card = card(classes, dynamic);
        let length = if dynamic { classes as usize - 1 } else { classes as usize };
        let mut golden = golden(&card, vectors, length, fill);
        if let Some((place, status)) = refused {
            let vector = &mut golden.vectors[place % vectors];
            (vector.status, vector.outputs) = (status, vec![]);
        }
        let bytes = golden.encode(&card).unwrap();
        prop_assert_eq!(bytes[8], if refused.is_some() { 2 } else { 1 });
        prop_assert_eq!(Golden::decode(&bytes, &card), Ok(golden));
        prop_assert!(Golden::decode(&bytes[..cut % bytes.len()], &card).is_err());
        let longer = [&bytes[..], &[0]].concat();
        prop_assert_eq!(Golden::decode(&longer, &card), Err(GoldenError::Trailing));
    }

    #[test]
    fn any_bytes_are_vectors_or_an_error(
        mut bytes in prop::collection::vec(any::<u8>(), 0..120), start in any::<bool>(), dynamic in any::<bool>()
    ) {
        let card = card(2, dynamic);
        if start {
            let mut good = golden(&card, 2, 2, 1).encode(&card).unwrap();
            good[8] = if bytes.len() % 2 == 0 { 1 } else { 2 };
            bytes.splice(..bytes.len().min(36), good[..36].iter().copied());
        }
        if let Ok(golden) = Golden::decode(&bytes, &card) {
            prop_assert_eq!(golden.encode(&card), Ok(bytes));
        }
    }
}

#[test]
fn vectors_of_another_model_are_refused() {
    let own = card(3, false);
    let bytes = golden(&own, 1, 3, 0).encode(&own).unwrap();
    assert!(Golden::decode(&bytes, &card(4, false)).is_err());
    assert_eq!(golden(&own, 0, 3, 0).encode(&own), Err(GoldenError::Count(0)));
    let mut changed = golden(&own, 1, 3, 0);
    changed.tolerances[1] = f64::NAN;
    assert!(matches!(changed.encode(&own), Err(GoldenError::Tolerance(_))));
    changed.tolerances.pop();
    assert_eq!(changed.encode(&own), Err(GoldenError::Outputs { expected: 2, actual: 1 }));
    let error = golden(&own, 1, 2, 0).encode(&own).unwrap_err();
    assert_eq!(error, GoldenError::Size { tensor: "p".to_string(), expected: 12, actual: 8 });
    let mut huge = bytes.clone();
    huge[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(Golden::decode(&huge, &own), Err(GoldenError::Count(u32::MAX as usize)));
}

#[test]
fn refuses_a_status_that_is_none() {
    let own = card(2, false);
    let plain = golden(&own, 1, 2, 0);
    let mut both = plain.clone();
    both.vectors[0].status = 3;
    assert_eq!(both.encode(&own), Err(GoldenError::Tensors { expected: 0, actual: 2 }));
    let mut bytes = plain.encode(&own).unwrap();
    bytes[8] = 2;
    // Behind the magic, two counts and two tolerances: the inputs of 6 bytes, then the status.
    bytes.insert(8 + 4 + 4 + 16 + 4 + 6, 0);
    assert_eq!(Golden::decode(&bytes, &own), Err(GoldenError::NoStatus));
    bytes[8] = 3;
    assert_eq!(Golden::decode(&bytes, &own), Err(GoldenError::Format));
    let vector = &plain.vectors[0];
    assert_eq!(Golden::compare_status(vector, 0), Ok(()));
    let error = Golden::compare_status(vector, 7).unwrap_err();
    assert_eq!(error.to_string(), "the model answered with status 7, the golden vector expects outputs");
}

#[test]
fn floats_agree_within_the_tolerance_of_the_greatest_value() {
    let output = TensorSpec::new("y", DType::F32, [Dim::Batch, Dim::Fixed(2)]);
    let check = |expected: &[f32], actual: &[f32]| compare(&output, 1e-3, &f32s(expected), &f32s(actual));
    assert_eq!(check(&[0.0, 0.5], &[0.0009, 0.5]), Ok(()));
    assert!(check(&[0.0, 0.5], &[0.0011, 0.5]).is_err());
    assert_eq!(check(&[0.0, 100.0], &[0.09, 100.0]), Ok(()));
    assert_eq!(check(&[f32::INFINITY, f32::NAN], &[f32::INFINITY, f32::NAN]), Ok(()));
    for bad in [[f32::NAN, 0.0], [f32::INFINITY, 0.0], [f32::NEG_INFINITY, 0.0]] {
        assert!(matches!(check(&[1.0, 0.0], &bad), Err(GoldenMismatch::Value { element: 0, .. })), "{bad:?}");
        assert!(check(&bad, &[1.0, 0.0]).is_err(), "{bad:?}");
    }
    assert_eq!(check(&[1.0], &[1.0, 1.0]), Err(GoldenMismatch::Size { expected: 4, actual: 8 }));
}

#[test]
fn integers_agree_exactly() {
    let output = TensorSpec::new("y", DType::I64, [Dim::Batch]);
    let bytes = |value: i64| value.to_le_bytes();
    assert_eq!(compare(&output, 1.0, &bytes(i64::MAX), &bytes(i64::MAX)), Ok(()));
    assert!(compare(&output, 1.0, &bytes(i64::MAX), &bytes(i64::MAX - 1)).is_err());
}

#[test]
fn classes_count_only_where_the_margin_exceeds_the_tolerance() {
    let card = card(3, false);
    let golden = golden(&card, 1, 3, 0);
    let wide = Golden { tolerances: vec![0.1, 0.0], ..golden };
    let check =
        |expected: [f32; 3], actual: [f32; 3]| wide.compare(&card, 0, &f32s(&expected), &f32s(&actual));
    assert_eq!(check([0.45, 0.40, 0.15], [0.40, 0.45, 0.15]), Ok(()));
    assert_eq!(check([0.50, 0.38, 0.12], [0.45, 0.43, 0.12]), Ok(()));
    let label = GoldenMismatch::Label { row: 0, expected: 0, actual: 1 };
    assert_eq!(check([0.50, 0.38, 0.12], [0.43, 0.46, 0.12]), Err(label));
    assert_eq!(wide.compare(&card, 2, &[], &[]), Err(GoldenMismatch::NoOutput(2)));
}
