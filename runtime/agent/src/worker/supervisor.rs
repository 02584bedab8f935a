//! Control's side of the worker: one task that gives orders, watches, and starts it again.
//!
//! The task has a thread of its own and does one thing at a time: it sends an order and waits for the
//! answer, and while it waits, as while it does not, it watches. A worker ends, or is ended, when
//!
//! - it dies by itself;
//! - a call is past its deadline and [`GRACE`]: what the clock inside did not stop is stopped from outside;
//! - it does not answer, or answers what makes no sense.
//!
//! Then another is started and given what the one before had. Whoever waits for an answer goes on waiting,
//! except for the load of a release that was going on: it is the suspect, and has failed. Releases that were
//! in a call are told as suspects; what follows from that is control's to decide.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dunlin_core::Digest;
use dunlin_core::code::{self, Code};
use dunlin_core::document::Release;
use dunlin_core::id::ModelName;
use tokio::process::Child;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::build::{self, Built, CompileBounds, Prepare};
use super::channel::{Channel, Frame};
use super::children::{self, Program};
use super::flight::Recorder;
use super::isolation::Layer;
use super::message::{Answer, Given, MAX_ANSWER_BYTES, Order, Socket, sound};
use super::restarts::Restarts;
use super::sealed;
use crate::api::ApiBounds;
use crate::data::{DataError, Interval, Observation, Policy, Prepared};

/// How long a call may pass its deadline before the worker is killed for it.
pub const GRACE: Duration = Duration::from_secs(1);

/// How often calls are looked at.
const WATCH_EVERY: Duration = Duration::from_millis(250);

/// How long a worker may take to start.
const START_WITHIN: Duration = Duration::from_secs(20);

/// How long it may take for an order; loading maps files and calls the model a few times.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// How long it may take to read an order.
const SEND_WITHIN: Duration = Duration::from_secs(10);

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
    /// Releases that were in a call, or being loaded.
    pub suspects: Vec<Digest>,
    /// The stable code of the reason.
    pub code: Code,
    /// What is known, for people.
    pub detail: String,
}

enum Command {
    Build(Box<Prepare>, oneshot::Sender<Result<(Built, File), DataError>>),
    Load(Box<Loadable>, oneshot::Sender<Result<Prepared, DataError>>),
    Loaded(Digest, oneshot::Sender<Option<Prepared>>),
    Activate(ModelName, Digest, oneshot::Sender<Result<(), DataError>>),
    Stop(ModelName, oneshot::Sender<Result<(), DataError>>),
    Discard(Digest, oneshot::Sender<Result<(), DataError>>),
    Forget(ModelName, oneshot::Sender<Result<(), DataError>>),
    Observe(Interval, oneshot::Sender<Result<Vec<Observation>, DataError>>),
    Status(String),
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
        let supervisor = Supervisor {
            settings,
            recorder,
            deaths,
            loaded: BTreeMap::new(),
            active: BTreeMap::new(),
            status: None,
            run: None,
            restarts: Restarts::default(),
            epoch: Instant::now(),
        };
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

    /// Tells the local API how the device does, in JSON.
    pub fn status(&self, json: String) {
        // Once the supervisor has ended, nobody asks any more.
        let _ = self.commands.send(Command::Status(json));
    }

    /// Takes no more requests, answers what is open within `grace`, and ends.
    pub async fn end(&self, grace: Duration) {
        // It may have ended already.
        let _ = self.ask(|reply| Command::End(grace, reply)).await;
    }
}

fn ended(what: String) -> DataError {
    DataError::Ended(what)
}

/// A release that the worker has.
struct Loaded {
    load: Loadable,
    prepared: Prepared,
}

/// One worker.
struct Run {
    child: Child,
    channel: Arc<Channel>,
    answers: mpsc::Receiver<Frame>,
    /// Passes its log on, and keeps the last line.
    log: JoinHandle<String>,
    /// Every release that it was given.
    given: BTreeMap<Digest, Given>,
}

/// Why a worker is no more.
struct Death {
    code: Code,
    detail: String,
    suspects: Vec<Digest>,
}

struct Supervisor {
    settings: Settings,
    recorder: Recorder,
    deaths: mpsc::UnboundedSender<Died>,
    loaded: BTreeMap<Digest, Loaded>,
    active: BTreeMap<ModelName, Digest>,
    status: Option<String>,
    run: Option<Run>,
    restarts: Restarts,
    epoch: Instant,
}

impl Supervisor {
    async fn supervise(
        mut self,
        mut commands: mpsc::UnboundedReceiver<Command>,
        ready: oneshot::Sender<Result<Vec<Layer>, DataError>>,
    ) {
        let missing = match self.begin().await {
            Ok(missing) if self.settings.require_isolation && !missing.is_empty() => {
                Err(not_isolated(&missing))
            }
            Ok(missing) => Ok(missing),
            Err(death) => Err(ended(death.detail)),
        };
        let failed = missing.is_err();
        if ready.send(missing).is_err() || failed {
            return;
        }
        let mut tick = tokio::time::interval(WATCH_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let happened = tokio::select! {
                command = commands.recv() => match command {
                    Some(Command::End(grace, reply)) => {
                        self.end(grace).await;
                        // Its sockets are closed with it.
                        drop(self);
                        // Nobody waits for it.
                        let _ = reply.send(());
                        return;
                    }
                    Some(command) => {
                        self.command(command).await;
                        continue;
                    }
                    None => return,
                },
                death = watched(&mut self.run) => death,
                _ = tick.tick() => match self.overdue() {
                    Some(death) => death,
                    None => continue,
                },
            };
            self.bury(happened).await;
        }
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Build(prepare, reply) => {
                let (program, policy) = (self.settings.program.clone(), self.settings.policy);
                let bounds = self.settings.compile;
                tokio::spawn(async move {
                    drop(reply.send(build::in_child(&program, policy, bounds, *prepare).await));
                });
            }
            Command::Load(load, reply) => drop(reply.send(self.load(*load).await)),
            Command::Loaded(release, reply) => {
                // Nobody waits for it any more.
                let _ = reply.send(self.loaded.get(&release).map(|loaded| loaded.prepared));
            }
            Command::Activate(model, release, reply) => {
                let result =
                    self.insist(|| Order::Activate { model: model.clone(), release }).await.map(|_| ());
                if result.is_ok() {
                    let before = self.active.insert(model, release);
                    if let Some(before) = before.filter(|before| *before != release) {
                        self.loaded.remove(&before);
                    }
                }
                drop(reply.send(result));
            }
            Command::Stop(model, reply) => {
                if let Some(release) = self.active.remove(&model) {
                    self.loaded.remove(&release);
                }
                drop(reply.send(self.insist(|| Order::Stop { model: model.clone() }).await.map(|_| ())));
            }
            Command::Discard(release, reply) => {
                if self.active.values().all(|active| *active != release) {
                    self.loaded.remove(&release);
                }
                drop(reply.send(self.insist(|| Order::Discard { release }).await.map(|_| ())));
            }
            Command::Forget(model, reply) => {
                self.active.remove(&model);
                self.loaded.retain(|_, loaded| loaded.load.model != model);
                drop(reply.send(self.insist(|| Order::Forget { model: model.clone() }).await.map(|_| ())));
            }
            Command::Observe(interval, reply) => {
                let answer = self.insist(|| Order::Observe { interval }).await;
                let result = answer.map(|answer| match (answer, &self.run) {
                    (Answer::Observed(observations), Some(run)) => sound(observations, &run.given),
                    _ => Vec::new(),
                });
                drop(reply.send(result));
            }
            Command::Status(json) => {
                if let Some(run) = &self.run {
                    let order = Order::Status { json: json.clone() };
                    // A worker that takes nothing is found by the next order that wants an answer.
                    let _ = run.channel.send(&order, &[]);
                }
                self.status = Some(json);
            }
            // Taken by the loop.
            Command::End(..) => {}
        }
    }

    async fn load(&mut self, load: Loadable) -> Result<Prepared, DataError> {
        let release = load.release;
        if let Some(loaded) = self.loaded.get(&release) {
            return Ok(loaded.prepared);
        }
        match self.give(&load).await {
            Ok(Ok(prepared)) => {
                self.loaded.insert(release, Loaded { load, prepared });
                Ok(prepared)
            }
            Ok(Err(refused)) => Err(refused),
            Err(death) => {
                let (code, message) = (death.code, format!("loading it: {}", death.detail));
                // It is this release that is suspected, and its failure is told as an answer.
                self.bury(Death { suspects: Vec::new(), ..death }).await;
                Err(DataError::Model { code, message })
            }
        }
    }

    /// Gives a release to the worker. The inner result is the worker's.
    async fn give(&mut self, load: &Loadable) -> Result<Result<Prepared, DataError>, Death> {
        let Loadable { model, release, document, built, code, baseline } = load;
        let order = Order::Load {
            model: model.clone(),
            release: *release,
            document: Box::new(document.clone()),
            built: built.clone(),
            baseline: baseline.is_some(),
        };
        let baseline =
            match baseline.as_deref().map(|bytes| sealed::file("dunlin-baseline", bytes)).transpose() {
                Ok(baseline) => baseline,
                Err(error) => return Ok(Err(ended(format!("no memory file: {error}")))),
            };
        if let Some(run) = &mut self.run {
            let version = document.version.clone();
            let given = Given { model: model.clone(), artifact: document.artifact.digest, version };
            run.given.insert(*release, given);
        }
        let mut descriptors = vec![code.as_fd()];
        descriptors.extend(baseline.as_ref().map(|baseline| baseline.as_fd()));
        match self.exchange(&order, &descriptors, ANSWER_WITHIN).await? {
            Answer::Loaded(prepared) => Ok(Ok(prepared)),
            answer => Ok(Err(refusal(answer)?)),
        }
    }

    /// An order that a worker after a death is given again. `Ended` is what no worker answers.
    async fn insist(&mut self, order: impl Fn() -> Order) -> Result<Answer, DataError> {
        loop {
            match self.exchange(&order(), &[], ANSWER_WITHIN).await {
                Ok(answer @ (Answer::Done | Answer::Observed(_))) => return Ok(answer),
                Ok(answer) => match refusal(answer) {
                    Ok(error) => return Err(error),
                    Err(death) => self.bury(death).await,
                },
                Err(death) => self.bury(death).await,
            }
        }
    }

    /// Sends an order and waits for the answer, watching.
    async fn exchange(
        &mut self,
        order: &Order,
        descriptors: &[BorrowedFd<'_>],
        within: Duration,
    ) -> Result<Answer, Death> {
        let silent =
            |what: String| Death { code: code::agent::WORKER_STUCK, detail: what, suspects: Vec::new() };
        if let Some(run) = &self.run {
            run.channel
                .send(order, descriptors)
                .map_err(|error| silent(format!("it does not take orders: {error}")))?;
        }
        let deadline = tokio::time::Instant::now() + within;
        let mut tick = tokio::time::interval(WATCH_EVERY);
        loop {
            tokio::select! {
                answer = next_answer(&mut self.run) => match answer {
                    Ok(frame) => return frame.parse().map_err(|error| silent(format!("it answers nonsense: {error}"))),
                    Err(death) => return Err(death),
                },
                _ = tick.tick() => if let Some(death) = self.overdue() {
                    return Err(death);
                },
                () = tokio::time::sleep_until(deadline) => {
                    return Err(silent(format!("it has not answered for {within:?}")));
                }
            }
        }
    }

    /// A call that is past its deadline and the grace, of a release that is loaded.
    fn overdue(&self) -> Option<Death> {
        if self.loaded.is_empty() {
            return None;
        }
        self.recorder.in_call().into_iter().find_map(|(release, took_ns)| {
            let limits = &self.loaded.get(&release)?.load.document.limits;
            let deadline = Duration::from_micros(limits.deadline_us.min(self.settings.policy.deadline_us));
            let took = Duration::from_nanos(took_ns);
            (took > deadline + GRACE).then(|| Death {
                code: code::agent::WORKER_STUCK,
                detail: format!("a call has taken {took:?}, its deadline is {deadline:?}"),
                suspects: vec![release],
            })
        })
    }

    /// Ends what is left of a worker, tells of it, and starts the next one, until one serves.
    async fn bury(&mut self, death: Death) {
        let mut death = death;
        loop {
            let in_call: Vec<Digest> = self.recorder.in_call().into_keys().collect();
            let Death { code, mut detail, mut suspects } = death;
            if let Some(mut run) = self.run.take() {
                // It may be gone already.
                let _ = run.child.start_kill();
                if let Ok(Ok(status)) = tokio::time::timeout(Duration::from_secs(5), run.child.wait()).await
                    && code == code::update::CRASHED
                {
                    detail = format!("{detail}: {}", children::ending(status));
                }
                drop(run.channel);
                if let Ok(Ok(words)) = tokio::time::timeout(Duration::from_secs(1), run.log).await
                    && !words.is_empty()
                {
                    detail = format!("{detail}; its last words: {words}");
                }
            }
            if suspects.is_empty() {
                suspects.extend(in_call.into_iter().filter(|release| self.loaded.contains_key(release)));
            }
            tracing::error!(code = code.id, suspects = suspects.len(), "the worker is no more: {detail}");
            // Nobody listens once the agent ends.
            let _ = self.deaths.send(Died { suspects, code, detail });
            let now_ms = u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX);
            tokio::time::sleep(Duration::from_millis(self.restarts.died(now_ms))).await;
            match self.restart().await {
                Ok(()) => return,
                Err(next) => death = next,
            }
        }
    }

    /// Another worker, with everything that the one before had.
    async fn restart(&mut self) -> Result<(), Death> {
        let started = Instant::now();
        self.start().await?;
        let mut waiting = std::mem::take(&mut self.loaded);
        let mut result = Ok(());
        while let Some((release, loaded)) = waiting.pop_first() {
            match self.give(&loaded.load).await {
                Ok(Ok(prepared)) => {
                    self.loaded.insert(release, Loaded { prepared, ..loaded });
                }
                // It is no longer loaded, and told so.
                Ok(Err(error)) => {
                    let detail = format!("it could not be loaded again: {error}");
                    let code = dunlin_core::code::Coded::code(&error);
                    let _ = self.deaths.send(Died { suspects: vec![release], code, detail });
                }
                Err(death) => {
                    result = Err(Death { suspects: vec![release], ..death });
                    break;
                }
            }
        }
        self.loaded.append(&mut waiting);
        result?;
        self.active.retain(|_, release| self.loaded.contains_key(release));
        for (model, release) in self.active.clone() {
            self.exchange(&Order::Activate { model, release }, &[], ANSWER_WITHIN).await?;
        }
        self.exchange(&Order::Serve, &[], ANSWER_WITHIN).await?;
        let took_ms = started.elapsed().as_millis();
        tracing::info!(took_ms, models = self.active.len(), "the worker serves again");
        Ok(())
    }

    /// The first worker: it has nothing to load before it serves.
    async fn begin(&mut self) -> Result<Vec<Layer>, Death> {
        let missing = self.start().await?;
        self.exchange(&Order::Serve, &[], ANSWER_WITHIN).await?;
        Ok(missing)
    }

    /// Starts a process and waits until it is there; gives the layers of isolation that it lacks.
    async fn start(&mut self) -> Result<Vec<Layer>, Death> {
        let died = |what: String| Death { code: code::update::CRASHED, detail: what, suspects: Vec::new() };
        let not_started = |error: std::io::Error| died(format!("it cannot be started: {error}"));
        self.recorder.clear().map_err(not_started)?;
        let (channel, socket) = Channel::pair().map_err(not_started)?;
        channel.set_send_timeout(SEND_WITHIN).map_err(not_started)?;
        let mut child = self.settings.program.start("worker", socket).map_err(not_started)?;
        let log = tokio::spawn(children::relay("worker", child.stderr.take()));
        let channel = Arc::new(channel);
        let answers = receiver(channel.clone()).map_err(not_started)?;
        self.run = Some(Run { child, channel, answers, log, given: BTreeMap::new() });
        let mut sockets = Vec::new();
        let flight = self.recorder.file().try_clone().map_err(not_started)?;
        let mut descriptors = vec![std::os::fd::OwnedFd::from(flight)];
        if let Some(tcp) = &self.settings.tcp {
            sockets.push(Socket::Tcp);
            descriptors.push(tcp.try_clone().map_err(not_started)?.into());
        }
        if let Some((unix, users)) = &self.settings.unix {
            sockets.push(Socket::Unix { users: users.clone() });
            descriptors.push(unix.try_clone().map_err(not_started)?.into());
        }
        let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(|descriptor| descriptor.as_fd()).collect();
        let order = Order::Start { policy: self.settings.policy, api: self.settings.api.clone(), sockets };
        let missing = match self.exchange(&order, &borrowed, START_WITHIN).await? {
            Answer::Ready { mut missing } => {
                missing.sort_unstable();
                missing.dedup();
                missing
            }
            _ => return Err(died("it does not begin as a worker does".into())),
        };
        if let (Some(run), Some(json)) = (&self.run, &self.status) {
            let _ = run.channel.send(&Order::Status { json: json.clone() }, &[]);
        }
        Ok(missing)
    }

    async fn end(&mut self, grace: Duration) {
        let Some(mut run) = self.run.take() else { return };
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        if run.channel.send(&Order::End { grace_ms }, &[]).is_ok() {
            let _ = tokio::time::timeout(grace + GRACE, run.child.wait()).await;
        }
        // Dropped, it is killed if it has not ended.
    }
}

/// Waits for a worker to end, or to say what nobody asked for.
async fn watched(run: &mut Option<Run>) -> Death {
    match next_answer(run).await {
        Ok(_) => Death {
            code: code::agent::WORKER_STUCK,
            detail: "it says what it was not asked for".into(),
            suspects: Vec::new(),
        },
        Err(death) => death,
    }
}

async fn next_answer(run: &mut Option<Run>) -> Result<Frame, Death> {
    let died = |detail: &str| Death {
        code: code::update::CRASHED,
        detail: detail.to_string(),
        suspects: Vec::new(),
    };
    match run {
        Some(run) => run.answers.recv().await.ok_or_else(|| died("the process that runs models is gone")),
        None => Err(died("no process runs models")),
    }
}

/// The error that an answer tells, or why it makes no sense.
fn refusal(answer: Answer) -> Result<DataError, Death> {
    match answer {
        Answer::Failed { code, message } => match code::find(&code) {
            Some(code) if code == code::agent::DATA_PLANE_ENDED => {
                Ok(ended(children::readable(message.as_bytes())))
            }
            Some(code) => Ok(DataError::Model { code, message: children::readable(message.as_bytes()) }),
            None => Err(nonsense()),
        },
        Answer::Ready { .. } | Answer::Loaded(_) | Answer::Done | Answer::Observed(_) => Err(nonsense()),
    }
}

fn nonsense() -> Death {
    let detail = "it answers something else than it was asked".into();
    Death { code: code::agent::WORKER_STUCK, detail, suspects: Vec::new() }
}

fn not_isolated(missing: &[Layer]) -> DataError {
    let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
    DataError::Model {
        code: code::agent::NOT_ISOLATED,
        message: format!(
            "worker.require_isolation is set, and models would run without {} on this machine",
            missing.join(", ")
        ),
    }
}

/// Reads what a worker says on a thread of its own, until there is no more or no sense in it.
fn receiver(channel: Arc<Channel>) -> std::io::Result<mpsc::Receiver<Frame>> {
    let (sender, receiver) = mpsc::channel(4);
    let read = move || {
        while let Ok(Some(frame)) = channel.receive(MAX_ANSWER_BYTES) {
            if sender.blocking_send(frame).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("worker-answers".into()).spawn(read)?;
    Ok(receiver)
}
