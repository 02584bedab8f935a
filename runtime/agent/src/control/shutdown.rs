//! The signals that end the agent in order.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::AgentError;

/// How long the last records may take to leave.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// SIGTERM and SIGINT (ctrl-c).
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on, so that a signal during the start is not missed.
    pub(super) fn new() -> Result<Signals, AgentError> {
        let listen = |kind| signal(kind).map_err(|error| AgentError::system("signal handler", &error));
        Ok(Signals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Waits for either.
    pub(super) async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
