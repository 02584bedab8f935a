//! Attempts at fetching or preparing releases that run beside a [`super::Device`].
//!
//! A shell begins an attempt for an action, and ends it for the action that takes it back. The result of one
//! that has ended is stale: it says nothing about the attempt that may have followed, and must not become an
//! event.

use alloc::collections::BTreeMap;

use crate::digest::Digest;

/// Names one attempt among all of a boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempt(u64);

/// The attempts that are under way, one a release.
#[derive(Clone, Debug, Default)]
pub struct Attempts {
    last: u64,
    current: BTreeMap<Digest, Attempt>,
}

impl Attempts {
    /// Begins an attempt; one before it is stale.
    pub fn begin(&mut self, release: Digest) -> Attempt {
        self.last = self.last.saturating_add(1);
        let attempt = Attempt(self.last);
        self.current.insert(release, attempt);
        attempt
    }

    /// Ends the attempt at a release, if there is one: its result is stale.
    pub fn end(&mut self, release: &Digest) {
        self.current.remove(release);
    }

    /// Whether an attempt at the release is under way.
    pub fn is_under_way(&self, release: &Digest) -> bool {
        self.current.contains_key(release)
    }

    /// Whether a result is that of the attempt under way.
    pub fn is_current(&self, release: &Digest, attempt: Attempt) -> bool {
        self.current.get(release) == Some(&attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_attempt_is_stale() {
        let (mut attempts, release) = (Attempts::default(), Digest::of(b"r"));
        let first = attempts.begin(release);
        assert!(attempts.is_current(&release, first) && !attempts.is_current(&Digest::of(b"s"), first));
        attempts.end(&release);
        assert!(!attempts.is_current(&release, first));
        let second = attempts.begin(release);
        assert!(attempts.is_current(&release, second) && !attempts.is_current(&release, first));
    }
}
