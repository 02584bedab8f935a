//! What each report makes of a device's standing.

use super::*;
use crate::deploy::fixture::deployment;
use crate::fixture::Plant;
use dunlin_core::document::ModelEntry;
use serde_json::{Value, json};

fn entry(want: Want) -> ModelEntry {
    ModelEntry { model: "m".parse().unwrap(), want, retry: false }
}

fn release(content: &[u8]) -> Want {
    Want::Release { stable: Digest::of(content), candidate: None }
}

fn header(device: &str) -> Value {
    json!({ "schema": 1, "device": device, "boot": "0".repeat(32), "seq": 1, "time_unix_s": 1, "clock": "bounded" })
}

fn merged(device: &str, more: Value) -> Value {
    let mut record = header(device);
    record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    record
}

struct Stand {
    plant: Plant,
    follow: Follow,
}

impl Stand {
    /// Two devices of the channel `stable`, which should do what `want` says.
    fn new(want: Want) -> Stand {
        let plant = Plant::new();
        plant.enroll("a");
        plant.enroll("b");
        let deployment = Deployment { models: vec![entry(want)], ..deployment(&plant.fleet, 1) };
        let follow = Follow::new(&plant.fleet, &deployment, &"m".parse().unwrap()).unwrap();
        Stand { plant, follow }
    }

    fn event(&mut self, device: &str, more: Value) -> bool {
        self.hear(device, TelemetryClass::Event, &merged(device, more))
    }

    fn health(&mut self, device: &str, models: &[(&str, &[u8], bool)]) -> bool {
        let model = |(name, release, ready): &(&str, &[u8], bool)| {
            json!({ "model": name, "release": Digest::of(release), "version": "1.0.0", "ready": ready,
                    "inferences": 0, "failures": {}, "rejections": {}, "memory_bytes": 1,
                    "latency": { "count": 0, "p50_us": 0, "p90_us": 0, "p99_us": 0, "max_us": 0 } })
        };
        let models: Vec<Value> = models.iter().map(model).collect();
        let more = json!({ "uptime_s": 1, "interval_s": 1, "memory_bytes": 1, "models": models });
        self.hear(device, TelemetryClass::Health, &merged(device, more))
    }

    fn hear(&mut self, device: &str, class: TelemetryClass, record: &Value) -> bool {
        let fleet = self.plant.fleet.name();
        let topic = topic::telemetry(fleet, &device.parse().unwrap(), class);
        let payload = record.to_string().into_bytes().into();
        self.follow.hear(fleet, &Message { topic, payload, retain: false })
    }

    fn standing(&self, device: &str) -> Standing {
        self.follow.devices().find(|row| row.device.as_str() == device).unwrap().standing
    }
}

#[test]
fn switches_and_health_count_as_serving() {
    let mut stand = Stand::new(release(b"new"));
    assert!(!stand.event("a", json!({ "event": "switched", "model": "m", "release": Digest::of(b"old") })));
    assert!(!stand.health("a", &[("m", b"old", true)]) && !stand.health("a", &[("m", b"new", false)]));
    assert!(!stand.health("a", &[("other", b"new", true)]));
    assert_eq!(stand.standing("a"), Standing::Silent);
    assert!(stand.event("a", json!({ "event": "switched", "model": "m", "release": Digest::of(b"new") })));
    assert!(stand.health("b", &[("m", b"new", true)]));
    assert!(stand.follow.is_settled());
    assert_eq!(stand.follow.of(Standing::Serves).len(), 2);
}

#[test]
fn refusals_carry_code_and_detail() {
    let mut stand = Stand::new(release(b"new"));
    let refused = json!({ "event": "refused", "model": "m", "code": "site-model", "detail": "not allowed" });
    assert!(stand.event("a", refused));
    let back = json!({ "event": "rolled-back", "model": "m", "release": Digest::of(b"new"), "code": "trial-failed" });
    assert!(stand.event("b", back));
    let rows = stand.follow.of(Standing::Refused);
    assert_eq!(
        (rows[0].code.as_deref(), rows[0].detail.as_deref()),
        (Some("site-model"), Some("not allowed"))
    );
    assert_eq!(rows[1].code.as_deref(), Some("trial-failed"));
    // A fault that passes is not the last word.
    assert!(stand.health("a", &[("m", b"new", true)]));
    assert_eq!(stand.standing("a"), Standing::Serves);
}

#[test]
fn other_refusals_change_nothing() {
    let mut stand = Stand::new(release(b"new"));
    for other in [
        json!({ "event": "refused", "model": "other", "code": "site-model" }),
        json!({ "event": "refused", "model": "m", "release": Digest::of(b"old"), "code": "chunk-digest" }),
        json!({ "event": "refused", "code": "deployment-needs-newer-root" }),
        json!({ "event": "alarm", "model": "m", "code": "x" }),
    ] {
        assert!(!stand.event("a", other.clone()), "{other}");
    }
    assert!(!stand.event("stranger", json!({ "event": "switched", "release": Digest::of(b"new") })));
    assert!(stand.event("a", json!({ "event": "refused", "code": "device-revoked" })));
}

#[test]
fn removal_is_seen() {
    let mut stand = Stand::new(Want::Remove);
    assert!(!stand.health("a", &[("m", b"old", true)]));
    assert!(stand.event("a", json!({ "event": "removed", "model": "m" })));
    assert!(stand.health("b", &[("other", b"x", true)]));
    assert!(stand.follow.is_settled());
}

#[test]
fn own_deployments_overrule_the_channel() {
    let stand = Stand::new(release(b"new"));
    let (fleet, own) = (&stand.plant.fleet, Audience::Device("a".parse().unwrap()));
    let other = Deployment { audience: own, models: vec![entry(release(b"pinned"))], ..deployment(fleet, 1) };
    fleet.store_deployment(&fleet.sign(&other).unwrap()).unwrap();
    let wanted = Deployment { models: vec![entry(release(b"new"))], ..deployment(fleet, 1) };
    let follow = Follow::new(fleet, &wanted, &"m".parse().unwrap()).unwrap();
    assert_eq!(follow.of(Standing::Overruled).len(), 1);
    assert_eq!(follow.of(Standing::Silent).len(), 1);
}

#[test]
fn presence_is_noted_and_garbage_ignored() {
    let mut stand = Stand::new(release(b"new"));
    let more = json!({ "state": "online", "connection": 1, "runtime": "0.1.0", "abi": 1, "root_version": 1 });
    let fleet = stand.plant.fleet.name().clone();
    let topic = topic::presence(&fleet, &"a".parse().unwrap());
    let online = |payload: Vec<u8>| Message { topic: topic.clone(), payload: payload.into(), retain: true };
    assert!(stand.follow.hear(&fleet, &online(merged("a", more).to_string().into_bytes())));
    assert!(!stand.follow.hear(&fleet, &online(b"{".to_vec())));
    assert_eq!(stand.follow.devices().next().unwrap().online, Some(true));
    assert!(!stand.hear("a", TelemetryClass::Health, &json!({})));
    assert!(!stand.hear("a", TelemetryClass::Drift, &json!({})));
}
