//! The enrolment: where a device's state starts from.
//!
//! `dunlin enroll` writes it into the device's bundle beside the root and the key. It is not signed:
//! whoever can write the bundle owns the device. It carries the sequences and floors of the day, so
//! that a device made today cannot be shown the deployments of last year.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::document::{Audience, Floor};
use crate::id::{ChannelId, DeviceId, FleetId};
use crate::key::PublicKey;

/// The newest sequence that an audience had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeenSequence {
    /// The audience.
    pub audience: Audience,
    /// Its newest sequence when the device was enrolled; that deployment itself is still accepted.
    pub sequence: u64,
}

/// Where a device's state starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// The version of the format: [`crate::document::SCHEMA`].
    pub schema: u32,
    /// The fleet.
    pub fleet: FleetId,
    /// The device.
    pub device: DeviceId,
    /// The public key of the device's own key.
    pub public: PublicKey,
    /// The channel that it starts in.
    pub channel: ChannelId,
    /// The deploy epoch that the sequences and floors belong to.
    pub deploy_epoch: u64,
    /// The newest sequences of the day.
    pub sequences: Vec<SeenSequence>,
    /// The floors of the day.
    pub floors: Vec<Floor>,
    /// The day itself, in seconds since 1970: the least that the device's clock can be.
    pub time_low_unix_s: u64,
}
