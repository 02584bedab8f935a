//! What goes together, and what is missing afterwards and why.

use super::*;

fn message(topic: &str, payload: &'static [u8]) -> Message {
    Message { topic: topic.into(), payload: Bytes::from_static(payload), retain: true }
}

fn holding(messages: &[(&str, &'static [u8])]) -> BTreeMap<String, Bytes> {
    messages.iter().map(|(topic, payload)| (topic.to_string(), Bytes::from_static(payload))).collect()
}

#[test]
fn references_begin_a_window() {
    let topics = ["f/root/1", "f/chunk/a", "f/chunk/b", "f/release/r", "f/chunk/c", "f/deploy/channel/s"];
    let messages: Vec<Message> = topics.iter().map(|topic| message(topic, b"x")).collect();
    let mut rest = messages.as_slice();
    let mut lengths = Vec::new();
    while !rest.is_empty() {
        let length = window_length(rest);
        lengths.push(length);
        rest = &rest[length..];
    }
    assert_eq!(lengths, [3, 1, 1, 1]);
    let many = vec![message("f/chunk/a", b"x"); 3 * WINDOW];
    assert_eq!(window_length(&many), WINDOW);
    assert_eq!(window_length(&[]), 0);
}

#[test]
fn kept_messages_pass() {
    let window = [message("a", b"1"), message("b", b"")];
    assert_eq!(not_kept(&window, &holding(&[("a", b"1")])), None);
}

#[test]
fn missing_messages_name_the_reason() {
    let window = [message("a", b"1"), message("b", b"22"), message("c", b"333")];
    let nothing = not_kept(&window, &holding(&[])).unwrap();
    assert_eq!((nothing.missing, nothing.of, nothing.found), (3, 3, Found::Nothing));
    assert_eq!(nothing.reason, remedy::WRITE_READ_RETAIN);
    let large = not_kept(&window, &holding(&[("a", b"1"), ("b", b"22")])).unwrap();
    assert_eq!((large.missing, large.topic.as_str(), large.reason), (1, "c", remedy::SIZE));
    let small = not_kept(&window, &holding(&[("b", b"22"), ("c", b"333")])).unwrap();
    assert_eq!((small.topic.as_str(), small.reason), ("a", remedy::WRITE_READ_RETAIN));
    let old = not_kept(&window[..1], &holding(&[("a", b"0")])).unwrap();
    assert_eq!((old.found, old.reason), (Found::Other, remedy::REPLACE));
    assert!(old.to_string().contains("does not hold 1 of 1 messages"), "{old}");
}

#[test]
fn a_deletion_that_stays_is_found() {
    let lost = not_kept(&[message("a", b"")], &holding(&[("a", b"1")])).unwrap();
    assert_eq!((lost.missing, lost.found), (1, Found::Other));
}
