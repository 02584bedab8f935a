//! Steps of the device as transactions: what must be on disk is there before anything of a step is seen.
//!
//! A disk that is full or fails costs time and nothing else. If one of the stores or the commit of a step
//! fails, the step has not happened: the device is what it was before, the event waits, and so does every
//! event behind it, in order. It is tried again after a second, and ever later up to a minute. What runs goes
//! on meanwhile.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use dunlin_core::Digest;
use dunlin_core::code::{Code, Coded as _};
use dunlin_core::update::{Action, DeviceState, Event};

use crate::store::{Store, StoreError};

/// The first wait after a failure; it doubles with every further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The most events that wait. Beyond it messages are not taken: the broker retains them.
const MAX_WAITING: usize = 256;

/// What of a step must be on disk before anything of it is seen.
#[derive(Debug)]
pub(crate) enum Durable {
    /// A root.
    Root { version: u64, envelope: Vec<u8> },
    /// A deployment or release, by the digest of its body.
    Document { digest: Digest, envelope: Vec<u8> },
    /// The state.
    Commit,
}

/// Splits the actions of a step into those that must be on disk first and the rest; the device gives them
/// in this order.
pub(crate) fn split(actions: Vec<Action>) -> (Vec<Durable>, Vec<Action>) {
    let (mut durable, mut rest) = (Vec::new(), Vec::new());
    for action in actions {
        match action {
            Action::StoreRoot { version, envelope } => durable.push(Durable::Root { version, envelope }),
            Action::StoreDocument { digest, envelope } => {
                durable.push(Durable::Document { digest, envelope });
            }
            Action::Persist => durable.push(Durable::Commit),
            other @ (Action::WatchRoot { .. }
            | Action::WatchDeployments { .. }
            | Action::FetchRelease { .. }
            | Action::FetchBlobs { .. }
            | Action::CancelFetch { .. }
            | Action::Prepare { .. }
            | Action::Switch { .. }
            | Action::Stop { .. }
            | Action::Forget { .. }
            | Action::Discard { .. }
            | Action::CleanUp { .. }
            | Action::Report(_)) => rest.push(other),
        }
    }
    (durable, rest)
}

/// Does what must be done first, in order. Waits for the disk.
///
/// # Errors
/// The first that the disk does not take; the rest is not tried.
pub(crate) fn perform(store: &Store, state: &DeviceState, durable: &[Durable]) -> Result<(), StoreError> {
    durable.iter().try_for_each(|part| match part {
        Durable::Root { version, envelope } => store.store_root(*version, envelope),
        Durable::Document { digest, envelope } => store.store_document(digest, envelope),
        Durable::Commit => store.commit(state),
    })
}

/// The events that wait for the disk.
#[derive(Debug)]
pub(super) struct Waiting {
    events: VecDeque<Event>,
    retry_at: Instant,
    failures: u32,
    /// What the disk said last, while it takes nothing.
    trouble: Option<(Code, String)>,
}

impl Waiting {
    pub(super) fn new(now: Instant) -> Waiting {
        Waiting { events: VecDeque::new(), retry_at: now, failures: 0, trouble: None }
    }

    /// Whether an event must queue behind others.
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// An event that comes while others wait. A tick comes again by itself.
    pub(super) fn push(&mut self, event: Event) {
        if event == Event::Ticked {
            return;
        }
        if self.events.len() >= MAX_WAITING {
            tracing::warn!("too much waits for the disk: an event is not taken");
            return;
        }
        self.events.push_back(event);
    }

    /// Fetching a release was taken back: what came of it is stale.
    pub(super) fn forget_fetch(&mut self, of: Digest) {
        self.events.retain(|event| match event {
            Event::BlobsArrived { release }
            | Event::TransferFailed { release, .. }
            | Event::TransferStalled { release, .. }
            | Event::TransferResumed { release } => *release != of,
            _ => true,
        });
    }

    /// Preparing a release was taken back: what came of it is stale.
    pub(super) fn forget_preparation(&mut self, of: Digest) {
        self.events.retain(|event| match event {
            Event::Prepared { release } | Event::PrepareFailed { release, .. } => *release != of,
            _ => true,
        });
    }

    /// What the disk said last, while it takes nothing.
    pub(super) fn trouble(&self) -> Option<&(Code, String)> {
        self.trouble.as_ref()
    }

    /// An event failed by the disk, and `behind` it are those that followed from it. Whether this is news.
    pub(super) fn failed(
        &mut self,
        now: Instant,
        error: &StoreError,
        event: Event,
        behind: VecDeque<Event>,
    ) -> bool {
        self.trouble = Some((error.code(), error.to_string()));
        for event in behind.into_iter().rev().chain([event]) {
            self.events.push_front(event);
        }
        let wait = FIRST_WAIT.saturating_mul(1 << self.failures.min(10)).min(LONGEST_WAIT);
        self.retry_at = now + wait;
        self.failures = self.failures.saturating_add(1);
        self.failures == 1
    }

    /// The next event, if it is time to try.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Event> {
        if now < self.retry_at { None } else { self.events.pop_front() }
    }

    /// A step went well. Whether the disk had failed before.
    pub(super) fn succeeded(&mut self) -> bool {
        self.trouble = None;
        std::mem::take(&mut self.failures) > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> StoreError {
        StoreError::io("write", std::path::Path::new("/state"), &std::io::ErrorKind::StorageFull.into())
    }

    fn arrived(seed: u8) -> Event {
        Event::BlobsArrived { release: Digest::of(&[seed]) }
    }

    #[test]
    fn what_waits_keeps_its_order_and_is_tried_ever_later() {
        let start = Instant::now();
        let mut waiting = Waiting::new(start);
        assert!(waiting.failed(start, &full(), arrived(1), VecDeque::from([arrived(2), arrived(3)])));
        assert_eq!(waiting.trouble().map(|(code, _)| code.id), Some("disk-full"));
        waiting.push(Event::Ticked);
        waiting.push(arrived(4));
        assert_eq!(waiting.take_due(start), None);
        let mut now = start;
        let mut waits = Vec::new();
        for _ in 0..8 {
            let before = now;
            while waiting
                .take_due(now)
                .map(|event| waiting.failed(now, &full(), event, VecDeque::new()))
                .is_none()
            {
                now += Duration::from_millis(500);
            }
            waits.push((now - before).as_secs());
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        now += LONGEST_WAIT;
        let order: Vec<Event> = std::iter::from_fn(|| waiting.take_due(now)).collect();
        assert_eq!(order, [1, 2, 3, 4].map(arrived));
        assert!(waiting.succeeded() && !waiting.succeeded());
        assert_eq!(waiting.trouble(), None);
    }

    #[test]
    fn taken_back_results_do_not_wait() {
        let mut waiting = Waiting::new(Instant::now());
        let release = Digest::of(&[1]);
        [arrived(1), Event::Prepared { release }, arrived(2)].into_iter().for_each(|it| waiting.push(it));
        waiting.forget_fetch(release);
        assert_eq!(waiting.events, [Event::Prepared { release }, arrived(2)]);
        waiting.forget_preparation(release);
        assert_eq!(waiting.events, [arrived(2)]);
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut waiting = Waiting::new(Instant::now());
        (0..1000).for_each(|_| waiting.push(arrived(0)));
        assert_eq!(waiting.events.len(), MAX_WAITING);
    }
}
