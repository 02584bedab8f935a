//! Deploying: saying to an audience what it should run.
//!
//! What would be refused on every device is refused here before anything is signed (`check`). The next sequence is
//! one more than the newest that this folder, the broker or an earlier attempt has: a sequence is never used twice.
//! What devices trust (roots, device list) is published before the deployment that they are to judge by it. A
//! deployment counts when the broker holds it, and only then is it recorded in the folder (`attempt`).

use dunlin_core::document::{self, Audience, Deployment, Floor, ModelEntry, SCHEMA, Want};
use dunlin_core::id::{DeviceId, ModelName};
use dunlin_core::trust::Verified;
use dunlin_core::{Digest, topic};
use dunlin_mqtt::LinkError;

use crate::attempt::{self, Place};
use crate::devices;
use crate::folder::{Fleet, FolderError};
use crate::publish;
use crate::registry;
use crate::session::{RETAINED_WAIT, Session};

/// What to say about one model.
#[derive(Clone, Debug)]
pub struct DeployRequest {
    /// Whom it is for.
    pub audience: Audience,
    /// The model.
    pub model: ModelName,
    /// What should become of it.
    pub want: Want,
    /// Whether a release that failed on a device before is to be tried again.
    pub retry: bool,
    /// How often devices report, in seconds.
    pub report_interval_s: u32,
    /// Devices start pulling at a random moment within this many seconds.
    pub pull_spread_s: u32,
    /// Whether a channel may have no enrolled device yet.
    pub new_channel: bool,
    /// Whether a device's document carries the nonce that the device said last, which attests the time.
    pub echo: bool,
    /// When it is signed, and for how long.
    pub terms: Terms,
}

/// What was deployed.
#[derive(Debug)]
pub struct Deployed {
    /// The deployment.
    pub deployment: Deployment,
    /// The digest of its body.
    pub digest: Digest,
    /// Devices that report that what they are to run failed on them before, and that do not try it again.
    pub failed_before: Vec<DeviceId>,
}

/// Which audiences have a deployment here, for a message.
fn audience_names(fleet: &Fleet) -> Result<String, FolderError> {
    let names: Vec<String> = fleet.audiences()?.iter().map(ToString::to_string).collect();
    Ok(match names.as_slice() {
        [] => String::from("no audience has one"),
        names => format!("these have one: {}", names.join(", ")),
    })
}

/// Checks, signs and publishes the next deployment of an audience, and records it. Models that the request does not
/// name stay as they were.
///
/// # Errors
/// Devices would refuse it; the folder, the broker, or a conflict between the two.
pub async fn deploy(
    fleet: &Fleet,
    session: &mut Session,
    request: &DeployRequest,
) -> Result<Deployed, DeployError> {
    reconcile(fleet, session, request.terms).await?;
    check::audience(fleet, &request.audience, request.new_channel)?;
    check::releases(fleet, session, &request.model, &request.want).await?;
    let base = base(fleet, session, &request.audience).await?;
    let mut deployment = next(fleet, base.as_deref(), request)?;
    if request.echo {
        deployment.nonce_echo = Some(nonce(fleet, session, &request.audience).await?);
    }
    let failed_before = check::failed_before(fleet, session, request).await?;
    let deployed = publish(fleet, session, deployment, request.terms).await?;
    Ok(Deployed { failed_before, ..deployed })
}

/// Records what an interrupted command published, unless nothing is to be changed.
async fn reconcile(fleet: &Fleet, session: &mut Session, terms: Terms) -> Result<(), DeployError> {
    if terms.dry_run { Ok(()) } else { Ok(attempt::reconcile(fleet, session).await?) }
}

/// What the next deployment of an audience continues: the newest that this folder or the broker holds.
async fn base(
    fleet: &Fleet,
    session: &mut Session,
    audience: &Audience,
) -> Result<Option<Verified<Deployment>>, DeployError> {
    let local = fleet.deployment(audience)?;
    let retained_one = retained_deployment(fleet, session, audience).await?;
    newest(fleet, local, retained_one)
}

/// Signs a deployment, publishes it behind what it is judged by, and records it.
async fn publish(
    fleet: &Fleet,
    session: &mut Session,
    deployment: Deployment,
    terms: Terms,
) -> Result<Deployed, DeployError> {
    let (_, digest) = document::to_body(&deployment).map_err(FolderError::from)?;
    if terms.dry_run {
        return Ok(Deployed { deployment, digest, failed_before: Vec::new() });
    }
    publish_trust(fleet, session).await?;
    let deployment = fleet.sign(&deployment)?;
    attempt::publish_and_record(fleet, session, &deployment).await?;
    Ok(Deployed { digest, deployment: Deployment::clone(&deployment), failed_before: Vec::new() })
}

/// Makes the broker hold what devices and collectors judge by: the roots and the device list.
async fn publish_trust(fleet: &Fleet, session: &mut Session) -> Result<(), DeployError> {
    let survey = registry::survey(fleet, session, publish::trust_messages(fleet)?).await?;
    Ok(session.publish(&survey.missing, |_| {}).await?)
}

/// The nonce of a device's boot, from what it says of itself; a device takes no other than its own.
async fn nonce(fleet: &Fleet, session: &mut Session, audience: &Audience) -> Result<String, DeployError> {
    let Audience::Device(device) = audience else {
        return Err(DeployError::NoNonce { audience: audience.clone(), why: "only a device has a nonce" });
    };
    let (link, events) = session.reader();
    let rows = devices::devices(fleet, link, events, RETAINED_WAIT).await?;
    let presence = rows.into_iter().find(|row| row.id == *device).and_then(|row| row.presence);
    let why = match presence {
        None => "it has never been heard of",
        Some(presence) => match presence.nonce {
            Some(nonce) => return Ok(nonce),
            None => "it is not connected",
        },
    };
    Err(DeployError::NoNonce { audience: audience.clone(), why })
}

/// The deployment that the broker holds for an audience; one that does not verify counts as none:
/// devices will refuse it, too.
async fn retained_deployment(
    fleet: &Fleet,
    session: &mut Session,
    audience: &Audience,
) -> Result<Option<Verified<Deployment>>, LinkError> {
    let topic = topic::deployment(fleet.name(), audience);
    let payload = session.retained(std::slice::from_ref(&topic)).await?.remove(&topic);
    Ok(payload.and_then(|envelope| match fleet.root().verify::<Deployment>(&envelope) {
        Ok(deployment) if deployment.audience == *audience => Some(deployment),
        Ok(_) => None,
        Err(error) => {
            tracing::warn!(%audience, %error, "the broker holds a deployment that no device would accept");
            None
        }
    }))
}

/// The newer of the two; sequences count within their deploy epoch.
fn newest(
    fleet: &Fleet,
    local: Option<Verified<Deployment>>,
    retained: Option<Verified<Deployment>>,
) -> Result<Option<Verified<Deployment>>, DeployError> {
    if let Some(retained) = &retained {
        expect_known_root(fleet, retained)?;
    }
    let (local, retained) = match (local, retained) {
        (Some(local), Some(retained)) => (local, retained),
        (one, other) => return Ok(one.or(other)),
    };
    let place = |deployment: &Deployment| (deployment.deploy_epoch, deployment.sequence);
    if place(&local) == place(&retained) && local.digest() != retained.digest() {
        let (audience, sequence) = (local.audience.clone(), local.sequence);
        return Err(DeployError::Conflict { audience, sequence });
    }
    Ok(Some(if place(&retained) > place(&local) { retained } else { local }))
}

fn expect_known_root(fleet: &Fleet, retained: &Deployment) -> Result<(), DeployError> {
    let root = fleet.root().root();
    if retained.min_root_version <= root.version && retained.deploy_epoch <= root.deploy_epoch {
        return Ok(());
    }
    Err(DeployError::StaleFolder {
        audience: retained.audience.clone(),
        min_root_version: retained.min_root_version,
        deploy_epoch: retained.deploy_epoch,
        version: root.version,
        epoch: root.deploy_epoch,
    })
}

fn next(
    fleet: &Fleet,
    base: Option<&Deployment>,
    request: &DeployRequest,
) -> Result<Deployment, DeployError> {
    let mut deployment = successor(fleet, base, &request.audience, request.terms)?;
    deployment.models.retain(|entry| entry.model != request.model);
    deployment.models.push(ModelEntry {
        model: request.model.clone(),
        want: request.want.clone(),
        retry: request.retry,
    });
    deployment.models.sort_by(|a, b| a.model.cmp(&b.model));
    match &request.want {
        Want::Release { stable, .. } => expect_above_floor(fleet, &deployment.floors, request, stable)?,
        // A floor stands beside a release.
        Want::Remove => deployment.floors.retain(|floor| floor.model != request.model),
    }
    deployment.report_interval_s = request.report_interval_s;
    deployment.pull_spread_s = request.pull_spread_s;
    Ok(deployment)
}

/// When a deployment is signed, how long it may be installed, and whether it is.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Nothing is signed, kept or published: what would be is only said.
    pub dry_run: bool,
    /// How long, in seconds from now.
    pub validity_s: u64,
    /// Now, in seconds since 1970.
    pub now_unix_s: u64,
}

/// The next deployment of an audience, which says what the one before said.
fn successor(
    fleet: &Fleet,
    base: Option<&Deployment>,
    audience: &Audience,
    terms: Terms,
) -> Result<Deployment, DeployError> {
    let root = fleet.root().root();
    if terms.validity_s == 0 {
        return Err(DeployError::Validity);
    }
    // What an older epoch said is still what the audience runs; its sequences and floors are void.
    let newest = base.map(|base| (base.deploy_epoch, base.sequence));
    let sequence = fleet.next_sequence::<Deployment>(&Place::Deployment(audience.clone()), newest)?;
    let mut models: Vec<ModelEntry> = base.map(|base| base.models.clone()).unwrap_or_default();
    // `retry` was said once: it does not stay.
    models.iter_mut().for_each(|entry| entry.retry = false);
    let same_epoch = base.filter(|base| base.deploy_epoch == root.deploy_epoch);
    Ok(Deployment {
        schema: SCHEMA,
        fleet: fleet.name().clone(),
        audience: audience.clone(),
        deploy_epoch: root.deploy_epoch,
        sequence,
        min_root_version: root.version,
        issued_unix_s: terms.now_unix_s,
        not_after_unix_s: terms.now_unix_s.saturating_add(terms.validity_s),
        models,
        floors: same_epoch.map(|base| base.floors.clone()).unwrap_or_default(),
        channel: base.and_then(|base| base.channel.clone()),
        nonce_echo: None,
        report_interval_s: base.map_or(60, |base| base.report_interval_s),
        pull_spread_s: base.map_or(0, |base| base.pull_spread_s),
    })
}

/// Says here what every device would say. A release that this folder does not hold is not judged.
fn expect_above_floor(
    fleet: &Fleet,
    floors: &[Floor],
    request: &DeployRequest,
    stable: &Digest,
) -> Result<(), DeployError> {
    let Some(floor) = floors.iter().find(|floor| floor.model == request.model) else { return Ok(()) };
    let releases = fleet.releases(&request.model)?;
    match releases.iter().find(|release| release.digest() == *stable) {
        Some(release) if release.counter < floor.counter => Err(DeployError::BelowFloor {
            audience: request.audience.clone(),
            model: request.model.clone(),
            floor: floor.counter,
            counter: release.counter,
        }),
        Some(_) | None => Ok(()),
    }
}

mod audience;
mod check;
mod error;
pub mod follow;
pub mod overview;
mod renew;
mod withdraw;
pub use audience::says_nothing;
pub use error::DeployError;
pub use renew::{Renewal, Which, decommission, move_device, renew};
pub use withdraw::{Withdrawn, withdraw};

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
