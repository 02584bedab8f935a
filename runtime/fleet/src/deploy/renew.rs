//! Deployments that say again what they said: before they expire, in a new epoch, or with a new key; and
//! what changes for a device that moves or leaves.
//!
//! The device list goes first, since collectors judge by it, then one deployment after the other. What was
//! done stays done if a later one fails: doing it again is harmless.

use bytes::Bytes;
use dunlin_core::document::{Audience, DeviceEntry, DeviceList};
use dunlin_core::id::{ChannelId, DeviceId};
use dunlin_core::topic;

use super::withdraw::delete;
use super::{DeployError, Deployed, Terms, base, check, publish, publish_trust, reconcile, successor};
use crate::attempt;
use crate::folder::Fleet;
use crate::publish::{retained, root_messages};
use crate::registry;
use crate::session::Session;

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
    session: &mut Session,
    which: Which,
    terms: Terms,
) -> Result<Renewal, DeployError> {
    reconcile(fleet, session, terms).await?;
    let root = fleet.root().root();
    let mut renewal =
        Renewal { device_list: renew_list(fleet, session, which, terms).await?, ..Renewal::default() };
    if !terms.dry_run {
        publish_trust(fleet, session).await?;
    }
    for audience in fleet.served_audiences()? {
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
        let base = base(fleet, session, &audience).await?;
        let next = successor(fleet, base.as_deref(), &audience, terms)?;
        renewal.deployments.push(publish(fleet, session, next, terms).await?);
    }
    Ok(renewal)
}

/// Signs the device list again if it needs it; returns its sequence.
async fn renew_list(
    fleet: &Fleet,
    session: &mut Session,
    which: Which,
    terms: Terms,
) -> Result<Option<u64>, DeployError> {
    let root = fleet.root().root();
    let Some(list) = fleet.device_list()? else { return Ok(None) };
    if which != Which::All && list.deploy_epoch == root.deploy_epoch && fleet.is_current(&list) {
        return Ok(None);
    }
    let mut next = fleet.next_device_list(terms.now_unix_s)?;
    // This folder's list is to count, whatever another copy of the folder published.
    let topic = topic::devices(fleet.name());
    let retained = session.retained(std::slice::from_ref(&topic)).await?.remove(&topic);
    let theirs = retained.and_then(|envelope| fleet.root().verify::<DeviceList>(&envelope).ok());
    if let Some(theirs) = theirs.filter(|theirs| theirs.deploy_epoch == root.deploy_epoch) {
        next.sequence = next.sequence.max(theirs.sequence.saturating_add(1));
    }
    if !terms.dry_run {
        publish_list(fleet, session, &next).await?;
    }
    Ok(Some(next.sequence))
}

/// Assigns a device to another channel: in its own deployment, which the device follows, and in the device
/// list. A channel that neither has a device nor a deployment must be meant.
///
/// # Errors
/// The device is not in the list; the folder, a key, or the broker.
pub async fn move_device(
    fleet: &Fleet,
    session: &mut Session,
    device: &DeviceId,
    channel: &ChannelId,
    new_channel: bool,
    terms: Terms,
) -> Result<Deployed, DeployError> {
    reconcile(fleet, session, terms).await?;
    check::device(fleet, device)?;
    let to = Audience::Channel(channel.clone());
    check::audience(fleet, &to, new_channel || fleet.served_audiences()?.contains(&to))?;
    let audience = Audience::Device(device.clone());
    let base = base(fleet, session, &audience).await?;
    let mut next = successor(fleet, base.as_deref(), &audience, terms)?;
    next.channel = Some(channel.clone());
    change_device(fleet, session, device, terms, |entry| entry.channel = channel.clone()).await?;
    publish(fleet, session, next, terms).await
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
    session: &mut Session,
    device: &DeviceId,
    terms: Terms,
) -> Result<DeviceList, DeployError> {
    reconcile(fleet, session, terms).await?;
    let marked = fleet
        .device_list()?
        .filter(|list| list.devices.iter().any(|entry| entry.id == *device && entry.revoked));
    let list = match marked {
        Some(list) => {
            if !terms.dry_run {
                publish_trust(fleet, session).await?;
            }
            DeviceList::clone(&list)
        }
        None => change_device(fleet, session, device, terms, |entry| entry.revoked = true).await?,
    };
    if !terms.dry_run {
        delete(fleet, session, &Audience::Device(device.clone())).await?;
        // Not read back: a device that is still connected puts it there again.
        session.send(&[retained(topic::presence(fleet.name(), device), Bytes::new())]).await?;
    }
    Ok(list)
}

/// Signs and publishes a device list in which one device is changed.
async fn change_device(
    fleet: &Fleet,
    session: &mut Session,
    device: &DeviceId,
    terms: Terms,
    change: impl FnOnce(&mut DeviceEntry),
) -> Result<DeviceList, DeployError> {
    let mut list: DeviceList = fleet.next_device_list(terms.now_unix_s)?;
    let entry = list.devices.iter_mut().find(|entry| entry.id == *device && !entry.revoked);
    change(entry.ok_or_else(|| DeployError::UnknownDevice(device.clone()))?);
    if !terms.dry_run {
        // A list that another copy of the folder published since is not replaced.
        publish_trust(fleet, session).await?;
        publish_list(fleet, session, &list).await?;
    }
    Ok(list)
}

/// Signs a device list, publishes it behind the roots that it is judged by, and records it.
async fn publish_list(fleet: &Fleet, session: &mut Session, list: &DeviceList) -> Result<(), DeployError> {
    let roots = registry::survey(fleet, session, root_messages(fleet)?).await?;
    session.publish(&roots.missing, |_| {}).await?;
    let list = fleet.sign(list)?;
    Ok(attempt::publish_and_record(fleet, session, &list).await?)
}
