//! A session with a broker: one connection writes, a second one reads back what the broker kept.
//!
//! An acknowledgement says that the broker took a message, not that it kept it: mosquitto acknowledges what its
//! access rules drop, and other brokers what is above a limit. So everything that is published here is read back
//! before it counts, a window of `WINDOW` messages at a time. Reading back costs the download of what was sent,
//! and holds one window in memory. A message that refers to others (a release, a deployment) begins a window of
//! its own, so that it is sent only when what it refers to is known to be there.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use dunlin_mqtt::{Event, Events, Link, LinkError, Message, Subscription};

use crate::publish::PublishError;
use crate::remedy;

/// Messages that are sent, and topics that are read, at a time: AWS IoT Core allows 50 subscriptions a connection.
pub(crate) const WINDOW: usize = 40;

/// How long a retained message may take after its subscription was acknowledged, or after the one before it.
pub(crate) const RETAINED_WAIT: Duration = Duration::from_millis(700);

/// The same for a message that was just published, and so must be there.
const READ_BACK_WAIT: Duration = Duration::from_secs(4);

/// How long the broker may take to acknowledge anything.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// The longest payload of a retained message: envelopes are shorter than the longest chunk.
pub(crate) const MAX_PAYLOAD_BYTES: usize = dunlin_core::chunk::MAX_CHUNK_BYTES;

/// Two connections to one broker.
#[derive(Debug)]
pub struct Session {
    writer: Link,
    /// Nothing is subscribed there; the queue is held because the link ends with it.
    _writer_events: Events,
    reader: Link,
    events: Events,
}

/// What was found in the place of a message that the broker did not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// No message.
    Nothing,
    /// Another message.
    Other,
}

/// Messages that the broker acknowledged and does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the broker does not hold {missing} of {of} messages that it acknowledged; on {topic} it holds {}: {reason}",
    match found { Found::Nothing => "nothing", Found::Other => "another message" }
)]
pub struct NotKept {
    /// How many.
    pub missing: usize,
    /// Of how many that were sent together.
    pub of: usize,
    /// The topic of the first.
    pub topic: String,
    /// What is there instead.
    pub found: Found,
    /// The likely reason, and what to change.
    pub reason: &'static str,
}

impl Session {
    /// A session of two connections to the same broker, each under a client id of its own.
    pub fn new(writer: (Link, Events), reader: (Link, Events)) -> Session {
        Session { writer: writer.0, _writer_events: writer.1, reader: reader.0, events: reader.1 }
    }

    /// The connection that reads, for other subscriptions.
    pub(crate) fn reader(&mut self) -> (&Link, &mut Events) {
        (&self.reader, &mut self.events)
    }

    /// The retained messages of these topics, as far as the broker has them. Their payloads are held together.
    ///
    /// # Errors
    /// The broker does not answer, or refuses a subscription.
    pub async fn retained(&mut self, topics: &[String]) -> Result<BTreeMap<String, Bytes>, LinkError> {
        let mut found = BTreeMap::new();
        for window in topics.chunks(WINDOW) {
            found.extend(self.read(window, RETAINED_WAIT).await?);
        }
        Ok(found)
    }

    /// Publishes messages in their order and reads each back; an empty payload deletes, and nothing must be there
    /// afterwards. The callback gets the payload bytes of each message that is known to be kept.
    ///
    /// # Errors
    /// The first window that the broker did not take or keep; what follows it was not sent.
    pub async fn publish(
        &mut self,
        messages: &[Message],
        mut kept: impl FnMut(u64),
    ) -> Result<(), PublishError> {
        let mut rest = messages;
        while !rest.is_empty() {
            let (window, later) = rest.split_at(window_length(rest));
            self.send(window).await?;
            self.read_back(window).await?;
            window.iter().for_each(|message| kept(message.payload.len() as u64));
            rest = later;
        }
        Ok(())
    }

    /// Sends messages and waits until the broker has acknowledged all; nothing is read back.
    ///
    /// # Errors
    /// The first message that is not acknowledged in time.
    pub(crate) async fn send(&self, messages: &[Message]) -> Result<(), PublishError> {
        for window in messages.chunks(WINDOW) {
            let mut waiting = Vec::new();
            for message in window {
                waiting.push((self.writer.enqueue(message.clone()).await?, &message.topic));
            }
            for (pending, topic) in waiting {
                match tokio::time::timeout(ANSWER_WAIT, pending).await {
                    Ok(acknowledged) => acknowledged?,
                    Err(_) => return Err(PublishError::Unacknowledged { topic: topic.clone() }),
                }
            }
        }
        Ok(())
    }

    async fn read_back(&mut self, window: &[Message]) -> Result<(), PublishError> {
        let topics: Vec<String> = window.iter().map(|message| message.topic.clone()).collect();
        let deletes_only = window.iter().all(|message| message.payload.is_empty());
        let wait = if deletes_only { RETAINED_WAIT } else { READ_BACK_WAIT };
        let found = self.read(&topics, wait).await?;
        let Some(lost) = not_kept(window, &found) else { return Ok(()) };
        if found.is_empty() {
            return Err(lost.into());
        }
        // A cluster may take a moment, and a broker under load drops what it sends.
        let found = self.read(&topics, wait).await?;
        not_kept(window, &found).map_or(Ok(()), |lost| Err(lost.into()))
    }

    async fn read(
        &mut self,
        topics: &[String],
        wait: Duration,
    ) -> Result<BTreeMap<String, Bytes>, LinkError> {
        retained(&self.reader, &mut self.events, topics, wait).await
    }

    /// Every retained message below these filters, by topic, with the size of its payload.
    pub(crate) async fn list(&mut self, filters: &[String]) -> Result<BTreeMap<String, u64>, LinkError> {
        let mut found = BTreeMap::new();
        self.each_retained(filters, |message| {
            found.insert(message.topic, message.payload.len() as u64);
        })
        .await?;
        Ok(found)
    }

    /// Hands over every retained message below these filters.
    pub(crate) async fn each_retained(
        &mut self,
        filters: &[String],
        mut take: impl FnMut(Message),
    ) -> Result<(), LinkError> {
        let subscriptions: Vec<Subscription> =
            filters.iter().map(|filter| Subscription::new(filter.clone(), MAX_PAYLOAD_BYTES)).collect();
        answered(self.reader.subscribe(&subscriptions)).await?;
        while let Ok(event) = tokio::time::timeout(RETAINED_WAIT, self.events.recv()).await {
            match event {
                Some(Event::Received(message)) if message.retain => take(message),
                Some(_) => {}
                None => return Err(LinkError::Closed),
            }
        }
        answered(self.reader.unsubscribe(filters)).await
    }

    /// Says goodbye on both connections.
    pub async fn close(self) {
        self.writer.close().await;
        self.reader.close().await;
    }
}

/// The retained messages of at most [`WINDOW`] topics; ends when all have come, or none has for `wait`.
pub(crate) async fn retained(
    link: &Link,
    events: &mut Events,
    topics: &[String],
    wait: Duration,
) -> Result<BTreeMap<String, Bytes>, LinkError> {
    let subscriptions: Vec<Subscription> =
        topics.iter().map(|topic| Subscription::new(topic.clone(), MAX_PAYLOAD_BYTES)).collect();
    answered(link.subscribe(&subscriptions)).await?;
    let mut found = BTreeMap::new();
    while found.len() < topics.len() {
        match tokio::time::timeout(wait, events.recv()).await {
            Ok(Some(Event::Received(message))) if topics.contains(&message.topic) => {
                // A deletion is announced by an empty message, and is no message itself.
                if message.payload.is_empty() {
                    found.remove(&message.topic);
                } else {
                    found.insert(message.topic, message.payload);
                }
            }
            Ok(Some(_)) => {}
            Ok(None) => return Err(LinkError::Closed),
            Err(_) => break,
        }
    }
    answered(link.unsubscribe(topics)).await?;
    Ok(found)
}

/// Bounds the wait for an answer: a broker that closes the connection over each subscription never gives one.
async fn answered(answer: impl Future<Output = Result<(), LinkError>>) -> Result<(), LinkError> {
    tokio::time::timeout(ANSWER_WAIT, answer).await.unwrap_or_else(|_| {
        let reason = format!("it did not answer a subscription within {} s", ANSWER_WAIT.as_secs());
        Err(LinkError::Unreachable { broker: String::from("the address given"), reason })
    })
}

/// How many messages go together: no more than a window, and none that refers to another one among them.
fn window_length(messages: &[Message]) -> usize {
    let refers =
        |message: &Message| message.topic.contains("/release/") || message.topic.contains("/deploy/");
    let together = messages.iter().skip(1).take(WINDOW - 1).take_while(|message| !refers(message)).count();
    // What refers to others goes alone, so that its own successors are not sent before it is known to be there.
    match messages.first() {
        Some(first) if refers(first) => 1,
        Some(_) => 1 + together,
        None => 0,
    }
}

/// What is not there as it was sent.
fn not_kept(window: &[Message], found: &BTreeMap<String, Bytes>) -> Option<NotKept> {
    let is_kept = |message: &&Message| match found.get(&message.topic) {
        Some(payload) => *payload == message.payload,
        None => message.payload.is_empty(),
    };
    let (kept, lost): (Vec<&Message>, Vec<&Message>) = window.iter().partition(is_kept);
    let first = lost.first()?;
    let what = if found.contains_key(&first.topic) { Found::Other } else { Found::Nothing };
    let longest_kept = kept.iter().map(|message| message.payload.len()).max();
    let shortest_lost = lost.iter().map(|message| message.payload.len()).min();
    let reason = match what {
        Found::Other => remedy::REPLACE,
        Found::Nothing if longest_kept.is_some() && longest_kept < shortest_lost => remedy::SIZE,
        Found::Nothing => remedy::WRITE_READ_RETAIN,
    };
    Some(NotKept { missing: lost.len(), of: window.len(), topic: first.topic.clone(), found: what, reason })
}

#[cfg(test)]
mod tests;
