//! Publishing: a release's chunks, lists and documents become retained messages.
//!
//! The broker is a cache: publishing twice changes nothing, and repairs what the broker lost. The
//! release goes last, so that a device that sees it finds every chunk. Every chunk is hashed again first, and what
//! is sent is read back ([`Session::publish`]).

use std::collections::VecDeque;

use bytes::Bytes;
use dunlin_core::code::{self, Code, Coded};
use dunlin_core::document::{Blob, Chunks, Release};
use dunlin_core::trust::Verified;
use dunlin_core::{Digest, chunk, topic};
use dunlin_mqtt::{Link, LinkError, Message, PUBLISH_WINDOW};

use crate::attempt;
use crate::folder::{Fleet, FolderError};
use crate::registry::{self, Survey};
use crate::session::{NotKept, Session};

/// Why publishing stopped.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The folder does not hold what is to be published.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A chunk list cannot be read.
    #[error(transparent)]
    ChunkList(#[from] chunk::ChunkListError),
    /// The broker does not answer.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The broker did not acknowledge a message.
    #[error(
        "the broker did not acknowledge the message on {topic}; some brokers close the connection over a message \
         that this user may not send"
    )]
    Unacknowledged {
        /// Its topic.
        topic: String,
    },
    /// The broker acknowledged messages and does not hold them.
    #[error(transparent)]
    NotKept(#[from] NotKept),
    /// The broker holds a newer document than the folder.
    #[error(
        "the broker holds sequence {theirs} of deploy epoch {epoch} on {topic}, this folder has {ours}: another copy \
         of the folder published it; bring the folder up to date, or sign what it holds again with `dunlin deploy \
         resign --all`"
    )]
    Newer {
        /// The topic.
        topic: String,
        /// The broker's deploy epoch.
        epoch: u64,
        /// The broker's sequence.
        theirs: u64,
        /// What the folder has.
        ours: String,
    },
}

impl Coded for PublishError {
    fn code(&self) -> Code {
        match self {
            PublishError::Folder(error) => error.code(),
            PublishError::ChunkList(error) => error.code(),
            PublishError::Link(error) => error.code(),
            PublishError::Unacknowledged { .. } => code::fleet::PUBLISH_UNACKNOWLEDGED,
            PublishError::NotKept(_) => code::fleet::PUBLISH_NOT_KEPT,
            PublishError::Newer { .. } => code::fleet::EQUIVOCATION,
        }
    }
}

/// Publishes what the broker lacks of these messages and reads it back. `messages` is asked once what an earlier
/// command left is recorded. The callback gets what is missing before anything is sent, and then the payload bytes of
/// each message that is known to be kept.
///
/// # Errors
/// The broker holds a newer document, or does not take or keep what is sent; those of `messages`.
pub async fn publish(
    fleet: &Fleet,
    session: &mut Session,
    messages: impl FnOnce() -> Result<Vec<Message>, PublishError>,
    mut progress: impl FnMut(Progress),
) -> Result<Survey, PublishError> {
    attempt::reconcile(fleet, session).await?;
    let survey = registry::survey(fleet, session, messages()?).await?;
    progress(Progress::Missing(survey.missing_bytes()));
    session.publish(&survey.missing, |bytes| progress(Progress::Kept(bytes))).await?;
    Ok(survey)
}

/// How far publishing is, in bytes of payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// What is to be sent.
    Missing(u64),
    /// More of it that the broker keeps.
    Kept(u64),
}

/// What a release puts on the broker, in the order of publishing: roots, device list, the chunks of the
/// module and of each attachment (a list of chunks before what it lists; no chunk twice), the release.
///
/// # Errors
/// A blob is missing from the folder, altered, or not what the release says of its chunks.
pub fn messages(fleet: &Fleet, release: &Verified<Release>) -> Result<Vec<Message>, PublishError> {
    let mut messages = trust_messages(fleet)?;
    let attachments = release.attachments.iter().map(|attachment| &attachment.blob);
    let mut seen = std::collections::BTreeSet::new();
    for blob in std::iter::once(&release.artifact).chain(attachments) {
        for (digest, payload) in chunks_of(fleet, blob)? {
            if seen.insert(digest) {
                messages.push(retained(topic::chunk(fleet.name(), &digest), payload));
            }
        }
    }
    let envelope = Bytes::copy_from_slice(release.envelope());
    messages.push(retained(topic::release(fleet.name(), &release.digest()), envelope));
    Ok(messages)
}

/// Every root.
pub(crate) fn root_messages(fleet: &Fleet) -> Result<Vec<Message>, FolderError> {
    let roots = fleet.root_envelopes()?.into_iter();
    Ok(roots.map(|(version, root)| retained(topic::root(fleet.name(), version), Bytes::from(root))).collect())
}

/// Every root and the device list: what devices and collectors trust.
///
/// # Errors
/// A file of the folder cannot be read or verified.
pub fn trust_messages(fleet: &Fleet) -> Result<Vec<Message>, FolderError> {
    let mut messages = root_messages(fleet)?;
    if let Some(list) = fleet.device_list()? {
        if !fleet.is_current(&list) {
            let (path, remedy) = (fleet.folder().join("devices.json"), "run `dunlin deploy resign --all`");
            return Err(FolderError::Outdated { path, remedy });
        }
        messages.push(retained(topic::devices(fleet.name()), Bytes::copy_from_slice(list.envelope())));
    }
    Ok(messages)
}

/// The chunks of a blob, behind their list where it is a blob of its own.
fn chunks_of(fleet: &Fleet, blob: &Blob) -> Result<Vec<(Digest, Bytes)>, PublishError> {
    let bytes = Bytes::from(fleet.blob(&blob.digest)?);
    let mut pieces = Vec::new();
    let refs = match &blob.chunks {
        Chunks::Inline(refs) => refs.clone(),
        Chunks::List(list) => {
            let encoded = fleet.blob(&list.digest)?;
            let refs = chunk::decode_list(&encoded, blob.size_bytes)?;
            pieces.push((list.digest, Bytes::from(encoded)));
            refs
        }
    };
    // A release may be signed by a build system: nothing here trusts it to cut well.
    chunk::check(&refs, bytes.len() as u64)?;
    let mut rest = bytes;
    for chunk in refs {
        let piece = rest.split_to(rest.len().min(chunk.size_bytes as usize));
        if Digest::of(&piece) != chunk.digest {
            return Err(FolderError::Blob { path: fleet.blob_path(&blob.digest) }.into());
        }
        pieces.push((chunk.digest, piece));
    }
    Ok(pieces)
}

pub(crate) fn retained(topic: String, payload: Bytes) -> Message {
    Message { topic, payload, retain: true }
}

/// Publishes messages, several in flight, and returns when the broker has acknowledged all. The
/// callback gets the payload bytes of each message that was acknowledged.
///
/// # Errors
/// The first message that the broker did not take.
pub async fn send(
    link: &Link,
    messages: Vec<Message>,
    mut acknowledged: impl FnMut(u64),
) -> Result<(), LinkError> {
    let mut waiting = VecDeque::new();
    for message in messages {
        let bytes = message.payload.len() as u64;
        // The link bounds how many are in flight; half of them are left to others.
        if waiting.len() >= PUBLISH_WINDOW / 2
            && let Some((pending, bytes)) = waiting.pop_front()
        {
            finish(pending, bytes, &mut acknowledged).await?;
        }
        waiting.push_back((link.enqueue(message).await?, bytes));
    }
    for (pending, bytes) in waiting {
        finish(pending, bytes, &mut acknowledged).await?;
    }
    Ok(())
}

async fn finish(
    pending: dunlin_mqtt::PendingPublish,
    bytes: u64,
    acknowledged: &mut impl FnMut(u64),
) -> Result<(), LinkError> {
    pending.await?;
    acknowledged(bytes);
    Ok(())
}

#[cfg(test)]
mod tests;
