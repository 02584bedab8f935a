//! Trust: from bytes to a [`Verified`] document, and from one root to the next.
//!
//! A [`Verified<T>`] can only be made here. The order of [`TrustedRoot::verify`] is fixed: size,
//! envelope, signatures of the role that signs `T` (unique public keys are counted), payload type,
//! strict parse of the very bytes that were signed, fleet. Nothing is parsed that is not signed, and
//! nothing is parsed twice. Whether a verified document is to be acted upon is decided in
//! [`crate::update`].

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Deref;

use crate::code::{self, Code, Coded};
use crate::digest::Digest;
use crate::document::{self, Document, DocumentError, RoleName, Root};
use crate::envelope::{Envelope, EnvelopeError};
use crate::id::FleetId;

/// A document whose signatures were checked, with the bytes that it came in. Nobody else makes one,
/// and nobody changes one:
///
/// ```compile_fail,E0451
/// # use dunlin_core::{Digest, document::Release, trust::Verified};
/// fn forge(document: Release, digest: Digest) -> Verified<Release> {
///     Verified { document, digest, envelope: Vec::new() }
/// }
/// ```
///
/// ```compile_fail,E0594
/// # use dunlin_core::{document::Release, trust::Verified};
/// fn tamper(mut release: Verified<Release>) {
///     release.counter = 9;
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Verified<T> {
    document: T,
    digest: Digest,
    envelope: Vec<u8>,
}

impl<T> Verified<T> {
    /// The sha256 of the body: what other documents refer to it by.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The envelope, for storing.
    pub fn envelope(&self) -> &[u8] {
        &self.envelope
    }
}

impl<T: Document> Verified<T> {
    /// A document of the device's own store, which was verified before it was put there. Its digest
    /// must come from committed state or from another verified document; keys may have been rotated
    /// since, so signatures are not judged again.
    ///
    /// # Errors
    /// The bytes are not an envelope with the body of this digest.
    pub fn recalled(envelope: &[u8], digest: Digest) -> Result<Verified<T>, TrustError> {
        let opened = Envelope::parse(envelope)?;
        expect_digest(&opened, digest)?;
        expect_type::<T>(&opened)?;
        Ok(Verified { document: document::parse(opened.body())?, digest, envelope: envelope.to_vec() })
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.document
    }
}

/// The root that a device trusts now: the end of a chain that began when it was enrolled.
#[derive(Clone, Debug)]
pub struct TrustedRoot(Verified<Root>);

impl TrustedRoot {
    /// The root that a device is enrolled with, or that it stored. It must be signed by the threshold
    /// of its own root keys; that it is the right one is the enrolment's word, or the stored digest's.
    ///
    /// # Errors
    /// It is not a valid root, or not signed by itself.
    pub fn enrolled(envelope: &[u8]) -> Result<TrustedRoot, TrustError> {
        let opened = Envelope::parse(envelope)?;
        expect_type::<Root>(&opened)?;
        let root: Root = document::parse(opened.body())?;
        expect_threshold::<Root>(&root, &opened)?;
        Ok(TrustedRoot(verified(root, &opened, envelope)))
    }

    /// The next root: exactly one version further, signed by the thresholds of this one and of its own.
    ///
    /// # Errors
    /// Anything else; this root stays the trusted one.
    pub fn step(&self, envelope: &[u8]) -> Result<TrustedRoot, TrustError> {
        let opened = Envelope::parse(envelope)?;
        let next = self.verify_opened::<Root>(&opened, envelope)?;
        let expected = self.version().saturating_add(1);
        if next.version != expected {
            return Err(TrustError::RootVersion { expected, found: next.version });
        }
        match expect_threshold::<Root>(&next, &opened) {
            Ok(()) => Ok(TrustedRoot(next)),
            Err(TrustError::Threshold { found, needed, .. }) => {
                Err(TrustError::OwnThreshold { found, needed })
            }
            Err(error) => Err(error),
        }
    }

    /// Verifies a document of kind `T` against this root.
    ///
    /// # Errors
    /// The first check that fails, in the order of this module.
    pub fn verify<T: Document>(&self, envelope: &[u8]) -> Result<Verified<T>, TrustError> {
        self.verify_opened(&Envelope::parse(envelope)?, envelope)
    }

    /// Verifies a document that another one named by the digest of its body.
    ///
    /// # Errors
    /// It has another digest, or fails like [`TrustedRoot::verify`].
    pub fn verify_by_digest<T: Document>(
        &self,
        envelope: &[u8],
        digest: Digest,
    ) -> Result<Verified<T>, TrustError> {
        let opened = Envelope::parse(envelope)?;
        expect_digest(&opened, digest)?;
        self.verify_opened(&opened, envelope)
    }

    fn verify_opened<T: Document>(
        &self,
        opened: &Envelope,
        envelope: &[u8],
    ) -> Result<Verified<T>, TrustError> {
        expect_threshold::<T>(self.root(), opened)?;
        expect_type::<T>(opened)?;
        let document: T = document::parse(opened.body())?;
        if document.fleet() != self.fleet() {
            let (expected, found) = (self.fleet().clone(), document.fleet().clone());
            return Err(TrustError::Fleet { kind: T::KIND, expected, found });
        }
        Ok(verified(document, opened, envelope))
    }

    /// Whether a document bears the signatures of another role beside those of its own. It says nothing of
    /// the latter, which a [`Verified`] document has.
    ///
    /// # Errors
    /// The root does not use the role, or too few of its keys signed.
    pub fn countersigned<T: Document>(
        &self,
        document: &Verified<T>,
        role: RoleName,
    ) -> Result<(), TrustError> {
        expect_role(self.root(), &Envelope::parse(document.envelope())?, T::KIND, role)
    }

    /// The root.
    pub fn root(&self) -> &Root {
        &self.0
    }

    /// Its version.
    pub fn version(&self) -> u64 {
        self.0.version
    }

    /// The sha256 of its body.
    pub fn digest(&self) -> Digest {
        self.0.digest()
    }

    /// The fleet that it rules.
    pub fn fleet(&self) -> &FleetId {
        &self.0.fleet
    }

    /// The envelope, for storing.
    pub fn envelope(&self) -> &[u8] {
        self.0.envelope()
    }
}

fn verified<T>(document: T, opened: &Envelope, envelope: &[u8]) -> Verified<T> {
    Verified { document, digest: Digest::of(opened.body()), envelope: envelope.to_vec() }
}

fn expect_threshold<T: Document>(root: &Root, opened: &Envelope) -> Result<(), TrustError> {
    expect_role(root, opened, T::KIND, T::ROLE)
}

fn expect_role(root: &Root, opened: &Envelope, kind: &'static str, role: RoleName) -> Result<(), TrustError> {
    let members = root.role(role).ok_or(TrustError::RoleUnused { kind, role })?;
    let needed = usize::from(members.threshold);
    let found = opened.count_signers(root.role_keys(role), needed);
    if found < needed {
        return Err(TrustError::Threshold { kind, role, found, needed });
    }
    Ok(())
}

fn expect_type<T: Document>(opened: &Envelope) -> Result<(), TrustError> {
    if opened.payload_type() == T::PAYLOAD_TYPE {
        return Ok(());
    }
    let found = opened.payload_type().chars().take(80).collect();
    Err(TrustError::Type { expected: T::PAYLOAD_TYPE, found })
}

fn expect_digest(opened: &Envelope, expected: Digest) -> Result<(), TrustError> {
    let actual = Digest::of(opened.body());
    if actual == expected { Ok(()) } else { Err(TrustError::Digest { expected, actual }) }
}

/// Why a document is not trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// The envelope cannot be read.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Too few keys of the role signed it.
    #[error("the {kind} is signed by {found} of the {needed} keys that role {role} needs")]
    Threshold {
        /// The kind of document.
        kind: &'static str,
        /// The role that signs it.
        role: RoleName,
        /// How many different keys of the role signed.
        found: usize,
        /// The threshold.
        needed: usize,
    },
    /// A new root is signed by the old one's keys, but not by its own.
    #[error("the new root is signed by {found} of the {needed} of its own root keys that it needs")]
    OwnThreshold {
        /// How many of its own root keys signed.
        found: usize,
        /// Its own threshold.
        needed: usize,
    },
    /// This root has no keys for such documents.
    #[error("a {kind} is signed by role {role}, which the root does not use")]
    RoleUnused {
        /// The kind of document.
        kind: &'static str,
        /// The role.
        role: RoleName,
    },
    /// Signed, but as another kind of document.
    #[error("expected the payload type {expected}, got {found:?}")]
    Type {
        /// The type of the expected kind.
        expected: &'static str,
        /// The type of the envelope, cut to 80 characters.
        found: String,
    },
    /// Signed, but not a valid document.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Signed for another fleet.
    #[error("the {kind} belongs to fleet {found}, not to {expected}")]
    Fleet {
        /// The kind of document.
        kind: &'static str,
        /// This root's fleet.
        expected: FleetId,
        /// The document's.
        found: FleetId,
    },
    /// Not the document that was asked for.
    #[error("expected the document {expected}, got {actual}")]
    Digest {
        /// The digest that was asked for.
        expected: Digest,
        /// The digest of the body that came.
        actual: Digest,
    },
    /// A root that is not the next one.
    #[error("expected root version {expected}, got {found}")]
    RootVersion {
        /// One more than the trusted version.
        expected: u64,
        /// The version that came.
        found: u64,
    },
}

impl TrustError {
    /// Whether a newer root could make the same bytes valid: they fail on signatures alone.
    pub fn may_heal_with_a_new_root(&self) -> bool {
        match self {
            TrustError::Threshold { .. } | TrustError::RoleUnused { .. } => true,
            TrustError::Envelope(_)
            | TrustError::OwnThreshold { .. }
            | TrustError::Type { .. }
            | TrustError::Document(_)
            | TrustError::Fleet { .. }
            | TrustError::Digest { .. }
            | TrustError::RootVersion { .. } => false,
        }
    }
}

impl Coded for TrustError {
    fn code(&self) -> Code {
        match self {
            TrustError::Envelope(error) => error.code(),
            TrustError::Threshold { .. } | TrustError::OwnThreshold { .. } => {
                code::document::SIGNATURE_THRESHOLD
            }
            TrustError::RoleUnused { .. } => code::document::ROLE_UNUSED,
            TrustError::Type { .. } => code::document::WRONG_TYPE,
            TrustError::Document(error) => error.code(),
            TrustError::Fleet { .. } => code::document::WRONG_FLEET,
            TrustError::Digest { .. } => code::document::WRONG_DIGEST,
            TrustError::RootVersion { .. } => code::document::ROOT_VERSION,
        }
    }
}

#[cfg(test)]
mod tests;
