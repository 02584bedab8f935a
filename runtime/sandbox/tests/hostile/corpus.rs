//! The corpus: each file of `wat/` is a module that lies, runs away or breaks a rule, or one that is odd and
//! good. Each must end as its first line says, and cost its neighbours nothing.
//!
//! A file opens with `;; expect: CODE`, the stable code of the error that it must end with, or `good`: then
//! it is admitted, and its answer is right. `;; says: TEXT` may follow, a part of the error's message, and
//! then comes what it tries. Of a model it writes only what is special: see [`whole`].

#![allow(clippy::print_stdout, reason = "how late each stop came, with `--nocapture`")]

use std::path::Path;
use std::time::{Duration, Instant};

use dunlin_abi::Import;
use dunlin_core::VerifiedArtifact;
use dunlin_core::code::Coded;
use dunlin_sandbox::{
    Admission, Engine, EngineConfig, Instance, Limits, NATIVE_STACK_BYTES, admit, validate_output,
};

use crate::guest::{CARD, Guest, bytes_of};

/// Of modules that run away: nobody wants to wait longer.
const SHORT: Duration = Duration::from_millis(20);
const TICK: Duration = Duration::from_millis(1);
/// What a busy machine may add to a stop; a model that is not stopped at all takes for ever.
const SLACK: Duration = Duration::from_secs(10);
/// What the corpus names when it speaks of the limit.
const MEMORY_BYTES: u64 = 64 << 20;

/// What a file expects.
struct Expectation<'a> {
    /// A stable code, or `good`.
    code: &'a str,
    /// A part of the message.
    says: &'a str,
}

impl Expectation<'_> {
    fn of(text: &str) -> Expectation<'_> {
        let mut lines = text.lines();
        let code = lines.next().and_then(|line| line.strip_prefix(";; expect: "));
        let says = lines.next().and_then(|line| line.strip_prefix(";; says: "));
        Expectation {
            code: code.expect("the first line is `;; expect: CODE`"),
            says: says.unwrap_or_default(),
        }
    }
}

/// The text of the whole module. What a file does not define is supplied: the card, the memory, the three
/// exports, and `$sum`, the inference of [`Guest`]. `;; without: NAME` asks for less, `;; times N: TEXT`
/// stands for N times the text, with its number for `{i}`, and a file that writes its own `(module` may still
/// have `(@card)`.
fn whole(text: &str) -> String {
    let mut fields = String::new();
    for line in text.lines() {
        match line.strip_prefix(";; times ").and_then(|rest| rest.split_once(": ")) {
            Some((times, repeated)) => {
                for i in 0..times.parse::<u32>().unwrap() {
                    fields.push_str(&repeated.replace("{i}", &i.to_string()));
                }
            }
            None if line.starts_with(";;") => {}
            None => fields.push_str(line),
        }
        fields.push('\n');
    }
    let card = CARD.replace('"', "\\\"").replace('\n', " ");
    let card = format!("(@custom \"dunlin.card\" (before first) \"{card}\")");
    if fields.contains("(module") {
        return fields.replace("(@card)", &card);
    }
    let sum = Guest::default().infer;
    let parts = [
        ("dunlin.card", card),
        ("memory", r#"(memory (export "memory") 1)"#.into()),
        (
            "dunlin_input",
            r#"(func (export "dunlin_input") (param i32) (result i32) (i32.const 1024))"#.into(),
        ),
        (
            "dunlin_output",
            r#"(func (export "dunlin_output") (param i32) (result i32) (i32.const 2048))"#.into(),
        ),
        ("$sum", format!("(func $sum (param $n i32) (result i32) {sum})")),
        ("dunlin_infer", r#"(export "dunlin_infer" (func $sum))"#.into()),
    ];
    for (name, part) in parts {
        let written = fields.contains(&format!("{name:?}"));
        if !written && !text.contains(&format!(";; without: {name}")) {
            fields.push_str(&part);
        }
    }
    format!("(module {fields})")
}

/// How a module ended.
struct Ending {
    /// Of its error, or `good`.
    code: &'static str,
    message: String,
    /// The time of the step in which it ended.
    took: Duration,
}

/// The way of a model from its bytes to a second answer, with everything that a caller does.
fn live(engine: &Engine, wasm: Vec<u8>, deadline: Duration) -> Ending {
    macro_rules! step {
        ($step:expr) => {{
            let start = Instant::now();
            match $step {
                Ok(value) => value,
                Err(error) => {
                    let (code, message, took) = (error.code().id, error.to_string(), start.elapsed());
                    return Ending { code, message, took };
                }
            }
        }};
    }
    let limits = Limits { deadline, memory_bytes: MEMORY_BYTES, ..Limits::default() };
    let terms = Admission { limits, imports: vec![Import::Log, Import::Metric], card_digest: None };
    let admitted = step!(admit(VerifiedArtifact::trust_local(wasm), &terms));
    let model = step!(engine.compile(admitted));
    let mut instance = step!(model.instantiate());
    for _ in 0..2 {
        step!(instance.input_mut(0))[..16].copy_from_slice(&bytes_of(&[1.0, 2.0, 3.0, 4.0]));
        step!(instance.infer(1));
        step!(validate_output(&instance.card().outputs[0], true, None, step!(instance.output(0, 1))));
        assert_eq!(instance.output(0, 1).unwrap(), bytes_of(&[10.0]), "it answers wrong");
        step!(instance.reset());
    }
    Ending { code: "good", message: String::new(), took: Duration::ZERO }
}

/// A good model beside the others: its answer is right, whatever they did.
fn assert_answers(neighbour: &mut Instance, after: &str) {
    neighbour.input_mut(0).unwrap()[..16].copy_from_slice(&bytes_of(&[4.0, 5.0, 6.0, 7.0]));
    neighbour.infer(1).unwrap_or_else(|error| panic!("after {after}: {error}"));
    assert_eq!(neighbour.output(0, 1).unwrap(), bytes_of(&[22.0]), "after {after}");
}

/// How late the stop of a model came that ran away, or how the module ended otherwise than it says.
fn judge(engine: &Engine, text: &str) -> Result<Option<Duration>, String> {
    let expected = Expectation::of(text);
    let runs_away = expected.code == "model-deadline";
    let deadline = if runs_away { SHORT } else { Limits::default().deadline };
    let wasm = wat::parse_str(whole(text))
        .map_err(|error| error.to_string().chars().take(300).collect::<String>())?;
    let Ending { code, message, took } = live(engine, wasm, deadline);
    if code != expected.code || !message.contains(expected.says) {
        return Err(format!("{code}, expected was {} {:?}: {message}", expected.code, expected.says));
    }
    if runs_away && !(deadline..=deadline + 2 * TICK + SLACK).contains(&took) {
        return Err(format!("stopped after {took:?}, its deadline is {deadline:?}"));
    }
    Ok(runs_away.then(|| took.saturating_sub(deadline)))
}

/// On a thread with no more stack than is promised to suffice.
#[test]
fn every_module_of_the_corpus_ends_as_it_says() {
    let walk = std::thread::Builder::new().stack_size(NATIVE_STACK_BYTES).spawn(walk).unwrap();
    if let Err(panic) = walk.join() {
        std::panic::resume_unwind(panic);
    }
}

fn walk() {
    let engine = Engine::new(EngineConfig { tick: TICK, parallel_compilation: false }).unwrap();
    let good = engine.compile(Guest::default().admitted(&Admission::default()).unwrap()).unwrap();
    let mut neighbour = good.instantiate().unwrap();
    let (mut wrong, mut overruns) = (Vec::new(), Vec::new());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile/wat");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for path in &files {
        let name = path.file_stem().unwrap().to_string_lossy();
        let start = Instant::now();
        match judge(&engine, &std::fs::read_to_string(path).unwrap()) {
            Ok(overrun) => overruns.extend(overrun.map(|overrun| (overrun, name.to_string()))),
            Err(what) => wrong.push(format!("{name}: {what}")),
        }
        if start.elapsed() > Duration::from_secs(1) {
            println!("{name} took {:.1?}", start.elapsed());
        }
        assert_answers(&mut neighbour, &name);
        assert_answers(&mut good.instantiate().unwrap(), &name);
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), files.len(), wrong.join("\n"));
    overruns.sort();
    assert!(
        files.len() >= 100 && overruns.len() >= 20,
        "{} modules, {} ran away",
        files.len(),
        overruns.len()
    );
    println!("{} modules, of which {} ran away; stopped late by", files.len(), overruns.len());
    overruns.iter().for_each(|(overrun, name)| println!("  {overrun:>8.1?} {name}"));
}
