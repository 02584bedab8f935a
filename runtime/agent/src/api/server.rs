//! Connections: each in a place, with a time for its headers, and ended in order.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONNECTION, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use axum::{Router, middleware};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use super::error::ApiError;
use super::patient::Patient;
use super::places::{Place, Places};
use super::{Listener, Patience, host, token};

/// The most headers of a request, and the bytes that they may take.
const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// After an accept that failed (no file descriptor left), so as not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listening server. Dropping it ends every connection.
#[derive(Debug)]
pub(super) struct Server {
    shutdown: watch::Sender<()>,
    tasks: JoinSet<()>,
}

impl Server {
    pub(super) fn start(
        listeners: Vec<Listener>,
        max_connections: usize,
        patience: Patience,
        router: &Router,
    ) -> io::Result<Server> {
        let (shutdown, ends) = watch::channel(());
        let places = Places::new(max_connections);
        let mut tasks = JoinSet::new();
        for listener in listeners {
            let (places, ends) = (places.clone(), ends.clone());
            match listener {
                Listener::Tcp(listener) => {
                    listener.set_nonblocking(true)?;
                    let listener = TcpListener::from_std(listener)?;
                    let local = router.clone().layer(middleware::from_fn(host::only_local));
                    tasks.spawn(accept(listener, places, patience, local, ends));
                }
                // Who may connect is for the file's mode and its users to say: no page of the web can.
                Listener::Unix(listener, users) => {
                    listener.set_nonblocking(true)?;
                    let listener = Users { listener: UnixListener::from_std(listener)?, users };
                    tasks.spawn(accept(listener, places, patience, router.clone(), ends));
                }
            }
        }
        Ok(Server { shutdown, tasks })
    }

    pub(super) async fn stop(mut self, grace: Duration) {
        // Nobody listens only if the tasks have ended already.
        let _ = self.shutdown.send(());
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, ended).await.is_err() {
            tracing::warn!(grace_s = grace.as_secs(), "requests were still open at the end and were cut off");
        }
    }
}

/// Where connections come from.
trait Accept: Send + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.accept().await?;
        // Answers are single small writes: waiting for more (Nagle) would only add up to 40 ms.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection to the local API without TCP_NODELAY");
        }
        Ok(stream)
    }
}

/// A Unix socket that only these users may use, beside root and the agent's own; everybody, if none.
struct Users {
    listener: UnixListener,
    users: Vec<u32>,
}

impl Accept for Users {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            let user = stream.peer_cred()?.uid();
            let own = rustix::process::geteuid().as_raw();
            if may_connect(user, own, &self.users) {
                return Ok(stream);
            }
            tracing::debug!(user, "a user that may not use the local API was turned away");
        }
    }
}

/// Root and the agent's own user always may; others if they are named, or nobody is.
fn may_connect(user: u32, own: u32, users: &[u32]) -> bool {
    user == 0 || user == own || users.is_empty() || users.contains(&user)
}

async fn accept<L: Accept>(
    listener: L,
    places: Arc<Places>,
    patience: Patience,
    router: Router,
    mut ends: watch::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = ends.changed() => break,
            accepted = listener.next() => match accepted {
                Ok(stream) => {
                    let place = places.take();
                    connections.spawn(serve(stream, place, patience, router.clone(), ends.clone()));
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

/// One connection to its end, or until it gives way to another.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    (place, mut gives_way): (Place, oneshot::Receiver<()>),
    patience: Patience,
    router: Router,
    mut ends: watch::Receiver<()>,
) {
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(patience.headers_ms))
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES);
    let stream = Patient::new(stream, Duration::from_millis(patience.answer_ms));
    let place = Arc::new(place);
    let answer = move |request: Request<_>| answer(place.clone(), router.clone(), request.map(Body::new));
    let service = TowerToHyperService::new(tower::service_fn(answer));
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        _ = &mut gives_way => {
            tracing::debug!("a connection to the local API gave way to another");
            return;
        }
        _ = ends.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection to the local API ended");
    }
}

/// One request, for the time of which its connection is busy. In a spare place only health is answered.
async fn answer(place: Arc<Place>, router: Router, request: Request) -> Result<Response, Infallible> {
    let _busy = place.busy();
    if place.is_spare() && !token::is_health(&request) {
        let mut refused = ApiError::Connections.into_response();
        refused.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        return Ok(refused);
    }
    router.oneshot(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_that_is_not_named_is_turned_away() {
        for (user, users, may) in [
            (1000, &[][..], true),
            (1000, &[1000, 1001], true),
            (1002, &[1000, 1001], false),
            (0, &[1000], true),
            (990, &[1000], true),
        ] {
            assert_eq!(may_connect(user, 990, users), may, "{user} among {users:?}");
        }
    }
}
