//! Reshape and its kind, and the shape arithmetic that exporters put around them.

use dunlin_abi::Dim;
use dunlin_compiler::{CompileError, Options, compile};

use crate::builder::{D, Model, int};
use crate::run::Running;

fn shape_of(model: &Model, options: &Options) -> Vec<Dim> {
    let compiled = compile(&model.bytes(), options).unwrap_or_else(|error| panic!("{error}"));
    compiled.report.card.outputs[0].shape.clone()
}

fn image() -> Model {
    Model::new(17).input("x", &[D::Symbol("batch"), D::Fixed(2), D::Fixed(3)])
}

#[test]
fn reshape_keeps_the_batch_with_zero_or_minus_one() {
    for shape in [&[0i64, -1][..], &[-1, 6], &[0, 6]] {
        let model = image().i64("s", &[2], shape).node("Reshape", &["x", "s"], "y", &[]).output("y");
        assert_eq!(shape_of(&model, &Options::default()), [Dim::Batch, Dim::Fixed(6)]);
    }
    let model = image().i64("s", &[4], &[0, 0, 1, -1]).node("Reshape", &["x", "s"], "y", &[]).output("y");
    let expected = [Dim::Batch, Dim::Fixed(2), Dim::Fixed(1), Dim::Fixed(3)];
    assert_eq!(shape_of(&model, &Options::default()), expected);
}

#[test]
fn samples_are_never_mixed() {
    let wrong: [&[i64]; 3] = [&[1, 6], &[2, -1], &[0, 2]];
    for shape in wrong {
        let model = image().i64("s", &[2], shape).node("Reshape", &["x", "s"], "y", &[]).output("y");
        let error = compile(&model.bytes(), &Options::default()).unwrap_err();
        assert!(matches!(error, CompileError::Unsupported(_)), "{shape:?}: {error}");
    }
    let model = image().node("Flatten", &["x"], "y", &[int("axis", 2)]).output("y");
    assert!(matches!(compile(&model.bytes(), &Options::default()), Err(CompileError::Unsupported(_))));
    let model = image().node("Softmax", &["x"], "y", &[int("axis", 0)]).output("y");
    assert!(matches!(compile(&model.bytes(), &Options::default()), Err(CompileError::Unsupported(_))));
}

#[test]
fn the_shape_arithmetic_of_exporters_is_folded() {
    // x.view(x.size(0), -1), as PyTorch exports it.
    let model = image()
        .i64("zero", &[], &[0])
        .i64("rest", &[1], &[-1])
        .i64("axes", &[1], &[0])
        .node("Shape", &["x"], "shape", &[])
        .node("Gather", &["shape", "zero"], "size", &[int("axis", 0)])
        .node("Unsqueeze", &["size", "axes"], "front", &[])
        .node("Concat", &["front", "rest"], "target", &[int("axis", 0)])
        .node("Reshape", &["x", "target"], "y", &[])
        .output("y");
    let mut running = Running::new(&model.bytes(), &Options { max_batch: 2, ..Options::default() });
    assert_eq!(running.compiled.report.card.outputs[0].shape, [Dim::Batch, Dim::Fixed(6)]);
    let x: Vec<f32> = (0..12u8).map(f32::from).collect();
    assert_eq!(running.infer(2, &x), x);
}

#[test]
fn calculating_with_the_batch_size_is_refused() {
    let model = image()
        .i64("two", &[1], &[2])
        .node("Shape", &["x"], "shape", &[])
        .node("Add", &["shape", "two"], "double", &[])
        .node("Reshape", &["x", "double"], "y", &[])
        .output("y");
    let error = compile(&model.bytes(), &Options::default()).unwrap_err();
    assert!(error.to_string().contains("batch size"), "{error}");
}

#[test]
fn squeeze_and_unsqueeze_undo_each_other() {
    let model = image()
        .i64("axes", &[2], &[1, -1])
        .node("Unsqueeze", &["x", "axes"], "wide", &[])
        .node("Squeeze", &["wide", "axes"], "y", &[])
        .output("y");
    assert_eq!(shape_of(&model, &Options::default()), [Dim::Batch, Dim::Fixed(2), Dim::Fixed(3)]);
}

#[test]
fn a_symbolic_first_axis_is_the_batch_and_a_bound_one_is_fixed() {
    let model = image().node("Relu", &["x"], "y", &[]).output("y");
    let rest = [Dim::Fixed(2), Dim::Fixed(3)];
    assert_eq!(shape_of(&model, &Options::default()), [&[Dim::Batch][..], &rest].concat());
    let bound = Options { inputs: vec![("x".into(), vec![4, 2, 3])], ..Options::default() };
    assert_eq!(shape_of(&model, &bound), [&[Dim::Fixed(4)][..], &rest].concat());
}

#[test]
fn further_symbolic_axes_are_bound_by_name_with_or_without_the_batch() {
    let model = Model::new(17)
        .input("x", &[D::Symbol("batch"), D::Symbol("time"), D::Fixed(3)])
        .node("Relu", &["x"], "y", &[])
        .output("y");
    let error = compile(&model.bytes(), &Options::default()).unwrap_err().to_string();
    for part in ["\"x\"", "\"time\"", "[batch, time, 3]", "--input x="] {
        assert!(error.contains(part), "{error} should contain {part}");
    }
    let sample = Options { inputs: vec![("x".into(), vec![9, 3])], ..Options::default() };
    assert_eq!(shape_of(&model, &sample), [Dim::Batch, Dim::Fixed(9), Dim::Fixed(3)]);
    for wrong in [vec![1, 9, 4], vec![9, 4], vec![3], vec![1, 0, 3]] {
        let options = Options { inputs: vec![("x".into(), wrong)], ..Options::default() };
        assert!(matches!(compile(&model.bytes(), &options), Err(CompileError::Option(_))));
    }
}

#[test]
fn a_first_axis_that_not_all_inputs_have_must_be_bound() {
    let model = Model::new(17)
        .input("x", &[D::Symbol("batch"), D::Fixed(3)])
        .input("z", &[D::Fixed(3)])
        .node("Add", &["x", "z"], "y", &[])
        .output("y");
    let error = compile(&model.bytes(), &Options::default()).unwrap_err();
    assert!(matches!(error, CompileError::DimensionUnbound { .. }), "{error}");
    let error = compile(&model.bytes(), &Options { max_batch: 2, ..Options::default() }).unwrap_err();
    assert!(matches!(error, CompileError::Option(_)), "{error}");
}
