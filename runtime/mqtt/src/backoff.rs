//! How long to wait before the next connection: exponential, capped, with full jitter.
//!
//! Pure: the random number is an argument. Full jitter (a uniform share of the whole ceiling, not a
//! little noise on top) spreads a fleet that lost its broker at one moment; see "Exponential Backoff and
//! Jitter", AWS Architecture Blog, 2015.

use std::time::Duration;

/// The waiting times between connection attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest wait after the first failure; doubles with each further one. At least 1 ms.
    pub base: Duration,
    /// The longest wait of all. At least `base`.
    pub cap: Duration,
    /// A connection that held this long ends the series of failures.
    pub stable_after: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff {
            base: Duration::from_secs(1),
            cap: Duration::from_secs(5 * 60),
            stable_after: Duration::from_secs(60),
        }
    }
}

impl Backoff {
    /// The longest wait after `failures` failures in a row: `min(cap, base * 2^(failures - 1))`.
    pub fn ceiling(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1);
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        self.base.checked_mul(factor).unwrap_or(self.cap).min(self.cap)
    }

    /// The wait after `failures` failures in a row, for a uniformly random `random`: in `(0, ceiling]`.
    pub fn delay(&self, failures: u32, random: u64) -> Duration {
        share(self.ceiling(failures), random)
    }
}

/// The share `(random + 1) / 2^64` of a duration, rounded up to whole nanoseconds.
pub(crate) fn share(whole: Duration, random: u64) -> Duration {
    let nanos = u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX);
    let product = u128::from(nanos) * (u128::from(random) + 1);
    let rounded_up = (product + u128::from(u64::MAX)) >> 64;
    Duration::from_nanos(u64::try_from(rounded_up).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Row 42 of SECURITY.md: 10,000 devices whose broker was away until all of them waited the longest.
    #[test]
    fn a_fleet_that_comes_back_is_spread_over_the_longest_wait() {
        let (backoff, devices) = (Backoff::default(), 10_000_u64);
        let mut seconds = vec![0_u64; 301];
        for device in 0..devices {
            let random = device.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let wait = backoff.delay(20, random);
            seconds[usize::try_from(wait.as_secs()).unwrap()] += 1;
        }
        let (peak, mean) = (seconds.iter().max().copied().unwrap(), devices / backoff.cap.as_secs());
        assert!(peak <= 2 * mean, "{peak} in one second, {mean} on average");
        // And before that, each attempt of the fleet is spread over its own wait.
        let early = (0..devices).map(|device| backoff.delay(1, device.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let tenths = early.fold([0_u64; 11], |mut tenths, wait| {
            tenths[usize::try_from(wait.as_millis() / 100).unwrap()] += 1;
            tenths
        });
        assert!(tenths.iter().all(|tenth| *tenth <= 2 * devices / 10), "{tenths:?}");
    }

    #[test]
    fn the_ceiling_doubles_up_to_the_cap() {
        let backoff = Backoff::default();
        let seconds: Vec<u64> = (1..=11).map(|failures| backoff.ceiling(failures).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(backoff.ceiling(u32::MAX), backoff.cap);
    }

    #[test]
    fn the_jitter_covers_the_whole_range() {
        let backoff = Backoff::default();
        assert_eq!(backoff.delay(1, 0), Duration::from_nanos(1));
        assert_eq!(backoff.delay(1, u64::MAX / 2), Duration::from_millis(500));
        assert_eq!(backoff.delay(1, u64::MAX), Duration::from_secs(1));
    }

    proptest! {
        #[test]
        fn a_delay_is_never_zero_and_never_above_its_ceiling(failures in 1_u32.., random: u64) {
            let backoff = Backoff::default();
            let delay = backoff.delay(failures, random);
            prop_assert!(delay > Duration::ZERO && delay <= backoff.ceiling(failures));
        }
    }
}
