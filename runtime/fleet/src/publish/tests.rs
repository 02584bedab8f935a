//! What a release puts on the broker, in which order, and what is never put there.

use super::*;
use crate::fixture::{ADD_ONE, CARD, Plant, module, request};
use crate::release::Released;

/// Module bytes that do not repeat: 70 chunks and more.
fn large() -> Vec<u8> {
    let noise: String = (0..2_300_000u32)
        .map(|i| char::from(b'a' + (i.wrapping_mul(2_654_435_761) >> 27) as u8 % 26))
        .collect();
    module(CARD, ADD_ONE, &format!(r#"(@custom "noise" "{noise}")"#))
}

fn verified(plant: &Plant, released: &Released) -> Verified<Release> {
    plant.fleet.find_release(&released.release.model, &released.release.version).unwrap()
}

fn kinds(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.topic.split('/').nth(3).unwrap()).collect()
}

#[test]
fn roots_come_first_then_the_device_list_then_chunks_and_the_release_last() {
    let mut plant = Plant::new();
    plant.step_root(|_| {});
    plant.enroll("press-3");
    let released = plant.release("m", "1.0.0");
    let messages = messages(&plant.fleet, &verified(&plant, &released)).unwrap();
    assert_eq!(kinds(&messages), ["root", "root", "devices", "chunk", "release"]);
    assert!(messages.iter().all(|message| message.retain));
    assert!(messages[0].topic.ends_with("/1") && messages[1].topic.ends_with("/2"));
    assert_eq!(messages[4].topic, topic::release(plant.fleet.name(), &released.digest));
}

#[test]
fn a_long_list_precedes_its_chunks_and_they_make_up_the_module() {
    let plant = Plant::new();
    let bytes = large();
    let released = plant.fleet.release(request("m", "1.0.0", bytes.clone())).unwrap();
    let Chunks::List(list) = &released.release.artifact.chunks else {
        panic!("more than 64 chunks are a list")
    };
    let messages = messages(&plant.fleet, &verified(&plant, &released)).unwrap();
    let chunks: Vec<&Message> = messages.iter().filter(|message| message.topic.contains("/chunk/")).collect();
    assert_eq!(chunks[0].topic, topic::chunk(plant.fleet.name(), &list.digest));
    for chunk in &chunks {
        assert_eq!(chunk.topic, topic::chunk(plant.fleet.name(), &Digest::of(&chunk.payload)));
    }
    let whole: Vec<u8> = chunks[1..].iter().flat_map(|chunk| chunk.payload.to_vec()).collect();
    assert!(chunks.len() > 65 && whole == bytes);
}

#[test]
fn no_chunk_goes_twice() {
    let plant = Plant::new();
    let zeros = "\\00".repeat(4 * 32 * 1024);
    let bytes = module(CARD, ADD_ONE, &format!(r#"(data (i32.const 65536) "{zeros}")"#));
    let released = plant.fleet.release(request("m", "1.0.0", bytes)).unwrap();
    let Chunks::Inline(refs) = &released.release.artifact.chunks else { panic!("few chunks are inline") };
    let messages = messages(&plant.fleet, &verified(&plant, &released)).unwrap();
    let topics: std::collections::BTreeSet<&str> =
        messages.iter().map(|message| message.topic.as_str()).collect();
    assert_eq!(topics.len(), messages.len());
    assert!(messages.len() < refs.len() + 2, "four equal chunks are one message");
}

#[test]
fn altered_or_missing_blobs_are_not_published() {
    let plant = Plant::new();
    let released = plant.release("m", "1.0.0");
    let release = verified(&plant, &released);
    let path = plant.fleet.blob_path(&release.artifact.digest);
    std::fs::write(&path, "altered").unwrap();
    assert_eq!(messages(&plant.fleet, &release).unwrap_err().code().id, "blob-altered");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(messages(&plant.fleet, &release).unwrap_err().code().id, "file");
}

#[test]
fn a_signed_release_that_cuts_wrongly_publishes_nothing_and_does_not_panic() {
    let plant = Plant::new();
    let genuine = plant.release("m", "1.0.0").release;
    let Chunks::Inline(refs) = &genuine.artifact.chunks else { panic!("few chunks are inline") };
    let code = |change: &dyn Fn(&mut Release)| {
        let mut release = genuine.clone();
        change(&mut release);
        messages(&plant.fleet, &plant.fleet.sign(&release).unwrap()).unwrap_err().code().id
    };
    let chunk = refs[0];
    let longer = document_chunks(chunk.digest, chunk.size_bytes + 1);
    assert_eq!(
        code(&|release| {
            release.artifact.size_bytes += 1;
            release.artifact.chunks = longer.clone();
        }),
        "chunk-list-malformed"
    );
    let other = document_chunks(Digest::of(b"other"), chunk.size_bytes);
    assert_eq!(code(&|release| release.artifact.chunks = other.clone()), "blob-altered");
}

fn document_chunks(digest: Digest, size_bytes: u32) -> Chunks {
    Chunks::Inline(vec![dunlin_core::document::ChunkRef { digest, size_bytes }])
}
