//! Audiences: which devices they have, and which are still served.

use dunlin_core::document::{Audience, Deployment, DeviceEntry};
use dunlin_core::id::{ChannelId, DeviceId};

use crate::folder::{Fleet, FolderError};

/// Whether a deployment says nothing to any device: no model, and no channel.
pub fn says_nothing(deployment: &Deployment) -> bool {
    deployment.models.is_empty() && deployment.channel.is_none()
}

impl Fleet {
    /// The enrolled devices that are neither decommissioned nor revoked by the root.
    ///
    /// # Errors
    /// The device list cannot be read or verified.
    pub fn enrolled(&self) -> Result<Vec<DeviceEntry>, FolderError> {
        let devices = self.device_list()?.map(|list| list.devices.clone()).unwrap_or_default();
        let revoked = &self.root().root().revoked_devices;
        Ok(devices.into_iter().filter(|device| !device.revoked && !revoked.contains(&device.id)).collect())
    }

    /// The enrolled devices of an audience.
    ///
    /// # Errors
    /// The device list cannot be read or verified.
    pub fn members(&self, audience: &Audience) -> Result<Vec<DeviceId>, FolderError> {
        let belongs = |device: &DeviceEntry| match audience {
            Audience::Channel(channel) => device.channel == *channel,
            Audience::Device(id) => device.id == *id,
        };
        Ok(self.enrolled()?.into_iter().filter(belongs).map(|device| device.id).collect())
    }

    /// The channels that enrolled devices are in.
    ///
    /// # Errors
    /// The device list cannot be read or verified.
    pub fn channels(&self) -> Result<Vec<ChannelId>, FolderError> {
        let mut channels: Vec<ChannelId> =
            self.enrolled()?.into_iter().map(|device| device.channel).collect();
        channels.sort();
        channels.dedup();
        Ok(channels)
    }

    /// The audiences whose deployments are kept on the broker and signed again: all but devices that have left,
    /// and audiences without a device that are sent nothing.
    ///
    /// # Errors
    /// A file cannot be read or verified.
    pub fn served_audiences(&self) -> Result<Vec<Audience>, FolderError> {
        let left: Vec<DeviceId> = self
            .device_list()?
            .map(|list| {
                list.devices.iter().filter(|entry| entry.revoked).map(|entry| entry.id.clone()).collect()
            })
            .unwrap_or_default();
        let mut served = Vec::new();
        for audience in self.audiences()? {
            if matches!(&audience, Audience::Device(device) if left.contains(device)) {
                continue;
            }
            let withdrawn = self.deployment(&audience)?.is_none_or(|deployment| says_nothing(&deployment));
            if !withdrawn || !self.members(&audience)?.is_empty() {
                served.push(audience);
            }
        }
        Ok(served)
    }
}
