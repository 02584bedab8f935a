//! The operator's keys: files in PKCS#8, encrypted unless somebody says otherwise, and signers elsewhere.
//!
//! A key file is PEM as RFC 7468 and RFC 8410 have it. Encrypted it is PBES2 with scrypt (N = 2^17, r = 8,
//! p = 1) and AES-256 in CBC mode (RFC 8018, RFC 7914): other tools open it. Where a passphrase comes from
//! is the caller's business ([`Passphrases`]); it is asked for only where a file needs one.
//!
//! A key that lives in a module or token is a *signer file* beside the others: its public key, and the
//! command that signs.

mod command;
mod file;

use std::path::{Path, PathBuf};

use dunlin_core::code::{self, Code, Coded};
use dunlin_core::key::{KeyError, PublicKey, SIGNATURE_BYTES, SecretKey};
use zeroize::Zeroizing;

use crate::file::FileError;

pub use self::file::{is_encrypted, private_text, read, read_device_key, write, write_device_key};

/// Gives passphrases for encrypted key files.
pub trait Passphrases: Send + Sync {
    /// The passphrase of this file.
    ///
    /// # Errors
    /// Nobody knows it.
    fn passphrase(&self, key: &Path) -> Result<Zeroizing<String>, KeyFileError>;
}

/// Knows no passphrase: for folders whose keys are not encrypted.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPassphrase;

impl Passphrases for NoPassphrase {
    fn passphrase(&self, key: &Path) -> Result<Zeroizing<String>, KeyFileError> {
        Err(KeyFileError::Passphrase { path: key.to_path_buf(), what: "is encrypted and needs a passphrase" })
    }
}

/// One passphrase for every file.
impl Passphrases for Zeroizing<String> {
    fn passphrase(&self, _: &Path) -> Result<Zeroizing<String>, KeyFileError> {
        Ok(self.clone())
    }
}

/// Something that signs with one key.
#[derive(Debug)]
pub enum Signer {
    /// A key in this process.
    Secret(SecretKey),
    /// A program that has the key.
    Command(command::CommandSigner),
}

impl Signer {
    /// The signer of a file: a key, or where it says how one is reached.
    ///
    /// # Errors
    /// The file cannot be read, others may read or change it, or it holds neither.
    pub fn open(path: &Path, passphrases: &dyn Passphrases) -> Result<Signer, KeyFileError> {
        if path.extension().is_some_and(|extension| extension == "toml") {
            return Ok(Signer::Command(command::CommandSigner::read(path)?));
        }
        Ok(Signer::Secret(read(path, passphrases)?))
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        match self {
            Signer::Secret(secret) => secret.public(),
            Signer::Command(command) => command.public(),
        }
    }

    /// The signature of a message, which verifies.
    ///
    /// # Errors
    /// The program fails, or what it answers is no signature of its key.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_BYTES], KeyFileError> {
        match self {
            Signer::Secret(secret) => Ok(secret.sign(message)),
            Signer::Command(command) => command.sign(message),
        }
    }
}

/// A key file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Others than the owner may read or change it.
    #[error("{path} has mode {mode:o}; a key must be its owner's alone: chmod 600 {path}")]
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
    /// It is no PKCS#8 file of an ed25519 key.
    #[error("{path} holds no ed25519 key in PKCS#8: {error}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What the decoder says.
        error: String,
    },
    /// A passphrase is missing, or wrong.
    #[error("{path} {what}")]
    Passphrase {
        /// The file.
        path: PathBuf,
        /// What is the matter.
        what: &'static str,
    },
    /// The program that signs did not.
    #[error("the signer {path} gave no signature: {reason}")]
    Signer {
        /// The signer file.
        path: PathBuf,
        /// What happened.
        reason: String,
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
            KeyFileError::Content { .. } | KeyFileError::Format { .. } => code::fleet::KEY_CONTENT,
            KeyFileError::Passphrase { .. } => code::fleet::PASSPHRASE,
            KeyFileError::Signer { .. } => code::fleet::SIGNER,
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

#[cfg(test)]
mod tests;
