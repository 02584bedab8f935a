//! The broker as the registry: what it retains of a fleet, and what it lost.
//!
//! Retained messages are a cache of the fleet's folder. [`survey`] asks the broker which of them it has, so
//! that only the others are sent; [`everything`] is all that the folder would publish.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use dunlin_core::Digest;
use dunlin_core::document::{Deployment, DeviceList, Document, Release, Want};
use dunlin_core::topic;
use dunlin_core::trust::Verified;
use dunlin_mqtt::Message;

use crate::folder::{Fleet, FolderError};
use crate::publish::{self, PublishError, retained};
use crate::session::{Session, WINDOW};

/// What a broker has of some messages.
#[derive(Debug, Default)]
pub struct Survey {
    /// Those that it lacks, or has otherwise.
    pub missing: Vec<Message>,
    /// Those that it has.
    pub present: Vec<Message>,
}

impl Survey {
    /// The payloads of the missing ones together, in bytes.
    pub fn missing_bytes(&self) -> u64 {
        payload_bytes(&self.missing)
    }

    /// The payloads of the present ones together, in bytes.
    pub fn present_bytes(&self) -> u64 {
        payload_bytes(&self.present)
    }
}

fn payload_bytes(messages: &[Message]) -> u64 {
    messages.iter().map(|message| message.payload.len() as u64).sum()
}

/// Asks the broker which of these retained messages it has. What it has is downloaded for that; where it has
/// none of the first chunks, it is taken to have none at all, since each that is missing costs a wait.
///
/// # Errors
/// The broker does not answer, or holds a newer deployment or device list than the one to be sent.
pub async fn survey(
    fleet: &Fleet,
    session: &mut Session,
    messages: Vec<Message>,
) -> Result<Survey, PublishError> {
    let is_chunk = |message: &Message| message.topic.contains("/chunk/");
    let mut survey = Survey::default();
    let mut rest = messages.into_iter();
    let mut has_no_chunks = false;
    loop {
        let mut window = Vec::new();
        while window.len() < WINDOW
            && let Some(message) = rest.next()
        {
            let place = if has_no_chunks && is_chunk(&message) { &mut survey.missing } else { &mut window };
            place.push(message);
        }
        if window.is_empty() {
            return Ok(survey);
        }
        let topics: Vec<String> = window.iter().map(|message| message.topic.clone()).collect();
        let found = session.retained(&topics).await?;
        for message in window {
            match found.get(&message.topic) {
                Some(payload) if *payload == message.payload => survey.present.push(message),
                Some(payload) => {
                    expect_not_newer(fleet, &message, payload)?;
                    survey.missing.push(message);
                }
                None => survey.missing.push(message),
            }
        }
        has_no_chunks = survey.missing.iter().any(is_chunk) && !survey.present.iter().any(is_chunk);
    }
}

/// Refuses to replace a document that another copy of the folder published since.
fn expect_not_newer(fleet: &Fleet, ours: &Message, theirs: &Bytes) -> Result<(), PublishError> {
    let place = |envelope: &[u8]| {
        place::<Deployment>(fleet, envelope, |deployment| (deployment.deploy_epoch, deployment.sequence))
            .or_else(|| place::<DeviceList>(fleet, envelope, |list| (list.deploy_epoch, list.sequence)))
    };
    let (Some((ours_at, ours_digest)), Some((theirs_at, theirs_digest))) =
        (place(&ours.payload), place(theirs))
    else {
        return Ok(());
    };
    if theirs_at < ours_at || theirs_digest == ours_digest {
        return Ok(());
    }
    let (topic, (epoch, theirs)) = (ours.topic.clone(), theirs_at);
    let ours =
        if theirs_at == ours_at { "another content".into() } else { format!("sequence {}", ours_at.1) };
    Err(PublishError::Newer { topic, epoch, theirs, ours })
}

/// The deploy epoch and the sequence of a document that devices would accept, and its digest.
fn place<T: Document>(
    fleet: &Fleet,
    envelope: &[u8],
    of: impl Fn(&T) -> (u64, u64),
) -> Option<((u64, u64), Digest)> {
    let document = fleet.root().verify::<T>(envelope).ok()?;
    Some((of(&document), document.digest()))
}

/// All that this folder publishes: roots, the device list, the deployments that are current, and each release
/// that one of them names, with its chunks before it.
///
/// # Errors
/// A file of the folder cannot be read or verified, or is missing.
pub fn everything(fleet: &Fleet) -> Result<Vec<Message>, PublishError> {
    let mut messages: BTreeMap<String, Message> = BTreeMap::new();
    let mut order = Vec::new();
    let mut add = |message: Message| {
        if !messages.contains_key(&message.topic) {
            order.push(message.topic.clone());
            messages.insert(message.topic.clone(), message);
        }
    };
    publish::trust_messages(fleet)?.into_iter().for_each(&mut add);
    let mut deployments = Vec::new();
    let mut named = BTreeSet::new();
    for audience in fleet.served_audiences()? {
        let Some(deployment) = fleet.deployment(&audience)? else { continue };
        if !fleet.is_current(&deployment) {
            tracing::warn!(%audience, "its deployment is signed with an old key: dunlin deploy resign --all");
            continue;
        }
        named.extend(deployment.models.iter().flat_map(|entry| releases_of(&entry.want)));
        let topic = topic::deployment(fleet.name(), &audience);
        deployments.push(retained(topic, Bytes::copy_from_slice(deployment.envelope())));
    }
    for release in all_releases(fleet)?.iter().filter(|release| named.contains(&release.digest())) {
        publish::messages(fleet, release)?.into_iter().for_each(&mut add);
    }
    deployments.into_iter().for_each(&mut add);
    Ok(order.into_iter().filter_map(|topic| messages.remove(&topic)).collect())
}

pub(crate) fn releases_of(want: &Want) -> Vec<Digest> {
    match want {
        Want::Release { stable, candidate } => {
            std::iter::once(*stable).chain(candidate.map(|candidate| candidate.release)).collect()
        }
        Want::Remove => Vec::new(),
    }
}

pub(crate) fn all_releases(fleet: &Fleet) -> Result<Vec<Verified<Release>>, FolderError> {
    let mut releases = Vec::new();
    for model in fleet.models()? {
        releases.extend(fleet.releases(&model)?);
    }
    Ok(releases)
}
