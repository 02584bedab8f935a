//! The module as a whole: its contract, its layout, its card and its loops.

use dunlin_abi::{CARD_SECTION, Card, Dim, Meaning, Simd};
use dunlin_compiler::{Options, compile};
use dunlin_sandbox::Work;
use wasmparser::{Parser, Payload};

use crate::builder::{D, Model, numbers};
use crate::run::Running;

fn classifier() -> Model {
    Model::new(17)
        .input("pixels", &[D::Symbol("n"), D::Fixed(64)])
        .f32("w", &[64, 200], &numbers(1, 64 * 200))
        .f32("b", &[200], &numbers(2, 200))
        .f32("v", &[200, 10], &numbers(3, 2000))
        .node("Gemm", &["pixels", "w", "b"], "h", &[])
        .node("Relu", &["h"], "r", &[])
        .node("MatMul", &["r", "v"], "l", &[])
        .node("Softmax", &["l"], "class", &[])
        .output("class")
}

fn options(max_batch: u32, simd: Simd) -> Options {
    Options { max_batch, simd, ..Options::default() }
}

#[test]
fn the_card_is_first_and_tells_the_model() {
    let onnx = classifier().bytes();
    let compiled = compile(&onnx, &options(4, Simd::Relaxed)).unwrap();
    let mut sections = Parser::new(0).parse_all(&compiled.wasm).map(Result::unwrap);
    assert!(matches!(sections.next(), Some(Payload::Version { .. })));
    let Some(Payload::CustomSection(section)) = sections.next() else { panic!("the card is not first") };
    assert_eq!(section.name(), CARD_SECTION);
    let card = Card::parse(section.data()).unwrap();
    assert_eq!(card, compiled.report.card);
    assert_eq!(card.inputs[0].shape, [Dim::Batch, Dim::Fixed(64)]);
    assert_eq!(
        (card.outputs[0].meaning, card.outputs[0].range),
        (Some(Meaning::Probability), Some([0.0, 1.0]))
    );
    assert_eq!((card.max_batch, card.simd), (4, Simd::Relaxed));
    assert_eq!(card.source_sha256, Some(dunlin_core::Digest::of(&onnx).to_string()));
    assert!(card.producer.starts_with("dunlin-compiler "));
}

#[test]
fn there_are_no_imports_no_start_and_memory_cannot_grow() {
    let compiled = compile(&classifier().bytes(), &options(4, Simd::Relaxed)).unwrap();
    let mut exports = Vec::new();
    for payload in Parser::new(0).parse_all(&compiled.wasm).map(Result::unwrap) {
        match payload {
            Payload::ImportSection(_) | Payload::StartSection { .. } | Payload::TableSection(_) => {
                panic!("{payload:?}")
            }
            Payload::MemorySection(memories) => {
                let memories: Vec<_> = memories.into_iter().map(Result::unwrap).collect();
                assert_eq!((memories.len(), memories[0].maximum), (1, Some(memories[0].initial)));
            }
            Payload::ExportSection(section) => {
                exports.extend(section.into_iter().map(|export| export.unwrap().name.to_string()));
            }
            _ => {}
        }
    }
    assert_eq!(exports, ["memory", "dunlin_input", "dunlin_output", "dunlin_infer"]);
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let onnx = classifier().bytes();
    for simd in [Simd::None, Simd::Deterministic, Simd::Relaxed] {
        let once = compile(&onnx, &options(2, simd)).unwrap().wasm;
        assert_eq!(once, compile(&onnx, &options(2, simd)).unwrap().wasm);
    }
}

#[test]
fn the_card_says_which_simd_the_code_uses() {
    for simd in [Simd::None, Simd::Deterministic, Simd::Relaxed] {
        let compiled = compile(&classifier().bytes(), &options(1, simd)).unwrap();
        assert_eq!(compiled.report.card.simd, simd);
    }
    // Nothing is multiplied, so nothing is relaxed.
    let model = Model::new(17).input("x", &[D::Fixed(5)]).node("Relu", &["x"], "y", &[]).output("y");
    assert_eq!(compile(&model.bytes(), &Options::default()).unwrap().report.card.simd, Simd::Deterministic);
}

#[test]
fn the_levels_agree() {
    let onnx = classifier().bytes();
    let x = numbers(9, 64);
    let scalar = Running::new(&onnx, &options(1, Simd::None)).infer(1, &x);
    for simd in [Simd::Deterministic, Simd::Relaxed] {
        let other = Running::new(&onnx, &options(1, simd)).infer(1, &x);
        assert!(scalar.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-6), "{simd:?}");
    }
}

#[test]
fn a_wrong_batch_returns_minus_one_and_touches_nothing() {
    let mut running = Running::new(&classifier().bytes(), &options(3, Simd::Relaxed));
    running.write(0, &numbers(1, 3 * 64));
    let before = running.memory().to_vec();
    for n in [0, 4, -1, i32::MIN, i32::MAX] {
        assert_eq!(running.status(n), -1, "{n}");
    }
    assert!(running.memory() == before.as_slice());
    assert_eq!(running.status(3), 0);
}

#[test]
fn samples_behind_n_are_not_touched() {
    let mut running = Running::new(&classifier().bytes(), &options(3, Simd::Relaxed));
    let x = numbers(1, 3 * 64);
    let all = running.infer(3, &x);
    let mut other = x.clone();
    other[64..].reverse();
    running.write(0, &other);
    assert_eq!(running.status(1), 0);
    assert_eq!(running.read(0, 3), all, "the first is the same, the others are still there");
}

#[test]
fn addresses_are_aligned_disjoint_and_behind_the_weights() {
    let mut running = Running::new(&classifier().bytes(), &options(3, Simd::Relaxed));
    let (input, output) = (running.address("dunlin_input", 0), running.address("dunlin_output", 0));
    assert_eq!((input % 16, output % 16), (0, 0));
    assert!(input + 3 * 64 * 4 <= output || output + 3 * 10 * 4 <= input);
    let mut segments = Vec::new();
    for payload in Parser::new(0).parse_all(&running.compiled.wasm.clone()).map(Result::unwrap) {
        if let Payload::DataSection(section) = payload {
            segments.extend(section.into_iter().map(|data| data.unwrap().data.len()));
        }
    }
    // The biases and the small matrix (200 rows of 12 columns) in one, 64 x 200 in its own.
    assert_eq!(segments, [200 * 4 + 200 * 12 * 4, 64 * 200 * 4]);
    assert!(input / 65536 > (1024 + segments.iter().sum::<usize>()) / 65536);
    assert_eq!(running.address("dunlin_input", 1), 0);
}

#[test]
fn layers_of_one_geometry_share_their_code() {
    let deep = |layers: usize| {
        let mut model = Model::new(17).input("x0", &[D::Symbol("n"), D::Fixed(32)]);
        for layer in 0..layers {
            let (w, x, y) = (format!("w{layer}"), format!("x{layer}"), format!("x{}", layer + 1));
            model = model.f32(&w, &[32, 32], &numbers(layer as u64, 1024)).node("MatMul", &[&x, &w], &y, &[]);
        }
        compile(&model.output(&format!("x{layers}")).bytes(), &Options::default()).unwrap().report.code_bytes
    };
    assert!(deep(8) < deep(2) + 200);
}

#[test]
fn the_work_of_a_module_is_proven_and_grows_with_its_batch() {
    for simd in [Simd::None, Simd::Deterministic, Simd::Relaxed] {
        let work = |max_batch: u32| {
            let wasm = compile(&classifier().bytes(), &options(max_batch, simd)).unwrap().wasm;
            match dunlin_sandbox::inspect(&wasm).unwrap().work {
                Work::Bounded { operators } => operators,
                Work::Unbounded { reason } => panic!("{simd:?}: {reason}"),
            }
        };
        let (one, four) = (work(1), work(4));
        let macs = 64 * 200 + 2000;
        let lanes = if simd == Simd::None { 1 } else { 4 };
        // Two loads, a product, a sum, and what a loop takes.
        assert!((macs / lanes..macs * 12).contains(&one), "{simd:?}: {one} operators");
        assert!((4 * one..4 * one + 400).contains(&four), "{simd:?}: {one} and {four} operators");
    }
}

#[test]
fn the_report_counts_what_the_model_has() {
    let report = compile(&classifier().bytes(), &Options::default()).unwrap().report;
    let operators: Vec<(&str, u32)> = report.operators.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    assert_eq!(operators, [("Gemm", 1), ("MatMul", 1), ("Relu", 1), ("Softmax", 1)]);
    assert_eq!(report.macs, 64 * 200 + 2000);
    assert_eq!(report.parameters, 64 * 200 + 200 + 2000);
    assert_eq!(report.arena_bytes, u64::from(report.card.arena_bytes));
    assert!(report.warnings.is_empty());
}
