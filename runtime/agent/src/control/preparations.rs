//! Preparations that run beside control, and whether connections wait for them.
//!
//! After a worker's death with suspects, the next worker takes no connections until those of the suspects
//! that the device wants are loaded again: a caller waits for a moment and meets no model that is missing.

use std::collections::BTreeSet;
use std::future::Future;

use dunlin_core::Digest;
use dunlin_core::update::{Attempt, Attempts, Event};
use tokio::sync::mpsc;

#[derive(Debug)]
pub(super) struct Preparations {
    attempts: Attempts,
    /// What connections wait for, while they wait.
    awaited: Option<BTreeSet<Digest>>,
    results: mpsc::UnboundedSender<(Attempt, Event)>,
}

impl Preparations {
    pub(super) fn new() -> (Preparations, mpsc::UnboundedReceiver<(Attempt, Event)>) {
        let (results, receiver) = mpsc::unbounded_channel();
        (Preparations { attempts: Attempts::default(), awaited: None, results }, receiver)
    }

    /// Begins one, in a task of its own.
    pub(super) fn begin(&mut self, release: Digest, work: impl Future<Output = Event> + Send + 'static) {
        let attempt = self.attempts.begin(release);
        if let Some(awaited) = &mut self.awaited {
            awaited.insert(release);
        }
        let results = self.results.clone();
        tokio::spawn(async move {
            // Nobody listens once the agent ends.
            let _ = results.send((attempt, work.await));
        });
    }

    /// Its result is not wanted any more.
    pub(super) fn end(&mut self, release: Digest) {
        self.attempts.end(&release);
        if let Some(awaited) = &mut self.awaited {
            awaited.remove(&release);
        }
    }

    /// A result came; whether it counts.
    pub(super) fn ended(&mut self, release: Digest, attempt: Attempt) -> bool {
        let counts = self.attempts.is_current(&release, attempt);
        if counts {
            self.end(release);
        }
        counts
    }

    pub(super) fn is_under_way(&self, release: Digest) -> bool {
        self.attempts.is_under_way(&release)
    }

    /// From here on connections wait for what begins.
    pub(super) fn decide(&mut self) {
        self.awaited.get_or_insert_default();
    }

    /// Whether they have waited long enough; says so once.
    pub(super) fn is_decided(&mut self) -> bool {
        self.awaited.take_if(|awaited| awaited.is_empty()).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_wait_for_what_begins() {
        let (mut preparations, mut results) = Preparations::new();
        let [a, b] = [Digest::of(b"a"), Digest::of(b"b")];
        let done = |release| async move { Event::Prepared { release } };
        preparations.begin(a, done(a));
        assert!(!preparations.is_decided(), "nothing has to be decided");
        preparations.decide();
        preparations.begin(b, done(b));
        assert!(!preparations.is_decided());
        let (attempt, _) = results.recv().await.unwrap();
        assert!(preparations.ended(a, attempt) && !preparations.ended(a, attempt));
        assert!(!preparations.is_decided());
        preparations.end(b);
        assert!(preparations.is_decided() && !preparations.is_decided());
        let (attempt, _) = results.recv().await.unwrap();
        assert!(!preparations.ended(b, attempt), "it was given up");
    }
}
