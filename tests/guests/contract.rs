//! Breaches of the ABI that a good answer to zeros does not show, and samples that a model refuses.

use std::path::Path;
use std::process::Command;

use crate::mistakes::{FLAGS, MODEL, answered, built, check, validate, validated};
use crate::toolchain::has_clang;

/// A stream that adds up what it sees, and refuses what is no number.
const SUM: &str = r#"
#include "dunlin.h"
static float sum;
static DUNLIN_REGION float x;
static DUNLIN_REGION float y;
DUNLIN_CARD({
    "abi": 1, "max_batch": 1, "state": "stream", "stack_bytes": 16384, "producer": "test 1",
    "inputs": [{"name": "x", "dtype": "f32", "shape": []}],
    "outputs": [{"name": "y", "dtype": "f32", "shape": []}]
});
DUNLIN_INPUTS(&x);
DUNLIN_OUTPUTS(&y);
void dunlin_reset(void) { sum = 0; }
int32_t dunlin_infer(uint32_t n) {
    (void)n;
    if (x != x) return 7;
    sum += x;
    y = sum;
    return DUNLIN_OK;
}
"#;

#[test]
fn a_model_without_state_that_remembers() {
    answered(
        "2 * x[i][k]",
        "2 * x[i][k] + (y[i][k] == 0)", // What is in an output region is not defined.
        1,
        &["model-remembers", "output \"y\" is another one for the same inputs"],
    );
    answered(
        "int32_t dunlin_infer(uint32_t n) {",
        "static int calls;\nint32_t dunlin_infer(uint32_t n) { if (calls++ > 3) return 9;",
        1,
        &["model-remembers", "the status is another one"],
    );
    // Its own status, always the same: it does not take these numbers.
    answered("return DUNLIN_OK;", "return x[0][0] > 0 ? 9 : 0;", 0, &["a device would take it yes"]);
}

#[test]
fn a_reset_that_forgets_nothing() {
    let Some((code, said)) = validate(&SUM.replace("{ sum = 0; }", "{}"), FLAGS) else { return };
    check(code, &said, 1, &["model-reset", "`dunlin_reset` does not forget", "output \"y\" of sample 0"]);
    let (code, said) = validate(SUM, FLAGS).unwrap();
    check(code, &said, 0, &["a device would take it yes"]);
}

#[test]
fn a_model_that_changes_its_inputs() {
    answered(
        "return DUNLIN_OK;",
        "x[n - 1][2] = 5; return DUNLIN_OK;",
        1,
        &["model-input-written", "wrote into input \"x\", byte 26 of it, in the call with samples 0 to 1"],
    );
}

#[test]
fn a_trap_on_random_numbers_is_a_warning() {
    let traps = "if (x[0][0] != 0) __builtin_trap(); return DUNLIN_OK;";
    answered("return DUNLIN_OK;", traps, 0, &["its answer to random numbers failed:", "unreachable"]);
}

/// A model that fails in a function that is called from another.
const DEEP: &str = "
__attribute__((noinline)) static float divide(int a, int b) {
    return (float)(a / b);
}
int32_t dunlin_infer(uint32_t n) { y[0][0] = divide((int)n, (int)x[0][0]);";

#[test]
fn a_trap_names_its_source_lines() {
    let source = MODEL.replace("int32_t dunlin_infer(uint32_t n) {", DEEP);
    let line = |text| 1 + source.lines().position(|line| line.contains(text)).unwrap();
    let (divides, calls) = (line("a / b"), line("divide((int)n"));
    let Some((code, said)) = validate(&source, &format!("-g {FLAGS}")) else { return };
    let place = format!("model.c:{divides}, called from");
    check(code, &said, 1, &["model-trap", "integer divide by zero", &place, &format!("model.c:{calls}")]);
    let (_, said) = validate(&source, FLAGS).unwrap();
    assert!(!said.contains("model.c"), "without -g there are none: {said}");
    // Debug information that is damaged is none.
    let folder = built(&source, &format!("-g {FLAGS}")).unwrap();
    let path = folder.path().join("model.wasm");
    let mut module = std::fs::read(&path).unwrap();
    let at = module.windows(11).position(|name| name == b".debug_line").unwrap();
    module[at + 11..at + 60].fill(0xff);
    std::fs::write(&path, module).unwrap();
    check(validated(&path, &[]).0, "", 1, &[]);
}

#[test]
fn an_overflow_of_the_stack_in_memory_says_so() {
    let deep = "volatile char big[20000]; for (int i = 19999; i >= 0; i--) big[i] = 1; return DUNLIN_OK;";
    answered(
        "return DUNLIN_OK;",
        deep,
        1,
        &["model-trap", "an overflow of its stack in memory", "and it has 16384", "make large arrays static"],
    );
}

fn dunlin(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
    let output = command.current_dir(folder).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A file of floats with one axis.
fn write_npy(path: &Path, values: &[f32]) {
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({},), }}", values.len());
    let header = format!("{header:<117}\n");
    let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    bytes.extend(header.bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    std::fs::write(path, bytes).unwrap();
}

/// The floats, or bytes, behind the header.
fn read_npy(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    bytes[10 + header..].to_vec()
}

#[test]
fn a_refused_sample_does_not_end_the_run() {
    let Some(folder) = built(SUM, FLAGS) else { return };
    let folder = folder.path();
    write_npy(&folder.join("x.npy"), &[1.0, f32::NAN, 2.0, 4.0]);
    let run = ["run", "model.wasm", "--input", "x=x.npy", "--output-dir", "out"];
    let (code, _, warnings) = dunlin(folder, &run);
    assert_eq!(code, 0, "{warnings}");
    assert!(warnings.contains("refused 1 of 4 samples with status 7, first sample 1"), "{warnings}");
    let y = read_npy(&folder.join("out/y.npy"));
    let y: Vec<f32> = y.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    assert!(y[1].is_nan() && [y[0], y[2], y[3]] == [1.0, 3.0, 7.0], "{y:?}");
    assert_eq!(read_npy(&folder.join("out/status.npy")), [0, 7, 0, 0]);
    let (_, json, _) = dunlin(folder, &[&run[..], &["--json"]].concat());
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["statuses"], serde_json::json!([{"status": 7, "samples": 1, "first": 1}]));

    write_npy(&folder.join("x.npy"), &[1.0]);
    assert_eq!(dunlin(folder, &run).0, 0);
    assert!(!folder.join("out/status.npy").exists(), "the statuses of another run are gone");
}

#[test]
fn golden_vectors_hold_a_refusal() {
    let Some(folder) = built(SUM, FLAGS) else { return };
    let path = folder.path();
    write_npy(&path.join("x.npy"), &[1.0, f32::NAN]);
    let (code, _, said) =
        dunlin(path, &["run", "model.wasm", "--input", "x=x.npy", "--golden", "golden.npz"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(dunlin(path, &["init", "fleet", "--fleet", "trial", "--no-passphrase"]).0, 0);
    let release = |module: &str, version: &str| {
        let fixed = ["--fleet", "fleet", "--name", "sum", "--golden", "golden.npz", "--version", version];
        dunlin(path, &[&["release", module][..], &fixed].concat())
    };
    let (code, printed, said) = release("model.wasm", "1.0.0");
    assert_eq!(code, 0, "{said}");
    assert!(printed.contains("2, reproduced here"), "{printed}");
    // The file is also inputs for a run.
    assert_eq!(dunlin(path, &["run", "model.wasm", "--inputs", "golden.npz"]).0, 0);
    let other = built(&SUM.replace("return 7", "return 8"), FLAGS).unwrap();
    let other = other.path().join("model.wasm").display().to_string();
    let (code, _, said) = release(&other, "2.0.0");
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("golden vector 1: the model answered with status 8") && said.contains("status 7"));
}

/// A stream in C++: a global object whose constructor the compiler cannot run, and a local static one.
const CPP: &str = r#"
#include "dunlin.h"
struct Filter {
    float level;
    Filter() : level(start()) {}
    ~Filter() { level = -1; }
    static float start();
    float step(float x) { return level += x; }
};
static volatile float begin = 100;
float Filter::start() { return begin; }
static Filter filter;
static Filter &other() { static Filter other; return other; }
static DUNLIN_REGION float x;
static DUNLIN_REGION float y[2];
DUNLIN_CARD({
    "abi": 1, "max_batch": 1, "state": "stream", "stack_bytes": 16384, "producer": "test 1",
    "inputs": [{"name": "x", "dtype": "f32", "shape": []}],
    "outputs": [{"name": "y", "dtype": "f32", "shape": [2]}]
});
DUNLIN_INPUTS(&x);
DUNLIN_OUTPUTS(y);
void dunlin_reset(void) { filter.level = other().level = 100; }
int32_t dunlin_infer(uint32_t) {
    y[0] = filter.step(x);
    y[1] = other().step(2 * x);
    return DUNLIN_OK;
}
"#;

/// The flags that the header names for C++.
fn cpp_flags() -> String {
    let header = std::fs::read_to_string(crate::toolchain::root().join("guest-sdk/c/dunlin.h")).unwrap();
    let line = header.lines().find(|line| line.contains("-fno-exceptions")).unwrap();
    format!("-x c++ -std=c++17 {} {FLAGS}", line.trim_start_matches(" *"))
}

#[test]
fn a_stream_in_cpp_keeps_its_objects() {
    if !has_clang() {
        return;
    }
    let folder = built(CPP, &cpp_flags()).unwrap();
    let (code, said) = validated(&folder.path().join("model.wasm"), &[]);
    check(code, &said, 0, &["a device would take it yes"]);
    write_npy(&folder.path().join("x.npy"), &[1.0, 2.0, 3.0]);
    let (code, _, said) =
        dunlin(folder.path(), &["run", "model.wasm", "--input", "x=x.npy", "--output-dir", "out"]);
    assert_eq!(code, 0, "{said}");
    let y = read_npy(&folder.path().join("out/y.npy"));
    let y: Vec<f32> = y.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    assert_eq!(y, [101.0, 102.0, 103.0, 106.0, 106.0, 112.0]);
}

#[test]
fn constructors_at_every_call_are_refused() {
    if !has_clang() {
        return;
    }
    // What the linker does with a header that does not call the constructors: named, and without names.
    let without = CPP.replace(
        "#include \"dunlin.h\"",
        "#define __wasm_call_ctors forgotten_\n#include \"dunlin.h\"\nvoid forgotten_(void) {}",
    );
    for flags in [cpp_flags(), format!("{} -Wl,--strip-all", cpp_flags())] {
        let folder = built(&without, &flags).unwrap();
        let (code, said) = validated(&folder.path().join("model.wasm"), &[]);
        check(
            code,
            &said,
            3,
            &["module-constructors", "each export calls the constructors, function", "`_initialize`"],
        );
        write_npy(&folder.path().join("x.npy"), &[1.0]);
        let (code, _, said) = dunlin(folder.path(), &["run", "model.wasm", "--input", "x=x.npy"]);
        assert_eq!(code, 3, "{said}");
    }
}
