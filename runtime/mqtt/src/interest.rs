//! What we asked for: the live subscriptions, each with the largest payload that it takes.
//!
//! Pure. An exact filter is found by one look-up; only filters with wildcards are tried one by one, so a
//! device, which uses none, pays nothing for them.

use std::collections::BTreeMap;

use crate::topic::{is_pattern, matches};

/// What to do with an incoming message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A live subscription takes it.
    Wanted,
    /// No live subscription matches its topic.
    Foreign,
    /// Its topic matches, but every matching subscription takes less.
    Oversize,
}

/// The table of live subscriptions: filter to the largest payload in bytes.
#[derive(Debug, Default)]
pub(crate) struct Interest {
    exact: BTreeMap<String, usize>,
    patterns: BTreeMap<String, usize>,
}

impl Interest {
    /// Adds a subscription; for a filter that is there already the new bound counts.
    pub(crate) fn insert(&mut self, filter: &str, max_payload_bytes: usize) {
        let table = if is_pattern(filter) { &mut self.patterns } else { &mut self.exact };
        table.insert(filter.to_owned(), max_payload_bytes);
    }

    /// Forgets a subscription, if it is there.
    pub(crate) fn remove(&mut self, filter: &str) {
        let table = if is_pattern(filter) { &mut self.patterns } else { &mut self.exact };
        table.remove(filter);
    }

    /// Whether the filter is subscribed.
    pub(crate) fn contains(&self, filter: &str) -> bool {
        self.exact.contains_key(filter) || self.patterns.contains_key(filter)
    }

    /// All filters, in a stable order.
    pub(crate) fn filters(&self) -> impl Iterator<Item = &String> {
        self.exact.keys().chain(self.patterns.keys())
    }

    /// Whether a message is taken. Where several filters match, the largest bound counts.
    pub(crate) fn judge(&self, topic: &str, payload_bytes: usize) -> Verdict {
        let exact = self.exact.get(topic);
        let patterns = self.patterns.iter().filter(|(filter, _)| matches(filter, topic)).map(|(_, max)| max);
        match exact.into_iter().chain(patterns).max() {
            None => Verdict::Foreign,
            Some(max) if payload_bytes > *max => Verdict::Oversize,
            Some(_) => Verdict::Wanted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_for_is_wanted() {
        let mut interest = Interest::default();
        interest.insert("a/b", 10);
        interest.insert("up/+/health", 4);
        assert_eq!(interest.judge("a/b", 10), Verdict::Wanted);
        assert_eq!(interest.judge("a/b", 11), Verdict::Oversize);
        assert_eq!(interest.judge("a/c", 0), Verdict::Foreign);
        assert_eq!(interest.judge("up/x/health", 4), Verdict::Wanted);
        assert_eq!(interest.judge("up/x/health", 5), Verdict::Oversize);
        assert_eq!(interest.judge("up/x/events", 1), Verdict::Foreign);
    }

    #[test]
    fn the_largest_matching_bound_counts() {
        let mut interest = Interest::default();
        interest.insert("a/b", 1);
        interest.insert("a/#", 5);
        assert_eq!(interest.judge("a/b", 5), Verdict::Wanted);
        assert_eq!(interest.judge("a/b", 6), Verdict::Oversize);
    }

    #[test]
    fn what_is_unsubscribed_is_foreign_at_once() {
        let mut interest = Interest::default();
        interest.insert("a", 1);
        interest.insert("a", 3);
        assert_eq!(interest.judge("a", 3), Verdict::Wanted);
        interest.remove("a");
        assert_eq!(interest.judge("a", 0), Verdict::Foreign);
        assert!(!interest.contains("a"));
        assert_eq!(interest.filters().count(), 0);
    }
}
