//! One golden envelope of each kind, every byte of it flipped; they are the seeds of the fuzz targets too.

use super::*;
use crate::fixture::{candidate, channel, deployment, device_list, entry, floor, release, signed};
use std::path::Path;

/// A deployment with every optional part that a channel's may have.
fn full_deployment() -> Deployment {
    let stable = release("m", 2);
    let mut wanted = deployment(channel(), 3, vec![entry(&stable), fixture::removal("n")]);
    wanted.models[0].want = crate::document::Want::Release {
        stable: digest_of(&stable),
        candidate: Some(candidate(&release("m", 3), 50)),
    };
    wanted.floors = vec![floor("m", 2)];
    wanted
}

/// Who of the fleet's keys signed what an envelope holds.
fn signers(envelope: &Envelope) -> Vec<Key> {
    [Key::Root, Key::Root2, Key::Release, Key::Deploy, Key::Stranger]
        .into_iter()
        .filter(|key| envelope.count_signers([key.secret().public()].iter(), 1) == 1)
        .collect()
}

/// Flips one bit of each byte, another one in each, and verifies what is left.
fn flip<T: Document>(document: &T, keys: &[Key]) {
    let (trusted, golden) = (trusted(), signed(document, keys));
    let (body, _) = crate::document::to_body(document).unwrap();
    assert_eq!(signers(&Envelope::parse(&golden).unwrap()), keys);
    let (mut refused, mut same) = (0, 0);
    for position in 0..golden.len() {
        let mut flipped = golden.clone();
        flipped[position] ^= 1 << (position % 8);
        match trusted.verify::<T>(&flipped) {
            Err(_) => refused += 1,
            Ok(verified) => {
                let envelope = Envelope::parse(&flipped).unwrap();
                assert_eq!(envelope.body(), body, "{} byte {position}", T::KIND);
                assert_eq!(verified.digest(), Digest::of(&body));
                assert_eq!(signers(&envelope), keys, "{} byte {position}", T::KIND);
                same += 1;
            }
        }
    }
    // What may differ without harm is the key's name and its neighbourhood, not the body.
    assert!(refused > body.len() && (1..40).contains(&same), "{refused} refused, {same} the same");
}

#[test]
fn t01_every_flipped_byte_is_refused_or_changes_neither_body_nor_signers() {
    flip(&root(2), &[Key::Root]);
    flip(&release("m", 1), &[Key::Release]);
    flip(&full_deployment(), &[Key::Deploy]);
    flip(&device_list(), &[Key::Deploy]);
}

fn body<T: Document>(document: &T) -> Vec<u8> {
    crate::document::to_body(document).unwrap().0
}

/// The seeds in `fuzz/corpus` are the documents of today: a changed format changes them.
#[test]
fn the_seeds_of_the_fuzz_targets_are_documents_of_today() {
    let seeds = [
        ("envelope/root", signed(&root(1), &[Key::Root, Key::Root2])),
        ("envelope/devices", signed(&device_list(), &[Key::Deploy])),
        ("root/root", body(&root(1))),
        ("root/two-of-two", body(&two_of_two(2))),
        ("release/release", body(&release("m", 1))),
        ("deployment/deployment", body(&full_deployment())),
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for (name, expected) in seeds {
        let path = folder.join(name);
        if std::env::var_os("DUNLIN_UPDATE").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &expected).unwrap();
        }
        let stored = std::fs::read(&path).unwrap_or_default();
        assert!(stored == expected, "{name} is stale: DUNLIN_UPDATE=1 cargo test -p dunlin-core seeds");
    }
}
