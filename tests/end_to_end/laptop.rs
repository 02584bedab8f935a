//! What a developer of a model does on a laptop: cards, recorded inputs, golden vectors, a device's limits.

use std::path::Path;

use dunlin_fleet::tensor::{Tensor, read_npz, write_npz};
use serde_json::Value;

use crate::world::{World, ok, refused, run};

/// A stream model without a card: `y` is the sum of all `x` since the reset, and 100 where there is no reset.
const SUM: &str = r#"(module
    (memory (export "memory") 1)
    (data (i32.const 512) "\00\00\c8\42")
    (func (export "dunlin_input") (param i32) (result i32) (i32.const 1024))
    (func (export "dunlin_output") (param i32) (result i32) (i32.const 1040))
    (func (export "dunlin_reset") (f32.store (i32.const 512) (f32.const 0)))
    (func (export "dunlin_infer") (param i32) (result i32)
        (f32.store (i32.const 512) (f32.add (f32.load (i32.const 512)) (f32.load (i32.const 1024))))
        (f32.store (i32.const 1040) (f32.load (i32.const 512)))
        (i32.const 0)))"#;

const CARD: &str = r#"{"abi": 1, "max_batch": 1, "state": "stream", "producer": "by hand",
    "inputs": [{"name": "x", "dtype": "f32", "shape": [], "range": [-10, 10]}],
    "outputs": [{"name": "y", "dtype": "f32", "shape": [], "range": [-100, 100], "meaning": "value"}]}"#;

/// A module in a folder, with its card.
struct Model {
    folder: tempfile::TempDir,
}

impl Model {
    fn new(text: &str, card: &str) -> Model {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("bare.wasm"), wat::parse_str(text).unwrap()).unwrap();
        std::fs::write(folder.path().join("card.json"), card).unwrap();
        let model = Model { folder };
        ok(&["card", "set", &model.path("bare.wasm"), &model.path("card.json"), "-o", &model.path("m.wasm")]);
        model
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// A device's configuration with these lines.
    fn device(&self, lines: &str) -> String {
        let config = "fleet = \"f\"\ndevice = \"d\"\n[broker]\nurl = \"mqtt://localhost\"\n";
        std::fs::write(self.path("agent.toml"), format!("{config}{lines}")).unwrap();
        self.path("agent.toml")
    }

    fn tensor(&self, name: &str, shape: &[u64], values: &[f32]) -> String {
        let path = self.path(name);
        Tensor::from_f32(shape, values).write_npy(path.as_ref()).unwrap();
        path
    }
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&ok(arguments)).unwrap()
}

#[test]
fn a_card_is_put_into_a_module_and_shown() {
    // It begins as after a reset, as the ABI asks: 0 in place of 100.
    let model = Model::new(&SUM.replace(r"\c8\42", r"\00\00"), CARD);
    let (bare, card, wasm) = (model.path("bare.wasm"), model.path("card.json"), model.path("m.wasm"));
    refused(&["card", "show", &bare], 3, "module-card-count");
    let shown = json(&["card", "show", &wasm, "--json"]);
    assert_eq!(
        (&shown["producer"], &shown["outputs"][0]["range"]),
        (&"by hand".into(), &[-100.0, 100.0].into())
    );
    ok(&["validate", &wasm]);

    // What `show` prints is what `set` takes, and the same card makes the same file.
    std::fs::write(&card, ok(&["card", "show", &wasm])).unwrap();
    let before = std::fs::read(&wasm).unwrap();
    let said = json(&["card", "set", &wasm, &card, "--json"]);
    assert_eq!(std::fs::read(&wasm).unwrap(), before, "{said}");
    assert_eq!((&said["file"], &said["bytes"]), (&wasm.clone().into(), &before.len().into()));

    for (wrong, code, exit, part) in [
        (CARD.replace("\"max_batch\": 1", "\"max_batch\": 0"), "module-card-invalid", 3, "max_batch is 0"),
        (CARD.replace("\"state\"", "\"mood\""), "module-card-invalid", 3, "unknown field `mood`"),
        (CARD.replace(": []", ": [{\"max\": 3}]"), "module-card-invalid", 3, "data-dependent axis"),
        (
            CARD.replace("\"abi\": 1", "\"abi\": 1, \"arena_bytes\": 70000"),
            "module-card-contradicts-code",
            3,
            "70000",
        ),
    ] {
        std::fs::write(&card, wrong).unwrap();
        let message = refused(&["card", "set", &wasm, &card], exit, code);
        assert!(message.contains(part), "{message}");
        assert_eq!(std::fs::read(&wasm).unwrap(), before, "nothing is written");
    }
    refused(&["card", "set", &model.path("none.wasm"), &card], 1, "file");
    refused(&["card", "show", &card], 3, "module-invalid");
    assert!(ok(&["card", "--help"]).contains("Examples"));
    assert!(ok(&["card", "set", "--help"]).contains("Examples"));
}

#[test]
fn a_recorded_sequence_is_replayed_through_a_stream_after_a_reset() {
    let model = Model::new(SUM, CARD);
    let (wasm, x) = (model.path("m.wasm"), model.tensor("x.npy", &[4], &[1.0, 2.0, 3.0, 4.0]));
    ok(&["run", &wasm, "--input", &format!("x={x}"), "--output-dir", &model.path("out")]);
    let y = Tensor::read(model.path("out/y.npy").as_ref()).unwrap();
    assert_eq!((y.shape.clone(), y.to_f64()), (vec![4], vec![1.0, 3.0, 6.0, 10.0]));

    // The same from a recording, which may hold what devices answered too.
    let recorded = model.path("recorded.npz");
    for key in ["x", "input/x"] {
        let arrays =
            [(key.to_string(), Tensor::read(x.as_ref()).unwrap()), ("output/y".to_string(), y.clone())];
        write_npz(recorded.as_ref(), &arrays.into()).unwrap();
        let said =
            json(&["run", &wasm, "--inputs", &recorded, "--output-dir", &model.path("again"), "--json"]);
        assert_eq!(said["outputs"][0]["shape"], serde_json::json!([4]));
        assert_eq!(Tensor::read(model.path("again/y.npy").as_ref()).unwrap(), y);
    }
    // A recording of another model.
    write_npz(recorded.as_ref(), &[("input/z".to_string(), y)].into()).unwrap();
    let message = refused(&["run", &wasm, "--inputs", &recorded], 2, "tensor-shape");
    assert!(message.contains("no input \"z\"") && message.contains("inputs are x"), "{message}");
    assert_eq!(run(&["run", &wasm]).status.code(), Some(2), "some input is needed");
    assert!(ok(&["run", "--help"]).contains("reset"), "help tells of streams");
}

#[test]
fn golden_vectors_are_recorded_as_a_release_takes_them() {
    let world = World::new();
    let model = Model::new(SUM, CARD);
    let (wasm, golden) = (model.path("m.wasm"), model.path("golden.npz"));
    let input = format!("x={}", model.tensor("x.npy", &[3], &[1.0, 2.0, 3.0]));
    ok(&["run", &wasm, "--input", &input, "--golden", &golden, "--tolerance", "y=1e-3"]);
    let arrays = read_npz(golden.as_ref()).unwrap();
    assert_eq!(arrays.keys().collect::<Vec<_>>(), ["input/x", "output/y", "tolerance/y"]);
    // Each is a stream of its own: no sums.
    assert_eq!(arrays["output/y"].to_f64(), [1.0, 2.0, 3.0]);
    assert_eq!(arrays["tolerance/y"].to_f64(), [1e-3]);
    let release = |name: &str| {
        let fleet = world.fleet();
        let arguments =
            ["release", &wasm, "--fleet", &fleet, "--name", name, "--version", "1.0.0", "--golden", &golden];
        arguments.map(str::to_string).to_vec()
    };
    let text = |arguments: &[String]| ok(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(text(&release("sum")).contains("3, reproduced here"));
    // The file is also a recording.
    ok(&["run", &wasm, "--inputs", &golden]);
    let mut wrong = arrays.clone();
    wrong.insert("output/y".to_string(), Tensor::from_f32(&[3], &[1.0, 2.0, 3.5]));
    write_npz(golden.as_ref(), &wrong).unwrap();
    let arguments = release("other");
    refused(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), 3, "golden-failed");
    refused(&["run", &wasm, "--input", &input, "--golden", &golden, "--tolerance", "z=1"], 2, "tensor-shape");
    assert_eq!(run(&["run", &wasm, "--input", &input, "--tolerance", "1"]).status.code(), Some(2));
}

#[test]
fn what_a_device_would_refuse_is_told_on_the_laptop() {
    let model = Model::new(SUM, CARD);
    let wasm = model.path("m.wasm");
    let input = format!("x={}", model.tensor("x.npy", &[3], &[60.0, 60.0, 1.0]));
    let device = model.device("");
    // Out of range: a warning for the developer, an error under the terms of a device. The numbers are there.
    let output = run(&["run", &wasm, "--input", &input, "--output-dir", &model.path("out")]);
    let warning = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && warning.contains("element 1 of output \"y\" is 120"), "{warning}");
    let held = ["run", &wasm, "--input", &input, "--output-dir", &model.path("held"), "--limits", &device];
    refused(&held, 1, "model-output-range");
    assert!(Path::new(&model.path("held/y.npy")).exists());
    model.tensor("x.npy", &[1], &[f32::INFINITY]);
    refused(&held, 1, "model-output-not-finite");

    let small = model.device("[limits]\nmemory_bytes = 65536\n");
    ok(&["run", &wasm, "--input", &format!("x={}", model.tensor("x.npy", &[1], &[1.0])), "--limits", &small]);
    let large = Model::new(&SUM.replace("\"memory\") 1", "\"memory\") 3"), CARD);
    for verb in [&["run", "--input", &input][..], &["validate"], &["bench"]] {
        let wasm = large.path("m.wasm");
        let arguments = [&verb[..1], &[wasm.as_str()], &verb[1..], &["--limits", &small]].concat();
        let message = refused(&arguments, 3, "module-over-limit");
        assert!(message.contains("196608") && message.contains("65536"), "{message}");
    }

    let slow = SUM.replace("(i32.const 0)))", "(loop $on (br $on)) (i32.const 0)))");
    let slow = Model::new(&slow, CARD);
    let quick = slow.device("[limits]\ndeadline_us = 2000\n");
    let arguments = ["run", &slow.path("m.wasm"), "--input", &input, "--limits", &quick];
    assert!(refused(&arguments, 1, "model-deadline").contains("2ms"));
    let arguments = ["run", &slow.path("m.wasm"), "--input", &input, "--deadline-us", "3000"];
    assert!(refused(&arguments, 1, "model-deadline").contains("3ms"));
    refused(&["bench", &slow.path("m.wasm"), "--limits", &quick], 1, "model-deadline");

    let clock = SUM.replace("(memory", "(import \"dunlin\" \"clock\" (func (result i64))) (memory");
    let clock = Model::new(&clock, CARD);
    let deaf = clock.device("[site]\ndenied_imports = [\"clock\"]\n");
    ok(&["run", &clock.path("m.wasm"), "--input", &input]);
    let message = refused(
        &["run", &clock.path("m.wasm"), "--input", &input, "--limits", &deaf],
        3,
        "module-import-not-granted",
    );
    assert!(message.contains("\"clock\"") && message.contains("site.denied_imports"), "{message}");
}

#[test]
fn an_output_that_is_not_written_is_named() {
    // `b` is written from the second call on, `a` always.
    let text = SUM
        .replace("(i32.const 1040))", "(i32.add (i32.const 1040) (i32.mul (local.get 0) (i32.const 16))))");
    let text = text.replace(
        "(i32.const 0)))",
        "(if (i32.load (i32.const 600)) (then (f32.store (i32.const 1056) (f32.const 1))))
         (i32.store (i32.const 600) (i32.const 1)) (i32.const 0)))",
    );
    let card = CARD.replace(r#"{"name": "y""#, r#"{"name": "a", "dtype": "f32", "shape": []}, {"name": "b""#);
    let model = Model::new(&text, &card);
    let wasm = model.path("m.wasm");
    let message = refused(&["validate", &wasm], 1, "model-output-unwritten");
    assert!(message.contains("element 0 of output \"b\""), "{message}");
    let input = format!("x={}", model.tensor("x.npy", &[3], &[1.0; 3]));
    refused(&["run", &wasm, "--input", &input], 1, "model-output-unwritten");
}
