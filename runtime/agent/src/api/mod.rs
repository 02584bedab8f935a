//! The local inference API: the Open Inference Protocol v2 in JSON and with binary tensors, over HTTP on
//! loopback.
//!
//! ```text
//! GET  /v2                         server metadata and the names of the models
//! GET  /v2/health/live             {"live":true}
//! GET  /v2/health/ready            {"ready":true} as soon as a model serves, else 503
//! GET  /v2/models/NAME             inputs, outputs, version, release
//! GET  /v2/models/NAME/ready       {"ready":true} while it serves, else 503
//! POST /v2/models/NAME/infer       tensors in, tensors out
//!      /v2/models/NAME/versions/V  the same three and stats, if V is the version that serves
//! GET  /v2/models/NAME/stats       requests and their time; /v2/models/stats of every model
//! POST /v2/repository/index        every model, with its version and state
//! GET  /dunlin/v1/device           the device: connection, clock, freshness, alarms; not of the protocol
//! ```
//!
//! Every error is `{"error": "...", "code": "..."}` with a stable code. The API has no accounts: whoever
//! may run a process on the device may use it, and nobody else can; where the device has a token, who shows
//! it. Connections, headers, bodies and waiting times are bounded; requests that name a foreign host or come
//! from a web page are refused.
//! It knows the models only through [`DataPlane`], and of the device what control tells it.
//!
//! **The bound on a body** is what the model's inputs need in JSON at worst: 16 KiB, and for each
//! element of the most samples that a request may hold 32 bytes (types of 32 and 64 bits) or 16 (smaller
//! ones); never more than `api.max_body_bytes`.

mod body;
mod datatype;
mod device;
mod elements;
mod error;
mod host;
mod reply;
mod route;
mod server;
mod token;

use std::net::SocketAddr;
use std::time::Duration;

use dunlin_core::code::{self, Code, Coded};
use dunlin_mqtt::Secret;

use crate::data::DataPlane;
pub use device::{Alarm, DeviceStatus, StatusReceiver};

/// What the API may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiConfig {
    /// Where it listens: a loopback address; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Connections at a time, at least 1; more wait in the system's queue.
    pub max_connections: usize,
    /// The longest body of a request, whatever the contract asks for, in bytes.
    pub max_body_bytes: usize,
    /// What callers must show, if anything: `Authorization: Bearer TOKEN`.
    pub token: Option<Secret>,
}

/// The API cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen at {address}: {error}")]
pub struct ListenError {
    /// The address.
    pub address: SocketAddr,
    /// What the system says.
    #[source]
    pub error: std::io::Error,
}

impl Coded for ListenError {
    fn code(&self) -> Code {
        if self.error.kind() == std::io::ErrorKind::AddrInUse {
            code::link::LISTEN_ADDRESS_IN_USE
        } else {
            code::link::LISTEN_ADDRESS
        }
    }
}

/// The API, listening. It ends when this is dropped, or in order by [`Api::stop`].
#[derive(Debug)]
pub struct Api {
    server: server::Server,
}

impl Api {
    /// Binds the address and serves in tasks of the current runtime.
    ///
    /// # Errors
    /// Another process listens there, or it is no address of this host or not a loopback address.
    pub async fn start(
        config: ApiConfig,
        data: DataPlane,
        status: StatusReceiver,
    ) -> Result<Api, ListenError> {
        let ApiConfig { listen, max_connections, max_body_bytes, token } = config;
        let router = route::router(data, status, max_body_bytes, token.as_ref());
        Ok(Api { server: server::Server::start(listen, max_connections, router).await? })
    }

    /// The address, with its real port.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Takes no more connections, lets open requests end, and waits for them at most `grace`.
    pub async fn stop(self, grace: Duration) {
        self.server.stop(grace).await;
    }
}
