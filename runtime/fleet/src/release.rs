//! Making a release: a module, with what a device must know to judge and run it, is signed.
//!
//! First everything is judged, then signed, then kept: blobs before the release that names them. What
//! fails before the end leaves no release behind. Between judging and signing, a person may look at what
//! [`difference`] says.

mod baseline;
pub mod difference;
pub mod loss;
mod provenance;
mod resign;

use std::collections::BTreeMap;
use std::time::Duration;

use dunlin_abi::Card;
use dunlin_core::Digest;
use dunlin_core::chunk::{self, DescribeError};
use dunlin_core::code::{self, Code, Coded};
use dunlin_core::document::{
    self, Attachment, AttachmentKind, Blob, Compat, Contract, DocumentError, Lineage, Probation, Release,
    RoleName, SCHEMA,
};
use dunlin_core::drift::BaselineError;
use dunlin_core::id::ModelName;
use dunlin_core::precompiled::{Head, Machine, PrecompiledError};
use dunlin_sandbox::Summary;

use self::loss::Loss;
use crate::folder::{Fleet, FolderError, exhausted};
use crate::golden::{self, GoldenFileError};
use crate::run::{DEADLINE_US, RunError, Runner, local_limits};
use crate::tensor::Tensor;

/// A new release counts as proven after this many inferences without a fault.
const PROBATION_INFERENCES: u32 = 100;

/// Or after this long with fewer of them, in seconds.
const PROBATION_S: u32 = 600;

/// It is taken back after this many failures.
const PROBATION_FAILURES: u32 = 3;

/// Memory that a module may add to what it starts with, where it does not say itself: 16 MiB.
const GROWTH_BYTES: u64 = 16 << 20;

/// What to release.
pub struct ReleaseRequest {
    /// The module.
    pub module: Vec<u8>,
    /// The model's name.
    pub model: ModelName,
    /// What people call the release.
    pub version: String,
    /// Rows of inputs to measure drift against, one sample a row, inputs side by side in the card's
    /// order. Only counts go into the release.
    pub baseline: Option<Tensor>,
    /// Golden vectors by name: `input/<name>`, `output/<name>` and, optionally, `tolerance/<name>`.
    pub golden: Option<BTreeMap<String, Tensor>>,
    /// The time of one call, in microseconds; a second if nothing is said.
    pub deadline_us: Option<u64>,
    /// Where it comes from.
    pub lineage: Lineage,
    /// An in-toto statement about the module, which travels with the release and is bound by it.
    pub provenance: Option<Vec<u8>>,
    /// Machine code for devices without a compiler: files that [`precompile`](crate::run::precompile) made.
    pub precompiled: Vec<Vec<u8>>,
    /// Now, in seconds since 1970.
    pub now_unix_s: u64,
}

/// A release that is checked and not signed yet.
#[derive(Debug)]
pub struct Draft {
    /// The release.
    pub release: Release,
    /// The newest release of the model so far.
    pub previous: Option<Release>,
    /// What the release before had for devices to check, and this one has not.
    pub losses: Vec<Loss>,
    /// How many golden vectors were checked and attached.
    pub golden_vectors: usize,
    /// How many rows the baseline counts.
    pub baseline_rows: u64,
    /// The module, its attachments and their chunk lists.
    files: Vec<Vec<u8>>,
}

/// What was signed.
#[derive(Debug)]
pub struct Released {
    /// The release.
    pub release: Release,
    /// The digest of its body: what deployments name.
    pub digest: Digest,
    /// How many golden vectors were checked and attached.
    pub golden_vectors: usize,
    /// How many rows the baseline counts.
    pub baseline_rows: u64,
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The folder stands in the way.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The version is taken.
    #[error("{model} {version} exists already, as counter {counter}; choose another version")]
    Exists {
        /// The model.
        model: ModelName,
        /// The version.
        version: String,
        /// The counter of the release that has it.
        counter: u64,
    },
    /// The version is none.
    #[error("{version:?} is no semantic version, as 1.2.0 is: {error}")]
    Version {
        /// What was given.
        version: String,
        /// What the parser says.
        error: semver::Error,
    },
    /// The module does not run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The rows do not belong to the model.
    #[error("the baseline has rows of {columns} numbers, the model's inputs take {expected} together")]
    Columns {
        /// Numbers a row.
        columns: u64,
        /// Elements of a sample of all inputs.
        expected: u64,
    },
    /// The baseline has no rows.
    #[error("the baseline has no rows, or is not a table of one sample a row")]
    NoRows,
    /// The model does not run on a row.
    #[error("row {row} of the baseline, counted from 0: {error}")]
    Row {
        /// Which.
        row: usize,
        /// What is wrong with it.
        error: RunError,
    },
    /// The golden vectors are not the model's, or it gives other outputs.
    #[error(transparent)]
    Golden(#[from] GoldenFileError),
    /// The statement is none, or about something else.
    #[error("the provenance file is no in-toto statement about this module: {0}")]
    Provenance(String),
    /// Machine code of another module or deadline, or no such file.
    #[error("precompiled variant {index}, counted from 0: {error}")]
    Precompiled {
        /// Which.
        index: usize,
        /// What is wrong with it.
        error: PrecompiledError,
    },
    /// Nobody may sign machine code.
    #[error(
        "the root does not use role {}: `dunlin root add-key precompiled NAME PUBLIC` lets somebody sign machine code",
        RoleName::Precompiled
    )]
    NoRole,
    /// The baseline cannot be made.
    #[error(transparent)]
    Baseline(#[from] BaselineError),
    /// A file has more chunks than a release can list.
    #[error(transparent)]
    Chunks(#[from] DescribeError),
    /// The release breaks a rule of its format.
    #[error(transparent)]
    Document(#[from] DocumentError),
}

impl Coded for ReleaseError {
    fn code(&self) -> Code {
        match self {
            ReleaseError::Folder(error) => error.code(),
            ReleaseError::Exists { .. } => code::fleet::RELEASE_EXISTS,
            ReleaseError::Version { .. } => code::fleet::VERSION_INVALID,
            ReleaseError::Run(error) | ReleaseError::Row { error, .. } => error.code(),
            ReleaseError::Columns { .. } | ReleaseError::NoRows => code::fleet::TENSOR_SHAPE,
            ReleaseError::Golden(error) => error.code(),
            ReleaseError::Provenance(_) => code::fleet::PROVENANCE,
            ReleaseError::Precompiled { error, .. } => error.code(),
            ReleaseError::NoRole => code::document::ROLE_UNUSED,
            ReleaseError::Baseline(error) => error.code(),
            ReleaseError::Chunks(error) => error.code(),
            ReleaseError::Document(error) => error.code(),
        }
    }
}

impl From<dunlin_sandbox::AdmissionError> for ReleaseError {
    fn from(error: dunlin_sandbox::AdmissionError) -> Self {
        ReleaseError::Run(error.into())
    }
}

impl Fleet {
    /// Drafts a release and signs it.
    ///
    /// # Errors
    /// As [`Fleet::draft_release`] and [`Fleet::sign_release`].
    pub fn release(&self, request: ReleaseRequest) -> Result<Released, ReleaseError> {
        self.sign_release(self.draft_release(request)?)
    }

    /// Checks a module the way a device will, and attaches golden vectors, a baseline and provenance.
    /// Nothing is signed or kept.
    ///
    /// # Errors
    /// The module is not admitted, gives wrong golden outputs, or the version is taken.
    pub fn draft_release(&self, request: ReleaseRequest) -> Result<Draft, ReleaseError> {
        if let Err(error) = semver::Version::parse(&request.version) {
            return Err(ReleaseError::Version { version: request.version, error });
        }
        let previous = self.releases(&request.model)?.pop().map(|release| Release::clone(&release));
        let summary = dunlin_sandbox::inspect(&request.module)?;
        let (artifact, mut files) = pack(request.module.clone(), &restarts(&summary))?;
        let deadline_us = request.deadline_us.unwrap_or(DEADLINE_US);
        let mut release = Release {
            schema: SCHEMA,
            fleet: self.name().clone(),
            release_epoch: self.root().root().release_epoch,
            counter: self.next_counter(&request.model, &request.version)?,
            model: request.model,
            version: request.version,
            issued_unix_s: request.now_unix_s,
            artifact,
            card_digest: summary.card_digest,
            compat: compat(&summary.card),
            limits: limits(&summary, deadline_us),
            imports: summary.imports.clone(),
            contract: Contract::of_card(&summary.card),
            attachments: Vec::new(),
            probation: Probation {
                min_inferences: PROBATION_INFERENCES,
                duration_s: PROBATION_S,
                max_failures: PROBATION_FAILURES,
            },
            lineage: request.lineage,
        };
        // What is wrong with its words is said before the model runs.
        document::to_body(&release)?;

        let mut runner = Runner::within(request.module, &summary, call_limits(&summary, deadline_us))?;
        let golden = request.golden.map(|arrays| golden::pack(&mut runner, &arrays)).transpose()?;
        let baseline = request.baseline.map(|rows| baseline::pack(&mut runner, &rows)).transpose()?;
        let (golden, golden_vectors) = golden.unzip();
        let (baseline, baseline_rows) = baseline.unzip();
        if let Some(statement) = &request.provenance {
            provenance::check(statement, release.artifact.digest)?;
            let digest = Digest::of(statement);
            if release.lineage.provenance_digest.is_some_and(|named| named != digest) {
                return Err(ReleaseError::Provenance(format!(
                    "it has the sha256 {digest}, another one is named"
                )));
            }
            release.lineage.provenance_digest = Some(digest);
        }
        let attachments = [
            (AttachmentKind::Golden, golden),
            (AttachmentKind::Baseline, baseline),
            (AttachmentKind::Provenance, request.provenance),
        ];
        if !request.precompiled.is_empty() && self.root().root().role(RoleName::Precompiled).is_none() {
            return Err(ReleaseError::NoRole);
        }
        let variants = request.precompiled.into_iter().enumerate().map(|(index, file)| {
            let kind = variant(&file, release.artifact.digest, runner.is_interruptible());
            Ok((kind.map_err(|error| ReleaseError::Precompiled { index, error })?, Some(file)))
        });
        let variants: Vec<_> = variants.collect::<Result<_, ReleaseError>>()?;
        for (kind, bytes) in attachments.into_iter().chain(variants) {
            let Some(bytes) = bytes else { continue };
            let (blob, more) = pack(bytes, &[])?;
            release.attachments.push(Attachment { kind, blob });
            files.extend(more);
        }

        // With all that is attached it may be too long.
        document::to_body(&release)?;
        Ok(Draft {
            losses: previous.as_ref().map(|previous| loss::losses(previous, &release)).unwrap_or_default(),
            release,
            previous,
            golden_vectors: golden_vectors.unwrap_or(0),
            baseline_rows: baseline_rows.unwrap_or(0),
            files,
        })
    }

    /// Signs a draft and keeps everything in the folder: the files first, since the release names them and
    /// may have to wait for signatures.
    ///
    /// # Errors
    /// A key or a file; the release is not kept then.
    pub fn sign_release(&self, draft: Draft) -> Result<Released, ReleaseError> {
        let signed = self.sign(&draft.release);
        if matches!(signed, Ok(_) | Err(FolderError::Unfinished { .. })) {
            draft.files.iter().try_for_each(|file| self.store_blob(file))?;
        }
        let signed = signed?;
        self.store_release(&signed)?;
        let Draft { release, golden_vectors, baseline_rows, .. } = draft;
        Ok(Released { release, digest: signed.digest(), golden_vectors, baseline_rows })
    }

    /// The counter of a model's next release.
    fn next_counter(&self, model: &ModelName, version: &str) -> Result<u64, ReleaseError> {
        let earlier = self.releases(model)?;
        if let Some(taken) = earlier.iter().find(|release| release.version == version) {
            let (model, version, counter) = (model.clone(), version.to_string(), taken.counter);
            return Err(ReleaseError::Exists { model, version, counter });
        }
        let last = earlier.last().map_or(0, |release| release.counter);
        Ok(last.checked_add(1).ok_or_else(|| exhausted::<Release>("counter", "the next release epoch"))?)
    }
}

/// What a precompiled variant is, if it is of this module, and has checks in its loops only where it needs them.
fn variant(file: &[u8], artifact: Digest, interruptible: bool) -> Result<AttachmentKind, PrecompiledError> {
    let (head, _) = Head::parse(file)?;
    let machine = Machine { target: head.target.clone(), wasmtime: head.wasmtime.clone() };
    head.expect(artifact, &machine, interruptible)?;
    Ok(AttachmentKind::Precompiled { target: machine.target, wasmtime: machine.wasmtime })
}

/// How a file travels, and what is to be kept for it: itself and, where it is long, its chunk list.
fn pack(bytes: Vec<u8>, restarts: &[usize]) -> Result<(Blob, Vec<Vec<u8>>), DescribeError> {
    let (blob, list) = match chunk::describe(&bytes, restarts, chunk::DEFAULT_CHUNK_BYTES) {
        // Small chunks re-send less of what did not change; a large file needs large ones.
        Err(DescribeError::TooManyChunks(_)) => chunk::describe(&bytes, restarts, chunk::MAX_CHUNK_BYTES)?,
        other => other?,
    };
    Ok((blob, [Some(bytes), list].into_iter().flatten().collect()))
}

/// Where the cuts start anew: at both ends of each large data segment.
fn restarts(summary: &Summary) -> Vec<usize> {
    summary.segments.iter().flat_map(|range| [range.start as usize, range.end as usize]).collect()
}

fn compat(card: &Card) -> Compat {
    // The first runtime of this ABI: raise it when a release needs what came later.
    Compat { abi: card.abi, min_runtime: semver::Version::new(0, 1, 0), simd: card.simd }
}

fn limits(summary: &Summary, deadline_us: u64) -> document::Limits {
    let local = local_limits(summary);
    document::Limits {
        memory_bytes: summary.memory_max_bytes.unwrap_or(summary.memory_min_bytes + GROWTH_BYTES),
        table_elements: local.table_elements,
        stack_bytes: local.stack_bytes,
        deadline_us,
        log_lines_per_s: local.log_lines_per_s,
        metrics_per_s: local.metrics_per_s,
    }
}

/// The same limits as the sandbox takes them, so that evidence is gathered as the device will.
fn call_limits(summary: &Summary, deadline_us: u64) -> dunlin_sandbox::Limits {
    let signed = limits(summary, deadline_us);
    dunlin_sandbox::Limits {
        memory_bytes: signed.memory_bytes,
        deadline: Duration::from_micros(signed.deadline_us),
        ..local_limits(summary)
    }
}

#[cfg(test)]
mod tests;
