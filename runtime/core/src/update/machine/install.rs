//! The table of releases: what each event means for a release that is fetched, prepared, loaded,
//! waiting or idle. Every pair is written out. A pair that cannot happen is counted under
//! `illegal-event` and changes nothing; a pair that is merely late (the release was given up in the
//! meantime) is told apart from it.

use alloc::format;
use alloc::string::String;

use super::Device;
use super::live::{Load, device_blobs};
use super::out::Out;
use crate::code;
use crate::digest::Digest;
use crate::id::ModelName;
use crate::update::clock::Now;
use crate::update::event::{Action, Fault, Occurrence, Subject};
use crate::update::refusal::Refusal;
use crate::update::state::{ModelState, Stage};

/// Deaths of an active release's worker in one boot before the device goes back to the one before.
const MAX_CRASHES: u32 = 3;

/// What happened to one release.
#[derive(Debug)]
pub(super) enum ReleaseEvent {
    BlobsArrived,
    TransferFailed { code: String, detail: String },
    Prepared,
    PrepareFailed { fault: Fault, code: String, detail: String },
    Observed { served: u64, failed: u64 },
    Crashed { code: String, detail: String },
}

impl ReleaseEvent {
    fn name(&self) -> &'static str {
        match self {
            ReleaseEvent::BlobsArrived => "BlobsArrived",
            ReleaseEvent::TransferFailed { .. } => "TransferFailed",
            ReleaseEvent::Prepared => "Prepared",
            ReleaseEvent::PrepareFailed { .. } => "PrepareFailed",
            ReleaseEvent::Observed { .. } => "Observed",
            ReleaseEvent::Crashed { .. } => "Crashed",
        }
    }
}

/// The place that a release has in its model's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On its way, not serving yet.
    Coming,
    Trial,
    Active,
    Previous,
}

impl Device {
    /// The model whose state names this release.
    pub(super) fn owner(&self, release: &Digest) -> Option<ModelName> {
        let names = |state: &&ModelState| state.installed().any(|installed| installed.release == *release);
        self.state.models.iter().find(names).map(|state| state.model.clone())
    }

    fn place(&self, model: &ModelName, release: Digest) -> Option<Place> {
        let state = self.state.model(model)?;
        if let Some(next) = &state.next
            && next.installed.release == release
        {
            return Some(match next.stage {
                Stage::Fetching | Stage::Preparing => Place::Coming,
                Stage::Trial { .. } => Place::Trial,
            });
        }
        let is = |installed: &Option<_>| {
            installed.as_ref().is_some_and(|it: &crate::update::state::Installed| it.release == release)
        };
        if is(&state.active) {
            Some(Place::Active)
        } else if is(&state.previous) {
            Some(Place::Previous)
        } else {
            None
        }
    }

    /// The table.
    pub(super) fn release_event(&mut self, now: Now, release: Digest, event: ReleaseEvent, out: &mut Out) {
        use ReleaseEvent as E;
        let placed = self.owner(&release).and_then(|model| {
            let place = self.place(&model, release)?;
            Some((model, place))
        });
        let Some((model, place)) = placed else {
            // Given up in the meantime: whatever came of it goes.
            return match event {
                E::Prepared => out.act(Action::Discard { release }),
                E::BlobsArrived | E::TransferFailed { .. } | E::PrepareFailed { .. } => {}
                E::Observed { .. } | E::Crashed { .. } => {}
            };
        };
        let load = self.live.get(&model).and_then(|live| live.load(&release));
        match (load, event) {
            (Some(Load::Fetching), E::BlobsArrived) => self.blobs_arrived(&model, release, place, out),
            (Some(Load::Fetching), E::TransferFailed { code, detail }) => {
                self.refuse(now, Subject::Release(release), &Refusal::Prepare { code, detail }, out);
                self.wait(&model, release, now, Load::FetchAt);
            }
            (Some(Load::Preparing), E::Prepared) => self.prepared(&model, release, place, now, out),
            (Some(Load::Preparing), E::PrepareFailed { fault, code, detail }) => {
                self.prepare_failed(&model, release, place, now, (fault, code, detail), out);
            }
            (Some(Load::Ready), E::Observed { served, failed }) => {
                self.observed(&model, place, now, served, failed, out);
            }
            (Some(Load::Ready | Load::Preparing), E::Crashed { code, detail }) => {
                self.crashed(&model, release, place, now, (code, detail), out);
            }
            // Observations of before a crash or a switch are late, not wrong.
            (
                None | Some(Load::Fetching | Load::Preparing | Load::FetchAt(_) | Load::PrepareAt(_)),
                E::Observed { .. },
            ) => {}
            // Unloaded on purpose in the meantime.
            (None, E::Prepared) => out.act(Action::Discard { release }),
            (
                None,
                E::BlobsArrived | E::TransferFailed { .. } | E::PrepareFailed { .. } | E::Crashed { .. },
            ) => {}
            (Some(Load::Fetching), event @ (E::Prepared | E::PrepareFailed { .. } | E::Crashed { .. }))
            | (Some(Load::Preparing | Load::Ready), event @ (E::BlobsArrived | E::TransferFailed { .. }))
            | (Some(Load::Ready), event @ (E::Prepared | E::PrepareFailed { .. }))
            | (
                Some(Load::FetchAt(_) | Load::PrepareAt(_)),
                event @ (E::BlobsArrived
                | E::TransferFailed { .. }
                | E::Prepared
                | E::PrepareFailed { .. }
                | E::Crashed { .. }),
            ) => {
                let detail = format!("{} while {load:?}", event.name());
                self.alarm(now, code::update::ILLEGAL_EVENT, detail, Subject::Release(release), out);
            }
        }
    }

    fn blobs_arrived(&mut self, model: &ModelName, release: Digest, place: Place, out: &mut Out) {
        if place == Place::Coming {
            self.set_stage(model, Stage::Preparing, out);
        }
        self.prepare(model, release, out);
    }

    fn prepared(&mut self, model: &ModelName, release: Digest, place: Place, now: Now, out: &mut Out) {
        self.live.entry(model.clone()).or_default().set(release, Load::Ready);
        match place {
            Place::Coming => {
                self.set_stage(model, Stage::Trial { starts: 1, reboots: 0 }, out);
                self.begin_trial(model, now);
                if let Some(next) = self.state.model(model).and_then(|state| state.next.as_ref()) {
                    out.report(Occurrence::Installed {
                        model: model.clone(),
                        release,
                        counter: next.installed.counter,
                        version: next.installed.version.clone(),
                    });
                }
                self.settle(model, out);
                self.judge_trial(model, now, out);
            }
            Place::Trial => {
                self.begin_trial(model, now);
                self.settle(model, out);
                self.judge_trial(model, now, out);
            }
            Place::Active | Place::Previous => {
                self.settle(model, out);
                self.reconcile(model, now, out);
            }
        }
    }

    fn prepare_failed(
        &mut self,
        model: &ModelName,
        release: Digest,
        place: Place,
        now: Now,
        (fault, code, detail): (Fault, String, String),
        out: &mut Out,
    ) {
        match (fault, place) {
            (Fault::Release, Place::Coming) => {
                let what = Subject::Release(release);
                self.refuse(now, what, &Refusal::Prepare { code, detail }, out);
                self.state.blame(release);
                self.end_next(model, out);
                self.settle(model, out);
                self.reconcile(model, now, out);
            }
            (Fault::Release, Place::Trial) => {
                self.roll_back(model, &code, detail, out);
                self.settle(model, out);
                self.reconcile(model, now, out);
            }
            (Fault::Release, Place::Active) => {
                self.active_failed(model, release, now, (code, detail), out);
                self.reconcile(model, now, out);
            }
            (Fault::Release, Place::Previous) => {
                self.state.blame(release);
                self.drop_release(model, release, &code, out);
            }
            (Fault::Device, Place::Coming | Place::Trial | Place::Active | Place::Previous) => {
                self.refuse(now, Subject::Release(release), &Refusal::Prepare { code, detail }, out);
                self.wait(model, release, now, Load::PrepareAt);
                self.load_previous_if_needed(model, out);
                self.reconcile(model, now, out);
            }
            (Fault::Blob, Place::Coming | Place::Trial | Place::Active | Place::Previous) => {
                self.refuse(now, Subject::Release(release), &Refusal::Prepare { code, detail }, out);
                if place == Place::Coming {
                    self.set_stage(model, Stage::Fetching, out);
                }
                self.fetch(model, release, 0, out);
                self.load_previous_if_needed(model, out);
            }
        }
    }

    /// The active release cannot run: the one before takes its place, or it is tried again later.
    fn active_failed(
        &mut self,
        model: &ModelName,
        release: Digest,
        now: Now,
        (code, detail): (String, String),
        out: &mut Out,
    ) {
        let has_previous = self.state.model(model).is_some_and(|state| state.previous.is_some());
        if !has_previous {
            self.refuse(now, Subject::Release(release), &Refusal::Prepare { code, detail }, out);
            self.wait(model, release, now, Load::PrepareAt);
            return self.settle(model, out);
        }
        self.state.blame(release);
        let Some(state) = self.model_mut(model) else { return };
        state.active = state.previous.take();
        let to = state.active.as_ref().map(|active| active.release);
        out.report(Occurrence::RolledBack { model: model.clone(), from: release, to, code, detail });
        out.persist_and_clean_up();
        self.unload(model, release, out);
        if let Some(to) = to
            && self.live.get(model).is_none_or(|live| live.load(&to).is_none())
        {
            self.prepare(model, to, out);
        }
        self.settle(model, out);
    }

    fn crashed(
        &mut self,
        model: &ModelName,
        release: Digest,
        place: Place,
        now: Now,
        (code, detail): (String, String),
        out: &mut Out,
    ) {
        let live = self.live.entry(model.clone()).or_default();
        live.progress.remove(&release);
        if live.running == Some(release) {
            live.running = None;
        }
        let what = Subject::Release(release);
        match place {
            Place::Coming | Place::Trial => {
                self.roll_back(model, &code, detail, out);
                self.settle(model, out);
                self.reconcile(model, now, out);
            }
            Place::Active => {
                live.crashes = live.crashes.saturating_add(1);
                let too_often = live.crashes >= MAX_CRASHES;
                self.alarm(now, code::update::CRASHED, format!("{code}: {detail}"), what, out);
                if too_often {
                    self.live.entry(model.clone()).or_default().set(release, Load::Preparing);
                    self.active_failed(model, release, now, (code, detail), out);
                } else {
                    self.prepare(model, release, out);
                    self.settle(model, out);
                }
            }
            Place::Previous => {
                self.alarm(now, code::update::CRASHED, format!("{code}: {detail}"), what, out);
                self.settle(model, out);
            }
        }
    }

    /// A second passed: retries, probation by time, and what stands.
    pub(super) fn ticked(&mut self, now: Now, out: &mut Out) {
        for model in self.model_names() {
            let due = self.live.get(&model).map(|live| {
                let due = |(release, progress): (&Digest, &super::live::Progress)| match progress.load {
                    Load::FetchAt(at_ms) if at_ms <= now.monotonic_ms => Some((*release, Load::Fetching)),
                    Load::PrepareAt(at_ms) if at_ms <= now.monotonic_ms => Some((*release, Load::Preparing)),
                    Load::FetchAt(_) | Load::PrepareAt(_) => None,
                    Load::Fetching | Load::Preparing | Load::Ready => None,
                };
                live.progress.iter().filter_map(due).collect::<alloc::vec::Vec<_>>()
            });
            for (release, load) in due.into_iter().flatten() {
                match load {
                    Load::Fetching => self.fetch(&model, release, 0, out),
                    Load::Preparing => self.prepare(&model, release, out),
                    Load::Ready | Load::FetchAt(_) | Load::PrepareAt(_) => {}
                }
            }
            self.judge_trial(&model, now, out);
        }
        self.tell_standing(now, out);
        self.ask_again(now, out);
    }

    fn set_stage(&mut self, model: &ModelName, stage: Stage, out: &mut Out) {
        if let Some(next) = self.model_mut(model).and_then(|state| state.next.as_mut()) {
            next.stage = stage;
            out.persist();
        }
    }

    pub(super) fn fetch(&mut self, model: &ModelName, release: Digest, delay_ms: u64, out: &mut Out) {
        let Some(document) = self.releases.get(&release) else { return };
        // What is missing to run it is told when it is prepared.
        let variant = self.variant(document).ok().flatten();
        let blobs = device_blobs(document, variant).cloned().collect();
        self.live.entry(model.clone()).or_default().set(release, Load::Fetching);
        out.act(Action::FetchBlobs { release, blobs, delay_ms });
    }

    pub(super) fn prepare(&mut self, model: &ModelName, release: Digest, out: &mut Out) {
        if !self.releases.contains_key(&release) {
            return out.act(Action::FetchRelease { digest: release });
        }
        self.live.entry(model.clone()).or_default().set(release, Load::Preparing);
        out.act(Action::Prepare { release });
    }

    fn wait(&mut self, model: &ModelName, release: Digest, now: Now, load: fn(u64) -> Load) {
        let live = self.live.entry(model.clone()).or_default();
        let wait_ms = live.back_off_ms(release, now.random);
        live.set(release, load(now.monotonic_ms.saturating_add(wait_ms)));
    }

    /// While what should serve cannot, the proven release before serves.
    fn load_previous_if_needed(&mut self, model: &ModelName, out: &mut Out) {
        let Some(state) = self.state.model(model) else { return };
        let Some(previous) = state.previous.as_ref().map(|previous| previous.release) else { return };
        let Some(live) = self.live.get(model) else { return };
        if live.running.is_none() && live.load(&previous).is_none() {
            self.prepare(model, previous, out);
        }
    }
}
