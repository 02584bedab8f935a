//! The corpus of the fuzz targets, replayed: whatever once made a difference does so no more.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod oracle;

use std::path::Path;

fn replay(target: &str, oracle: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut replayed = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        oracle(&bytes);
        // Cut in two, it is refused or read, and nothing worse.
        oracle(&bytes[..bytes.len() / 2]);
        replayed += 1;
    }
    assert!(replayed > 0, "{} is empty", folder.display());
}

#[test]
fn the_corpus_of_envelopes_is_harmless() {
    replay("envelope", oracle::envelope);
}

#[test]
fn the_corpus_of_roots_is_harmless() {
    replay("root", oracle::root);
}

#[test]
fn the_corpus_of_releases_is_harmless() {
    replay("release", oracle::release);
}

#[test]
fn the_corpus_of_deployments_is_harmless() {
    replay("deployment", oracle::deployment);
}
