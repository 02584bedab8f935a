//! Key files of the operator: one secret ed25519 key each, as 64 hexadecimal digits, mode 0600.
//!
//! They are not encrypted yet: keep the folder on a disk that is.

use std::path::Path;

use dunlin_core::code::{self, Code, Coded};
use dunlin_core::key::{KeyError, SecretKey};
use zeroize::Zeroizing;

use crate::file::{self, FileError, Readers};

/// A key file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Others than the owner may read it.
    #[error("{path} has mode {mode:o}; a key must be readable by its owner alone: chmod 600 {path}")]
    Mode {
        /// The file.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// Its content is no key.
    #[error("{path} holds no key: {error}")]
    Content {
        /// The file.
        path: String,
        /// What is wrong.
        error: KeyError,
    },
    /// The operating system gives no random numbers.
    #[error("the operating system gives no random numbers: {0}")]
    Random(String),
}

impl Coded for KeyFileError {
    fn code(&self) -> Code {
        match self {
            KeyFileError::File(_) => code::fleet::FILE,
            KeyFileError::Mode { .. } => code::fleet::KEY_MODE,
            KeyFileError::Content { .. } => code::fleet::KEY_CONTENT,
            KeyFileError::Random(_) => code::fleet::RANDOM,
        }
    }
}

/// A new key from the operating system's randomness.
///
/// # Errors
/// There is none.
pub fn generate() -> Result<SecretKey, KeyFileError> {
    let mut seed = Zeroizing::new([0u8; 32]);
    getrandom::fill(seed.as_mut()).map_err(|error| KeyFileError::Random(error.to_string()))?;
    Ok(SecretKey::from_seed(&seed))
}

/// Writes a key, readable by its owner alone.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, key: &SecretKey) -> Result<(), KeyFileError> {
    let text = Zeroizing::new(format!("{}\n", *key.to_text()));
    Ok(file::replace(path, text.as_bytes(), Readers::Owner)?)
}

/// Reads a key.
///
/// # Errors
/// The file cannot be read, others may read it, or it holds no key.
pub fn read(path: &Path) -> Result<SecretKey, KeyFileError> {
    let mode = file::mode(path)?;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Mode { path: path.display().to_string(), mode });
    }
    let bytes = Zeroizing::new(file::read(path)?);
    let text = std::str::from_utf8(&bytes).map_err(|_| KeyError::Spelling);
    text.and_then(SecretKey::from_text)
        .map_err(|error| KeyFileError::Content { path: path.display().to_string(), error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_survives_its_file_and_must_be_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        let key = generate().unwrap();
        write(&path, &key).unwrap();
        assert_eq!(file::mode(&path).unwrap(), 0o600);
        assert_eq!(read(&path).unwrap().public(), key.public());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = read(&path).unwrap_err();
        assert_eq!(error.code().id, "key-file-mode");
        assert!(error.to_string().contains("chmod 600"));
    }

    #[test]
    fn a_file_without_a_key_is_refused_and_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        file::replace(&path, b"hunter2", Readers::Owner).unwrap();
        let error = read(&path).unwrap_err();
        assert_eq!(error.code().id, "key-file-content");
        assert!(!error.to_string().contains("hunter2"));
    }
}
