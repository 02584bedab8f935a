//! Compiling a model that leaves something open: an axis, and an input that is really a constant.

use dunlin_fleet::tensor::Tensor;

use crate::onnx::{self, Axis};
use crate::world::{ok, refused};

/// `y = relu(x * rate)` with `x` of [N, K] and a scalar `rate`.
fn open_model() -> Vec<u8> {
    onnx::model(&[
        onnx::node("Mul", &["x", "rate"], "a"),
        onnx::node("Relu", &["a"], "y"),
        onnx::input("x", &[Axis::Symbol("N"), Axis::Symbol("K")]),
        onnx::input("rate", &[]),
        onnx::output("y", &[Axis::Symbol("N"), Axis::Symbol("K")]),
    ])
}

#[test]
fn an_open_axis_is_bound_and_an_input_folds_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("open.onnx"), open_model()).unwrap();
    Tensor::from_f32(&[], &[2.5]).write_npy(path("rate.npy").as_ref()).unwrap();
    Tensor::from_f32(&[2, 3], &[1., -2., 3., 4., 5., -6.]).write_npy(path("x.npy").as_ref()).unwrap();
    let compile = ["compile", &path("open.onnx"), "-o", &path("m.wasm")].map(str::to_string);
    let compile: Vec<&str> = compile.iter().map(String::as_str).collect();

    let message = refused(&compile, 2, "onnx-dimension-unbound");
    assert!(message.contains("\"x\"") && message.contains("--input"), "{message}");
    for (rate, factor) in [("2", 2.0), ("2.5", 2.5), (&*path("rate.npy"), 2.5)] {
        ok(&[&compile[..], &["--input", "x=3", "--const", &format!("rate={rate}")]].concat());
        ok(&[
            "run",
            &path("m.wasm"),
            "--input",
            &format!("x={}", path("x.npy")),
            "--output-dir",
            &path("out"),
        ]);
        let y = Tensor::read(path("out/y.npy").as_ref()).unwrap();
        assert_eq!(y.shape, [2, 3]);
        assert_eq!(y.to_f64(), [1.0, 0.0, 3.0, 4.0, 5.0, 0.0].map(|x| x * factor), "rate {rate}");
    }
    let twice = [&compile[..], &["--input", "x=3", "--const", "rate=2", "--const", "rate=3"]].concat();
    refused(&twice, 2, "compile-option");
}
