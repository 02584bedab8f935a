//! Modules that are refused before any of their code runs.

use dunlin_abi::{Import, Simd};
use dunlin_core::code::Coded as _;
use dunlin_core::{Digest, VerifiedArtifact};
use dunlin_sandbox::{Admission, AdmissionError, Limits, MAX_STACK_BYTES, admit, inspect};
use proptest::prelude::*;

use crate::guest::{CARD, Guest, refusal, terms};

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
fn a_file_that_is_no_wasm_is_refused() {
    let error = admit(VerifiedArtifact::trust_local(b"<html>".to_vec()), &terms()).unwrap_err();
    assert_error(&error, "module-not-wasm", "starts with [3c, 68, 74, 6d]");
}

#[test]
fn a_component_is_refused() {
    let component = b"\0asm\x0d\0\x01\0".to_vec();
    let error = admit(VerifiedArtifact::trust_local(component), &terms()).unwrap_err();
    assert_error(&error, "module-is-component", "not a core module");
}

#[test]
fn foreign_imports_are_refused_by_name() {
    let import = |text: &str| Guest { imports: text.into(), ..Guest::default() };
    let wasi = r#"(import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))"#;
    let message = r#"imports "fd_write" from "wasi_snapshot_preview1""#;
    assert_refused(&import(wasi), "module-import-foreign", message);
    assert_refused(&import(r#"(import "dunlin" "exec" (func))"#), "module-import-foreign", r#""exec""#);
    let memory = Guest {
        imports: r#"(import "env" "memory" (memory 1))"#.into(),
        memory: r#"(export "memory" (memory 0))"#.into(),
        ..Guest::default()
    };
    assert_refused(&memory, "module-import-foreign", r#""memory" from "env""#);
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
fn an_import_must_have_the_hosts_type() {
    for (text, message) in [
        (r#"(import "dunlin" "log" (func (param i32 i32)))"#, "(func (param i32 i32))"),
        (r#"(import "dunlin" "clock" (func (result i32)))"#, "the host has (func (result i64))"),
        (r#"(import "dunlin" "metric" (global f64))"#, "(global)"),
    ] {
        assert_refused(&Guest { imports: text.into(), ..Guest::default() }, "module-import-type", message);
    }
}

#[test]
fn a_start_section_is_refused() {
    let guest = Guest::with("(func $sneak) (start $sneak)");
    assert_refused(&guest, "module-start-section", r#"in function 3 ("sneak")"#);
}

#[test]
fn every_export_is_demanded_with_its_type() {
    for name in ["dunlin_input", "dunlin_output", "dunlin_infer", "memory"] {
        let missing = Guest::default().text().replace(&format!("{name:?}"), "\"other\"");
        assert_error(&refusal(&missing), "module-export-missing", &format!("{name:?}"));
        let text = Guest::with("(global (export \"other\") i32 (i32.const 0))").text();
        let swapped =
            text.replace(&format!("{name:?}"), "\"spare\"").replace("\"other\"", &format!("{name:?}"));
        assert_error(&refusal(&swapped), "module-export-type", "(global)");
    }
    let wrong = Guest::with(r#"(func (export "dunlin_init") (param i32))"#);
    assert_refused(&wrong, "module-export-type", "as (func (param i32)), it must be (func (result i32))");
}

#[test]
fn what_the_card_says_makes_exports_necessary() {
    let dynamic = Guest { card: CARD.replace(r#"["n", 1]"#, r#"["n", {"max": 1}]"#), ..Guest::default() };
    assert_refused(&dynamic, "module-export-missing", "dunlin_dim");
    let card = CARD.replace(r#""max_batch": 3"#, r#""max_batch": 1, "state": "stream""#);
    assert_refused(&Guest { card, ..Guest::default() }, "module-export-missing", "dunlin_reset");
}

#[test]
fn there_is_exactly_one_card_and_it_parses() {
    let text = Guest::default().text();
    let none = text.replace("dunlin.card", "dunlin.other");
    assert_error(&refusal(&none), "module-card-count", "0 `dunlin.card` sections");
    let two = text.replacen("(module", r#"(module (@custom "dunlin.card" "{}")"#, 1);
    assert_error(&refusal(&two), "module-card-count", "2 `dunlin.card` sections");
    let odd = Guest { card: CARD.replace("producer", "product"), ..Guest::default() };
    assert_refused(&odd, "module-card-invalid", "product");
    let abi = Guest { card: CARD.replace(r#""abi": 1"#, r#""abi": 2"#), ..Guest::default() };
    assert_refused(&abi, "module-card-invalid", "ABI 2");
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
fn a_card_that_hides_simd_is_refused() {
    let add = "(drop (f32x4.add (v128.const i64x2 0 0) (v128.const i64x2 0 0)))";
    let fma =
        "(drop (f32x4.relaxed_madd (v128.const i64x2 0 0) (v128.const i64x2 0 0) (v128.const i64x2 0 0)))";
    let cases = [
        ("none", format!("(func $dense {add})"), Some(r#"needs "deterministic" in function 3 ("dense")"#)),
        ("none", format!("(func {fma})"), Some(r#"needs "relaxed""#)),
        ("none", "(func (local v128))".into(), Some("deterministic")),
        ("none", "(func (param v128))".into(), Some("deterministic")),
        ("none", "(global v128 (v128.const i64x2 0 0))".into(), Some("deterministic")),
        ("deterministic", format!("(func {add})"), None),
        ("deterministic", format!("(func {fma})"), Some("relaxed")),
        ("relaxed", format!("(func {add} {fma})"), None),
    ];
    for (claim, extra, message) in cases {
        let card = CARD.replacen('{', &format!(r#"{{"simd": "{claim}", "#), 1);
        let guest = Guest { card, extra: extra.clone(), ..Guest::default() };
        match message {
            Some(message) => assert_refused(&guest, "module-card-contradicts-code", message),
            None => assert!(guest.admitted(&terms()).is_ok(), "{claim}: {extra}"),
        }
    }
}

#[test]
fn stack_and_arena_of_the_card_fit_the_memory() {
    let card = |arena: u32| {
        let claim = format!(r#"{{"stack_bytes": 1024, "arena_bytes": {arena}, "#);
        Guest { card: CARD.replacen('{', &claim, 1), ..Guest::default() }
    };
    assert!(card(65_536 - 1024).admitted(&terms()).is_ok());
    assert_refused(&card(65_536 - 1023), "module-card-contradicts-code", "65537 together");
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
fn only_one_plain_memory_is_admitted() {
    let memory = |text: &str| Guest { memory: text.into(), ..Guest::default() };
    let no_memory = r#"(module (@custom "dunlin.card" "CARD"))"#
        .replace("CARD", &CARD.replace('"', "\\\"").replace('\n', " "));
    assert_error(&refusal(&no_memory), "module-memory", "there is none");
    let cases = [
        (r#"(memory (export "memory") 1 2 shared)"#, ""),
        (r#"(memory (export "memory") 1) (memory 1)"#, "second"),
    ];
    for (text, message) in cases {
        let guest = Guest { infer: "(i32.const 0)".into(), ..memory(text) };
        assert_refused(&guest, "module-memory", message);
    }
    let wide = Guest { infer: "(i32.const 0)".into(), ..memory(r#"(memory (export "memory") i64 1)"#) };
    assert_refused(&wide, "module-memory", "");
}

#[test]
fn features_beyond_the_admitted_ones_are_refused() {
    for extra in [
        "(func $f return_call $f)",
        "(tag (param i32))",
        "(func (drop (ref.null extern)))",
        "(type (struct (field i32)))",
        "(table 1 funcref) (table 1 funcref)",
        "(global i32 (i32.add (i32.const 1) (i32.const 2)))",
        "(table $t 1 funcref) (func (drop (table.grow $t (ref.null func) (i32.const 1))))",
    ] {
        let error = Guest::with(extra).admitted(&terms()).unwrap_err();
        assert_eq!(error.code().id, "module-invalid", "{extra}: {error}");
    }
}

#[test]
fn what_rust_and_c_emit_is_admitted() {
    let extra = r#"(table 2 2 funcref) (elem (i32.const 1) $infer)
        (type $f (func (param i32) (result i32)))
        (global $sp (mut i32) (i32.const 1000)) (export "__stack_pointer" (global $sp))
        (func (param f32) (result i32)
            (memory.copy (i32.const 0) (i32.const 8) (i32.const 8))
            (memory.fill (i32.const 0) (i32.const 0) (i32.const 8))
            (drop (i32.extend8_s (i32.trunc_sat_f32_s (local.get 0))))
            (call_indirect (type $f) (i32.const 1) (i32.const 1)))"#;
    let admitted = Guest::with(extra).admitted(&terms());
    assert!(admitted.is_ok(), "{admitted:?}");
}

#[test]
fn code_bombs_are_refused_before_they_are_compiled() {
    let nops = |count: usize| format!("(func $bomb {})", "nop ".repeat(count));
    assert_refused(&Guest::with(&nops(1 << 20)), "module-too-large", r#"in function 3 ("bomb")"#);
    let locals = format!("(func {})", "(local i32)".repeat(10_001));
    assert_refused(&Guest::with(&locals), "module-too-large", "10001 locals of one function");
    let functions = "(func)".repeat(20_000);
    assert_refused(&Guest::with(&functions), "module-too-large", "20003 functions");
    let segments = r#"(data "")"#.repeat(10_001);
    assert_refused(&Guest::with(&segments), "module-too-large", "10001 data segments");
    let customs = r#"(@custom "x" "")"#.repeat(1001);
    assert_refused(&Guest::with(&customs), "module-too-large", "custom sections");
    let exports = (0..100_000).map(|i| format!(r#"(export "function{i}" (func 0))"#)).collect::<String>();
    assert_refused(&Guest::with(&exports), "module-too-large", "(exports)");
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
