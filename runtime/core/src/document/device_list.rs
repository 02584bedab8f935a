//! The device list: who belongs to the fleet. Collectors and the generation of ACLs read it.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use super::{Document, DocumentError, RoleName, ensure, unique};
use crate::id::{ChannelId, DeviceId, FleetId};
use crate::key::PublicKey;

/// The most devices of one list; 48,000 bytes hold about 250.
pub const MAX_DEVICES: usize = 250;

/// One device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceEntry {
    /// Its id.
    pub id: DeviceId,
    /// The key that it signs checkpoints with.
    pub public: PublicKey,
    /// The channel that it was enrolled in.
    pub channel: ChannelId,
    /// Whether it no longer belongs to the fleet.
    #[serde(default)]
    pub revoked: bool,
}

/// The devices of a fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceList {
    /// The version of the format.
    pub schema: u32,
    /// The fleet.
    pub fleet: FleetId,
    /// Must equal the root's.
    pub deploy_epoch: u64,
    /// Greater than that of every earlier list.
    pub sequence: u64,
    /// When it was signed, in seconds since 1970.
    pub issued_unix_s: u64,
    /// The devices.
    pub devices: Vec<DeviceEntry>,
}

impl Document for DeviceList {
    const PAYLOAD_TYPE: &'static str = "application/vnd.dunlin.devices+json";
    const KIND: &'static str = "device list";
    const ROLE: RoleName = RoleName::Deploy;

    fn schema(&self) -> u32 {
        self.schema
    }

    fn fleet(&self) -> &FleetId {
        &self.fleet
    }

    fn check(&self) -> Result<(), DocumentError> {
        ensure!(DeviceList, self.sequence >= 1, "sequences start at 1");
        let count = self.devices.len();
        ensure!(DeviceList, count <= MAX_DEVICES, "it has {count} devices, the most is {MAX_DEVICES}");
        ensure!(DeviceList, unique(&self.devices, |device| &device.id), "a device stands in it twice");
        ensure!(DeviceList, unique(&self.devices, |device| &device.public), "two devices share a key");
        Ok(())
    }
}
