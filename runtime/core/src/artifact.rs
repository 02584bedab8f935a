//! Bytes that are what a signed document says they are.
//!
//! A [`VerifiedArtifact`] has three sources and no more: a finished transfer, a stored blob that was
//! hashed again, and [`VerifiedArtifact::trust_local`] for files that a person at the keyboard names.
//! Everything that compiles or runs a module takes this type, so that running unverified code does
//! not type-check.

use alloc::vec::Vec;
use core::fmt;

use crate::code::{self, Code, Coded};
use crate::digest::Digest;

/// The bytes of an artifact together with their digest.
#[derive(Clone)]
pub struct VerifiedArtifact {
    digest: Digest,
    bytes: Vec<u8>,
}

impl VerifiedArtifact {
    /// Bytes read from a store or received from the network, hashed here and compared.
    ///
    /// # Errors
    /// The digest or the size is another one.
    pub fn rehash(bytes: Vec<u8>, expected: Digest, size_bytes: u64) -> Result<Self, ArtifactError> {
        if bytes.len() as u64 != size_bytes {
            return Err(ArtifactError::Size { expected: size_bytes, actual: bytes.len() as u64 });
        }
        let actual = Digest::of(&bytes);
        if actual != expected {
            return Err(ArtifactError::Digest { expected, actual });
        }
        Ok(VerifiedArtifact { digest: actual, bytes })
    }

    /// A file that the person who runs the command chose to trust. For the command line, tests and
    /// applications that embed the sandbox; never on the way from the network to a device.
    pub fn trust_local(bytes: Vec<u8>) -> Self {
        VerifiedArtifact { digest: Digest::of(&bytes), bytes }
    }

    /// The sha256 of the bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, given away.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

impl fmt::Debug for VerifiedArtifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifiedArtifact({}, {} bytes)", self.digest.short(), self.bytes.len())
    }
}

/// Bytes that are not what was announced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArtifactError {
    /// Another length.
    #[error("expected {expected} bytes, got {actual}")]
    Size {
        /// The size in the signed document.
        expected: u64,
        /// The size that came.
        actual: u64,
    },
    /// Other content.
    #[error("expected the digest {expected}, got {actual}")]
    Digest {
        /// The digest in the signed document.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
    },
}

impl Coded for ArtifactError {
    fn code(&self) -> Code {
        match self {
            ArtifactError::Size { .. } => code::transfer::ARTIFACT_SIZE,
            ArtifactError::Digest { .. } => code::transfer::ARTIFACT_DIGEST,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_announced_bytes_pass() {
        let digest = Digest::of(b"model");
        assert_eq!(VerifiedArtifact::rehash(b"model".to_vec(), digest, 5).map(|a| a.digest()), Ok(digest));
        for (bytes, size) in [(&b"model"[..], 6), (b"modem", 5), (b"model!", 5)] {
            assert!(VerifiedArtifact::rehash(bytes.to_vec(), digest, size).is_err());
        }
    }
}
