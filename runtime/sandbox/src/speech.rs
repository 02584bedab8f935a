//! What a guest says: log lines and metric values, cleaned and bounded before anybody reads them.
//!
//! A line keeps 256 bytes, without control characters; a metric's name follows the rule of ids. Both
//! pass a token bucket of their own, which holds a second's worth, and wait in a list that is bounded
//! for the case that nobody takes it. What does not pass is counted. Nothing here trusts the guest.

use core::fmt::Write as _;
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// The most bytes of one log line that are kept.
pub(crate) const MAX_LINE_BYTES: usize = 256;

/// The longest name of a metric, in bytes.
pub(crate) const MAX_NAME_BYTES: usize = 63;

/// The most lines, and the most metrics, that wait to be taken.
const MAX_WAITING: usize = 256;

/// One line that a model logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// The level as the guest gave it.
    pub level: i32,
    /// The text: made of at most 256 bytes, invalid UTF-8 replaced, control characters escaped.
    pub text: String,
}

/// One number that a model reported.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// 1 to 63 of `a-z`, `0-9` and `-`, not starting with `-`.
    pub name: String,
    /// A finite number.
    pub value: f64,
}

/// The lines since they were last taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logs {
    /// What was kept, oldest first.
    pub lines: Vec<LogLine>,
    /// How many more there were.
    pub suppressed: u64,
}

/// The metrics since they were last taken.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// What was kept, oldest first.
    pub values: Vec<Metric>,
    /// How many more there were: too many a second, a bad name, or not finite.
    pub suppressed: u64,
}

/// Everything that one instance says.
pub(crate) struct Speech {
    logs: Logs,
    metrics: Metrics,
    log_bucket: Bucket,
    metric_bucket: Bucket,
}

impl Speech {
    pub(crate) fn new(log_lines_per_s: u32, metrics_per_s: u32) -> Self {
        Speech {
            logs: Logs::default(),
            metrics: Metrics::default(),
            log_bucket: Bucket::new(log_lines_per_s),
            metric_bucket: Bucket::new(metrics_per_s),
        }
    }

    /// Takes in a line; `bytes` is called only if it is kept.
    pub(crate) fn log<'a>(&mut self, level: i32, bytes: impl FnOnce() -> &'a [u8]) {
        if self.logs.lines.len() < MAX_WAITING && self.log_bucket.take() {
            self.logs.lines.push(LogLine { level, text: clean(bytes()) });
        } else {
            self.logs.suppressed = self.logs.suppressed.saturating_add(1);
        }
    }

    /// Takes in a metric.
    pub(crate) fn metric(&mut self, name: &[u8], value: f64) {
        let name = metric_name(name).filter(|_| value.is_finite());
        match name {
            Some(name) if self.metrics.values.len() < MAX_WAITING && self.metric_bucket.take() => {
                self.metrics.values.push(Metric { name: name.to_string(), value });
            }
            Some(_) | None => self.metrics.suppressed = self.metrics.suppressed.saturating_add(1),
        }
    }

    pub(crate) fn take_logs(&mut self) -> Logs {
        core::mem::take(&mut self.logs)
    }

    pub(crate) fn take_metrics(&mut self) -> Metrics {
        core::mem::take(&mut self.metrics)
    }
}

/// A guest's bytes as text that is safe to print: at most 256 of them, invalid UTF-8 replaced,
/// control characters escaped. The escapes make it longer, by a factor of 8 at most.
pub(crate) fn clean(bytes: &[u8]) -> String {
    let kept = bytes.get(..MAX_LINE_BYTES).unwrap_or(bytes);
    let mut text = String::with_capacity(kept.len());
    for c in String::from_utf8_lossy(kept).chars() {
        if c.is_control() || is_format(c) {
            // Writing into a `String` cannot fail.
            let _ = write!(text, "{}", c.escape_unicode());
        } else {
            text.push(c);
        }
    }
    text
}

/// Characters that no control character is, but which turn or break lines on a terminal.
fn is_format(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The name, if it follows the rule of ids.
fn metric_name(bytes: &[u8]) -> Option<&str> {
    let good = (1..=MAX_NAME_BYTES).contains(&bytes.len())
        && bytes.first() != Some(&b'-')
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-');
    if good { core::str::from_utf8(bytes).ok() } else { None }
}

/// A token bucket: `per_s` tokens at first and as the most, refilled evenly.
struct Bucket {
    per_s: f64,
    tokens: f64,
    /// When it was last refilled; the bucket is full until its first use.
    refilled: Option<Instant>,
}

impl Bucket {
    fn new(per_s: u32) -> Self {
        Bucket { per_s: f64::from(per_s), tokens: f64::from(per_s), refilled: None }
    }

    fn take(&mut self) -> bool {
        self.take_at(Instant::now())
    }

    fn take_at(&mut self, now: Instant) -> bool {
        if let Some(refilled) = self.refilled {
            let gained = now.saturating_duration_since(refilled).as_secs_f64() * self.per_s;
            self.tokens = (self.tokens + gained).min(self.per_s);
        }
        self.refilled = Some(now);
        let got = self.tokens >= 1.0;
        if got {
            self.tokens -= 1.0;
        }
        got
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use proptest::prelude::*;

    #[test]
    fn a_bucket_gives_a_seconds_worth_and_refills_evenly() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut bucket = Bucket::new(10);
        assert_eq!((0..100).filter(|_| bucket.take_at(at(0))).count(), 10);
        assert_eq!((0..100).filter(|_| bucket.take_at(at(501))).count(), 5);
        assert_eq!((0..100).filter(|_| bucket.take_at(at(60_000))).count(), 10);
        assert!(!Bucket::new(0).take_at(at(0)));
    }

    #[test]
    fn lines_are_cut_and_cleaned() {
        assert_eq!(clean(b"ok"), "ok");
        assert_eq!(clean(b"a\x1b[2Jb\n\xff"), "a\\u{1b}[2Jb\\u{a}\u{fffd}");
        assert_eq!(clean("x\u{202e}y".as_bytes()), "x\\u{202e}y");
        assert_eq!(clean(&[b'x'; 1000]).len(), MAX_LINE_BYTES);
    }

    #[test]
    fn metrics_have_the_names_of_ids_and_finite_values() {
        let mut speech = Speech::new(0, 100);
        for name in [&b""[..], b"-a", b"A", b"a b", b"\xff", &[b'a'; 64]] {
            speech.metric(name, 1.0);
        }
        speech.metric(b"nan", f64::NAN);
        speech.metric(b"queue-2", 3.5);
        let metrics = speech.take_metrics();
        assert_eq!(metrics.values, [Metric { name: "queue-2".into(), value: 3.5 }]);
        assert_eq!(metrics.suppressed, 7);
    }

    #[test]
    fn what_nobody_takes_does_not_grow() {
        let mut speech = Speech::new(u32::MAX, u32::MAX);
        for _ in 0..1000 {
            speech.log(0, || b"x");
            speech.metric(b"m", 0.0);
        }
        let (logs, metrics) = (speech.take_logs(), speech.take_metrics());
        assert_eq!((logs.lines.len(), logs.suppressed), (MAX_WAITING, 744));
        assert_eq!((metrics.values.len(), metrics.suppressed), (MAX_WAITING, 744));
        assert_eq!(speech.take_logs(), Logs::default());
    }

    proptest! {
        #[test]
        fn no_bytes_make_an_unprintable_line(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let text = clean(&bytes);
            prop_assert!(!text.chars().any(char::is_control));
            prop_assert!(text.len() <= 8 * MAX_LINE_BYTES);
        }
    }
}
