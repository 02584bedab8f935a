//! Runs many models, each beside the numbers that it must give, and prints a JSON line for each.
//!
//! `conformance FOLDER [--only NAME] [--simd LEVEL]` takes every `NAME.onnx` of a folder, by name;
//! `conformance --stdin` takes a path without its extension from each line of standard input, and answers
//! each before it reads the next. LEVEL is `relaxed`, `deterministic`, `none` or `all`.
//!
//! Before a case it prints `{"start": NAME}`, so that the reader knows which one hangs or ends the
//! process. Then: `{"name", "verdict", "code", "detail"}` with the verdicts `pass`, `refused`, `wrong`, `fault`
//! and `trap` of `tests/compiler/conformance`. The exit code is 1 if anything is wrong, a fault or a trap.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, missing_docs, unreachable_pub)]

#[path = "../tests/compiler/conformance/mod.rs"]
mod conformance;
#[rustfmt::skip]
#[path = "../src/import/onnx.rs"]
mod onnx;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use conformance::{Case, Verdict};
use dunlin_abi::Simd;
use wasmtime::Engine;

const USAGE: &str =
    "usage: conformance (FOLDER [--only NAME] | --stdin) [--simd relaxed|deterministic|none|all]";

/// What the command line says.
struct Arguments {
    /// Nothing: names come from standard input.
    folder: Option<PathBuf>,
    only: Option<String>,
    levels: Vec<Simd>,
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments { folder: None, only: None, levels: vec![Simd::Relaxed] };
    let mut stdin = false;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--stdin" => stdin = true,
            "--only" => arguments.only = Some(words.next().ok_or("--only needs a name")?),
            "--simd" => {
                arguments.levels = match words.next().as_deref() {
                    Some("relaxed") => vec![Simd::Relaxed],
                    Some("deterministic") => vec![Simd::Deterministic],
                    Some("none") => vec![Simd::None],
                    Some("all") => vec![Simd::Relaxed, Simd::Deterministic, Simd::None],
                    other => return Err(format!("--simd {other:?} is no level")),
                }
            }
            flag if flag.starts_with("--") => return Err(format!("{flag} is no option")),
            folder => arguments.folder = Some(PathBuf::from(folder)),
        }
    }
    if stdin == arguments.folder.is_some() {
        return Err("expected either a folder or --stdin".to_string());
    }
    Ok(arguments)
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(reason) => {
            eprintln!("{reason}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    // The verdict has the place of a panic; nothing is printed between the lines.
    std::panic::set_hook(Box::new(|info| eprintln!("{info}")));
    let engine = conformance::engine();
    let mut all_right = true;
    let mut one = |stem: &Path| all_right &= run(&engine, stem, &arguments.levels);
    match &arguments.folder {
        Some(folder) => {
            let mut stems: Vec<PathBuf> = std::fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.extension().is_some_and(|extension| extension == "onnx"))
                .map(|path| path.with_extension(""))
                .filter(|stem| arguments.only.as_ref().is_none_or(|only| stem.ends_with(only)))
                .collect();
            stems.sort();
            stems.iter().for_each(|stem| one(stem));
        }
        None => std::io::stdin().lines().for_each(|line| one(Path::new(&line.unwrap()))),
    }
    if all_right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Judges one case at each level, until one is not right; whether all are.
fn run(engine: &Engine, stem: &Path, levels: &[Simd]) -> bool {
    let name = stem.file_name().unwrap_or_default().to_string_lossy();
    say(&serde_json::json!({ "start": name }));
    let (verdict, code, detail) = match Case::read(stem) {
        Err(reason) => (Verdict::Fault, "", format!("the case cannot be read: {reason}")),
        Ok(case) => {
            let outcomes = levels.iter().map(|level| (*level, conformance::judge(engine, &case, *level)));
            let mut last = None;
            for (level, outcome) in outcomes {
                let done = outcome.verdict != Verdict::Pass;
                last = Some((level, outcome));
                if done {
                    break;
                }
            }
            let (level, outcome) = last.unwrap();
            let detail = match outcome.verdict {
                Verdict::Pass | Verdict::Refused => outcome.detail,
                _ => format!("{:?} SIMD: {}", level, outcome.detail),
            };
            (outcome.verdict, outcome.code, detail)
        }
    };
    let verdict_name = verdict.name();
    say(&serde_json::json!({ "name": name, "verdict": verdict_name, "code": code, "detail": detail }));
    matches!(verdict, Verdict::Pass | Verdict::Refused)
}

fn say(line: &serde_json::Value) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}
