//! Who is in the fleet, and who is connected.

use std::collections::BTreeMap;
use std::time::Duration;

use dunlin_core::document::DeviceEntry;
use dunlin_core::id::DeviceId;
use dunlin_core::telemetry::Presence;
use dunlin_core::topic;
use dunlin_mqtt::{Event, Events, Link, LinkError, Subscription};

use crate::folder::{Fleet, FolderError};

/// The longest presence message, in bytes.
const MAX_PRESENCE_BYTES: usize = 4096;

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

/// Collects the presence of every device, until none has come for `quiet`.
///
/// # Errors
/// The folder cannot be read, or the broker does not answer.
pub async fn devices(
    fleet: &Fleet,
    link: &Link,
    events: &mut Events,
    quiet: Duration,
) -> Result<Vec<DeviceRow>, DevicesError> {
    let mut rows = BTreeMap::new();
    if let Some(list) = fleet.device_list()? {
        for entry in &list.devices {
            let (id, enrolled) = (entry.id.clone(), Some(entry.clone()));
            rows.insert(id.clone(), DeviceRow { id, enrolled, presence: None });
        }
    }
    let filter = topic::every_presence(fleet.name());
    link.subscribe(&[Subscription { filter, max_payload_bytes: MAX_PRESENCE_BYTES }]).await?;
    while let Ok(Some(event)) = tokio::time::timeout(quiet, events.recv()).await {
        let Event::Received(message) = event else { continue };
        let Some(id) = topic::parse_presence(fleet.name(), &message.topic) else { continue };
        match serde_json::from_slice::<Presence>(&message.payload) {
            Ok(presence) => {
                let row = DeviceRow { id: id.clone(), enrolled: None, presence: None };
                rows.entry(id).or_insert(row).presence = Some(presence);
            }
            Err(error) => tracing::warn!(device = %id, %error, "a presence message is not valid"),
        }
    }
    Ok(rows.into_values().collect())
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
