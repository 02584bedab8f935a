//! Whether a model is quick enough to be called on the thread that read its request.
//!
//! A thread of its own for each model keeps the local API awake through long calls, and costs two wake-ups a
//! request, more than a quick model takes in all. So a model without state whose requests were served within
//! [`QUICK`] is called where its request was read. One that was slower goes to its thread, and is forgiven only
//! after some dozens of requests: the longest time that was seen shrinks by an eighth with each.
//!
//! No promise is made for the next call: one that takes long all the same keeps its thread of the API until the
//! model's deadline. Another thread is always left for what else there is to do: see `seats`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The most that a request of a quick model takes: some wake-ups of a thread, too short for a caller of another
/// model to notice.
const QUICK: Duration = Duration::from_micros(200);

/// The longest time that requests took lately, in nanoseconds; 0 before the first.
#[derive(Default)]
pub(super) struct Pace(AtomicU64);

impl Pace {
    /// A request was served in this time. Where two threads say so at once, the one or the other counts.
    pub(super) fn took(&self, time: Duration) {
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1);
        let longest = self.0.load(Ordering::Relaxed);
        self.0.store(time.max(longest - longest / 8), Ordering::Relaxed);
    }

    /// Whether the next request may be served where it was read. Nobody knows before the first.
    pub(super) fn is_quick(&self) -> bool {
        (1..=QUICK.as_nanos()).contains(&self.0.load(Ordering::Relaxed).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_quick_once_it_was_seen_to_be_and_slow_for_a_while_after_it_was_not() {
        let pace = Pace::default();
        assert!(!pace.is_quick(), "nobody knows yet");
        pace.took(Duration::from_micros(5));
        assert!(pace.is_quick());
        pace.took(Duration::from_millis(20));
        let forgiven = (1..).find(|_| {
            pace.took(Duration::from_micros(5));
            pace.is_quick()
        });
        assert_eq!(forgiven, Some(35), "ln(20 ms / 200 us) / ln(8/7)");
        pace.took(QUICK);
        assert!(pace.is_quick());
        pace.took(QUICK + Duration::from_nanos(1));
        assert!(!pace.is_quick());
        pace.took(Duration::MAX);
        assert!(!pace.is_quick());
        pace.took(Duration::ZERO);
    }
}
