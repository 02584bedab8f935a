//! The DSSE envelope (v1.0.2): a body, its type, and signatures over both.
//!
//! Signed is `PAE = "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body` with lengths in ASCII decimal
//! bytes, and never anything else of the envelope: field order, white space, unknown fields and
//! `keyid` are not authenticated and decide nothing. The body is the signer's exact bytes; it is never
//! serialised again.
//!
//! Accepted: at most 64 KiB, at most 16 signatures, nesting of at most 16; base64 in the standard or
//! the URL-safe alphabet (not both in one text). Padding may be left out; where it stands it must be
//! right, and unused trailing bits must be zero. A signature that has not 64 bytes belongs to another
//! algorithm and counts for nothing.

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::engine::{DecodePaddingMode, DecodePaddingMode::Indifferent};
use serde::Deserialize;

use crate::code::{self, Code, Coded};
use crate::document::{Document, MAX_DEPTH};
use crate::id::KeyName;
use crate::key::{PublicKey, SIGNATURE_BYTES, SecretKey};

/// The largest envelope, in bytes.
pub const MAX_ENVELOPE_BYTES: usize = 64 * 1024;

/// The most signatures of an envelope.
pub const MAX_SIGNATURES: usize = 16;

const PADDING: DecodePaddingMode = Indifferent;
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new().with_decode_padding_mode(PADDING);
const STANDARD_ALPHABET: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE_ALPHABET: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// The bytes that are signed: DSSE's pre-authentication encoding.
pub fn pae(payload_type: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// One signature, as it stands in an envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Signature {
    /// For people; decides nothing.
    keyid: String,
    bytes: Vec<u8>,
}

/// An envelope that was read, and of which nothing was verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    payload_type: String,
    body: Vec<u8>,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct WireSignature {
    #[serde(default)]
    keyid: Option<String>,
    sig: String,
}

#[derive(Deserialize)]
struct WireEnvelope {
    #[serde(rename = "payloadType")]
    payload_type: String,
    payload: String,
    signatures: Vec<WireSignature>,
}

impl Envelope {
    /// Reads an envelope. Nothing in it is trusted by that.
    ///
    /// # Errors
    /// It is too large, nests too deep, is not DSSE's JSON, has broken base64 or too many signatures.
    pub fn parse(bytes: &[u8]) -> Result<Envelope, EnvelopeError> {
        if bytes.len() > MAX_ENVELOPE_BYTES {
            return Err(EnvelopeError::TooLarge(bytes.len()));
        }
        if crate::json::depth(bytes) > MAX_DEPTH {
            return Err(EnvelopeError::Malformed(format!("it nests deeper than {MAX_DEPTH}")));
        }
        let wire: WireEnvelope =
            serde_json::from_slice(bytes).map_err(|error| EnvelopeError::Malformed(error.to_string()))?;
        if wire.signatures.len() > MAX_SIGNATURES {
            return Err(EnvelopeError::Signatures(wire.signatures.len()));
        }
        let signatures = wire.signatures.into_iter().map(|signature| {
            let bytes = decode("a signature", &signature.sig)?;
            Ok(Signature { keyid: signature.keyid.unwrap_or_default(), bytes })
        });
        Ok(Envelope {
            payload_type: wire.payload_type,
            body: decode("the payload", &wire.payload)?,
            signatures: signatures.collect::<Result<_, EnvelopeError>>()?,
        })
    }

    /// The body of a document of kind `T`, not signed yet.
    pub fn of<T: Document>(body: &[u8]) -> Envelope {
        Envelope { payload_type: T::PAYLOAD_TYPE.to_string(), body: body.to_vec(), signatures: Vec::new() }
    }

    /// The bytes that every signer signs.
    pub fn message(&self) -> Vec<u8> {
        pae(&self.payload_type, &self.body)
    }

    /// Adds a signature over [`Envelope::message`], unless it stands there. It is not verified by that.
    pub fn push(&mut self, signer: &KeyName, signature: [u8; SIGNATURE_BYTES]) {
        self.add(alloc::vec![Signature { keyid: signer.to_string(), bytes: signature.to_vec() }]);
    }

    /// How many signatures stand in it, valid or not.
    pub fn signature_count(&self) -> usize {
        self.signatures.len()
    }

    /// The type of the body, as the envelope says; authenticated only together with a signature.
    pub fn payload_type(&self) -> &str {
        &self.payload_type
    }

    /// The signer's exact bytes.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The names of the keys that the signatures claim; a hint for people.
    pub fn keyids(&self) -> impl Iterator<Item = &str> {
        self.signatures.iter().map(|signature| signature.keyid.as_str())
    }

    /// How many of these keys signed. Each public key counts once, however often it is given or
    /// signed; counting stops at `enough`, so that a full envelope costs no more than it must.
    pub fn count_signers<'k>(&self, keys: impl Iterator<Item = &'k PublicKey>, enough: usize) -> usize {
        let message = self.message();
        let mut signatures: Vec<[u8; SIGNATURE_BYTES]> = self
            .signatures
            .iter()
            .filter_map(|signature| signature.bytes.as_slice().try_into().ok())
            .collect();
        signatures.sort_unstable();
        signatures.dedup();
        let mut unique: Vec<&PublicKey> = keys.collect();
        unique.sort_unstable();
        unique.dedup();
        let signed = |key: &&&PublicKey| signatures.iter().any(|signature| key.verifies(&message, signature));
        unique.iter().filter(signed).take(enough).count()
    }

    /// The envelope as JSON, in standard base64 with padding.
    pub fn to_bytes(&self) -> Vec<u8> {
        let text = |text: &str| serde_json::Value::from(text).to_string();
        let signatures: Vec<String> = self
            .signatures
            .iter()
            .map(|signature| {
                let sig = STANDARD.encode(&signature.bytes);
                format!(r#"{{"keyid":{},"sig":"{sig}"}}"#, text(&signature.keyid))
            })
            .collect();
        format!(
            r#"{{"payloadType":{},"payload":"{}","signatures":[{}]}}"#,
            text(&self.payload_type),
            STANDARD.encode(&self.body),
            signatures.join(",")
        )
        .into_bytes()
    }

    fn sign(&mut self, signers: &[(&KeyName, &SecretKey)]) {
        let message = self.message();
        let made = signers.iter().map(|(name, secret)| Signature {
            keyid: name.to_string(),
            bytes: secret.sign(&message).to_vec(),
        });
        self.add(made.collect());
    }

    fn add(&mut self, signatures: Vec<Signature>) {
        for signature in signatures {
            if self.signatures.iter().all(|present| present.bytes != signature.bytes) {
                self.signatures.push(signature);
            }
        }
    }
}

fn decode(what: &'static str, text: &str) -> Result<Vec<u8>, EnvelopeError> {
    let engine = if text.contains(['-', '_']) { URL_SAFE_ALPHABET } else { STANDARD_ALPHABET };
    engine.decode(text).map_err(|error| EnvelopeError::Base64 { what, error: error.to_string() })
}

/// Signs the body of a document of kind `T` and puts both in an envelope. The body comes from
/// [`crate::document::to_body`], which holds its bound.
pub fn seal<T: Document>(body: &[u8], signers: &[(&KeyName, &SecretKey)]) -> Vec<u8> {
    let mut envelope = Envelope::of::<T>(body);
    envelope.sign(signers);
    envelope.to_bytes()
}

/// Adds signatures over the same body to an envelope of kind `T`; the ones that stand there stay.
///
/// # Errors
/// It is no envelope, one of another kind, or would have too many signatures or bytes.
pub fn add_signatures<T: Document>(
    envelope: &[u8],
    signers: &[(&KeyName, &SecretKey)],
) -> Result<Vec<u8>, EnvelopeError> {
    let mut envelope = Envelope::parse(envelope)?;
    if envelope.payload_type != T::PAYLOAD_TYPE {
        return Err(EnvelopeError::Differs);
    }
    envelope.sign(signers);
    bounded(&envelope)
}

/// One envelope with the signatures of both, which several people made over the same body.
///
/// # Errors
/// One is no envelope, their bodies or types differ, or there would be too many signatures or bytes.
pub fn merge(one: &[u8], other: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
    let (mut one, other) = (Envelope::parse(one)?, Envelope::parse(other)?);
    if (&one.payload_type, &one.body) != (&other.payload_type, &other.body) {
        return Err(EnvelopeError::Differs);
    }
    one.add(other.signatures);
    bounded(&one)
}

fn bounded(envelope: &Envelope) -> Result<Vec<u8>, EnvelopeError> {
    if envelope.signatures.len() > MAX_SIGNATURES {
        return Err(EnvelopeError::Signatures(envelope.signatures.len()));
    }
    let bytes = envelope.to_bytes();
    if bytes.len() > MAX_ENVELOPE_BYTES { Err(EnvelopeError::TooLarge(bytes.len())) } else { Ok(bytes) }
}

/// Bytes that are no acceptable envelope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// More than [`MAX_ENVELOPE_BYTES`].
    #[error("the envelope has {0} bytes, the most is {MAX_ENVELOPE_BYTES}")]
    TooLarge(usize),
    /// Not the JSON of an envelope.
    #[error("not a DSSE envelope: {0}")]
    Malformed(String),
    /// The payload or a signature is not base64.
    #[error("{what} of the envelope is not base64: {error}")]
    Base64 {
        /// Which text.
        what: &'static str,
        /// What the decoder says.
        error: String,
    },
    /// More than [`MAX_SIGNATURES`].
    #[error("the envelope has {0} signatures, the most is {MAX_SIGNATURES}")]
    Signatures(usize),
    /// Signatures over something else cannot be joined.
    #[error("the envelopes hold different documents")]
    Differs,
}

impl Coded for EnvelopeError {
    fn code(&self) -> Code {
        match self {
            EnvelopeError::TooLarge(_) => code::document::ENVELOPE_TOO_LARGE,
            EnvelopeError::Malformed(_) | EnvelopeError::Base64 { .. } | EnvelopeError::Signatures(_) => {
                code::document::ENVELOPE_MALFORMED
            }
            EnvelopeError::Differs => code::document::ENVELOPE_DIFFERS,
        }
    }
}

#[cfg(test)]
mod tests;
