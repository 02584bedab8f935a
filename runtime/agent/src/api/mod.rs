//! The local inference API: the Open Inference Protocol v2 in JSON and with binary tensors, over HTTP on
//! loopback or a Unix socket.
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
//! GET  /openapi.json               all of this, as OpenAPI describes it
//! ```
//!
//! Every error is `{"error": "...", "code": "..."}` with a stable code. The API has no accounts: whoever
//! may run a process on the device may use it, and nobody else can; where the device has a token, who shows
//! it. Connections, headers, bodies and waiting times are bounded; requests that name a foreign host or come
//! from a web page are refused.
//! It knows the models only through [`DataPlane`], and of the device what control tells it.
//!
//! **The bound on a body** is what the most samples that a request may hold need at worst. In JSON: 16 KiB,
//! and for each element 32 bytes (types of 32 and 64 bits) or 16 (smaller ones). With binary tensors: 64 KiB,
//! and the bytes of the elements. Never more than `api.max_body_bytes`.

mod body;
mod datatype;
mod device;
mod elements;
mod error;
mod host;
mod openapi;
mod patient;
mod places;
mod reply;
mod route;
mod server;
mod token;

use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dunlin_core::Digest;
use dunlin_core::code::{self, Code, Coded};
use rustix::fs::Access;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::data::DataPlane;
pub use device::{Alarm, DeviceStatus};

/// What the API may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiBounds {
    /// Connections at a time, at least 1. One more takes the place of the one that has been idle for longest.
    pub max_connections: usize,
    /// The longest body of a request, whatever the contract asks for, in bytes.
    pub max_body_bytes: usize,
    /// The sha256 of what callers must show, if anything: `Authorization: Bearer TOKEN`.
    pub token: Option<Digest>,
    /// How long callers may take.
    pub patience: Patience,
}

/// How long callers may take; one that takes longer loses its connection, so that one who trickles bytes
/// holds a place no longer than one who is idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patience {
    /// From a connection's start, or the last answer, to the end of the next request's headers.
    pub headers_ms: u64,
    /// From the headers to the end of the body.
    pub body_ms: u64,
    /// For what was written to be taken.
    pub answer_ms: u64,
}

impl Patience {
    /// What devices have: 30 s for each.
    pub const DEFAULT: Patience = Patience { headers_ms: 30_000, body_ms: 30_000, answer_ms: 30_000 };
}

/// The API cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen at {place}: {error}")]
pub struct ListenError {
    /// The address or path.
    pub place: String,
    /// What the system says.
    #[source]
    pub error: std::io::Error,
}

impl ListenError {
    /// Whether another process listens there.
    pub(crate) fn is_in_use(&self) -> bool {
        self.error.kind() == std::io::ErrorKind::AddrInUse
    }
}

impl Coded for ListenError {
    fn code(&self) -> Code {
        if self.is_in_use() { code::link::LISTEN_ADDRESS_IN_USE } else { code::link::LISTEN_ADDRESS }
    }
}

/// Where the API listens; made by whoever may open sockets.
#[derive(Debug)]
pub enum Listener {
    /// A loopback address.
    Tcp(std::net::TcpListener),
    /// A path, and the users that may connect; all that the file's mode lets, if none are named.
    Unix(UnixListener, Vec<u32>),
}

/// Listens at a loopback address; port 0 takes any free one.
///
/// # Errors
/// Another process listens there, or it is no address of this host or not a loopback address.
pub fn listen_tcp(listen: SocketAddr) -> Result<std::net::TcpListener, ListenError> {
    let failed = |error| ListenError { place: listen.to_string(), error };
    if !listen.ip().is_loopback() {
        let error = std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            "not a loopback address, and the API has no accounts",
        );
        return Err(failed(error));
    }
    std::net::TcpListener::bind(listen).map_err(failed)
}

/// Whether [`listen_unix`] could listen at a path, as far as can be seen without making it.
///
/// # Errors
/// As there.
pub(crate) fn check_unix(path: &Path) -> Result<(), ListenError> {
    use std::os::unix::fs::FileTypeExt as _;
    let failed = |error| ListenError { place: path.display().to_string(), error };
    match path.symlink_metadata() {
        Ok(found) if !found.file_type().is_socket() => {
            let what = "something that is no socket has the path";
            return Err(failed(std::io::Error::new(std::io::ErrorKind::AlreadyExists, what)));
        }
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            return Err(failed(std::io::ErrorKind::AddrInUse.into()));
        }
        // A socket without a listener is replaced.
        Ok(_) | Err(_) => {}
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| failed(error.into()))
}

/// Listens at a path that the agent's user and group may connect to; a socket without a listener is
/// replaced.
///
/// # Errors
/// Another process listens there, something else has the path, or it cannot be made.
pub fn listen_unix(path: &Path) -> Result<UnixListener, ListenError> {
    use std::os::unix::fs::PermissionsExt as _;
    let failed = |error| ListenError { place: path.display().to_string(), error };
    check_unix(path)?;
    // Made beside and moved into place, so that nobody connects before the mode is what it shall be.
    let mut beside = path.as_os_str().to_os_string();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let _ = std::fs::remove_file(&beside);
    let listener = UnixListener::bind(&beside).map_err(failed)?;
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o660)).map_err(failed)?;
    std::fs::rename(&beside, path).map_err(failed)?;
    Ok(listener)
}

/// The API, listening. It ends when this is dropped, or in order by [`Api::stop`].
#[derive(Debug)]
pub struct Api {
    server: server::Server,
}

impl Api {
    /// Serves in tasks of the current runtime. `status` is what it tells of the device, in JSON.
    ///
    /// # Errors
    /// The system does not let it use a listener.
    pub fn serve(
        bounds: ApiBounds,
        listeners: Vec<Listener>,
        data: DataPlane,
        status: watch::Receiver<String>,
    ) -> std::io::Result<Api> {
        let ApiBounds { max_connections, patience, .. } = bounds;
        let router = route::router(data, status, &bounds);
        Ok(Api { server: server::Server::start(listeners, max_connections, patience, &router)? })
    }

    /// Takes no more connections, lets open requests end, and waits for them at most `grace`.
    pub async fn stop(self, grace: Duration) {
        self.server.stop(grace).await;
    }
}
