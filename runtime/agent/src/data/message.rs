//! What goes into the data plane and what comes out: plain data, and nothing that is shared.
//!
//! No message holds a lock or a reference to anything of the caller's. Tensors are little-endian, row-major, without gaps.

use std::collections::BTreeMap;
use std::fs::File;

use dunlin_abi::{Card, DType};
use dunlin_core::Digest;
use dunlin_core::code::{self, Code, Coded};
use dunlin_core::document::Release;
use dunlin_core::drift::{Counts, DriftVerdict};
use dunlin_core::health::{Counters, Latency, MetricSummary};
use dunlin_core::id::ModelName;
use dunlin_sandbox::{Facts, LogLine};
use serde::{Deserialize, Serialize};

use super::sequence::{Sequence, SequenceError};

/// The most samples of one request to a stateless model; they run in slices of `max_batch`.
/// A model whose `max_batch` is greater takes that many.
pub const MAX_REQUEST_SAMPLES: u32 = 1024;

/// A release to load beside what runs: its machine code, and the terms on which it runs.
#[derive(Debug)]
pub struct Load {
    /// The model that it is a release of.
    pub model: ModelName,
    /// The digest of the release's body: its identity from here on.
    pub release: Digest,
    /// The signed words.
    pub document: Release,
    /// What is known of the module, and the limits that hold for it here.
    pub facts: Facts,
    /// The machine code, in a file that nobody can change.
    pub code: File,
    /// Golden vectors that it gave the right answers to when the code was made.
    pub golden_vectors: u32,
    /// Time that making the code took, in microseconds.
    pub compile_us: u64,
    /// The drift baseline (the attachment's bytes, already checked against their digest).
    pub baseline: Option<Vec<u8>>,
}

/// A release that was admitted, compiled, proven on its golden vectors and loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// Time to compile, in microseconds.
    pub compile_us: u64,
    /// Time to make an instance and initialise it, in microseconds.
    pub instantiate_us: u64,
    /// Golden vectors that were run, all with the right answer.
    pub golden_vectors: u32,
    /// Linear memory of its instances together, in bytes.
    pub memory_bytes: u64,
}

/// A tensor with its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// The name in the card.
    pub name: String,
    /// The element type.
    pub dtype: DType,
    /// The extents, outermost first; the batch axis is one of them.
    pub shape: Vec<u32>,
    /// The elements.
    pub bytes: Vec<u8>,
}

/// One request: every input of the model, in any order.
#[derive(Clone, Debug)]
pub struct Infer {
    /// The model.
    pub model: ModelName,
    /// Its inputs.
    pub inputs: Vec<Tensor>,
    /// Its place in a stream, which a model of state `stream` needs and another refuses.
    pub sequence: Option<Sequence>,
}

/// The answer to an [`Infer`].
#[derive(Clone, Debug, PartialEq)]
pub struct Inferred {
    /// The release that answered.
    pub release: Digest,
    /// What people call it.
    pub version: String,
    /// The outputs, in the card's order.
    pub outputs: Vec<Tensor>,
    /// Time that the request waited for the model, in microseconds.
    pub queued_us: u64,
    /// Time of the call or calls, in microseconds.
    pub called_us: u64,
}

/// What a model that serves says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// The model.
    pub model: ModelName,
    /// The release that serves, by the digest of its body.
    pub release: Digest,
    /// What people call it.
    pub version: String,
    /// The sha256 of the module.
    pub artifact: Digest,
    /// The card: inputs, outputs, batch and state.
    pub card: Card,
    /// The most samples that one request may hold.
    pub max_samples: u32,
}

/// Whether an observed instance serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    /// Loaded, not switched to.
    Staged,
    /// It answers requests.
    Active,
    /// It was switched away from or stopped and answers what it still has. It is observed until that is
    /// done, and once more after.
    Ended,
}

/// Whether an observation ends the interval that latency, drift counts and log lines are gathered over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Interval {
    /// Look only; the interval goes on.
    Peek,
    /// A report is being made: the next interval starts now.
    Take,
}

/// What the instances of one release have done together since it was loaded. Counters only grow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Observation {
    /// The model.
    pub model: ModelName,
    /// The release.
    pub release: Digest,
    /// The sha256 of the module.
    pub artifact: Digest,
    /// What people call it.
    pub version: String,
    /// Whether it serves.
    pub phase: Phase,
    /// What it answered, failed and rejected since it was loaded.
    pub counters: Counters,
    /// Times that an instance was made anew, or a stream lost, after a failure that could have left it damaged.
    pub restarts: u64,
    /// Latency of the calls that succeeded since the last [`Interval::Take`]; within 1 % of the truth.
    pub latency: Latency,
    /// Requests and their time, since it was loaded.
    pub requests: Requests,
    /// Linear memory of its instances together, in bytes.
    pub memory_bytes: u64,
    /// How far inputs and outputs are from the baseline, where the release has one.
    pub drift: Option<DriftObservation>,
    /// What the model reported under each name since the last [`Interval::Take`]; at most [`MAX_METRICS`] names.
    ///
    /// [`MAX_METRICS`]: dunlin_core::telemetry::MAX_METRICS
    pub metrics: BTreeMap<String, MetricSummary>,
    /// With [`Interval::Take`], what the model logged since the last one, oldest first, at most 64 lines.
    pub log: Vec<LogLine>,
    /// Lines and metric values beyond what is kept, since the model was loaded.
    pub unheard: u64,
}

/// Requests that reached a model, and the time that they took together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// Requests that were answered.
    pub answered: u64,
    /// Requests that failed by the model's fault.
    pub failed: u64,
    /// Calls of the model: more than one for a request of many samples.
    pub calls: u64,
    /// Time that requests waited for the model, in microseconds.
    pub queued_us: u64,
    /// What of it the failed ones waited.
    pub failed_queued_us: u64,
    /// Time of the answered requests in the model, in microseconds.
    pub answered_us: u64,
    /// Time of the failed requests in the model, in microseconds.
    pub failed_us: u64,
    /// When the last one came to its end, in milliseconds since 1970; 0 before the first.
    pub last_unix_ms: u64,
}

/// Drift of one instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DriftObservation {
    /// The baseline, by the digest of its file.
    pub baseline: Digest,
    /// What the window over the latest samples says.
    pub verdict: DriftVerdict,
    /// With [`Interval::Take`], what was counted since the last one.
    pub counts: Option<Counts>,
}

/// A model that is known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The model.
    pub model: ModelName,
    /// The release that serves, if one does.
    pub serves: Option<Digest>,
}

/// What the data plane says instead of what it was asked for.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DataError {
    /// No model of this name was ever prepared.
    #[error("no model is named {0:?}; GET /v2 lists those that are there")]
    UnknownModel(String),
    /// It is known and none of its releases serves.
    #[error("model {0} does not serve yet, or was stopped")]
    NotReady(ModelName),
    /// As many requests as may wait are waiting.
    #[error("model {model} has {waiting} requests waiting, the most; try again later")]
    Busy {
        /// The model.
        model: ModelName,
        /// The bound of its queue.
        waiting: usize,
    },
    /// The release was not prepared, or was discarded.
    #[error("release {} of {model} is not loaded: prepare it first", release.short())]
    NotPrepared {
        /// The model.
        model: ModelName,
        /// The release.
        release: Digest,
    },
    /// The card differs from what was signed.
    #[error("the module is not what was signed: {0}")]
    Contract(String),
    /// The request does not fit the model. Not the model's fault.
    #[error(transparent)]
    Input(#[from] super::input::InputError),
    /// The request's place in a stream makes no sense. Not the model's fault.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// The sandbox refused the module or the call failed, with the sandbox's code.
    #[error("{message}")]
    Model {
        /// What went wrong.
        code: Code,
        /// What was wanted and what came.
        message: String,
    },
    /// The data plane, or a thread of it, has ended or cannot be started.
    #[error("the data plane does not answer: {0}")]
    Ended(String),
}

impl Coded for DataError {
    fn code(&self) -> Code {
        match self {
            DataError::UnknownModel(_) => code::request::MODEL_UNKNOWN,
            DataError::NotReady(_) => code::request::MODEL_NOT_READY,
            DataError::Busy { .. } => code::request::MODEL_BUSY,
            DataError::NotPrepared { .. } => code::agent::NOT_PREPARED,
            DataError::Contract(_) => code::agent::CONTRACT_BROKEN,
            DataError::Input(error) => error.code(),
            DataError::Sequence(error) => error.code(),
            DataError::Model { code, .. } => *code,
            DataError::Ended(_) => code::agent::DATA_PLANE_ENDED,
        }
    }
}

impl DataError {
    /// A failure that has a code of its own, as a message.
    pub(crate) fn model(error: &(impl Coded + std::fmt::Display)) -> DataError {
        DataError::Model { code: error.code(), message: error.to_string() }
    }
}
