//! The outbox: records on their way to the broker.
//!
//! In memory, bounded in bytes: what is in it when the agent ends is lost. The outbox on disk, with its
//! hash chains and ledger, takes its place without a change for those who push.
//!
//! - A record leaves only when the broker has acknowledged it; a broken link loses none.
//! - Sequences are those of its class: 1, 2, 3… in a boot. A record that is dropped leaves a gap.
//! - When the bound is reached, the oldest health record goes first, then the oldest drift record, then
//!   the oldest event; and events never take more than their own share. Each drop is counted. A record
//!   that has been handed to the link is not dropped any more.

pub(crate) mod queue;
#[cfg(test)]
mod tests;

pub use queue::Bounds;

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use dunlin_core::code::{self, Code, Coded};
use dunlin_core::id::{DeviceId, FleetId};
use dunlin_core::telemetry::{Dropped, Record, TelemetryError};
use dunlin_core::topic;
use dunlin_mqtt::{Link, LinkError, Message, PendingPublish};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use queue::{Entry, Key, Queue};

/// How many records may wait for their PUBACK at once; the link's own window is for all its users.
const WINDOW: usize = 16;

/// What the outbox needs of a link.
pub trait Publisher: Send + Sync + 'static {
    /// The future of a PUBACK.
    type Acknowledged: Future<Output = Result<(), LinkError>> + Send + Unpin;

    /// Queues a message; waits while the link's window is full.
    fn enqueue(&self, message: Message)
    -> impl Future<Output = Result<Self::Acknowledged, LinkError>> + Send;
}

impl Publisher for Link {
    type Acknowledged = PendingPublish;

    async fn enqueue(&self, message: Message) -> Result<PendingPublish, LinkError> {
        Link::enqueue(self, message).await
    }
}

/// A handle of the outbox; clones are handles of the same one.
#[derive(Clone)]
pub struct Outbox(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    /// Something was pushed.
    pushed: Notify,
    /// Something left.
    left: Notify,
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbox").field("dropped", &self.dropped()).finish_non_exhaustive()
    }
}

impl Outbox {
    /// An empty outbox of this boot. Nothing is sent before [`Outbox::start`].
    pub fn new(bounds: Bounds) -> Outbox {
        let queue = Mutex::new(Queue::new(bounds));
        Outbox(Arc::new(Shared { queue, pushed: Notify::new(), left: Notify::new() }))
    }

    /// Spawns the task that sends, on the current tokio runtime; call it once. It ends when the link is
    /// closed.
    pub fn start<P: Publisher>(&self, link: P, fleet: FleetId, device: DeviceId) -> JoinHandle<()> {
        let outbox = self.clone();
        tokio::spawn(async move { outbox.run(&link, &fleet, &device).await })
    }

    /// Queues the record that `make` makes of its sequence, and gives that sequence.
    ///
    /// # Errors
    /// The record is of no telemetry class, or cannot be written as JSON; the sequence is not used up.
    pub fn push<R: Record>(&self, make: impl FnOnce(u64) -> R) -> Result<u64, OutboxError> {
        let class = R::CLASS.ok_or(OutboxError::NoClass)?;
        let mut queue = self.queue();
        let record = make(queue.next_seq(class));
        let seq = queue.push(class, record.to_json()?);
        drop(queue);
        self.0.pushed.notify_one();
        Ok(seq)
    }

    /// What was dropped in this boot. It belongs in the next health record.
    pub fn dropped(&self) -> Dropped {
        self.queue().dropped()
    }

    /// Waits until every record was acknowledged, at most for `patience`; says whether it was.
    pub async fn drained(&self, patience: Duration) -> bool {
        let empty = async {
            loop {
                let mut left = pin!(self.0.left.notified());
                left.as_mut().enable();
                if self.queue().is_empty() {
                    return;
                }
                left.await;
            }
        };
        tokio::time::timeout(patience, empty).await.is_ok()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Every change of the queue is whole before anything can panic.
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run<P: Publisher>(&self, link: &P, fleet: &FleetId, device: &DeviceId) {
        let mut flying: VecDeque<(Key, P::Acknowledged)> = VecDeque::new();
        loop {
            while flying.len() < WINDOW {
                let Some(entry) = self.queue().take() else { break };
                let key = entry.key;
                match link.enqueue(message(fleet, device, &entry)).await {
                    Ok(acknowledged) => flying.push_back((key, acknowledged)),
                    Err(LinkError::Closed) => return,
                    Err(error) => {
                        tracing::error!(class = key.class.name(), seq = key.seq, %error, "a record cannot be sent");
                        self.settle(key, false);
                    }
                }
            }
            tokio::select! {
                (key, outcome) = first(&mut flying) => match outcome {
                    Ok(()) => self.settle(key, true),
                    // Only a closed link ends a message that it took.
                    Err(_) => return,
                },
                () = self.0.pushed.notified(), if flying.len() < WINDOW => {}
            }
        }
    }

    fn settle(&self, key: Key, acknowledged: bool) {
        self.queue().settle(key, acknowledged);
        self.0.left.notify_waiters();
    }
}

/// Waits for the first of these that is acknowledged, in any order; for ever where there is none.
async fn first<A>(flying: &mut VecDeque<(Key, A)>) -> (Key, Result<(), LinkError>)
where
    A: Future<Output = Result<(), LinkError>> + Unpin,
{
    poll_fn(|context| {
        for index in 0..flying.len() {
            let Some((key, acknowledged)) = flying.get_mut(index) else { break };
            if let Poll::Ready(outcome) = Pin::new(acknowledged).poll(context) {
                let key = *key;
                flying.remove(index);
                return Poll::Ready((key, outcome));
            }
        }
        Poll::Pending
    })
    .await
}

fn message(fleet: &FleetId, device: &DeviceId, entry: &Entry) -> Message {
    let topic = topic::telemetry(fleet, device, entry.key.class);
    Message { topic, payload: Bytes::clone(&entry.payload), retain: false }
}

/// A record that cannot be queued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutboxError {
    /// Presence is retained: it is published, not queued.
    #[error("a record without a telemetry class is published directly, the outbox does not take it")]
    NoClass,
    /// It cannot be written as JSON.
    #[error(transparent)]
    Record(#[from] TelemetryError),
}

impl Coded for OutboxError {
    fn code(&self) -> Code {
        match self {
            OutboxError::NoClass => code::agent::RECORD_UNQUEUED,
            OutboxError::Record(error) => error.code(),
        }
    }
}
