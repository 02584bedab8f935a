//! Who is in the fleet, and who is connected.

use std::collections::BTreeMap;
use std::time::Duration;

use dunlin_core::document::{DeviceEntry, DeviceList};
use dunlin_core::id::{DeviceId, FleetId};
use dunlin_core::telemetry::Presence;
use dunlin_core::topic;
use dunlin_mqtt::{Event, Events, Link, LinkError, Subscription};

use crate::folder::{Fleet, FolderError};

/// The longest presence message, in bytes.
pub(crate) const MAX_PRESENCE_BYTES: usize = 4096;

/// How many times the quiet time collecting may take in all.
const MOST_QUIETS: u32 = 20;

/// A device as the folder and the broker know it.
#[derive(Debug, serde::Serialize)]
pub struct DeviceRow {
    /// Its id.
    pub id: DeviceId,
    /// What was signed about it; nothing for a device that only reports.
    pub enrolled: Option<DeviceEntry>,
    /// What it said last; a hint, since presence is not signed.
    pub presence: Option<Presence>,
}

/// Collects the presence of every device, until none has come for `quiet`, or twenty times `quiet`
/// have passed: a device that comes and goes must not keep the operator waiting.
///
/// # Errors
/// The folder cannot be read, or the broker does not answer.
pub async fn devices(
    fleet: &Fleet,
    link: &Link,
    events: &mut Events,
    quiet: Duration,
) -> Result<Vec<DeviceRow>, DevicesError> {
    let list = fleet.device_list()?;
    Ok(listed(fleet.name(), list.as_deref(), link, events, quiet).await?)
}

/// As [`devices`], with a device list that was read elsewhere.
///
/// # Errors
/// The broker does not answer.
pub async fn listed(
    fleet: &FleetId,
    list: Option<&DeviceList>,
    link: &Link,
    events: &mut Events,
    quiet: Duration,
) -> Result<Vec<DeviceRow>, LinkError> {
    let mut rows = enrolled(list.iter().flat_map(|list| &list.devices));
    let filter = topic::every_presence(fleet);
    link.subscribe(&[Subscription { filter: filter.clone(), max_payload_bytes: MAX_PRESENCE_BYTES }]).await?;
    let listen = async {
        while let Ok(Some(event)) = tokio::time::timeout(quiet, events.recv()).await {
            if let Event::Received(message) = event {
                hear(fleet, &mut rows, &message.topic, &message.payload);
            }
        }
    };
    if tokio::time::timeout(quiet.saturating_mul(MOST_QUIETS), listen).await.is_err() {
        tracing::warn!("devices come and go without a pause; some may be missing");
    }
    link.unsubscribe(&[filter]).await?;
    Ok(rows.into_values().collect())
}

fn enrolled<'a>(entries: impl Iterator<Item = &'a DeviceEntry>) -> BTreeMap<DeviceId, DeviceRow> {
    let row = |entry: &DeviceEntry| {
        let (id, enrolled) = (entry.id.clone(), Some(entry.clone()));
        (id.clone(), DeviceRow { id, enrolled, presence: None })
    };
    entries.map(row).collect()
}

/// Notes what a device says of itself; of its connections the highest number counts.
fn hear(fleet: &FleetId, rows: &mut BTreeMap<DeviceId, DeviceRow>, topic: &str, payload: &[u8]) {
    // An empty message deletes what was retained.
    let Some(id) = topic::parse_presence(fleet, topic).filter(|_| !payload.is_empty()) else { return };
    let presence = match serde_json::from_slice::<Presence>(payload) {
        Ok(presence) if presence.header.device == id => presence,
        Ok(presence) => {
            let says = &presence.header.device;
            tracing::warn!(device = %id, %says, "a presence message names another device than its topic");
            return;
        }
        Err(error) => {
            tracing::warn!(device = %id, %error, "a presence message is not valid");
            return;
        }
    };
    let row = rows.entry(id.clone()).or_insert(DeviceRow { id, enrolled: None, presence: None });
    if row.presence.as_ref().is_none_or(|known| known.connection <= presence.connection) {
        row.presence = Some(presence);
    }
}

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub enum DevicesError {
    /// The folder cannot be read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The broker does not answer.
    #[error(transparent)]
    Link(#[from] LinkError),
}

impl dunlin_core::code::Coded for DevicesError {
    fn code(&self) -> dunlin_core::code::Code {
        match self {
            DevicesError::Folder(error) => error.code(),
            DevicesError::Link(error) => error.code(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presence(device: &str, connection: u64, state: &str) -> Vec<u8> {
        let boot = "0".repeat(32);
        let json = serde_json::json!({
            "schema": 1, "device": device, "boot": boot, "seq": 1, "time_unix_s": 1,
            "clock": "bounded", "state": state, "connection": connection, "runtime": "0.1.0", "abi": 1,
            "root_version": 1,
        });
        json.to_string().into_bytes()
    }

    #[test]
    fn the_highest_connection_counts_and_strangers_are_shown() {
        let fleet: FleetId = "plant".parse().unwrap();
        let topic = |device: &str| topic::presence(&fleet, &device.parse().unwrap());
        let mut rows = BTreeMap::new();
        let mut heard = |on: &str, payload: &[u8]| {
            hear(&fleet, &mut rows, &topic(on), payload);
            let row = rows.get(&on.parse().unwrap());
            row.and_then(|row| row.presence.as_ref()).map(|presence| (presence.connection, presence.state))
        };
        use dunlin_core::telemetry::PresenceState::{Offline, Online};
        assert_eq!(heard("a", b"{"), None);
        assert_eq!(heard("a", b""), None);
        assert_eq!(heard("a", &presence("b", 1, "online")), None);
        assert_eq!(heard("a", &presence("a", 7, "online")), Some((7, Online)));
        // The last will of an earlier connection comes late.
        assert_eq!(heard("a", &presence("a", 6, "offline")), Some((7, Online)));
        assert_eq!(heard("a", &presence("a", 7, "offline")), Some((7, Offline)));
        hear(&fleet, &mut rows, "dunlin/v1/other/device/a/presence", &presence("a", 9, "online"));
        assert_eq!(rows.len(), 1);
        assert!(rows.values().all(|row| row.enrolled.is_none()));
    }
}
