//! Key files: PKCS#8 in PEM for the operator, 64 hexadecimal digits for devices.
//!
//! Both have mode 0600 and are refused with any other that lets others in. Hexadecimal files are read for
//! the operator too: folders of earlier versions have them.

use std::path::Path;

use dunlin_core::key::{KeyError, SecretKey};
use ed25519::pkcs8::{KeypairBytes, spki::der::pem::PemLabel as _};
use pkcs8::{
    DecodePrivateKey as _, EncodePrivateKey as _, EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef,
    SecretDocument,
};
use zeroize::Zeroizing;

use super::{KeyFileError, Passphrases};
use crate::file::{self, Readers};

/// The shortest passphrase, in characters, that a new file may have.
const MIN_PASSPHRASE: usize = 8;

/// Writes a key for its owner alone: encrypted with the passphrase, or, without one, as it is.
///
/// # Errors
/// The passphrase is too short, or the file cannot be written.
pub fn write(path: &Path, key: &SecretKey, passphrase: Option<&str>) -> Result<(), KeyFileError> {
    let format =
        |error: pkcs8::Error| KeyFileError::Format { path: path.to_path_buf(), error: error.to_string() };
    let pair = KeypairBytes { secret_key: *key.to_seed(), public_key: None };
    let pem = match passphrase {
        None => pair.to_pkcs8_pem(LineEnding::LF).map_err(format)?,
        Some(passphrase) if passphrase.chars().count() < MIN_PASSPHRASE => {
            let what = "needs a passphrase of at least 8 characters";
            return Err(KeyFileError::Passphrase { path: path.to_path_buf(), what });
        }
        Some(passphrase) => pair.to_pkcs8_encrypted_pem(passphrase, LineEnding::LF).map_err(format)?,
    };
    Ok(file::replace(path, pem.as_bytes(), Readers::Owner)?)
}

/// Reads a key; the passphrase is asked for if the file is encrypted.
///
/// # Errors
/// The file cannot be read, others may read it, it holds no key, or the passphrase is missing or wrong.
pub fn read(path: &Path, passphrases: &dyn Passphrases) -> Result<SecretKey, KeyFileError> {
    let text = private_text(path)?;
    let format = |error: String| KeyFileError::Format { path: path.to_path_buf(), error };
    if !text.contains("-----BEGIN") {
        return from_hex(path, &text);
    }
    let document = if text.contains(EncryptedPrivateKeyInfoRef::PEM_LABEL) {
        let (_, document) = SecretDocument::from_pem(&text).map_err(|error| format(error.to_string()))?;
        let info = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes());
        let info = info.map_err(|error| format(error.to_string()))?;
        let passphrase = passphrases.passphrase(path)?;
        info.decrypt(passphrase.as_bytes()).map_err(|_| KeyFileError::Passphrase {
            path: path.to_path_buf(),
            what: "cannot be opened with this passphrase",
        })?
    } else {
        let (label, document) = SecretDocument::from_pem(&text).map_err(|error| format(error.to_string()))?;
        if label != PrivateKeyInfoRef::PEM_LABEL {
            return Err(format(format!("it is PEM of {label:?}, not of a private key")));
        }
        document
    };
    let pair =
        KeypairBytes::from_pkcs8_der(document.as_bytes()).map_err(|error| format(error.to_string()))?;
    let key = SecretKey::from_seed(&Zeroizing::new(pair.secret_key));
    if pair.public_key.is_some_and(|public| public.0 != *key.public().as_bytes()) {
        return Err(format("its public key is not that of its private key".to_string()));
    }
    Ok(key)
}

/// Whether a key file is encrypted.
///
/// # Errors
/// The file cannot be read.
pub fn is_encrypted(path: &Path) -> Result<bool, KeyFileError> {
    Ok(private_text(path)?.contains(EncryptedPrivateKeyInfoRef::PEM_LABEL))
}

/// Writes the key of a device, as its agent reads it.
///
/// # Errors
/// The file cannot be written.
pub fn write_device_key(path: &Path, key: &SecretKey) -> Result<(), KeyFileError> {
    let text = Zeroizing::new(format!("{}\n", *key.to_text()));
    Ok(file::replace(path, text.as_bytes(), Readers::Owner)?)
}

/// Reads the key of a device.
///
/// # Errors
/// The file cannot be read, others may read it, or it holds no key.
pub fn read_device_key(path: &Path) -> Result<SecretKey, KeyFileError> {
    from_hex(path, &private_text(path)?)
}

fn from_hex(path: &Path, text: &str) -> Result<SecretKey, KeyFileError> {
    SecretKey::from_text(text)
        .map_err(|error| KeyFileError::Content { path: path.display().to_string(), error })
}

/// The text of a file that is its owner's alone.
///
/// # Errors
/// The file cannot be read, others may read it, or it holds no text.
pub fn private_text(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    let mode = file::mode(path)?;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Mode { path: path.display().to_string(), mode });
    }
    let bytes = Zeroizing::new(file::read(path)?);
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| KeyFileError::Content { path: path.display().to_string(), error: KeyError::Spelling })?;
    Ok(Zeroizing::new(text.to_string()))
}
