//! The MQTT topics, each built in one place.
//!
//! At most 7 levels, ids as whole levels, as brokers' limits and ACL templates need.

use alloc::format;
use alloc::string::String;

use crate::digest::Digest;
use crate::document::Audience;
use crate::id::{DeviceId, FleetId};

/// The classes of what a device reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TelemetryClass {
    /// Counters, latency and memory, every interval.
    Health,
    /// How far inputs and outputs are from the baseline.
    Drift,
    /// What happened: accepted, refused, installed, switched.
    Event,
}

impl TelemetryClass {
    /// All classes.
    pub const ALL: [TelemetryClass; 3] =
        [TelemetryClass::Health, TelemetryClass::Drift, TelemetryClass::Event];

    /// The topic level.
    pub const fn name(self) -> &'static str {
        match self {
            TelemetryClass::Health => "health",
            TelemetryClass::Drift => "drift",
            TelemetryClass::Event => "event",
        }
    }

    /// The class of a topic level.
    pub fn from_name(name: &str) -> Option<TelemetryClass> {
        TelemetryClass::ALL.into_iter().find(|class| class.name() == name)
    }
}

fn prefix(fleet: &FleetId) -> String {
    format!("dunlin/v1/{fleet}")
}

/// Retained: version `version` of the root.
pub fn root(fleet: &FleetId, version: u64) -> String {
    format!("{}/root/{version}", prefix(fleet))
}

/// Retained: a release, by the digest of its body.
pub fn release(fleet: &FleetId, digest: &Digest) -> String {
    format!("{}/release/{digest}", prefix(fleet))
}

/// Retained: a chunk, by its digest.
pub fn chunk(fleet: &FleetId, digest: &Digest) -> String {
    format!("{}/chunk/{digest}", prefix(fleet))
}

/// Retained: the newest deployment for an audience.
pub fn deployment(fleet: &FleetId, audience: &Audience) -> String {
    match audience {
        Audience::Channel(channel) => format!("{}/deploy/channel/{channel}", prefix(fleet)),
        Audience::Device(device) => format!("{}/deploy/device/{device}", prefix(fleet)),
    }
}

/// Retained: the device list.
pub fn devices(fleet: &FleetId) -> String {
    format!("{}/devices", prefix(fleet))
}

/// Retained, with a last will: whether a device is connected.
pub fn presence(fleet: &FleetId, device: &DeviceId) -> String {
    format!("{}/device/{device}/presence", prefix(fleet))
}

/// What a device reports.
pub fn telemetry(fleet: &FleetId, device: &DeviceId, class: TelemetryClass) -> String {
    format!("{}/device/{device}/telemetry/{}", prefix(fleet), class.name())
}

/// A filter for the presence of every device.
pub fn every_presence(fleet: &FleetId) -> String {
    format!("{}/device/+/presence", prefix(fleet))
}

/// A filter for every release.
pub fn every_release(fleet: &FleetId) -> String {
    format!("{}/release/+", prefix(fleet))
}

/// A filter for every chunk.
pub fn every_chunk(fleet: &FleetId) -> String {
    format!("{}/chunk/+", prefix(fleet))
}

/// Filters for the deployments of every audience.
pub fn every_deployment(fleet: &FleetId) -> [String; 2] {
    ["channel", "device"].map(|kind| format!("{}/deploy/{kind}/+", prefix(fleet)))
}

/// The audience of a topic that [`deployment`] made; `None` for any other topic.
pub fn parse_deployment(fleet: &FleetId, topic: &str) -> Option<Audience> {
    let rest = topic.strip_prefix(&prefix(fleet))?.strip_prefix("/deploy/")?;
    match rest.split_once('/')? {
        ("channel", channel) => Some(Audience::Channel(channel.parse().ok()?)),
        ("device", device) => Some(Audience::Device(device.parse().ok()?)),
        _ => None,
    }
}

/// A filter for what every device reports, of one class or of all.
pub fn every_telemetry(fleet: &FleetId, class: Option<TelemetryClass>) -> String {
    format!("{}/device/+/telemetry/{}", prefix(fleet), class.map_or("+", TelemetryClass::name))
}

/// The device and the class of a topic that [`telemetry`] made; `None` for any other topic.
pub fn parse_telemetry(fleet: &FleetId, topic: &str) -> Option<(DeviceId, TelemetryClass)> {
    let rest = topic.strip_prefix(&prefix(fleet))?.strip_prefix("/device/")?;
    let (device, class) = rest.split_once("/telemetry/")?;
    Some((device.parse().ok()?, TelemetryClass::from_name(class)?))
}

/// The device of a topic that [`presence`] made; `None` for any other topic.
pub fn parse_presence(fleet: &FleetId, topic: &str) -> Option<DeviceId> {
    let rest = topic.strip_prefix(&prefix(fleet))?.strip_prefix("/device/")?;
    rest.strip_suffix("/presence")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_device_stays_in_its_own_subtree(text in ".{0,70}") {
            let fleet: FleetId = "f".parse().unwrap();
            if let Ok(device) = text.parse::<DeviceId>() {
                for class in TelemetryClass::ALL {
                    let topic = telemetry(&fleet, &device, class);
                    prop_assert_eq!(topic.split('/').count(), 7);
                    prop_assert!(!topic.contains(['+', '#', '\0']));
                    prop_assert_eq!(parse_telemetry(&fleet, &topic), Some((device.clone(), class)));
                }
                for audience in [Audience::Channel(text.parse().unwrap()), Audience::Device(device.clone())] {
                    let topic = deployment(&fleet, &audience);
                    prop_assert_eq!(parse_deployment(&fleet, &topic), Some(audience));
                }
                let topic = presence(&fleet, &device);
                prop_assert_eq!(parse_presence(&fleet, &topic), Some(device));
            }
        }
    }
}
