//! What is decided before any code runs, where the corpus does not reach: terms, summaries, damaged bytes.

use dunlin_abi::{Import, Simd};
use dunlin_core::code::Coded as _;
use dunlin_core::{Digest, VerifiedArtifact};
use dunlin_sandbox::{Admission, AdmissionError, Limits, MAX_STACK_BYTES, admit, inspect};
use proptest::prelude::*;

use crate::guest::{CARD, Guest, terms};

/// The error's code and message, for comparison.
#[track_caller]
fn assert_refused(guest: &Guest, code: &str, message: &str) {
    assert_error(&guest.admitted(&terms()).unwrap_err(), code, message);
}

#[track_caller]
fn assert_error(error: &AdmissionError, code: &str, message: &str) {
    let text = error.to_string();
    assert_eq!(error.code().id, code, "{text}");
    assert!(text.contains(message), "{text:?} does not contain {message:?}");
}

#[test]
fn a_good_model_is_summarised() {
    let guest = Guest {
        memory: r#"(memory (export "memory") 2 5) (data (i32.const 4096) "abc")"#.into(),
        imports: r#"(import "dunlin" "clock" (func (result i64)))
            (import "dunlin" "log" (func (param i32 i32 i32)))
            (import "dunlin" "clock" (func (result i64)))"#
            .into(),
        extra: format!(r#"(data (i32.const 65536) "{}")"#, "w".repeat(40_000)),
        ..Guest::default()
    };
    let wasm = guest.wasm();
    let summary = inspect(&wasm).unwrap();
    assert_eq!(summary.card.outputs[0].name, "sum");
    assert_eq!(summary.imports, [Import::Log, Import::Clock]);
    assert_eq!(summary.exports, ["memory", "dunlin_input", "dunlin_output", "dunlin_infer"]);
    assert_eq!((summary.memory_min_bytes, summary.memory_max_bytes), (131_072, Some(327_680)));
    assert_eq!((summary.functions, summary.data_bytes, summary.simd), (3, 40_003, Simd::None));
    assert!((50..1000).contains(&summary.code_bytes));
    assert_eq!(summary.custom_sections[0].0, "dunlin.card");
    let card = CARD.replace('\n', " ");
    assert_eq!(summary.card_digest, Digest::of(card.as_bytes()));
    let [segment] = &summary.segments[..] else { panic!("{:?}", summary.segments) };
    let segment = &wasm[usize::try_from(segment.start).unwrap()..usize::try_from(segment.end).unwrap()];
    assert_eq!(segment, "w".repeat(40_000).as_bytes());
}

#[test]
fn an_import_needs_a_grant() {
    let guest =
        Guest { imports: r#"(import "dunlin" "clock" (func (result i64)))"#.into(), ..Guest::default() };
    assert!(guest.admitted(&terms()).is_ok());
    let terms = Admission { imports: vec![Import::Log, Import::Metric], ..terms() };
    let error = guest.admitted(&terms).unwrap_err();
    assert_error(&error, "module-import-not-granted", r#"imports "clock""#);
}

#[test]
fn the_card_is_the_one_that_the_release_names() {
    let digest = inspect(&Guest::default().wasm()).unwrap().card_digest;
    let with = |digest| Admission { card_digest: Some(digest), ..terms() };
    assert!(Guest::default().admitted(&with(digest)).is_ok());
    let error = Guest::default().admitted(&with(Digest::of(b"another"))).unwrap_err();
    assert_error(&error, "module-card-digest", &digest.to_string());
}

#[test]
fn memory_table_and_stack_keep_to_the_limits() {
    let memory =
        |pages: u32| Guest { memory: format!(r#"(memory (export "memory") {pages})"#), ..Guest::default() };
    assert!(memory(16).admitted(&terms()).is_ok());
    assert_refused(&memory(17), "module-over-limit", "1114112 bytes, the limit is 1048576");
    let table = |elements: u32| Guest::with(&format!("(table {elements} funcref)"));
    assert!(table(100).admitted(&terms()).is_ok());
    assert_refused(&table(101), "module-over-limit", "101 elements, the limit is 100");
    assert_refused(&table(100_001), "module-too-large", "table elements");
    assert_refused(&table(10_000_000), "module-too-large", "table elements");
    let limits = Limits { stack_bytes: MAX_STACK_BYTES + 1, ..terms().limits };
    let error = Guest::default().admitted(&Admission { limits, ..terms() }).unwrap_err();
    assert_error(&error, "module-over-limit", "stack");
}

#[test]
fn sizes_are_refused_by_their_announcement() {
    // A code section (10) of 9 MiB; what it holds does not matter, as it is not read.
    let mut code = b"\0asm\x01\0\0\0\x0a\x80\x80\xc0\x04".to_vec();
    code.resize(code.len() + (9 << 20), 0);
    assert_error(&inspect(&code).unwrap_err(), "module-too-large", "9437184 bytes of the code section");
    let mut file = vec![0; (256 << 20) + 1];
    file[..8].copy_from_slice(b"\0asm\x01\0\0\0");
    assert_error(&inspect(&file).unwrap_err(), "module-too-large", "268435457 bytes of the artifact");
}

#[test]
fn a_module_that_is_cut_off_is_refused() {
    let wasm = Guest::default().wasm();
    let whole: Vec<_> = (0..wasm.len()).filter_map(|end| inspect(&wasm[..end]).ok()).collect();
    // The one place where a cut leaves a whole module is in front of the last section, the names.
    let [summary] = &whole[..] else { panic!("{} of them", whole.len()) };
    assert_eq!(summary.custom_sections.len(), 1);
    assert_eq!(inspect(&wasm).unwrap().custom_sections.last().unwrap().0, "name");
}

proptest! {
    #[test]
    fn damage_never_panics(at in any::<prop::sample::Index>(), flip in 1u8..) {
        let mut wasm = Guest::default().wasm();
        let at = at.index(wasm.len());
        wasm[at] ^= flip;
        let _ = admit(VerifiedArtifact::trust_local(wasm), &terms());
    }
}

/// Small modules that take the compiler long, or much memory: each lets many values meet, live or be passed.
fn bombs() -> Vec<(&'static str, String, &'static str)> {
    let types = |kind: &str, values: usize| format!("{kind} ").repeat(values);
    let signature = |kind: &str, values: usize| {
        let list = types(kind, values);
        format!("(param {list}) (result {list})")
    };
    let passed = |values: usize| (0..values).map(|local| format!("local.get {local} ")).collect::<String>();
    let wide =
        |kind: &str, body: &str| format!("(func $wide {} {} {body})", signature(kind, 1000), passed(1000));
    let operands: String = (0..900).map(|value| format!("local.get $n i32.const {value} i32.add ")).collect();
    let carried = |body: &str| {
        format!("(func (param $n i32) (result i32) {operands} {body} {})", "i32.add ".repeat(899))
    };
    let passes = "values that blocks and calls of one function take and give";
    let all = "values that blocks and calls of all functions take and give";
    let meets = "blocks times locals and operands of one function";
    let mut bombs = Vec::new();
    for kind in ["i32", "i64", "f32", "f64"] {
        let (list, gets) = (signature(kind, 1000), passed(1000));
        let around = |body: &str| format!("(func {list} {gets} {body})");
        bombs.extend([
            ("calls", format!("{} {}", wide(kind, ""), around(&"call $wide ".repeat(100))), passes),
            (
                "calls through a table",
                format!(
                    "(type $t (func {list})) (table 1 funcref) {}",
                    around(&"i32.const 0 call_indirect (type $t) ".repeat(100))
                ),
                passes,
            ),
            ("loops", around(&format!("loop {list} i32.const 0 br_if 0 end ").repeat(150)), passes),
            ("blocks", around(&format!("block {list} end ").repeat(150)), passes),
            ("conditions", around(&format!("i32.const 0 if {list} else end ").repeat(150)), passes),
            (
                "nested blocks",
                around(&format!("{} {}", format!("block {list} ").repeat(150), "end ".repeat(150))),
                passes,
            ),
            ("branches", around(&"i32.const 0 br_if 0 ".repeat(2_000)), meets),
            ("targets of a table", around(&format!("i32.const 0 br_table {}", "0 ".repeat(2_000))), meets),
            ("functions", format!("(func {list} unreachable) ").repeat(200), all),
        ]);
    }
    let conditions = "local.get $n if i32.const 1 local.set $n end ".repeat(10_001);
    bombs.push((
        "conditions in a row",
        format!("(func (param $n i32) {conditions})"),
        "blocks of one function",
    ));
    bombs.push(("loops over operands", carried(&"loop local.get $n br_if 0 end ".repeat(1_200)), meets));
    bombs.push(("blocks over operands", carried(&"block local.get $n br_if 0 end ".repeat(1_200)), meets));
    bombs
}

#[test]
fn compile_bombs_are_refused() {
    for (name, extra, message) in bombs() {
        let bytes = Guest::with(&extra).wasm().len();
        assert!(bytes < 120_000, "{name} has {bytes} bytes");
        let error = Guest::with(&extra).admitted(&terms()).unwrap_err();
        assert_eq!(error.code().id, "module-too-large", "{name}: {error}");
        assert!(error.to_string().contains(message), "{name}: {error}");
    }
}

/// What toolchains write of many values is admitted: calls of ten, blocks of one, thousands of both.
#[test]
fn ordinary_calls_and_blocks_are_admitted() {
    let ten = "i32 ".repeat(10);
    let call = format!("{} call $ten ", "local.get $n ".repeat(10));
    let block = "block (result i32) local.get $n local.get $n br_if 0 end drop ";
    let extra = format!(
        "(func $ten (param {ten})) (func (param $n i32) {} {})",
        call.repeat(10_000),
        block.repeat(9_000)
    );
    Guest::with(&extra).admitted(&terms()).unwrap();
}
