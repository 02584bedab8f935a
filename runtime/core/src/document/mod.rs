//! The signed documents: root, release, deployment and device list.
//!
//! A document is a JSON body in a DSSE envelope. Bodies are strict: unknown fields, duplicate fields
//! and fractions where a count belongs are errors, lists are bounded, and [`Document::check`] holds
//! what types cannot. A body is parsed once, from the very bytes whose signature was checked.
//! `docs/trust.md` shows an example of each.

mod deployment;
mod device_list;
mod release;
mod root;

use alloc::string::{String, ToString as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use deployment::{Audience, Candidate, Deployment, Floor, Gates, MAX_MODELS, ModelEntry, Want};
pub use device_list::{DeviceEntry, DeviceList, MAX_DEVICES};
pub use release::{
    Attachment, AttachmentKind, Blob, ChunkRef, Chunks, Compat, Contract, Limits, Lineage, MAX_INLINE_CHUNKS,
    Probation, Release, TensorContract,
};
pub use root::{MinimumCounter, Role, RoleName, Roles, Root, RootKey};

use crate::code::{self, Code, Coded};
use crate::digest::Digest;
use crate::id::FleetId;

/// The version of the format of all documents.
pub const SCHEMA: u32 = 1;

/// The longest body, in bytes; in base64 it fits an envelope of 64 KiB with its signatures.
pub const MAX_BODY_BYTES: usize = 48_000;

/// How deep arrays and objects of a body may nest.
pub const MAX_DEPTH: usize = 16;

/// The longest free text in a document, in bytes.
pub const MAX_TEXT_BYTES: usize = 256;

/// A kind of signed document.
pub trait Document: Serialize + DeserializeOwned {
    /// The payload type of its envelope, which the signature covers.
    const PAYLOAD_TYPE: &'static str;

    /// What people call it: `root`, `release`, …
    const KIND: &'static str;

    /// The role whose keys sign it.
    const ROLE: RoleName;

    /// The version of the format.
    fn schema(&self) -> u32;

    /// The fleet that it belongs to.
    fn fleet(&self) -> &FleetId;

    /// A role that must sign this document beside [`Document::ROLE`], for the sake of a part of it. Who does not
    /// use that part does not ask for it.
    fn second_role(&self) -> Option<RoleName> {
        None
    }

    /// Checks what the types do not: bounds, uniqueness and sums.
    ///
    /// # Errors
    /// The first rule that the document breaks.
    fn check(&self) -> Result<(), DocumentError>;
}

/// Parses a body strictly.
///
/// # Errors
/// The body is too long, nests too deep, is not the JSON of this kind or breaks one of its rules.
pub fn parse<T: Document>(body: &[u8]) -> Result<T, DocumentError> {
    if body.len() > MAX_BODY_BYTES {
        return Err(DocumentError::TooLong { kind: T::KIND, bytes: body.len() });
    }
    if crate::json::depth(body) > MAX_DEPTH {
        return Err(DocumentError::TooDeep { kind: T::KIND });
    }
    let document: T = serde_json::from_slice(body)
        .map_err(|error| DocumentError::Json { kind: T::KIND, error: error.to_string() })?;
    check(&document)?;
    Ok(document)
}

/// The body of a document, as its signer will sign it, and the digest that others refer to it by.
///
/// # Errors
/// The document breaks a rule, or is too long: nobody would accept it.
pub fn to_body<T: Document>(document: &T) -> Result<(alloc::vec::Vec<u8>, Digest), DocumentError> {
    check(document)?;
    let body = serde_json::to_vec(document)
        .map_err(|error| DocumentError::Json { kind: T::KIND, error: error.to_string() })?;
    if body.len() > MAX_BODY_BYTES {
        return Err(DocumentError::TooLong { kind: T::KIND, bytes: body.len() });
    }
    let digest = Digest::of(&body);
    Ok((body, digest))
}

fn check<T: Document>(document: &T) -> Result<(), DocumentError> {
    if document.schema() != SCHEMA {
        return Err(DocumentError::Schema { kind: T::KIND, schema: document.schema() });
    }
    document.check()
}

/// A document that breaks a rule of its format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Longer than [`MAX_BODY_BYTES`].
    #[error("the body of a {kind} has {bytes} bytes, the most is {MAX_BODY_BYTES}")]
    TooLong {
        /// The kind of document.
        kind: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// Arrays and objects nest deeper than [`MAX_DEPTH`].
    #[error("the body of a {kind} nests deeper than {MAX_DEPTH}")]
    TooDeep {
        /// The kind of document.
        kind: &'static str,
    },
    /// Not the JSON of this kind of document.
    #[error("the body is not a valid {kind}: {error}")]
    Json {
        /// The kind of document.
        kind: &'static str,
        /// What the parser says.
        error: String,
    },
    /// A format that this build does not know.
    #[error("the {kind} has schema {schema}, this build knows {SCHEMA}")]
    Schema {
        /// The kind of document.
        kind: &'static str,
        /// The schema that it says.
        schema: u32,
    },
    /// A rule of this kind of document is broken.
    #[error("the {kind} breaks a rule: {rule}")]
    Rule {
        /// The kind of document.
        kind: &'static str,
        /// The rule, and what came.
        rule: String,
    },
}

impl Coded for DocumentError {
    fn code(&self) -> Code {
        match self {
            DocumentError::TooLong { .. } => code::document::BODY_TOO_LARGE,
            DocumentError::TooDeep { .. } | DocumentError::Json { .. } => code::document::BODY_MALFORMED,
            DocumentError::Schema { .. } => code::document::SCHEMA_UNKNOWN,
            DocumentError::Rule { .. } => code::document::RULE_BROKEN,
        }
    }
}

/// Fails with a broken rule of a kind of document unless the condition holds.
macro_rules! ensure {
    ($kind:ty, $condition:expr, $($message:tt)*) => {
        if !$condition {
            return Err($crate::document::DocumentError::Rule {
                kind: <$kind as $crate::document::Document>::KIND,
                rule: alloc::format!($($message)*),
            });
        }
    };
}
use ensure;

/// Whether no two items have the same key.
fn unique<'a, T, K: Ord>(items: &'a [T], key: impl Fn(&'a T) -> K) -> bool {
    let mut keys: alloc::vec::Vec<K> = items.iter().map(key).collect();
    keys.sort_unstable();
    keys.windows(2).all(|pair| pair[0] != pair[1])
}

/// Whether a free text is short and printable.
fn is_text(text: &str) -> bool {
    (1..=MAX_TEXT_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests;
