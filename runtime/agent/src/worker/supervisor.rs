//! Control's side of the worker: one task that gives orders, watches, and starts it again.
//!
//! The task has a thread of its own and does one thing at a time: it sends an order and waits for the
//! answer, and while it waits, as while it does not, it watches. A worker ends, or is ended, when
//!
//! - it dies by itself;
//! - a call is past its deadline and [`GRACE`]: what the clock inside did not stop is stopped from outside;
//! - it does not answer, or answers what makes no sense. A worker that has nothing to do is asked every
//!   [`PING_EVERY`], and has [`ANSWER_WITHIN`] like for every order but a load.
//!
//! Then another is started and given what the one before had, except for the suspects: the releases that were
//! in a call. What follows is control's to decide; connections wait until it has decided, at most
//! [`DECIDE_WITHIN`]. An order without an answer is given again, except for the load of a release: that one is
//! the suspect, and has failed.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dunlin_core::Digest;
use dunlin_core::code::{self, Code};
use dunlin_core::update::Roster;
use tokio::process::Child;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::build;
use super::channel::{Channel, Frame};
use super::children;
use super::flight::Recorder;
use super::handle::{Command, Died, Loadable, Settings};
use super::isolation::Layer;
use super::message::{Answer, Given, MAX_ANSWER_BYTES, Order, Socket, sound};
use super::restarts::Restarts;
use super::sealed;
use crate::data::{DataError, Prepared};

/// How long a call may pass its deadline before the worker is killed for it.
pub const GRACE: Duration = Duration::from_secs(1);

/// How often calls are looked at.
const WATCH_EVERY: Duration = Duration::from_millis(250);

/// How long a worker may take to start.
const START_WITHIN: Duration = Duration::from_secs(20);

/// How long it may take to load a release: it maps files and calls the model a few times.
const LOAD_WITHIN: Duration = Duration::from_secs(120);

/// How long it may take for another order: it waits for no model.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How long nothing is heard of it before it is asked whether it answers.
const PING_EVERY: Duration = Duration::from_secs(5);

/// How long connections wait for what control decides about suspects.
const DECIDE_WITHIN: Duration = Duration::from_secs(2);

/// How long it may take to read an order.
const SEND_WITHIN: Duration = Duration::from_secs(10);

pub(super) fn ended(what: String) -> DataError {
    DataError::Ended(what)
}

/// A release that the worker has.
#[derive(Clone)]
struct Loaded {
    load: Arc<Loadable>,
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

pub(super) struct Supervisor {
    settings: Settings,
    recorder: Recorder,
    deaths: mpsc::UnboundedSender<Died>,
    roster: Roster<Loaded>,
    status: Option<String>,
    run: Option<Run>,
    /// When it answered last.
    heard: Instant,
    /// Since when connections wait for control.
    undecided: Option<Instant>,
    restarts: Restarts,
    epoch: Instant,
}

impl Supervisor {
    pub(super) fn new(
        settings: Settings,
        recorder: Recorder,
        deaths: mpsc::UnboundedSender<Died>,
    ) -> Supervisor {
        let now = Instant::now();
        Supervisor {
            settings,
            recorder,
            deaths,
            roster: Roster::default(),
            status: None,
            run: None,
            heard: now,
            undecided: None,
            restarts: Restarts::default(),
            epoch: now,
        }
    }

    pub(super) async fn supervise(
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
                    None => {
                        self.keep_going().await;
                        continue;
                    }
                },
            };
            self.bury(happened).await;
        }
    }

    /// Serves after a while without control's word, and asks a worker that was silent for long.
    async fn keep_going(&mut self) {
        if self.undecided.is_some_and(|since| since.elapsed() >= DECIDE_WITHIN) {
            self.serve().await;
        }
        if self.heard.elapsed() >= PING_EVERY
            && let Err(error) = self.insist(|| Order::Ping).await
        {
            self.bury(stuck(format!("it cannot go on: {error}"))).await;
        }
    }

    /// Lets the worker take connections, if it does not yet.
    async fn serve(&mut self) {
        if self.undecided.take().is_some()
            && let Err(error) = self.insist(|| Order::Serve).await
        {
            self.bury(stuck(format!("it does not serve: {error}"))).await;
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
                let _ = reply.send(self.roster.get(&release).map(|loaded| loaded.prepared));
            }
            Command::Activate(model, release, reply) => {
                let result =
                    self.insist(|| Order::Activate { model: model.clone(), release }).await.map(|_| ());
                if result.is_ok() {
                    self.roster.activate(model, release);
                }
                drop(reply.send(result));
            }
            Command::Stop(model, reply) => {
                self.roster.stop(&model);
                drop(reply.send(self.insist(|| Order::Stop { model: model.clone() }).await.map(|_| ())));
            }
            Command::Discard(release, reply) => {
                self.roster.discard(&release);
                drop(reply.send(self.insist(|| Order::Discard { release }).await.map(|_| ())));
            }
            Command::Forget(model, reply) => {
                self.roster.forget(&model);
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
            Command::Serve => self.serve().await,
            // Taken by the loop.
            Command::End(..) => {}
        }
    }

    async fn load(&mut self, load: Loadable) -> Result<Prepared, DataError> {
        let release = load.release;
        if let Some(loaded) = self.roster.get(&release) {
            return Ok(loaded.prepared);
        }
        match self.give(&load).await {
            Ok(Ok(prepared)) => {
                self.roster.load(load.model.clone(), release, Loaded { load: Arc::new(load), prepared });
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
        match self.exchange(&order, &descriptors, LOAD_WITHIN).await? {
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
        if let Some(run) = &self.run {
            run.channel
                .send(order, descriptors)
                .map_err(|error| stuck(format!("it does not take orders: {error}")))?;
        }
        let deadline = tokio::time::Instant::now() + within;
        let mut tick = tokio::time::interval(WATCH_EVERY);
        loop {
            tokio::select! {
                answer = next_answer(&mut self.run) => match answer {
                    Ok(frame) => {
                        self.heard = Instant::now();
                        return frame.parse().map_err(|error| stuck(format!("it answers nonsense: {error}")));
                    }
                    Err(death) => return Err(death),
                },
                _ = tick.tick() => if let Some(death) = self.overdue() {
                    return Err(death);
                },
                () = tokio::time::sleep_until(deadline) => {
                    return Err(stuck(format!("it has not answered for {within:?}")));
                }
            }
        }
    }

    /// A call that is past its deadline and the grace, of a release that is loaded.
    fn overdue(&self) -> Option<Death> {
        if self.roster.is_empty() {
            return None;
        }
        self.recorder.in_call().into_iter().find_map(|(release, took_ns)| {
            let limits = &self.roster.get(&release)?.load.document.limits;
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
                suspects.extend(in_call.into_iter().filter(|release| self.roster.get(release).is_some()));
            }
            tracing::error!(code = code.id, suspects = suspects.len(), "the worker is no more: {detail}");
            self.lose(&suspects);
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
        for release in self.roster.releases() {
            let Some(loaded) = self.roster.get(&release).cloned() else { continue };
            match self.give(&loaded.load).await {
                Ok(Ok(_prepared)) => {}
                // It is no longer loaded, and told so.
                Ok(Err(error)) => {
                    let detail = format!("it could not be loaded again: {error}");
                    let code = dunlin_core::code::Coded::code(&error);
                    self.lose(&[release]);
                    let _ = self.deaths.send(Died { suspects: vec![release], code, detail });
                }
                Err(death) => return Err(Death { suspects: vec![release], ..death }),
            }
        }
        for (model, release) in self.roster.active().clone() {
            self.exchange(&Order::Activate { model, release }, &[], ANSWER_WITHIN).await?;
        }
        if self.undecided.is_none() {
            self.exchange(&Order::Serve, &[], ANSWER_WITHIN).await?;
        }
        let (took_ms, models) = (started.elapsed().as_millis(), self.roster.active().len());
        tracing::info!(took_ms, models, "the worker is there again");
        Ok(())
    }

    /// The next worker does not have these; connections wait for what control decides about them.
    fn lose(&mut self, suspects: &[Digest]) {
        self.roster.lose(suspects);
        if !suspects.is_empty() {
            self.undecided = Some(Instant::now());
        }
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
        Ok(_) => stuck("it says what it was not asked for".into()),
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
    stuck("it answers something else than it was asked".into())
}

fn stuck(detail: String) -> Death {
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
