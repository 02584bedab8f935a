//! Counting refusals, and telling each reason once an hour.
//!
//! A hostile broker can make a device refuse thousands of documents a second. Each is counted, but an
//! event record is made at most once an hour per code and subject, so that nobody can wear out the
//! flash. Codes are a fixed table and subjects are bounded, and so is the memory.

use alloc::collections::BTreeMap;
use alloc::string::String;

use super::event::Subject;

const HOUR_MS: u64 = 3_600_000;

/// The most (code, subject) pairs that are told apart; further ones are told with their code alone.
const MAX_TOLD: usize = 64;

#[derive(Clone, Copy, Debug)]
struct Told {
    at_ms: u64,
    since: u64,
}

/// How often what was refused in this boot.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    counts: BTreeMap<&'static str, u64>,
    told: BTreeMap<(String, Option<Subject>), Told>,
}

impl Refusals {
    /// The count of each code, in this boot.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.counts.iter().map(|(code, count)| (*code, *count))
    }

    /// The count of one code, in this boot.
    pub fn count(&self, code: &str) -> u64 {
        self.counts.get(code).copied().unwrap_or(0)
    }

    /// Counts one; the answer is how many to tell of now, or `None` within the hour.
    pub(super) fn note(
        &mut self,
        counted: &'static str,
        told_as: &str,
        what: &Subject,
        now_ms: u64,
    ) -> Option<u64> {
        let count = self.counts.entry(counted).or_default();
        *count = count.saturating_add(1);
        let mut key = (String::from(told_as), Some(what.clone()));
        if self.told.len() >= MAX_TOLD && !self.told.contains_key(&key) {
            key = (String::from(counted), None);
        }
        match self.told.get_mut(&key) {
            Some(told) if now_ms.saturating_sub(told.at_ms) < HOUR_MS => {
                told.since = told.since.saturating_add(1);
                None
            }
            Some(told) => {
                let count = told.since.saturating_add(1);
                *told = Told { at_ms: now_ms, since: 0 };
                Some(count)
            }
            None => {
                self.told.insert(key, Told { at_ms: now_ms, since: 0 });
                Some(1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_told_once_an_hour_with_its_count() {
        let mut refusals = Refusals::default();
        assert_eq!(refusals.note("a", "a", &Subject::Root, 0), Some(1));
        for ms in 1..1000 {
            assert_eq!(refusals.note("a", "a", &Subject::Root, ms), None);
        }
        assert_eq!(refusals.note("a", "a", &Subject::Device, 5), Some(1), "another subject");
        assert_eq!(refusals.note("a", "a", &Subject::Root, HOUR_MS), Some(1000));
        assert_eq!(refusals.count("a"), 1002);
        assert_eq!(refusals.counts().collect::<alloc::vec::Vec<_>>(), [("a", 1002)]);
    }

    #[test]
    fn memory_is_bounded() {
        let mut refusals = Refusals::default();
        for i in 0..10_000u32 {
            refusals.note("a", "a", &Subject::Release(crate::Digest::of(&i.to_le_bytes())), 0);
        }
        assert_eq!(refusals.told.len(), MAX_TOLD + 1);
        assert_eq!(refusals.count("a"), 10_000);
    }
}
