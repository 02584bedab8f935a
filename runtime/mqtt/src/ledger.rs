//! The ledger of requests that wait for their acknowledgement, in the order in which they were given.
//!
//! Pure. The client library numbers packets itself and tells the number when it takes a request; it takes
//! them in the order in which it was handed them. So the oldest entry without a packet id is the one that
//! the next number belongs to. Invariant: an entry leaves only by its acknowledgement or by
//! [`Ledger::drain`]; [`Ledger::reset`] makes all of them be offered again, in order.

use std::collections::{BTreeMap, HashMap, VecDeque};

/// Requests `R`, each with someone who waits for it, `W`.
#[derive(Debug)]
pub(crate) struct Ledger<R, W> {
    entries: BTreeMap<u64, (R, W)>,
    /// The number of the next entry.
    next: u64,
    /// Entries below this were handed over on this connection.
    cursor: u64,
    /// Handed over, and the client has not told the packet id.
    unnumbered: VecDeque<u64>,
    /// On the wire, by packet id.
    in_flight: HashMap<u16, u64>,
}

/// The client or the broker named a packet that does not fit: the connection cannot be trusted further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfStep;

impl<R, W> Default for Ledger<R, W> {
    fn default() -> Self {
        Ledger {
            entries: BTreeMap::new(),
            next: 0,
            cursor: 0,
            unnumbered: VecDeque::new(),
            in_flight: HashMap::new(),
        }
    }
}

impl<R, W> Ledger<R, W> {
    /// Adds a request at the end.
    pub(crate) fn push(&mut self, request: R, waiter: W) {
        self.entries.insert(self.next, (request, waiter));
        self.next += 1;
    }

    /// The oldest request that was not handed over on this connection; it counts as handed over now.
    pub(crate) fn hand_over(&mut self) -> Option<&R> {
        let (&number, (request, _)) = self.entries.range(self.cursor..).next()?;
        self.cursor = number + 1;
        self.unnumbered.push_back(number);
        Some(request)
    }

    /// The client gave the oldest unnumbered request this packet id.
    pub(crate) fn numbered(&mut self, packet_id: u16) -> Result<(), OutOfStep> {
        let number = self.unnumbered.pop_front().ok_or(OutOfStep)?;
        match self.in_flight.insert(packet_id, number) {
            None => Ok(()),
            Some(_) => Err(OutOfStep),
        }
    }

    /// The broker acknowledged this packet: its request leaves.
    pub(crate) fn acknowledged(&mut self, packet_id: u16) -> Result<(R, W), OutOfStep> {
        let number = self.in_flight.remove(&packet_id).ok_or(OutOfStep)?;
        self.entries.remove(&number).ok_or(OutOfStep)
    }

    /// Whether anything handed over on this connection waits for its acknowledgement.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.unnumbered.is_empty() || !self.in_flight.is_empty()
    }

    /// The connection is gone: everything is to be offered again.
    pub(crate) fn reset(&mut self) {
        self.cursor = 0;
        self.unnumbered.clear();
        self.in_flight.clear();
    }

    /// Takes all entries out, oldest first.
    pub(crate) fn drain(&mut self) -> Vec<(R, W)> {
        self.reset();
        std::mem::take(&mut self.entries).into_values().collect()
    }

    /// How many requests wait in all, handed over or not.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requests_are_offered_in_order_and_again_after_a_reset() {
        let mut ledger = Ledger::default();
        for request in ["a", "b", "c"] {
            ledger.push(request, ());
        }
        assert_eq!(ledger.hand_over(), Some(&"a"));
        assert_eq!(ledger.hand_over(), Some(&"b"));
        ledger.numbered(1).unwrap();
        ledger.numbered(2).unwrap();
        assert_eq!(ledger.acknowledged(2), Ok(("b", ())));
        assert!(ledger.is_waiting());
        ledger.reset();
        assert!(!ledger.is_waiting());
        assert_eq!(ledger.hand_over(), Some(&"a"));
        assert_eq!(ledger.hand_over(), Some(&"c"));
        assert_eq!(ledger.hand_over(), None);
    }

    #[test]
    fn numbers_that_do_not_fit_are_seen() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.numbered(1), Err(OutOfStep));
        assert_eq!(ledger.acknowledged(1), Err(OutOfStep));
        ledger.push("a", ());
        ledger.push("b", ());
        ledger.hand_over();
        ledger.hand_over();
        ledger.numbered(7).unwrap();
        assert_eq!(ledger.numbered(7), Err(OutOfStep));
    }

    proptest! {
        /// Connections fall at random moments and acknowledgements come out of order: each request is
        /// acknowledged exactly once, and none is lost.
        #[test]
        fn nothing_is_lost_or_finished_twice(steps in prop::collection::vec((0_u8..6, any::<u8>()), 0..200)) {
            let mut ledger = Ledger::default();
            let (mut pushed, mut finished, mut packet_id) = (0_u32, Vec::new(), 0_u16);
            let mut wire: Vec<(u16, u32)> = Vec::new();
            for (step, pick) in steps {
                match step {
                    0 | 1 => { ledger.push(pushed, ()); pushed += 1; }
                    2 | 3 => {
                        if let Some(&request) = ledger.hand_over() {
                            packet_id += 1;
                            ledger.numbered(packet_id).unwrap();
                            wire.push((packet_id, request));
                        }
                    }
                    4 if !wire.is_empty() => {
                        let (id, request) = wire.remove(usize::from(pick) % wire.len());
                        prop_assert_eq!(ledger.acknowledged(id), Ok((request, ())));
                        finished.push(request);
                    }
                    4 => {}
                    _ => { ledger.reset(); wire.clear(); }
                }
            }
            prop_assert_eq!(ledger.len() + finished.len(), usize::try_from(pushed).unwrap());
            finished.extend(ledger.drain().into_iter().map(|(request, ())| request));
            finished.sort_unstable();
            prop_assert_eq!(finished, (0..pushed).collect::<Vec<_>>());
        }
    }
}
