//! What may go from the broker: releases and chunks that nothing leads a device to.
//!
//! A release is kept where a deployment names it, here or on the broker, where it is the way back from what a
//! deployment names, where a device reports that it holds it, where a device that did not report was ever sent it, and
//! where it is one of the newest of its model. Devices report by telemetry, which is not retained: so gc listens until every connected
//! device has reported, or a time is over. What devices report is not signed; a false report keeps too much.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use dunlin_core::document::{Audience, Chunks, Deployment, DeviceEntry, Release};
use dunlin_core::id::{DeviceId, ModelName};
use dunlin_core::telemetry::{Health, PresenceState};
use dunlin_core::topic::{self, TelemetryClass};
use dunlin_core::trust::Verified;
use dunlin_core::{Digest, code};
use dunlin_mqtt::{LinkError, Message};
use serde::Serialize;

use crate::attempt;
use crate::deploy::overview;
use crate::devices::{self, DevicesError};
use crate::folder::{Fleet, FolderError};
use crate::publish::{PublishError, retained};
use crate::registry::{all_releases, releases_of};
use crate::session::{Found, NotKept, RETAINED_WAIT, Session};
use crate::{remedy, tail};

/// How many of a model's newest releases stay on the broker, whatever is deployed.
pub const KEPT_RELEASES: usize = 3;

/// Why a release stays.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// A deployment names it.
    Deployed(Audience),
    /// It is what an audience was sent before.
    WayBack(Audience),
    /// A device reports that it holds it.
    Held(DeviceId),
    /// A device that did not report was sent it once.
    Sent(DeviceId),
    /// It is one of the newest of its model.
    Newest,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reason::Deployed(audience) => write!(f, "deployed to {audience}"),
            Reason::WayBack(audience) => write!(f, "the way back of {audience}"),
            Reason::Held(device) => write!(f, "held by {device}"),
            Reason::Sent(device) => write!(f, "sent to {device}, which did not report"),
            Reason::Newest => write!(f, "one of the newest {KEPT_RELEASES}"),
        }
    }
}

/// What devices say that they hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// The releases of each device that reported.
    pub releases: BTreeMap<DeviceId, BTreeSet<Digest>>,
}

/// A release on the broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReleaseRow {
    /// The digest of its body.
    pub release: Digest,
    /// Its model and version, if this folder has it.
    pub model: Option<ModelName>,
    /// What people call it.
    pub version: Option<String>,
    /// Why it stays; without a reason it may go.
    pub kept: BTreeSet<Reason>,
}

/// What the broker retains, and what of it may go.
#[derive(Debug, Default)]
pub struct Plan {
    /// Every release on the broker.
    pub releases: Vec<ReleaseRow>,
    /// The topics of releases and chunks that may go, with the bytes that each retains.
    pub topics: BTreeMap<String, u64>,
    /// How many messages stay.
    pub kept: usize,
    /// Enrolled devices that did not report.
    pub unheard: Vec<DeviceId>,
}

/// Why nothing is known of what may go.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    /// The folder stands in the way.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The broker does not take or keep a message, or the folder does not hold what it should.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The broker does not answer.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The devices are not known.
    #[error(transparent)]
    Devices(#[from] DevicesError),
    /// A release that stays and whose chunks are not known.
    #[error(
        "release {} is needed ({reason}) and this folder does not have it: which chunks it needs is not known",
        release.short()
    )]
    Unknown {
        /// The release.
        release: Digest,
        /// Why it is needed.
        reason: Reason,
    },
}

impl code::Coded for RetentionError {
    fn code(&self) -> code::Code {
        match self {
            RetentionError::Folder(error) => error.code(),
            RetentionError::Publish(error) => error.code(),
            RetentionError::Link(error) => error.code(),
            RetentionError::Devices(error) => error.code(),
            RetentionError::Unknown { .. } => code::fleet::RELEASE_UNKNOWN,
        }
    }
}

/// How long gc listens unless it is said: until a report of each device is due, and no longer than `most`.
///
/// # Errors
/// A file of the folder cannot be read or verified.
pub fn listening(fleet: &Fleet, most: Duration) -> Result<Duration, FolderError> {
    let mut longest_s = 0;
    for audience in fleet.audiences()? {
        longest_s = longest_s.max(fleet.deployment(&audience)?.map_or(0, |it| it.report_interval_s));
    }
    Ok(Duration::from_secs(u64::from(longest_s)).saturating_add(Duration::from_secs(2)).min(most))
}

/// Listens to health records until every connected device has reported, or the time is over.
///
/// # Errors
/// The broker does not answer.
pub async fn hear(fleet: &Fleet, session: &mut Session, wait: Duration) -> Result<Heard, RetentionError> {
    let (link, events) = session.reader();
    let rows = devices::devices(fleet, link, events, RETAINED_WAIT).await?;
    tail::subscribe(link, fleet.name(), Some(TelemetryClass::Health)).await?;
    let is_online = |row: &&devices::DeviceRow| {
        row.presence.as_ref().is_some_and(|presence| presence.state == PresenceState::Online)
    };
    let mut awaited: BTreeSet<DeviceId> = rows.iter().filter(is_online).map(|row| row.id.clone()).collect();
    let mut heard = Heard::default();
    let listen = async {
        while !awaited.is_empty() {
            let Some(record) = tail::next(events, fleet.name()).await else { return };
            let Ok(health) = serde_json::from_value::<Health>(record.json) else { continue };
            awaited.remove(&record.device);
            let releases = heard.releases.entry(record.device).or_default();
            releases.extend(health.installed);
            releases.extend(health.models.into_iter().map(|model| model.release));
        }
    };
    // The time is an end like any other: who was not heard is listed.
    let _ = tokio::time::timeout(wait, listen).await;
    link.unsubscribe(&[topic::every_telemetry(fleet.name(), Some(TelemetryClass::Health))]).await?;
    Ok(heard)
}

/// Says of every release on the broker whether it stays and why, and which topics may go.
///
/// # Errors
/// The folder cannot be read, the broker does not answer, or it is not known what a release needs.
pub async fn plan(fleet: &Fleet, session: &mut Session, heard: &Heard) -> Result<Plan, RetentionError> {
    // The broker may hold what an interrupted command or another copy of the folder deployed.
    attempt::reconcile(fleet, session).await?;
    let held = overview::held(fleet, session).await?;
    let deployed: Vec<Verified<Deployment>> =
        held.values().filter_map(|envelope| fleet.root().verify(envelope).ok()).collect();
    let releases = all_releases(fleet)?;
    let unheard: Vec<DeviceEntry> =
        fleet.enrolled()?.into_iter().filter(|device| !heard.releases.contains_key(&device.id)).collect();
    let reasons = reasons(fleet, &releases, &deployed, heard, &unheard)?;
    let retained = session.list(&filters(fleet)).await?;
    let mut plan = Plan { unheard: unheard.into_iter().map(|device| device.id).collect(), ..Plan::default() };
    let mut needed = BTreeSet::new();
    for (digest, kept) in &reasons {
        let topic = topic::release(fleet.name(), digest);
        match (releases.iter().find(|release| release.digest() == *digest), kept.first()) {
            (Some(release), _) => {
                let chunks = chunks(fleet, release)?;
                needed.extend(chunks.iter().map(|chunk| topic::chunk(fleet.name(), chunk)));
            }
            // Of a release that the broker lacks, too, nothing can be lost.
            (None, Some(reason)) if retained.contains_key(&topic) => {
                return Err(RetentionError::Unknown { release: *digest, reason: reason.clone() });
            }
            (None, _) => {}
        }
        needed.insert(topic);
    }
    plan.releases = rows(fleet, &releases, &retained, &reasons);
    plan.kept = retained.keys().filter(|topic| needed.contains(*topic)).count();
    plan.topics = retained.into_iter().filter(|(topic, _)| !needed.contains(topic)).collect();
    Ok(plan)
}

/// Why releases stay, by their digests.
fn reasons(
    fleet: &Fleet,
    releases: &[Verified<Release>],
    deployed: &[Verified<Deployment>],
    heard: &Heard,
    unheard: &[DeviceEntry],
) -> Result<BTreeMap<Digest, BTreeSet<Reason>>, FolderError> {
    let mut reasons: BTreeMap<Digest, BTreeSet<Reason>> = BTreeMap::new();
    let mut keep = |digest: Digest, reason: Reason| {
        reasons.entry(digest).or_default().insert(reason);
    };
    for audience in fleet.audiences()? {
        let Some(deployment) = fleet.deployment(&audience)? else { continue };
        let history = fleet.history(&audience)?;
        for entry in &deployment.models {
            let current = releases_of(&entry.want);
            let before = history.iter().rev().filter_map(|earlier| earlier.entry(&entry.model));
            let way_back = before.map(|entry| releases_of(&entry.want)).find(|earlier| {
                !earlier.is_empty() && earlier.iter().any(|release| !current.contains(release))
            });
            way_back
                .into_iter()
                .flatten()
                .for_each(|release| keep(release, Reason::WayBack(audience.clone())));
            current.into_iter().for_each(|release| keep(release, Reason::Deployed(audience.clone())));
        }
    }
    for deployment in deployed {
        let current = deployment.models.iter().flat_map(|entry| releases_of(&entry.want));
        current.for_each(|release| keep(release, Reason::Deployed(deployment.audience.clone())));
    }
    for (device, held) in &heard.releases {
        held.iter().for_each(|release| keep(*release, Reason::Held(device.clone())));
    }
    for device in unheard {
        for audience in [Audience::Channel(device.channel.clone()), Audience::Device(device.id.clone())] {
            let sent = fleet.history(&audience)?.into_iter().chain(fleet.deployment(&audience)?);
            let named: Vec<Digest> = sent
                .flat_map(|sent| {
                    sent.models.iter().flat_map(|entry| releases_of(&entry.want)).collect::<Vec<_>>()
                })
                .collect();
            named.into_iter().for_each(|release| keep(release, Reason::Sent(device.id.clone())));
        }
    }
    for model in fleet.models()? {
        let of_model = releases.iter().filter(|release| release.model == model);
        of_model.rev().take(KEPT_RELEASES).for_each(|release| keep(release.digest(), Reason::Newest));
    }
    Ok(reasons)
}

/// The releases on the broker, those of this folder in its order first.
fn rows(
    fleet: &Fleet,
    releases: &[Verified<Release>],
    retained: &BTreeMap<String, u64>,
    reasons: &BTreeMap<Digest, BTreeSet<Reason>>,
) -> Vec<ReleaseRow> {
    let kept = |digest: &Digest| reasons.get(digest).cloned().unwrap_or_default();
    let known = releases
        .iter()
        .filter(|release| retained.contains_key(&topic::release(fleet.name(), &release.digest())));
    let mut rows: Vec<ReleaseRow> = known
        .map(|release| ReleaseRow {
            release: release.digest(),
            model: Some(release.model.clone()),
            version: Some(release.version.clone()),
            kept: kept(&release.digest()),
        })
        .collect();
    let digests = retained.keys().filter(|topic| topic.contains("/release/"));
    let digests = digests.filter_map(|topic| topic.rsplit('/').next()?.parse::<Digest>().ok());
    let strangers = digests.filter(|digest| !releases.iter().any(|release| release.digest() == *digest));
    rows.extend(strangers.map(|release| ReleaseRow {
        release,
        model: None,
        version: None,
        kept: kept(&release),
    }));
    rows
}

fn filters(fleet: &Fleet) -> [String; 2] {
    [topic::every_release(fleet.name()), topic::every_chunk(fleet.name())]
}

/// The chunks of a release, and the lists that are chunks themselves.
fn chunks(fleet: &Fleet, release: &Release) -> Result<Vec<Digest>, PublishError> {
    let mut digests = Vec::new();
    let attachments = release.attachments.iter().map(|attachment| &attachment.blob);
    for blob in std::iter::once(&release.artifact).chain(attachments) {
        match &blob.chunks {
            Chunks::Inline(refs) => digests.extend(refs.iter().map(|chunk| chunk.digest)),
            Chunks::List(list) => {
                digests.push(list.digest);
                let refs = dunlin_core::chunk::decode_list(&fleet.blob(&list.digest)?, blob.size_bytes)
                    .map_err(PublishError::from)?;
                digests.extend(refs.iter().map(|chunk| chunk.digest));
            }
        }
    }
    Ok(digests)
}

/// Deletes retained messages, releases before chunks, so that no device is led to what is going; then lists what is
/// left, since a broker may acknowledge a deletion and drop it.
///
/// # Errors
/// The broker does not answer, or still holds what was deleted.
pub async fn delete(fleet: &Fleet, session: &mut Session, topics: &[String]) -> Result<(), RetentionError> {
    let (releases, chunks): (Vec<&String>, Vec<&String>) =
        topics.iter().partition(|topic| topic.contains("/release/"));
    let deletions = releases.into_iter().chain(chunks).map(|topic| retained(topic.clone(), Bytes::new()));
    let deletions: Vec<Message> = deletions.collect();
    if deletions.is_empty() {
        return Ok(());
    }
    session.send(&deletions).await?;
    let left = session.list(&filters(fleet)).await?;
    let still: Vec<&String> = topics.iter().filter(|topic| left.contains_key(*topic)).collect();
    match still.first() {
        None => Ok(()),
        Some(first) => Err(RetentionError::Publish(PublishError::NotKept(NotKept {
            missing: still.len(),
            of: topics.len(),
            topic: (*first).clone(),
            found: Found::Other,
            reason: remedy::REPLACE,
        }))),
    }
}

#[cfg(test)]
mod tests;
