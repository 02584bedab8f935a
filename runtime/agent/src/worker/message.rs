//! What control and the worker say to each other.
//!
//! Control gives orders, one at a time; the worker answers each once. What the worker says is hostile input
//! on control's side: [`Answer`]s are bounded in length by the channel and in content by [`sound`].

use std::collections::BTreeMap;

use dunlin_core::Digest;
use dunlin_core::code;
use dunlin_core::document::Release;
use dunlin_core::health::Counters;
use dunlin_core::id::ModelName;
use dunlin_core::telemetry::MAX_METRICS;
use serde::{Deserialize, Serialize};

use super::build::Built;
use super::children::readable;
use super::isolation::Layer;
use crate::api::ApiBounds;
use crate::data::{Interval, Observation, Policy, Prepared};

/// The longest order, in bytes: a signed document, and what is known of its machine code.
pub(super) const MAX_ORDER_BYTES: usize = 1024 * 1024;

/// The longest answer, in bytes: observations of all models, with their drift counts.
pub(super) const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// What control wants. The descriptors that go with it stand behind each.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Order {
    /// The first one. Descriptors: the flight record, and each listening socket.
    Start {
        policy: Policy,
        api: ApiBounds,
        sockets: Vec<Socket>,
    },
    /// Take connections from now on. Until then they wait in the system's queue, so that nobody who comes
    /// after a death meets a worker without models.
    Serve,
    /// Load a release. Descriptors: its code, and its drift baseline if it has one.
    Load {
        model: ModelName,
        release: Digest,
        document: Box<Release>,
        built: Built,
        baseline: bool,
    },
    Activate {
        model: ModelName,
        release: Digest,
    },
    Stop {
        model: ModelName,
    },
    Discard {
        release: Digest,
    },
    Forget {
        model: ModelName,
    },
    Observe {
        interval: Interval,
    },
    /// Answer, if you are able to.
    Ping,
    /// What the local API tells of the device, in JSON. The one order without an answer.
    Status {
        json: String,
    },
    /// Answer what is open, and end.
    End {
        grace_ms: u64,
    },
}

/// The kind of a listening socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Socket {
    Tcp,
    /// The users that may connect; everybody whom the file's mode lets, if there are none.
    Unix {
        users: Vec<u32>,
    },
}

/// What the worker answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    /// To [`Order::Start`]: it is there, without these layers of isolation.
    Ready {
        missing: Vec<Layer>,
    },
    Loaded(Prepared),
    Done,
    Observed(Vec<Observation>),
    Failed {
        code: String,
        message: String,
    },
}

/// What control knows of a release that it gave to a worker.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) model: ModelName,
    pub(super) artifact: Digest,
    pub(super) version: String,
}

/// The most instances that are observed: what is loaded, and what ends.
const MAX_OBSERVATIONS: usize = 4096;

/// Bounds of what a model says, which an honest worker keeps to.
const MAX_LINES: usize = 64;
const MAX_LINE_CHARS: usize = 1024;
const MAX_NAME_CHARS: usize = 64;

/// Observations as they may be believed: of releases that the worker was given, under their own names, with
/// codes that exist and text that is harmless. The counts themselves are the worker's word.
pub(super) fn sound(observations: Vec<Observation>, given: &BTreeMap<Digest, Given>) -> Vec<Observation> {
    let known = observations.into_iter().take(MAX_OBSERVATIONS).filter_map(|mut observation| {
        let Given { model, artifact, version } = given.get(&observation.release)?.clone();
        (observation.model, observation.artifact, observation.version) = (model, artifact, version);
        let Counters { failures, rejections, .. } = &mut observation.counters;
        for table in [failures, rejections] {
            table.retain(|id, _| code::find(id).is_some());
        }
        observation.log.truncate(MAX_LINES);
        for line in &mut observation.log {
            line.text = cut(&line.text, MAX_LINE_CHARS);
        }
        observation.metrics = std::mem::take(&mut observation.metrics)
            .into_iter()
            .filter(|(_, metric)| metric.is_finite())
            .take(MAX_METRICS)
            .map(|(name, metric)| (cut(&name, MAX_NAME_CHARS), metric))
            .collect();
        Some(observation)
    });
    known.collect()
}

fn cut(text: &str, most: usize) -> String {
    readable(text.as_bytes()).chars().take(most).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Phase, Requests};
    use dunlin_core::health::Latency;
    use dunlin_sandbox::LogLine;

    #[test]
    fn a_worker_is_believed_about_what_it_was_given_and_no_more() {
        let release = Digest::of(b"r");
        let lie = |release| Observation {
            model: "other".parse().unwrap(),
            release,
            artifact: Digest::of(b"lie"),
            version: "\x1b[31mlie".into(),
            phase: Phase::Active,
            counters: Counters {
                inferences: 1,
                failures: BTreeMap::from([("model-trap".into(), 1), ("x".repeat(9999), 1)]),
                rejections: BTreeMap::from([("no-such-code".into(), 1)]),
            },
            restarts: 0,
            latency: Latency::default(),
            requests: Requests::default(),
            memory_bytes: 0,
            drift: None,
            metrics: (0..100)
                .map(|index| (format!("{index}\n{}", "m".repeat(100)), Default::default()))
                .collect(),
            log: vec![LogLine { level: 0, text: "a\nb\x1b".repeat(1000) }; 100],
            unheard: 0,
        };
        let given = Given { model: "mine".parse().unwrap(), artifact: Digest::of(b"a"), version: "1".into() };
        let given = BTreeMap::from([(release, given)]);
        let sound = sound(vec![lie(Digest::of(b"unknown")), lie(release)], &given);
        assert_eq!(sound.len(), 1);
        let seen = &sound[0];
        assert_eq!((seen.model.as_str(), seen.version.as_str()), ("mine", "1"));
        assert_eq!(seen.artifact, Digest::of(b"a"));
        assert_eq!(seen.counters.failures.keys().collect::<Vec<_>>(), ["model-trap"]);
        assert!(seen.counters.rejections.is_empty());
        assert_eq!((seen.log.len(), seen.metrics.len()), (64, MAX_METRICS));
        let text = seen.log.iter().map(|line| &line.text).chain(seen.metrics.keys());
        for text in text {
            assert!(!text.chars().any(char::is_control) && text.chars().count() <= 1024, "{text}");
        }
    }
}
