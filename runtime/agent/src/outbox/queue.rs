//! The queue: who waits, who flies, who is dropped. Pure.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use dunlin_core::telemetry::Dropped;
use dunlin_core::topic::TelemetryClass;

/// How much an outbox holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// All records together, in bytes.
    pub max_bytes: usize,
    /// The events among them, in bytes.
    pub max_event_bytes: usize,
}

impl Default for Bounds {
    /// 1 MiB, half of it for events: some 2,000 records, hours of a report a minute.
    fn default() -> Bounds {
        Bounds { max_bytes: 1024 * 1024, max_event_bytes: 512 * 1024 }
    }
}

/// What names a record in this boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) class: TelemetryClass,
    pub(crate) seq: u64,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) payload: Bytes,
}

/// One class: those who wait, the oldest first, and the last sequence.
#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<Entry>,
    waiting_bytes: usize,
    last_seq: u64,
}

impl Lane {
    fn take(&mut self) -> Option<Entry> {
        let entry = self.waiting.pop_front()?;
        self.waiting_bytes -= entry.payload.len();
        Some(entry)
    }
}

/// The records of one boot that are not acknowledged.
#[derive(Debug)]
pub(crate) struct Queue {
    bounds: Bounds,
    health: Lane,
    drift: Lane,
    event: Lane,
    /// Handed to the link; with their length.
    flying: BTreeMap<Key, usize>,
    dropped: Dropped,
}

impl Queue {
    pub(crate) fn new(bounds: Bounds) -> Queue {
        Queue {
            bounds,
            health: Lane::default(),
            drift: Lane::default(),
            event: Lane::default(),
            flying: BTreeMap::new(),
            dropped: Dropped::default(),
        }
    }

    fn lane(&mut self, class: TelemetryClass) -> &mut Lane {
        match class {
            TelemetryClass::Health => &mut self.health,
            TelemetryClass::Drift => &mut self.drift,
            TelemetryClass::Event => &mut self.event,
        }
    }

    /// The sequence of the next record of a class.
    pub(crate) fn next_seq(&mut self, class: TelemetryClass) -> u64 {
        self.lane(class).last_seq.saturating_add(1)
    }

    /// Adds a record with the next sequence, drops what is too much, and gives the sequence.
    pub(crate) fn push(&mut self, class: TelemetryClass, payload: Vec<u8>) -> u64 {
        let seq = self.next_seq(class);
        let lane = self.lane(class);
        lane.last_seq = seq;
        lane.waiting_bytes += payload.len();
        lane.waiting.push_back(Entry { key: Key { class, seq }, payload: Bytes::from(payload) });
        self.shrink();
        seq
    }

    /// What flies counts too, but is not dropped: it may have arrived.
    fn shrink(&mut self) {
        while self.bytes_of(TelemetryClass::Event) > self.bounds.max_event_bytes
            && self.drop_oldest(TelemetryClass::Event)
        {}
        while self.bytes() > self.bounds.max_bytes
            && (self.drop_oldest(TelemetryClass::Health)
                || self.drop_oldest(TelemetryClass::Drift)
                || self.drop_oldest(TelemetryClass::Event))
        {}
    }

    fn drop_oldest(&mut self, class: TelemetryClass) -> bool {
        let found = self.lane(class).take().is_some();
        if found {
            self.dropped.count(class);
        }
        found
    }

    fn bytes_of(&mut self, class: TelemetryClass) -> usize {
        let flying = self.flying.iter().filter(|(key, _)| key.class == class).map(|(_, bytes)| bytes);
        flying.sum::<usize>() + self.lane(class).waiting_bytes
    }

    /// How much is held, in bytes.
    pub(crate) fn bytes(&mut self) -> usize {
        TelemetryClass::ALL.into_iter().map(|class| self.bytes_of(class)).sum()
    }

    /// The next record to hand to the link: events first, then drift, then health, each in order.
    pub(crate) fn take(&mut self) -> Option<Entry> {
        let entry = self.event.take().or_else(|| self.drift.take()).or_else(|| self.health.take())?;
        self.flying.insert(entry.key, entry.payload.len());
        Some(entry)
    }

    /// A record that flew has arrived, or can never be sent and counts as dropped.
    pub(crate) fn settle(&mut self, key: Key, acknowledged: bool) {
        if self.flying.remove(&key).is_some() && !acknowledged {
            self.dropped.count(key.class);
        }
    }

    /// Whether every record was acknowledged or dropped.
    pub(crate) fn is_empty(&self) -> bool {
        self.flying.is_empty()
            && [&self.health, &self.drift, &self.event].iter().all(|lane| lane.waiting.is_empty())
    }

    pub(crate) fn dropped(&self) -> Dropped {
        self.dropped
    }
}
