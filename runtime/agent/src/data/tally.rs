//! What the instances of one release have done, counted together.
//!
//! Shared between the instances' threads, which write, and the router, which reads; never locked
//! during a call of the model. Its memory is bounded: the histogram has a fixed size, codes are few,
//! lines and metrics are cut off.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dunlin_core::Digest;
use dunlin_core::code::Code;
use dunlin_core::drift::Monitor;
use dunlin_core::health::{Counters, Latency, MetricSummary};
use dunlin_core::telemetry::MAX_METRICS;
use dunlin_sandbox::{LogLine, Logs, Metrics};
use hdrhistogram::Histogram;

use super::message::{DataError, DriftObservation, Interval, Requests};

/// The greatest latency that is told apart: an hour, far beyond any deadline.
const MAX_LATENCY_US: u64 = 3_600_000_000;

/// Two significant digits: quantiles are right within 1 %, in 30 KiB.
const LATENCY_DIGITS: u8 = 2;

/// Lines that wait for the next report.
const MAX_LINES: usize = 64;

pub(super) struct Tally {
    pub counters: Counters,
    pub restarts: u64,
    /// Linear memory that each thread's instances have, in bytes.
    pub memory_bytes: Vec<u64>,
    pub watch: Option<Watch>,
    metrics: BTreeMap<String, MetricSummary>,
    pub unheard: u64,
    pub requests: Requests,
    latency: Histogram<u64>,
    lines: Vec<LogLine>,
}

/// What drift is measured by.
pub(super) struct Watch {
    /// The digest of the baseline's file.
    pub baseline: Digest,
    pub monitor: Monitor,
}

/// A tally in two hands.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Tally>>);

impl Shared {
    pub(super) fn new(memory_bytes: Vec<u64>, watch: Option<Watch>) -> Result<Shared, DataError> {
        let latency = Histogram::new_with_bounds(1, MAX_LATENCY_US, LATENCY_DIGITS)
            .map_err(|error| DataError::Ended(format!("no histogram: {error}")))?;
        Ok(Shared(Arc::new(Mutex::new(Tally {
            counters: Counters::default(),
            restarts: 0,
            memory_bytes,
            watch,
            metrics: BTreeMap::new(),
            unheard: 0,
            requests: Requests::default(),
            latency,
            lines: Vec::new(),
        }))))
    }

    /// Counts are whole at every moment, so that a panic of the other hand does not spoil them.
    pub(super) fn lock(&self) -> MutexGuard<'_, Tally> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn rejected(&self, code: Code) {
        self.lock().counters.rejected(code);
    }
}

impl Tally {
    pub(super) fn called(&mut self, took: Duration) {
        self.requests.calls = self.requests.calls.saturating_add(1);
        self.latency.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1));
    }

    /// The instances of a thread have so much linear memory now.
    pub(super) fn holds(&mut self, thread: usize, memory_bytes: u64) {
        if let Some(held) = self.memory_bytes.get_mut(thread) {
            *held = memory_bytes;
        }
    }

    /// Linear memory of all instances.
    pub(super) fn all_memory_bytes(&self) -> u64 {
        self.memory_bytes.iter().fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }

    /// A request came to its end.
    pub(super) fn ended(&mut self, answered: bool, queued_us: u64, called_us: u64, now_unix_ms: u64) {
        let requests = &mut self.requests;
        let (count, time_us) = match answered {
            true => (&mut requests.answered, &mut requests.answered_us),
            false => (&mut requests.failed, &mut requests.failed_us),
        };
        *count = count.saturating_add(1);
        *time_us = time_us.saturating_add(called_us);
        requests.queued_us = requests.queued_us.saturating_add(queued_us);
        if !answered {
            requests.failed_queued_us = requests.failed_queued_us.saturating_add(queued_us);
        }
        requests.last_unix_ms = now_unix_ms;
    }

    pub(super) fn heard(&mut self, logs: Logs, metrics: Metrics) {
        let room = MAX_LINES.saturating_sub(self.lines.len());
        let lost = logs.lines.len().saturating_sub(room);
        self.lines.extend(logs.lines.into_iter().take(room));
        let mut unheard = u64::try_from(lost).unwrap_or(u64::MAX);
        for metric in metrics.values {
            if self.metrics.len() < MAX_METRICS || self.metrics.contains_key(&metric.name) {
                self.metrics.entry(metric.name).or_default().add(metric.value);
            } else {
                unheard += 1;
            }
        }
        self.unheard = self.unheard.saturating_add(unheard + logs.suppressed + metrics.suppressed);
    }

    pub(super) fn latency(&mut self, interval: Interval) -> Latency {
        let at = |quantile| self.latency.value_at_quantile(quantile);
        let count = self.latency.len();
        let latency = Latency {
            count,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            max_us: if count == 0 { 0 } else { self.latency.max() },
        };
        if interval == Interval::Take {
            self.latency.reset();
        }
        latency
    }

    pub(super) fn drift(&mut self, interval: Interval) -> Option<DriftObservation> {
        let Watch { baseline, monitor } = self.watch.as_mut()?;
        let counts = (interval == Interval::Take).then(|| monitor.take_counts());
        Some(DriftObservation { baseline: *baseline, verdict: monitor.verdict(), counts })
    }

    pub(super) fn metrics(&mut self, interval: Interval) -> BTreeMap<String, MetricSummary> {
        match interval {
            Interval::Peek => self.metrics.clone(),
            Interval::Take => std::mem::take(&mut self.metrics),
        }
    }

    pub(super) fn lines(&mut self, interval: Interval) -> Vec<LogLine> {
        match interval {
            Interval::Peek => Vec::new(),
            Interval::Take => std::mem::take(&mut self.lines),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_sandbox::Metric;

    #[test]
    fn quantiles_are_within_one_percent_and_taking_starts_anew() {
        let shared = Shared::new(vec![0], None).unwrap();
        let mut tally = shared.lock();
        assert_eq!(tally.latency(Interval::Peek), Latency::default());
        (1..=10_000).for_each(|us| tally.called(Duration::from_micros(us)));
        let latency = tally.latency(Interval::Peek);
        assert_eq!((latency.count, tally.requests.calls), (10_000, 10_000));
        for (found, exact) in [
            (latency.p50_us, 5_000),
            (latency.p90_us, 9_000),
            (latency.p99_us, 9_900),
            (latency.max_us, 10_000),
        ] {
            assert!(found.abs_diff(exact) * 100 <= exact, "{found} is not {exact}");
        }
        assert_eq!(tally.latency(Interval::Take), latency);
        assert_eq!(tally.latency(Interval::Take), Latency::default());
    }

    #[test]
    fn requests_are_counted_apart_with_their_time() {
        let shared = Shared::new(vec![0], None).unwrap();
        let mut tally = shared.lock();
        tally.ended(true, 1, 10, 1_000);
        tally.ended(false, 2, 20, 2_000);
        tally.ended(true, 3, 30, 3_000);
        let wanted = Requests {
            answered: 2,
            failed: 1,
            calls: 0,
            queued_us: 6,
            failed_queued_us: 2,
            answered_us: 40,
            failed_us: 20,
            last_unix_ms: 3_000,
        };
        assert_eq!(tally.requests, wanted);
    }

    #[test]
    fn what_a_model_says_is_bounded_and_the_rest_counted() {
        let shared = Shared::new(vec![0], None).unwrap();
        let mut tally = shared.lock();
        let line = |index: i32| LogLine { level: index, text: "x".into() };
        let value = |index: i32| Metric { name: format!("m{index}"), value: index.into() };
        for _ in 0..2 {
            let logs = Logs { lines: (0..50).map(line).collect(), suppressed: 1 };
            let metrics = Metrics { values: (0..70).map(value).collect(), suppressed: 2 };
            tally.heard(logs, metrics);
        }
        assert_eq!(tally.metrics(Interval::Peek).len(), MAX_METRICS);
        assert_eq!(tally.unheard, 36 + 2 * 54 + 2 + 4);
        let first = tally.metrics(Interval::Take)["m1"];
        assert_eq!(first, MetricSummary { count: 2, last: 1.0, min: 1.0, max: 1.0, sum: 2.0 });
        assert!(tally.metrics(Interval::Take).is_empty(), "each interval has its own");
        assert!(tally.lines(Interval::Peek).is_empty());
        assert_eq!(tally.lines(Interval::Take).len(), MAX_LINES);
        assert!(tally.lines(Interval::Take).is_empty());
    }
}
