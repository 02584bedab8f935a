//! Where in its source a model trapped, and whether its stack in memory was too small.
//!
//! Compilers leave debug information (DWARF) in custom sections on request: `-g` of clang, `debug = true` in a profile
//! of cargo. It is read here, on the developer's machine, and never on a device.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use addr2line::Context;
use dunlin_core::code::Coded as _;
use dunlin_fleet::run::RunError;
use dunlin_sandbox::{CallError, Frame, inspect, position_in_module};
use gimli::{Dwarf, EndianSlice, LittleEndian, SectionId};
use wasmparser::{Parser, Payload};

use crate::failure::Failure;

/// A failed run, and what the module says about the place of its trap.
pub(crate) fn explained(error: &RunError, module: &[u8]) -> Failure {
    let mut message = error.to_string();
    if let Some(call) = call_error(error) {
        explain(&mut message, call, module);
    }
    Failure::new(error.code(), message)
}

fn call_error(error: &RunError) -> Option<&CallError> {
    match error {
        RunError::Call(error) => Some(error),
        RunError::Samples { error, .. } => Some(error),
        _ => None,
    }
}

/// Adds what is known of a trap to its message.
pub(crate) fn explain(message: &mut String, error: &CallError, module: &[u8]) {
    let frames = error.frames();
    if let Some(stack) = overflow(frames, module) {
        // A write to a text does not fail.
        let _ = write!(message, "; {stack}");
    }
    let lines: Vec<String> = lines(frames, module).unwrap_or_default();
    if !lines.is_empty() {
        let _ = write!(message, "; at {}", lines.join(", called from "));
    }
}

/// Whether the active functions need more of the shadow stack than there is.
fn overflow(frames: &[Frame], module: &[u8]) -> Option<String> {
    let stack = inspect(module).ok()?.shadow_stack?;
    let taken = stack.taken(frames);
    (stack.lies_first && taken > u64::from(stack.top)).then(|| {
        format!(
            "this is an overflow of its stack in memory: the active functions take {taken} bytes of it, and it has {}; \
             make large arrays static, or link with a larger -z stack-size and say so in the card",
            stack.top
        )
    })
}

/// The source lines of the active functions, with inlined ones, the innermost first.
fn lines(frames: &[Frame], module: &[u8]) -> Option<Vec<String>> {
    let (mut sections, mut code) = (BTreeMap::new(), None);
    let (mut imported, mut bodies) = (0, Vec::new());
    for payload in Parser::new(0).parse_all(module) {
        match payload.ok()? {
            Payload::CustomSection(custom) => drop(sections.insert(custom.name(), custom.data())),
            // No other kind of import is admitted.
            Payload::ImportSection(reader) => imported = reader.into_imports().count(),
            Payload::CodeSectionStart { range, .. } => code = Some(range.start),
            Payload::CodeSectionEntry(body) => bodies.push(body.range().start),
            _ => {}
        }
    }
    let section = |id: SectionId| -> Result<_, gimli::Error> {
        Ok(EndianSlice::new(sections.get(id.name()).copied().unwrap_or_default(), LittleEndian))
    };
    let context = Context::from_dwarf(Dwarf::load(section).ok()?).ok()?;
    let code = code?;
    let mut lines = Vec::new();
    for frame in frames {
        let Some(position) = frame.position.and_then(|at| position_in_module(module, at)) else {
            // The function at least.
            let body = (frame.function as usize).checked_sub(imported).and_then(|place| bodies.get(place));
            let address = body.and_then(|start| start.checked_sub(code));
            let found = address.and_then(|address| context.find_location(address as u64).ok().flatten());
            let text = found.and_then(|location| place(location.file, location.line));
            lines.extend(text.map(|text| format!("the function at {text}")));
            continue;
        };
        let Some(address) = position.checked_sub(code) else { continue };
        let mut inlined = context.find_frames(address as u64).skip_all_loads().ok()?;
        while let Ok(Some(found)) = inlined.next() {
            lines.extend(found.location.and_then(|location| place(location.file, location.line)));
        }
    }
    Some(lines)
}

/// `model.c:12`.
fn place(file: Option<&str>, line: Option<u32>) -> Option<String> {
    let line = line.map(|line| format!(":{line}")).unwrap_or_default();
    Some(format!("{}{line}", crate::show::plain(file?)))
}
