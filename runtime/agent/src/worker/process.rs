//! The worker itself: serves what control gives it, and owns nothing else.
//!
//! It locks itself before it reads anything of a model. Its main thread does what control orders, in order;
//! the local API and the data plane have threads of their own. When control is gone, so is the worker.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use dunlin_core::code::Coded as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::build::Terms;
use super::channel::{Channel, Frame};
use super::flight::{self, Flight};
use super::isolation::{self, Bounds, Layer};
use super::message::{Answer, MAX_ORDER_BYTES, Order, Socket};
use super::sealed;
use crate::api::{Api, ApiBounds, Listener};
use crate::data::{API_THREADS, DataError, DataPlane, Policy, STACK_BYTES};

/// The longest drift baseline, in bytes.
const MAX_BASELINE_BYTES: u64 = 64 << 20;

/// Descriptors beside those of connections: machine code, sockets, what the runtime needs.
const FURTHER_DESCRIPTORS: u64 = 1024;

/// Runs until control ends it or goes away.
pub(crate) fn main() -> io::Result<()> {
    let channel = Channel::inherited()?;
    let Some(frame) = channel.receive(MAX_ORDER_BYTES)? else { return Ok(()) };
    let Order::Start { policy, api, sockets } = frame.parse()? else {
        return Err(io::Error::other("the first order is not to start"));
    };
    let connections = u64::try_from(api.max_connections).unwrap_or(u64::MAX);
    let missing = isolation::lock(Bounds {
        descriptors: connections.saturating_add(FURTHER_DESCRIPTORS),
        file_bytes: flight::FILE_BYTES,
        memory_bytes: None,
        cpu_s: None,
    });
    // Quick models are called on these threads.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(API_THREADS)
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()?;
    let started = runtime.block_on(start(policy, api, &sockets, frame, missing))?;
    let (mut served, ready) = started;
    channel.send(&ready, &[])?;
    while let Some(frame) = channel.receive(MAX_ORDER_BYTES)? {
        match frame.parse()? {
            Order::Status { json } => {
                served.status.send_replace(json);
            }
            Order::End { grace_ms } => {
                if let Some(api) = served.api {
                    runtime.block_on(api.stop(Duration::from_millis(grace_ms)));
                }
                return Ok(());
            }
            order => {
                let answer = runtime.block_on(served.obey(order, frame.descriptors));
                channel.send(&answer, &[])?;
            }
        }
    }
    // Control is gone. Threads that are in a call are not waited for.
    std::process::exit(0)
}

struct Served {
    policy: Policy,
    data: DataPlane,
    status: watch::Sender<String>,
    /// What the API is made of.
    door: Option<(ApiBounds, Vec<Listener>)>,
    api: Option<Api>,
}

async fn start(
    policy: Policy,
    bounds: ApiBounds,
    sockets: &[Socket],
    frame: Frame,
    missing: Vec<Layer>,
) -> io::Result<(Served, Answer)> {
    // Whoever ends a device's processes all at once ends the worker too early: control ends it, after what is
    // open. A handler that does nothing is how a signal is left aside.
    let _ = signal(SignalKind::terminate()).map(|mut terminated| {
        tokio::spawn(async move { while terminated.recv().await.is_some() {} });
    });
    let mut descriptors = frame.descriptors.into_iter();
    let mut next = || descriptors.next().ok_or_else(|| io::Error::other("a descriptor is missing"));
    let flight = Flight::into_file(File::from(next()?));
    let mut listeners = Vec::with_capacity(sockets.len());
    for socket in sockets {
        let listener = next()?;
        listeners.push(match socket {
            Socket::Tcp => Listener::Tcp(listener.into()),
            Socket::Unix { users } => Listener::Unix(listener.into(), users.clone()),
        });
    }
    let data = DataPlane::start(policy, flight).map_err(io::Error::other)?;
    let (status, _) = watch::channel(String::from("{}"));
    let door = Some((bounds, listeners));
    Ok((Served { policy, data, status, door, api: None }, Answer::Ready { missing }))
}

impl Served {
    async fn obey(&mut self, order: Order, descriptors: Vec<OwnedFd>) -> Answer {
        match self.try_obey(order, descriptors).await {
            Ok(answer) => answer,
            Err(error) => Answer::Failed { code: error.code().id.to_string(), message: error.to_string() },
        }
    }

    async fn try_obey(&mut self, order: Order, descriptors: Vec<OwnedFd>) -> Result<Answer, DataError> {
        let data = &self.data;
        match order {
            Order::Load { model, release, document, built, baseline } => {
                let mut files = descriptors.into_iter().map(File::from);
                let missing = || DataError::Ended("a release came without its code in a sealed file".into());
                let code = files.next().filter(sealed::is_sealed).ok_or_else(missing)?;
                let read = |file: File| {
                    sealed::read(&file, MAX_BASELINE_BYTES)
                        .map_err(|error| DataError::Ended(format!("its baseline: {error}")))
                };
                let baseline = if baseline { files.next().map(read).transpose()? } else { None };
                let terms = Terms { model, release, document: *document, policy: self.policy, baseline };
                return Ok(Answer::Loaded(data.load(built.into_load(code, terms)?).await?));
            }
            Order::Serve => {
                if let Some((bounds, listeners)) = self.door.take() {
                    let api = Api::serve(bounds, listeners, data.clone(), self.status.subscribe())
                        .map_err(|error| DataError::Ended(format!("its sockets: {error}")))?;
                    self.api = Some(api);
                }
            }
            Order::Activate { model, release } => data.activate(model, release).await?,
            Order::Stop { model } => data.stop(model).await?,
            Order::Discard { release } => data.discard(release).await?,
            Order::Forget { model } => data.forget(model).await?,
            Order::Ping => data.ping().await?,
            Order::Observe { interval } => return Ok(Answer::Observed(data.observe(interval).await?)),
            Order::Start { .. } | Order::Status { .. } | Order::End { .. } => {
                return Err(DataError::Ended("an order out of its place".into()));
            }
        }
        Ok(Answer::Done)
    }
}
