//! The compiler's digits against onnxruntime's, on 100 test images that neither was made from.

use crate::world::{digits, ok, repository};

/// The outputs equal onnxruntime's within this.
const TOLERANCE: f64 = 1e-5;

#[test]
fn outputs_equal_those_of_onnxruntime() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let reference =
        dunlin_fleet::tensor::read_npz(&repository().join("examples/digits/reference.npz")).unwrap();
    let images = &reference["input/pixels"];
    assert_eq!(images.shape, [100, 64]);
    images.write_npy(path("images.npy").as_ref()).unwrap();
    for batch in ["1", "16"] {
        for simd in ["relaxed", "deterministic"] {
            ok(&["compile", &digits("digits.onnx"), "-o", &path("d.wasm"), "--batch", batch, "--simd", simd]);
            let input = format!("pixels={}", path("images.npy"));
            ok(&["run", &path("d.wasm"), "--input", &input, "--output-dir", &path("out")]);
            let ours = dunlin_fleet::tensor::Tensor::read(path("out/probabilities.npy").as_ref()).unwrap();
            let theirs = &reference["output/probabilities"];
            assert_eq!(ours.shape, theirs.shape);
            let pairs = ours.to_f64().into_iter().zip(theirs.to_f64());
            let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            println!("batch {batch}, {simd}: the greatest difference is {worst:e}");
            assert!(worst <= TOLERANCE, "batch {batch}, {simd}: {worst:e}");
        }
    }
}

#[test]
fn the_same_file_compiles_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    for name in ["a.wasm", "b.wasm"] {
        ok(&["compile", &digits("digits.onnx"), "-o", &path(name)]);
    }
    assert_eq!(std::fs::read(path("a.wasm")).unwrap(), std::fs::read(path("b.wasm")).unwrap());
}

#[test]
fn figures_and_descriptions_come_as_json_for_scripts() {
    let folder = tempfile::tempdir().unwrap();
    let wasm = folder.path().join("d.wasm").display().to_string();
    let json = |arguments: &[&str]| -> serde_json::Value { serde_json::from_str(&ok(arguments)).unwrap() };
    let report = json(&["compile", &digits("digits.onnx"), "-o", &wasm, "--json"]);
    assert_eq!((&report["macs"], &report["card"]["max_batch"]), (&6464.into(), &1.into()), "{report}");
    let figures = json(&["bench", &wasm, "--json"]);
    for key in ["load_us", "compile_us", "instantiate_us", "p50_us", "p99_us", "guest_bytes"] {
        assert!(figures[key].as_f64().is_some_and(|figure| figure > 0.0), "{key}: {figures}");
    }
    assert!(figures["p50_us"].as_f64() <= figures["p99_us"].as_f64());
    let summary = json(&["inspect", &wasm, "--json"]);
    assert_eq!(summary["sha256"].as_str().map(str::len), Some(64));
    assert_eq!(summary["card"]["inputs"][0]["shape"], serde_json::json!(["n", 64]));
    assert_eq!(summary["imports"], serde_json::json!([]));
}
