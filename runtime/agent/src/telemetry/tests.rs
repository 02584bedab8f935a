//! Observations become records: sums, intervals, and events where drift changes.

use dunlin_core::drift::Counts;
use dunlin_core::health::{Counters, Latency};
use dunlin_core::telemetry::{BootId, Clock, Record as _, SCHEMA};

use super::*;

fn header(seq: &mut u64) -> Header {
    *seq += 1;
    Header {
        schema: SCHEMA,
        fleet: None,
        device: "press-12".parse().unwrap(),
        boot: BootId::from_bytes([7; 16]),
        seq: *seq,
        time_unix_s: 1_700_000_000,
        clock: Clock::Bounded,
    }
}

fn quiet() -> Condition {
    let freshness = Freshness { deployment_age_s: None, proven_age_s: None };
    Condition { dropped: Dropped::default(), freshness, alarms: Vec::new(), installed: Vec::new() }
}

fn observed(state: DriftState, samples: u64) -> Observation {
    let mut counters = Counters::default();
    counters.answered(3);
    Observation {
        model: "digits".parse().unwrap(),
        release: Digest::of(b"release"),
        artifact: Digest::of(b"artifact"),
        version: "1.2.0".into(),
        phase: Phase::Active,
        counters,
        restarts: 0,
        requests: crate::data::Requests::default(),
        latency: Latency { count: 3, p50_us: 10, p90_us: 11, p99_us: 12, max_us: 13 },
        memory_bytes: 65_536,
        drift: Some(DriftObservation {
            baseline: Digest::of(b"baseline"),
            verdict: DriftVerdict { state, ..DriftVerdict::default() },
            counts: Some(Counts { samples, ..Counts::default() }),
        }),
        metrics: BTreeMap::new(),
        log: Vec::new(),
        unheard: 0,
    }
}

#[test]
fn health_tells_what_was_observed() {
    let start = Instant::now();
    let mut reporter = Reporter::new(start);
    let mut seq = 0;
    let now = start + Duration::from_millis(30_020);
    let dropped = Dropped { drift: 2, ..Dropped::default() };
    let freshness = Freshness { deployment_age_s: Some(90), proven_age_s: None };
    let installed = vec![Digest::of(b"proven before")];
    let condition = Condition { dropped, freshness, alarms: vec!["root-expired".into()], installed };
    let report = reporter.report(now, &[observed(DriftState::Warming, 3)], condition, |_| header(&mut seq));
    assert_eq!((report.health.deployment_age_s, report.health.proven_age_s), (Some(90), None));
    assert_eq!(report.health.alarms, ["root-expired"]);
    assert_eq!((report.health.uptime_s, report.health.interval_s), (30, 30));
    assert!(report.health.memory_bytes > 1 << 20);
    assert_eq!(report.health.dropped, dropped);
    assert_eq!(report.health.installed, [Digest::of(b"proven before")]);
    let model = &report.health.models[0];
    assert!(model.ready);
    assert_eq!((model.counters.inferences, model.latency.p99_us, model.memory_bytes), (3, 12, 65_536));
    let json = report.health.to_json().unwrap();
    assert_eq!(Health::from_json(&json), Ok(report.health));
    assert_eq!((report.drift.len(), report.events.len(), seq), (1, 0, 2));
}

#[test]
fn a_release_stands_once_in_health() {
    let mut reporter = Reporter::new(Instant::now());
    let mut seq = 0;
    let ended = Observation { phase: Phase::Ended, ..observed(DriftState::Warming, 0) };
    let staged = Observation { phase: Phase::Staged, ..ended.clone() };
    let other = Observation { release: Digest::of(b"other"), ..observed(DriftState::Warming, 0) };
    let observations = [ended.clone(), other, staged, observed(DriftState::Warming, 0)];
    let report = reporter.report(Instant::now(), &observations, quiet(), |_| header(&mut seq));
    let seen =
        |model: &ModelHealth| (model.release, model.ready, model.counters.inferences, model.latency.count);
    let models: Vec<_> = report.health.models.iter().map(seen).collect();
    assert_eq!(models, [(ended.release, true, 9, 9), (Digest::of(b"other"), true, 3, 3)]);
    assert_eq!(report.health.models[0].memory_bytes, 3 * 65_536);
}

#[test]
fn a_change_of_the_drift_state_is_told_once() {
    let start = Instant::now();
    let mut reporter = Reporter::new(start);
    let mut seq = 0;
    let mut told = |state, samples| {
        let report = reporter.report(start, &[observed(state, samples)], quiet(), |_| header(&mut seq));
        (report.drift.len(), report.events.into_iter().map(|event| event.event).collect::<Vec<_>>())
    };
    assert_eq!(told(DriftState::Stable, 100), (1, vec![]));
    assert_eq!(told(DriftState::Stable, 0), (0, vec![]), "nothing happened, nothing is said");
    assert_eq!(told(DriftState::Drift, 50), (1, vec!["drift-alarmed".to_string()]));
    assert_eq!(told(DriftState::Drift, 50), (1, vec![]));
    assert_eq!(told(DriftState::Warning, 50), (1, vec!["drift-warned".to_string()]));
    assert_eq!(told(DriftState::Stable, 0), (1, vec!["drift-cleared".to_string()]));
}

#[test]
fn a_release_that_was_unloaded_is_forgotten() {
    let start = Instant::now();
    let mut reporter = Reporter::new(start);
    let mut seq = 0;
    reporter.report(start, &[observed(DriftState::Drift, 1)], quiet(), |_| header(&mut seq));
    reporter.report(start, &[], quiet(), |_| header(&mut seq));
    assert!(reporter.states.is_empty());
}
