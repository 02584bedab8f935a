//! The blobs of one release: which are to come, and the transfer of the one that is coming.

use std::collections::VecDeque;

use dunlin_core::Digest;
use dunlin_core::chunk;
use dunlin_core::code::{self, Code, Coded};
use dunlin_core::document::{Blob, Chunks};
use dunlin_core::transfer::{Transfer, TransferConfig};
use dunlin_core::update::Attempt;

use crate::store::{Partial, Store};

/// Why a release cannot be fetched.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) detail: String,
}

impl<E: Coded + std::fmt::Display> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure { code: error.code(), detail: error.to_string() }
    }
}

/// A release that is being fetched.
#[derive(Debug)]
pub(crate) struct Job {
    /// Names what is fetched among what was fetched before.
    pub(crate) attempt: Attempt,
    /// What is to come after the current blob.
    pub(crate) pending: VecDeque<Blob>,
    /// When the first blob may begin.
    pub(crate) start_at_ms: u64,
    /// The current blob.
    pub(crate) pull: Option<Pull>,
}

/// A blob that is coming.
#[derive(Debug)]
pub(crate) struct Pull {
    pub(crate) blob: Digest,
    pub(crate) size_bytes: u64,
    pub(crate) transfer: Transfer,
    /// `None` until the list of chunks is there, and while a blocking thread works on it.
    pub(crate) partial: Option<Partial>,
    /// Whether a wrong chunk was told of.
    pub(crate) told_bad: bool,
    /// The chunk that does not come, as it was told.
    pub(crate) stalled: Option<Digest>,
    pub(crate) since_ms: u64,
}

impl Pull {
    /// Looks what the store has of a blob; `None` if it has all of it. Waits for the disk.
    pub(crate) fn open(
        store: &Store,
        blob: &Blob,
        config: TransferConfig,
        now_ms: u64,
    ) -> Result<Option<Pull>, Failure> {
        if store.has_blob(&blob.digest, blob.size_bytes)? {
            return Ok(None);
        }
        if let Chunks::Inline(chunks) = &blob.chunks {
            // Before anything on disk is reserved for it.
            chunk::check(chunks, blob.size_bytes)?;
        }
        let mut partial = match (store.partial(blob)?, &blob.chunks) {
            (Some(partial), _) => Some(partial),
            (None, Chunks::Inline(chunks)) => {
                Some(store.create_partial(blob.digest, blob.size_bytes, chunks)?)
            }
            (None, Chunks::List(_)) => None,
        };
        if let Some(partial) = &mut partial {
            partial.take_what_is_here(now_ms)?;
        }
        let resume = partial.as_ref().map(Partial::resume).unwrap_or_default();
        let transfer = Transfer::new(blob, resume, config)?;
        let pull = Pull {
            blob: blob.digest,
            size_bytes: blob.size_bytes,
            transfer,
            partial,
            told_bad: false,
            stalled: None,
            since_ms: now_ms,
        };
        pull.log_start();
        Ok(Some(pull))
    }

    /// Tells what is here and what is to come; of a blob whose list is still to come, nothing.
    pub(crate) fn log_start(&self) {
        let progress = self.transfer.progress();
        let (have, missing) = (progress.have_chunks, progress.missing_chunks);
        let (total, blob) = (have + missing, self.blob.short());
        match have {
            0 if total == 0 => tracing::info!(%blob, "fetching the list of chunks"),
            0 => tracing::info!(%blob, bytes = progress.missing_bytes, "fetching {missing} chunks"),
            _ => tracing::info!(
                %blob,
                bytes = progress.missing_bytes,
                "resuming: {have} of {total} chunks are here, fetching {missing}"
            ),
        }
    }

    /// Tells what it took.
    pub(crate) fn log_end(&self, now_ms: u64) {
        let counters = self.transfer.counters();
        tracing::info!(
            blob = %self.blob.short(),
            bytes = counters.accepted_bytes,
            wrong = counters.corrupt,
            timed_out = counters.timed_out,
            ms = now_ms.saturating_sub(self.since_ms),
            "fetched {} chunks, the whole of {} bytes is verified",
            counters.accepted_chunks,
            self.size_bytes
        );
    }

    /// Whether a chunk is outstanding.
    pub(crate) fn asks_for(&self, digest: &Digest) -> bool {
        self.transfer.outstanding().any(|outstanding| outstanding == digest)
    }
}

/// The failure of a partial that should be there and is not.
pub(crate) fn nothing_to_write_to(blob: Digest) -> Failure {
    Failure {
        code: code::agent::BLOB_MISSING,
        detail: format!("a chunk of blob {} came before its list", blob.short()),
    }
}

/// The failure of a blocking thread that panicked.
pub(crate) fn thread_died(error: &tokio::task::JoinError) -> Failure {
    Failure { code: code::agent::DISK_FAILED, detail: format!("a thread that used the disk died: {error}") }
}
