//! What goes into a transfer and what comes out: its configuration, events, actions and counters.

use alloc::vec::Vec;
use core::num::NonZeroU64;

use super::Bitmap;
use crate::digest::Digest;

/// How a transfer asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferConfig {
    /// The most chunks that are outstanding at a time, at least 1. Memory in flight is this times the
    /// longest chunk.
    pub window: usize,
    /// How long a chunk may take before it is asked for again, in milliseconds. The time doubles with every
    /// vain attempt, and starts anew (`window` times at most) when another chunk comes, since on a slow
    /// link chunks come one after another.
    pub chunk_timeout_ms: u64,
    /// How long a chunk rests after the first vain attempt, in milliseconds; it doubles with every further one.
    pub retry_base_ms: u64,
    /// The longest time-out and the longest rest, in milliseconds.
    pub retry_max_ms: u64,
    /// Every so many vain attempts at a chunk are reported, at least 1.
    pub report_every: u32,
    /// The most that is asked for, in bytes a second on average; `None` asks as fast as chunks come.
    pub max_bytes_per_s: Option<NonZeroU64>,
    /// Less than this in [`SLOW_WINDOW_MS`] is reported, in bytes a second. Where the transfer is held back
    /// by `max_bytes_per_s`, half of that counts if it is less. 0 reports nothing.
    pub slow_bytes_per_s: u64,
}

/// How long a transfer may be slow before it is reported, in milliseconds: ten minutes.
pub const SLOW_WINDOW_MS: u64 = 600_000;

impl Default for TransferConfig {
    /// 8 outstanding, 10 s for a chunk, rests from 1 s to 5 min, every third vain attempt reported, no bound on
    /// the rate, slow below 1 KiB/s.
    fn default() -> TransferConfig {
        TransferConfig {
            window: 8,
            chunk_timeout_ms: 10_000,
            retry_base_ms: 1000,
            retry_max_ms: 300_000,
            report_every: 3,
            max_bytes_per_s: None,
            slow_bytes_per_s: 1024,
        }
    }
}

/// What happened to a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferEvent<'a> {
    /// It may begin, or go on after [`TransferAction::ListComplete`]; before this it asks for nothing. The
    /// link counts as up until [`Self::LinkDown`].
    Started,
    /// A message on the topic of a chunk.
    Arrived {
        /// The digest in the topic.
        digest: Digest,
        /// The message.
        payload: &'a [u8],
    },
    /// The shell has this chunk from elsewhere, verified, and has written it to each of its places.
    Present {
        /// Its digest.
        digest: Digest,
    },
    /// The time that [`super::Transfer::deadline_ms`] gave has come; at any other time it does nothing.
    Ticked,
    /// The link is there again; what is outstanding is subscribed again.
    LinkUp,
    /// The link is gone. No time-out counts until it is back.
    LinkDown,
}

/// What the shell must do, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferAction {
    /// Subscribe to the chunk's topic. May come for one that is subscribed already.
    Subscribe {
        /// The chunk.
        digest: Digest,
        /// Longer messages are to be dropped before they are queued.
        max_payload_bytes: usize,
    },
    /// Unsubscribe from the chunk's topic.
    Unsubscribe {
        /// The chunk.
        digest: Digest,
    },
    /// Write the payload of the event to the blob.
    Write {
        /// Which chunk of the blob it is.
        index: usize,
        /// Where in the blob, in bytes.
        offset: u64,
        /// How many bytes: all of the payload.
        length: usize,
    },
    /// The payload of the event was the blob's list of chunks. A shell that keeps it need not fetch it
    /// again after a restart. Nothing is asked for until [`TransferEvent::Started`] comes again: the shell may
    /// say before what is [`TransferEvent::Present`].
    ListComplete {
        /// How many chunks the blob has.
        chunks: usize,
    },
    /// A chunk has been asked for in vain this often. The transfer goes on.
    Stalled {
        /// The chunk.
        digest: Digest,
        /// Vain attempts.
        attempts: u32,
    },
    /// In the last ten minutes, in which the link was up, so little came. The transfer goes on.
    Slow {
        /// Bytes a second, on average.
        bytes_per_s: u64,
    },
    /// Everything is written. Comes once; read the blob back and hash it.
    Finished,
    /// The signed list of chunks is not that of the blob: no retry will help. Comes once, instead of
    /// [`Self::Finished`]; [`super::Transfer::error`] tells why.
    Failed,
}

/// What a shell kept of an earlier attempt. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resume {
    /// [`super::Transfer::have`], as it was stored. One of another length is not believed.
    pub have: Bitmap,
    /// The list of chunks, where the blob has one. One with another digest is not believed.
    pub list: Option<Vec<u8>>,
}

/// How far a transfer is. Until the list of chunks is there, no chunk is known and all bytes are missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Chunks that are written.
    pub have_chunks: usize,
    /// Chunks that are not.
    pub missing_chunks: usize,
    /// Bytes that are written.
    pub have_bytes: u64,
    /// Bytes that are not.
    pub missing_bytes: u64,
}

/// What a transfer met, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransferCounters {
    /// Payloads that were taken, each once.
    pub accepted_chunks: u64,
    /// Their bytes.
    pub accepted_bytes: u64,
    /// Payloads on an outstanding topic with another length or digest.
    pub corrupt: u64,
    /// Payloads on the topic of a chunk that was not outstanding: a duplicate, or one that came too late.
    pub unasked: u64,
    /// Payloads on the topic of no chunk of this blob.
    pub foreign: u64,
    /// Chunks that the shell had from elsewhere.
    pub present_chunks: u64,
    /// Chunks that did not come in time.
    pub timed_out: u64,
    /// How often the link was lost.
    pub link_losses: u64,
}
