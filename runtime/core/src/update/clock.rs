//! Time on a device whose clock may be wrong or unset.
//!
//! Wall time is never stored: one boot in 2099 would block every later update. What is stored is
//! `T_low`, the latest signed `issued` that was accepted. The true time is not before it, and not before
//! the day on which the running build was released.

use serde::{Deserialize, Serialize};

const DAY_S: u64 = 86_400;

/// The most that one document moves `T_low`: 400 days. A stolen online key can push it no faster.
pub(super) const MAX_T_LOW_STEP_S: u64 = 400 * DAY_S;

/// A wall clock this far past `T_low` is implausible: ten years.
pub(super) const MAX_AHEAD_S: u64 = 3653 * DAY_S;

/// 24 hours: so long does an echoed nonce attest the time.
pub(super) const DAY_MS: u64 = DAY_S * 1000;

/// The moment of a step, and its luck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The wall clock in seconds since 1970; 0 where there is none.
    pub wall_unix_s: u64,
    /// Milliseconds since some moment of this boot; never goes back.
    pub monotonic_ms: u64,
    /// Random bits, new in each step; they spread pulls and retries.
    pub random: u64,
}

/// How far a device believes its wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// Before `T_low`, or more than ten years after it: `T_low` is used instead.
    Unset,
    /// Plausible, and no more is known.
    Bounded,
    /// Plausible, and a deployment echoed the nonce of this boot within 24 hours.
    Attested,
}

impl Clock {
    /// What a wall clock is worth, given `T_low` and whether a nonce was echoed lately.
    pub fn judge(wall_unix_s: u64, t_low_unix_s: u64, echoed: bool) -> Clock {
        if wall_unix_s < t_low_unix_s || wall_unix_s > t_low_unix_s.saturating_add(MAX_AHEAD_S) {
            Clock::Unset
        } else if echoed {
            Clock::Attested
        } else {
            Clock::Bounded
        }
    }

    /// The time to judge expiry by, in seconds since 1970.
    pub fn effective_unix_s(self, wall_unix_s: u64, t_low_unix_s: u64) -> u64 {
        match self {
            Clock::Unset => t_low_unix_s,
            Clock::Bounded | Clock::Attested => wall_unix_s,
        }
    }
}

/// `T_low` after a document with this `issued` was accepted.
pub(super) fn raised(t_low_unix_s: u64, issued_unix_s: u64) -> u64 {
    t_low_unix_s.max(issued_unix_s.min(t_low_unix_s.saturating_add(MAX_T_LOW_STEP_S)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_implausible_clock_counts_as_unset() {
        let t_low = 1_000_000_000;
        for (wall, clock) in [
            (0, Clock::Unset),
            (t_low - 1, Clock::Unset),
            (t_low, Clock::Bounded),
            (t_low + MAX_AHEAD_S, Clock::Bounded),
            (t_low + MAX_AHEAD_S + 1, Clock::Unset),
            (u64::MAX, Clock::Unset),
        ] {
            assert_eq!(Clock::judge(wall, t_low, false), clock, "{wall}");
        }
        assert_eq!(Clock::judge(t_low, t_low, true), Clock::Attested);
        assert_eq!(Clock::Unset.effective_unix_s(7, t_low), t_low);
        assert_eq!(Clock::Bounded.effective_unix_s(t_low + 1, t_low), t_low + 1);
    }

    #[test]
    fn t_low_grows_by_400_days_at_most_and_never_falls() {
        assert_eq!(raised(100, 50), 100);
        assert_eq!(raised(100, 200), 200);
        assert_eq!(raised(100, u64::MAX), 100 + 400 * 86_400);
    }
}
