//! What the fuzzer has found, and what people have exported, replayed: nothing panics, nothing is a fault of
//! the compiler, and every committed model compiles.

use std::path::{Path, PathBuf};

use dunlin_compiler::{CompileError, Options, compile};
use dunlin_sandbox::Work;
use proptest::prelude::*;

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn models() -> Vec<PathBuf> {
    let models: Vec<PathBuf> = files("../../tests/models")
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "onnx"))
        .collect();
    assert!(models.len() > 20, "the committed models are gone");
    models
}

fn never_a_fault(bytes: &[u8], what: &dyn std::fmt::Display) {
    for max_batch in [1, 3] {
        if let Err(CompileError::Fault(fault)) = compile(bytes, &Options { max_batch, ..Options::default() })
        {
            panic!("{what}: {fault}");
        }
    }
}

/// Models with a `Loop`, as tf2onnx writes recurrent layers whose form ONNX's own operators do not have.
const WITH_A_LOOP: &str = include_str!("../../../../tests/models/refused.txt");

/// Kernels that are larger than the engine compiles quickly.
fn large_functions(wasm: &[u8]) -> impl Iterator<Item = String> + use<> {
    let bodies = wasmparser::Parser::new(0).parse_all(wasm).filter_map(|payload| match payload.unwrap() {
        wasmparser::Payload::CodeSectionEntry(body) => {
            let locals =
                body.get_locals_reader().unwrap().into_iter().map(|group| group.unwrap().0).sum::<u32>();
            Some((body.range().len(), locals))
        }
        _ => None,
    });
    let large = bodies.filter(|(bytes, locals)| *bytes > 16 * 1024 || *locals > 64);
    large
        .map(|(bytes, locals)| format!("a function of {bytes} bytes and {locals} locals"))
        .collect::<Vec<_>>()
        .into_iter()
}

#[test]
fn every_committed_model_compiles_to_small_functions_and_proven_work() {
    let mut wrong = Vec::new();
    for path in models() {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let refused = WITH_A_LOOP.lines().any(|line| line == name);
        match compile(&std::fs::read(&path).unwrap(), &Options::default()) {
            Ok(_) if refused => wrong.push(format!("{name} compiles now: take it off the list")),
            Err(error) if refused && error.to_string().contains("Loop") => {}
            Err(error) => wrong.push(format!("{name}: {error}")),
            Ok(compiled) => {
                wrong.extend(large_functions(&compiled.wasm).map(|what| format!("{name}: {what}")));
                let macs: u64 = compiled.report.layers.iter().map(|layer| layer.macs).sum();
                if macs != compiled.report.macs {
                    wrong.push(format!("{name}: its layers have {macs} multiply-adds"));
                }
                if let Work::Unbounded { reason } = dunlin_sandbox::inspect(&compiled.wasm).unwrap().work {
                    wrong.push(format!("{name}: its work is not bounded, {reason}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_the_fuzzer_found_is_harmless() {
    for path in files("fuzz/corpus/onnx") {
        let bytes = std::fs::read(&path).unwrap();
        // The first byte is the fuzzer's choice of a batch.
        never_a_fault(bytes.get(1..).unwrap_or_default(), &path.display());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_models_are_harmless(
        model in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let models = models();
        let path = model.get(&models);
        let mut bytes = std::fs::read(path).unwrap();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        never_a_fault(&bytes, &path.display());
    }
}
