//! Which streams of a model are open: decides, and owns no instance and no clock.
//!
//! A stream is a run of requests that a model remembers from one to the next. It opens with a request that
//! says `start`, and each has an instance of its own until a request says `end`, until nothing has come for
//! too long, or until its instance failed. A request for a stream that is not open is refused and never
//! answered as if it were: the model would have forgotten what the caller relies on.
//!
//! | stream | request with `start` | request without | called well | called well, `end` | instance failed | idle |
//! |---|---|---|---|---|---|---|
//! | not open | open, or full | lost | – | – | – | – |
//! | open | reset | go on | keep | drop | drop | drop |

use std::collections::{BTreeMap, VecDeque};

use super::sequence::{Sequence, SequenceError, SequenceId, WhyLost};

/// Streams that are no more, and of which it is still told why.
const REMEMBERED: usize = 256;

/// What happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A request that fits the model.
    Request(Sequence),
    /// The call for the request came to its end.
    Called {
        /// The request's sequence.
        sequence: Sequence,
        /// Whether the instance can be used again.
        usable: bool,
    },
    /// Time passes.
    Tick,
}

/// What is to be done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Make an instance for the stream, and call it.
    Open(SequenceId),
    /// Let the stream's instance forget everything, and call it.
    Reset(SequenceId),
    /// Call the stream's instance.
    GoOn(SequenceId),
    /// Drop the stream's instance.
    Drop(SequenceId),
    /// Answer the request with this.
    Refuse(SequenceError),
}

/// The open streams of one release.
#[derive(Debug)]
pub(super) struct Streams {
    most: usize,
    idle_ms: u64,
    /// When each was last used.
    open: BTreeMap<SequenceId, u64>,
    lost: VecDeque<(SequenceId, WhyLost)>,
}

impl Streams {
    /// At most `most` at a time, each until nothing has come for `idle_ms`.
    pub(super) fn new(most: usize, idle_ms: u64) -> Streams {
        Streams { most: most.max(1), idle_ms, open: BTreeMap::new(), lost: VecDeque::new() }
    }

    /// When the next stream will have been idle for too long, if nothing comes.
    pub(super) fn due_ms(&self) -> Option<u64> {
        self.open.values().min().map(|used| used.saturating_add(self.idle_ms))
    }

    /// What is to be done about an event.
    pub(super) fn step(&mut self, now_ms: u64, event: Event) -> Vec<Action> {
        // The end of a call is no idleness of the caller's: the stream is used until then.
        let mut actions = match &event {
            Event::Called { .. } => Vec::new(),
            Event::Request(_) | Event::Tick => self.expire(now_ms),
        };
        match event {
            Event::Tick => {}
            Event::Request(sequence) => actions.push(self.request(now_ms, sequence)),
            Event::Called { sequence, usable } => {
                if let Some(used) = self.open.get_mut(&sequence.id) {
                    *used = now_ms;
                    if sequence.end || !usable {
                        let why = if usable { WhyLost::Ended } else { WhyLost::Failed };
                        actions.push(self.close(sequence.id, why));
                    }
                }
            }
        }
        actions
    }

    fn request(&mut self, now_ms: u64, sequence: Sequence) -> Action {
        let Sequence { id, start, end: _ } = sequence;
        let room = self.open.len() < self.most;
        match (self.open.get_mut(&id), start) {
            (Some(used), true) => {
                *used = now_ms;
                Action::Reset(id)
            }
            (Some(used), false) => {
                *used = now_ms;
                Action::GoOn(id)
            }
            (None, true) if room => {
                self.lost.retain(|(lost, _)| *lost != id);
                self.open.insert(id.clone(), now_ms);
                Action::Open(id)
            }
            (None, true) => Action::Refuse(SequenceError::Full { most: self.most }),
            (None, false) => {
                let why = self.lost.iter().find(|(lost, _)| *lost == id).map(|(_, why)| *why);
                Action::Refuse(SequenceError::Lost { id, why: why.unwrap_or(WhyLost::NotStarted) })
            }
        }
    }

    fn expire(&mut self, now_ms: u64) -> Vec<Action> {
        let idle_ms = self.idle_ms;
        let idle = |used: &u64| now_ms.saturating_sub(*used) >= idle_ms;
        let idle: Vec<_> =
            self.open.iter().filter(|(_, used)| idle(used)).map(|(id, _)| id.clone()).collect();
        idle.into_iter().map(|id| self.close(id, WhyLost::Idle { idle_ms })).collect()
    }

    fn close(&mut self, id: SequenceId, why: WhyLost) -> Action {
        self.open.remove(&id);
        self.lost.retain(|(lost, _)| *lost != id);
        if self.lost.len() >= REMEMBERED {
            self.lost.pop_front();
        }
        self.lost.push_back((id.clone(), why));
        Action::Drop(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn id(number: u64) -> SequenceId {
        SequenceId::Number(number)
    }

    fn part(number: u64, start: bool, end: bool) -> Sequence {
        Sequence { id: id(number), start, end }
    }

    fn called(number: u64, end: bool, usable: bool) -> Event {
        Event::Called { sequence: part(number, false, end), usable }
    }

    fn lost(number: u64, why: WhyLost) -> Vec<Action> {
        vec![Action::Refuse(SequenceError::Lost { id: id(number), why })]
    }

    #[test]
    fn a_stream_opens_goes_on_starts_anew_and_ends() {
        let mut streams = Streams::new(2, 1000);
        let ask = |start, end| Event::Request(part(7, start, end));
        assert_eq!(streams.step(0, ask(false, false)), lost(7, WhyLost::NotStarted));
        assert_eq!(streams.step(1, ask(true, false)), [Action::Open(id(7))]);
        assert_eq!(streams.step(2, called(7, false, true)), []);
        assert_eq!(streams.step(3, ask(false, false)), [Action::GoOn(id(7))]);
        assert_eq!(streams.step(4, ask(true, false)), [Action::Reset(id(7))]);
        assert_eq!(streams.step(5, ask(false, true)), [Action::GoOn(id(7))]);
        assert_eq!(streams.step(6, called(7, true, true)), [Action::Drop(id(7))]);
        assert_eq!(streams.step(7, ask(false, false)), lost(7, WhyLost::Ended));
        assert_eq!(streams.step(8, ask(true, true)), [Action::Open(id(7))], "one request may be all of it");
        assert_eq!(streams.due_ms(), Some(1008));
    }

    #[test]
    fn a_failure_and_idleness_lose_a_stream_and_the_next_request_is_told() {
        let mut streams = Streams::new(1, 1000);
        let ask = |number, start| Event::Request(part(number, start, false));
        streams.step(0, ask(1, true));
        assert_eq!(streams.step(10, called(1, false, false)), [Action::Drop(id(1))]);
        assert_eq!(streams.step(11, ask(1, false)), lost(1, WhyLost::Failed));
        assert_eq!(streams.step(20, ask(2, true)), [Action::Open(id(2))]);
        assert_eq!(streams.step(30, ask(3, true)), [Action::Refuse(SequenceError::Full { most: 1 })]);
        assert_eq!(streams.step(1019, Event::Tick), []);
        // A place that is idle for too long is free for the next.
        assert_eq!(streams.step(1020, ask(3, true)), [Action::Drop(id(2)), Action::Open(id(3))]);
        assert_eq!(streams.step(1021, ask(2, false)), lost(2, WhyLost::Idle { idle_ms: 1000 }));
        // A call that takes long is no idleness.
        assert_eq!(streams.step(9000, called(3, false, true)), []);
        assert_eq!(streams.step(9999, Event::Tick), []);
        assert_eq!(streams.step(10_000, Event::Tick), [Action::Drop(id(3))]);
        assert_eq!(streams.due_ms(), None);
    }

    #[test]
    fn what_is_remembered_of_lost_streams_is_bounded() {
        let mut streams = Streams::new(1, 1);
        for number in 1..=1000 {
            streams.step(number, Event::Request(part(number, true, true)));
            streams.step(number, called(number, true, true));
        }
        assert_eq!(streams.lost.len(), REMEMBERED);
        assert_eq!(streams.step(1001, Event::Request(part(1, false, false))), lost(1, WhyLost::NotStarted));
    }

    /// The request, the milliseconds before it and after it, and whether its instance fails.
    fn story() -> impl Strategy<Value = Vec<(u64, bool, bool, u64, bool)>> {
        proptest::collection::vec((1u64..6, any::<bool>(), any::<bool>(), 0u64..60, any::<bool>()), 1..80)
    }

    proptest! {
        /// A shell that does what it is told has an instance for every call, never too many, and an open
        /// stream is only lost for a reason.
        #[test]
        fn every_call_has_an_instance_and_there_are_never_too_many(story in story(), most in 1usize..4) {
            let mut streams = Streams::new(most, 100);
            let mut instances = BTreeSet::new();
            let mut used = BTreeMap::new();
            let mut now = 0;
            for (number, start, end, pause, fails) in story {
                now += pause;
                let sequence = part(number, start, end);
                let mut runs = false;
                for action in streams.step(now, Event::Request(sequence.clone())) {
                    match action {
                        Action::Open(id) => { prop_assert!(instances.insert(id)); runs = true; }
                        Action::Reset(id) => { prop_assert!(start && instances.contains(&id)); runs = true; }
                        Action::GoOn(id) => { prop_assert!(!start && instances.contains(&id)); runs = true; }
                        Action::Drop(id) => {
                            prop_assert!(now - used[&id] >= 100, "dropped while it was used");
                            prop_assert!(instances.remove(&id));
                        }
                        Action::Refuse(SequenceError::Full { .. }) => prop_assert_eq!(instances.len(), most),
                        Action::Refuse(_) => prop_assert!(!start && !instances.contains(&id(number))),
                    }
                }
                prop_assert!(instances.len() <= most);
                if !runs {
                    continue;
                }
                now += pause;
                used.insert(id(number), now);
                for action in streams.step(now, Event::Called { sequence, usable: !fails }) {
                    prop_assert_eq!(&action, &Action::Drop(id(number)));
                    prop_assert!(instances.remove(&id(number)));
                }
                prop_assert_eq!(instances.contains(&id(number)), !end && !fails);
            }
        }
    }
}
