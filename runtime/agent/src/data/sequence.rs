//! The words for streams: requests that a model of state `stream` remembers from one to the next.

use std::fmt;

use dunlin_core::code::{self, Code, Coded};

/// The longest name of a stream, in bytes.
pub const MAX_SEQUENCE_ID_BYTES: usize = 128;

/// What a caller calls a stream. The number 42 and the text "42" are two streams.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SequenceId {
    /// A number, not 0.
    Number(u64),
    /// A text, not empty.
    Text(String),
}

impl fmt::Display for SequenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SequenceId::Number(number) => write!(f, "{number}"),
            SequenceId::Text(text) => write!(f, "{text:?}"),
        }
    }
}

/// Where in which stream a request stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// The stream.
    pub id: SequenceId,
    /// The model shall remember nothing of what came before.
    pub start: bool,
    /// Nothing comes after.
    pub end: bool,
}

/// Why a stream is not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyLost {
    /// The release that serves has not seen its start.
    NotStarted,
    /// It came to its end.
    Ended,
    /// Nothing came for too long.
    Idle {
        /// How long that is.
        idle_ms: u64,
    },
    /// Its instance failed.
    Failed,
}

impl fmt::Display for WhyLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WhyLost::NotStarted => f.write_str(
                "the release that serves has not seen its start, and a switch of release ends every stream",
            ),
            WhyLost::Ended => f.write_str("an earlier request was its end"),
            WhyLost::Idle { idle_ms } => write!(f, "nothing came for {} s", idle_ms / 1000),
            WhyLost::Failed => f.write_str("the model failed in an earlier request"),
        }
    }
}

/// A request whose place in a stream makes no sense. Not the model's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SequenceError {
    /// A model with state, and no stream is named.
    #[error(
        "the model remembers one request in the next: name the stream by the parameter sequence_id, and set \
         sequence_start in its first request"
    )]
    Missing,
    /// A model without state, and a stream is named.
    #[error("the model remembers nothing from one request to the next: leave sequence_id out")]
    Stateless,
    /// The stream is not open.
    #[error("stream {id} is not open: {why}; begin it anew with sequence_start")]
    Lost {
        /// The stream.
        id: SequenceId,
        /// Why not.
        why: WhyLost,
    },
    /// As many streams as may be open are open.
    #[error("the model has {most} streams open, the most; end one with sequence_end, or try again later")]
    Full {
        /// The bound.
        most: usize,
    },
}

impl Coded for SequenceError {
    fn code(&self) -> Code {
        match self {
            SequenceError::Missing => code::request::SEQUENCE_MISSING,
            SequenceError::Stateless => code::request::SEQUENCE_STATELESS,
            SequenceError::Lost { .. } => code::request::SEQUENCE_LOST,
            SequenceError::Full { .. } => code::request::SEQUENCES_FULL,
        }
    }
}
