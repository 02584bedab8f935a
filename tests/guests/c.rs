//! `guest-sdk/c/dunlin.h` and `examples/c-threshold`: built by the command of the README, and equal to the model
//! in Rust bit for bit.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use dunlin_abi::Import;
use dunlin_sandbox::{CallError, inspect};

use crate::rust::threshold;
use crate::sandbox::{read, start, write};
use crate::toolchain::{has_clang, root};

/// The flags of the header's own comment, behind the file's name and the language.
const FLAGS: [&str; 11] = [
    "--target=wasm32",
    "-O2",
    "-mbulk-memory",
    "-ffreestanding",
    "-fno-math-errno",
    "-nostdlib",
    "-Wl,--no-entry",
    "-Wl,--stack-first",
    "-Wl,-z,stack-size=16384",
    "-Wall",
    "-Werror",
];

/// The command in the README, run in the example's folder; nothing where there is no clang.
fn c_threshold() -> Option<&'static [u8]> {
    static MODULE: OnceLock<Vec<u8>> = OnceLock::new();
    if !has_clang() {
        return None;
    }
    let build = || {
        let folder = root().join("examples/c-threshold");
        let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
        let (_, command) = readme.split_once("```sh\nclang ").expect("the README has the command");
        let (command, _) = command.split_once("```").unwrap();
        let output = tempfile::tempdir().unwrap();
        let module = output.path().join("threshold.wasm");
        let command = command.replace("-o threshold.wasm", &format!("-o {}", module.display()));
        sh(&folder, &format!("clang {command}"));
        std::fs::read(module).unwrap()
    };
    Some(MODULE.get_or_init(build))
}

fn sh(folder: &Path, command: &str) {
    let output = Command::new("sh").current_dir(folder).args(["-ec", command]).output().unwrap();
    assert!(output.status.success(), "{command}:\n{}", String::from_utf8_lossy(&output.stderr));
}

/// Compiles a source with the header.
fn compile(source: &str, language: &[&str]) -> Option<Vec<u8>> {
    if !has_clang() {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.c"), source).unwrap();
    let output = Command::new("clang")
        .current_dir(folder.path())
        .args(language)
        .args(FLAGS)
        .args(["-Wextra", "-Wpedantic", "-Wmissing-prototypes", "-I"])
        .arg(root().join("guest-sdk/c"))
        .args(["-o", "model.wasm", "model.c"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(std::fs::read(folder.path().join("model.wasm")).unwrap())
}

#[test]
fn the_model_in_c_is_small_and_has_the_card_of_the_one_in_rust() {
    let (Some(module), Some(rust)) = (c_threshold(), threshold()) else { return };
    let (c, rust) = (inspect(module).unwrap(), inspect(&rust).unwrap());
    assert!(module.len() < 4096, "{} bytes", module.len());
    assert_eq!((c.imports.len(), c.memory_min_bytes), (0, 1 << 16));
    let mut card = c.card.clone();
    assert_eq!(card.producer, "c-threshold 0.1.0");
    card.producer = rust.card.producer.clone();
    assert_eq!(card, rust.card);
}

#[test]
fn the_model_in_c_answers_as_the_one_in_rust_bit_for_bit() {
    let (Some(module), Some(rust)) = (c_threshold(), threshold()) else { return };
    let (mut c, mut rust) = (start(module, &[]), start(&rust, &[]));
    // 160 windows of noise over the whole range, at strengths from silence to beyond all limits.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    for round in 0..10 {
        let strength = 0.01 * 3f32.powi(round);
        let windows: Vec<f32> = (0..16 * 64).map(|_| 9.81 + strength * noise()).collect();
        for running in [&mut c, &mut rust] {
            write(&mut running.instance, 0, &windows);
            running.instance.infer(16).unwrap();
        }
        for output in 0..4 {
            let bits = |running: &crate::sandbox::Running| -> Vec<u32> {
                read(&running.instance, output, 16).into_iter().map(f32::to_bits).collect()
            };
            assert_eq!(bits(&c), bits(&rust), "output {output}, strength {strength}");
        }
    }
    let mut window = [0.0; 64];
    window[63] = f32::INFINITY;
    for running in [&mut c, &mut rust] {
        write(&mut running.instance, 0, &window);
        let refusal = running.instance.infer(1).unwrap_err();
        assert!(matches!(refusal, CallError::Model { status: 1 }), "{refusal:?}");
    }
}

/// What the header's comment shows as a whole model.
fn model_of_the_header() -> String {
    let header = std::fs::read_to_string(root().join("guest-sdk/c/dunlin.h")).unwrap();
    let (_, example) = header.split_once(" *     #include \"dunlin.h\"").unwrap();
    let lines = example.lines().take_while(|line| !line.contains("Built by clang"));
    let lines: Vec<&str> = lines.map(|line| line.trim_start_matches(" *")).collect();
    format!("#include \"dunlin.h\"\n{}", lines.join("\n"))
}

#[test]
fn the_model_in_the_header_works_as_c_and_as_cpp() {
    for language in [&["-std=c11"][..], &["-x", "c++", "-std=c++17"]] {
        let Some(module) = compile(&model_of_the_header(), language) else { return };
        let mut running = start(&module, &[]);
        write(&mut running.instance, 0, &[1.0, -2.5, 0.0, 1e6]);
        running.instance.infer(1).unwrap();
        assert_eq!(read(&running.instance, 0, 1), [2.0, -5.0, 0.0, 2e6], "{language:?}");
    }
}

/// A stream model that uses everything else of the header.
const EVERYTHING: &str = r#"
#include "dunlin.h"

struct state { double sum; uint32_t seen; };
static struct state now;
static DUNLIN_REGION double value;
static DUNLIN_REGION uint8_t mode[3];
static DUNLIN_REGION float seen[8];

DUNLIN_CARD({
    "abi": 1, "max_batch": 1, "state": "stream", "stack_bytes": 16384, "producer": "test 1",
    "inputs": [{"name": "value", "dtype": "f64", "shape": [], "unit": "°C"},
               {"name": "mode", "dtype": "bool", "shape": [3]}],
    "outputs": [{"name": "seen", "dtype": "f32", "shape": [{"max": 8}]}]
});
DUNLIN_INPUTS(&value, mode);
DUNLIN_OUTPUTS(seen);

int32_t dunlin_init(void) { now.sum = 100; return DUNLIN_OK; }
void dunlin_reset(void) { struct state zero = {100, 0}; now = zero; }
uint32_t dunlin_dim(uint32_t output, uint32_t axis) { (void)output; (void)axis; return now.seen; }

int32_t dunlin_infer(uint32_t n) {
    DUNLIN_ASSERT(n == 1);
    if (mode[0] > 1) return 7;
    if (mode[1]) dunlin_panic("mode 1 is not there");
    DUNLIN_ASSERT(now.seen < 8);
    now.sum += value;
    now.seen++;
    for (uint32_t i = 0; i < now.seen; i++) seen[i] = (float)now.sum;
    dunlin_log(DUNLIN_WARN, "one more");
    dunlin_metric("sum", now.sum);
    dunlin_metric("ms", (double)dunlin_clock());
    return DUNLIN_OK;
}
"#;

#[test]
fn everything_that_the_header_offers_reaches_the_host() {
    let Some(module) = compile(EVERYTHING, &["-std=c11"]) else { return };
    let summary = inspect(&module).unwrap();
    assert_eq!(summary.imports, Import::ALL);
    assert_eq!(summary.card.inputs[0].unit.as_deref(), Some("°C"));
    let mut running = start(&module, &Import::ALL);
    let instance = &mut running.instance;
    instance.set_clock_ms(1234);
    instance.input_mut(0).unwrap().copy_from_slice(&2.5f64.to_le_bytes());
    for _ in 0..2 {
        instance.infer(1).unwrap();
    }
    assert_eq!(read(instance, 0, 1), [105.0, 105.0], "the state of init, and two values");
    let logs = instance.take_logs().lines;
    assert_eq!((logs[0].level, logs[0].text.as_str()), (2, "one more"));
    let values: Vec<(String, f64)> =
        instance.take_metrics().values.into_iter().map(|metric| (metric.name, metric.value)).collect();
    assert_eq!(values[2..], [("sum".to_string(), 105.0), ("ms".to_string(), 1234.0)]);
    instance.reset().unwrap();
    instance.infer(1).unwrap();
    assert_eq!(read(instance, 0, 1), [102.5]);

    instance.input_mut(1).unwrap()[0] = 2;
    assert!(matches!(instance.infer(1), Err(CallError::Model { status: 7 })));
    instance.input_mut(1).unwrap()[..2].copy_from_slice(&[0, 1]);
    let text = instance.infer(1).unwrap_err().to_string();
    assert!(text.contains("mode 1 is not there"), "{text}");
}

#[test]
fn a_false_assertion_names_its_line() {
    let Some(module) = compile(EVERYTHING, &["-std=c11"]) else { return };
    let mut running = start(&module, &Import::ALL);
    for _ in 0..8 {
        running.instance.infer(1).unwrap();
    }
    let text = running.instance.infer(1).unwrap_err().to_string();
    let line = 1 + EVERYTHING.lines().position(|line| line.contains("now.seen < 8")).unwrap();
    assert!(text.contains(&format!("now.seen < 8 is false (model.c:{line})")), "{text}");
}

#[test]
fn an_overflowing_stack_traps_and_changes_no_tensor() {
    let deep = EVERYTHING.replace(
        "now.sum += value;",
        "volatile char big[20000]; for (int i = 19999; i >= 0; i--) big[i] = 1; now.sum += value + big[0];",
    );
    let Some(module) = compile(&deep, &["-std=c11"]) else { return };
    let text = start(&module, &Import::ALL).instance.infer(1).unwrap_err().to_string();
    assert!(text.contains("out of bounds memory access"), "{text}");
}
