//! The corpus of the fuzz target, replayed: whatever once made a difference does so no more.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod oracle;

use std::path::Path;

#[test]
fn the_corpus_of_configurations_is_harmless() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/config");
    let (mut replayed, mut read) = (0, 0);
    for entry in std::fs::read_dir(&folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        oracle::config(&bytes);
        oracle::config(&bytes[..bytes.len() / 2]);
        replayed += 1;
        read += usize::from(dunlin_agent::config::Config::parse(&String::from_utf8_lossy(&bytes)).is_ok());
    }
    assert!(replayed > read && read > 0, "{read} of {replayed} are configurations");
}
