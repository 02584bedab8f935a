//! What an envelope accepts, and that no flipped byte changes what was signed or by whom.

use super::*;
use crate::document::Root;
use alloc::collections::BTreeSet;
use alloc::vec;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use proptest::prelude::*;

fn key(seed: u8) -> (KeyName, SecretKey) {
    (format!("key-{seed}").parse().unwrap(), SecretKey::from_seed(&[seed; 32]))
}

fn signer_set(envelope: &Envelope) -> BTreeSet<u8> {
    (1..=3).filter(|seed| envelope.count_signers([key(*seed).1.public()].iter(), 1) == 1).collect()
}

#[test]
fn the_pae_is_the_one_of_the_dsse_text() {
    // protocol.md of DSSE v1.0.2, "test vectors".
    assert_eq!(
        pae("http://example.com/HelloWorld", b"hello world"),
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    );
    assert_eq!(pae("", b""), b"DSSEv1 0  0 ");
    assert_eq!(pae("t\u{e4}", b"\x00 1"), b"DSSEv1 3 t\xc3\xa4 3 \x00 1", "lengths are bytes");
}

#[test]
fn a_sealed_body_comes_back_with_its_signers() {
    let ((one, one_secret), (two, two_secret)) = (key(1), key(2));
    let bytes = seal::<Root>(b"{}", &[(&one, &one_secret), (&two, &two_secret)]);
    let envelope = Envelope::parse(&bytes).unwrap();
    assert_eq!((envelope.body(), envelope.payload_type()), (&b"{}"[..], Root::PAYLOAD_TYPE));
    assert_eq!(envelope.keyids().collect::<Vec<_>>(), ["key-1", "key-2"]);
    assert_eq!(signer_set(&envelope), BTreeSet::from([1, 2]));
    assert_eq!(Envelope::parse(&envelope.to_bytes()).unwrap(), envelope);
}

#[test]
fn any_flipped_byte_is_refused_or_changes_neither_body_nor_signers() {
    let ((one, one_secret), (two, two_secret)) = (key(1), key(2));
    let body = br#"{"schema":1,"fleet":"f"}"#;
    let golden = seal::<Root>(body, &[(&one, &one_secret), (&two, &two_secret)]);
    let (mut refused, mut harmless) = (0, 0);
    for position in 0..golden.len() {
        for bit in 0..8 {
            let mut flipped = golden.clone();
            flipped[position] ^= 1 << bit;
            match Envelope::parse(&flipped) {
                Err(_) => refused += 1,
                Ok(envelope) => {
                    let signers = signer_set(&envelope);
                    let same = envelope.body() == body && envelope.payload_type() == Root::PAYLOAD_TYPE;
                    // A changed signature may lose its signer, but none is ever gained.
                    assert!(signers.is_subset(&BTreeSet::from([1, 2])));
                    assert!(same || signers.is_empty(), "byte {position}, bit {bit}");
                    if signers.len() < 2 { refused += 1 } else { harmless += 1 }
                }
            }
        }
    }
    assert!(refused > golden.len() * 5 && harmless > 0, "{refused} refused, {harmless} harmless");
}

#[test]
fn both_alphabets_are_read_with_and_without_padding() {
    let (name, secret) = key(1);
    let body: Vec<u8> = (0..=255).rev().chain([0xff, 0xfe]).collect();
    let sig = secret.sign(&pae(Root::PAYLOAD_TYPE, &body));
    let texts = [
        (STANDARD.encode(&body), STANDARD.encode(sig)),
        (STANDARD_NO_PAD.encode(&body), STANDARD_NO_PAD.encode(sig)),
        (URL_SAFE.encode(&body), URL_SAFE.encode(sig)),
        (URL_SAFE_NO_PAD.encode(&body), URL_SAFE_NO_PAD.encode(sig)),
    ];
    for (payload, sig) in texts {
        let json = format!(
            r#"{{"new":[1],"signatures":[{{"sig":"{sig}","x":null}}],"payload":"{payload}","payloadType":"{}"}}"#,
            Root::PAYLOAD_TYPE
        );
        let envelope = Envelope::parse(json.as_bytes()).unwrap();
        assert_eq!(envelope.body(), body, "{name}");
        assert_eq!(signer_set(&envelope), BTreeSet::from([1]));
    }
}

#[test]
fn broken_base64_is_refused() {
    for payload in ["-/", "a", "YQ=", "YQ===", "YR==", "Y Q==", "YQ==\\n"] {
        let json = format!(r#"{{"payloadType":"t","payload":"{payload}","signatures":[]}}"#);
        let parsed = Envelope::parse(json.as_bytes());
        if payload == "YQ=" {
            // Fewer padding characters than canonical are read like none.
            assert_eq!(parsed.unwrap().body(), b"a");
        } else {
            assert!(matches!(parsed, Err(EnvelopeError::Base64 { .. })), "{payload:?}");
        }
    }
}

#[test]
fn bounds_hold() {
    let envelope = |signatures: usize| {
        let signature = r#"{"keyid":"k","sig":""}"#;
        let list = vec![signature; signatures].join(",");
        format!(r#"{{"payloadType":"t","payload":"","signatures":[{list}]}}"#)
    };
    assert!(Envelope::parse(envelope(MAX_SIGNATURES).as_bytes()).is_ok());
    assert_eq!(Envelope::parse(envelope(17).as_bytes()), Err(EnvelopeError::Signatures(17)));
    let mut padded = envelope(0).into_bytes();
    padded.resize(MAX_ENVELOPE_BYTES, b' ');
    assert!(Envelope::parse(&padded).is_ok());
    padded.push(b' ');
    assert_eq!(Envelope::parse(&padded), Err(EnvelopeError::TooLarge(MAX_ENVELOPE_BYTES + 1)));
    let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(16), "]".repeat(16));
    assert!(
        matches!(Envelope::parse(deep.as_bytes()), Err(EnvelopeError::Malformed(text)) if text.contains("deep"))
    );
    for bad in ["", "[]", "{}", r#"{"payloadType":"t","payload":""}"#, "null"] {
        assert!(matches!(Envelope::parse(bad.as_bytes()), Err(EnvelopeError::Malformed(_))), "{bad}");
    }
}

#[test]
fn one_key_counts_once() {
    let (one, secret) = key(1);
    let (other, _) = key(2);
    let bytes = seal::<Root>(b"{}", &[(&one, &secret), (&other, &secret), (&one, &secret)]);
    let mut envelope = Envelope::parse(&bytes).unwrap();
    // Even where the same signature stands five times, under several ids.
    envelope.signatures = vec![envelope.signatures[0].clone(); 5];
    let public = secret.public();
    assert_eq!(envelope.count_signers([&public, &public].into_iter(), 9), 1);
}

#[test]
fn signatures_of_several_people_are_joined() {
    let ((one, one_secret), (two, two_secret)) = (key(1), key(2));
    let first = seal::<Root>(b"{}", &[(&one, &one_secret)]);
    let second = seal::<Root>(b"{}", &[(&two, &two_secret)]);
    let merged = merge(&first, &second).unwrap();
    let added = add_signatures::<Root>(&first, &[(&two, &two_secret), (&one, &one_secret)]).unwrap();
    assert_eq!(merged, added);
    assert_eq!(signer_set(&Envelope::parse(&merged).unwrap()), BTreeSet::from([1, 2]));
    let other = seal::<Root>(b"{ }", &[(&two, &two_secret)]);
    assert_eq!(merge(&first, &other), Err(EnvelopeError::Differs));
    assert_eq!(
        add_signatures::<crate::document::Release>(&first, &[(&two, &two_secret)]),
        Err(EnvelopeError::Differs)
    );
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Envelope::parse(&bytes);
    }
}
