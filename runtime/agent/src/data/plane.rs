//! The handle of the data plane, and the thread that routes.
//!
//! The router alone writes the table of what serves, and never waits for a model or for loading. A request
//! is put into the bounded queue of the release that the table has, or refused. A switch writes the new
//! release into the table and then closes the old one's queue: who finds a queue closed looks again. The old
//! threads answer what the queue still holds, and end.

use std::collections::BTreeMap;
use std::sync::Arc;

use dunlin_core::Digest;
use dunlin_core::id::ModelName;
use dunlin_sandbox::Engine;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::load::{Loaded, Loader, Order, Tools};
use super::message::{
    DataError, Description, Infer, Inferred, Interval, Known, Load, Observation, Phase, Prepared,
};
use super::queue::Refused;
use super::running::{Job, Running};
use super::seats::Seats;
use super::table::Table;
use crate::worker::Flight;

/// Messages that may wait for the router, which never takes long; senders wait beyond it.
const MESSAGES: usize = 256;

/// The device's own bounds on every model; the lower of this and the signed release wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Linear memory of one instance, in bytes.
    pub memory_bytes: u64,
    /// Time of one call, in microseconds.
    pub deadline_us: u64,
    /// Requests that may wait for one model, at least 1.
    pub queue_requests: usize,
    /// Instances of a model without state, at least 1: as many calls run at the same time.
    pub instances: usize,
    /// Streams of a model of state `stream` that may be open at a time, at least 1.
    pub streams: usize,
    /// A stream that nothing came for in this time is given up, in milliseconds.
    pub stream_idle_ms: u64,
}

pub(super) type Reply<T> = oneshot::Sender<Result<T, DataError>>;

/// What the router is asked.
pub(super) enum Message {
    Load(Box<Load>, Reply<Prepared>),
    Loaded(Box<Loaded>),
    Activate(ModelName, Digest, Reply<()>),
    Stop(ModelName, Reply<()>),
    Discard(Digest, Reply<()>),
    Forget(ModelName, Reply<()>),
    Observe(Interval, Reply<Vec<Observation>>),
    Ping(Reply<()>),
}

/// A handle on the data plane. Clones talk to the same one; it ends with the last of them.
#[derive(Clone)]
pub struct DataPlane {
    router: mpsc::Sender<Message>,
    table: Table,
}

impl std::fmt::Debug for DataPlane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataPlane").field("models", &self.table.list()).finish_non_exhaustive()
    }
}

impl DataPlane {
    /// Starts the data plane's threads. In the flight record it says what it is doing.
    ///
    /// # Errors
    /// The system gives no thread, or the engine does not start.
    pub fn start(policy: Policy, flight: Flight) -> Result<DataPlane, DataError> {
        let engine =
            Engine::new(dunlin_sandbox::EngineConfig::default()).map_err(|e| DataError::model(&e))?;
        let (sender, receiver) = mpsc::channel(MESSAGES);
        let loader =
            Loader::start(Tools { engine, flight, policy, seats: Seats::start()? }, sender.downgrade())?;
        let table = Table::default();
        let router = Router { loader, table: table.clone(), staged: BTreeMap::new(), ended: Vec::new() };
        spawn("data-router", move || router.run(receiver))?;
        Ok(DataPlane { router: sender, table })
    }

    async fn ask<T>(&self, message: impl FnOnce(Reply<T>) -> Message) -> Result<T, DataError> {
        let ended = || DataError::Ended("its router has ended".into());
        let (reply, answer) = oneshot::channel();
        self.router.send(message(reply)).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }

    /// Loads a release beside what runs. It serves after [`Self::activate`]. A release that is loaded
    /// already is an immediate success.
    ///
    /// # Errors
    /// The code was made for another engine, the model does not start, or the baseline is not its own;
    /// nothing has changed then.
    pub async fn load(&self, load: Load) -> Result<Prepared, DataError> {
        self.ask(|reply| Message::Load(Box::new(load), reply)).await
    }

    /// Switches a model to a prepared release. No request is lost. Idempotent.
    ///
    /// # Errors
    /// [`DataError::NotPrepared`].
    pub async fn activate(&self, model: ModelName, release: Digest) -> Result<(), DataError> {
        self.ask(|reply| Message::Activate(model, release, reply)).await
    }

    /// Ends a model: what it has is answered, what comes is [`DataError::NotReady`]. What is prepared
    /// for it stays prepared. Idempotent.
    ///
    /// # Errors
    /// [`DataError::Ended`] only.
    pub async fn stop(&self, model: ModelName) -> Result<(), DataError> {
        self.ask(|reply| Message::Stop(model, reply)).await
    }

    /// Unloads a release that was prepared and not activated. Idempotent.
    ///
    /// # Errors
    /// [`DataError::Ended`] only.
    pub async fn discard(&self, release: Digest) -> Result<(), DataError> {
        self.ask(|reply| Message::Discard(release, reply)).await
    }

    /// Ends a model like [`Self::stop`], unloads what is prepared for it, and forgets its name. Idempotent.
    ///
    /// # Errors
    /// [`DataError::Ended`] only.
    pub async fn forget(&self, model: ModelName) -> Result<(), DataError> {
        self.ask(|reply| Message::Forget(model, reply)).await
    }

    /// Waits until the router answers.
    ///
    /// # Errors
    /// [`DataError::Ended`] only.
    pub async fn ping(&self) -> Result<(), DataError> {
        self.ask(Message::Ping).await
    }

    /// Runs a request; that of a quick model on this thread.
    ///
    /// # Errors
    /// See [`DataError`].
    pub async fn infer(&self, infer: Infer) -> Result<Inferred, DataError> {
        let Infer { model, inputs, sequence } = infer;
        let (reply, answer) = oneshot::channel();
        let mut job = Job::new(inputs, sequence, reply);
        let mut running = self.table.active(model.as_str())?;
        while let Err(refused) = running.accept(job) {
            match refused {
                Refused::Full(_) => return Err(running.busy()),
                // It was switched away from just now; or its threads are no more.
                Refused::Closed(back) => {
                    job = back;
                    let now = self.table.active(model.as_str())?;
                    if Arc::ptr_eq(&now, &running) {
                        return Err(DataError::Ended(format!("the threads of model {model} have ended")));
                    }
                    running = now;
                }
            }
        }
        let ended = |_| DataError::Ended(format!("the thread of model {model} has ended in the request"));
        answer.await.map_err(ended)?
    }

    /// What a model that serves says of itself.
    ///
    /// # Errors
    /// [`DataError::UnknownModel`], [`DataError::NotReady`].
    pub fn describe(&self, model: &str) -> Result<Arc<Description>, DataError> {
        Ok(self.table.active(model)?.description().clone())
    }

    /// Every model that was ever loaded, by name.
    pub fn list(&self) -> Vec<Known> {
        self.table.list()
    }

    /// What every release that is loaded has done.
    ///
    /// # Errors
    /// [`DataError::Ended`] only.
    pub async fn observe(&self, interval: Interval) -> Result<Vec<Observation>, DataError> {
        self.ask(|reply| Message::Observe(interval, reply)).await
    }
}

struct Router {
    loader: Loader,
    /// What serves.
    table: Table,
    /// What is prepared beside it, by model and release.
    staged: BTreeMap<(ModelName, Digest), Running>,
    /// What was switched away from, until it was observed for the last time.
    ended: Vec<Arc<Running>>,
}

impl Router {
    fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        while let Some(message) = messages.blocking_recv() {
            self.handle(message);
        }
        // Whoever still reads the table shall find closed queues.
        self.table.all().iter().for_each(|running| running.end());
    }

    /// A reply that nobody awaits any more is dropped: the asker has gone.
    fn handle(&mut self, message: Message) {
        match message {
            Message::Load(load, reply) => self.load(load, reply),
            Message::Loaded(loaded) => self.loaded(*loaded),
            Message::Activate(model, release, reply) => drop(reply.send(self.activate(&model, release))),
            Message::Stop(model, reply) => {
                self.table.know(&model);
                let active = self.table.active(model.as_str()).ok();
                if active.is_some() {
                    self.table.switch(&model, None);
                }
                self.end(active);
                drop(reply.send(Ok(())));
            }
            Message::Forget(model, reply) => {
                let active = self.table.forget(&model);
                self.staged.retain(|(of, _), _| *of != model);
                self.end(active);
                drop(reply.send(Ok(())));
            }
            Message::Discard(release, reply) => {
                self.staged.retain(|(_, staged), _| *staged != release);
                drop(reply.send(Ok(())));
            }
            Message::Ping(reply) => drop(reply.send(Ok(()))),
            Message::Observe(interval, reply) => drop(reply.send(Ok(self.observe(interval)))),
        }
    }

    fn load(&mut self, load: Box<Load>, reply: Reply<Prepared>) {
        self.table.know(&load.model);
        let active = self.table.active(load.model.as_str()).ok();
        let active = active.filter(|running| running.description().release == load.release);
        let staged = self.staged.get(&(load.model.clone(), load.release));
        match staged.or(active.as_deref()) {
            Some(running) => drop(reply.send(Ok(running.prepared()))),
            None => self.loader.order(Order { load, reply }),
        }
    }

    fn loaded(&mut self, loaded: Loaded) {
        let Loaded { running, reply } = loaded;
        let key = (running.description().model.clone(), running.description().release);
        let prepared = running.prepared();
        self.table.know(&key.0);
        self.staged.insert(key, running);
        drop(reply.send(Ok(prepared)));
    }

    fn activate(&mut self, model: &ModelName, release: Digest) -> Result<(), DataError> {
        self.table.know(model);
        if let Some(next) = self.staged.remove(&(model.clone(), release)) {
            let old = self.table.switch(model, Some(Arc::new(next)));
            self.end(old);
            return Ok(());
        }
        let active = self.table.active(model.as_str());
        if active.is_ok_and(|now| now.description().release == release) {
            return Ok(());
        }
        Err(DataError::NotPrepared { model: model.clone(), release })
    }

    fn end(&mut self, running: Option<Arc<Running>>) {
        self.ended.extend(running.inspect(|running| running.end()));
    }

    fn observe(&mut self, interval: Interval) -> Vec<Observation> {
        let active = self.table.all();
        let mut observations: Vec<_> =
            active.iter().map(|running| running.observe(Phase::Active, interval)).collect();
        observations.extend(self.staged.values().map(|running| running.observe(Phase::Staged, interval)));
        self.ended.retain(|running| {
            // Asked before its numbers are read, so that the last ones are the final ones.
            let done = running.has_ended();
            observations.push(running.observe(Phase::Ended, interval));
            !(done && interval == Interval::Take)
        });
        observations
    }
}

/// The native stack of every thread that calls models: the guest's 256 KiB, and room for the host.
pub(crate) const STACK_BYTES: usize = 4 * 1024 * 1024;

/// Starts a thread of the data plane.
pub(super) fn spawn(
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> Result<std::thread::JoinHandle<()>, DataError> {
    let thread = std::thread::Builder::new().name(name.to_string()).stack_size(STACK_BYTES);
    thread.spawn(run).map_err(|error| DataError::Ended(format!("no thread {name}: {error}")))
}
