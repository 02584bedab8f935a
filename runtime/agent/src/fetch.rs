//! Fetching: brings the blobs of releases into the store, chunk by chunk, over the link.
//!
//! One task owns every transfer, and does what [`dunlin_core::transfer`] says. Whoever owns the link's
//! events hands chunk messages to [`Fetcher::deliver`] and tells when the link comes and goes. Blobs of
//! one release come one after another, releases beside each other, so that a chunk which the broker
//! lacks holds up its own release and no other. Disk work is done on blocking threads.
//!
//! It never gives up on a silent broker: a release is done, or fails by the disk or by what it signs,
//! or is cancelled. What came is kept and not fetched again.

pub(crate) mod job;
mod task;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use dunlin_core::Digest;
use dunlin_core::code::Code;
use dunlin_core::document::Blob;
use dunlin_core::id::FleetId;
use dunlin_core::topic;
use dunlin_core::transfer::TransferConfig;
use dunlin_core::update::{Attempt, Attempts};
use dunlin_mqtt::{Link, LinkError, Message, Subscription};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::store::Store;
use task::{Command, Task};

/// Chunks that may wait for the task. It keeps at most a window of chunks outstanding for each release;
/// what a flooding broker sends beyond this is dropped, and asked for again if it was needed.
const MAX_WAITING_CHUNKS: usize = 128;

/// What fetching needs of a link.
pub trait ChunkLink: Clone + Send + Sync + 'static {
    /// Subscribes; in force from the first poll on.
    fn subscribe(
        &self,
        subscriptions: Vec<Subscription>,
    ) -> impl Future<Output = Result<(), LinkError>> + Send + 'static;

    /// Unsubscribes; in force from the first poll on.
    fn unsubscribe(
        &self,
        filters: Vec<String>,
    ) -> impl Future<Output = Result<(), LinkError>> + Send + 'static;
}

impl ChunkLink for Link {
    fn subscribe(
        &self,
        subscriptions: Vec<Subscription>,
    ) -> impl Future<Output = Result<(), LinkError>> + Send + 'static {
        let link = self.clone();
        async move { Link::subscribe(&link, &subscriptions).await }
    }

    fn unsubscribe(
        &self,
        filters: Vec<String>,
    ) -> impl Future<Output = Result<(), LinkError>> + Send + 'static {
        let link = self.clone();
        async move { Link::unsubscribe(&link, &filters).await }
    }
}

/// What became of a release's blobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchEvent {
    /// Every blob is in the store.
    Done {
        /// The release.
        release: Digest,
    },
    /// The broker sent a wrong chunk; fetching goes on. Told once a blob.
    BadChunk {
        /// The release.
        release: Digest,
        /// The chunk.
        digest: Digest,
        /// The stable code.
        code: Code,
        /// What came, for people.
        detail: String,
    },
    /// The broker does not send a chunk; fetching goes on. Told once until [`FetchEvent::Resumed`].
    Stalled {
        /// The release.
        release: Digest,
        /// The chunk.
        digest: Digest,
        /// The stable code.
        code: Code,
        /// How often it was asked for, for people.
        detail: String,
    },
    /// The chunk that did not come is there.
    Resumed {
        /// The release.
        release: Digest,
    },
    /// Chunks come very slowly; fetching goes on. Told at most every ten minutes.
    Slow {
        /// The release.
        release: Digest,
        /// The stable code.
        code: Code,
        /// How slowly, for people.
        detail: String,
    },
    /// Fetching this release has ended; what came is kept.
    Failed {
        /// The release.
        release: Digest,
        /// The stable code of the reason.
        code: Code,
        /// What happened, for people.
        detail: String,
    },
}

/// The handle of the fetching task. When it is dropped, the task stores what came and ends.
#[derive(Debug)]
pub struct Fetcher {
    fleet: FleetId,
    commands: mpsc::UnboundedSender<Command>,
    chunks: mpsc::Sender<(Digest, Bytes)>,
    attempts: Mutex<Attempts>,
    task: JoinHandle<()>,
}

impl FetchEvent {
    /// The release that it is about.
    pub fn release(&self) -> Digest {
        match self {
            FetchEvent::Done { release }
            | FetchEvent::BadChunk { release, .. }
            | FetchEvent::Stalled { release, .. }
            | FetchEvent::Resumed { release }
            | FetchEvent::Slow { release, .. }
            | FetchEvent::Failed { release, .. } => *release,
        }
    }
}

impl Fetcher {
    /// Spawns the task on the current tokio runtime. The link counts as down until
    /// [`Fetcher::link_up`].
    pub fn start<L: ChunkLink>(
        link: L,
        fleet: FleetId,
        store: Store,
        config: TransferConfig,
    ) -> (Fetcher, mpsc::UnboundedReceiver<(Attempt, FetchEvent)>) {
        let (commands, command_receiver) = mpsc::unbounded_channel();
        let (chunks, chunk_receiver) = mpsc::channel(MAX_WAITING_CHUNKS);
        // Unbounded and small: a few events a blob, and blobs are named by signed documents.
        let (events, event_receiver) = mpsc::unbounded_channel();
        let task = Task::new(link, fleet.clone(), store, config, events);
        let task = tokio::spawn(task.run(command_receiver, chunk_receiver));
        (Fetcher { fleet, commands, chunks, attempts: Mutex::default(), task }, event_receiver)
    }

    /// Brings the blobs of a release into the store; those that are there are not fetched. The first
    /// chunk is asked for after `delay`. A release that is being fetched goes on as it was.
    pub fn fetch(&self, release: Digest, blobs: Vec<Blob>, delay: Duration) {
        let attempt = self.attempts().begin(release);
        self.send(Command::Fetch { release, attempt, blobs, delay });
    }

    /// Stops fetching a release; what came is kept until it is cleaned up. An event of it that is on its
    /// way already is stale.
    pub fn cancel(&self, release: Digest) {
        self.attempts().end(&release);
        self.send(Command::Cancel { release });
    }

    /// Whether an event is about what is being fetched: not cancelled since, nor fetched again.
    pub fn is_current(&self, attempt: Attempt, event: &FetchEvent) -> bool {
        self.attempts().is_current(&event.release(), attempt)
    }

    fn attempts(&self) -> MutexGuard<'_, Attempts> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The link is connected.
    pub fn link_up(&self) {
        self.send(Command::LinkUp);
    }

    /// The link is disconnected.
    pub fn link_down(&self) {
        self.send(Command::LinkDown);
    }

    /// Takes a message if its topic is a chunk's of this fleet, and says whether it was. Never waits.
    pub fn deliver(&self, message: &Message) -> bool {
        let Some(digest) = chunk_digest(&self.fleet, &message.topic) else { return false };
        if self.chunks.try_send((digest, message.payload.clone())).is_err() {
            tracing::debug!(chunk = %digest.short(), "too many chunks wait: one was dropped");
        }
        true
    }

    /// Stores what came, ends the task and waits for it.
    pub async fn stop(self) {
        let Fetcher { commands, chunks, task, .. } = self;
        drop((commands, chunks));
        if let Err(error) = task.await {
            tracing::error!(%error, "the fetching task died");
        }
    }

    fn send(&self, command: Command) {
        // The task ends before its handle only by a panic, which `stop` tells.
        if self.commands.send(command).is_err() {
            tracing::error!("the fetching task has ended");
        }
    }
}

/// The chunk that a topic of this fleet is for.
fn chunk_digest(fleet: &FleetId, topic: &str) -> Option<Digest> {
    let digest: Digest = topic.rsplit('/').next()?.parse().ok()?;
    (topic == topic::chunk(fleet, &digest)).then_some(digest)
}
