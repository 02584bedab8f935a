//! From a signed module to machine code, in a process that may die of it.
//!
//! Compiling hostile code can take any amount of memory and time, and golden vectors run a model that
//! nobody has tried on this device. Both happen in a child that is locked like the worker, has bounds on
//! memory and processor time, and ends with its one answer. Admission bounds what the compiler sees before
//! it sees it. Where others have compiled, their code is loaded and proven in such a child likewise.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dunlin_abi::{Card, CardError};
use dunlin_core::code::{self as codes, Coded as _};
use dunlin_core::document::Release;
use dunlin_core::id::ModelName;
use dunlin_core::precompiled::Head;
use dunlin_core::{Digest, VerifiedArtifact};
use dunlin_sandbox::{Admission, CompiledModel, Engine, EngineConfig, Facts, Limits, Work, admit};
use serde::{Deserialize, Serialize};

use super::channel::Channel;
use super::children::{self, Program};
use super::code::{self, Variant};
use super::isolation::{self, Bounds};
use super::sealed;
use crate::data::{DataError, Load, Policy, prove};

/// A release whose machine code is to be made.
#[derive(Clone, Debug)]
pub struct Prepare {
    /// The model that it is a release of.
    pub model: ModelName,
    /// The digest of the release's body: its identity from here on.
    pub release: Digest,
    /// The signed words.
    pub document: Release,
    /// The module.
    pub artifact: VerifiedArtifact,
    /// Its machine code, where this device does not compile: the attachment's bytes, which the role
    /// `precompiled` signed for.
    pub variant: Option<VerifiedArtifact>,
    /// The golden vectors (the attachment's bytes, already checked against their digest).
    pub golden: Option<Vec<u8>>,
    /// The drift baseline (likewise).
    pub baseline: Option<Vec<u8>>,
}

/// What is known of machine code, as the child tells and the cache keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Built {
    /// The card, in JSON.
    card: String,
    /// The operators of a call at most, where that is proven.
    operators: Option<u64>,
    /// What stands in the way of a proof, where it is not.
    unproven: String,
    /// Golden vectors that were run, all with the right answer.
    golden_vectors: u32,
    /// Time to compile, in microseconds.
    compile_us: u64,
}

impl Built {
    /// What goes to the worker. The child's words are held to the signed ones once more: it was locked, but
    /// it dealt with hostile code.
    ///
    /// # Errors
    /// It tells of another model than the release does.
    pub fn into_load(self, code: File, terms: Terms) -> Result<Load, DataError> {
        let Terms { model, release, document, policy, baseline } = terms;
        let card = Card::parse(self.card.as_bytes()).map_err(|error| bad_card(&error))?;
        check_identity(&model, &document, document.artifact.digest)?;
        if let Some(difference) = document.contract.difference(&card) {
            return Err(DataError::Contract(difference));
        }
        let work = match self.operators {
            Some(operators) => Work::Bounded { operators },
            None => Work::Unbounded { reason: self.unproven },
        };
        let limits = limits(&document, policy);
        let facts = Facts { artifact: document.artifact.digest, card, work, limits };
        let (golden_vectors, compile_us) = (self.golden_vectors, self.compile_us);
        Ok(Load { model, release, document, facts, code, golden_vectors, compile_us, baseline })
    }
}

/// What holds for a release on this device, beside its machine code.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The model that it is a release of.
    pub model: ModelName,
    /// The digest of the release's body.
    pub release: Digest,
    /// The signed words.
    pub document: Release,
    /// The device's own bounds.
    pub policy: Policy,
    /// The drift baseline.
    pub baseline: Option<Vec<u8>>,
}

/// Admits, compiles and proves a release in this process; with a variant, that is loaded and nothing compiled.
///
/// # Errors
/// It is refused, does not compile, or gives a wrong golden answer.
fn build(
    engine: &Engine,
    policy: Policy,
    prepare: &Prepare,
    variant: Option<Variant>,
) -> Result<(Built, CompiledModel), DataError> {
    let Prepare { model: name, document, artifact, golden, .. } = prepare;
    check_identity(name, document, artifact.digest())?;
    let admission = Admission {
        limits: limits(document, policy),
        imports: document.imports.clone(),
        card_digest: Some(document.card_digest),
    };
    let admitted = admit(artifact.clone(), &admission).map_err(|error| DataError::model(&error))?;
    if let Some(difference) = document.contract.difference(admitted.card()) {
        return Err(DataError::Contract(difference));
    }
    let started = Instant::now();
    let model = match variant {
        Some(variant) => variant.load(engine, &admitted)?,
        None => code::compile(engine, admitted)?,
    };
    let compile_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    let golden_vectors = match golden {
        Some(bytes) => prove(&model, bytes)?,
        None => 0,
    };
    let card = model.card().to_bytes().map_err(|error| bad_card(&error))?;
    let (operators, unproven) = match &model.facts().work {
        Work::Bounded { operators } => (Some(*operators), String::new()),
        Work::Unbounded { reason } => (None, reason.clone()),
    };
    let card = String::from_utf8_lossy(&card).into_owned();
    Ok((Built { card, operators, unproven, golden_vectors, compile_us }, model))
}

/// Makes everything of a release in this process, up to what a data plane loads: for tests, and where
/// nothing needs to be isolated.
///
/// # Errors
/// It is refused, does not compile, or gives a wrong golden answer; or there is no memory.
pub fn build_here(policy: Policy, prepare: Prepare) -> Result<Load, DataError> {
    let engine = Engine::new(EngineConfig::default()).map_err(|error| DataError::model(&error))?;
    let variant = prepare.variant.as_ref().map(Variant::of).transpose()?;
    let own = variant.as_ref().map(|variant| variant.code.try_clone()).transpose();
    let (built, model) = build(&engine, policy, &prepare, variant)?;
    let code = match own.map_err(|error| no_memory(&error))? {
        Some(code) => code,
        None => sealed::file("dunlin-code", &code::native(&model)?).map_err(|error| no_memory(&error))?,
    };
    let Prepare { model, release, document, baseline, .. } = prepare;
    built.into_load(code, Terms { model, release, document, policy, baseline })
}

/// The parts belong together.
fn check_identity(model: &ModelName, document: &Release, artifact: Digest) -> Result<(), DataError> {
    if document.model != *model {
        return Err(DataError::Contract(format!(
            "the release is of model {}, not of {model}",
            document.model
        )));
    }
    if document.artifact.digest != artifact {
        let signed = document.artifact.digest;
        return Err(DataError::Contract(format!("the artifact is {artifact}, the release signs {signed}")));
    }
    Ok(())
}

/// The limits of the release, tightened by the device's own.
fn limits(document: &Release, policy: Policy) -> Limits {
    let signed = &document.limits;
    Limits {
        memory_bytes: signed.memory_bytes.min(policy.memory_bytes),
        table_elements: signed.table_elements,
        stack_bytes: signed.stack_bytes,
        deadline: Duration::from_micros(signed.deadline_us.min(policy.deadline_us)),
        log_lines_per_s: signed.log_lines_per_s,
        metrics_per_s: signed.metrics_per_s,
    }
}

fn bad_card(error: &CardError) -> DataError {
    DataError::Model { code: codes::module::CARD_INVALID, message: error.to_string() }
}

fn no_memory(error: &std::io::Error) -> DataError {
    DataError::Ended(format!("no memory file: {error}"))
}

/// How much a child may take to compile and prove one release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileBounds {
    /// Memory beside what the release's limits grant the model, in bytes.
    pub memory_bytes: u64,
    /// Time, of a clock and of a processor.
    pub time: Duration,
}

impl CompileBounds {
    /// What devices have that do not say: 1 GiB and two minutes.
    pub const DEFAULT: CompileBounds =
        CompileBounds { memory_bytes: 1 << 30, time: Duration::from_secs(120) };
}

/// What the child is told, with descriptors for the artifact, for the code, and for golden vectors.
#[derive(Serialize, Deserialize)]
struct Order {
    model: ModelName,
    release: Digest,
    document: Box<Release>,
    policy: Policy,
    memory_bytes: u64,
    cpu_s: u64,
    /// The head of a variant, of which the code comes with it; without one, it is to be compiled.
    variant: Option<Head>,
}

#[derive(Serialize, Deserialize)]
enum Answer {
    Built(Built),
    Refused { code: String, message: String },
}

/// The longest message to the child, and from it, in bytes.
const MAX_MESSAGE_BYTES: usize = 1024 * 1024;

/// The longest file of machine code: an artifact at its bound, and its code.
const MAX_CODE_BYTES: u64 = 1 << 30;

/// The longest artifact, and the longest golden vectors.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// The stack for admission and the compiler.
const STACK_BYTES: usize = 8 * 1024 * 1024;

/// Has a release's machine code made by a child; gives it in a sealed file.
pub(super) async fn in_child(
    program: &Program,
    policy: Policy,
    bounds: CompileBounds,
    prepare: Prepare,
) -> Result<(Built, File), DataError> {
    let Prepare { model, release, document, artifact, variant, golden, baseline: _ } = prepare;
    let variant = variant.as_ref().map(Variant::of).transpose()?;
    let (head, made) = variant.map(|Variant { head, code }| (head, code)).unzip();
    // Control ends it by the clock; this is for the case that control is stopped itself.
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let cpu_s = bounds.time.as_secs().saturating_add(1).saturating_mul(cores);
    let memory_bytes =
        bounds.memory_bytes.saturating_add(document.limits.memory_bytes.min(policy.memory_bytes));
    let order =
        Order { model, release, document: Box::new(document), policy, memory_bytes, cpu_s, variant: head };
    let prepared = move || -> std::io::Result<_> {
        let artifact = sealed::file("dunlin-artifact", &artifact.into_bytes())?;
        let golden = golden.map(|bytes| sealed::file("dunlin-golden", &bytes)).transpose()?;
        Ok((artifact, golden, made.map_or_else(|| sealed::create("dunlin-code"), Ok)?))
    };
    let (artifact, golden, code) = prepared().map_err(|error| no_memory(&error))?;

    let failed = |error: std::io::Error| DataError::Ended(format!("no process to compile in: {error}"));
    let (channel, socket) = Channel::pair().map_err(failed)?;
    let mut child = program.start("compile-child", socket).map_err(failed)?;
    let last_words = tokio::spawn(children::relay("compile-child", child.stderr.take()));
    let channel = Arc::new(channel);
    let talk = {
        let (channel, code) = (channel.clone(), code.try_clone().map_err(failed)?);
        tokio::task::spawn_blocking(move || {
            let mut descriptors: Vec<BorrowedFd<'_>> = vec![artifact.as_fd(), code.as_fd()];
            descriptors.extend(golden.as_ref().map(|golden| golden.as_fd()));
            channel.send(&order, &descriptors)?;
            drop((artifact, golden, code));
            let answer = channel.receive(MAX_MESSAGE_BYTES)?;
            answer.map(|frame| frame.parse::<Answer>()).transpose()
        })
    };
    let answer = tokio::time::timeout(bounds.time, talk).await;
    let in_time = answer.is_ok();
    let answer = answer.ok().and_then(|joined| joined.ok()).and_then(Result::ok).flatten();
    if answer.is_none() && !in_time {
        // It may be gone already.
        let _ = child.start_kill();
    }
    let status = tokio::time::timeout(Duration::from_secs(5), child.wait()).await;
    drop(child);
    match answer {
        Some(Answer::Built(built)) => {
            if !sealed::is_sealed(&code) {
                sealed::seal(&code).map_err(failed)?;
            }
            Ok((built, code))
        }
        Some(Answer::Refused { code, message }) => {
            let code = codes::find(&code).unwrap_or(codes::module::COMPILE);
            Err(DataError::Model { code, message: children::readable(message.as_bytes()) })
        }
        None => {
            let ending = match status {
                // The release is not to blame: it is tried again later.
                Ok(Ok(status)) if in_time && children::was_ended_from_outside(status) => {
                    let ending = children::ending(status);
                    return Err(DataError::Ended(format!(
                        "the process that compiles was interrupted: {ending}"
                    )));
                }
                Ok(Ok(status)) => children::ending(status),
                Ok(Err(_)) | Err(_) => "it does not end".into(),
            };
            let words = last_words.await.unwrap_or_default();
            Err(died(in_time, bounds, memory_bytes, &ending, &words))
        }
    }
}

fn died(in_time: bool, bounds: CompileBounds, memory_bytes: u64, ending: &str, words: &str) -> DataError {
    let message = if in_time {
        let words = if words.is_empty() { String::new() } else { format!(": {words}") };
        format!(
            "the process that compiled and proved it died, within {memory_bytes} bytes of memory and {:?}: {ending}{words}",
            bounds.time
        )
    } else {
        format!("compiling and proving it took longer than {:?}", bounds.time)
    };
    DataError::Model { code: codes::module::COMPILE_LIMIT, message }
}

/// The child: one order, one answer.
pub(crate) fn main() -> std::io::Result<()> {
    let channel = Channel::inherited()?;
    let Some(frame) = channel.receive(MAX_MESSAGE_BYTES)? else { return Ok(()) };
    let order: Order = frame.parse()?;
    isolation::lock(Bounds {
        descriptors: 64,
        file_bytes: MAX_CODE_BYTES,
        memory_bytes: Some(order.memory_bytes),
        cpu_s: Some(order.cpu_s),
    });
    let mut files = frame.descriptors.into_iter().map(File::from);
    let missing = || std::io::Error::other("a descriptor is missing");
    let (artifact, code) = (files.next().ok_or_else(missing)?, files.next().ok_or_else(missing)?);
    let golden = files.next();
    let thread = std::thread::Builder::new().name("compile".into()).stack_size(STACK_BYTES);
    let work = thread.spawn(move || answer(order, &artifact, code, golden.as_ref()))?;
    let answer = work.join().map_err(|_| std::io::Error::other("the compiler panicked"))?;
    channel.send(&answer, &[])
}

fn answer(order: Order, artifact: &File, code: File, golden: Option<&File>) -> Answer {
    match try_build(order, artifact, code, golden) {
        Ok(built) => Answer::Built(built),
        Err(error) => Answer::Refused { code: error.code().id.to_string(), message: error.to_string() },
    }
}

fn try_build(
    order: Order,
    artifact: &File,
    mut code: File,
    golden: Option<&File>,
) -> Result<Built, DataError> {
    let read = |file: &File| sealed::read(file, MAX_FILE_BYTES).map_err(|error| no_memory(&error));
    let Order { model, release, document, policy, variant: head, .. } = order;
    let signed = &document.artifact;
    let artifact = VerifiedArtifact::rehash(read(artifact)?, signed.digest, signed.size_bytes)
        .map_err(|error| DataError::model(&error))?;
    let golden = golden.map(read).transpose()?;
    let engine = Engine::new(EngineConfig::default()).map_err(|error| DataError::model(&error))?;
    let document = *document;
    let prepare = Prepare { model, release, document, artifact, variant: None, golden, baseline: None };
    if let Some(head) = head {
        return Ok(build(&engine, policy, &prepare, Some(Variant { head, code }))?.0);
    }
    let (built, model) = build(&engine, policy, &prepare, None)?;
    drop(prepare);
    code.write_all(&code::native(&model)?).map_err(|error| no_memory(&error))?;
    Ok(built)
}
