//! What the device reports about its models: health and drift, out of what the data plane observed.
//!
//! A [`Reporter`] turns observations into records and remembers the last drift state of every release,
//! so that a change is told once, as an event. It sends nothing: headers with their sequence come from
//! the caller, and records go back to it.

mod memory;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dunlin_core::Digest;
use dunlin_core::drift::{DriftState, DriftVerdict};
use dunlin_core::id::ModelName;
use dunlin_core::telemetry::{Drift, Dropped, EventRecord, Header, Health, ModelHealth};
use dunlin_core::topic::TelemetryClass;
use dunlin_core::update::Freshness;

use crate::data::{DriftObservation, Observation, Phase};

/// What the device itself adds to a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Records that were dropped unsent.
    pub dropped: Dropped,
    /// How old its knowledge of what the fleet wants is.
    pub freshness: Freshness,
    /// The codes of the alarms that stand.
    pub alarms: Vec<String>,
    /// The releases that it holds.
    pub installed: Vec<Digest>,
}

/// The records of one interval.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// How device and models do.
    pub health: Health,
    /// Of each release that counted something or changed its state.
    pub drift: Vec<Drift>,
    /// Changes of drift states: `drift-alarmed`, `drift-warned`, `drift-cleared`.
    pub events: Vec<EventRecord>,
}

/// Makes the reports of one run of the agent.
#[derive(Debug)]
pub struct Reporter {
    started: Instant,
    reported: Instant,
    states: BTreeMap<(ModelName, Digest), DriftState>,
}

impl Reporter {
    /// A reporter of an agent that started now.
    pub fn new(now: Instant) -> Reporter {
        Reporter { started: now, reported: now, states: BTreeMap::new() }
    }

    /// Ends an interval. The observations are those of
    /// [`DataPlane::observe`](crate::data::DataPlane::observe) with [`Interval::Take`](crate::data::Interval);
    /// `header` is asked once for every record, in the order in which they must be sent. What models
    /// logged goes into the agent's own log.
    pub fn report(
        &mut self,
        now: Instant,
        observations: &[Observation],
        condition: Condition,
        mut header: impl FnMut(TelemetryClass) -> Header,
    ) -> Report {
        let interval = now.saturating_duration_since(self.reported);
        self.reported = now;
        let mut report = Report {
            health: Health {
                header: header(TelemetryClass::Health),
                uptime_s: now.saturating_duration_since(self.started).as_secs(),
                interval_s: whole_seconds(interval),
                memory_bytes: memory::resident_bytes().unwrap_or(0),
                deployment_age_s: condition.freshness.deployment_age_s,
                proven_age_s: condition.freshness.proven_age_s,
                alarms: condition.alarms,
                dropped: condition.dropped,
                installed: condition.installed,
                models: model_health(observations),
            },
            drift: Vec::new(),
            events: Vec::new(),
        };
        for observation in observations {
            log(observation);
            if let Some(drift) = &observation.drift {
                self.drift(observation, drift, &mut header, &mut report);
            }
        }
        let loaded = |key: &(ModelName, Digest)| {
            observations.iter().any(|o| (&o.model, &o.release) == (&key.0, &key.1))
        };
        self.states.retain(|key, _| loaded(key));
        report
    }

    fn drift(
        &mut self,
        observation: &Observation,
        drift: &DriftObservation,
        header: &mut impl FnMut(TelemetryClass) -> Header,
        report: &mut Report,
    ) {
        let key = (observation.model.clone(), observation.release);
        let before = self.states.insert(key, drift.verdict.state).unwrap_or_default();
        let event = change(before, drift.verdict.state);
        let counted = drift.counts.as_ref().is_some_and(|counts| counts.samples > 0);
        if counted || event.is_some() {
            report.drift.push(Drift {
                header: header(TelemetryClass::Drift),
                model: observation.model.clone(),
                release: observation.release,
                baseline: drift.baseline,
                verdict: drift.verdict.clone(),
                counts: drift.counts.clone(),
            });
        }
        if let Some(event) = event {
            report.events.push(EventRecord {
                header: header(TelemetryClass::Event),
                event: event.to_string(),
                model: Some(observation.model.clone()),
                release: Some(observation.release),
                version: Some(observation.version.clone()),
                code: None,
                detail: Some(detail(&drift.verdict)),
            });
        }
    }
}

/// What a change of the state is called; `None` where there is nothing to tell.
fn change(before: DriftState, after: DriftState) -> Option<&'static str> {
    match (before, after) {
        (DriftState::Warming | DriftState::Stable | DriftState::Warning, DriftState::Drift) => {
            Some("drift-alarmed")
        }
        (DriftState::Warming | DriftState::Stable | DriftState::Drift, DriftState::Warning) => {
            Some("drift-warned")
        }
        (DriftState::Warning | DriftState::Drift, DriftState::Stable) => Some("drift-cleared"),
        (DriftState::Warming, DriftState::Stable)
        | (
            DriftState::Warming | DriftState::Stable | DriftState::Warning | DriftState::Drift,
            DriftState::Warming,
        )
        | (DriftState::Stable, DriftState::Stable)
        | (DriftState::Warning, DriftState::Warning)
        | (DriftState::Drift, DriftState::Drift) => None,
    }
}

fn detail(verdict: &DriftVerdict) -> String {
    let cause = verdict.cause.map(|cause| format!("psi {:.2} of {cause}; ", cause.psi)).unwrap_or_default();
    format!(
        "{cause}psi {:.2} at the furthest input feature, {} of them over the warning, {:.2} of the outputs, in {} \
         samples",
        verdict.psi_input_max, verdict.features_over, verdict.psi_output, verdict.samples
    )
}

/// Each release once: of one that was switched away from and loaded again, the instances are added up.
fn model_health(observations: &[Observation]) -> Vec<ModelHealth> {
    let mut models: Vec<ModelHealth> = Vec::with_capacity(observations.len());
    for observation in observations {
        let ready = observation.phase == Phase::Active;
        let known = models
            .iter_mut()
            .find(|known| (&known.model, known.release) == (&observation.model, observation.release));
        match known {
            Some(known) => {
                known.ready |= ready;
                known.counters.add(&observation.counters);
                known.latency = known.latency.with(observation.latency);
                known.memory_bytes = known.memory_bytes.saturating_add(observation.memory_bytes);
            }
            None => models.push(ModelHealth {
                model: observation.model.clone(),
                release: observation.release,
                version: observation.version.clone(),
                ready,
                counters: observation.counters.clone(),
                latency: observation.latency,
                memory_bytes: observation.memory_bytes,
            }),
        }
    }
    models
}

/// Rounded to the nearest second, because timers fire a little late and never early.
fn whole_seconds(time: Duration) -> u32 {
    u32::try_from(time.saturating_add(Duration::from_millis(500)).as_secs()).unwrap_or(u32::MAX)
}

/// A model's words in our log: under its name, and never louder than `info`.
fn log(observation: &Observation) {
    for line in &observation.log {
        tracing::info!(model = %observation.model, level = line.level, "the model says: {}", line.text);
    }
}

#[cfg(test)]
mod tests;
