//! The instances that one thread calls: the one of a model without state, or one for each open stream.
//!
//! Does what [`Streams`] decides, and tells it the time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dunlin_sandbox::{CallError, CompiledModel, Instance};

use super::sequence::{Sequence, SequenceError, SequenceId};
use super::streams::{Action, Event, Streams};
use crate::worker::Place;

/// What a thread calls.
pub(super) enum Instances {
    /// `None` after a failure, until a new one could be made.
    One(Option<Box<Instance>>),
    /// One a stream.
    Many(Box<Open>),
}

/// The instances of streams.
pub(super) struct Open {
    streams: Streams,
    instances: BTreeMap<SequenceId, Instance>,
    /// The one that was made to see whether the model starts; the first stream takes it.
    spare: Option<Instance>,
    began: Instant,
}

/// What to do before the call of an admitted request.
pub(super) enum Way {
    /// Call the one instance.
    One,
    /// Make an instance for the stream.
    Open(SequenceId),
    /// Let the stream's instance forget.
    Reset(SequenceId),
    /// Call the stream's instance.
    GoOn(SequenceId),
}

impl Instances {
    /// For a model without state.
    pub(super) fn one(instance: Instance) -> Instances {
        Instances::One(Some(Box::new(instance)))
    }

    /// For a model of state `stream`.
    pub(super) fn many(spare: Instance, most: usize, idle_ms: u64) -> Instances {
        let (streams, instances) = (Streams::new(most, idle_ms), BTreeMap::new());
        Instances::Many(Box::new(Open { streams, instances, spare: Some(spare), began: Instant::now() }))
    }

    /// How long the thread may wait for a request before [`Self::tick`]; `None` for as long as it takes.
    pub(super) fn patience(&self) -> Option<Duration> {
        let Instances::Many(open) = self else { return None };
        let due = open.streams.due_ms()?;
        Some(Duration::from_millis(due.saturating_sub(open.now_ms())))
    }

    /// Gives up what is idle for too long.
    pub(super) fn tick(&mut self) {
        if let Instances::Many(open) = self {
            open.step(Event::Tick);
        }
    }

    /// Whether a request goes with the model and its stream is open or opens now.
    pub(super) fn admit(&mut self, sequence: Option<&Sequence>) -> Result<Way, SequenceError> {
        match (self, sequence) {
            (Instances::One(_), None) => Ok(Way::One),
            (Instances::One(_), Some(_)) => Err(SequenceError::Stateless),
            (Instances::Many(_), None) => Err(SequenceError::Missing),
            (Instances::Many(open), Some(sequence)) => {
                match open.step(Event::Request(sequence.clone())) {
                    Some(Action::Open(id)) => Ok(Way::Open(id)),
                    Some(Action::Reset(id)) => Ok(Way::Reset(id)),
                    Some(Action::GoOn(id)) => Ok(Way::GoOn(id)),
                    Some(Action::Refuse(error)) => Err(error),
                    // A request is always answered by one of them.
                    Some(Action::Drop(_)) | None => Err(SequenceError::Missing),
                }
            }
        }
    }

    /// The instance to call.
    pub(super) fn ready(
        &mut self,
        way: Way,
        model: &CompiledModel,
        place: &Place,
    ) -> Result<&mut Instance, CallError> {
        match (self, way) {
            (Instances::One(Some(instance)), _) => Ok(instance),
            (Instances::One(empty), _) => Ok(empty.insert(Box::new(place.during(|| model.instantiate())?))),
            (Instances::Many(open), Way::Open(id)) => {
                let made = match open.spare.take() {
                    Some(spare) => spare,
                    None => place.during(|| model.instantiate())?,
                };
                open.instances.remove(&id);
                Ok(open.instances.entry(id).or_insert(made))
            }
            (Instances::Many(open), Way::Reset(id)) => {
                let instance = open.of(id, model, place)?;
                place.during(|| instance.reset())?;
                Ok(instance)
            }
            (Instances::Many(open), Way::GoOn(id)) => open.of(id, model, place),
            (Instances::Many(open), Way::One) => open.of(SequenceId::Number(0), model, place),
        }
    }

    /// The instance that a request was answered by.
    pub(super) fn current(&mut self, sequence: Option<&Sequence>) -> Option<&mut Instance> {
        match (self, sequence) {
            (Instances::One(instance), _) => instance.as_deref_mut(),
            (Instances::Many(open), Some(sequence)) => open.instances.get_mut(&sequence.id),
            (Instances::Many(_), None) => None,
        }
    }

    /// The call of a request came to its end: drops what ended with it or was damaged by it. Whether
    /// something was damaged.
    pub(super) fn settle(&mut self, sequence: Option<&Sequence>) -> bool {
        let usable = self.current(sequence).map(|instance| !instance.is_poisoned());
        match self {
            Instances::One(instance) => {
                if usable == Some(false) {
                    *instance = None;
                }
                usable == Some(false)
            }
            Instances::Many(open) => {
                let usable = usable == Some(true);
                if let Some(sequence) = sequence.cloned() {
                    open.step(Event::Called { sequence, usable });
                }
                !usable
            }
        }
    }

    /// Makes the one instance of a model without state anew, where it was dropped.
    pub(super) fn renew(&mut self, model: &CompiledModel, place: &Place) -> Result<(), CallError> {
        if let Instances::One(empty @ None) = self {
            *empty = Some(Box::new(place.during(|| model.instantiate())?));
        }
        Ok(())
    }

    /// Linear memory of all of them.
    pub(super) fn memory_bytes(&self) -> u64 {
        match self {
            Instances::One(instance) => instance.as_ref().map_or(0, |instance| instance.memory_bytes()),
            Instances::Many(open) => {
                let all = open.instances.values().chain(&open.spare);
                all.fold(0, |sum, instance| sum.saturating_add(instance.memory_bytes()))
            }
        }
    }
}

impl Open {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Drops what is to be dropped; gives what is to be done for the request, if there is one.
    fn step(&mut self, event: Event) -> Option<Action> {
        let mut wanted = None;
        for action in self.streams.step(self.now_ms(), event) {
            match action {
                Action::Drop(id) => drop(self.instances.remove(&id)),
                action => wanted = Some(action),
            }
        }
        wanted
    }

    /// The stream's instance, which is there while the stream is open.
    fn of(
        &mut self,
        id: SequenceId,
        model: &CompiledModel,
        place: &Place,
    ) -> Result<&mut Instance, CallError> {
        use std::collections::btree_map::Entry;
        match self.instances.entry(id) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => Ok(entry.insert(place.during(|| model.instantiate())?)),
        }
    }
}
