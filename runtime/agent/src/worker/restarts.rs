//! How soon a worker is started again: at once, unless it keeps on dying.
//!
//! The first deaths cost nothing but the start: a model that is to blame shall be found soon. Where that
//! does not help, waits grow, so that a machine without memory is not kept busy with starting.

/// Deaths in a row that are followed by a start at once.
const AT_ONCE: u32 = 4;

/// The first wait, in milliseconds; it doubles with every further death.
const FIRST_WAIT_MS: u64 = 100;

/// The longest wait, in milliseconds.
const LONGEST_WAIT_MS: u64 = 30_000;

/// A worker that lived this long, in milliseconds, ends the row.
const GOOD_LIFE_MS: u64 = 60_000;

/// The deaths so far.
#[derive(Debug, Default)]
pub(super) struct Restarts {
    in_a_row: u32,
    died_ms: Option<u64>,
}

impl Restarts {
    /// A worker died; how long to wait before the next one, in milliseconds.
    pub(super) fn died(&mut self, now_ms: u64) -> u64 {
        let lived_ms = self.died_ms.map_or(now_ms, |before| now_ms.saturating_sub(before));
        self.in_a_row = if lived_ms >= GOOD_LIFE_MS { 1 } else { self.in_a_row.saturating_add(1) };
        self.died_ms = Some(now_ms);
        match self.in_a_row.checked_sub(AT_ONCE + 1) {
            None => 0,
            Some(further) => FIRST_WAIT_MS.saturating_mul(1 << further.min(16)).min(LONGEST_WAIT_MS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_deaths_are_followed_at_once_and_a_row_of_them_ever_later() {
        let mut restarts = Restarts::default();
        let waits: Vec<u64> = (0..16).map(|index| restarts.died(index * 10)).collect();
        assert_eq!(waits[..6], [0, 0, 0, 0, 100, 200]);
        assert_eq!(waits[15], LONGEST_WAIT_MS);
        assert_eq!(restarts.died(1_000_000), 0, "after a good life");
    }
}
