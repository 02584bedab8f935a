//! Compiling a module that is no release, on a developer's machine: in the same child as on a device, within
//! the same bounds. A module that the compiler cannot deal with is an error there, too, and costs nothing else.

use std::time::Duration;

use dunlin_core::document::{Blob, Chunks, Compat, Contract, Limits, Lineage, Probation, Release, SCHEMA};
use dunlin_core::{Digest, VerifiedArtifact};
use dunlin_sandbox::{Admission, AdmittedModel, CompiledModel, Engine, admit};

use super::build::{self, CompileBounds, Prepare, Terms};
use super::children::Program;
use crate::data::{DataError, Policy, load_sealed};

/// A module that was compiled by a child.
#[derive(Debug)]
pub struct CompiledHere {
    /// The model, loaded by the engine.
    pub model: CompiledModel,
    /// The time that the compiler took.
    pub took: Duration,
}

/// Admits a local module, has it compiled by a child, and loads its machine code.
///
/// # Errors
/// It is refused, does not compile within the bounds, or there is no process to compile in.
pub fn compile_here(
    program: &Program,
    bounds: CompileBounds,
    engine: &Engine,
    artifact: VerifiedArtifact,
    admission: &Admission,
) -> Result<CompiledHere, DataError> {
    let admitted = admit(artifact.clone(), admission).map_err(|error| DataError::model(&error))?;
    let prepare = unsigned(&admitted, artifact)?;
    let Prepare { model, release, document, .. } = prepare.clone();
    let ended = |error: std::io::Error| DataError::Ended(format!("no process to compile in: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ended)?;
    let (built, code) = runtime.block_on(build::in_child(program, UNLIMITED, bounds, prepare))?;
    let terms = Terms { model, release, document, policy: UNLIMITED, baseline: None };
    let load = built.into_load(code, terms)?;
    let took = Duration::from_micros(load.compile_us);
    Ok(CompiledHere { model: load_sealed(engine, load.code, admitted.facts())?, took })
}

/// The admission's limits hold, no device's.
const UNLIMITED: Policy = Policy {
    memory_bytes: u64::MAX,
    deadline_us: u64::MAX,
    queue_requests: 1,
    instances: 1,
    streams: 1,
    stream_idle_ms: u64::MAX,
};

/// What the child asks for: the fields of a release without a signature, with the limits of the admission.
fn unsigned(admitted: &AdmittedModel, artifact: VerifiedArtifact) -> Result<Prepare, DataError> {
    let summary = admitted.summary();
    let limits = admitted.limits();
    let name =
        |error: &dyn std::fmt::Display| DataError::Ended(format!("no name for a local module: {error}"));
    let document = Release {
        schema: SCHEMA,
        fleet: "local".parse().map_err(|error| name(&error))?,
        release_epoch: 1,
        model: "local".parse().map_err(|error| name(&error))?,
        counter: 1,
        version: "local".into(),
        issued_unix_s: 0,
        artifact: Blob {
            digest: artifact.digest(),
            size_bytes: artifact.bytes().len() as u64,
            chunks: Chunks::Inline(Vec::new()),
        },
        card_digest: summary.card_digest,
        compat: Compat {
            abi: summary.card.abi,
            min_runtime: "0.0.0".parse().map_err(|error| name(&error))?,
            simd: summary.card.simd,
        },
        limits: Limits {
            memory_bytes: limits.memory_bytes,
            table_elements: limits.table_elements,
            stack_bytes: limits.stack_bytes,
            deadline_us: u64::try_from(limits.deadline.as_micros()).unwrap_or(u64::MAX),
            log_lines_per_s: limits.log_lines_per_s,
            metrics_per_s: limits.metrics_per_s,
        },
        imports: summary.imports.clone(),
        contract: Contract::of_card(&summary.card),
        attachments: Vec::new(),
        probation: Probation { min_inferences: 1, duration_s: 1, max_failures: 1 },
        lineage: Lineage::default(),
    };
    let (model, release) = (document.model.clone(), Digest::of(b"local"));
    Ok(Prepare { model, release, document, artifact, variant: None, golden: None, baseline: None })
}
