//! Connections: bounded in number, each with a time for its headers, and ended in order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::ListenError;

/// A connection whose next request's headers have not come after this is closed: one that trickles
/// bytes holds a place no longer than one that is idle.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// The most headers of a request, and the bytes that they may take.
const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// After an accept that failed (no file descriptor left), so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listening server. Dropping it ends every connection.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    shutdown: watch::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    pub(super) async fn start(
        listen: SocketAddr,
        max_connections: usize,
        router: Router,
    ) -> Result<Server, ListenError> {
        let failed = |error| ListenError { address: listen, error };
        if !listen.ip().is_loopback() {
            let error = std::io::Error::new(
                std::io::ErrorKind::InvalidInput,
                "not a loopback address, and the API has no accounts",
            );
            return Err(failed(error));
        }
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (shutdown, ends) = watch::channel(());
        let permits = Arc::new(Semaphore::new(max_connections.clamp(1, Semaphore::MAX_PERMITS)));
        let task = tokio::spawn(accept(listener, permits, router, ends));
        Ok(Server { address, shutdown, task })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) async fn stop(mut self, grace: Duration) {
        // Nobody listens only if the task has ended already.
        let _ = self.shutdown.send(());
        if tokio::time::timeout(grace, &mut self.task).await.is_err() {
            tracing::warn!(grace_s = grace.as_secs(), "requests were still open at the end and were cut off");
        }
    }
}

impl Drop for Server {
    /// The task owns the connections' tasks and takes them with it.
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    permits: Arc<Semaphore>,
    router: Router,
    mut ends: watch::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = ends.changed() => break,
            accepted = next(&listener, &permits) => match accepted {
                Ok((stream, permit)) => {
                    connections.spawn(serve(stream, permit, router.clone(), ends.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection to the local API was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// The next connection. The permit comes first: beyond the bound the system's queue holds callers back.
async fn next(
    listener: &TcpListener,
    permits: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = permits.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

/// One connection to its end; the permit goes with it.
async fn serve(
    stream: TcpStream,
    permit: OwnedSemaphorePermit,
    router: Router,
    mut ends: watch::Receiver<()>,
) {
    // Answers are single small writes: waiting for more (Nagle) would only add up to 40 ms.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection to the local API without TCP_NODELAY");
    }
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES);
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        _ = ends.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection to the local API ended");
    }
    drop(permit);
}
