//! Where a module looks at the clock beside the engine's own checks, put into its code before it is compiled.
//!
//! Two kinds of code would otherwise run on past a deadline:
//!
//! - A module whose work is bounded has no checks in its loops. A call of more than [`POLL_EVERY`] operators
//!   looks at the clock about that often: outside of the loops that matter for speed, which are shorter.
//!   `place` finds where.
//! - One instruction can fill or copy the whole memory, in a second and more. Where its length is not a small
//!   constant it becomes a call of a function that goes in steps of [`CHUNK_BYTES`].
//!
//! A module has the same answers and the same traps as before; only memory may differ after an access outside
//! of it, which ends the instance anyway. Functions of its own keep their indices: what is added (`helpers`)
//! comes behind them. Where there is nothing to add, the module is compiled as it came.

mod helpers;
mod place;

use core::ops::Range;
use std::borrow::Cow;

use wasm_encoder::{CodeSection, Encode as _, Module, RawSection, SectionId};
use wasmparser::{
    FuncToValidate, FuncValidatorAllocations, FunctionBody, Operator, OperatorsReader, Parser, Payload,
    ValidPayload, Validator, ValidatorResources,
};

use self::helpers::Helpers;
use self::place::{Kind, Loop, Step};
use crate::inspect::{FEATURES, inspect};
use crate::shape;
use crate::work::{self, POLL_EVERY, Proof, Work};

/// Changes with what is added, so that machine code that lacks it is made again.
pub(crate) const VERSION: &[u8] = b"polls 1";

/// How much of memory is filled or copied between two looks at the clock.
const CHUNK_BYTES: u32 = 1 << 20;

/// The greatest constant length of a bulk operation that stays as it is in a module with checks: all that fit
/// into one function take some tenths of a second.
const SMALL_BYTES: u32 = 4096;

type Result<T> = core::result::Result<T, wasmparser::Error>;

/// The module as it is compiled.
///
/// # Errors
/// It is not valid, which admission excludes.
pub(crate) fn instrument<'a>(wasm: &'a [u8], work: &Work) -> Result<Cow<'a, [u8]>> {
    match additions(wasm, work)? {
        Some((bodies, helpers)) => Ok(Cow::Owned(splice(wasm, &bodies, &helpers)?)),
        None => Ok(Cow::Borrowed(wasm)),
    }
}

/// Where in a module a position of its compiled code lies, as a [`Frame`](crate::Frame) has it: the operator that was
/// executed, or the one that something was put in place or in front of. None for code that was added as a whole, and
/// for positions outside of code.
pub fn position_in_module(module: &[u8], position: usize) -> Option<usize> {
    let work = inspect(module).ok()?.work;
    let Some((bodies, helpers)) = additions(module, &work).ok()? else { return Some(position) };
    position_before(&bodies, &splice(module, &bodies, &helpers).ok()?, position)
}

/// Where a position of the spliced module was before.
fn position_before(bodies: &[Body], spliced: &[u8], position: usize) -> Option<usize> {
    let ranges = Parser::new(0).parse_all(spliced).filter_map(|payload| match payload {
        Ok(Payload::CodeSectionEntry(body)) => Some(body.range()),
        _ => None,
    });
    let (compiled, (body, edits)) = ranges.zip(bodies).find(|(range, _)| range.contains(&position))?;
    let (mut rest, mut from) = (position - compiled.start, body.start);
    for (place, added) in edits {
        let kept = place.start - from;
        if rest < kept {
            break;
        }
        if rest < kept + added.len() {
            return Some(place.start);
        }
        (rest, from) = (rest - kept - added.len(), place.end);
    }
    Some(from + rest)
}

/// How the calls of a module are stopped.
enum Watch {
    /// By the engine's checks in every loop and function.
    Checks,
    /// By polls, at places that follow from what each function does at most, from the first one of all on.
    Polls(Vec<u64>),
}

/// Bytes of the module that others take the place of.
type Edit = (Range<usize>, Vec<u8>);

/// The bytes of a function in the module, and its edits in their order.
type Body = (Range<usize>, Vec<Edit>);

/// What each function does at most; those of the host nothing, which a proven module does not call.
fn totals(wasm: &[u8]) -> Result<Vec<u64>> {
    let (mut bodies, mut imported) = (Vec::new(), 0);
    each_function(wasm, |place, function, body, allocations| {
        if bodies.is_empty() {
            imported = function.index;
        }
        debug_assert_eq!(place, bodies.len());
        let mut proof = None;
        let done = each_operator(function, body, allocations, |operator, _, values, locals| {
            proof.get_or_insert_with(|| Proof::new(locals)).operator(operator, values);
        })?;
        bodies.push(proof.unwrap_or_else(|| Proof::new(0)).finish());
        Ok(done)
    })?;
    let mut totals = vec![0; imported as usize];
    totals.extend(work::totals(&bodies, imported).unwrap_or_default());
    Ok(totals)
}

/// What is added to each function that the module defines, and the functions that are added; none where there is
/// nothing to add.
fn additions(wasm: &[u8], work: &Work) -> Result<Option<(Vec<Body>, Helpers)>> {
    let watch = match work {
        Work::Unbounded { .. } => Watch::Checks,
        Work::Bounded { operators } if *operators > POLL_EVERY => Watch::Polls(totals(wasm)?),
        Work::Bounded { .. } => return Ok(None),
    };
    watched(wasm, &watch)
}

fn watched(wasm: &[u8], watch: &Watch) -> Result<Option<(Vec<Body>, Helpers)>> {
    let (mut helpers, mut bodies, mut is_changed) = (None, Vec::new(), false);
    let functions = count_functions(wasm)?;
    each_function(wasm, |_, function, body, allocations| {
        let helpers =
            helpers.get_or_insert_with(|| Helpers::after(functions, matches!(watch, Watch::Polls(_))));
        let (range, index) = (body.range(), function.index as usize);
        let (edits, done) = match watch {
            Watch::Checks => checks(helpers, function, body, allocations)?,
            Watch::Polls(totals) if totals.get(index).is_some_and(|total| *total > POLL_EVERY) => {
                polls(helpers, totals, function, body, allocations)?
            }
            Watch::Polls(_) => (Vec::new(), allocations),
        };
        is_changed |= !edits.is_empty();
        bodies.push((range, edits));
        Ok(done)
    })?;
    Ok(helpers.filter(|_| is_changed).map(|helpers| (bodies, helpers)))
}

/// Functions of the module, those of the host included.
fn count_functions(wasm: &[u8]) -> Result<u32> {
    let mut functions = 0;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            // A model imports functions only.
            Payload::ImportSection(section) => {
                functions += u32::try_from(section.into_imports().count()).unwrap_or(u32::MAX);
            }
            Payload::FunctionSection(section) => functions += section.count(),
            Payload::CodeSectionStart { .. } => break,
            _ => {}
        }
    }
    Ok(functions)
}

/// Edits of a function that has the engine's checks.
fn checks(
    helpers: &Helpers,
    function: FuncToValidate<ValidatorResources>,
    body: &FunctionBody<'_>,
    allocations: FuncValidatorAllocations,
) -> Result<(Vec<Edit>, FuncValidatorAllocations)> {
    let (mut edits, mut last) = (Vec::new(), None);
    let done = each_operator(function, body, allocations, |operator, range, _, _| {
        let is_small = last.is_some_and(|bytes| bytes <= SMALL_BYTES);
        match operator {
            Operator::MemoryFill { .. } if !is_small => edits.push((range, helpers.fill())),
            Operator::MemoryCopy { .. } if !is_small => edits.push((range, helpers.copy())),
            // Segments and tables are bounded; not so how many of these stand in a row.
            Operator::MemoryInit { .. }
            | Operator::TableInit { .. }
            | Operator::TableCopy { .. }
            | Operator::TableFill { .. } => edits.push((range.start..range.start, helpers.poll())),
            _ => {}
        }
        last = match operator {
            Operator::I32Const { value } => Some(value.cast_unsigned()),
            _ => None,
        };
    })?;
    Ok((edits, done))
}

/// Edits of a function that is proven.
fn polls(
    helpers: &Helpers,
    totals: &[u64],
    function: FuncToValidate<ValidatorResources>,
    body: &FunctionBody<'_>,
    allocations: FuncValidatorAllocations,
) -> Result<(Vec<Edit>, FuncValidatorAllocations)> {
    let total = |index: u32| totals.get(index as usize).copied().unwrap_or(u64::MAX);
    let (mut steps, mut open, mut proof) = (Vec::new(), Vec::new(), None);
    let done = each_operator(function, body, allocations, |operator, range, values, locals| {
        let proof = proof.get_or_insert_with(|| Proof::new(locals));
        proof.operator(operator, values);
        let kind = match operator {
            Operator::Block { .. } => Kind::Block,
            Operator::If { .. } => Kind::If,
            Operator::Else => Kind::Else,
            Operator::End => Kind::End,
            // What it costs is known at its end.
            Operator::Loop { .. } => Kind::Loop(Loop { counter: 0, trip: 0, trips: 0 }),
            Operator::Br { relative_depth } => Kind::Branch { to: vec![*relative_depth], goes_on: false },
            Operator::BrIf { relative_depth } => Kind::Branch { to: vec![*relative_depth], goes_on: true },
            Operator::BrTable { targets } => {
                let others = targets.targets().filter_map(core::result::Result::ok);
                Kind::Branch { to: others.chain([targets.default()]).collect(), goes_on: false }
            }
            Operator::Return | Operator::Unreachable => Kind::Exit,
            Operator::Call { function_index } => Kind::Call { total: total(*function_index) },
            Operator::MemoryFill { .. } => Kind::Bulk(helpers.fill()),
            Operator::MemoryCopy { .. } => Kind::Bulk(helpers.copy()),
            _ => Kind::Plain,
        };
        match kind {
            Kind::Block | Kind::If | Kind::Loop(_) => open.push(steps.len()),
            Kind::End => {
                let begin = open.pop().and_then(|begin: usize| steps.get_mut(begin));
                if let (Some(Step { kind: Kind::Loop(found), .. }), Some(left)) = (begin, proof.left()) {
                    let (counter, trip) = (left.counter.unwrap_or(0), left.body.cost(total));
                    *found = Loop { counter, trip, trips: left.trips };
                }
            }
            _ => {}
        }
        steps.push(Step { range, cost: proof.spent(), kind });
    })?;
    Ok((place::place(&steps, POLL_EVERY, helpers), done))
}

/// Calls `visit` with every function that the module defines, its place among them, and what the validator
/// needs for it, which it gives back.
fn each_function<'a>(
    wasm: &'a [u8],
    mut visit: impl FnMut(
        usize,
        FuncToValidate<ValidatorResources>,
        &FunctionBody<'a>,
        FuncValidatorAllocations,
    ) -> Result<FuncValidatorAllocations>,
) -> Result<()> {
    let mut validator = Validator::new_with_features(FEATURES);
    let (mut allocations, mut place) = (FuncValidatorAllocations::default(), 0);
    for payload in Parser::new(0).parse_all(wasm) {
        if let ValidPayload::Func(function, body) = validator.payload(&payload?)? {
            allocations = visit(place, function, &body, allocations)?;
            place += 1;
        }
    }
    Ok(())
}

/// Calls `visit` with every operator of a function: it, its bytes, the values that it takes and gives if it is
/// control, and the function's parameters and locals.
fn each_operator(
    function: FuncToValidate<ValidatorResources>,
    body: &FunctionBody<'_>,
    allocations: FuncValidatorAllocations,
    mut visit: impl FnMut(&Operator<'_>, Range<usize>, u64, u32),
) -> Result<FuncValidatorAllocations> {
    let mut validator = function.into_validator(allocations);
    let mut reader = body.get_binary_reader();
    validator.read_locals(&mut reader)?;
    let locals = validator.len_locals();
    let mut operators = OperatorsReader::new(reader);
    while !operators.eof() {
        let (operator, start) = operators.read_with_offset()?;
        let values = shape::values(&operator, &validator);
        validator.op(start, &operator)?;
        visit(&operator, start..operators.original_position(), values, locals);
    }
    Ok(validator.into_allocations())
}

/// The module with the edited bodies and the helpers.
fn splice(wasm: &[u8], bodies: &[Body], helpers: &Helpers) -> Result<Vec<u8>> {
    let slice = |range: Range<usize>| wasm.get(range).unwrap_or_default();
    let mut code = CodeSection::new();
    for (range, edits) in bodies {
        let (mut body, mut from) = (Vec::with_capacity(range.len()), range.start);
        for (place, bytes) in edits {
            body.extend_from_slice(slice(from..place.start));
            body.extend_from_slice(bytes);
            from = place.end;
        }
        body.extend_from_slice(slice(from..range.end));
        code.raw(&body);
    }
    let (mut module, mut types) = (Module::new(), 0);
    for payload in Parser::new(0).parse_all(wasm) {
        let payload = payload?;
        match &payload {
            Payload::TypeSection(section) => {
                types = section.count();
                let data = lengthened(slice(section.range()), types, &helpers::types());
                module.section(&RawSection { id: SectionId::Type.into(), data: &data });
            }
            Payload::FunctionSection(section) => {
                let data = lengthened(slice(section.range()), section.count(), &helpers::declarations(types));
                module.section(&RawSection { id: SectionId::Function.into(), data: &data });
            }
            Payload::CodeSectionStart { .. } => {
                helpers.define(&mut code);
                module.section(&code);
            }
            other => {
                if let Some((id, range)) = other.as_section() {
                    module.section(&RawSection { id, data: slice(range) });
                }
            }
        }
    }
    module.section(&helpers.names());
    Ok(module.finish())
}

/// A section of `count` entries with more of them behind.
fn lengthened(section: &[u8], count: u32, more: &[Vec<u8>]) -> Vec<u8> {
    let mut data = Vec::with_capacity(section.len() + 32);
    let added = u32::try_from(more.len()).unwrap_or(u32::MAX);
    count.saturating_add(added).encode(&mut data);
    data.extend_from_slice(section.get(encoded_length(section)..).unwrap_or_default());
    more.iter().for_each(|entry| data.extend_from_slice(entry));
    data
}

/// The bytes of the number that a section begins with, which may be encoded longer than need be.
fn encoded_length(section: &[u8]) -> usize {
    section.iter().position(|byte| byte & 0x80 == 0).map_or(section.len(), |last| last + 1)
}

#[cfg(test)]
mod tests;
