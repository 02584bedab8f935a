//! An MQTT 3.1.1 link that neither loses, loops nor leaks.
//!
//! What it promises:
//! - **Nothing given to [`Link::publish`] is lost with a connection.** A message stays in our own ledger
//!   until its PUBACK came; after every reconnect what is unacknowledged is offered again, in order. It
//!   may so arrive twice (QoS 1): whoever receives must be idempotent. The ledger is memory: what must
//!   survive a crash is kept by the caller until `publish` returns.
//! - **A connection is never used again.** On any error, panic or silence the client with all its state is
//!   dropped and a new one built after a back-off with full jitter.
//! - **Nothing comes in that was not asked for.** A message on no topic of ours, or larger than its
//!   subscription allows, is dropped before it is queued, and counted.
//! - **`mqtts://` is TLS with authorities that somebody chose**, and nothing turns its checks off.
//! - **No secret is shown.** No `Debug`, error or log line holds a password or a key.
//!
//! ```no_run
//! # async fn example() -> Result<(), dunlin_mqtt::LinkError> {
//! use dunlin_mqtt::{Event, LinkConfig, Message, Subscription, connect};
//!
//! let broker = "mqtt://localhost:1883".parse().expect("a broker's URL");
//! let (link, mut events) = connect(LinkConfig::new(broker, "device-1"))?;
//! link.subscribe(&[Subscription::new("chunk/1", 32 * 1024)]).await?;
//! while let Some(event) = events.recv().await {
//!     if let Event::Received(chunk) = event {
//!         let payload = format!("{} bytes", chunk.payload.len()).into();
//!         link.publish(Message { topic: "up/events".into(), payload, retain: false }).await?;
//!         break;
//!     }
//! }
//! link.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! The MQTT client library is named in the module `connection` alone, and in no public signature.
//! Sessions are clean: the broker keeps nothing for us, and a message that is not retained is missed
//! while the link is down.
#![forbid(unsafe_code)]

mod backoff;
mod config;
mod connection;
mod interest;
mod ledger;
mod link;
mod shared;
mod supervisor;
mod tls;
mod topic;
mod url;

pub use backoff::Backoff;
pub use config::{ConfigError, LinkConfig, Login, Message, Renewal, Secret};
pub use link::{
    Counters, Event, Events, Link, LinkError, PUBLISH_WINDOW, PendingPublish, Subscription, connect,
    connect_once,
};
pub use tls::{ClientCertificate, TimeFloor, Tls, TlsError};
pub use topic::TopicError;
pub use url::{BrokerUrl, UrlError, without_passwords};
