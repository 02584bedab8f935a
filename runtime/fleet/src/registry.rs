//! The broker as the registry: what it retains of a fleet, what it lost, and what nobody needs any more.
//!
//! Retained messages are a cache of the fleet's folder. [`survey`] asks the broker which of them it has, so
//! that only the others are sent; [`everything`] is all that the folder would publish; [`unreferenced`] finds
//! releases and chunks that no deployment can lead a device to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use dunlin_core::Digest;
use dunlin_core::code::{Code, Coded};
use dunlin_core::document::{Audience, Chunks, Release, Want};
use dunlin_core::topic;
use dunlin_core::trust::Verified;
use dunlin_mqtt::{Event, Events, Link, LinkError, Message, Subscription};

use crate::folder::{Fleet, FolderError};
use crate::publish::{self, PublishError, retained};

/// How long a retained message may take to come after its subscription was acknowledged.
const RETAINED_WAIT: Duration = Duration::from_millis(700);

/// Topics that are asked for at a time: AWS IoT Core allows 50 subscriptions a connection.
const WINDOW: usize = 40;

/// The longest payload of a retained message: envelopes are shorter than the longest chunk.
const MAX_PAYLOAD_BYTES: usize = dunlin_core::chunk::MAX_CHUNK_BYTES;

/// How many of a model's newest releases stay on the broker, whatever is deployed: a device that goes back
/// may need them.
pub const KEPT_RELEASES: usize = 3;

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
/// The broker does not answer.
pub async fn survey(link: &Link, events: &mut Events, messages: Vec<Message>) -> Result<Survey, LinkError> {
    let mut survey = Survey::default();
    let mut rest = messages.into_iter();
    loop {
        let window: Vec<Message> = rest.by_ref().take(WINDOW).collect();
        if window.is_empty() {
            return Ok(survey);
        }
        let topics: BTreeSet<String> = window.iter().map(|message| message.topic.clone()).collect();
        let found = fetch(link, events, topics).await?;
        let (present, missing): (Vec<Message>, Vec<Message>) =
            window.into_iter().partition(|message| found.get(&message.topic) == Some(&message.payload));
        survey.present.extend(present);
        survey.missing.extend(missing);
        // Documents come first and may be there alone.
        let is_chunk = |message: &Message| message.topic.contains("/chunk/");
        if survey.missing.iter().any(is_chunk) && !survey.present.iter().any(is_chunk) {
            survey.missing.extend(rest);
            return Ok(survey);
        }
    }
}

/// The retained messages of some topics, as far as the broker has them.
pub(crate) async fn fetch(
    link: &Link,
    events: &mut Events,
    topics: BTreeSet<String>,
) -> Result<BTreeMap<String, Bytes>, LinkError> {
    let filters: Vec<String> = topics.iter().cloned().collect();
    let subscriptions: Vec<Subscription> =
        filters.iter().map(|filter| Subscription::new(filter.clone(), MAX_PAYLOAD_BYTES)).collect();
    link.subscribe(&subscriptions).await?;
    let mut found = BTreeMap::new();
    while found.len() < topics.len() {
        match tokio::time::timeout(RETAINED_WAIT, events.recv()).await {
            Ok(Some(Event::Received(message))) if topics.contains(&message.topic) => {
                found.insert(message.topic, message.payload);
            }
            Ok(Some(_)) => {}
            Ok(None) => return Err(LinkError::Closed),
            Err(_) => break,
        }
    }
    link.unsubscribe(&filters).await?;
    Ok(found)
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
    for audience in fleet.audiences()? {
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

fn releases_of(want: &Want) -> Vec<Digest> {
    match want {
        Want::Release { stable, candidate } => {
            std::iter::once(*stable).chain(candidate.map(|candidate| candidate.release)).collect()
        }
        Want::Remove => Vec::new(),
    }
}

fn all_releases(fleet: &Fleet) -> Result<Vec<Verified<Release>>, FolderError> {
    let mut releases = Vec::new();
    for model in fleet.models()? {
        releases.extend(fleet.releases(&model)?);
    }
    Ok(releases)
}

/// What the broker retains and no device can be led to.
#[derive(Debug, Default)]
pub struct Unreferenced {
    /// The topics of releases and chunks, with the bytes that each retains.
    pub topics: BTreeMap<String, u64>,
    /// How many releases and chunks are needed.
    pub kept: usize,
    /// Releases that a deployment names and this folder does not have: their chunks are not known, and so
    /// nothing can be called unreferenced.
    pub unknown: Vec<(Audience, Digest)>,
}

/// Finds what the broker retains of this fleet's releases and chunks beside what the deployments name and the
/// newest [`KEPT_RELEASES`] of each model. Downloads what is retained.
///
/// # Errors
/// The folder cannot be read, or the broker does not answer.
pub async fn unreferenced(
    fleet: &Fleet,
    link: &Link,
    events: &mut Events,
) -> Result<Unreferenced, RegistryError> {
    let releases = all_releases(fleet)?;
    let mut keep = BTreeSet::new();
    let mut result = Unreferenced::default();
    for audience in fleet.audiences()? {
        let Some(deployment) = fleet.deployment(&audience)? else { continue };
        for digest in deployment.models.iter().flat_map(|entry| releases_of(&entry.want)) {
            if !releases.iter().any(|release| release.digest() == digest) {
                result.unknown.push((audience.clone(), digest));
            }
            keep.insert(digest);
        }
    }
    for model in fleet.models()? {
        let of_model = releases.iter().filter(|release| release.model == model);
        keep.extend(of_model.rev().take(KEPT_RELEASES).map(|release| release.digest()));
    }
    if !result.unknown.is_empty() {
        return Ok(result);
    }
    let mut needed = BTreeSet::new();
    for release in releases.iter().filter(|release| keep.contains(&release.digest())) {
        needed.insert(topic::release(fleet.name(), &release.digest()));
        for chunk in chunks(fleet, release)? {
            needed.insert(topic::chunk(fleet.name(), &chunk));
        }
    }
    let retained = everything_below(fleet, link, events).await?;
    result.kept = retained.keys().filter(|topic| needed.contains(*topic)).count();
    result.topics = retained.into_iter().filter(|(topic, _)| !needed.contains(topic)).collect();
    Ok(result)
}

/// The chunks of a release, and the lists that are chunks themselves.
fn chunks(fleet: &Fleet, release: &Release) -> Result<Vec<Digest>, RegistryError> {
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

/// Every release and chunk that the broker retains of a fleet, by topic, with its bytes.
async fn everything_below(
    fleet: &Fleet,
    link: &Link,
    events: &mut Events,
) -> Result<BTreeMap<String, u64>, LinkError> {
    let filters = [topic::every_release(fleet.name()), topic::every_chunk(fleet.name())];
    let subscriptions = filters.each_ref().map(|filter| Subscription::new(filter.clone(), MAX_PAYLOAD_BYTES));
    link.subscribe(&subscriptions).await?;
    let mut found = BTreeMap::new();
    while let Ok(event) = tokio::time::timeout(RETAINED_WAIT, events.recv()).await {
        match event {
            Some(Event::Received(message)) if message.retain => {
                found.insert(message.topic, message.payload.len() as u64);
            }
            Some(_) => {}
            None => return Err(LinkError::Closed),
        }
    }
    link.unsubscribe(&filters).await?;
    Ok(found)
}

/// Deletes retained messages; releases before chunks, so that nobody is led to what is going.
///
/// # Errors
/// The broker does not answer.
pub async fn delete(link: &Link, topics: impl IntoIterator<Item = String>) -> Result<(), LinkError> {
    let (releases, chunks): (Vec<String>, Vec<String>) =
        topics.into_iter().partition(|topic| topic.contains("/release/"));
    let messages = releases.into_iter().chain(chunks).map(|topic| retained(topic, Bytes::new())).collect();
    publish::send(link, messages, |_| {}).await
}

/// Why nothing is known of the broker.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The folder stands in the way.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The folder does not hold what it should.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The broker does not answer.
    #[error(transparent)]
    Link(#[from] LinkError),
}

impl Coded for RegistryError {
    fn code(&self) -> Code {
        match self {
            RegistryError::Folder(error) => error.code(),
            RegistryError::Publish(error) => error.code(),
            RegistryError::Link(error) => error.code(),
        }
    }
}
