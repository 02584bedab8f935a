//! The provenance of a release: an in-toto statement about its module, as a build system writes it.
//!
//! Taken is a statement of <https://in-toto.io/Statement/v1> (or v0.1), as plain JSON or in a DSSE envelope,
//! one subject of which has the sha256 of the module. Its own signatures are its maker's business and are
//! not judged here: the release binds the bytes, so that they can be judged later.

use dunlin_core::Digest;
use dunlin_core::envelope::Envelope;
use serde::Deserialize;

use super::ReleaseError;

/// The type of a statement, and of the one before it.
const STATEMENTS: [&str; 2] = ["https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"];

/// The payload type of a statement in an envelope.
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

#[derive(Deserialize)]
struct Statement {
    #[serde(rename = "_type")]
    kind: String,
    subject: Vec<Subject>,
}

#[derive(Deserialize)]
struct Subject {
    digest: Digests,
}

#[derive(Deserialize)]
struct Digests {
    sha256: Option<String>,
}

/// Checks that a file is a statement about the module with this digest.
pub(super) fn check(bytes: &[u8], module: Digest) -> Result<(), ReleaseError> {
    let wrong = |what: String| ReleaseError::Provenance(what);
    let body = match Envelope::parse(bytes) {
        Ok(envelope) if envelope.payload_type() == PAYLOAD_TYPE => envelope.body().to_vec(),
        Ok(envelope) => {
            return Err(wrong(format!(
                "its payload type is {:?}, not {PAYLOAD_TYPE}",
                envelope.payload_type()
            )));
        }
        Err(_) => bytes.to_vec(),
    };
    let statement: Statement =
        serde_json::from_slice(&body).map_err(|error| wrong(format!("it is no statement: {error}")))?;
    if !STATEMENTS.contains(&statement.kind.as_str()) {
        return Err(wrong(format!("its _type is {:?}, not {:?}", statement.kind, STATEMENTS[0])));
    }
    let named = module.to_string();
    if !statement.subject.iter().any(|subject| subject.digest.sha256.as_deref() == Some(named.as_str())) {
        return Err(wrong(format!(
            "none of its {} subjects has the sha256 {named}",
            statement.subject.len()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;

    use super::*;

    fn statement(kind: &str, digest: &str) -> String {
        format!(
            r#"{{"_type": "{kind}", "subject": [{{"name": "other", "digest": {{"sha512": "00"}}}},
            {{"name": "m.wasm", "digest": {{"sha256": "{digest}"}}}}],
            "predicateType": "https://slsa.dev/provenance/v1", "predicate": {{}}}}"#
        )
    }

    #[test]
    fn a_statement_must_be_about_the_module() {
        let module = Digest::of(b"module");
        let good = statement(STATEMENTS[0], &module.to_string());
        check(good.as_bytes(), module).unwrap();
        check(statement(STATEMENTS[1], &module.to_string()).as_bytes(), module).unwrap();
        let other = Digest::of(b"another").to_string();
        for (text, part) in [
            (statement(STATEMENTS[0], &other), "none of its 2 subjects"),
            (statement("https://example.com/Note", &other), "_type"),
            ("{}".to_string(), "no statement"),
            ("rubbish".to_string(), "no statement"),
        ] {
            let error = check(text.as_bytes(), module).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn an_envelope_is_opened() {
        let module = Digest::of(b"module");
        let body = statement(STATEMENTS[0], &module.to_string());
        let sealed = |kind: &str| {
            let payload = base64::engine::general_purpose::STANDARD.encode(&body);
            format!(r#"{{"payloadType": "{kind}", "payload": "{payload}", "signatures": []}}"#)
        };
        check(sealed(PAYLOAD_TYPE).as_bytes(), module).unwrap();
        let error = check(sealed("text/plain").as_bytes(), module).unwrap_err();
        assert!(error.to_string().contains("text/plain"), "{error}");
    }
}
