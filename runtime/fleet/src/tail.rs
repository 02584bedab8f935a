//! Following what the devices of a fleet report, as it comes.

use dunlin_core::id::{DeviceId, FleetId};
use dunlin_core::topic::{self, TelemetryClass};
use dunlin_mqtt::{Event, Events, Link, LinkError, Subscription};

/// The longest record, in bytes.
const MAX_RECORD_BYTES: usize = 128 * 1024;

/// A record that a device sent.
#[derive(Clone, Debug)]
pub struct Record {
    /// The device, as the topic says.
    pub device: DeviceId,
    /// The class, as the topic says.
    pub class: TelemetryClass,
    /// The record: JSON.
    pub json: serde_json::Value,
}

/// Subscribes to the records of a class, or of all.
///
/// # Errors
/// The broker does not grant it.
pub async fn subscribe(link: &Link, fleet: &FleetId, class: Option<TelemetryClass>) -> Result<(), LinkError> {
    let filter = topic::every_telemetry(fleet, class);
    link.subscribe(&[Subscription { filter, max_payload_bytes: MAX_RECORD_BYTES }]).await
}

/// The next record; `None` when the link is closed. What is no record is logged and passed over.
pub async fn next(events: &mut Events, fleet: &FleetId) -> Option<Record> {
    loop {
        match events.recv().await? {
            Event::Received(message) => {
                if let Some(record) = record(fleet, &message.topic, &message.payload) {
                    return Some(record);
                }
            }
            Event::Disconnected { reason, retry_in } => {
                tracing::warn!(%reason, ?retry_in, "the link to the broker fell; what comes meanwhile is not shown");
            }
            Event::Connected | Event::ClockBehind { .. } => {}
        }
    }
}

pub(crate) fn record(fleet: &FleetId, topic: &str, payload: &[u8]) -> Option<Record> {
    let (device, class) = topic::parse_telemetry(fleet, topic)?;
    match serde_json::from_slice(payload) {
        Ok(json) => Some(Record { device, class, json }),
        Err(error) => {
            tracing::warn!(%device, %error, "a record is not JSON");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_json_on_a_topic_of_the_fleet() {
        let fleet: FleetId = "plant".parse().unwrap();
        let device: DeviceId = "press-3".parse().unwrap();
        for class in TelemetryClass::ALL {
            let topic = topic::telemetry(&fleet, &device, class);
            let found = record(&fleet, &topic, br#"{"seq":7}"#).unwrap();
            assert_eq!((&found.device, found.class, &found.json["seq"]), (&device, class, &7.into()));
            for garbage in [&b""[..], b"{", b"\xff", b"{} {}"] {
                assert!(record(&fleet, &topic, garbage).is_none(), "{garbage:?}");
            }
            assert!(record(&"other".parse().unwrap(), &topic, b"{}").is_none());
        }
        assert!(record(&fleet, &topic::presence(&fleet, &device), b"{}").is_none());
    }
}
