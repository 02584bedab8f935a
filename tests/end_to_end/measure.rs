//! Measuring and judging modules: `dunlin bench`, `dunlin run` and `dunlin eval`.

use dunlin_abi::DType;
use dunlin_fleet::tensor::Tensor;
use serde_json::Value;

use crate::world::{digits, ok, refused};

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&ok(arguments)).unwrap()
}

/// A hand-written module that copies one int64 a sample: no layers, and nothing to take apart.
fn counter() -> Vec<u8> {
    let card = r#"{"abi": 1, "max_batch": 2, "producer": "test 1",
        "inputs": [{"name": "ids", "dtype": "i64", "shape": ["n", 1]}],
        "outputs": [{"name": "same", "dtype": "i64", "shape": ["n", 1]}]}"#;
    let card = card.replace('"', "\\\"").replace('\n', " ");
    let text = format!(
        r#"(module (@custom "dunlin.card" (before first) "{card}") (memory (export "memory") 1)
        (func (export "dunlin_input") (param i32) (result i32) (i32.const 1024))
        (func (export "dunlin_output") (param i32) (result i32) (i32.const 2048))
        (func (export "dunlin_infer") (param i32) (result i32)
            (memory.copy (i32.const 2048) (i32.const 1024) (i32.const 16)) (i32.const 0)))"#
    );
    wat::parse_str(text).unwrap()
}

#[test]
fn every_layer_is_measured_without_compiling_again() {
    let folder = tempfile::tempdir().unwrap();
    let wasm = folder.path().join("d.wasm").display().to_string();
    for (batch, simd) in [("1", "relaxed"), ("4", "none")] {
        let onnx = digits("digits.onnx");
        let report = json(&["compile", &onnx, "-o", &wasm, "--batch", batch, "--simd", simd, "--json"]);
        let figures = json(&["bench", &wasm, "--profile", "--json"]);
        let layers = figures["profile"]["layers"].as_array().unwrap();
        assert_eq!(layers.len(), report["layers"].as_array().unwrap().len());
        let sum = |key: &str| layers.iter().map(|layer| layer[key].as_f64().unwrap()).sum::<f64>();
        assert_eq!(report["macs"].as_f64(), Some(sum("macs")));
        assert!((sum("share") - 1.0).abs() < 1e-6, "{figures}");
        assert!((sum("median_us") - figures["profile"]["sum_us"].as_f64().unwrap()).abs() < 1e-6);
        assert!(figures["resident_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{figures}");
    }
    let text = ok(&["bench", &wasm, "--profile"]);
    assert!(text.contains("GMAC/s") && text.contains("layers together"), "{text}");
    assert!(json(&["bench", &wasm, "--json"]).get("profile").is_none());
}

#[test]
fn a_module_is_validated_as_a_device_would_and_told_which_way_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let wasm = path("d.wasm");
    ok(&["compile", &digits("digits.onnx"), "-o", &wasm]);
    let free = json(&["validate", &wasm, "--json"]);
    assert_eq!((&free["interruption_checks"], &free["status"]), (&false.into(), &0.into()), "{free}");
    let operators = free["operators_max"].as_u64().unwrap();
    assert_eq!(free["least_deadline_us"].as_u64(), Some(operators.div_ceil(100)), "{free}");
    let text = ok(&["validate", &wasm]);
    assert!(text.contains("without checks in their loops: at most"), "{text}");

    let device = path("agent.toml");
    let config = "fleet = \"f\"\ndevice = \"d\"\n[broker]\nurl = \"mqtt://localhost\"\n[limits]\n";
    std::fs::write(&device, format!("{config}deadline_us = 1\n")).unwrap();
    let held = json(&["validate", &wasm, "--limits", &device, "--json"]);
    assert_eq!((&held["interruption_checks"], &held["deadline_us"]), (&false.into(), &1.into()), "{held}");
    std::fs::write(&device, format!("{config}memory_bytes = 65536\n")).unwrap();
    let message = refused(&["validate", &wasm, "--limits", &device], 3, "module-over-limit");
    assert!(message.contains("the limit is 65536"), "{message}");

    std::fs::write(path("c.wasm"), counter()).unwrap();
    let counter = json(&["validate", &path("c.wasm"), "--json"]);
    assert_eq!(counter["sha256"].as_str().map(str::len), Some(64));
}

#[test]
fn a_module_without_layers_is_measured_as_a_whole_only() {
    let folder = tempfile::tempdir().unwrap();
    let wasm = folder.path().join("c.wasm").display().to_string();
    std::fs::write(&wasm, counter()).unwrap();
    let message = refused(&["bench", &wasm, "--profile"], 3, "profile-unavailable");
    assert!(message.contains("dunlin.layers"), "{message}");
    assert!(json(&["inspect", &wasm, "--json"])["layers"].is_null());
}

#[test]
fn a_run_tells_what_it_wrote_and_takes_64_bit_integers() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("c.wasm"), counter()).unwrap();
    let numbers = [1, -2, 9_007_199_254_740_993i64];
    let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    let ids = Tensor { dtype: DType::I64, shape: vec![3, 1], bytes };
    ids.write_npy(path("ids.npy").as_ref()).unwrap();
    let input = format!("ids={}", path("ids.npy"));
    let said = json(&["run", &path("c.wasm"), "--input", &input, "--output-dir", &path("out"), "--json"]);
    let output = &said["outputs"][0];
    assert_eq!((&output["name"], &output["dtype"]), (&"same".into(), &"i64".into()));
    assert_eq!(
        (&output["shape"], &output["file"]),
        (&serde_json::json!([3, 1]), &path("out/same.npy").into())
    );
    assert!(said["latency_us"].as_f64().is_some_and(|time| time > 0.0), "{said}");
    assert_eq!(Tensor::read(path("out/same.npy").as_ref()).unwrap(), ids);
    // Narrower integers, and floats that are whole.
    for dtype in [DType::I32, DType::F64] {
        let small = Tensor::from_f32(&[2, 1], &[7.0, -1.0]).cast(dtype).unwrap();
        small.write_npy(path("ids.npy").as_ref()).unwrap();
        ok(&["run", &path("c.wasm"), "--input", &input, "--output-dir", &path("out")]);
        assert_eq!(Tensor::read(path("out/same.npy").as_ref()).unwrap().to_f64(), [7.0, -1.0]);
    }
    Tensor::from_f32(&[1, 1], &[0.5]).write_npy(path("ids.npy").as_ref()).unwrap();
    refused(&["run", &path("c.wasm"), "--input", &input, "--output-dir", &path("out")], 2, "tensor-shape");
}

#[test]
fn a_module_is_judged_by_labels_and_against_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (onnx, data, labels) = (digits("digits.onnx"), digits("test_images.npy"), digits("test_labels.npy"));
    ok(&["compile", &onnx, "-o", &path("a.wasm"), "--batch", "7"]);
    ok(&["compile", &onnx, "-o", &path("b.wasm"), "--simd", "none"]);
    let asked = ["eval", &path("a.wasm"), "--data", &data, "--labels", &labels].map(str::to_string);
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    let judged = json(&[&asked[..], &["--top", "2", "--against", &path("b.wasm"), "--json"]].concat());
    let (accuracy, top) = (judged["accuracy"].as_f64().unwrap(), judged["top_accuracy"].as_f64().unwrap());
    assert!((0.9..1.0).contains(&accuracy) && accuracy < top, "{judged}");
    assert_eq!(judged["against"]["accuracy"], judged["accuracy"]);
    assert_eq!(judged["comparison"]["agreement"], 1.0);
    assert!(judged["comparison"]["largest_difference"].as_f64().unwrap() < 1e-5);
    let confusion = judged["confusion"].as_array().unwrap();
    let diagonal: u64 = confusion.iter().enumerate().map(|(class, row)| row[class].as_u64().unwrap()).sum();
    let samples = judged["samples"].as_u64().unwrap();
    assert!((diagonal as f64 / samples as f64 - accuracy).abs() < 1e-12);

    let text = ok(&asked);
    for part in ["accuracy", "among the best 5", "recall", "precision"] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    refused(&[&asked[..], &["--output", "logits"]].concat(), 2, "argument");
    refused(&[&asked[..], &["--top", "11"]].concat(), 2, "argument");
    refused(&["eval", &path("a.wasm"), "--data", &labels, "--labels", &labels], 2, "tensor-shape");
    refused(&["eval", &path("a.wasm"), "--data", &data, "--labels", &data], 2, "tensor-shape");

    // Numbers to be met: the model's own answers, a little off.
    let run = ["run", &path("a.wasm"), "--input", &format!("pixels={data}"), "--output-dir", &path("out")];
    ok(&run);
    let answers = Tensor::read(path("out/probabilities.npy").as_ref()).unwrap();
    let off: Vec<f32> = answers.to_f64().iter().map(|answer| (answer + 0.25) as f32).collect();
    Tensor::from_f32(&answers.shape, &off).write_npy(path("off.npy").as_ref()).unwrap();
    let numbers = ["eval", &path("a.wasm"), "--data", &data, "--labels", &path("off.npy"), "--json"];
    assert!((json(&numbers)["mean_absolute_error"].as_f64().unwrap() - 0.25).abs() < 1e-6);
}
