//! The handle of the data plane, and the thread that routes.
//!
//! The router owns the table of models and never waits for a model or for loading: a request is put
//! into an instance's bounded queue or refused. A switch moves the new instance into the table and
//! drops the old one's queue; the old thread answers what the queue still holds, and ends.

use std::collections::BTreeMap;

use dunlin_core::Digest;
use dunlin_core::id::ModelName;
use dunlin_sandbox::Engine;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::instance::{Job, Running};
use super::load::{Loaded, Loader, Order, Tools};
use super::message::{
    DataError, Description, Infer, Inferred, Interval, Known, Load, Observation, Phase, Prepared,
};
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
    Infer(Infer, Reply<Inferred>),
    Describe(String, Reply<Description>),
    List(Reply<Vec<Known>>),
    Observe(Interval, Reply<Vec<Observation>>),
}

/// A handle on the data plane. Clones talk to the same one; it ends with the last of them.
#[derive(Clone, Debug)]
pub struct DataPlane {
    router: mpsc::Sender<Message>,
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
        let tools = Tools { engine, flight, queue_requests: policy.queue_requests };
        let loader = Loader::start(tools, sender.downgrade())?;
        let router = Router { loader, models: BTreeMap::new(), ended: Vec::new() };
        spawn("data-router", move || router.run(receiver))?;
        Ok(DataPlane { router: sender })
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

    /// Runs a request.
    ///
    /// # Errors
    /// See [`DataError`].
    pub async fn infer(&self, infer: Infer) -> Result<Inferred, DataError> {
        self.ask(|reply| Message::Infer(infer, reply)).await
    }

    /// What a model that serves says of itself.
    ///
    /// # Errors
    /// [`DataError::UnknownModel`], [`DataError::NotReady`].
    pub async fn describe(&self, model: &str) -> Result<Description, DataError> {
        self.ask(|reply| Message::Describe(model.to_string(), reply)).await
    }

    /// Every model that was ever loaded, by name.
    ///
    /// # Errors
    /// [`DataError::Ended`] only.
    pub async fn list(&self) -> Result<Vec<Known>, DataError> {
        self.ask(Message::List).await
    }

    /// What every instance has done since it was loaded.
    ///
    /// # Errors
    /// [`DataError::Ended`] only.
    pub async fn observe(&self, interval: Interval) -> Result<Vec<Observation>, DataError> {
        self.ask(|reply| Message::Observe(interval, reply)).await
    }
}

/// What is loaded of one model.
#[derive(Default)]
struct Slot {
    active: Option<Running>,
    staged: BTreeMap<Digest, Running>,
}

struct Router {
    loader: Loader,
    models: BTreeMap<ModelName, Slot>,
    /// Instances that were switched away from, until they were observed for the last time.
    ended: Vec<Running>,
}

impl Router {
    fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        while let Some(message) = messages.blocking_recv() {
            self.handle(message);
        }
    }

    /// A reply that nobody awaits any more is dropped: the asker has gone.
    fn handle(&mut self, message: Message) {
        match message {
            Message::Load(load, reply) => self.load(load, reply),
            Message::Loaded(loaded) => self.loaded(*loaded),
            Message::Activate(model, release, reply) => drop(reply.send(self.activate(&model, release))),
            Message::Stop(model, reply) => {
                let active = self.models.get_mut(&model).and_then(|slot| slot.active.take());
                self.end(active);
                drop(reply.send(Ok(())));
            }
            Message::Forget(model, reply) => {
                let slot = self.models.remove(&model);
                self.end(slot.and_then(|slot| slot.active));
                drop(reply.send(Ok(())));
            }
            Message::Discard(release, reply) => {
                for slot in self.models.values_mut() {
                    drop(slot.staged.remove(&release));
                }
                drop(reply.send(Ok(())));
            }
            Message::Infer(infer, reply) => self.infer(infer, reply),
            Message::Describe(model, reply) => {
                drop(reply.send(self.active(&model).map(|running| running.description().clone())));
            }
            Message::List(reply) => drop(reply.send(Ok(self.list()))),
            Message::Observe(interval, reply) => drop(reply.send(Ok(self.observe(interval)))),
        }
    }

    fn load(&mut self, load: Box<Load>, reply: Reply<Prepared>) {
        let slot = self.models.entry(load.model.clone()).or_default();
        let active = slot.active.as_ref().filter(|running| running.description().release == load.release);
        match slot.staged.get(&load.release).or(active) {
            Some(running) => drop(reply.send(Ok(running.prepared()))),
            None => self.loader.order(Order { load, reply }),
        }
    }

    fn loaded(&mut self, loaded: Loaded) {
        let Loaded { running, reply } = loaded;
        let (model, release) = (running.description().model.clone(), running.description().release);
        let prepared = running.prepared();
        self.models.entry(model).or_default().staged.insert(release, running);
        drop(reply.send(Ok(prepared)));
    }

    fn activate(&mut self, model: &ModelName, release: Digest) -> Result<(), DataError> {
        let slot = self.models.entry(model.clone()).or_default();
        match slot.staged.remove(&release) {
            Some(next) => {
                let old = slot.active.replace(next);
                self.end(old);
                Ok(())
            }
            None if slot.active.as_ref().is_some_and(|now| now.description().release == release) => Ok(()),
            None => Err(DataError::NotPrepared { model: model.clone(), release }),
        }
    }

    fn end(&mut self, running: Option<Running>) {
        self.ended.extend(running.map(|mut running| {
            running.end();
            running
        }));
    }

    fn infer(&mut self, infer: Infer, reply: Reply<Inferred>) {
        match self.active(infer.model.as_str()) {
            Ok(running) => running.accept(Job::new(infer.inputs, reply)),
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    fn active(&self, model: &str) -> Result<&Running, DataError> {
        let unknown = || DataError::UnknownModel(model.chars().take(80).collect());
        let name: ModelName = model.parse().map_err(|_| unknown())?;
        let slot = self.models.get(&name).ok_or_else(unknown)?;
        slot.active.as_ref().ok_or(DataError::NotReady(name))
    }

    fn list(&self) -> Vec<Known> {
        let serves = |slot: &Slot| slot.active.as_ref().map(|running| running.description().release);
        self.models.iter().map(|(model, slot)| Known { model: model.clone(), serves: serves(slot) }).collect()
    }

    fn observe(&mut self, interval: Interval) -> Vec<Observation> {
        let mut observations = Vec::new();
        for slot in self.models.values() {
            observations.extend(slot.active.iter().map(|running| running.observe(Phase::Active, interval)));
            observations.extend(slot.staged.values().map(|running| running.observe(Phase::Staged, interval)));
        }
        self.ended.retain(|running| {
            // Asked before its numbers are read, so that the last ones are the final ones.
            let done = running.has_ended();
            observations.push(running.observe(Phase::Ended, interval));
            !(done && interval == Interval::Take)
        });
        observations
    }
}

/// The native stack of every thread: the guest's 256 KiB, and room for the host.
const STACK_BYTES: usize = 4 * 1024 * 1024;

/// Starts a thread of the data plane.
pub(super) fn spawn(
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> Result<std::thread::JoinHandle<()>, DataError> {
    let thread = std::thread::Builder::new().name(name.to_string()).stack_size(STACK_BYTES);
    thread.spawn(run).map_err(|error| DataError::Ended(format!("no thread {name}: {error}")))
}
