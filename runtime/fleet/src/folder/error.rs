//! What can stand in the way of a folder.

use std::path::PathBuf;

use dunlin_core::code::{self, Code, Coded};
use dunlin_core::document::{DocumentError, RoleName};
use dunlin_core::id::{IdError, KeyName, ModelName};
use dunlin_core::trust::TrustError;

use crate::file::FileError;
use crate::key::KeyFileError;

/// Something about the folder that stands in the way.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// `init` into a folder that has a fleet.
    #[error("{0} holds a fleet already, or what is left of one; choose another folder")]
    Exists(PathBuf),
    /// The folder has no fleet.
    #[error("{0} is no fleet's folder: it has no fleet.toml; make one with `dunlin init`")]
    NotAFleet(PathBuf),
    /// `fleet.toml` is wrong.
    #[error("{path} is not valid: {error}")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        error: String,
    },
    /// A signed file, or the key that was to sign one, is not what the root says.
    #[error("{path}: {error}")]
    Trust {
        /// The file, or the key's.
        path: PathBuf,
        /// What is wrong.
        error: TrustError,
    },
    /// A signed file that lies where another one belongs.
    #[error("{path} holds {holds}; give it back the name that it had")]
    Misplaced {
        /// The file.
        path: PathBuf,
        /// What it is signed as.
        holds: String,
    },
    /// No key of the role is in the folder.
    #[error("no key that may sign a {kind} is in {keys}: role {role} has the keys {names}")]
    NoKey {
        /// The kind of document.
        kind: &'static str,
        /// The folder of keys.
        keys: PathBuf,
        /// The role that signs it.
        role: RoleName,
        /// The keys of the role.
        names: String,
    },
    /// A key file that is not the key that the root names so.
    #[error("{path} is not the key that the root calls {name}: the root has {expected}, the file {found}")]
    WrongKey {
        /// The file.
        path: PathBuf,
        /// The name.
        name: KeyName,
        /// The root's key.
        expected: String,
        /// The file's.
        found: String,
    },
    /// The folder's keys are fewer than the threshold.
    #[error(
        "the {kind} has {found} of the {needed} signatures of role {role} that it needs; it waits in {path}"
    )]
    Unfinished {
        /// The kind of document.
        kind: &'static str,
        /// The file with the signatures so far.
        path: PathBuf,
        /// The role that lacks signatures.
        role: RoleName,
        /// How many keys have signed.
        found: usize,
        /// The threshold.
        needed: usize,
    },
    /// A fleet that has not begun.
    #[error("the first root of this fleet waits for signatures under {0}; `dunlin import` takes it")]
    NotBegun(PathBuf),
    /// Signed under an earlier root, whose keys no longer count.
    #[error("{path} was signed under an earlier root: {remedy}")]
    Outdated {
        /// The file.
        path: PathBuf,
        /// What to do.
        remedy: &'static str,
    },
    /// A document that breaks a rule.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A text that should be a name.
    #[error(transparent)]
    Id(#[from] IdError),
    /// There is no such release.
    #[error("{model} has no release {version}; it has {known}")]
    NoRelease {
        /// The model.
        model: ModelName,
        /// The version that was asked for.
        version: String,
        /// The versions that are there.
        known: String,
    },
    /// A blob that a release names is missing or altered.
    #[error("the file {path} is not what the signed release says")]
    Blob {
        /// The file.
        path: PathBuf,
    },
}

impl Coded for FolderError {
    fn code(&self) -> Code {
        match self {
            FolderError::File(_) => code::fleet::FILE,
            FolderError::Key(error) => error.code(),
            FolderError::Exists(_) => code::fleet::FOLDER_EXISTS,
            FolderError::NotAFleet(_) => code::fleet::FOLDER_MISSING,
            FolderError::Manifest { .. } => code::fleet::MANIFEST,
            FolderError::Trust { error, .. } => error.code(),
            FolderError::Misplaced { .. } => code::fleet::FILE_MISPLACED,
            FolderError::NoKey { .. } | FolderError::WrongKey { .. } => code::fleet::KEY_MISSING,
            FolderError::Unfinished { .. } | FolderError::NotBegun(_) => code::fleet::SIGNATURES_MISSING,
            FolderError::Outdated { .. } => code::fleet::SIGNED_BEFORE,
            FolderError::Document(error) => error.code(),
            FolderError::Id(_) => code::fleet::NAME,
            FolderError::NoRelease { .. } => code::fleet::RELEASE_UNKNOWN,
            FolderError::Blob { .. } => code::fleet::BLOB_ALTERED,
        }
    }
}
