//! Machine code from `dunlin compile --precompile`: wasmtime's interpreter and the processor give what the
//! compiler on the device gives.

use std::time::Duration;

use dunlin_core::VerifiedArtifact;
use dunlin_core::precompiled::Head;
use dunlin_sandbox::{
    Admission, AdmittedModel, CompiledModel, Engine, EngineConfig, Facts, Limits, Target, admit,
};

use crate::world::{digits, ok};

fn admitted(wasm: Vec<u8>) -> AdmittedModel {
    let summary = dunlin_sandbox::inspect(&wasm).unwrap();
    let limits = Limits { deadline: Duration::from_secs(1), ..Limits::default() };
    let admission =
        Admission { limits, imports: summary.imports.clone(), card_digest: Some(summary.card_digest) };
    admit(VerifiedArtifact::trust_local(wasm), &admission).unwrap()
}

#[allow(unsafe_code, reason = "the code was made by the test itself")]
fn load(engine: &Engine, code: &[u8], facts: Facts) -> CompiledModel {
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, code).unwrap();
    // SAFETY: the compiler has just made it, and nobody else has the file.
    unsafe { engine.load(file, facts) }.unwrap()
}

fn outputs(model: &CompiledModel, inputs: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let mut instance = model.instantiate().unwrap();
    let run = |pixels: &Vec<f32>| {
        let bytes: Vec<u8> = pixels.iter().flat_map(|value| value.to_le_bytes()).collect();
        instance.input_mut(0).unwrap()[..bytes.len()].copy_from_slice(&bytes);
        instance.infer(1).unwrap();
        let (values, _) = instance.output(0, 1).unwrap().as_chunks::<4>();
        values.iter().map(|value| f32::from_le_bytes(*value)).collect()
    };
    inputs.iter().map(run).collect()
}

#[test]
fn the_interpreter_and_the_processor_give_the_same_answers() {
    let folder = tempfile::tempdir().unwrap();
    let (onnx, wasm) = (digits("digits.onnx"), folder.path().join("digits.wasm"));
    let targets = ["--precompile", "pulley64", "--precompile", "x86_64-unknown-linux-musl"];
    let others = ["--precompile", "aarch64-unknown-linux-musl", "--precompile", "pulley32"];
    let text = wasm.to_str().unwrap();
    ok(&[&["compile", &onnx, "-o", text][..], &targets, &others].concat());
    let variant = |target: Target| {
        let file = std::fs::read(wasm.with_extension(format!("{target}.native"))).unwrap();
        let (head, code) = Head::parse(&file).unwrap();
        assert_eq!(head.target, target.name());
        (head, code.to_vec())
    };
    let model = admitted(std::fs::read(&wasm).unwrap());
    for target in Target::ALL {
        let (head, _) = variant(target);
        assert_eq!((head.artifact, head.interruptible), (model.digest(), model.facts().is_interruptible()));
    }
    // Images that need not be digits: every input gives probabilities.
    let inputs: Vec<Vec<f32>> = (0..20u16)
        .map(|image| (0..64u16).map(|pixel| f32::from((image * 31 + pixel * 7) % 17)).collect())
        .collect();
    let facts = || model.facts();
    let native = Engine::new(EngineConfig::default()).unwrap();
    let expected = outputs(&native.compile(model.clone()).unwrap(), &inputs);
    let interpreter = Engine::interpreter(EngineConfig::default()).unwrap();
    let mut loaded = vec![("interpreted", load(&interpreter, &variant(Target::Pulley64).1, facts()))];
    if Target::HERE == Target::X86_64 {
        loaded.push(("precompiled", load(&native, &variant(Target::X86_64).1, facts())));
    }
    for (what, model) in &loaded {
        let found = outputs(model, &inputs);
        for (found, expected) in found.iter().flatten().zip(expected.iter().flatten()) {
            assert!((found - expected).abs() < 1e-5, "{what}: {found}, compiled here {expected}");
        }
    }
    // Code for one is none for the other.
    #[allow(unsafe_code, reason = "as above")]
    let refused = {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, &variant(Target::Pulley64).1).unwrap();
        // SAFETY: as above.
        unsafe { native.load(file, facts()) }
    };
    assert!(refused.is_err());
}
