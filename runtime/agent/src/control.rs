//! The control plane: owns the [`Device`], does its actions, and feeds back what comes of them.
//!
//! One task. It takes messages from the link, results of fetching and preparing, and a tick a second;
//! each becomes an event of the device, whose actions are done in order before the next event. It
//! never runs model code and never waits for the broker, for the compiler or for a transfer.
//!
//! The device's state is committed before anything that others can see; `durable` says what happens when
//! the disk does not take it.

pub(crate) mod boot;
mod check;
pub(crate) mod durable;
mod preparations;
mod prepare;
mod presence;
mod record;
mod report;
mod shutdown;
mod takeover;
mod watch;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dunlin_core::Digest;
use dunlin_core::code::{self, Coded as _};
use dunlin_core::id::ModelName;
use dunlin_core::telemetry::BootId;
use dunlin_core::update::{Action, Attempt, Device, Event, Now, Occurrence, Subject};
use dunlin_mqtt::{Link, LinkConfig, Message, TimeFloor};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::api::{self, ListenError};
use crate::config::Config;
use crate::data::{DataError, Policy};
use crate::error::AgentError;
use crate::fetch::{FetchEvent, Fetcher};
use crate::outbox::{Bounds, Outbox};
use crate::store::{Store, StoreError};
use crate::telemetry::Reporter;
use crate::worker::{Died, Program, Settings, Worker};
pub(crate) use check::check;
use durable::{Durable, Waiting};
use preparations::Preparations;
use presence::PresenceKeeper;
use takeover::Takeover;
use watch::{Watch, Watched};

/// The version that releases may ask for.
pub(crate) const RUNTIME_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The day on which this version was released, 2026-11-01, in seconds since 1970: set with the version. A
/// constant, so that the same source makes the same program.
pub(crate) const RELEASED_UNIX_S: u64 = 1_793_491_200;

/// How often health is reported before any deployment says so, in seconds.
const DEFAULT_REPORT_INTERVAL_S: u32 = 60;

/// How long an address of the local API may be in use at a start. An agent that was killed leaves a worker, which
/// the kernel kills too; its sockets close when it has exited, which takes time on a busy machine.
const ADDRESS_GRACE: Duration = Duration::from_secs(5);

/// How long requests that are open at the end may take.
const API_GRACE: Duration = Duration::from_secs(5);

/// Runs the agent until SIGTERM or ctrl-c.
///
/// # Errors
/// It cannot start, or the disk or the data plane failed; see [`AgentError`].
pub(crate) async fn run(config: Config, program: Program) -> Result<(), AgentError> {
    let mut end = shutdown::Signals::new()?;
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| AgentError::system("randomness", &error))?;
    let boot = BootId::from_bytes(random);
    let (settings, boot_id) = (config.clone(), boot);
    let (store, device) = blocking(move || boot::boot(&settings, boot_id)).await?;
    // Before the link: a port in use ends the start before anybody is told of it.
    let (data, deaths) = start_worker(&config, program).await?;
    let (mut control, mut sources) = Control::start(&config, boot, store, device, data, deaths).await?;
    let result = control.serve(&mut sources, &mut end).await;
    match &result {
        Ok(()) => tracing::info!("the agent ends in order"),
        Err(error) => tracing::error!(code = %error.code(), "the agent ends: {error}"),
    }
    control.stop(sources, result.is_ok()).await;
    result
}

/// Opens the sockets of the local API and starts the process that serves them.
async fn start_worker(
    config: &Config,
    program: Program,
) -> Result<(Worker, mpsc::UnboundedReceiver<Died>), AgentError> {
    let tcp = match config.api.listen {
        Some(address) => Some(listen(|| api::listen_tcp(address)).await?),
        None => None,
    };
    let unix = match config.api.socket_file.as_deref() {
        Some(path) => Some(listen(|| api::listen_unix(path)).await?),
        None => None,
    };
    let address = tcp.as_ref().and_then(|tcp| tcp.local_addr().ok());
    let address = address.map_or_else(|| String::from("off"), |address| address.to_string());
    let settings = Settings {
        program,
        policy: config.policy(),
        compile: config.compile_bounds(),
        api: config.api()?,
        tcp,
        unix: unix.map(|unix| (unix, config.api.socket_users.clone())),
        require_isolation: config.worker.require_isolation,
    };
    let started = Worker::start(settings).await?;
    tracing::info!(
        version = RUNTIME_VERSION,
        device = %config.device,
        fleet = %config.fleet,
        api = %address,
        socket = config.api.socket_file.as_deref().map(|path| tracing::field::display(path.display())),
        "the agent starts"
    );
    Ok(started)
}

/// Listens at an address, which may be in use for [`ADDRESS_GRACE`]: no other agent has this state, so it is probably
/// the worker of the one before.
async fn listen<T>(attempt: impl Fn() -> Result<T, ListenError>) -> Result<T, ListenError> {
    let mut since = None;
    loop {
        match attempt() {
            Err(error) if error.is_in_use() => match since {
                None => {
                    tracing::info!("{error}; waiting up to {} s for it", ADDRESS_GRACE.as_secs());
                    since = Some(Instant::now());
                }
                Some(since) if since.elapsed() >= ADDRESS_GRACE => return Err(error),
                // An attempt at a path is a connection that is never accepted: 50 of them fit into any queue.
                Some(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
            outcome => return outcome,
        }
    }
}

/// Where events come from.
struct Sources {
    link: dunlin_mqtt::Events,
    fetched: mpsc::UnboundedReceiver<(Attempt, FetchEvent)>,
    /// What came of preparing; bounded by the models of the device.
    prepared: mpsc::UnboundedReceiver<(Attempt, Event)>,
    /// What became of workers.
    deaths: mpsc::UnboundedReceiver<Died>,
}

struct Control {
    device: Device,
    boot: BootId,
    /// What the monotonic clock counts from.
    epoch: Instant,
    store: Store,
    data: Worker,
    /// The engine of this program, as the compiled cache knows it.
    engine: Option<Digest>,
    /// The device's own bounds on models.
    policy: Policy,
    link: Link,
    watch: Watch,
    fetcher: Fetcher,
    outbox: Outbox,
    reporter: Reporter,
    presence: PresenceKeeper,
    /// What the local API was told of the device.
    status: String,
    /// The latest known time, by which TLS judges certificates where the wall clock is unset.
    time_floor: TimeFloor,
    preparations: Preparations,
    waiting: Waiting,
    takeover: Takeover,
    /// Served and failed of each release in trial, when they were told last.
    told: BTreeMap<Digest, (u64, u64)>,
    report_interval_s: Option<u32>,
    reported: Instant,
    /// What was found damaged in the store since this start.
    damage: Vec<String>,
}

impl Control {
    /// Commits the start, and then makes the link: the will carries the number of this start.
    async fn start(
        config: &Config,
        boot: BootId,
        store: Store,
        mut device: Device,
        data: Worker,
        deaths: mpsc::UnboundedReceiver<Died>,
    ) -> Result<(Control, Sources), AgentError> {
        let epoch = Instant::now();
        let now = moment(epoch)?;
        let actions = device.step(now, Event::Started);
        let (durable, actions) = durable::split(actions);
        let (committed, state) = (store.clone(), device.state().clone());
        blocking(move || durable::perform(&committed, &state, &durable)).await?;
        let mut presence = PresenceKeeper::new(boot);
        let will = presence.will(&device, now);
        let time_floor = TimeFloor::new(device.time_low_unix_s());
        let link_config = LinkConfig { will, ..config.link(config.device.as_str(), time_floor.clone())? };
        let (link, link_events) = dunlin_mqtt::connect(link_config)?;
        let (fetcher, fetched) =
            Fetcher::start(link.clone(), config.fleet.clone(), store.clone(), config.transfer());
        let outbox = Outbox::new(Bounds::default());
        outbox.start(link.clone(), config.fleet.clone(), config.device.clone());
        let (preparations, prepared) = Preparations::new();
        let mut control = Control {
            watch: Watch::new(link.clone(), config.fleet.clone()),
            device,
            boot,
            epoch,
            store,
            data,
            policy: config.policy(),
            engine: blocking(prepare::fingerprint).await?,
            link,
            fetcher,
            outbox,
            reporter: Reporter::new(epoch),
            presence,
            status: String::new(),
            time_floor,
            preparations,
            waiting: Waiting::new(epoch),
            takeover: Takeover::default(),
            told: BTreeMap::new(),
            report_interval_s: config.telemetry.report_interval_s,
            reported: epoch,
            damage: Vec::new(),
        };
        control.report_damage();
        control.watch.presence(&config.device).await;
        let follow_up = control.perform(actions).await?;
        for event in follow_up {
            control.handle(event).await?;
        }
        Ok((control, Sources { link: link_events, fetched, prepared, deaths }))
    }

    async fn serve(&mut self, sources: &mut Sources, end: &mut shutdown::Signals) -> Result<(), AgentError> {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                // What comes of a worker's death is known before anything that happened after it.
                biased;
                () = end.received() => return self.handle(Event::Stopping).await,
                Some(died) = sources.deaths.recv() => self.worker_died(died).await?,
                _ = tick.tick() => self.tick().await?,
                Some((attempt, event)) = sources.prepared.recv() => self.prepared(attempt, event).await?,
                Some((attempt, event)) = sources.fetched.recv() => self.fetched(attempt, event).await?,
                event = sources.link.recv() => match event {
                    Some(event) => self.link_event(event).await?,
                    // Only we close it.
                    None => return Ok(()),
                },
            }
        }
    }

    /// Steps the device, and does what follows, until nothing more does; behind what waits for the disk.
    async fn handle(&mut self, event: Event) -> Result<(), AgentError> {
        if self.waiting.is_empty() {
            self.take(event).await?;
        } else {
            self.waiting.push(event);
        }
        self.after_steps()
    }

    /// Tries again what the disk did not take.
    async fn retry_what_waits(&mut self) -> Result<(), AgentError> {
        while let Some(event) = self.waiting.take_due(Instant::now()) {
            self.take(event).await?;
        }
        self.after_steps()
    }

    async fn take(&mut self, event: Event) -> Result<(), AgentError> {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let (before, again) = (self.device.clone(), event.clone());
            let (durable, rest) = durable::split(self.device.step(moment(self.epoch)?, event));
            if let Err(error) = self.store_durably(durable).await? {
                // Nothing of the step was seen: it has not happened.
                self.device = before;
                if self.waiting.failed(Instant::now(), &error, again, events) {
                    let (code, what) = (error.code().id.to_string(), Subject::Device);
                    self.tell(Occurrence::Alarm { code, detail: error.to_string(), what });
                }
                return Ok(());
            }
            if self.waiting.succeeded() {
                tracing::info!("the disk takes what it did not take before");
            }
            events.extend(self.perform(rest).await?);
        }
        Ok(())
    }

    /// The inner result is the disk's.
    async fn store_durably(&self, durable: Vec<Durable>) -> Result<Result<(), StoreError>, AgentError> {
        if durable.is_empty() {
            return Ok(Ok(()));
        }
        let (store, state) = (self.store.clone(), self.device.state().clone());
        let work = move || Ok::<_, AgentError>(durable::perform(&store, &state, &durable));
        blocking(work).await
    }

    fn after_steps(&mut self) -> Result<(), AgentError> {
        self.time_floor.set(self.device.time_low_unix_s());
        self.tell_status()?;
        if self.presence.is_outdated(&self.device) { self.say_online() } else { Ok(()) }
    }

    /// Does actions in order; gives the events that come of them at once.
    async fn perform(&mut self, actions: Vec<Action>) -> Result<Vec<Event>, AgentError> {
        let mut events = Vec::new();
        for action in actions {
            events.extend(self.act(action).await?);
        }
        Ok(events)
    }

    async fn act(&mut self, action: Action) -> Result<Option<Event>, AgentError> {
        match action {
            Action::StoreRoot { .. } | Action::StoreDocument { .. } | Action::Persist => {
                let (durable, _) = durable::split(vec![action]);
                self.store_durably(durable).await??;
            }
            Action::WatchRoot { version } => self.watch.root(version).await,
            Action::WatchDeployments { audiences } => self.watch.deployments(audiences).await,
            Action::FetchRelease { digest } => self.watch.release(digest).await,
            Action::FetchBlobs { release, blobs, delay_ms } => {
                self.fetcher.fetch(release, blobs, Duration::from_millis(delay_ms));
            }
            Action::CancelFetch { release } => {
                self.watch.end_release(release).await;
                self.fetcher.cancel(release);
                self.waiting.forget_fetch(release);
            }
            Action::Prepare { release } => self.prepare(release),
            Action::Switch { model, release } => return self.switch(model, release).await,
            Action::Stop { model } => self.data.stop(model).await?,
            Action::Forget { model } => self.data.forget(model).await?,
            Action::Discard { release } => {
                self.preparations.end(release);
                self.waiting.forget_preparation(release);
                self.data.discard(release).await?;
            }
            Action::CleanUp { keep_documents, keep_blobs } => {
                let store = self.store.clone();
                let swept = blocking(move || store.clean_up(&keep_documents, &keep_blobs)).await;
                // What stays costs space and nothing else; the next clean-up tries again.
                if let Err(error) = swept {
                    tracing::warn!(code = %error.code(), "old files stay: {error}");
                }
            }
            Action::Report(occurrence) => self.tell(occurrence),
        }
        Ok(None)
    }

    fn prepare(&mut self, release: Digest) {
        let Some(document) = self.device.release(&release) else {
            tracing::error!(release = %release.short(), "asked to prepare a release without a document");
            return;
        };
        let variant = self.device.variant(document).map(|variant| variant.cloned());
        let document = dunlin_core::document::Release::clone(document);
        let workshop = prepare::Workshop {
            store: self.store.clone(),
            worker: self.data.clone(),
            policy: self.policy,
            engine: self.engine,
            variant,
        };
        self.preparations.begin(release, workshop.prepare(release, document));
    }

    async fn prepared(&mut self, attempt: Attempt, event: Event) -> Result<(), AgentError> {
        let (Event::Prepared { release } | Event::PrepareFailed { release, .. }) = event else {
            return Ok(());
        };
        if self.preparations.ended(release, attempt) {
            self.handle(event).await?;
        } else if !self.preparations.is_under_way(release) && !self.has_loaded(release) {
            // It was given up while it was being loaded.
            self.data.discard(release).await?;
        }
        self.serve_when_decided();
        Ok(())
    }

    fn has_loaded(&self, release: Digest) -> bool {
        let models = &self.device.state().models;
        models.iter().any(|state| self.device.loaded(&state.model).any(|loaded| loaded == release))
    }

    async fn switch(&mut self, model: ModelName, release: Digest) -> Result<Option<Event>, AgentError> {
        match self.data.activate(model.clone(), release).await {
            Ok(()) => {
                tracing::info!(%model, release = %release.short(), "requests go to this release");
                Ok(None)
            }
            Err(error @ DataError::Ended(_)) => Err(error.into()),
            // A worker died in between and lost it.
            Err(error) => {
                tracing::warn!(%model, code = %error.code(), "not switched: {error}");
                Ok(Some(Event::Unloaded { release }))
            }
        }
    }

    /// A worker died. Connections wait until what follows for the suspects is done.
    async fn worker_died(&mut self, died: Died) -> Result<(), AgentError> {
        let Died { suspects, code, detail } = died;
        if !suspects.is_empty() {
            self.preparations.decide();
        }
        self.handle(Event::WorkerDied { suspects, code: code.id.to_string(), detail }).await?;
        self.serve_when_decided();
        Ok(())
    }

    fn serve_when_decided(&mut self) {
        if self.preparations.is_decided() {
            self.data.serve();
        }
    }

    async fn link_event(&mut self, event: dunlin_mqtt::Event) -> Result<(), AgentError> {
        match event {
            dunlin_mqtt::Event::Connected => {
                tracing::info!("connected to the broker");
                self.fetcher.link_up();
                self.watch.retry_refused().await;
                self.presence.connected(true);
                self.takeover.connected(Instant::now());
                self.tell_status()?;
                self.say_online()?;
            }
            dunlin_mqtt::Event::ClockBehind { certificate_from_unix_s } => {
                let code = code::link::CLOCK_BEHIND;
                let detail = format!("the broker's certificate is valid from {certificate_from_unix_s} on");
                let (code, what) = (code.id.to_string(), Subject::Device);
                self.tell(Occurrence::Alarm { code, detail, what });
            }
            dunlin_mqtt::Event::Disconnected { reason, retry_in } => {
                tracing::warn!(retry_in_ms = retry_in.as_millis(), "not connected to the broker: {reason}");
                self.presence.connected(false);
                if self.takeover.disconnected(Instant::now()) {
                    let code = code::link::DUPLICATE_IDENTITY.id.to_string();
                    let detail = String::from(report::TAKEN_OVER);
                    self.tell(Occurrence::Alarm { code, detail, what: Subject::Device });
                }
                self.fetcher.link_down();
                self.tell_status()?;
            }
            dunlin_mqtt::Event::Received(message) => self.received(&message).await?,
        }
        Ok(())
    }

    async fn received(&mut self, message: &Message) -> Result<(), AgentError> {
        if self.fetcher.deliver(message) {
            return Ok(());
        }
        // Somebody deletes what the broker retains; it says nothing to a device.
        if message.payload.is_empty() {
            tracing::debug!(topic = %message.topic, "deleted on the broker");
            return Ok(());
        }
        let envelope = || message.payload.to_vec();
        match self.watch.get(&message.topic).cloned() {
            Some(Watched::Root) => self.handle(Event::RootArrived { envelope: envelope() }).await,
            Some(Watched::Deployment(audience)) => {
                self.handle(Event::DeploymentArrived { audience, envelope: envelope() }).await
            }
            Some(Watched::Release(digest)) => {
                self.handle(Event::ReleaseArrived { digest, envelope: envelope() }).await?;
                if self.device.release(&digest).is_some() {
                    self.watch.end_release(digest).await;
                }
                Ok(())
            }
            Some(Watched::Presence) => {
                if self.presence.contradicts(message, Instant::now()) {
                    tracing::warn!("the broker says that this device is offline: said online again");
                    self.say_online()?;
                }
                Ok(())
            }
            // Unsubscribed in the meantime.
            None => Ok(()),
        }
    }

    async fn fetched(&mut self, attempt: Attempt, event: FetchEvent) -> Result<(), AgentError> {
        if !self.fetcher.is_current(attempt, &event) {
            return Ok(());
        }
        match event {
            FetchEvent::Done { release } => self.handle(Event::BlobsArrived { release }).await,
            FetchEvent::Failed { release, code, detail } => {
                let code = code.id.to_string();
                self.handle(Event::TransferFailed { release, code, detail }).await
            }
            FetchEvent::Stalled { release, digest: _, code, detail } => {
                let code = code.id.to_string();
                self.handle(Event::TransferStalled { release, code, detail }).await
            }
            FetchEvent::Resumed { release } => {
                tracing::info!(release = %release.short(), "chunks come again");
                self.handle(Event::TransferResumed { release }).await
            }
            FetchEvent::BadChunk { release, digest: _, code, detail } => {
                tracing::warn!(%code, release = %release.short(), "{detail}");
                self.push(|control, header| {
                    record::about_release(&control.device, header, "refused", release, code, detail)
                })
            }
            FetchEvent::Slow { release, code, detail } => {
                tracing::warn!(%code, release = %release.short(), "{detail}");
                self.push(|control, header| {
                    record::about_release(&control.device, header, "alarm", release, code, detail)
                })
            }
        }
    }

    async fn tick(&mut self) -> Result<(), AgentError> {
        if self.device.state().models.iter().any(|model| model.in_trial()) {
            self.observe_trials().await?;
        }
        self.report_damage();
        self.retry_what_waits().await?;
        self.handle(Event::Ticked).await?;
        let configured = self.report_interval_s.or(self.device.report_interval_s());
        let interval_s = configured.unwrap_or(DEFAULT_REPORT_INTERVAL_S);
        // A tick comes a little late, and the next one a whole second later.
        let due = Duration::from_secs(u64::from(interval_s)).saturating_sub(Duration::from_millis(500));
        if self.reported.elapsed() >= due { self.report().await } else { Ok(()) }
    }

    /// Ends the link in order: presence and the last events leave first, as far as there is a broker.
    async fn stop(mut self, sources: Sources, in_order: bool) {
        let patience =
            if in_order && self.presence.is_connected() { shutdown::PATIENCE } else { Duration::ZERO };
        if let Ok(now) = moment(self.epoch)
            && let Some(message) = self.presence.offline(&self.device, now)
            && patience > Duration::ZERO
        {
            self.outbox.drained(patience).await;
            let sent = tokio::time::timeout(patience, self.link.publish(message)).await;
            if !matches!(sent, Ok(Ok(()))) {
                tracing::warn!("the broker was not told that the device leaves");
            }
        }
        self.data.end(API_GRACE).await;
        self.fetcher.stop().await;
        if in_order {
            self.link.close().await;
        }
        drop(sources);
    }
}

/// The moment, as the device sees it.
fn moment(epoch: Instant) -> Result<Now, AgentError> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| AgentError::system("randomness", &error))?;
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Now {
        wall_unix_s: wall.as_secs(),
        monotonic_ms: u64::try_from(epoch.elapsed().as_millis()).unwrap_or(u64::MAX),
        random: u64::from_le_bytes(random),
    })
}

/// Runs what waits for the disk on a thread of its own.
async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, AgentError>
where
    T: Send + 'static,
    E: Into<AgentError> + Send + 'static,
{
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| AgentError::system("thread for the disk", &error))?.map_err(Into::into)
}
