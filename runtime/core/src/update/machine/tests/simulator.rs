//! A device with everything around it: a broker that withholds, a disk that fills up, transfers and
//! preparations that take their time, and a worker that dies.
//!
//! [`Shell`] holds the real machine and its disk. The books of the supervisor ([`Roster`]) and the attempts of
//! the agent ([`Attempts`]) are the real ones. [`Process`] is a worker as the agent's data plane has it: it
//! knows nothing of the state, and obeys. Whatever is asynchronous in the agent waits here in a list, until
//! the test lets it go on.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};

use super::*;
use crate::document::Want;
use crate::fixture::{channel, deployment, digest_of, release, removal};
use crate::update::{Attempt, Attempts, Roster};

/// A worker process: what it was ordered to load, and what answers requests.
#[derive(Clone, Debug, Default)]
pub(super) struct Process {
    staged: BTreeSet<Digest>,
    active: BTreeMap<ModelName, Digest>,
}

impl Process {
    fn load(&mut self, release: Digest) {
        if self.active.values().all(|active| *active != release) {
            self.staged.insert(release);
        }
    }

    fn activate(&mut self, model: &ModelName, release: Digest) -> bool {
        if self.staged.remove(&release) {
            self.active.insert(model.clone(), release);
            return true;
        }
        self.active.get(model) == Some(&release)
    }

    pub(super) fn loaded(&self) -> BTreeSet<Digest> {
        self.staged.iter().chain(self.active.values()).copied().collect()
    }
}

/// A transfer under way.
#[derive(Clone, Debug)]
struct Job {
    attempt: Attempt,
    blobs: Vec<Digest>,
    stalled: bool,
}

/// What comes of an attempt, on its way to the machine.
#[derive(Clone, Debug)]
enum Outcome {
    Fetch(Attempt, Event),
    Preparation(Attempt, Event),
}

pub(super) struct World {
    pub(super) shell: Shell,
    pub(super) process: Process,
    roster: Roster<()>,
    fetches: Attempts,
    preparations: Attempts,
    jobs: BTreeMap<Digest, Job>,
    preparing: Vec<(Digest, Attempt)>,
    inbox: VecDeque<Outcome>,
    deaths: VecDeque<Event>,
    /// Release documents that were asked for.
    asked: BTreeSet<Digest>,
    /// Blobs on disk.
    store: BTreeSet<Digest>,
    /// Releases whose chunks the broker withholds, and those whose document it withholds.
    pub(super) chunks_withheld: BTreeSet<Digest>,
    pub(super) documents_withheld: BTreeSet<Digest>,
    pub(super) disk_full: bool,
    /// Releases that failed in calls, or were in one when their worker died.
    pub(super) guilty: BTreeSet<Digest>,
    sequence: u64,
    wanted: BTreeMap<ModelName, crate::document::ModelEntry>,
    pub(super) releases: BTreeMap<Digest, Release>,
}

/// Releases of a model that there are.
pub(super) const COUNTERS: core::ops::Range<u64> = 1..4;

impl World {
    pub(super) fn new() -> World {
        let all =
            ["m", "n"].into_iter().flat_map(|model| COUNTERS.map(move |counter| release(model, counter)));
        World {
            shell: Shell::new(),
            process: Process::default(),
            roster: Roster::default(),
            fetches: Attempts::default(),
            preparations: Attempts::default(),
            jobs: BTreeMap::new(),
            preparing: Vec::new(),
            inbox: VecDeque::new(),
            deaths: VecDeque::new(),
            asked: BTreeSet::new(),
            store: BTreeSet::new(),
            chunks_withheld: BTreeSet::new(),
            documents_withheld: BTreeSet::new(),
            disk_full: false,
            guilty: BTreeSet::new(),
            sequence: 0,
            wanted: BTreeMap::new(),
            releases: all.map(|release| (digest_of(&release), release)).collect(),
        }
    }

    pub(super) fn digest(&self, model: &str, counter: u64) -> Digest {
        let mut all = self.releases.iter();
        let found = all.find(|(_, it)| it.model.as_str() == model && it.counter == counter);
        *found.unwrap().0
    }

    pub(super) fn serving(&self, model: &ModelName) -> Option<Digest> {
        self.process.active.get(model).copied()
    }

    pub(super) fn wanted(&self, model: &ModelName) -> Option<&Want> {
        self.wanted.get(model).map(|entry| &entry.want)
    }

    pub(super) fn has_blobs(&self, release: &Digest) -> bool {
        device_blobs(&self.releases[release], None).all(|blob| self.store.contains(&blob.digest))
    }

    pub(super) fn has_deaths(&self) -> bool {
        !self.deaths.is_empty()
    }

    /// Whether what is loaded without the machine's knowledge is on its way to it.
    pub(super) fn comes(&self, release: &Digest) -> bool {
        self.inbox.iter().any(|outcome| match outcome {
            Outcome::Preparation(_, Event::Prepared { release: it }) => it == release,
            Outcome::Preparation(..) | Outcome::Fetch(..) => false,
        })
    }

    /// The operator deploys a release, or removes the model; what other models should run stays as it was.
    pub(super) fn deploy(&mut self, model: &str, want: Option<Want>, retry: bool) {
        let entry = match want {
            Some(want) => crate::document::ModelEntry { model: model.parse().unwrap(), want, retry },
            None => removal(model),
        };
        self.sequence += 1;
        self.wanted.values_mut().for_each(|entry| entry.retry = false);
        self.wanted.insert(entry.model.clone(), entry);
        let deployment = deployment(channel(), self.sequence, self.wanted.values().cloned().collect());
        let envelope = signed(&deployment, &[Key::Deploy]);
        self.handle(Event::DeploymentArrived { audience: channel(), envelope });
    }

    /// A step of the machine, and what it orders. Deaths come before anything that happened after them.
    pub(super) fn handle(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = self.deaths.pop_front().or_else(|| events.pop_front()) {
            for action in self.shell.step(event) {
                events.extend(self.perform(action));
            }
        }
    }

    fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::FetchRelease { digest } => {
                self.asked.insert(digest);
            }
            Action::FetchBlobs { release, blobs, .. } => {
                let attempt = self.fetches.begin(release);
                let blobs = blobs.iter().map(|blob| blob.digest).collect();
                self.jobs.insert(release, Job { attempt, blobs, stalled: false });
            }
            Action::CancelFetch { release } => {
                self.asked.remove(&release);
                self.fetches.end(&release);
                self.jobs.remove(&release);
            }
            Action::Prepare { release } => {
                let attempt = self.preparations.begin(release);
                self.preparing.push((release, attempt));
            }
            Action::Switch { model, release } => {
                if !self.process.activate(&model, release) {
                    return Some(Event::Unloaded { release });
                }
                self.roster.activate(model, release);
            }
            Action::Stop { model } => {
                self.roster.stop(&model);
                self.process.active.remove(&model);
            }
            Action::Forget { model } => {
                self.roster.forget(&model);
                self.process.active.remove(&model);
                self.process.staged.retain(|release| self.releases[release].model != model);
            }
            Action::Discard { release } => {
                self.preparations.end(&release);
                self.discard(&release);
            }
            Action::CleanUp { keep_blobs, .. } => self.store.retain(|blob| keep_blobs.contains(blob)),
            _stored_by_the_shell_or_seen_by_others => {}
        }
        None
    }

    fn discard(&mut self, release: &Digest) {
        self.roster.discard(release);
        self.process.staged.remove(release);
    }

    /// How many things are under way.
    pub(super) fn under_way(&self) -> usize {
        self.asked.len() + self.jobs.len() + self.preparing.len() + self.inbox.len()
    }

    /// Lets one of the things that are under way go on.
    pub(super) fn proceed(&mut self, which: usize) {
        let (asked, jobs, preparing) = (self.asked.len(), self.jobs.len(), self.preparing.len());
        let Some(which) = which.checked_rem(self.under_way()) else { return };
        if which < asked {
            self.proceed_document(which);
        } else if which < asked + jobs {
            self.proceed_job(which - asked);
        } else if which < asked + jobs + preparing {
            self.proceed_preparation(which - asked - jobs);
        } else if let Some(outcome) = self.inbox.pop_front() {
            self.take(outcome);
        }
    }

    fn proceed_document(&mut self, which: usize) {
        let digest = *self.asked.iter().nth(which).unwrap();
        if !self.documents_withheld.contains(&digest) {
            self.asked.remove(&digest);
            let envelope = signed(&self.releases[&digest], &[Key::Release]);
            self.handle(Event::ReleaseArrived { digest, envelope });
        }
    }

    fn proceed_job(&mut self, which: usize) {
        let release = *self.jobs.keys().nth(which).unwrap();
        let Some(job) = self.jobs.get_mut(&release) else { return };
        let (attempt, blobs, stalled) = (job.attempt, job.blobs.clone(), job.stalled);
        let here = blobs.iter().all(|blob| self.store.contains(blob));
        let text = |code: &str| (String::from(code), String::from("a test"));
        if !here && self.chunks_withheld.contains(&release) {
            let (code, detail) = text("chunk-missing");
            if !core::mem::replace(&mut job.stalled, true) {
                let event = Event::TransferStalled { release, code, detail };
                self.inbox.push_back(Outcome::Fetch(attempt, event));
            }
            return;
        }
        if stalled {
            self.inbox.push_back(Outcome::Fetch(attempt, Event::TransferResumed { release }));
        }
        self.jobs.remove(&release);
        let event = if !here && self.disk_full {
            let (code, detail) = text("disk-full");
            Event::TransferFailed { release, code, detail }
        } else {
            self.store.extend(blobs);
            Event::BlobsArrived { release }
        };
        self.inbox.push_back(Outcome::Fetch(attempt, event));
    }

    /// The blobs are read, and the release is loaded into the worker; nobody looks whether it is still wanted.
    fn proceed_preparation(&mut self, which: usize) {
        let (release, attempt) = self.preparing.remove(which);
        let event = if self.roster.get(&release).is_some() || self.has_blobs(&release) {
            self.process.load(release);
            self.roster.load(self.releases[&release].model.clone(), release, ());
            Event::Prepared { release }
        } else {
            let (code, detail) = (String::from("blob-missing"), String::from("a test"));
            Event::PrepareFailed { release, fault: Fault::Blob, code, detail }
        };
        self.inbox.push_back(Outcome::Preparation(attempt, event));
    }

    fn take(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Fetch(attempt, event) => {
                if self.fetches.is_current(&of(&event), attempt) {
                    self.handle(event);
                }
            }
            Outcome::Preparation(attempt, event) => {
                let release = of(&event);
                if self.preparations.is_current(&release, attempt) {
                    self.preparations.end(&release);
                    self.handle(event);
                } else if !self.preparations.is_under_way(&release) && !self.device_has(&release) {
                    self.discard(&release);
                }
            }
        }
    }

    fn device_has(&self, release: &Digest) -> bool {
        let model = &self.releases[release].model;
        self.shell.device.loaded(model).any(|it| it == *release)
    }

    /// The worker dies while these releases were in a call; the next one is given what the books say.
    pub(super) fn worker_dies(&mut self, in_call: &[Digest]) {
        let suspects: Vec<Digest> =
            in_call.iter().filter(|release| self.roster.get(release).is_some()).copied().collect();
        self.roster.lose(&suspects);
        self.guilty.extend(&suspects);
        self.process = Process::default();
        self.roster.releases().into_iter().for_each(|release| self.process.load(release));
        for (model, release) in self.roster.active() {
            assert!(self.process.activate(model, *release), "the books are whole");
        }
        let (code, detail) = (String::from("worker-died"), String::from("a test"));
        self.deaths.push_back(Event::WorkerDied { suspects, code, detail });
    }

    /// What the supervisor tells of deaths comes to the machine.
    pub(super) fn take_deaths(&mut self) {
        if let Some(death) = self.deaths.pop_front() {
            self.handle(death);
        }
    }

    /// The agent dies, and its worker with it; or the power goes.
    pub(super) fn agent_dies(&mut self, power_cut: bool) {
        let store = core::mem::take(&mut self.store);
        let before = core::mem::replace(self, World::new());
        *self = World { shell: before.shell, store, ..World::new() };
        self.chunks_withheld = before.chunks_withheld;
        (self.documents_withheld, self.guilty) = (before.documents_withheld, before.guilty);
        (self.disk_full, self.sequence, self.wanted) = (before.disk_full, before.sequence, before.wanted);
        let actions = if power_cut { self.shell.power_cut() } else { self.shell.reboot() };
        let events: Vec<Event> = actions.into_iter().filter_map(|action| self.perform(action)).collect();
        events.into_iter().for_each(|event| self.handle(event));
        // The broker says again what it retains.
        if self.sequence > 0 {
            let models = self.wanted.values().cloned().collect();
            let envelope = signed(&deployment(channel(), self.sequence, models), &[Key::Deploy]);
            self.handle(Event::DeploymentArrived { audience: channel(), envelope });
        }
    }

    /// So many seconds pass, in which everything that is under way gets as far as it can.
    pub(super) fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds.div_ceil(30) {
            self.take_deaths();
            // A document, its blobs, a preparation and that of the way back: each gives a further step.
            for _ in 0..10 {
                for which in 0..self.under_way() {
                    self.proceed(which);
                }
            }
            self.shell.now.monotonic_ms += 30_000;
            self.shell.now.wall_unix_s += 30;
            self.handle(Event::Ticked);
        }
    }
}

/// The release that an outcome is about.
fn of(event: &Event) -> Digest {
    match event {
        Event::BlobsArrived { release }
        | Event::TransferFailed { release, .. }
        | Event::TransferStalled { release, .. }
        | Event::TransferResumed { release }
        | Event::Prepared { release }
        | Event::PrepareFailed { release, .. } => *release,
        other => panic!("{other:?} is no outcome"),
    }
}
