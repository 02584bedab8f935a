//! `GET /dunlin/v1/device`: how the device itself does, for whoever stands beside it.

use dunlin_core::telemetry::Clock;
use serde::Serialize;

/// How the device does; the control plane keeps it up to date.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceStatus {
    /// The fleet.
    pub fleet: String,
    /// The device.
    pub device: String,
    /// The channel that it follows.
    pub channel: String,
    /// The version of the runtime.
    pub runtime: &'static str,
    /// Whether it is connected to the broker.
    pub connected: bool,
    /// What its clock is worth.
    pub clock: Clock,
    /// The version of the root that it trusts.
    pub root_version: u64,
    /// Seconds since the newest deployment that it follows was signed.
    pub deployment_age_s: Option<u64>,
    /// Seconds since a deployment proved that it was signed in this boot.
    pub proven_age_s: Option<u64>,
    /// What a person should look at, for as long as it lasts.
    pub alarms: Vec<Alarm>,
}

/// Something that a person should look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Alarm {
    /// The stable code.
    pub code: &'static str,
    /// What it is about.
    pub about: String,
    /// What is the matter.
    pub detail: String,
}
