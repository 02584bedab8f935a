//! Whether somebody else uses the device's client id: a broker then ends our connection when the other comes,
//! and the other's when we come back.
//!
//! MQTT 3.1.1 says no more than that the connection is gone, so it is told as a suspicion: three connections
//! in a row that a broker accepted and ended within half a minute. The link waits ever longer between them.

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
    pub(super) fn connected(&mut self, now: Instant) {
        self.since = Some(now);
    }

    /// A connection ended, or an attempt failed; whether this is to be told.
    pub(super) fn disconnected(&mut self, now: Instant) -> bool {
        // An attempt that the broker did not accept says nothing.
        let Some(since) = self.since.take() else { return false };
        self.short =
            if now.saturating_duration_since(since) < SHORT { self.short.saturating_add(1) } else { 0 };
        self.short > 0 && self.short.is_multiple_of(SUSPICIOUS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_connections_in_a_row_are_told_of_and_a_long_one_ends_the_row() {
        let mut takeover = Takeover::default();
        let mut now = Instant::now();
        let mut connection = |takeover: &mut Takeover, seconds: u64| {
            takeover.connected(now);
            now += Duration::from_secs(seconds);
            takeover.disconnected(now)
        };
        let told: Vec<bool> =
            [1, 29, 1, 1, 31, 1, 1].map(|seconds| connection(&mut takeover, seconds)).to_vec();
        assert_eq!(told, [false, false, true, false, false, false, false]);
        assert!(!takeover.disconnected(Instant::now()), "an attempt that failed is no connection");
        assert!(connection(&mut takeover, 2));
    }
}
