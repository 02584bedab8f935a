//! Every file of `tests/cases`: models that the compiler once translated wrong, or never finished.
//!
//! `tests/peers/fuzz.py` found most of them, made them small, and prints the line that adds one.

use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use dunlin_abi::Simd;

use crate::conformance::{Case, Verdict, engine, judge};

/// What a case may take at all SIMD levels together; most take milliseconds.
const LIMIT: Duration = Duration::from_secs(60);

fn stems() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let models = files.filter(|path| path.extension().is_some_and(|extension| extension == "onnx"));
    let mut stems: Vec<PathBuf> = models.map(|path| path.with_extension("")).collect();
    stems.sort();
    stems
}

fn name(stem: &Path) -> String {
    stem.file_name().unwrap().to_string_lossy().into_owned()
}

/// What is wrong with a case; nothing if it is right at every SIMD level.
fn failure(stem: &Path) -> Option<String> {
    let case = Case::read(stem).unwrap();
    let engine = engine();
    [Simd::Relaxed, Simd::Deterministic, Simd::None].into_iter().find_map(|simd| {
        let outcome = judge(&engine, &case, simd);
        let text = format!("{} at {simd:?}: {} {}", outcome.verdict.name(), outcome.code, outcome.detail);
        (outcome.verdict != Verdict::Pass).then_some(text)
    })
}

#[test]
fn every_case_is_right() {
    let mut failures = Vec::new();
    for stem in stems() {
        let (sender, receiver) = mpsc::channel();
        let of = stem.clone();
        // A thread of its own, so that a compilation without an end fails by name.
        std::thread::spawn(move || sender.send(failure(&of)));
        let found = match receiver.recv_timeout(LIMIT) {
            Ok(found) => found,
            Err(error) => Some(format!("no verdict after {LIMIT:?}: {error}")),
        };
        failures.extend(found.map(|text| format!("{}: {text}", name(&stem))));
    }
    assert!(failures.is_empty(), "{} of the cases fail:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn wrong_numbers_are_told() {
    let mut case =
        Case::read(&stems().into_iter().find(|stem| name(stem) == "resize_scales_3_5").unwrap()).unwrap();
    let output = case.outputs.values_mut().next().unwrap();
    *output.bytes.last_mut().unwrap() ^= 0x40;
    let outcome = judge(&engine(), &case, Simd::Relaxed);
    assert_eq!(outcome.verdict, Verdict::Wrong, "{}", outcome.detail);
}
