//! Health: what a model did on a device, counted.
//!
//! Counters only grow within a boot, so that a consumer who misses a report loses resolution and no
//! events. A *failure* is the model's own fault (a trap, a deadline, an invalid output); a *rejection*
//! is the caller's (a wrong shape, a queue that is full) and says nothing against the model.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString as _};
use serde::{Deserialize, Serialize};

use crate::code::Code;

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

    /// Adds what another instance of the same release counted.
    pub fn add(&mut self, other: &Counters) {
        self.answered(other.inferences);
        let tables = [(&mut self.failures, &other.failures), (&mut self.rejections, &other.rejections)];
        for (table, further) in tables {
            for (code, count) in further {
                let sum = table.entry(code.clone()).or_default();
                *sum = sum.saturating_add(*count);
            }
        }
    }

    /// All failures together.
    pub fn failure_count(&self) -> u64 {
        self.failures.values().fold(0, |sum, count| sum.saturating_add(*count))
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

impl Latency {
    /// Together with another instance of the same release. Percentiles cannot be added up: those of the
    /// instance that was called more stand for both.
    #[must_use]
    pub fn with(self, other: Latency) -> Latency {
        let more = if other.count > self.count { other } else { self };
        let (count, max_us) = (self.count.saturating_add(other.count), self.max_us.max(other.max_us));
        Latency { count, max_us, ..more }
    }
}

/// What a model reported under one name in an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricSummary {
    /// How often.
    pub count: u64,
    /// The newest value.
    pub last: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// All together; it stays finite.
    pub sum: f64,
}

impl MetricSummary {
    /// Takes in a finite value.
    pub fn add(&mut self, value: f64) {
        let first = self.count == 0;
        self.count = self.count.saturating_add(1);
        self.last = value;
        self.min = if first { value } else { self.min.min(value) };
        self.max = if first { value } else { self.max.max(value) };
        self.sum = (self.sum + value).clamp(f64::MIN, f64::MAX);
    }

    /// Together with what another instance of the same release reported; its last value is the newer one.
    #[must_use]
    pub fn with(self, other: MetricSummary) -> MetricSummary {
        match (self.count, other.count) {
            (_, 0) => self,
            (0, _) => other,
            (count, further) => MetricSummary {
                count: count.saturating_add(further),
                last: other.last,
                min: self.min.min(other.min),
                max: self.max.max(other.max),
                sum: (self.sum + other.sum).clamp(f64::MIN, f64::MAX),
            },
        }
    }

    /// Whether every number can stand in a record.
    pub fn is_finite(&self) -> bool {
        [self.last, self.min, self.max, self.sum].iter().all(|value| value.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::transfer::{ARTIFACT_DIGEST, ARTIFACT_SIZE};

    #[test]
    fn failures_and_rejections_are_counted_apart_and_by_code() {
        let mut counters = Counters::default();
        counters.answered(3);
        counters.failed(ARTIFACT_SIZE);
        counters.failed(ARTIFACT_SIZE);
        counters.failed(ARTIFACT_DIGEST);
        counters.rejected(ARTIFACT_DIGEST);
        assert_eq!((counters.inferences, counters.failure_count()), (3, 3));
        assert_eq!((counters.failures[ARTIFACT_SIZE.id], counters.rejections[ARTIFACT_DIGEST.id]), (2, 1));
    }

    #[test]
    fn instances_of_a_release_add_up() {
        let mut counters = Counters::default();
        counters.answered(3);
        counters.failed(ARTIFACT_SIZE);
        let mut other = counters.clone();
        other.rejected(ARTIFACT_DIGEST);
        counters.add(&other);
        assert_eq!((counters.inferences, counters.failure_count()), (6, 2));
        assert_eq!(counters.rejections[ARTIFACT_DIGEST.id], 1);
        let quick = Latency { count: 9, p50_us: 1, p90_us: 2, p99_us: 3, max_us: 4 };
        let slow = Latency { count: 1, p50_us: 10, p90_us: 10, p99_us: 10, max_us: 10 };
        assert_eq!(slow.with(quick), quick.with(slow));
        assert_eq!(slow.with(quick), Latency { count: 10, max_us: 10, ..quick });
    }

    #[test]
    fn a_metric_keeps_its_extremes_and_stays_finite() {
        let mut metric = MetricSummary::default();
        [2.0, -1.0, 3.0, 1.5].into_iter().for_each(|value| metric.add(value));
        assert_eq!(metric, MetricSummary { count: 4, last: 1.5, min: -1.0, max: 3.0, sum: 5.5 });
        let mut further = MetricSummary::default();
        further.add(4.0);
        let sum = MetricSummary { count: 5, last: 4.0, min: -1.0, max: 4.0, sum: 9.5 };
        assert_eq!(metric.with(further), sum);
        assert_eq!(
            (MetricSummary::default().with(metric), metric.with(MetricSummary::default())),
            (metric, metric)
        );
        let mut huge = MetricSummary::default();
        [f64::MAX, f64::MAX].into_iter().for_each(|value| huge.add(value));
        assert!(huge.is_finite() && huge.sum == f64::MAX);
    }

    #[test]
    fn counters_stop_at_the_end_instead_of_starting_anew() {
        let mut counters = Counters { inferences: u64::MAX - 1, ..Counters::default() };
        counters.answered(5);
        assert_eq!(counters.inferences, u64::MAX);
    }
}
