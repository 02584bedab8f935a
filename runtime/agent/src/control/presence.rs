//! Presence: retained, so that whoever comes later knows too, with a last will for when we vanish.
//!
//! Presence is a hint, never proof. Each start has a number that grows ([`Presence::connection`]), so
//! that a late will of an earlier start is recognised. A late will of this very start (the broker held
//! on to a connection that we had given up) would leave a retained "offline" of a device that is there:
//! the device watches its own topic and says "online" again, at most every ten seconds.

use std::time::{Duration, Instant};

use bytes::Bytes;
use dunlin_core::Digest;
use dunlin_core::id::ChannelId;
use dunlin_core::telemetry::{BootId, Presence, PresenceState, Record as _};
use dunlin_core::topic;
use dunlin_core::update::{Device, Now};
use dunlin_mqtt::Message;

use super::record;

/// The least time between two contradictions, which somebody else may provoke.
const CONTRADICTION: Duration = Duration::from_secs(10);

/// Makes the presence records of one start.
#[derive(Debug)]
pub(super) struct PresenceKeeper {
    boot: BootId,
    seq: u64,
    connected: bool,
    contradicted: Option<Instant>,
    /// The channel, the root and the failed releases that were published last.
    published: Option<(ChannelId, u64, Vec<Digest>)>,
}

impl PresenceKeeper {
    pub(super) fn new(boot: BootId) -> PresenceKeeper {
        PresenceKeeper { boot, seq: 0, connected: false, contradicted: None, published: None }
    }

    /// What the broker shall say when we vanish.
    pub(super) fn will(&mut self, device: &Device, now: Now) -> Option<Message> {
        self.message(device, now, PresenceState::Offline)
    }

    pub(super) fn online(&mut self, device: &Device, now: Now) -> Option<Message> {
        self.published = Some(content(device));
        self.message(device, now, PresenceState::Online)
    }

    pub(super) fn offline(&mut self, device: &Device, now: Now) -> Option<Message> {
        self.message(device, now, PresenceState::Offline)
    }

    pub(super) fn connected(&mut self, connected: bool) {
        self.connected = connected;
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected
    }

    /// Whether what was published of a connected device is no longer so.
    pub(super) fn is_outdated(&self, device: &Device) -> bool {
        self.connected && self.published.as_ref().is_some_and(|published| *published != content(device))
    }

    /// Whether what came on our own topic says that we are offline, and it is time to say otherwise.
    /// A retained message is what was there before we came; our "online" takes its place anyway.
    pub(super) fn contradicts(&mut self, message: &Message, now: Instant) -> bool {
        let lately = self.contradicted.is_some_and(|at| now.duration_since(at) < CONTRADICTION);
        let presence = Presence::from_json(&message.payload);
        let offline = presence.is_ok_and(|presence| presence.state == PresenceState::Offline);
        let contradicts = self.connected && offline && !message.retain && !lately;
        if contradicts {
            self.contradicted = Some(now);
        }
        contradicts
    }

    fn message(&mut self, device: &Device, now: Now, state: PresenceState) -> Option<Message> {
        self.seq = self.seq.saturating_add(1);
        let header = record::header(device, self.boot, now, self.seq);
        let presence = record::presence(device, header, state);
        let identity = device.identity();
        match presence.to_json() {
            Ok(json) => Some(Message {
                topic: topic::presence(&identity.fleet, &identity.device),
                payload: Bytes::from(json),
                retain: true,
            }),
            Err(error) => {
                tracing::error!(%error, "the presence cannot be written");
                None
            }
        }
    }
}

/// What presence says that may change while the agent runs.
fn content(device: &Device) -> (ChannelId, u64, Vec<Digest>) {
    (device.state().channel.clone(), device.root().version(), record::failed(device).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_will_is_contradicted_once_in_ten_seconds() {
        let device = crate::control::boot::tests::device();
        let now = Now { wall_unix_s: 0, monotonic_ms: 0, random: 0 };
        let mut keeper = PresenceKeeper::new(BootId::from_bytes([0; 16]));
        let mut will = keeper.will(&device, now).unwrap();
        assert!(will.retain);
        will.retain = false;
        let start = Instant::now();
        assert!(!keeper.contradicts(&will, start), "not while we are offline");
        keeper.connected(true);
        let mut online = keeper.online(&device, now).unwrap();
        online.retain = false;
        assert!(!keeper.contradicts(&online, start) && !keeper.is_outdated(&device));
        assert!(keeper.contradicts(&will, start));
        assert!(!keeper.contradicts(&will, start + Duration::from_secs(9)), "nobody makes us talk faster");
        assert!(keeper.contradicts(&will, start + Duration::from_secs(10)));
        let retained = Message { retain: true, ..will };
        assert!(!keeper.contradicts(&retained, start + Duration::from_secs(30)), "of before we came");
        let garbage = Message { payload: Bytes::from_static(b"?"), retain: false, ..online };
        assert!(!keeper.contradicts(&garbage, start + Duration::from_secs(60)));
    }
}
