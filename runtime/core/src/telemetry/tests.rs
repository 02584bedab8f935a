//! The records against their page of documentation.

use super::*;
use crate::code::AREAS;
use crate::topic::TelemetryClass;
use alloc::string::String;
use alloc::vec::Vec;
use serde_json::Value;

const PAGE: &str = include_str!("../../../../docs/telemetry.md");

/// The JSON blocks of the page.
fn examples() -> Vec<&'static str> {
    PAGE.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

fn check<T: Record>(example: &str, class: Option<TelemetryClass>) -> T {
    let record = T::from_json(example.as_bytes()).unwrap();
    assert_eq!(T::CLASS, class);
    let written: Value = serde_json::from_slice(&record.to_json().unwrap()).unwrap();
    let shown: Value = serde_json::from_str(example).unwrap();
    assert_eq!(
        written, shown,
        "every field of the example is a field of the record, and the other way round"
    );
    assert_eq!(written["schema"], SCHEMA);
    record
}

#[test]
fn the_page_shows_each_record_as_it_is_written() {
    let [presence, health, drift, event] = examples()[..] else { panic!("the page has four examples") };
    let presence: Presence = check(presence, None);
    assert_eq!(presence.state, PresenceState::Online);
    let health: Health = check(health, Some(TelemetryClass::Health));
    assert_eq!(health.models[0].counters.failure_count(), 2);
    let drift: Drift = check(drift, Some(TelemetryClass::Drift));
    assert_eq!(drift.verdict.state, crate::drift::DriftState::Drift);
    let event: EventRecord = check(event, Some(TelemetryClass::Event));
    assert_eq!(event.header.clock, Clock::Bounded);
}

#[test]
fn the_page_explains_every_field() {
    fn names(value: &Value, into: &mut Vec<String>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(name, value)| {
                into.push(name.clone());
                // These map codes or classes to counts: they are no records.
                if !["failures", "rejections", "dropped"].contains(&name.as_str()) {
                    names(value, into);
                }
            }),
            Value::Array(items) => items.iter().for_each(|item| names(item, into)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut fields = Vec::new();
    examples().iter().for_each(|example| names(&serde_json::from_str(example).unwrap(), &mut fields));
    for field in fields {
        assert!(
            PAGE.contains(&alloc::format!("| `{field}` |")),
            "docs/telemetry.md does not explain `{field}`"
        );
    }
}

#[test]
fn the_codes_on_the_page_exist() {
    let known = |id: &str| AREAS.iter().any(|(_, codes)| codes.iter().any(|code| code.id == id));
    let health = Health::from_json(examples()[1].as_bytes()).unwrap();
    let counters = &health.models[0].counters;
    let event = EventRecord::from_json(examples()[3].as_bytes()).unwrap();
    for code in counters.failures.keys().chain(counters.rejections.keys()).chain(&event.code) {
        assert!(known(code), "docs/telemetry.md shows the code {code}, which does not exist");
    }
}

#[test]
fn unknown_fields_are_ignored_and_other_schemas_refused() {
    let event = examples()[3];
    let newer = event.replacen('{', r#"{"colour": "blue","#, 1);
    assert_eq!(EventRecord::from_json(newer.as_bytes()), EventRecord::from_json(event.as_bytes()));
    let other = event.replace(r#""schema": 1"#, r#""schema": 2"#);
    assert_eq!(EventRecord::from_json(other.as_bytes()), Err(TelemetryError::Schema(2)));
    assert!(matches!(Health::from_json(event.as_bytes()), Err(TelemetryError::Json(_))));
}

#[test]
fn what_is_not_known_is_left_out() {
    let mut event = EventRecord::from_json(examples()[3].as_bytes()).unwrap();
    event.header.fleet = None;
    (event.model, event.release, event.version, event.code, event.detail) = (None, None, None, None, None);
    let text = String::from_utf8(event.to_json().unwrap()).unwrap();
    assert!(!text.contains("null") && !text.contains("fleet"), "{text}");
    assert_eq!(EventRecord::from_json(text.as_bytes()), Ok(event));
}

#[test]
fn boot_ids_have_one_spelling() {
    let text = "000102030405060708090a0b0c0d0eff";
    assert_eq!(alloc::format!("{}", text.parse::<BootId>().unwrap()), text);
    for bad in ["", "+00102030405060708090a0b0c0d0eff", "000102030405060708090A0B0C0D0EFF", &text[1..]] {
        assert_eq!(bad.parse::<BootId>(), Err(BootIdError), "{bad}");
    }
}
