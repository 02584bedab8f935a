//! Models written as text: scores that are their inputs, and what labels ask of them.

use dunlin_abi::DType;
use dunlin_core::code::Coded as _;

use super::*;
use crate::fixture::{CARD, module};

/// The body of `dunlin_infer` that copies 12 numbers.
const COPY: &str = "(memory.copy (i32.const 2048) (i32.const 1024) (i32.const 48)) (i32.const 0)";

/// A model whose output is its input: `width` numbers a sample, `batch` samples a call.
fn echo(width: u32, batch: u32, more: &str) -> Runner {
    let card = CARD
        .replace("\"n\", 2]", &format!("\"n\", {width}]"))
        .replace("\"max_batch\": 3", &format!("\"max_batch\": {batch}"))
        .replace("\"name\": \"y\"", &format!("\"name\": \"y\"{more}"));
    Runner::load(module(&card, COPY, "")).unwrap()
}

fn classes(numbers: &[u8]) -> Tensor {
    Tensor { dtype: DType::U8, shape: vec![numbers.len() as u64], bytes: numbers.to_vec() }
}

fn ask<'a>(data: &'a Tensor, labels: &'a Tensor) -> Question<'a> {
    Question { data, labels, input: None, output: None, top: None }
}

fn judged(runner: &mut Runner, question: &Question<'_>) -> Evaluation {
    evaluate(runner, question, |_| {}).unwrap()
}

fn of_classes(evaluation: Evaluation) -> Classes {
    match evaluation.quality {
        Quality::Classes(classes) => classes,
        Quality::Values(values) => panic!("{values:?}"),
    }
}

fn refusal(runner: &mut Runner, question: &Question<'_>) -> (&'static str, String) {
    let error = evaluate(runner, question, |_| {}).unwrap_err();
    (error.code().id, error.to_string())
}

#[test]
fn the_greatest_score_is_the_choice() {
    let scores = [0.1, 0.7, 0.2, 0.5, 0.3, 0.2, 0.0, 0.4, 0.6, 0.3, 0.3, 0.4, 0.2, 0.2, 0.1];
    let data = Tensor::from_f32(&[5, 3], &scores);
    let labels = classes(&[1, 0, 1, 1, 1]);
    for batch in [1, 2, 4] {
        let mut heard = Vec::new();
        let question = Question { top: Some(2), ..ask(&data, &labels) };
        let result = evaluate(&mut echo(3, batch, ""), &question, |done| heard.push(done)).unwrap();
        assert_eq!(heard.last(), Some(&5), "batch {batch}");
        let got = of_classes(result);
        // Of equal scores the first is chosen: sample 4 is taken for 0, and 1 is its second.
        assert_eq!((got.accuracy, got.top_accuracy), (0.4, Some(0.8)), "batch {batch}");
        assert_eq!(got.confusion, [[1, 0, 0], [1, 1, 2], [0, 0, 0]]);
        assert_eq!((got.classes[1].samples, got.classes[1].recall), (4, Some(0.25)));
        assert_eq!((got.classes[0].precision, got.classes[2].recall), (Some(0.5), None));
    }
}

#[test]
fn a_score_that_is_no_number_is_never_right() {
    let data = Tensor::from_f32(&[1, 3], &[f32::NAN; 3]);
    let labels = classes(&[2]);
    let question = Question { top: Some(2), ..ask(&data, &labels) };
    assert_eq!(of_classes(judged(&mut echo(3, 1, ""), &question)).top_accuracy, Some(0.0));
}

#[test]
fn a_single_score_has_two_sides() {
    let data = Tensor::from_f32(&[4, 1], &[0.2, 0.5, 0.7, 0.4]);
    let labels = classes(&[0, 1, 0, 1]);
    let got = of_classes(judged(&mut echo(1, 2, ""), &ask(&data, &labels)));
    assert_eq!((got.accuracy, got.confusion), (0.5, vec![vec![1, 1], vec![1, 1]]));
    // Floats are numbers to be met, unless the output is a probability and they are 0 or 1.
    let truths = labels.cast(DType::F32).unwrap();
    let numbers = judged(&mut echo(1, 2, ""), &ask(&data, &truths)).quality;
    assert!(matches!(numbers, Quality::Values(values) if (values.mean_absolute_error - 0.5).abs() < 1e-6));
    let probability = ", \"meaning\": \"probability\"";
    assert_eq!(of_classes(judged(&mut echo(1, 2, probability), &ask(&data, &truths))).accuracy, 0.5);
}

#[test]
fn numbers_of_the_output_s_shape_give_the_mean_error() {
    let data = Tensor::from_f32(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let labels = Tensor::from_f32(&[2, 2], &[1.0, 1.0, 3.0, 7.0]);
    let Quality::Values(got) = judged(&mut echo(2, 1, ""), &ask(&data, &labels)).quality else { panic!() };
    assert_eq!((got.mean_absolute_error, got.largest_error), (1.0, 3.0));
    assert!((got.root_mean_square_error - 2.5f64.sqrt()).abs() < 1e-12);
}

#[test]
fn a_model_without_a_batch_is_given_sample_after_sample() {
    let card = CARD.replace("\"max_batch\": 3", "\"max_batch\": 1").replace("[\"n\", 2]", "[1, 2]");
    let mut runner = Runner::load(module(&card, COPY, "")).unwrap();
    let labels = classes(&[1, 0, 0]);
    for shape in [&[3, 2][..], &[3, 1, 2]] {
        let data = Tensor::from_f32(shape, &[0.0, 1.0, 1.0, 0.0, 0.0, 1.0]);
        assert_eq!(of_classes(judged(&mut runner, &ask(&data, &labels))).accuracy, 2.0 / 3.0);
    }
}

#[test]
fn two_models_are_compared_answer_by_answer() {
    let (one, other) = ([0.4, 0.6, 0.9, 0.1], [0.6, 0.4, 0.8, 0.2]);
    let labels = classes(&[1, 0]);
    let [one, other] = [one, other].map(|scores| {
        let data = Tensor::from_f32(&[2, 2], &scores);
        judged(&mut echo(2, 1, ""), &ask(&data, &labels))
    });
    let got = compare(&one, &other).unwrap();
    assert_eq!(got.agreement, Some(0.5));
    assert!((got.largest_difference - 0.2).abs() < 1e-6);
    let data = Tensor::from_f32(&[2, 3], &[0.0; 6]);
    let third = judged(&mut echo(3, 1, ""), &ask(&data, &labels));
    assert_eq!(compare(&one, &third).unwrap_err().code().id, "tensor-shape");
}

#[test]
fn what_does_not_fit_is_said() {
    let data = Tensor::from_f32(&[2, 3], &[0.0; 6]);
    let good = classes(&[0, 1]);
    let mut runner = echo(3, 1, "");
    for (labels, part) in [
        (classes(&[0, 3]), "the class 3 for sample 1"),
        (classes(&[0]), "wanted are 2 class numbers"),
        (Tensor { dtype: DType::I8, shape: vec![2], bytes: vec![0, 255] }, "no class numbers"),
        (Tensor { dtype: DType::U8, shape: vec![2, 3], bytes: vec![0; 6] }, "wanted are 2 class numbers"),
    ] {
        let (code, text) = refusal(&mut runner, &ask(&data, &labels));
        assert!(code == "tensor-shape" && text.contains(part), "{text}");
    }
    let empty = Tensor::from_f32(&[0, 3], &[]);
    assert_eq!(refusal(&mut runner, &ask(&empty, &good)).0, "tensor-shape");
    for question in [
        Question { input: Some("z"), ..ask(&data, &good) },
        Question { output: Some("z"), ..ask(&data, &good) },
        Question { top: Some(4), ..ask(&data, &good) },
        Question { top: Some(0), ..ask(&data, &good) },
    ] {
        assert_eq!(refusal(&mut runner, &question).0, "argument");
    }
    let single = Tensor::from_f32(&[2, 1], &[0.0; 2]);
    let (_, text) = refusal(&mut echo(1, 1, ""), &ask(&single, &classes(&[0, 2])));
    assert!(text.contains("other classes than 0 and 1"), "{text}");
}
