//! Withdrawing: an audience is sent nothing any more.
//!
//! A deployment that names no model is signed with the next sequence, so that a device which has the old one does not
//! take that up again when it is replayed. Where the audience has devices, it stays on the broker: those that are
//! away must hear it. A device goes on with what it runs, and follows its channel for models that its own deployment
//! named. Where the audience has none, as with a channel that was mistyped, the broker's copy is deleted, and nothing
//! renews or restores it.

use bytes::Bytes;
use dunlin_core::document::Audience;
use dunlin_core::id::DeviceId;
use dunlin_core::topic;

use super::{DeployError, Deployed, Terms, audience_names, base, publish, reconcile, successor};
use crate::folder::Fleet;
use crate::publish::retained;
use crate::session::Session;

/// An audience that is sent nothing any more.
#[derive(Debug)]
pub struct Withdrawn {
    /// The deployment that says so.
    pub deployed: Deployed,
    /// The devices that hear it; without any, the broker's copy is deleted.
    pub devices: Vec<DeviceId>,
}

/// Sends an audience nothing any more.
///
/// # Errors
/// It has no deployment; the folder, a key, or the broker.
pub async fn withdraw(
    fleet: &Fleet,
    session: &mut Session,
    audience: &Audience,
    terms: Terms,
) -> Result<Withdrawn, DeployError> {
    reconcile(fleet, session, terms).await?;
    let Some(base) = base(fleet, session, audience).await? else {
        return Err(DeployError::NoDeployment { audience: audience.clone(), known: audience_names(fleet)? });
    };
    let devices = fleet.members(audience)?;
    let mut next = successor(fleet, Some(&base), audience, terms)?;
    next.models.clear();
    next.floors.clear();
    let deployed = publish(fleet, session, next, terms).await?;
    if devices.is_empty() && !terms.dry_run {
        delete(fleet, session, audience).await?;
    }
    Ok(Withdrawn { deployed, devices })
}

/// Deletes the broker's copy of a deployment, if there is one.
pub(super) async fn delete(
    fleet: &Fleet,
    session: &mut Session,
    audience: &Audience,
) -> Result<(), DeployError> {
    let topic = topic::deployment(fleet.name(), audience);
    if session.retained(std::slice::from_ref(&topic)).await?.is_empty() {
        return Ok(());
    }
    Ok(session.publish(&[retained(topic, Bytes::new())], |_| {}).await?)
}
