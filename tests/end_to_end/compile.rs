//! What `dunlin compile` tells, and what it does not write.

use serde_json::Value;

use crate::world::{digits, ok, refused, run};

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&ok(arguments)).unwrap()
}

#[test]
fn passes_and_layers_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let wasm = folder.path().join("d.wasm").display().to_string();
    let text = ok(&["compile", &digits("digits.onnx"), "-o", &wasm, "--explain"]);
    for part in [
        "pixels f32 [n, 64]",
        "6,464",
        "estimated a sample",
        "factors and shifts into weights",
        "kernel",
        "wrote",
    ] {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    let report = json(&["compile", &digits("digits.onnx"), "-o", &wasm, "--json"]);
    let layers = report["layers"].as_array().unwrap();
    let macs: u64 = layers.iter().map(|layer| layer["macs"].as_u64().unwrap()).sum();
    assert_eq!(report["macs"], macs, "{report}");
    assert_eq!((&report["weights"], report.get("check")), (&"f32".into(), None));
    assert!(report["passes"].as_array().is_some_and(|passes| !passes.is_empty()), "{report}");
    let module = std::fs::metadata(&wasm).unwrap().len();
    assert_eq!(report["module_bytes"], module);

    let summary = json(&["inspect", &wasm, "--json"]);
    // Every byte of a module travels: zeros and guesses are not in it.
    let told = |layers: &serde_json::Value| {
        let mut layers = layers.clone();
        for layer in layers.as_array_mut().unwrap() {
            layer.as_object_mut().unwrap().remove("estimated_ns");
        }
        layers
    };
    assert_eq!(told(&summary["layers"]), told(&report["layers"]));
    let sections = summary["custom_sections"].as_array().unwrap();
    assert_eq!(
        (&sections[0]["name"], &sections[1]["name"]),
        (&"dunlin.card".into(), &"dunlin.layers".into())
    );
    let segments = summary["segment_bytes"].as_array().unwrap().iter().map(|size| size.as_u64().unwrap());
    assert_eq!(summary["data_bytes"], segments.sum::<u64>());
    let text = ok(&["inspect", &wasm]);
    assert!(text.contains("dunlin.layers") && text.contains("data segments"), "{text}");
}

#[test]
fn a_model_is_checked_against_its_reference_before_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (onnx, reference) = (digits("digits.onnx"), digits("reference.npz"));
    let text = ok(&["compile", &onnx, "-o", &path("d.wasm"), "--check", &reference]);
    assert!(text.contains("probabilities") && text.contains("pass"), "{text}");
    let report =
        json(&["compile", &onnx, "-o", &path("d.wasm"), "--batch", "8", "--check", &reference, "--json"]);
    let check = &report["check"][0];
    assert_eq!((&check["output"], &check["samples"]), (&"probabilities".into(), &100.into()));
    assert!(check["failure"].is_null() && check["largest_difference"].as_f64().unwrap() < 1e-5, "{check}");

    // Other weights: a few of them become 48.6.
    let mut bytes = std::fs::read(&onnx).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].fill(0x42);
    std::fs::write(path("other.onnx"), bytes).unwrap();
    let wrong = ["compile", &path("other.onnx"), "-o", &path("new.wasm"), "--check", &reference];
    let message = refused(&wrong, 3, "check-failed");
    assert!(message.contains("1 output is not as"), "{message}");
    assert!(!folder.path().join("new.wasm").exists(), "nothing is written");
    let table = String::from_utf8_lossy(&run(&wrong).stdout).into_owned();
    assert!(table.contains("fail: sample"), "{table}");
    // A module that is there stays as it was.
    let before = std::fs::read(path("d.wasm")).unwrap();
    refused(
        &["compile", &path("other.onnx"), "-o", &path("d.wasm"), "--check", &reference, "--json"],
        3,
        "check-failed",
    );
    assert_eq!(std::fs::read(path("d.wasm")).unwrap(), before);

    refused(&["compile", &onnx, "-o", &path("new.wasm"), "--check", &path("none.npz")], 1, "tensor-file");
    assert!(!folder.path().join("new.wasm").exists());
}

#[test]
fn an_option_that_is_not_there_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let wasm = folder.path().join("d.wasm").display().to_string();
    let onnx = digits("digits.onnx");
    for odd in [["--weights", "f8"], ["--simd", "avx"], ["--batch", "many"], ["--input", "pixels"]] {
        assert_eq!(
            run(&[&["compile", &onnx, "-o", &wasm], &odd[..]].concat()).status.code(),
            Some(2),
            "{odd:?}"
        );
    }
    assert_eq!(run(&["compile", &onnx]).status.code(), Some(2), "-o is required");
    assert!(!std::path::Path::new(&wasm).exists());
}
