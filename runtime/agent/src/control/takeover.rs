//! Whether somebody else uses the device's client id: a broker then ends our connection when the other comes,
//! and the other's when we come back.
//!
//! MQTT 3.1.1 says no more than that the connection is gone, so it is told as a suspicion: three connections
//! in a row that a broker accepted and ended within half a minute. It stands as an alarm until a connection holds
//! for longer than that. The link waits ever longer between them.

use std::time::{Duration, Instant};

/// A connection that held this long was not taken over.
const SHORT: Duration = Duration::from_secs(30);

/// So many short ones in a row are a suspicion.
const SUSPICIOUS: u32 = 3;

/// Watches the connections of one start.
#[derive(Debug, Default)]
pub(super) struct Takeover {
    since: Option<Instant>,
    short: u32,
}

impl Takeover {
    /// A connection was accepted.
    pub(super) fn connected(&mut self, now: Instant) {
        self.since = Some(now);
    }

    /// A connection ended, or an attempt failed; whether this is to be told.
    pub(super) fn disconnected(&mut self, now: Instant) -> bool {
        // An attempt that the broker did not accept says nothing.
        let Some(since) = self.since.take() else { return false };
        self.short =
            if now.saturating_duration_since(since) < SHORT { self.short.saturating_add(1) } else { 0 };
        self.short == SUSPICIOUS
    }

    /// Whether the suspicion stands: since the last short connection none has held.
    pub(super) fn stands(&self, now: Instant) -> bool {
        let holds = self.since.is_some_and(|since| now.saturating_duration_since(since) >= SHORT);
        self.short >= SUSPICIOUS && !holds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stands_until_a_connection_holds() {
        let mut takeover = Takeover::default();
        let mut now = Instant::now();
        let mut reported = Vec::new();
        for seconds in [1, 29, 1, 1] {
            takeover.connected(now);
            now += Duration::from_secs(seconds);
            reported.push(takeover.disconnected(now));
        }
        assert_eq!(reported, [false, false, true, false], "reported when it begins");
        assert!(!takeover.disconnected(now), "an attempt that failed is no connection");
        now += Duration::from_secs(3600);
        assert!(takeover.stands(now), "without a connection nothing shows that it is over");
        takeover.connected(now);
        assert!(takeover.stands(now + Duration::from_secs(29)) && !takeover.stands(now + SHORT));
        now += SHORT;
        assert!(!takeover.disconnected(now) && !takeover.stands(now));
        for last in [false, false, true] {
            takeover.connected(now);
            assert_eq!(takeover.disconnected(now), last, "and begins again");
        }
    }
}
