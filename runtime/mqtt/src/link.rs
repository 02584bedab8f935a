//! The link as its users see it: publish, subscribe, receive, close.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use dunlin_core::code::{self, Code, Coded};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, TryAcquireError, mpsc, oneshot};

use crate::config::{ConfigError, LinkConfig, Message};
use crate::connection::Failure;
use crate::shared::{Closed, FirstOutcome, Shared, queued_size_bytes};
use crate::supervisor::{self, Goodbye};
use crate::topic::{TopicError, check_filter, check_topic};

/// How many messages of one link may wait for their PUBACK at once. With packets of 160 KiB they hold
/// 10 MiB. Above it [`Link::publish`] and [`Link::enqueue`] wait, and [`Link::try_publish`] refuses.
pub const PUBLISH_WINDOW: usize = 64;

/// A filter to subscribe to, with the largest payload to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// A topic, or a pattern with `+` and `#`.
    pub filter: String,
    /// Messages with a larger payload, in bytes, are dropped and counted.
    pub max_payload_bytes: usize,
}

impl Subscription {
    /// A subscription.
    pub fn new(filter: impl Into<String>, max_payload_bytes: usize) -> Self {
        Subscription { filter: filter.into(), max_payload_bytes }
    }
}

/// What the link tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The broker accepted a connection. Subscriptions are being renewed; what was published while the
    /// link was down and is not retained was missed.
    Connected,
    /// The broker that accepted the connection has a certificate that is not valid yet by our clock: the
    /// clock is behind. Follows [`Event::Connected`].
    ClockBehind {
        /// From when the certificate is valid, in seconds since 1970.
        certificate_from_unix_s: u64,
    },
    /// The connection ended, or an attempt to connect failed.
    Disconnected {
        /// Why, in words.
        reason: String,
        /// When the next attempt is made.
        retry_in: Duration,
    },
    /// A message on a live subscription. The same message may come twice.
    Received(Message),
}

/// What the link has counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections that the broker accepted.
    pub connections: u64,
    /// Messages that the broker acknowledged.
    pub published: u64,
    /// Messages that came in and were queued.
    pub received: u64,
    /// Messages dropped because no live subscription matches their topic.
    pub dropped_foreign: u64,
    /// Messages dropped because they are larger than their subscription takes.
    pub dropped_oversize: u64,
    /// Messages dropped because the event queue was full.
    pub dropped_overflow: u64,
}

impl Counters {
    /// Connections after the first one.
    pub fn reconnects(&self) -> u64 {
        self.connections.saturating_sub(1)
    }
}

/// Starts a link: checks the configuration and spawns its tasks on the current tokio runtime. It connects
/// in the background and goes on connecting until it is closed.
///
/// When the last [`Link`] is dropped without [`Link::close`], the connection is cut, so that the broker
/// publishes the will.
///
/// # Errors
/// The configuration is invalid, or there is no tokio runtime.
pub fn connect(config: LinkConfig) -> Result<(Link, Events), LinkError> {
    start(config, None)
}

/// Starts a link and waits until the broker accepts it: for commands that shall fail at once. There is no
/// jitter, and the first failure is the result. The first event is [`Event::Connected`].
///
/// # Errors
/// As [`connect`]; [`LinkError::Refused`] if the broker refuses; [`LinkError::Untrusted`] if TLS with it
/// fails; [`LinkError::Unreachable`] if it cannot be reached, or does not answer within `patience`.
pub async fn connect_once(mut config: LinkConfig, patience: Duration) -> Result<(Link, Events), LinkError> {
    config.first_connect_jitter = Duration::ZERO;
    config.connect_timeout = config.connect_timeout.min(patience.max(Duration::from_millis(1)));
    let broker = config.broker.to_string();
    let (first, outcome) = oneshot::channel();
    let (link, events) = start(config, Some(first))?;
    match outcome.await {
        Ok(Ok(())) => Ok((link, events)),
        Ok(Err(Failure::Refused(reason))) => Err(LinkError::Refused { broker, reason }),
        Ok(Err(Failure::Untrusted(reason))) => Err(LinkError::Untrusted { broker, reason }),
        Ok(Err(Failure::Lost(reason))) => Err(LinkError::Unreachable { broker, reason }),
        Err(_) => Err(LinkError::Closed),
    }
}

fn start(config: LinkConfig, first: Option<FirstOutcome>) -> Result<(Link, Events), LinkError> {
    config.validate()?;
    let runtime = Handle::try_current().map_err(|_| LinkError::NoRuntime)?;
    let (events, receiver) = mpsc::unbounded_channel();
    let (goodbyes, goodbye_receiver) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared::new(config.max_queued_bytes, events, first));
    let link = Link { shared: Arc::clone(&shared), goodbyes, max_packet_bytes: config.max_packet_bytes };
    let queue = Events { receiver, queued_bytes: shared.queued_bytes() };
    runtime.spawn(supervisor::run(shared, config, goodbye_receiver));
    Ok((link, queue))
}

/// A handle of the link; clones are handles of the same one.
#[derive(Clone)]
pub struct Link {
    shared: Arc<Shared>,
    goodbyes: mpsc::UnboundedSender<Goodbye>,
    max_packet_bytes: usize,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("counters", &self.counters()).finish_non_exhaustive()
    }
}

impl Link {
    /// Publishes a message and waits for its PUBACK, over as many reconnects as it takes. Once the message
    /// is queued, dropping the future does not recall it.
    ///
    /// A PUBACK says that the broker has the message, not that anybody read it.
    ///
    /// # Errors
    /// [`LinkError::Topic`] and [`LinkError::TooLarge`] before anything is queued; [`LinkError::Closed`].
    pub async fn publish(&self, message: Message) -> Result<(), LinkError> {
        self.enqueue(message).await?.await
    }

    /// Queues a message and gives the future of its PUBACK, for pipelining. Waits while
    /// [`PUBLISH_WINDOW`] messages wait for theirs.
    ///
    /// # Errors
    /// As [`publish`](Self::publish).
    pub async fn enqueue(&self, message: Message) -> Result<PendingPublish, LinkError> {
        self.check(&message)?;
        let window = Arc::clone(&self.shared.window);
        let permit = window.acquire_owned().await.map_err(|_| LinkError::Closed)?;
        self.queue(message, permit)
    }

    /// As [`enqueue`](Self::enqueue), without waiting.
    ///
    /// # Errors
    /// As [`publish`](Self::publish); [`LinkError::WindowFull`] while [`PUBLISH_WINDOW`] messages wait.
    pub fn try_publish(&self, message: Message) -> Result<PendingPublish, LinkError> {
        self.check(&message)?;
        let window = Arc::clone(&self.shared.window);
        let permit = window.try_acquire_owned().map_err(|error| match error {
            TryAcquireError::Closed => LinkError::Closed,
            TryAcquireError::NoPermits => LinkError::WindowFull,
        })?;
        self.queue(message, permit)
    }

    fn check(&self, message: &Message) -> Result<(), LinkError> {
        check_topic(&message.topic)?;
        let packet_bytes = message.packet_bytes();
        if packet_bytes > self.max_packet_bytes {
            let topic = message.topic.clone();
            return Err(LinkError::TooLarge { topic, packet_bytes, max_packet_bytes: self.max_packet_bytes });
        }
        Ok(())
    }

    fn queue(&self, message: Message, permit: OwnedSemaphorePermit) -> Result<PendingPublish, LinkError> {
        Ok(PendingPublish(self.shared.publish(message, permit)?))
    }

    /// Subscribes and waits for the SUBACKs. From the call on, messages on these topics are taken; the
    /// link remembers them and subscribes again at every reconnect. Subscribing again to a filter replaces
    /// its bound, and the broker sends its retained messages again. At most eight filters go in a packet.
    ///
    /// A subscription that the broker grants here and refuses after a reconnect is a failed connection.
    ///
    /// # Errors
    /// [`LinkError::Topic`] before anything is sent; [`LinkError::SubscriptionRefused`] names the first
    /// filter that the broker refused: refused filters are forgotten, the others stay.
    pub async fn subscribe(&self, subscriptions: &[Subscription]) -> Result<(), LinkError> {
        for subscription in subscriptions {
            check_filter(&subscription.filter)?;
        }
        settle(self.shared.subscribe(subscriptions)?).await
    }

    /// Unsubscribes and waits for the UNSUBACKs. From the call on nothing on these filters is taken.
    ///
    /// # Errors
    /// [`LinkError::Topic`] before anything is sent; [`LinkError::Closed`].
    pub async fn unsubscribe(&self, filters: &[String]) -> Result<(), LinkError> {
        for filter in filters {
            check_filter(filter)?;
        }
        settle(self.shared.unsubscribe(filters)?).await
    }

    /// What the link has counted.
    pub fn counters(&self) -> Counters {
        self.shared.counters()
    }

    /// Says goodbye, so that the broker does not publish the will, and ends the link for all its handles.
    /// Messages without PUBACK are given up and their futures end with [`LinkError::Closed`]: await them
    /// first. Takes at most about two seconds.
    pub async fn close(self) {
        let (done, over) = oneshot::channel();
        if self.goodbyes.send(done).is_ok() {
            // An error says that the tasks ended on another handle's goodbye.
            let _ = over.await;
        }
    }
}

/// Waits for all answers, and gives the first refusal.
async fn settle(waiters: Vec<oneshot::Receiver<Result<(), String>>>) -> Result<(), LinkError> {
    let mut result = Ok(());
    for waiter in waiters {
        let answer = waiter.await.map_err(|_| LinkError::Closed)?;
        result = result.and(answer.map_err(|filter| LinkError::SubscriptionRefused { filter }));
    }
    result
}

/// The future of a message's PUBACK. Dropping it does not recall the message.
#[derive(Debug)]
#[must_use = "a future does nothing unless awaited; the message itself is on its way"]
pub struct PendingPublish(oneshot::Receiver<()>);

impl Future for PendingPublish {
    type Output = Result<(), LinkError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map_err(|_| LinkError::Closed)
    }
}

/// The queue of events. It has no bound in number, because the task that fills it must never wait; what
/// keeps it small is that only messages on live subscriptions enter it, none larger than its subscription
/// takes, and all together no more than [`LinkConfig::max_queued_bytes`].
#[derive(Debug)]
pub struct Events {
    receiver: mpsc::UnboundedReceiver<Event>,
    queued_bytes: Arc<AtomicUsize>,
}

impl Events {
    /// The next event; `None` when the link was closed and everything was taken. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Event> {
        let event = self.receiver.recv().await;
        if let Some(Event::Received(message)) = &event {
            self.queued_bytes.fetch_sub(queued_size_bytes(message), Ordering::Relaxed);
        }
        event
    }
}

impl From<Closed> for LinkError {
    fn from(_: Closed) -> Self {
        LinkError::Closed
    }
}

/// What can fail on a link.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The configuration is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// `connect` was called outside of a tokio runtime.
    #[error("a link needs a tokio runtime: call `connect` inside of one")]
    NoRuntime,
    /// A topic or filter is invalid.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The message does not fit a packet; nothing was queued.
    #[error(
        "the message on `{topic}` makes a packet of {packet_bytes} bytes, the link sends at most {max_packet_bytes}"
    )]
    TooLarge {
        /// Its topic.
        topic: String,
        /// The packet's size in bytes.
        packet_bytes: usize,
        /// The limit in bytes.
        max_packet_bytes: usize,
    },
    /// [`PUBLISH_WINDOW`] messages wait for their PUBACK; nothing was queued.
    #[error(
        "{PUBLISH_WINDOW} messages wait for their acknowledgement, and no more may: await one of them first"
    )]
    WindowFull,
    /// The broker refused a subscription.
    #[error("the broker refused the subscription `{filter}`")]
    SubscriptionRefused {
        /// The filter.
        filter: String,
    },
    /// The link was closed.
    #[error("the link to the broker was closed")]
    Closed,
    /// No answer from the broker.
    #[error("no MQTT broker could be reached at {broker}: {reason}")]
    Unreachable {
        /// Its address, without a password.
        broker: String,
        /// What was seen.
        reason: String,
    },
    /// TLS with the broker failed; nothing was sent to it.
    #[error("no connection to the broker at {broker}: {reason}")]
    Untrusted {
        /// Its address, without a password.
        broker: String,
        /// What is wrong.
        reason: String,
    },
    /// The broker refused the connection.
    #[error("the broker at {broker} refused the connection: {reason}")]
    Refused {
        /// Its address, without a password.
        broker: String,
        /// The reason that it gave.
        reason: String,
    },
}

impl Coded for LinkError {
    fn code(&self) -> Code {
        match self {
            LinkError::Config(error) => error.code(),
            LinkError::NoRuntime => code::link::LINK_CONFIG,
            LinkError::Topic(error) => error.code(),
            LinkError::TooLarge { .. } => code::link::MESSAGE_TOO_LARGE,
            LinkError::WindowFull => code::link::PUBLISH_WINDOW_FULL,
            LinkError::SubscriptionRefused { .. } => code::link::SUBSCRIPTION_REFUSED,
            LinkError::Closed => code::link::LINK_CLOSED,
            LinkError::Unreachable { .. } => code::link::BROKER_UNREACHABLE,
            LinkError::Untrusted { .. } => code::link::BROKER_UNTRUSTED,
            LinkError::Refused { .. } => code::link::BROKER_REFUSED,
        }
    }
}
