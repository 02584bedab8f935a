//! The embedded MQTT broker of `dunlin broker`, the demo and tests: a thin wrapper over the crate mqtt5.
//!
//! For development: anonymous clients are welcome and there is no TLS, so it is meant for loopback. It
//! keeps retained messages in memory, or in a directory. Never part of an agent.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dunlin_core::code::{self, Code, Coded};
use mqtt5::broker::config::AuthConfig;
use mqtt5::broker::{BrokerConfig, BrokerShutdownHandle, MqttBroker, StorageBackendType, StorageConfig};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Above the link's own limit of 160 KiB, so that the link's error comes first.
const MAX_PACKET_BYTES: usize = 256 * 1024;
/// How long open connections may take to end when the broker stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A running broker. Dropping it stops it in the background.
pub(crate) struct Broker {
    address: SocketAddr,
    shutdown: BrokerShutdownHandle,
    task: JoinHandle<mqtt5::Result<()>>,
}

impl Broker {
    /// Starts a broker on the current tokio runtime and returns when it accepts connections. Port 0 takes a
    /// free port; see [`address`](Self::address). With a store directory, which is made if it is missing,
    /// retained messages survive a restart.
    ///
    /// # Errors
    /// The address is in use or not ours to listen on; the store directory cannot be used.
    pub(crate) async fn start(listen: SocketAddr, store: Option<PathBuf>) -> Result<Broker, BrokerError> {
        // The broker's own error does not tell an address in use from others, so we try first.
        drop(TcpListener::bind(listen).await.map_err(|source| BrokerError::listen(listen, source))?);
        let config = configuration(listen, store.as_deref());
        let mut broker = MqttBroker::with_config(config).await.map_err(BrokerError::start)?;
        let address = broker.local_addr().unwrap_or(listen);
        let shutdown = broker.shutdown_handle();
        let mut ready = broker.ready_receiver();
        let mut task = tokio::spawn(async move { broker.run().await });
        tokio::select! {
            _ = ready.wait_for(|is_ready| *is_ready) => Ok(Broker { address, shutdown, task }),
            ended = &mut task => Err(match ended {
                Ok(Ok(())) => BrokerError::Start { reason: "it ended at once".to_owned() },
                Ok(Err(error)) => BrokerError::start(error),
                Err(error) => BrokerError::Start { reason: error.to_string() },
            }),
        }
    }

    /// Where it listens, with the real port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it: ends all connections and waits for that. What the store holds is then on disk.
    pub(crate) async fn stop(mut self) {
        self.shutdown.shutdown();
        if tokio::time::timeout(STOP_TIMEOUT, &mut self.task).await.is_err() {
            tracing::warn!(address = %self.address, "the broker did not stop in time and is cut off");
            self.task.abort();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.shutdown.shutdown();
    }
}

fn configuration(listen: SocketAddr, store: Option<&Path>) -> BrokerConfig {
    let storage = match store {
        Some(directory) => {
            StorageConfig::new().with_backend(StorageBackendType::File).with_base_dir(directory.to_owned())
        }
        None => StorageConfig::new().with_backend(StorageBackendType::Memory),
    };
    BrokerConfig::new()
        .with_bind_address(listen)
        .with_max_packet_size(MAX_PACKET_BYTES)
        .with_auth(AuthConfig::new().with_allow_anonymous(true))
        .with_storage(storage)
        .with_sys_topics_enabled(false)
}

/// The embedded broker could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrokerError {
    /// Another process listens there.
    #[error("another process listens at {address} already: stop it, or choose another port")]
    AddressInUse {
        /// The address.
        address: SocketAddr,
    },
    /// The address is not ours to listen on.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// Anything else, in the broker's words.
    #[error("the embedded broker did not start: {reason}")]
    Start {
        /// Its words.
        reason: String,
    },
}

impl BrokerError {
    fn listen(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => BrokerError::AddressInUse { address },
            _ => BrokerError::Listen { address, source },
        }
    }

    fn start(error: mqtt5::MqttError) -> Self {
        BrokerError::Start { reason: error.to_string() }
    }
}

impl Coded for BrokerError {
    fn code(&self) -> Code {
        match self {
            BrokerError::AddressInUse { .. } => code::link::LISTEN_ADDRESS_IN_USE,
            BrokerError::Listen { .. } => code::link::LISTEN_ADDRESS,
            BrokerError::Start { .. } => code::link::BROKER_START,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_mqtt::{BrokerUrl, Event, Events, Link, LinkConfig, Message, Subscription, connect_once};

    const PATIENCE: Duration = Duration::from_secs(5);

    fn loopback() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    async fn link(address: SocketAddr, client_id: &str, will: Option<Message>) -> (Link, Events) {
        let mut config = LinkConfig::new(BrokerUrl::from(address), client_id);
        config.will = will;
        connect_once(config, PATIENCE).await.unwrap()
    }

    fn retained(topic: &str, payload: &[u8]) -> Message {
        Message { topic: topic.into(), payload: payload.to_vec().into(), retain: true }
    }

    async fn next_message(events: &mut Events) -> Message {
        loop {
            match tokio::time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap() {
                Event::Received(message) => return message,
                Event::Connected | Event::ClockBehind { .. } | Event::Disconnected { .. } => {}
            }
        }
    }

    #[tokio::test]
    async fn retained_messages_of_the_greatest_size_are_kept_and_deleted() {
        let broker = Broker::start(loopback(), None).await.unwrap();
        assert_ne!(broker.address().port(), 0);
        let (link, mut events) = link(broker.address(), "a", None).await;
        let chunk = retained("artifact/0", &[7; 120 * 1024]);
        link.publish(chunk.clone()).await.unwrap();
        link.subscribe(&[Subscription::new("artifact/0", 120 * 1024)]).await.unwrap();
        assert_eq!(next_message(&mut events).await, chunk);
        link.publish(retained("artifact/0", b"")).await.unwrap();
        assert!(next_message(&mut events).await.payload.is_empty());
        link.close().await;
        broker.stop().await;
    }

    #[tokio::test]
    async fn a_will_is_published_when_a_link_is_cut_and_not_when_it_is_closed() {
        let broker = Broker::start(loopback(), None).await.unwrap();
        let (watch, mut events) = link(broker.address(), "watch", None).await;
        watch.subscribe(&[Subscription::new("presence/+", 100)]).await.unwrap();
        let (closed, _) = link(broker.address(), "a", Some(retained("presence/a", b"offline"))).await;
        closed.close().await;
        let (cut, _) = link(broker.address(), "b", Some(retained("presence/b", b"offline"))).await;
        drop(cut);
        assert_eq!(next_message(&mut events).await.topic, "presence/b");
        broker.stop().await;
    }

    #[tokio::test]
    async fn an_address_in_use_is_named() {
        let taken = std::net::TcpListener::bind(loopback()).unwrap();
        let error = Broker::start(taken.local_addr().unwrap(), None).await.map(|_| ()).unwrap_err();
        assert_eq!(error.code().id, "listen-address-in-use");
        // 192.0.2.1 is for documentation (RFC 5737) and no address of this host.
        let error = Broker::start(SocketAddr::from(([192, 0, 2, 1], 0)), None).await.map(|_| ()).unwrap_err();
        assert_eq!(error.code().id, "listen-address");
    }

    #[tokio::test]
    async fn with_a_store_retained_messages_survive_a_restart() {
        let store = tempfile::tempdir().unwrap();
        let broker = Broker::start(loopback(), Some(store.path().join("broker"))).await.unwrap();
        let (link_before, _) = link(broker.address(), "a", None).await;
        link_before.publish(retained("root/1", b"kept")).await.unwrap();
        link_before.close().await;
        broker.stop().await;
        let broker = Broker::start(loopback(), Some(store.path().join("broker"))).await.unwrap();
        let (link_after, mut events) = link(broker.address(), "a", None).await;
        link_after.subscribe(&[Subscription::new("root/1", 100)]).await.unwrap();
        assert_eq!(next_message(&mut events).await, retained("root/1", b"kept"));
        broker.stop().await;
    }

    #[tokio::test]
    async fn a_stopped_broker_frees_its_address_and_a_link_finds_the_next_one() {
        let broker = Broker::start(loopback(), None).await.unwrap();
        let address = broker.address();
        let mut config = LinkConfig::new(BrokerUrl::from(address), "a");
        config.backoff.base = Duration::from_millis(20);
        config.backoff.cap = Duration::from_millis(100);
        let (link, _events) = connect_once(config, PATIENCE).await.unwrap();
        broker.stop().await;
        let pending = link.try_publish(retained("t", b"x")).unwrap();
        let broker = Broker::start(address, None).await.unwrap();
        tokio::time::timeout(PATIENCE, pending).await.unwrap().unwrap();
        broker.stop().await;
    }
}
