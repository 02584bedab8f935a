//! Modules that nobody thought of: wasm-smith makes them up, a third with all that WebAssembly has, the
//! others with what a model may have. Whatever they are, they are refused or they run, and they end.
//!
//! `DUNLIN_SMITH_MODULES` sets their number, 1,000 by default. They are the same every time: a failure
//! names its module, and [`bytes_of_chance`] of that number is where it came from.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what became of them, with `--nocapture`")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use arbitrary::Unstructured;
use dunlin_core::VerifiedArtifact;
use dunlin_core::code::Coded;
use dunlin_sandbox::{Admission, Engine, EngineConfig, Limits, admit};
use wasm_encoder::{CustomSection, Encode, RawSection};
use wasm_smith::{Config, Module};
use wasmparser::{Parser, Payload};

use crate::guest::{CARD, Guest, terms};

const DEADLINE: Duration = Duration::from_millis(5);
/// What a busy machine may add; a module that hangs takes for ever.
const SLACK: Duration = Duration::from_secs(20);

/// What every model exports and some import, in wasm-smith's own words.
const SHAPE: &str = r#"(module
    (import "dunlin" "log" (func (param i32 i32 i32)))
    (import "dunlin" "metric" (func (param i32 i32 f64)))
    (memory (export "memory") 1 20)
    (func (export "dunlin_infer") (param i32) (result i32) unreachable)
    (func (export "_initialize") unreachable)
    (func (export "dunlin_error") (result i32) unreachable)"#;

/// How much of a model a module is made to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dress {
    /// Whatever wasm-smith likes, and no card.
    None,
    /// Only what a model may have, its exports, and a card; what the exports do is chance.
    Exports,
    /// The same, but its tensors have good addresses: it comes to inference.
    Addresses,
}

/// SplitMix64 from `seed`: as many bytes as a module wants.
fn bytes_of_chance(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let word = |_| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).to_le_bytes()
    };
    (0..1024).flat_map(word).collect()
}

/// The instructions that a model may have, and no more.
fn of_a_model(shape: &str) -> Config {
    Config {
        module_shape: Some(wat::parse_str(shape).unwrap()),
        reference_types_enabled: false,
        gc_enabled: false,
        exceptions_enabled: false,
        tail_call_enabled: false,
        threads_enabled: false,
        memory64_enabled: false,
        extended_const_enabled: false,
        allow_start_export: false,
        max_table_elements: 100,
        max_instructions: 300,
        ..Config::default()
    }
}

fn module(dress: Dress, seed: u64) -> Vec<u8> {
    let bytes = bytes_of_chance(seed);
    let mut chance = Unstructured::new(&bytes);
    let config = match dress {
        Dress::None => Config::default(),
        Dress::Exports => of_a_model(&format!(
            r#"{SHAPE} (func (export "dunlin_input") (param i32) (result i32) unreachable)
               (func (export "dunlin_output") (param i32) (result i32) unreachable)
               (func (export "dunlin_init") (result i32) unreachable))"#
        )),
        // Every second one does nothing that traps, so that it comes further.
        Dress::Addresses => {
            Config { disallow_traps: seed.is_multiple_of(2), ..of_a_model(&format!("{SHAPE})")) }
        }
    };
    let made = Module::new(config, &mut chance).expect("it makes a module of any bytes").to_bytes();
    match dress {
        Dress::None => made,
        Dress::Exports => carded(made),
        Dress::Addresses => carded(addressed(&made)),
    }
}

/// The module with a card at its end, that claims whatever SIMD there may be.
fn carded(mut module: Vec<u8>) -> Vec<u8> {
    let card = CARD.replacen('{', r#"{"simd": "relaxed", "#, 1);
    module.push(0);
    CustomSection { name: "dunlin.card".into(), data: card.as_bytes().into() }.encode(&mut module);
    module
}

/// The module with two functions more, `dunlin_input` and `dunlin_output`, that give good addresses.
fn addressed(module: &[u8]) -> Vec<u8> {
    let mut added = wasm_encoder::Module::new();
    let (mut types, mut imported, mut functions) = (0, 0, 0);
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.unwrap();
        match &payload {
            Payload::TypeSection(section) => types = section.count(),
            Payload::ImportSection(section) => {
                let functions = section
                    .clone()
                    .into_imports()
                    .filter(|import| matches!(import.as_ref().unwrap().ty, wasmparser::TypeRef::Func(_)));
                imported = u32::try_from(functions.count()).unwrap();
            }
            Payload::FunctionSection(section) => functions = section.count(),
            _ => {}
        }
        let Some((id, range)) = payload.as_section() else { continue };
        let [input, output] = [imported + functions, imported + functions + 1];
        let more: Vec<Vec<u8>> = match payload {
            // (func (param i32) (result i32))
            Payload::TypeSection(_) => vec![vec![0x60, 1, 0x7f, 1, 0x7f]],
            Payload::FunctionSection(_) => vec![leb(types), leb(types)],
            Payload::ExportSection(_) => [("dunlin_input", input), ("dunlin_output", output)]
                .map(|(name, index)| {
                    [&leb(12 + u32::from(index == output)), name.as_bytes(), &[0], &leb(index)].concat()
                })
                .to_vec(),
            // i32.const 1024 and 2048
            Payload::CodeSectionStart { .. } => {
                vec![vec![5, 0, 0x41, 0x80, 8, 0x0b], vec![5, 0, 0x41, 0x80, 16, 0x0b]]
            }
            _ => Vec::new(),
        };
        added.section(&RawSection { id, data: &appended(&module[range], &more) });
    }
    added.finish()
}

/// A section that is a list, with more items at its end; one without more is left alone.
fn appended(section: &[u8], more: &[Vec<u8>]) -> Vec<u8> {
    if more.is_empty() {
        return section.to_vec();
    }
    let mut reader = wasmparser::BinaryReader::new(section, 0);
    let count = reader.read_var_u32().unwrap() + u32::try_from(more.len()).unwrap();
    [&leb(count), &section[reader.original_position()..], &more.concat()].concat()
}

fn leb(value: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.encode(&mut bytes);
    bytes
}

/// The stable code that it ended with, or how far it came.
fn end_of(engine: &Engine, wasm: Vec<u8>) -> &'static str {
    let limits = Limits { deadline: DEADLINE, memory_bytes: 2 << 20, ..terms().limits };
    let admitted = match admit(VerifiedArtifact::trust_local(wasm), &Admission { limits, ..terms() }) {
        Ok(admitted) => admitted,
        Err(error) => return error.code().id,
    };
    let model = match engine.compile(admitted) {
        Ok(model) => model,
        Err(error) => return error.code().id,
    };
    let start = Instant::now();
    let end = match model.instantiate() {
        Err(error) => error.code().id,
        Ok(mut instance) => match instance.infer(1) {
            Ok(()) => instance.output(0, 1).map_or("lost its output", |_| "answered"),
            Err(error) if error.poisons() == instance.is_poisoned() => error.code().id,
            Err(_) => panic!("whether it is poisoned is not what the error says"),
        },
    };
    // Each of the calls has a deadline of its own; there are six.
    assert!(start.elapsed() < 6 * DEADLINE + SLACK, "it took {:?}", start.elapsed());
    end
}

/// Says which module it was.
struct Naming(Dress, u64);

impl Drop for Naming {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this was module({:?}, {})", self.0, self.1);
        }
    }
}

#[test]
fn modules_of_chance_are_refused_or_end_in_time() {
    let modules = std::env::var("DUNLIN_SMITH_MODULES").map_or(1000, |number| number.parse().unwrap());
    let tick = Duration::from_millis(1);
    let engine = Engine::new(EngineConfig { tick, parallel_compilation: false }).unwrap();
    let mut ends: BTreeMap<(u8, &str), u32> = BTreeMap::new();
    for seed in 0..modules {
        let dress = [Dress::None, Dress::Exports, Dress::Addresses][(seed % 3) as usize];
        let _naming = Naming(dress, seed);
        *ends.entry((dress as u8, end_of(&engine, module(dress, seed)))).or_default() += 1;
    }
    for ((dress, end), count) in &ends {
        let dress = [Dress::None, Dress::Exports, Dress::Addresses][usize::from(*dress)];
        println!("{count:>6} {dress:?} {end}");
    }
    let came_to_run = ends.iter().filter(|((_, end), _)| !end.starts_with("module-")).map(|(_, count)| count);
    assert!(came_to_run.sum::<u32>() as u64 > modules / 3, "too few were models: {ends:?}");
    Guest::default().instance().unwrap().infer(1).unwrap();
}
