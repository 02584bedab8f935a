//! What trust costs: the time to verify a release and a deployment, and to walk 300 roots.
//!
//! `cargo run --release -p dunlin-core --example trust_cost`; the peak of memory is that of the process
//! (`/usr/bin/time -v`), which holds all 300 roots at once, as no device does.
#![allow(clippy::expect_used, clippy::print_stdout)]

use std::hint::black_box;
use std::time::Instant;

use dunlin_core::document::{Deployment, Document, Release, Root, parse, to_body};
use dunlin_core::envelope::seal;
use dunlin_core::key::SecretKey;
use dunlin_core::trust::TrustedRoot;

const ROOTS: u64 = 300;
const ROUNDS: u32 = 1000;

/// Signs with the key that the seeds of the fuzz targets were made for.
fn sealed<T: Document>(document: &T, name: &str, seed: u8) -> Vec<u8> {
    let (name, key) = (name.parse().expect("a key's name"), SecretKey::from_seed(&[seed; 32]));
    seal::<T>(&to_body(document).expect("a valid document").0, &[(&name, &key)])
}

fn main() {
    let mut root: Root = parse(include_bytes!("../fuzz/corpus/root/root")).expect("a root");
    let release: Release = parse(include_bytes!("../fuzz/corpus/release/release")).expect("a release");
    let deployment: Deployment =
        parse(include_bytes!("../fuzz/corpus/deployment/deployment")).expect("a deployment");
    let mut roots = Vec::new();
    for version in 1..=ROOTS + 1 {
        root.version = version;
        roots.push(sealed(&root, "root", 1));
    }
    let first = TrustedRoot::enrolled(&roots[0]).expect("it signs itself");
    let start = Instant::now();
    let mut trusted = first.clone();
    for next in &roots[1..] {
        trusted = trusted.step(next).expect("the next root");
    }
    let walk = start.elapsed();
    assert_eq!(trusted.version(), ROOTS + 1);
    println!("{ROOTS} roots of {} bytes: {walk:.1?}, {:.1?} each", roots[0].len(), walk / 300);
    verify(&trusted, &sealed(&release, "release", 3), |root, bytes| root.verify::<Release>(bytes).is_ok());
    verify(&trusted, &sealed(&deployment, "deploy", 4), |root, bytes| {
        root.verify::<Deployment>(bytes).is_ok()
    });
}

fn verify(root: &TrustedRoot, envelope: &[u8], verifies: fn(&TrustedRoot, &[u8]) -> bool) {
    let start = Instant::now();
    for _ in 0..ROUNDS {
        assert!(verifies(black_box(root), black_box(envelope)));
    }
    println!("a document of {} bytes: {:.1?}", envelope.len(), start.elapsed() / ROUNDS);
}
