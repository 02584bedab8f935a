//! No password is shown, whatever happens. Alone in its process, because it takes over all logging.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod scripted;

use std::io::Write;
use std::sync::{Arc, Mutex};

use dunlin_mqtt::{BrokerUrl, LinkConfig, Secret, connect, connect_once};
use scripted::{Broker, PATIENCE, connack};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_password_is_shown_anywhere() {
    let log = Log::default();
    let mut shown = String::new();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    subscriber.init();
    let broker = Broker::start().await;
    let mut config = LinkConfig::new(BrokerUrl::from(broker.address()), "device-1");
    config.credentials = Some(("ann".into(), Secret::new("hunter2")));
    shown += &format!("{config:?}");
    let (link, mut events) = connect(config.clone()).unwrap();
    let (mut peer, _) = broker.accept_hello().await;
    peer.send(&connack(4)).await;
    shown += &format!("{link:?} {:?} {events:?}", events.recv().await);
    drop(link);
    let (result, ()) = tokio::join!(connect_once(config, PATIENCE), async {
        let (mut peer, _) = broker.accept_hello().await;
        peer.send(&connack(5)).await;
    });
    shown += &format!("{:?}", result.map(|_| ()));
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("not connected"), "the capture works: {logged}");
    assert!(!logged.contains("hunter2") && !shown.contains("hunter2"), "{logged} {shown}");
}
