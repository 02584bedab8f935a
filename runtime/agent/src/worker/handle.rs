//! Control's handle on the worker, and what goes through it.

use std::fs::File;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use dunlin_core::Digest;
use dunlin_core::code::Code;
use dunlin_core::document::Release;
use dunlin_core::id::ModelName;
use tokio::sync::{mpsc, oneshot};

use super::build::{Built, CompileBounds, Prepare};
use super::children::Program;
use super::flight::Recorder;
use super::isolation::Layer;
use super::supervisor::{Supervisor, ended};
use crate::api::ApiBounds;
use crate::data::{DataError, Interval, Observation, Policy, Prepared};

/// How a worker is run.
#[derive(Debug)]
pub struct Settings {
    /// What is started.
    pub program: Program,
    /// The device's own bounds on models.
    pub policy: Policy,
    /// What compiling may take.
    pub compile: CompileBounds,
    /// What the local API may take.
    pub api: ApiBounds,
    /// Where the local API listens on TCP.
    pub tcp: Option<std::net::TcpListener>,
    /// Where it listens on a Unix socket, and the users that may connect; all that may open it, if none.
    pub unix: Option<(UnixListener, Vec<u32>)>,
    /// Whether to do without a worker that is not isolated in every way.
    pub require_isolation: bool,
}

/// Machine code of a release, with everything that a worker needs to run it, again and again.
#[derive(Debug)]
pub struct Loadable {
    /// The model that it is a release of.
    pub model: ModelName,
    /// The digest of the release's body.
    pub release: Digest,
    /// The signed words.
    pub document: Release,
    /// What is known of the code.
    pub built: Built,
    /// The code, sealed.
    pub code: File,
    /// The drift baseline.
    pub baseline: Option<Vec<u8>>,
}

/// What happened to a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Died {
    /// Releases that were in a call, or could not be loaded again. The next worker does not have them.
    pub suspects: Vec<Digest>,
    /// The stable code of the reason.
    pub code: Code,
    /// What is known, for people.
    pub detail: String,
}

pub(super) enum Command {
    Build(Box<Prepare>, oneshot::Sender<Result<(Built, File), DataError>>),
    Load(Box<Loadable>, oneshot::Sender<Result<Prepared, DataError>>),
    Loaded(Digest, oneshot::Sender<Option<Prepared>>),
    Activate(ModelName, Digest, oneshot::Sender<Result<(), DataError>>),
    Stop(ModelName, oneshot::Sender<Result<(), DataError>>),
    Discard(Digest, oneshot::Sender<Result<(), DataError>>),
    Forget(ModelName, oneshot::Sender<Result<(), DataError>>),
    Observe(Interval, oneshot::Sender<Result<Vec<Observation>, DataError>>),
    Status(String),
    Serve,
    End(Duration, oneshot::Sender<()>),
}

/// A handle on the worker. Clones talk to the same one; it is killed with the last of them.
#[derive(Clone, Debug)]
pub struct Worker {
    commands: mpsc::UnboundedSender<Command>,
    missing: Arc<[Layer]>,
}

impl Worker {
    /// Starts a worker and waits until it serves. What happens to it later comes out of the receiver.
    ///
    /// # Errors
    /// It does not start; or a layer of isolation is missing that is required.
    pub async fn start(settings: Settings) -> Result<(Worker, mpsc::UnboundedReceiver<Died>), DataError> {
        let recorder = Recorder::new().map_err(|error| ended(format!("no flight record: {error}")))?;
        let (commands, command_receiver) = mpsc::unbounded_channel();
        let (deaths, death_receiver) = mpsc::unbounded_channel();
        let (ready, when_ready) = oneshot::channel();
        let supervisor = Supervisor::new(settings, recorder, deaths);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| ended(format!("no runtime for the supervisor: {error}")))?;
        let run = move || runtime.block_on(supervisor.supervise(command_receiver, ready));
        std::thread::Builder::new()
            .name("supervisor".into())
            .spawn(run)
            .map_err(|error| ended(format!("no thread for the supervisor: {error}")))?;
        let missing = when_ready.await.map_err(|_| ended("the supervisor ended".into()))??;
        Ok((Worker { commands, missing: missing.into() }, death_receiver))
    }

    /// The layers of isolation that the kernel lacks.
    pub fn missing_isolation(&self) -> &[Layer] {
        &self.missing
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, DataError> {
        let (reply, answer) = oneshot::channel();
        let gone = || ended("its supervisor has ended".into());
        self.commands.send(command(reply)).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }

    /// Admits, compiles and proves a release in a process of its own; the worker goes on meanwhile.
    ///
    /// # Errors
    /// It is refused, does not compile in bounds, or gives a wrong golden answer.
    pub async fn build(&self, prepare: Prepare) -> Result<(Built, File), DataError> {
        self.ask(|reply| Command::Build(Box::new(prepare), reply)).await?
    }

    /// Loads a release beside what runs. It serves after [`Self::activate`].
    ///
    /// # Errors
    /// The worker refuses it, or died of it.
    pub async fn load(&self, load: Loadable) -> Result<Prepared, DataError> {
        self.ask(|reply| Command::Load(Box::new(load), reply)).await?
    }

    /// How a release was loaded, if it is.
    ///
    /// # Errors
    /// [`DataError::Ended`] only.
    pub async fn loaded(&self, release: Digest) -> Result<Option<Prepared>, DataError> {
        self.ask(|reply| Command::Loaded(release, reply)).await
    }

    /// Switches a model to a loaded release. No request is lost. Idempotent.
    ///
    /// # Errors
    /// It is not loaded.
    pub async fn activate(&self, model: ModelName, release: Digest) -> Result<(), DataError> {
        self.ask(|reply| Command::Activate(model, release, reply)).await?
    }

    /// Ends a model; what it has is answered. Idempotent.
    ///
    /// # Errors
    /// [`DataError::Ended`] only.
    pub async fn stop(&self, model: ModelName) -> Result<(), DataError> {
        self.ask(|reply| Command::Stop(model, reply)).await?
    }

    /// Unloads a release that is not active. Idempotent.
    ///
    /// # Errors
    /// [`DataError::Ended`] only.
    pub async fn discard(&self, release: Digest) -> Result<(), DataError> {
        self.ask(|reply| Command::Discard(release, reply)).await?
    }

    /// Ends a model, unloads its releases, and forgets its name. Idempotent.
    ///
    /// # Errors
    /// [`DataError::Ended`] only.
    pub async fn forget(&self, model: ModelName) -> Result<(), DataError> {
        self.ask(|reply| Command::Forget(model, reply)).await?
    }

    /// What every instance has done since it was loaded into this worker.
    ///
    /// # Errors
    /// [`DataError::Ended`] only.
    pub async fn observe(&self, interval: Interval) -> Result<Vec<Observation>, DataError> {
        self.ask(|reply| Command::Observe(interval, reply)).await?
    }

    /// Gives the local API the status of the device, in JSON.
    pub fn status(&self, json: String) {
        // Once the supervisor has ended, there are no more requests.
        let _ = self.commands.send(Command::Status(json));
    }

    /// Takes connections again after a death with suspects: what becomes of them is decided. Idempotent.
    pub fn serve(&self) {
        // As for the status.
        let _ = self.commands.send(Command::Serve);
    }

    /// Takes no more requests, answers what is open within `grace`, and ends.
    pub async fn end(&self, grace: Duration) {
        // It may have ended already.
        let _ = self.ask(|reply| Command::End(grace, reply)).await;
    }
}
