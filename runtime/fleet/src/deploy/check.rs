//! What every device would refuse, or no device would hear: refused before anything is signed.

use std::collections::BTreeMap;

use bytes::Bytes;
use dunlin_core::document::{Audience, Release, Want};
use dunlin_core::id::{DeviceId, ModelName};
use dunlin_core::telemetry::{Presence, Record as _};
use dunlin_core::trust::Verified;
use dunlin_core::{Digest, topic};

use super::{DeployError, DeployRequest};
use crate::folder::Fleet;
use crate::registry::releases_of;
use crate::session::Session;

/// Refuses a device that is not enrolled, has left or is revoked, and a channel that no device is in, unless that is
/// meant.
pub(super) fn audience(fleet: &Fleet, audience: &Audience, new_channel: bool) -> Result<(), DeployError> {
    match audience {
        Audience::Device(id) => device(fleet, id),
        Audience::Channel(channel) if !new_channel && fleet.members(audience)?.is_empty() => {
            Err(DeployError::EmptyChannel { channel: channel.clone(), channels: fleet.channels()? })
        }
        Audience::Channel(_) => Ok(()),
    }
}

/// Refuses a device that is not enrolled, has left or is revoked.
pub(super) fn device(fleet: &Fleet, id: &DeviceId) -> Result<(), DeployError> {
    if fleet.root().root().revoked_devices.contains(id) {
        return Err(DeployError::DeviceRevoked(id.clone()));
    }
    let known = fleet.enrolled()?.iter().any(|entry| entry.id == *id);
    if known { Ok(()) } else { Err(DeployError::UnknownDevice(id.clone())) }
}

/// Refuses releases that the root forbids, and those that the broker does not hold as they are signed now.
pub(super) async fn releases(
    fleet: &Fleet,
    session: &mut Session,
    model: &ModelName,
    want: &Want,
) -> Result<(), DeployError> {
    let wanted = releases_of(want);
    let known = fleet.releases(model)?;
    for release in &wanted {
        allowed(fleet, model, release, known.iter().find(|known| known.digest() == *release))?;
    }
    let topics: Vec<String> = wanted.iter().map(|release| topic::release(fleet.name(), release)).collect();
    let found = session.retained(&topics).await?;
    for release in &wanted {
        published(fleet, model, release, &known, &found)?;
    }
    Ok(())
}

/// The devices that report by their presence, which is retained and not signed, that a wanted release failed on them
/// before; none where it is to be tried again.
pub(super) async fn failed_before(
    fleet: &Fleet,
    session: &mut Session,
    request: &DeployRequest,
) -> Result<Vec<DeviceId>, DeployError> {
    let wanted = releases_of(&request.want);
    if request.retry || wanted.is_empty() {
        return Ok(Vec::new());
    }
    let devices = fleet.members(&request.audience)?;
    let topics: Vec<String> = devices.iter().map(|device| topic::presence(fleet.name(), device)).collect();
    let found = session.retained(&topics).await?;
    let failed = |device: &DeviceId| {
        let payload = found.get(&topic::presence(fleet.name(), device));
        let presence = payload.and_then(|payload| Presence::from_json(payload).ok());
        presence.is_some_and(|presence| presence.failed.iter().any(|release| wanted.contains(release)))
    };
    Ok(devices.into_iter().filter(failed).collect())
}

/// What the root says of a release; of one that this folder does not have only whether it is revoked.
fn allowed(
    fleet: &Fleet,
    model: &ModelName,
    release: &Digest,
    known: Option<&Verified<Release>>,
) -> Result<(), DeployError> {
    let root = fleet.root().root();
    if root.revoked_releases.contains(release) {
        return Err(DeployError::ReleaseRevoked { model: model.clone(), release: *release });
    }
    match known {
        Some(known) if known.counter < root.minimum_counter(model) => Err(DeployError::BelowMinimum {
            model: model.clone(),
            minimum: root.minimum_counter(model),
            counter: known.counter,
        }),
        Some(_) | None => Ok(()),
    }
}

/// The broker's copy must have signatures that devices accept; one of a release that this folder does not have is
/// for the devices to judge.
fn published(
    fleet: &Fleet,
    model: &ModelName,
    release: &Digest,
    known: &[Verified<Release>],
    found: &BTreeMap<String, Bytes>,
) -> Result<(), DeployError> {
    let unpublished =
        |outdated| DeployError::Unpublished { model: model.clone(), release: *release, outdated };
    let copy = found.get(&topic::release(fleet.name(), release)).ok_or_else(|| unpublished(false))?;
    let is_ours = known.iter().any(|known| known.digest() == *release);
    if is_ours && fleet.verify_whole::<Release>(copy).map(|copy| copy.digest()).ok() != Some(*release) {
        return Err(unpublished(true));
    }
    Ok(())
}
