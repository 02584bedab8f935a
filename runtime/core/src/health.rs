//! Health: what a model did on a device, counted, and whether that is good enough.
//!
//! Counters only grow within a boot, so that a consumer who misses a report loses resolution and no
//! events. A *failure* is the model's own fault (a trap, a deadline, an invalid output); a *rejection*
//! is the caller's (a wrong shape, a queue that is full) and says nothing against the model.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::code::Code;
use crate::document::Gates;

/// What happened since the model was loaded in this boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Samples that were answered.
    pub inferences: u64,
    /// Calls that failed by the model's fault, by error code.
    #[serde(default)]
    pub failures: BTreeMap<String, u64>,
    /// Requests that were turned away before they reached the model, by error code.
    #[serde(default)]
    pub rejections: BTreeMap<String, u64>,
}

impl Counters {
    /// Counts a call that answered `samples` samples.
    pub fn answered(&mut self, samples: u64) {
        self.inferences = self.inferences.saturating_add(samples);
    }

    /// Counts a call that failed by the model's fault.
    pub fn failed(&mut self, code: Code) {
        count(&mut self.failures, code);
    }

    /// Counts a request that was turned away.
    pub fn rejected(&mut self, code: Code) {
        count(&mut self.rejections, code);
    }

    /// All failures together.
    pub fn failure_count(&self) -> u64 {
        self.failures.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// All rejections together.
    pub fn rejection_count(&self) -> u64 {
        self.rejections.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// What was added since `earlier`, a copy of these counters; where a counter went down, the model was
    /// loaded anew in between and all of it counts.
    pub fn since(&self, earlier: &Counters) -> Counters {
        let difference = |now: &BTreeMap<String, u64>, then: &BTreeMap<String, u64>| {
            let grown = |(code, count): (&String, &u64)| {
                let added = growth(*count, then.get(code).copied().unwrap_or(0));
                (added > 0).then(|| (code.clone(), added))
            };
            now.iter().filter_map(grown).collect()
        };
        Counters {
            inferences: growth(self.inferences, earlier.inferences),
            failures: difference(&self.failures, &earlier.failures),
            rejections: difference(&self.rejections, &earlier.rejections),
        }
    }
}

/// The table stays small by itself: codes are the few constants of [`crate::code`].
fn count(table: &mut BTreeMap<String, u64>, code: Code) {
    match table.get_mut(code.id) {
        Some(count) => *count = count.saturating_add(1),
        None => {
            table.insert(code.id.to_string(), 1);
        }
    }
}

fn growth(now: u64, then: u64) -> u64 {
    now.checked_sub(then).unwrap_or(now)
}

/// How long calls took since the last report, in microseconds; zeros where there were none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// Calls that were measured.
    pub count: u64,
    /// The median.
    pub p50_us: u64,
    /// The 90th percentile.
    pub p90_us: u64,
    /// The 99th percentile.
    pub p99_us: u64,
    /// The slowest call.
    pub max_us: u64,
}

/// One model over one interval.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthSample {
    /// What happened in the interval.
    pub counters: Counters,
    /// How long calls took in the interval.
    pub latency: Latency,
    /// Memory of the instance at its end, in bytes.
    pub memory_bytes: u64,
}

/// A gate of [`Gates`] that health can be held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthGate {
    /// [`Gates::max_p99_us`].
    P99Us,
    /// [`Gates::max_memory_bytes`].
    MemoryBytes,
    /// [`Gates::max_failures_permille`].
    FailuresPermille,
}

/// A gate that did not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breach {
    /// Which.
    pub gate: HealthGate,
    /// The most that it allows.
    pub limit: u64,
    /// What was measured.
    pub actual: u64,
}

/// What an interval says about a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthVerdict {
    /// Nothing was asked of it.
    Idle,
    /// It was used and every gate held.
    Healthy,
    /// These gates did not hold.
    Unhealthy(Vec<Breach>),
}

/// Judges one interval of one model. Rejections count for nothing; failures are counted of all calls that
/// reached the model, in thousandths and rounded up, so that a limit of 0 means none at all.
pub fn judge(gates: &Gates, sample: &HealthSample) -> HealthVerdict {
    let failures = sample.counters.failure_count();
    let calls = failures.saturating_add(sample.counters.inferences);
    let mut breaches = Vec::new();
    let mut hold = |gate, limit: Option<u64>, actual| {
        if let Some(limit) = limit.filter(|limit| actual > *limit) {
            breaches.push(Breach { gate, limit, actual });
        }
    };
    hold(HealthGate::MemoryBytes, gates.max_memory_bytes, sample.memory_bytes);
    if sample.latency.count > 0 {
        hold(HealthGate::P99Us, gates.max_p99_us, sample.latency.p99_us);
    }
    if calls > 0 {
        let permille = (u128::from(failures) * 1000).div_ceil(u128::from(calls));
        let permille = u64::try_from(permille).unwrap_or(u64::MAX);
        hold(HealthGate::FailuresPermille, gates.max_failures_permille.map(u64::from), permille);
    }
    match (breaches.is_empty(), calls) {
        (false, _) => HealthVerdict::Unhealthy(breaches),
        (true, 0) => HealthVerdict::Idle,
        (true, _) => HealthVerdict::Healthy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::transfer::{ARTIFACT_DIGEST, ARTIFACT_SIZE};
    use alloc::vec;

    fn sample(answered: u64, failed: u64) -> HealthSample {
        let mut sample = HealthSample::default();
        sample.counters.answered(answered);
        (0..failed).for_each(|_| sample.counters.failed(ARTIFACT_SIZE));
        sample.latency = Latency { count: answered, p50_us: 10, p90_us: 20, p99_us: 30, max_us: 40 };
        sample.memory_bytes = 1000;
        sample
    }

    #[test]
    fn the_difference_of_counters_is_what_happened_in_between() {
        let mut counters = Counters::default();
        counters.answered(3);
        counters.failed(ARTIFACT_SIZE);
        let earlier = counters.clone();
        counters.answered(2);
        counters.failed(ARTIFACT_SIZE);
        counters.rejected(ARTIFACT_DIGEST);
        let added = counters.since(&earlier);
        assert_eq!((added.inferences, added.failure_count(), added.rejection_count()), (2, 1, 1));
        assert_eq!(earlier.since(&counters).inferences, 3, "a restarted counter counts in full");
        assert_eq!(counters.since(&counters), Counters::default());
    }

    #[test]
    fn each_gate_holds_up_to_its_limit() {
        let gates = Gates {
            max_p99_us: Some(30),
            max_memory_bytes: Some(1000),
            max_failures_permille: Some(10),
            ..Gates::default()
        };
        assert_eq!(judge(&gates, &sample(990, 10)), HealthVerdict::Healthy);
        let mut bad = sample(989, 11);
        bad.latency.p99_us = 31;
        bad.memory_bytes = 1001;
        let breaches = vec![
            Breach { gate: HealthGate::MemoryBytes, limit: 1000, actual: 1001 },
            Breach { gate: HealthGate::P99Us, limit: 30, actual: 31 },
            Breach { gate: HealthGate::FailuresPermille, limit: 10, actual: 11 },
        ];
        assert_eq!(judge(&gates, &bad), HealthVerdict::Unhealthy(breaches));
    }

    #[test]
    fn one_failure_of_many_breaks_a_gate_of_zero() {
        let gates = Gates { max_failures_permille: Some(0), ..Gates::default() };
        assert!(matches!(judge(&gates, &sample(1_000_000, 1)), HealthVerdict::Unhealthy(_)));
        assert_eq!(judge(&gates, &sample(1_000_000, 0)), HealthVerdict::Healthy);
    }

    #[test]
    fn an_unused_model_is_idle_and_a_rejection_is_not_its_fault() {
        let mut unused = HealthSample::default();
        unused.counters.rejected(ARTIFACT_DIGEST);
        assert_eq!(judge(&Gates::default(), &unused), HealthVerdict::Idle);
    }
}
