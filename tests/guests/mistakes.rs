//! What a developer gets wrong, as the toolchain makes it, and the words in which `dunlin validate` says it.

use std::path::Path;
use std::process::Command;

use crate::toolchain::{has_clang, root};

/// A good model, of which each test spoils something.
pub const MODEL: &str = r#"
#include "dunlin.h"
static DUNLIN_REGION float x[2][4];
static DUNLIN_REGION float y[2][4];
DUNLIN_CARD({
    "abi": 1, "max_batch": 2, "stack_bytes": 16384, "producer": "test 1",
    "inputs": [{"name": "x", "dtype": "f32", "shape": ["n", 4]}],
    "outputs": [{"name": "y", "dtype": "f32", "shape": ["n", 4]}]
});
DUNLIN_INPUTS(x);
DUNLIN_OUTPUTS(y);
int32_t dunlin_infer(uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        for (int k = 0; k < 4; k++) y[i][k] = 2 * x[i][k];
    return DUNLIN_OK;
}
"#;

pub const FLAGS: &str = "-O2 -mbulk-memory -ffreestanding -nostdlib -Wl,--no-entry -Wl,--stack-first \
                     -Wl,-z,stack-size=16384";

/// `dunlin validate` on the model: its exit code, and all that it says.
pub fn validate(source: &str, flags: &str) -> Option<(i32, String)> {
    let folder = built(source, flags)?;
    Some(validated(&folder.path().join("model.wasm"), &[]))
}

/// A folder with `model.wasm`, where there is a compiler.
pub fn built(source: &str, flags: &str) -> Option<tempfile::TempDir> {
    if !has_clang() {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("model.c"), source).unwrap();
    let built = Command::new("clang")
        .current_dir(folder.path())
        .args(["--target=wasm32", "-Wno-everything", "-I"])
        .arg(root().join("guest-sdk/c"))
        .args(flags.split_whitespace())
        .args(["-o", "model.wasm", "model.c"])
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Some(folder)
}

pub fn validated(module: &Path, options: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
    let output = command.arg("validate").arg(module).args(options).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    // A table wraps its words.
    let said = String::from_utf8_lossy(&said).replace('│', " ");
    (output.status.code().unwrap(), said.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The model with `from` replaced is answered with this exit code and these words.
#[track_caller]
pub fn answered(from: &str, to: &str, exit: i32, parts: &[&str]) {
    assert!(MODEL.contains(from), "{from}");
    let Some((code, said)) = validate(&MODEL.replace(from, to), FLAGS) else { return };
    check(code, &said, exit, parts);
}

#[track_caller]
pub fn check(code: i32, said: &str, exit: i32, parts: &[&str]) {
    assert_eq!(code, exit, "{said}");
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
}

#[test]
fn the_model_that_is_spoilt_is_good() {
    answered("abi", "abi", 0, &["a device would take it yes"]);
}

#[test]
fn an_export_that_is_missing_is_named_with_what_it_is_for() {
    answered(
        "int32_t dunlin_infer(uint32_t n)",
        "int32_t infer(uint32_t n)",
        3,
        &["\"dunlin_infer\"", "computes the outputs of `n` samples", "(func (param i32) (result i32))"],
    );
    answered("DUNLIN_INPUTS(x);", "", 3, &["\"dunlin_input\"", "gives the address of an input"]);
    answered(
        "\"max_batch\": 2",
        "\"max_batch\": 1, \"state\": \"stream\"",
        3,
        &["\"dunlin_reset\"", "forgets", "the card says `stream`"],
    );
}

#[test]
fn a_program_is_not_a_library() {
    let program = MODEL
        .replace("int32_t dunlin_infer", "int main(void) { return 0; } void _start(void) {} int32_t infer");
    let flags = FLAGS.replace("-Wl,--no-entry", "");
    let Some((code, said)) = validate(&program, &flags) else { return };
    check(code, &said, 3, &["linked as a program", "cdylib", "--no-entry"]);
}

#[test]
fn a_library_that_was_linked_or_is_missing_is_told_by_its_name() {
    answered(
        "#include",
        "extern int printf(const char *, ...);\n#include",
        0,
        &["a device would take it yes"], // Declared, and never called.
    );
    let calls = |declaration: &str, call: &str| {
        let source = MODEL.replace("#include", &format!("{declaration}\n#include"));
        validate(
            &source.replace("return DUNLIN_OK;", &format!("{call} return DUNLIN_OK;")),
            &format!("{FLAGS} -Wl,--allow-undefined"),
        )
    };
    let Some((code, said)) = calls("extern float sinf(float);", "y[0][0] = sinf(x[0][0]);") else { return };
    check(code, &said, 3, &["\"sinf\" from \"env\"", "left it to the host", "__builtin_sqrtf"]);
    let source = MODEL.replace("return DUNLIN_OK;", "__builtin_memcpy(y, x, 16 * n); return DUNLIN_OK;");
    let flags = format!("{} -Wl,--allow-undefined", FLAGS.replace("-mbulk-memory", ""));
    let (code, said) = validate(&source, &flags).unwrap();
    check(code, &said, 3, &["\"memcpy\" from \"env\"", "-mbulk-memory"]);
    let (code, said) = validate(MODEL, &format!("{FLAGS} -Wl,--import-memory")).unwrap();
    check(code, &said, 3, &["\"memory\" from \"env\"", "--import-memory"]);
}

#[test]
fn std_and_wasi_are_told_from_their_imports() {
    let folder = tempfile::tempdir().unwrap();
    for (module, name, part) in [
        ("wasi_snapshot_preview1", "fd_write", "no_std"),
        ("__wbindgen_placeholder__", "__wbindgen_throw", "cargo tree -i wasm-bindgen"),
        ("env", "abort", "--use abort="),
    ] {
        let wasm = wat::parse_str(format!("(module (import \"{module}\" \"{name}\" (func)))")).unwrap();
        let path = folder.path().join("m.wasm");
        std::fs::write(&path, wasm).unwrap();
        let (code, said) = validated(&path, &[]);
        check(code, &said, 3, &["module-import-foreign", module, name, part]);
    }
}

#[test]
fn code_that_starts_on_its_own_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.wasm");
    std::fs::write(&path, wat::parse_str("(module (func $construct) (start $construct))").unwrap()).unwrap();
    let (code, said) = validated(&path, &[]);
    check(code, &said, 3, &["would start on its own in function 0 (\"construct\")", "_initialize"]);
}

#[test]
fn a_card_that_disagrees_with_the_code_is_told_where() {
    answered(
        r#""inputs": [{"#,
        r#""inputs": [{"name": "w", "dtype": "f32", "shape": ["n"]}, {"#,
        1,
        &["input \"x\" lies at 0x0", "more tensors than the model gave addresses for"],
    );
    answered(
        "x[2][4]",
        "x[1][4]",
        1,
        &["overlap", "by the card the first has 32 bytes", "begins 16 bytes behind it"],
    );
    answered("DUNLIN_REGION float y[2]", "float pad, y[2]", 0, &[]); // Static arrays of 32 bytes are aligned by themselves.
    answered("DUNLIN_OUTPUTS(y);", "DUNLIN_OUTPUTS((char *)y + 4);", 1, &["output \"y\"", "16-byte aligned"]);
    answered(
        "\"stack_bytes\": 16384",
        "\"stack_bytes\": 8192",
        0,
        &["the card says 8,192 bytes, the code has 16,384"],
    );
    answered(
        "\"stack_bytes\": 16384",
        "\"stack_bytes\": 999999",
        3,
        &["module-card-contradicts-code", "65536 bytes"],
    );
    answered("\"abi\": 1,", "", 3, &["module-card-invalid", "missing field `abi`"]);
    answered(
        "DUNLIN_CARD({",
        "struct dunlin_message dunlin_message_; const struct dunlin_message *dunlin_error(void) { return 0; } const char *unused = DUNLIN_TEXT_({",
        3,
        &["0 `dunlin.card` sections", "dunlin card set"],
    );
    let vectors = format!("{FLAGS} -msimd128");
    if let Some((code, said)) = validate(MODEL, &vectors) {
        check(code, &said, 3, &["claims simd \"none\"", "(\"dunlin_infer\")"]);
    }
}

#[test]
fn a_stack_that_lies_in_the_way_is_told() {
    let source = MODEL.replace(
        "static DUNLIN_REGION float x",
        "static volatile float gain[2] = {2, 3};\nstatic DUNLIN_REGION float x",
    );
    let source = source.replace("2 * x", "gain[0] * x");
    let Some((code, said)) = validate(&source, &FLAGS.replace("-Wl,--stack-first", "")) else { return };
    let warning = ["data or tensors lie below it", "--stack-first"];
    check(code, &said, 0, &warning);
    // Tensors that are zeros at first are no data, and the card may say nothing of a stack.
    for (from, to) in [("\"stack_bytes\": 16384, ", ""), ("abi", "abi")] {
        let (code, said) =
            validate(&MODEL.replace(from, to), &FLAGS.replace("-Wl,--stack-first", "")).unwrap();
        check(code, &said, 0, &warning);
    }
}

#[test]
fn recursion_is_named_and_how_much_stack_there_is() {
    let fib = "__attribute__((noinline)) int fib(int n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }\nint32_t dunlin_infer";
    let source = MODEL.replace("int32_t dunlin_infer", fib).replace("2 * x[i][k]", "fib((int)x[i][k])");
    let Some((code, said)) = validate(&source, FLAGS) else { return };
    check(code, &said, 0, &["(\"fib\") may call itself", "256.00 KiB"]);
    let endless =
        source.replace("n < 2 ? n : fib(n - 1) + fib(n - 2)", "y[0][0] = n, 1 + fib(n + 1) * x[0][0]");
    let (code, said) = validate(&endless, FLAGS).unwrap();
    check(code, &said, 1, &["model-stack", "used up its stack", "(\"fib\")"]);
}

#[test]
fn an_output_that_is_left_and_one_that_is_no_number_are_named() {
    answered(
        "for (uint32_t i = 0; i < n; i++)",
        "for (uint32_t i = 0; i < 1; i++)",
        1,
        &["model-output-unwritten", "element 4 of output \"y\""],
    );
    answered("k < 4; k++", "k < 3; k++", 1, &["element 3 of output \"y\""]);
    answered(
        "2 * x[i][k]",
        "x[i][k] / x[i][k]",
        0,
        &["its answer to zeros", "element 0 of output \"y\" is NaN"],
    );
}

#[test]
fn state_that_does_not_fit_the_device_is_told_with_both_numbers() {
    let source =
        MODEL.replace("static DUNLIN_REGION float x", "char history[300000]; static DUNLIN_REGION float x");
    let source = source.replace("return DUNLIN_OK", "history[n] = 1; return DUNLIN_OK");
    let Some(folder) = built(&source, FLAGS) else { return };
    let device = folder.path().join("agent.toml");
    let config = "fleet = \"f\"\ndevice = \"d\"\n[broker]\nurl = \"mqtt://localhost\"\n[limits]\nmemory_bytes = 131072\n";
    std::fs::write(&device, config).unwrap();
    let options = ["--limits", device.to_str().unwrap()];
    let (code, said) = validated(&folder.path().join("model.wasm"), &options);
    check(code, &said, 3, &["memory starts with 327680 bytes", "the limit is 131072"]);
}
