//! What must hold for any bytes; the fuzz targets and the replay of their corpus demand the same.
#![allow(dead_code, reason = "each fuzz target uses one of these")]

use dunlin_core::document::{Deployment, Document, MAX_BODY_BYTES, Release, Root, parse, to_body};
use dunlin_core::envelope::{Envelope, MAX_ENVELOPE_BYTES, MAX_SIGNATURES, merge};
use dunlin_core::trust::TrustedRoot;

/// An envelope keeps its bounds, and written again it is the same envelope.
pub(crate) fn envelope(bytes: &[u8]) {
    let Ok(envelope) = Envelope::parse(bytes) else { return };
    assert!(bytes.len() <= MAX_ENVELOPE_BYTES && envelope.body().len() <= MAX_ENVELOPE_BYTES);
    assert!(envelope.signature_count() <= MAX_SIGNATURES);
    // Only what grows beyond the bounds when it is written in the standard alphabet is not read again.
    let again = envelope.to_bytes();
    assert!(again.len() > MAX_ENVELOPE_BYTES || Envelope::parse(&again).as_ref() == Ok(&envelope));
    if let Ok(merged) = merge(bytes, bytes) {
        let merged = Envelope::parse(&merged).expect("what was merged is an envelope");
        assert_eq!((merged.body(), merged.payload_type()), (envelope.body(), envelope.payload_type()));
    }
}

/// A root that is read is written and read as the same, and is trusted only if its own keys signed it.
pub(crate) fn root(bytes: &[u8]) {
    same_again::<Root>(bytes);
    let unsigned = Envelope::of::<Root>(bytes).to_bytes();
    assert!(TrustedRoot::enrolled(&unsigned).is_err(), "nobody signed it");
}

/// A release that is read is written and read as the same.
pub(crate) fn release(bytes: &[u8]) {
    same_again::<Release>(bytes);
}

/// A deployment that is read is written and read as the same.
pub(crate) fn deployment(bytes: &[u8]) {
    same_again::<Deployment>(bytes);
}

fn same_again<T: Document>(bytes: &[u8]) {
    let Ok(document) = parse::<T>(bytes) else { return };
    assert!(bytes.len() <= MAX_BODY_BYTES);
    document.check().expect("what was read keeps the rules");
    // Escapes and numbers have shorter spellings than ours: the body may grow beyond its bound.
    let Ok((body, digest)) = to_body(&document) else { return };
    let again = parse::<T>(&body).expect("what was written is read");
    assert_eq!(to_body(&again).expect("it was written before"), (body, digest));
}
