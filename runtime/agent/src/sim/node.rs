//! A device: the parts that decide and store are the real ones, the rest is a loop.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use dunlin_abi::Simd;
use dunlin_core::Digest;
use dunlin_core::code::Coded as _;
use dunlin_core::document::Audience;
use dunlin_core::id::{DeviceId, ModelName};
use dunlin_core::topic;
use dunlin_core::transfer::{TransferAction, TransferConfig, TransferEvent};
use dunlin_core::trust::TrustedRoot;
use dunlin_core::update::{
    Action, Attempts, Device, DeviceState, Event, Fault, Identity, Now, Occurrence, Roster, SitePolicy,
    device_blobs,
};

use super::plant::{self, Behaviour, Broker, Plant, TODAY};
use crate::control::{boot, durable};
use crate::fetch::job::{Failure, Job, Pull};
use crate::store::faulty::FaultyFs;
use crate::store::{Store, StoreError};

/// The power is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Off;

/// A device, on or off.
pub(super) struct Node {
    pub(super) id: DeviceId,
    pub(super) fs: FaultyFs,
    first_root: Vec<u8>,
    starts: u64,
    power_cuts: u64,
    running: Option<Running>,
    pub(super) seen: Seen,
}

/// What an observer of a device knows for certain.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// The last state whose commit returned.
    pub(super) committed: Option<DeviceState>,
    /// The release that was proven last, per model.
    pub(super) proven: BTreeMap<ModelName, Digest>,
    /// How often a release was proven.
    pub(super) proofs: u64,
    /// Payloads of chunks that the device took in, in bytes.
    pub(super) taken_bytes: u64,
    pub(super) codes: BTreeMap<String, u64>,
}

struct Running {
    store: Store,
    device: Device,
    started_ms: u64,
    root_watched: u64,
    audiences: Vec<Audience>,
    documents: BTreeSet<Digest>,
    /// What was delivered on each topic since it was subscribed to.
    delivered: BTreeMap<String, Digest>,
    jobs: BTreeMap<Digest, Job>,
    fetches: Attempts,
    /// What the worker has: releases whose bytes were hashed in this boot.
    roster: Roster<()>,
    /// Releases that are to be prepared.
    asked: Vec<Digest>,
    /// Events that wait for the disk.
    waiting: VecDeque<Event>,
}

impl Node {
    pub(super) fn new(id: &str, plant: &Plant, fs: FaultyFs) -> Node {
        let (id, first_root) = (id.parse().unwrap(), plant.first_root());
        Node { id, fs, first_root, starts: 0, power_cuts: 0, running: None, seen: Seen::default() }
    }

    /// The store, as somebody sees it who looks into the folder.
    pub(super) fn store_beside(&self) -> Result<Store, StoreError> {
        self.open()
    }

    fn open(&self) -> Result<Store, StoreError> {
        Store::with(Box::new(self.fs.clone()), Path::new("/device"), None, 512)
    }

    pub(super) fn is_on(&self) -> bool {
        self.running.is_some()
    }

    pub(super) fn switch_off(&mut self) {
        self.power_cuts += 1;
        self.running = None;
        self.fs.restart();
    }

    /// Starts the agent. It may not come up: then the service manager tries again.
    pub(super) fn start(&mut self, now_ms: u64) -> Result<(), Off> {
        self.starts += 1;
        match self.try_start(now_ms) {
            Ok(()) => Ok(()),
            Err(_) if self.fs.is_off() => Err(Off),
            // What failed once does not fail again here.
            Err(error) => match self.try_start(now_ms) {
                Ok(()) => Ok(()),
                Err(_) if self.fs.is_off() => Err(Off),
                // A device that never ran needs room for its slots; every other one starts.
                Err(again) => {
                    assert!(self.seen.committed.is_none(), "{} does not start: {error}, {again}", self.id);
                    Ok(())
                }
            },
        }
    }

    fn try_start(&mut self, now_ms: u64) -> Result<(), String> {
        let store = self.open().map_err(|error| error.to_string())?;
        let identity = Identity {
            fleet: plant::fleet(),
            device: self.id.clone(),
            runtime_version: "0.1.0".parse().unwrap(),
            released_unix_s: 0,
            simd: Simd::Relaxed,
            boot_id: format!("{:032x}", self.starts),
            machine_boot: Some(format!("boot {}", self.power_cuts)),
            site: SitePolicy::default(),
            machine: None,
        };
        let (id, first_root) = (self.id.clone(), self.first_root.clone());
        let enrol = |store: &Store| {
            let root = TrustedRoot::enrolled(&first_root)?;
            let state = DeviceState::enrolled(&plant::enrolment(&id), &root);
            store.store_root(1, &first_root)?;
            store.commit(&state)?;
            Ok((state, root))
        };
        let device = boot::restore(&store, identity, || None, enrol).map_err(|error| error.to_string())?;
        let mut running = Running {
            store,
            device,
            started_ms: now_ms,
            root_watched: 0,
            audiences: Vec::new(),
            documents: BTreeSet::new(),
            delivered: BTreeMap::new(),
            jobs: BTreeMap::new(),
            fetches: Attempts::default(),
            roster: Roster::default(),
            asked: Vec::new(),
            waiting: VecDeque::new(),
        };
        let actions = running.device.step(running.now(now_ms), Event::Started);
        let (stores, rest) = durable::split(actions);
        durable::perform(&running.store, running.device.state(), &stores)
            .map_err(|error| error.to_string())?;
        self.seen.committed = Some(running.device.state().clone());
        self.running = Some(running);
        self.perform(now_ms, rest).map_err(|_| String::from("the power went"))
    }

    pub(super) fn state(&self) -> Option<&DeviceState> {
        Some(self.running.as_ref()?.device.state())
    }

    pub(super) fn serving(&self) -> Option<Digest> {
        self.running.as_ref()?.roster.active().values().next().copied()
    }

    /// Whether events wait for the disk: what the device believes is older than they are.
    pub(super) fn waits_for_disk(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.waiting.is_empty())
    }

    /// What the device believes to serve.
    pub(super) fn believed(&self) -> Option<Digest> {
        let device = &self.running.as_ref()?.device;
        device.state().models.iter().find_map(|state| device.serving(&state.model))
    }

    /// The worker dies, in a call of what serves or in none, and is started again.
    pub(super) fn worker_dies(&mut self, now_ms: u64, in_call: bool, plant: &Plant) -> Result<(), Off> {
        let suspects: Vec<Digest> = self.serving().into_iter().filter(|_| in_call).collect();
        let Some(running) = &mut self.running else { return Ok(()) };
        running.roster.lose(&suspects);
        let (code, detail) = (String::from("worker-died"), String::from("a test"));
        self.handle(now_ms, Event::WorkerDied { suspects, code, detail }, plant)
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.running.as_ref().is_some_and(|running| {
            running.waiting.is_empty()
                && running.asked.is_empty()
                && running.jobs.is_empty()
                && running.device.state().models.iter().all(|model| model.next.is_none())
        })
    }

    /// What is under way, for the message of a failed test.
    pub(super) fn describe(&self) -> String {
        let Some(running) = &self.running else { return String::from("off") };
        let models = &running.device.state().models;
        let (jobs, waiting) = (running.jobs.keys().map(Digest::short).collect::<Vec<_>>(), &running.waiting);
        format!("models {models:#?}, fetching {jobs:?}, waiting {waiting:?}, codes {:?}", self.seen.codes)
    }

    /// Time passes: retries, probation, and what models do.
    pub(super) fn tick(&mut self, now_ms: u64, plant: &Plant) -> Result<(), Off> {
        let mut due: Vec<Event> = Vec::new();
        if let Some(running) = &mut self.running {
            due.extend(running.waiting.drain(..));
            due.extend(running.results(plant));
        }
        if self.fs.is_off() {
            return Err(Off);
        }
        for event in due {
            self.handle(now_ms, event, plant)?;
        }
        self.handle(now_ms, Event::Ticked, plant)?;
        let Some(running) = &self.running else { return Ok(()) };
        let served: Vec<Digest> = running.roster.active().values().copied().collect();
        for release in served {
            let event = match plant.model(&release).behaviour {
                Behaviour::FailsInTrial => Event::Observed { release, served: 1, failed: 5 },
                Behaviour::Good | Behaviour::WrongAnswers => {
                    Event::Observed { release, served: 20, failed: 0 }
                }
            };
            self.handle(now_ms, event, plant)?;
        }
        Ok(())
    }

    /// One round with the broker: whatever is new on watched topics, and a window of chunks. Whether
    /// something came.
    pub(super) fn exchange(&mut self, now_ms: u64, plant: &Plant) -> Result<bool, Off> {
        let documents = self.take_documents(now_ms, plant)?;
        let chunks = self.take_chunks(now_ms, plant)?;
        Ok(documents || chunks)
    }

    fn take_documents(&mut self, now_ms: u64, plant: &Plant) -> Result<bool, Off> {
        let Some(running) = &self.running else { return Ok(false) };
        let fleet = plant::fleet();
        let root = (topic::root(&fleet, running.root_watched), None, None);
        let deployments = running
            .audiences
            .iter()
            .map(|audience| (topic::deployment(&fleet, audience), Some(audience.clone()), None));
        let releases =
            running.documents.iter().map(|digest| (topic::release(&fleet, digest), None, Some(*digest)));
        let topics: Vec<_> = std::iter::once(root).chain(deployments).chain(releases).collect();
        let mut came = false;
        for (topic, audience, release) in topics {
            let Some(envelope) = plant.broker.retained.get(&topic).cloned() else { continue };
            let Some(running) = &mut self.running else { return Ok(came) };
            let digest = Digest::of(&envelope);
            if running.delivered.insert(topic, digest) == Some(digest) {
                continue;
            }
            came = true;
            let event = match (audience, release) {
                (Some(audience), _) => Event::DeploymentArrived { audience, envelope },
                (None, Some(digest)) => Event::ReleaseArrived { digest, envelope },
                (None, None) => Event::RootArrived { envelope },
            };
            self.handle(now_ms, event, plant)?;
        }
        Ok(came)
    }

    fn take_chunks(&mut self, now_ms: u64, plant: &Plant) -> Result<bool, Off> {
        let releases: Vec<Digest> =
            self.running.iter().flat_map(|running| running.jobs.keys().copied()).collect();
        let mut came = false;
        for release in releases {
            match self.pull(now_ms, release, &plant.broker) {
                Ok(some) => came |= some,
                Err(_) if self.fs.is_off() => return Err(Off),
                Err(failure) => {
                    if let Some(running) = &mut self.running {
                        running.jobs.remove(&release);
                    }
                    let (code, detail) = (failure.code.id.to_string(), failure.detail);
                    self.handle(now_ms, Event::TransferFailed { release, code, detail }, plant)?;
                }
            }
            let over = |running: &Running| {
                running.jobs.get(&release).is_some_and(|job| job.pull.is_none() && job.pending.is_empty())
            };
            if self.running.as_ref().is_some_and(over) {
                if let Some(running) = &mut self.running {
                    running.jobs.remove(&release);
                }
                self.handle(now_ms, Event::BlobsArrived { release }, plant)?;
                came = true;
            }
        }
        Ok(came)
    }

    /// A window of chunks of one release.
    fn pull(&mut self, now_ms: u64, release: Digest, broker: &Broker) -> Result<bool, Failure> {
        let Some(running) = &mut self.running else { return Ok(false) };
        let store = running.store.clone();
        let Some(job) = running.jobs.get_mut(&release).filter(|job| job.start_at_ms <= now_ms) else {
            return Ok(false);
        };
        if job.pull.is_none() {
            let Some(blob) = job.pending.pop_front() else { return Ok(false) };
            job.pull = Pull::open(&store, &blob, TransferConfig::default(), now_ms)?;
            let Some(pull) = &mut job.pull else { return Ok(true) };
            let actions = pull.transfer.step(now_ms, TransferEvent::Started);
            if actions.contains(&TransferAction::Finished) {
                return finish(job).map(|()| true);
            }
        }
        let Some(pull) = &mut job.pull else { return Ok(false) };
        pull.transfer.step(now_ms, TransferEvent::Ticked);
        let outstanding: Vec<Digest> = pull.transfer.outstanding().copied().collect();
        let mut came = false;
        for digest in outstanding {
            let Some(payload) = broker.retained.get(&topic::chunk(&plant::fleet(), &digest)) else {
                continue;
            };
            let Some(pull) = &mut job.pull else { break };
            came = true;
            self.seen.taken_bytes += payload.len() as u64;
            let mut actions = pull.transfer.step(now_ms, TransferEvent::Arrived { digest, payload });
            while !actions.is_empty() {
                let Some(pull) = &mut job.pull else { break };
                let mut more = Vec::new();
                for action in actions {
                    match action {
                        TransferAction::Write { index, offset, .. } => {
                            if let Some(mut partial) = pull.partial.take() {
                                partial.write(now_ms, index, offset, payload)?;
                                pull.partial = Some(partial);
                            }
                        }
                        TransferAction::ListComplete { .. } => {
                            let chunks = pull.transfer.chunks().to_vec();
                            let mut partial = store.create_partial(pull.blob, pull.size_bytes, &chunks)?;
                            for digest in partial.take_what_is_here(now_ms)? {
                                pull.transfer.step(now_ms, TransferEvent::Present { digest });
                            }
                            pull.partial = Some(partial);
                            more.extend(pull.transfer.step(now_ms, TransferEvent::Started));
                        }
                        TransferAction::Finished => return finish(job).map(|()| true),
                        TransferAction::Failed => panic!("a list of ours is good"),
                        TransferAction::Subscribe { .. }
                        | TransferAction::Unsubscribe { .. }
                        | TransferAction::Stalled { .. }
                        | TransferAction::Slow { .. } => {}
                    }
                }
                actions = more;
            }
        }
        Ok(came)
    }

    /// A step as the control plane makes it: a transaction with the disk.
    fn handle(&mut self, now_ms: u64, event: Event, plant: &Plant) -> Result<(), Off> {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let Some(running) = &mut self.running else { return Ok(()) };
            if !running.waiting.is_empty() {
                running.waiting.push_back(event);
                continue;
            }
            let (before, again) = (running.device.clone(), event.clone());
            let (stores, rest) = durable::split(running.device.step(running.now(now_ms), event));
            let commits = !stores.is_empty();
            let state = running.device.state().clone();
            let stored = durable::perform(&running.store, &state, &stores);
            if stored.is_err() {
                if self.fs.is_off() {
                    return Err(Off);
                }
                let code = stored.as_ref().err().map_or("", |error| error.code().id);
                *self.seen.codes.entry(code.to_string()).or_default() += 1;
                running.device = before;
                running.waiting.push_back(again);
                continue;
            }
            if commits {
                self.seen.committed = Some(state);
            }
            self.perform(now_ms, rest)?;
            let Some(running) = &mut self.running else { return Ok(()) };
            events.extend(running.results(plant));
            if self.fs.is_off() {
                return Err(Off);
            }
        }
        Ok(())
    }

    fn perform(&mut self, now_ms: u64, actions: Vec<Action>) -> Result<(), Off> {
        for action in actions {
            let Some(running) = &mut self.running else { return Ok(()) };
            match action {
                Action::StoreRoot { .. } | Action::StoreDocument { .. } | Action::Persist => {
                    panic!("what is durable comes first")
                }
                Action::WatchRoot { version } => running.root_watched = version,
                Action::WatchDeployments { audiences } => {
                    for audience in &audiences {
                        running.delivered.remove(&topic::deployment(&plant::fleet(), audience));
                    }
                    running.audiences = audiences;
                }
                Action::FetchRelease { digest } => {
                    running.delivered.remove(&topic::release(&plant::fleet(), &digest));
                    running.documents.insert(digest);
                }
                Action::FetchBlobs { release, blobs, delay_ms } => {
                    let start_at_ms = now_ms + delay_ms;
                    let attempt = running.fetches.begin(release);
                    let job = Job { attempt, pending: VecDeque::from(blobs), start_at_ms, pull: None };
                    running.jobs.entry(release).or_insert(job);
                }
                Action::CancelFetch { release } => {
                    running.documents.remove(&release);
                    running.jobs.remove(&release);
                }
                Action::Prepare { release } => running.asked.push(release),
                Action::Switch { model, release } => {
                    assert!(running.roster.get(&release).is_some(), "no unverified byte is loaded");
                    running.roster.activate(model, release);
                }
                Action::Stop { model } => running.roster.stop(&model),
                Action::Forget { model } => running.roster.forget(&model),
                Action::Discard { release } => {
                    running.asked.retain(|asked| *asked != release);
                    running.roster.discard(&release);
                }
                Action::CleanUp { keep_documents, keep_blobs } => {
                    if running.store.clean_up(&keep_documents, &keep_blobs).is_err() && self.fs.is_off() {
                        return Err(Off);
                    }
                }
                Action::Report(occurrence) => self.seen.note(&occurrence),
            }
        }
        Ok(())
    }
}

impl Seen {
    fn note(&mut self, occurrence: &Occurrence) {
        match occurrence {
            Occurrence::Proven { model, release } => {
                self.proven.insert(model.clone(), *release);
                self.proofs += 1;
            }
            Occurrence::Refused { code, .. }
            | Occurrence::RolledBack { code, .. }
            | Occurrence::Alarm { code, .. } => *self.codes.entry(code.clone()).or_default() += 1,
            Occurrence::RootAccepted { .. }
            | Occurrence::DeploymentAccepted { .. }
            | Occurrence::Installed { .. }
            | Occurrence::Switched { .. }
            | Occurrence::Removed { .. } => {}
        }
    }
}

impl Running {
    fn now(&self, now_ms: u64) -> Now {
        let monotonic_ms = now_ms - self.started_ms;
        Now { wall_unix_s: TODAY + now_ms / 1000, monotonic_ms, random: now_ms }
    }

    /// What preparing gives: the blobs are hashed from the disk, and the golden answers compared.
    fn results(&mut self, plant: &Plant) -> Vec<Event> {
        let asked = std::mem::take(&mut self.asked);
        asked.into_iter().map(|release| self.prepare(release, plant)).collect()
    }

    fn prepare(&mut self, release: Digest, plant: &Plant) -> Event {
        let failed = |fault, code: &str, detail: String| Event::PrepareFailed {
            release,
            fault,
            code: code.to_string(),
            detail,
        };
        let Some(document) = self.device.release(&release) else { panic!("prepared without a document") };
        for blob in device_blobs(document, None) {
            match self.store.blob(&blob.digest, blob.size_bytes) {
                Ok(artifact) => assert!(artifact.digest() == blob.digest),
                Err(error @ (StoreError::BlobMissing(_) | StoreError::BlobDamaged { .. })) => {
                    return failed(Fault::Blob, error.code().id, error.to_string());
                }
                Err(error) => return failed(Fault::Device, error.code().id, error.to_string()),
            }
        }
        if plant.model(&release).behaviour == Behaviour::WrongAnswers {
            return failed(Fault::Release, "golden-differs", String::from("a wrong answer"));
        }
        self.roster.load(document.model.clone(), release, ());
        Event::Prepared { release }
    }
}

fn finish(job: &mut Job) -> Result<(), Failure> {
    if let Some(partial) = job.pull.take().and_then(|pull| pull.partial) {
        partial.finish()?;
    }
    Ok(())
}
