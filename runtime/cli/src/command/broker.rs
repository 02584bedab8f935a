//! `dunlin broker`: an embedded broker for development.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::block_on;
use crate::broker::Broker;
use crate::failure::{Failure, Outcome};

/// Run a small MQTT broker for development; for a fleet, use mosquitto or a clustered broker
#[derive(Args)]
#[command(after_help = "Example:\n  dunlin broker --listen 127.0.0.1:1883\n  \
                        (anyone who can connect may read and write: keep it on loopback)")]
pub(crate) struct Arguments {
    /// The address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:1883")]
    listen: SocketAddr,
    /// Keep retained messages in this folder; without it they are gone when the broker ends
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    block_on(async {
        // A service manager asks by SIGTERM, a person by ctrl-c; either way the store is closed in order.
        // Both are listened for before anybody is told that the broker is up.
        let deaf = |error| {
            Failure::new(dunlin_core::code::fleet::FILE, format!("cannot wait for a signal: {error}"))
        };
        let mut terminate = signal(SignalKind::terminate()).map_err(deaf)?;
        let broker = Broker::start(arguments.listen, arguments.store.clone()).await?;
        println!("listening on mqtt://{}", broker.address());
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted.map_err(deaf)?,
            _ = terminate.recv() => {}
        }
        broker.stop().await;
        Ok(())
    })
}
