//! Making a release: a module, with what a device must know to judge and run it, is signed.

use std::collections::BTreeMap;

use dunlin_abi::{Card, TensorSpec};
use dunlin_core::Digest;
use dunlin_core::chunk::{self, DescribeError};
use dunlin_core::code::{self, Code, Coded};
use dunlin_core::document::{
    self, Attachment, AttachmentKind, Blob, Compat, Contract, DocumentError, Lineage, Probation, Release,
    SCHEMA,
};
use dunlin_core::drift::{Baseline, BaselineError, DEFAULT_BINS};
use dunlin_core::golden::{DEFAULT_TOLERANCE, Golden, GoldenError, GoldenMismatch, GoldenVector};
use dunlin_core::id::ModelName;
use dunlin_sandbox::Summary;

use crate::folder::{Fleet, FolderError};
use crate::run::{RunError, Runner};
use crate::tensor::Tensor;

/// A new release counts as proven after this many inferences without a fault.
const PROBATION_INFERENCES: u32 = 100;

/// Or after this long with fewer of them, in seconds.
const PROBATION_S: u32 = 600;

/// It is taken back after this many failures.
const PROBATION_FAILURES: u32 = 3;

/// The default deadline of a call, in microseconds.
const DEADLINE_US: u64 = 1_000_000;

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
    /// Now, in seconds since 1970.
    pub now_unix_s: u64,
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
    /// A golden file lacks an array, or has one too many.
    #[error("the golden file {0}")]
    GoldenFile(String),
    /// The model gives other outputs than the golden ones.
    #[error("golden vector {vector}: {error}")]
    GoldenFailed {
        /// Which vector.
        vector: usize,
        /// What differs.
        error: GoldenMismatch,
    },
    /// The golden vectors cannot be packed.
    #[error(transparent)]
    Golden(#[from] GoldenError),
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
            ReleaseError::Run(error) => error.code(),
            ReleaseError::Columns { .. } | ReleaseError::NoRows | ReleaseError::GoldenFile(_) => {
                code::fleet::TENSOR_SHAPE
            }
            ReleaseError::GoldenFailed { .. } => code::fleet::GOLDEN_FAILED,
            ReleaseError::Golden(error) => error.code(),
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
    /// Checks a module the way a device will, attaches golden vectors and a baseline, signs the
    /// release and keeps everything in the folder.
    ///
    /// # Errors
    /// The module is not admitted, gives wrong golden outputs, or the version is taken: nothing is
    /// signed then.
    pub fn release(&self, request: ReleaseRequest) -> Result<Released, ReleaseError> {
        let summary = dunlin_sandbox::inspect(&request.module)?;
        let earlier = self.releases(&request.model)?;
        if let Some(taken) = earlier.iter().find(|release| release.version == request.version) {
            let (model, version) = (request.model, request.version);
            return Err(ReleaseError::Exists { model, version, counter: taken.counter });
        }
        let mut runner = Runner::load(request.module.clone())?;
        let mut attachments = Vec::new();
        let golden = request.golden.map(|arrays| golden_vectors(&mut runner, &arrays)).transpose()?;
        if let Some((bytes, _)) = &golden {
            attachments.push(Attachment { kind: AttachmentKind::Golden, blob: self.keep(bytes, &[])? });
        }
        let baseline = request.baseline.map(|rows| baseline_counts(&mut runner, &rows)).transpose()?;
        if let Some((bytes, _)) = &baseline {
            attachments.push(Attachment { kind: AttachmentKind::Baseline, blob: self.keep(bytes, &[])? });
        }
        let release = Release {
            schema: SCHEMA,
            fleet: self.name().clone(),
            release_epoch: self.root().root().release_epoch,
            model: request.model,
            counter: earlier.last().map_or(0, |release| release.counter) + 1,
            version: request.version,
            issued_unix_s: request.now_unix_s,
            artifact: self.keep(&request.module, &restarts(&summary))?,
            card_digest: summary.card_digest,
            compat: compat(&summary.card),
            limits: limits(&summary, request.deadline_us),
            imports: summary.imports.clone(),
            contract: Contract::of_card(&summary.card),
            attachments,
            probation: Probation {
                min_inferences: PROBATION_INFERENCES,
                duration_s: PROBATION_S,
                max_failures: PROBATION_FAILURES,
            },
            lineage: request.lineage,
        };
        let envelope = self.sign(&release)?;
        self.store_release(&release, &envelope)?;
        let (_, digest) = document::to_body(&release)?;
        Ok(Released {
            release,
            digest,
            golden_vectors: golden.map_or(0, |(_, count)| count),
            baseline_rows: baseline.map_or(0, |(_, rows)| rows),
        })
    }

    /// Keeps a file and its chunk list, and tells how it travels.
    fn keep(&self, bytes: &[u8], restarts: &[usize]) -> Result<Blob, ReleaseError> {
        let described = match chunk::describe(bytes, restarts, chunk::DEFAULT_CHUNK_BYTES) {
            // Small chunks re-send less of what did not change; a large file needs large ones.
            Err(DescribeError::TooManyChunks(_)) => chunk::describe(bytes, restarts, chunk::MAX_CHUNK_BYTES),
            other => other,
        };
        let (blob, list) = described?;
        self.store_blob(bytes)?;
        if let Some(list) = list {
            self.store_blob(&list)?;
        }
        Ok(blob)
    }
}

/// Where the cuts start anew: at both ends of each large data segment.
fn restarts(summary: &Summary) -> Vec<usize> {
    summary.segments.iter().flat_map(|range| [range.start as usize, range.end as usize]).collect()
}

fn compat(card: &Card) -> Compat {
    // The first runtime of this ABI: raise it when a release needs what came later.
    Compat { abi: card.abi, min_runtime: semver::Version::new(0, 1, 0), simd: card.simd }
}

fn limits(summary: &Summary, deadline_us: Option<u64>) -> document::Limits {
    let local = crate::run::local_limits(summary);
    document::Limits {
        memory_bytes: summary.memory_max_bytes.unwrap_or(local.memory_bytes),
        table_elements: local.table_elements,
        stack_bytes: local.stack_bytes,
        deadline_us: deadline_us.unwrap_or(DEADLINE_US),
        log_lines_per_s: local.log_lines_per_s,
        metrics_per_s: local.metrics_per_s,
    }
}

/// Packs golden vectors after the model has given their outputs here.
fn golden_vectors(
    runner: &mut Runner,
    arrays: &BTreeMap<String, Tensor>,
) -> Result<(Vec<u8>, usize), ReleaseError> {
    let card = runner.card().clone();
    let array = |kind: &str, spec: &TensorSpec| {
        let key = format!("{kind}/{}", spec.name);
        arrays.get(&key).ok_or_else(|| ReleaseError::GoldenFile(format!("has no array {key:?}")))
    };
    for key in arrays.keys() {
        let known = |kind: &str, specs: &[TensorSpec]| {
            key.strip_prefix(kind).is_some_and(|name| specs.iter().any(|spec| spec.name == name))
        };
        if !(known("input/", &card.inputs)
            || known("output/", &card.outputs)
            || known("tolerance/", &card.outputs))
        {
            return Err(ReleaseError::GoldenFile(format!(
                "has the array {key:?}, which belongs to no tensor"
            )));
        }
    }
    let mut inputs = BTreeMap::new();
    for spec in &card.inputs {
        inputs.insert(spec.name.clone(), array("input", spec)?.clone());
    }
    let actual = runner.run(&inputs)?;
    let batched = card.inputs.iter().find(|spec| spec.is_batched());
    let vectors = batched.map_or(1, |spec| inputs[&spec.name].shape[0]) as usize;
    let mut expected = Vec::new();
    for (spec, (_, actual)) in card.outputs.iter().zip(&actual) {
        let given = array("output", spec)?;
        if given.shape != actual.shape {
            let (name, found, wanted) = (&spec.name, &given.shape, &actual.shape);
            return Err(ReleaseError::GoldenFile(format!(
                "has output {name:?} of shape {found:?}, not {wanted:?}"
            )));
        }
        let cast = given.cast(spec.dtype);
        expected.push(cast.map_err(|error| RunError::Value { name: spec.name.clone(), error })?);
    }
    let tolerance = |spec: &TensorSpec| {
        let given = arrays.get(&format!("tolerance/{}", spec.name));
        given.and_then(|tensor| tensor.to_f64().first().copied()).unwrap_or(DEFAULT_TOLERANCE)
    };
    let mut golden = Golden { tolerances: card.outputs.iter().map(tolerance).collect(), vectors: Vec::new() };
    let mut given = Vec::new();
    for spec in &card.inputs {
        let cast = inputs[&spec.name].cast(spec.dtype);
        given.push(cast.map_err(|error| RunError::Value { name: spec.name.clone(), error })?);
    }
    for vector in 0..vectors {
        let of = |tensors: &[Tensor], specs: &[TensorSpec]| -> Vec<Vec<u8>> {
            tensors.iter().zip(specs).map(|(tensor, spec)| sample(tensor, spec, vector)).collect()
        };
        let outputs = of(&expected, &card.outputs);
        for (index, ((spec, (_, tensor)), wanted)) in
            card.outputs.iter().zip(&actual).zip(&outputs).enumerate()
        {
            golden
                .compare(&card, index, wanted, &sample(tensor, spec, vector))
                .map_err(|error| ReleaseError::GoldenFailed { vector, error })?;
        }
        golden.vectors.push(GoldenVector { inputs: of(&given, &card.inputs), outputs });
    }
    Ok((golden.encode(&card)?, vectors))
}

/// The bytes of one sample of a tensor; all of one without a batch axis.
fn sample(tensor: &Tensor, spec: &TensorSpec, index: usize) -> Vec<u8> {
    match spec.is_batched() {
        true => tensor.rows(index as u64, index as u64 + 1).bytes,
        false => tensor.bytes.clone(),
    }
}

/// Runs the model over rows of inputs and counts inputs and outputs.
fn baseline_counts(runner: &mut Runner, rows: &Tensor) -> Result<(Vec<u8>, u64), ReleaseError> {
    let card = runner.card().clone();
    let count = rows.shape.first().copied().unwrap_or(0);
    if rows.shape.len() < 2 || count == 0 {
        return Err(ReleaseError::NoRows);
    }
    let columns: u64 = rows.shape[1..].iter().product();
    let sizes: Vec<u64> =
        card.inputs.iter().map(|spec| u64::from(spec.sample_elements().unwrap_or(0))).collect();
    let expected: u64 = sizes.iter().sum();
    if columns != expected {
        return Err(ReleaseError::Columns { columns, expected });
    }
    let values = rows.to_f64();
    let (mut given, mut answered) =
        (vec![Vec::new(); card.inputs.len()], vec![Vec::new(); card.outputs.len()]);
    for row in values.chunks_exact(columns as usize) {
        let (mut inputs, mut rest) = (BTreeMap::new(), row);
        for ((spec, size), column) in card.inputs.iter().zip(&sizes).zip(&mut given) {
            let (part, after) = rest.split_at(*size as usize);
            rest = after;
            inputs.insert(spec.name.clone(), sample_tensor(spec, part));
            column.push(part.to_vec());
        }
        for ((_, tensor), column) in runner.run(&inputs)?.iter().zip(&mut answered) {
            column.push(tensor.to_f64());
        }
    }
    let baseline = Baseline::build(&card, &given, &answered, DEFAULT_BINS)?;
    Ok((baseline.encode(), count))
}

fn sample_tensor(spec: &TensorSpec, values: &[f64]) -> Tensor {
    let shape = spec.shape.iter().map(|dim| match dim {
        dunlin_abi::Dim::Batch => 1,
        dunlin_abi::Dim::Fixed(extent) | dunlin_abi::Dim::AtMost(extent) => u64::from(*extent),
    });
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor { dtype: dunlin_abi::DType::F64, shape: shape.collect(), bytes }
}
