//! Deployments that say again what they said: before they expire, in a new epoch, or with a new key; and
//! what changes for a device that moves or leaves.
//!
//! The device list goes first, since collectors judge by it, then one deployment after the other. What was
//! done stays done if a later one fails: doing it again is harmless.

use bytes::Bytes;
use dunlin_core::document::{Audience, DeviceEntry, DeviceList};
use dunlin_core::id::{ChannelId, DeviceId};
use dunlin_core::topic;
use dunlin_mqtt::{Events, Link};

use super::{DeployError, Deployed, Terms, base, publish, successor};
use crate::folder::Fleet;
use crate::publish::{retained, trust_messages};

/// What is to be signed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Everything.
    All,
    /// What devices would refuse, and what expires within this many seconds.
    Within(u64),
}

/// What was signed again.
#[derive(Debug, Default)]
pub struct Renewal {
    /// The sequence of the device list, if it was.
    pub device_list: Option<u64>,
    /// The deployments.
    pub deployments: Vec<Deployed>,
    /// Audiences whose deployment is good as it is.
    pub untouched: Vec<Audience>,
}

/// Signs the device list and the deployments of this folder anew, as far as they need it.
///
/// # Errors
/// The folder, a key, or the broker.
pub async fn renew(
    fleet: &Fleet,
    link: &Link,
    events: &mut Events,
    which: Which,
    terms: Terms,
) -> Result<Renewal, DeployError> {
    let root = fleet.root().root();
    let mut renewal = Renewal::default();
    if let Some(list) = fleet.device_list()? {
        let good = list.deploy_epoch == root.deploy_epoch && fleet.is_current(&list);
        if which == Which::All || !good {
            let next = fleet.next_device_list(terms.now_unix_s)?;
            renewal.device_list = Some(next.sequence);
            if !terms.dry_run {
                fleet.store_device_list(&fleet.sign(&next)?)?;
            }
        }
    }
    let left = fleet.device_list()?.map(|list| list.devices.clone()).unwrap_or_default();
    let has_left = |audience: &Audience| {
        left.iter().any(|device| device.revoked && *audience == Audience::Device(device.id.clone()))
    };
    if !terms.dry_run {
        publish_trust(fleet, link).await?;
    }
    for audience in fleet.audiences()?.into_iter().filter(|audience| !has_left(audience)) {
        let Some(local) = fleet.deployment(&audience)? else { continue };
        let lasts = match which {
            Which::All => false,
            Which::Within(s) => local.not_after_unix_s >= terms.now_unix_s.saturating_add(s),
        };
        let good = lasts && local.deploy_epoch == root.deploy_epoch && fleet.is_current(&local);
        if good {
            renewal.untouched.push(audience);
            continue;
        }
        let base = base(fleet, link, events, &audience).await?;
        let next = successor(fleet, base.as_deref(), &audience, terms)?;
        renewal.deployments.push(publish(fleet, link, next, terms).await?);
    }
    Ok(renewal)
}

/// Assigns a device to another channel: in its own deployment, which the device follows, and in the device
/// list.
///
/// # Errors
/// The device is not in the list; the folder, a key, or the broker.
pub async fn move_device(
    fleet: &Fleet,
    link: &Link,
    events: &mut Events,
    device: &DeviceId,
    channel: &ChannelId,
    terms: Terms,
) -> Result<Deployed, DeployError> {
    change_device(fleet, device, terms, |entry| entry.channel = channel.clone())?;
    let audience = Audience::Device(device.clone());
    let base = base(fleet, link, events, &audience).await?;
    let mut next = successor(fleet, base.as_deref(), &audience, terms)?;
    next.channel = Some(channel.clone());
    publish(fleet, link, next, terms).await
}

/// Marks a device as no longer of the fleet in the device list, publishes the list, and deletes from the broker what
/// it retains for the device: its own deployment and its presence. What the device runs goes on: only a root that
/// revokes it makes it refuse what comes. A device that is marked already is only deleted from the broker, where a
/// last connection may have left its presence.
///
/// # Errors
/// The device was never in the list; the folder, a key, or the broker.
pub async fn decommission(
    fleet: &Fleet,
    link: &Link,
    device: &DeviceId,
    terms: Terms,
) -> Result<DeviceList, DeployError> {
    let marked = |entry: &DeviceEntry| entry.id == *device && entry.revoked;
    let list = match fleet.device_list()?.filter(|list| list.devices.iter().any(marked)) {
        Some(list) => DeviceList::clone(&list),
        None => change_device(fleet, device, terms, |entry| entry.revoked = true)?,
    };
    if !terms.dry_run {
        publish_trust(fleet, link).await?;
        for topic in [
            topic::deployment(fleet.name(), &Audience::Device(device.clone())),
            topic::presence(fleet.name(), device),
        ] {
            link.publish(retained(topic, Bytes::new())).await?;
        }
    }
    Ok(list)
}

/// What devices and collectors judge by: the roots and the device list.
async fn publish_trust(fleet: &Fleet, link: &Link) -> Result<(), DeployError> {
    for message in trust_messages(fleet)? {
        link.publish(message).await?;
    }
    Ok(())
}

/// Signs a device list in which one device is changed.
fn change_device(
    fleet: &Fleet,
    device: &DeviceId,
    terms: Terms,
    change: impl FnOnce(&mut DeviceEntry),
) -> Result<DeviceList, DeployError> {
    let mut list: DeviceList = fleet.next_device_list(terms.now_unix_s)?;
    let entry = list.devices.iter_mut().find(|entry| entry.id == *device && !entry.revoked);
    change(entry.ok_or_else(|| DeployError::UnknownDevice(device.clone()))?);
    if !terms.dry_run {
        fleet.store_device_list(&fleet.sign(&list)?)?;
    }
    Ok(list)
}
