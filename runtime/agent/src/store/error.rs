//! What can fail in the store.

use std::io;
use std::path::{Path, PathBuf};

use dunlin_core::code::{self, Code, Coded};
use dunlin_core::update::{MAX_STATE_BYTES, STATE_FORMAT};
use dunlin_core::{ArtifactError, Digest};

/// Something that the store could not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another agent holds the folder's lock.
    #[error("another agent is running on the folder {}", dir.display())]
    AlreadyRunning {
        /// The folder.
        dir: PathBuf,
    },
    /// The disk is full.
    #[error("cannot {action} {}: no space is left on the disk", path.display())]
    Full {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// What is to be fetched does not fit beside what must stay free.
    #[error(
        "blob {} needs {needed_bytes} bytes; {free_bytes} are free on the disk, of which {reserve_bytes} are kept back",
        digest.short()
    )]
    NoRoom {
        /// The blob.
        digest: Digest,
        /// Its length.
        needed_bytes: u64,
        /// What the disk has.
        free_bytes: u64,
        /// What documents and states need, whatever comes.
        reserve_bytes: u64,
    },
    /// The system reported an error.
    #[error("cannot {action} {}: {error}", path.display())]
    Disk {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: String,
    },
    /// Neither slot holds a state that can be read, and they are not empty.
    #[error("the state in {} is lost: {detail}", dir.display())]
    StateLost {
        /// The folder of the slots.
        dir: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The state was written by a newer version.
    #[error("the state has format {found}, this build knows {STATE_FORMAT}; it is left as it is")]
    StateFormat {
        /// The format that was found.
        found: u32,
    },
    /// The state does not fit its slot.
    #[error("the state has {size_bytes} bytes, a slot takes {MAX_STATE_BYTES}")]
    StateTooLarge {
        /// Its length as JSON, in bytes.
        size_bytes: usize,
    },
    /// A blob is not in the store.
    #[error("blob {} is not in the store", .0.short())]
    BlobMissing(Digest),
    /// A blob is not what its name says; it has been removed.
    #[error("blob {} is damaged: {error}", digest.short())]
    BlobDamaged {
        /// The blob.
        digest: Digest,
        /// In what way.
        error: ArtifactError,
    },
    /// A chunk for a place outside of its blob.
    #[error("chunk {index} at {offset} does not belong to blob {}", digest.short())]
    ChunkMisplaced {
        /// The blob.
        digest: Digest,
        /// The chunk.
        index: usize,
        /// Where it was to be written, in bytes.
        offset: u64,
    },
}

impl StoreError {
    /// Tells a full disk from a broken one.
    pub(crate) fn io(action: &'static str, path: &Path, error: &io::Error) -> StoreError {
        let path = path.to_path_buf();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full { action, path },
            _ => StoreError::Disk { action, path, error: error.to_string() },
        }
    }
}

impl Coded for StoreError {
    fn code(&self) -> Code {
        match self {
            StoreError::AlreadyRunning { .. } => code::agent::AGENT_RUNNING,
            StoreError::Full { .. } | StoreError::NoRoom { .. } => code::agent::DISK_FULL,
            StoreError::Disk { .. } | StoreError::ChunkMisplaced { .. } => code::agent::DISK_FAILED,
            StoreError::StateLost { .. } => code::agent::STATE_LOST,
            StoreError::StateFormat { .. } => code::update::STATE_FORMAT,
            StoreError::StateTooLarge { .. } => code::agent::STATE_TOO_LARGE,
            StoreError::BlobMissing(_) => code::agent::BLOB_MISSING,
            StoreError::BlobDamaged { error, .. } => error.code(),
        }
    }
}
