//! Asking again: a broker says a retained message once to whom subscribes, so what was altered, dropped or
//! displaced on its way is subscribed to again. Soon after a refusal, then ever later; and every quarter of an
//! hour in any case.

use super::Device;
use super::out::Out;
use crate::update::clock::Now;
use crate::update::event::{Action, Subject};

/// The first wait after a refusal; it doubles with every further one in a row.
const SOON_MS: u64 = 5_000;

/// The longest wait, and the one without a refusal.
const LATE_MS: u64 = 900_000;

/// When to ask again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ask {
    /// In monotonic milliseconds.
    at_ms: u64,
    /// How often in a row it was asked because of a refusal.
    refusals: u32,
    /// Whether something was refused since it was asked last.
    refused: bool,
}

impl Ask {
    /// From now on there is nothing to ask for a while.
    pub(super) fn content(now: Now) -> Ask {
        Ask { at_ms: now.monotonic_ms.saturating_add(spread(LATE_MS, now.random)), ..Ask::default() }
    }

    fn delay_ms(self) -> u64 {
        SOON_MS.saturating_mul(1 << self.refusals.min(20)).min(LATE_MS)
    }
}

/// Between half of it and all of it, so that a fleet does not ask as one.
fn spread(ms: u64, random: u64) -> u64 {
    ms / 2 + random % (ms / 2).max(1)
}

impl Device {
    /// Something was refused that the broker may have said otherwise, or says otherwise soon.
    pub(super) fn ask_about(&mut self, what: &Subject, now: Now) {
        match what {
            Subject::Root | Subject::Deployment(_) | Subject::Release(_) => {
                let soon_ms = now.monotonic_ms.saturating_add(spread(self.ask.delay_ms(), now.random));
                self.ask.at_ms = self.ask.at_ms.min(soon_ms);
                self.ask.refused = true;
            }
            Subject::Model(_) | Subject::Device => {}
        }
    }

    /// Asks for everything that could be new, when it is time.
    pub(super) fn ask_again(&mut self, now: Now, out: &mut Out) {
        if now.monotonic_ms < self.ask.at_ms {
            return;
        }
        // Without a refusal in between, the next time is late, and the row has ended.
        let row = if self.ask.refused { self.ask.refusals.saturating_add(1) } else { 0 };
        self.ask = Ask { refusals: row, ..Ask::content(now) };
        out.act(Action::WatchRoot { version: self.root.version().saturating_add(1) });
        out.act(Action::WatchDeployments { audiences: self.audiences() });
        for digest in self.wanted_releases() {
            if !self.releases.contains_key(&digest) || self.lacks_signatures(&digest) {
                out.act(Action::FetchRelease { digest });
            }
        }
    }
}
