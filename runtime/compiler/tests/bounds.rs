//! Files whose encoding is small and whose contents are large are refused before they are decoded. A process of
//! its own, because its memory is measured.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use dunlin_compiler::{CompileError, MAX_DECODED_BYTES, Options, compile};
use dunlin_core::code::Coded as _;

/// Bytes of the repeated part of a file.
const BYTES: usize = 16 << 20;

fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = vec![];
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A field of bytes or of a message.
fn field(tag: usize, content: &[u8]) -> Vec<u8> {
    [varint(tag << 3 | 2), varint(content.len()), content.to_vec()].concat()
}

/// A model with IR version 8, opset 17, and more.
fn model(more: &[u8]) -> Vec<u8> {
    [&[8, 8][..], &field(8, &[0x10, 17]), more].concat()
}

fn graph(content: &[u8]) -> Vec<u8> {
    model(&field(7, content))
}

fn many(part: &[u8]) -> Vec<u8> {
    part.repeat(BYTES / part.len())
}

fn within(tags: &[usize], content: Vec<u8>) -> Vec<u8> {
    tags.iter().rev().fold(content, |content, tag| field(*tag, &content))
}

/// The most memory that this process had, in bytes.
#[cfg(target_os = "linux")]
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn small_parts_are_refused_and_weights_are_not() {
    small_parts();
    // Afterwards, since it takes memory.
    weights();
}

fn small_parts() {
    let empty = |tag| many(&field(tag, &[]));
    let files = [
        ("nodes", graph(&empty(1))),
        ("attributes", graph(&within(&[1], empty(5)))),
        ("initialisers", graph(&empty(5))),
        ("sparse initialisers", graph(&empty(15))),
        ("inputs", graph(&empty(11))),
        ("declarations", graph(&empty(13))),
        ("metadata of the model", model(&empty(14))),
        ("metadata of a node", graph(&within(&[1], empty(9)))),
        ("functions", model(&empty(25))),
        ("training", model(&empty(20))),
        ("opsets", model(&empty(8))),
        ("extents", graph(&within(&[11, 2, 1, 2], empty(1)))),
        ("extents with names", graph(&within(&[11, 2, 1, 2], many(&within(&[1, 2], b"a".to_vec()))))),
        ("operands", graph(&within(&[1], empty(1)))),
        ("strings", graph(&within(&[1, 5], empty(9)))),
        ("tensors of an attribute", graph(&within(&[1, 5], empty(10)))),
        ("graphs of an attribute", graph(&within(&[1, 5], empty(11)))),
        ("integers of an attribute", graph(&within(&[1, 5], many(&[0x40, 1])).repeat(3))),
        ("packed integers", graph(&within(&[5, 7], vec![1; BYTES + 1]))),
        ("dims", graph(&within(&[5], many(&[8, 1])).repeat(3))),
        ("devices", graph(&within(&[1, 10, 2, 4], empty(2)))),
        ("nodes deep within", graph(&within(&[1, 5, 6, 1, 5, 6, 1, 5, 6], empty(1)))),
    ];
    #[cfg(target_os = "linux")]
    let before = peak_bytes();
    for (what, file) in &files {
        let error = compile(file, &Options::default()).expect_err(what);
        assert_eq!(error.code().id, "onnx-too-large", "{what}: {error}");
        assert!(error.to_string().contains(&MAX_DECODED_BYTES.to_string()), "{what}: {error}");
    }
    // Nothing of it was decoded.
    #[cfg(target_os = "linux")]
    assert!(peak_bytes() - before < MAX_DECODED_BYTES, "{} bytes more", peak_bytes() - before);
}

#[test]
fn graphs_within_graphs_have_an_end() {
    let deep = (0..5000).fold(vec![], |graph, _| within(&[1, 5, 6], graph));
    let error = compile(&graph(&deep), &Options::default()).unwrap_err();
    assert!(
        matches!(&error, CompileError::Malformed(reason) if reason.contains("nested too deep")),
        "{error}"
    );
}

fn weights() {
    // More bytes of weights than the bound, in each of their encodings.
    let large = vec![0; MAX_DECODED_BYTES as usize + 4];
    for tag in [4, 9, 10] {
        let error = compile(&graph(&within(&[5, tag], large.clone())), &Options::default()).unwrap_err();
        assert_ne!(error.code().id, "onnx-too-large", "{error}");
    }
}

#[test]
fn what_is_no_encoding_is_refused() {
    for bytes in [&[0x3a][..], &[0x3a, 5, 1], &[0x3a, 0xff], &[0x0f], &[0x39, 1], &[0x3d, 1], &[0xff; 11]] {
        let error = compile(bytes, &Options::default()).unwrap_err();
        assert_eq!(error.code().id, "onnx-malformed", "{bytes:?}: {error}");
    }
}
