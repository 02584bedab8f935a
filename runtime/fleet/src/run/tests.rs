//! Inputs that do not fit, samples beyond one call, and models without a batch.

use super::*;
use crate::fixture::{ADD_ONE, CARD, adder, arrays, module};

fn runner() -> Runner {
    Runner::load(adder()).unwrap()
}

fn refusal(inputs: &[(&str, Tensor)]) -> (RunError, String) {
    let error = runner().run(&arrays(inputs)).unwrap_err();
    assert_eq!(error.code().id, "tensor-shape");
    let text = error.to_string();
    (error, text)
}

#[test]
fn any_number_of_samples_runs_in_slices() {
    for samples in [1u8, 2, 3, 4, 6, 7] {
        let values: Vec<f32> = (0..samples * 2).map(f32::from).collect();
        let shape = [u64::from(samples), 2];
        let outputs = runner().run(&arrays(&[("x", Tensor::from_f32(&shape, &values))])).unwrap();
        let expected: Vec<f32> = values.iter().map(|value| value + 1.0).collect();
        assert_eq!(outputs, [("y".to_string(), Tensor::from_f32(&shape, &expected))]);
    }
}

#[test]
fn numbers_are_converted_where_they_fit() {
    let bytes = vec![1, 2];
    let input = Tensor { dtype: dunlin_abi::DType::U8, shape: vec![1, 2], bytes };
    let outputs = runner().run(&arrays(&[("x", input)])).unwrap();
    assert_eq!(outputs[0].1, Tensor::from_f32(&[1, 2], &[2.0, 3.0]));
    let bytes = 1e300f64.to_le_bytes().repeat(2);
    let (_, text) = refusal(&[("x", Tensor { dtype: dunlin_abi::DType::F64, shape: vec![1, 2], bytes })]);
    assert!(text.starts_with("input \"x\": the value"), "{text}");
}

#[test]
fn an_input_that_does_not_fit_is_told_what_was_wanted() {
    let good = Tensor::from_f32(&[1, 2], &[0.0; 2]);
    let (error, text) = refusal(&[]);
    assert!(matches!(error, RunError::Missing { .. }) && text.contains("inputs are x"), "{text}");
    let (error, text) = refusal(&[("x", good.clone()), ("z", good)]);
    assert!(matches!(error, RunError::Unknown { .. }) && text.contains("\"z\""), "{text}");
    for shape in [&[2][..], &[1, 3], &[0, 2], &[1, 1, 2], &[]] {
        let elements = shape.iter().product::<u64>() as usize;
        let (error, text) = refusal(&[("x", Tensor::from_f32(shape, &vec![0.0; elements]))]);
        assert!(matches!(error, RunError::Shape { .. }) && text.contains("[n, 2]"), "{text}");
    }
}

#[test]
fn inputs_of_one_run_have_the_same_number_of_samples() {
    let card =
        CARD.replace(r#""inputs": [{"#, r#""inputs": [{"name": "w", "dtype": "f32", "shape": ["n"]}, {"#);
    let mut runner = Runner::load(module(&card, ADD_ONE, "")).unwrap();
    let given =
        arrays(&[("w", Tensor::from_f32(&[2], &[0.0; 2])), ("x", Tensor::from_f32(&[1, 2], &[0.0; 2]))]);
    let error = runner.run(&given).unwrap_err();
    assert_eq!(error.to_string(), "input \"x\" has 1 samples, the first input has 2");
}

#[test]
fn a_model_without_a_batch_takes_its_tensors_whole() {
    let card = CARD.replace("\"max_batch\": 3", "\"max_batch\": 1").replace("[\"n\", 2]", "[2]");
    let mut runner = Runner::load(module(&card, ADD_ONE, "")).unwrap();
    let outputs = runner.run(&arrays(&[("x", Tensor::from_f32(&[2], &[1.0, 2.0]))])).unwrap();
    assert_eq!(outputs[0].1, Tensor::from_f32(&[2], &[2.0, 3.0]));
}

#[test]
fn several_samples_make_outputs_that_can_hold_them() {
    let one = CARD.replace("\"max_batch\": 3", "\"max_batch\": 1");
    let fixed =
        one.replace(r#""y", "dtype": "f32", "shape": ["n", 2]"#, r#""y", "dtype": "f32", "shape": [2]"#);
    let two = arrays(&[("x", Tensor::from_f32(&[2, 2], &[1.0, 0.0, 2.0, 0.0]))]);
    let outputs = Runner::load(module(&fixed, ADD_ONE, "")).unwrap().run(&two).unwrap();
    assert_eq!(outputs[0].1, Tensor::from_f32(&[2, 2], &[2.0, 1.0, 3.0, 1.0]));

    // As many elements as the first number says.
    let ragged = one.replace(
        r#""y", "dtype": "f32", "shape": ["n", 2]"#,
        r#""y", "dtype": "f32", "shape": ["n", {"max": 2}]"#,
    );
    let dim = r#"(func (export "dunlin_dim") (param i32 i32) (result i32)
        (i32.trunc_f32_u (f32.load offset=1024 (i32.const 0))))"#;
    let mut runner = Runner::load(module(&ragged, ADD_ONE, dim)).unwrap();
    let error = runner.run(&two).unwrap_err();
    assert!(
        matches!(&error, RunError::Ragged { first, later, .. } if first == &[1, 1] && later == &[1, 2]),
        "{error}"
    );
    let same = arrays(&[("x", Tensor::from_f32(&[2, 2], &[1.0, 0.0, 1.0, 5.0]))]);
    assert_eq!(runner.run(&same).unwrap()[0].1, Tensor::from_f32(&[2, 1], &[2.0, 2.0]));
}

#[test]
fn tensors_without_a_batch_may_have_an_axis_of_time() {
    let card = CARD
        .replace("\"max_batch\": 3", "\"max_batch\": 1, \"state\": \"stream\"")
        .replace("[\"n\", 2]", "[]");
    // y counts the calls since the reset, and x is added.
    let infer = "(f32.store (i32.const 512) (f32.add (f32.load (i32.const 512)) (f32.const 1)))
        (f32.store (i32.const 2048) (f32.add (f32.load (i32.const 512)) (f32.load (i32.const 1024))))
        (i32.const 0)";
    let reset = r#"(func (export "dunlin_reset") (f32.store (i32.const 512) (f32.const 0)))"#;
    let mut runner = Runner::load(module(&card, infer, reset)).unwrap();
    let time = arrays(&[("x", Tensor::from_f32(&[3], &[10.0, 20.0, 30.0]))]);
    for _ in 0..2 {
        let outputs = runner.run_and_watch(&time).unwrap().outputs;
        assert_eq!(outputs[0].1, Tensor::from_f32(&[3], &[11.0, 22.0, 33.0]), "each run begins anew");
    }
    let moment = arrays(&[("x", Tensor::from_f32(&[], &[10.0]))]);
    assert_eq!(runner.run(&moment).unwrap()[0].1, Tensor::from_f32(&[], &[11.0]));
    let square = arrays(&[("x", Tensor::from_f32(&[1, 1], &[10.0]))]);
    let text = runner.run(&square).unwrap_err().to_string();
    assert_eq!(
        text,
        "input \"x\" has the shape [1, 1], it must have [], or [t] for t samples one after the other"
    );
    let golden = crate::golden::record(&mut runner, &time, &BTreeMap::new()).unwrap();
    assert_eq!(
        golden["output/y"],
        Tensor::from_f32(&[3], &[11.0, 21.0, 31.0]),
        "a golden vector is a stream"
    );
    assert_eq!(crate::golden::pack(&mut runner, &golden).unwrap().1, 3);
}

#[test]
fn what_a_call_does_not_write_is_told() {
    // The second element of the second sample is left out where x is above 3.
    let skip = ADD_ONE.replace(
        "(f32.store offset=2048",
        "(if (i32.or (i32.ne (local.get $i) (i32.const 12))
             (f32.lt (f32.load offset=1024 (local.get $i)) (f32.const 3))) (then (f32.store offset=2048",
    );
    let skip = skip.replace("(f32.const 1)))", "(f32.const 1)))))");
    let mut runner = Runner::load(module(CARD, &skip, "")).unwrap();
    let data =
        |last| arrays(&[("x", Tensor::from_f32(&[5, 2], &[1., 1., 1., 1., 1., 1., 1., 1., 1., last]))]);
    assert!(runner.run_and_watch(&data(1.0)).is_ok());
    let error = runner.run_and_watch(&data(4.0)).unwrap_err();
    assert_eq!(error.code().id, "model-output-unwritten");
    let text = error.to_string();
    assert!(text.contains("element 3 of output \"y\" in the call with samples 3 to 4"), "{text}");
}

#[test]
fn a_number_that_is_the_pattern_itself_is_an_answer() {
    let card = CARD.replace("f32", "u8").replace("[\"n\", 2]", "[\"n\"]");
    let copy = "(memory.copy (i32.const 2048) (i32.const 1024) (local.get $n)) (i32.const 0)";
    let x = Tensor { dtype: dunlin_abi::DType::U8, shape: vec![4], bytes: vec![0xa5, 0x5a, 1, 0xa5] };
    let outputs = Runner::load(module(&card, copy, "")).unwrap().run_and_watch(&arrays(&[("x", x.clone())]));
    assert_eq!(outputs.unwrap().outputs[0].1, x);
}

/// Refuses a sample whose first number is 5; in a batch, the whole call.
fn picky() -> Vec<u8> {
    let check = "(local $k i32)
        (loop $all
            (if (f32.eq (f32.load offset=1024 (local.get $k)) (f32.const 5)) (then (return (i32.const 9))))
            (local.set $k (i32.add (local.get $k) (i32.const 8)))
            (br_if $all (i32.lt_u (local.get $k) (i32.mul (local.get $n) (i32.const 8)))))";
    let (locals, body) = ADD_ONE.trim_start().split_once('\n').unwrap();
    module(CARD, &format!("{locals} {check} {body}"), "")
}

#[test]
fn of_a_refused_batch_each_sample_is_asked() {
    let x = Tensor::from_f32(&[4, 2], &[1., 1., 5., 1., 2., 2., 5., 3.]);
    let mut runner = Runner::load(picky()).unwrap();
    let replay = runner.run_and_watch(&arrays(&[("x", x.clone())])).unwrap();
    assert_eq!((&replay.statuses[..], replay.refused()), (&[0, 9, 0, 9][..], 2));
    let y = replay.outputs[0].1.to_f64();
    assert_eq!((&y[..2], &y[4..6]), (&[2., 2.][..], &[3., 3.][..]));
    assert!(y[2].is_nan() && y[3].is_nan() && y[6].is_nan() && y[7].is_nan(), "{y:?}");
    assert!(runner.keep_contract(&replay).is_ok(), "a refused sample has no answer");
    assert_eq!(runner.run(&arrays(&[("x", x)])).unwrap_err().code().id, "model-status");
    let all = arrays(&[("x", Tensor::from_f32(&[2, 2], &[5.; 4]))]);
    let replay = runner.run_and_watch(&all).unwrap();
    assert_eq!((replay.refused(), &replay.outputs[0].1.shape[..]), (2, &[2, 2][..]));
}

#[test]
fn golden_vectors_expect_a_status() {
    let mut runner = Runner::load(picky()).unwrap();
    let inputs = arrays(&[("x", Tensor::from_f32(&[2, 2], &[1., 1., 5., 1.]))]);
    let mut golden = crate::golden::record(&mut runner, &inputs, &BTreeMap::new()).unwrap();
    assert_eq!(golden["status"].bytes, [0, 9]);
    let (bytes, count) = crate::golden::pack(&mut runner, &golden).unwrap();
    assert_eq!((bytes[8], count), (2, 2), "version 2 of the file");
    assert_eq!(crate::golden::check(&mut runner, &golden).unwrap()[0].failure, None);
    for (statuses, error) in [
        ([0, 8], "golden vector 1: the model answered with status 9, the golden vector expects status 8"),
        ([9, 9], "golden vector 0: the model answered with status 0, the golden vector expects status 9"),
        ([0, 0], "golden vector 1: the model answered with status 9, the golden vector expects outputs"),
    ] {
        golden.get_mut("status").unwrap().bytes = statuses.to_vec();
        assert_eq!(crate::golden::pack(&mut runner, &golden).unwrap_err().to_string(), error);
        assert!(crate::golden::check(&mut runner, &golden).unwrap()[0].failure.is_some());
    }
    golden
        .insert("status".into(), Tensor { dtype: dunlin_abi::DType::U8, shape: vec![3], bytes: vec![0; 3] });
    let text = crate::golden::pack(&mut runner, &golden).unwrap_err().to_string();
    assert!(text.contains("has the array \"status\" of shape [3], not [2]"), "{text}");
}
