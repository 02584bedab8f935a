//! What the agent is subscribed to beside chunks: the next root, its deployments, release documents
//! and its own presence.
//!
//! A request is put in force at once, in order, and its answer is awaited in a task, because without
//! a broker there is none. The link subscribes again at every reconnect; what the broker refused is
//! asked for again then.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use dunlin_core::Digest;
use dunlin_core::code::Coded as _;
use dunlin_core::document::Audience;
use dunlin_core::envelope::MAX_ENVELOPE_BYTES;
use dunlin_core::id::{DeviceId, FleetId};
use dunlin_core::topic;
use dunlin_mqtt::{Link, LinkError, Subscription};

/// The longest presence record, in bytes.
const MAX_PRESENCE_BYTES: usize = 4096;

/// What a watched topic is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Watched {
    /// The next root.
    Root,
    /// The deployments of an audience.
    Deployment(Audience),
    /// A release's document.
    Release(Digest),
    /// The device's own presence.
    Presence,
}

impl Watched {
    fn max_payload_bytes(&self) -> usize {
        match self {
            Watched::Root | Watched::Deployment(_) | Watched::Release(_) => MAX_ENVELOPE_BYTES,
            Watched::Presence => MAX_PRESENCE_BYTES,
        }
    }
}

/// The watched topics.
#[derive(Debug)]
pub(super) struct Watch {
    link: Link,
    fleet: FleetId,
    topics: BTreeMap<String, Watched>,
    refused: Arc<Mutex<Vec<String>>>,
}

impl Watch {
    pub(super) fn new(link: Link, fleet: FleetId) -> Watch {
        Watch { link, fleet, topics: BTreeMap::new(), refused: Arc::default() }
    }

    /// What a topic is watched for.
    pub(super) fn get(&self, topic: &str) -> Option<&Watched> {
        self.topics.get(topic)
    }

    /// Watches this version of the root and no other.
    pub(super) async fn root(&mut self, version: u64) {
        self.only(
            |watched| *watched == Watched::Root,
            vec![(topic::root(&self.fleet, version), Watched::Root)],
        )
        .await;
    }

    /// Watches the deployments of these audiences and of no others.
    pub(super) async fn deployments(&mut self, audiences: Vec<Audience>) {
        let wanted = audiences
            .into_iter()
            .map(|audience| (topic::deployment(&self.fleet, &audience), Watched::Deployment(audience)));
        let wanted = wanted.collect();
        self.only(|watched| matches!(watched, Watched::Deployment(_)), wanted).await;
    }

    /// Watches a release's document.
    pub(super) async fn release(&mut self, digest: Digest) {
        let topic = topic::release(&self.fleet, &digest);
        self.subscribe(vec![(topic, Watched::Release(digest))]).await;
    }

    /// Ends that.
    pub(super) async fn end_release(&mut self, digest: Digest) {
        let topic = topic::release(&self.fleet, &digest);
        if self.topics.remove(&topic).is_some() {
            self.unsubscribe(vec![topic]).await;
        }
    }

    /// Watches the device's own presence.
    pub(super) async fn presence(&mut self, device: &DeviceId) {
        let topic = topic::presence(&self.fleet, device);
        self.subscribe(vec![(topic, Watched::Presence)]).await;
    }

    /// Asks again for what the broker refused; call it at each connection.
    pub(super) async fn retry_refused(&mut self) {
        let refused = std::mem::take(&mut *self.refused.lock().unwrap_or_else(PoisonError::into_inner));
        let again = refused.into_iter().filter_map(|topic| {
            let watched = self.topics.get(&topic)?.clone();
            Some((topic, watched))
        });
        let again = again.collect();
        self.subscribe(again).await;
    }

    async fn only(&mut self, kind: impl Fn(&Watched) -> bool, wanted: Vec<(String, Watched)>) {
        let stale: Vec<String> = self
            .topics
            .iter()
            .filter(|(topic, watched)| kind(watched) && wanted.iter().all(|(name, _)| name != *topic))
            .map(|(topic, _)| topic.clone())
            .collect();
        for topic in &stale {
            self.topics.remove(topic);
        }
        if !stale.is_empty() {
            self.unsubscribe(stale).await;
        }
        self.subscribe(wanted).await;
    }

    async fn subscribe(&mut self, wanted: Vec<(String, Watched)>) {
        // One filter a request, so that a refusal names the one that was refused.
        for (topic, watched) in wanted {
            let subscription = Subscription::new(topic.clone(), watched.max_payload_bytes());
            self.topics.insert(topic.clone(), watched);
            let (link, refused) = (self.link.clone(), Arc::clone(&self.refused));
            launch(async move {
                match link.subscribe(&[subscription]).await {
                    Ok(()) => tracing::debug!(%topic, "subscribed"),
                    Err(LinkError::Closed) => {}
                    Err(error) => {
                        tracing::error!(code = %error.code(), "{error}");
                        refused.lock().unwrap_or_else(PoisonError::into_inner).push(topic);
                    }
                }
            })
            .await;
        }
    }

    async fn unsubscribe(&self, topics: Vec<String>) {
        let link = self.link.clone();
        launch(async move {
            // The link refuses nothing here but a closed link, and then there is nothing to end.
            let _ = link.unsubscribe(&topics).await;
        })
        .await;
    }
}

/// Polls a request once, which puts it in force, and leaves the wait for its answer to a task.
async fn launch(request: impl Future<Output = ()> + Send + 'static) {
    let mut request = Box::pin(request);
    if poll_fn(|context| Poll::Ready(request.as_mut().poll(context).is_pending())).await {
        tokio::spawn(request);
    }
}
