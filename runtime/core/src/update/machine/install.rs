//! The table of releases: what each event means for a release that is fetched, prepared, loaded,
//! waiting or idle. Every pair is written out. A pair that cannot happen is counted under
//! `illegal-event` and changes nothing; a pair that is merely late (the release was given up in the
//! meantime) is told apart from it.

use alloc::format;
use alloc::string::String;

use super::Device;
use super::live::{Load, Trouble, device_blobs};
use super::out::Out;
use crate::code;
use crate::digest::Digest;
use crate::id::ModelName;
use crate::update::clock::Now;
use crate::update::event::{Action, Fault, Occurrence, Subject};
use crate::update::refusal::Refusal;
use crate::update::state::{ModelState, Stage};

/// What happened to one release.
#[derive(Debug)]
pub(super) enum ReleaseEvent {
    BlobsArrived,
    TransferFailed { code: String, detail: String },
    TransferStalled { code: String, detail: String },
    TransferResumed,
    Prepared,
    PrepareFailed { fault: Fault, code: String, detail: String },
    Observed { served: u64, failed: u64 },
    Unloaded,
}

impl ReleaseEvent {
    fn name(&self) -> &'static str {
        match self {
            ReleaseEvent::BlobsArrived => "BlobsArrived",
            ReleaseEvent::TransferFailed { .. } => "TransferFailed",
            ReleaseEvent::TransferStalled { .. } => "TransferStalled",
            ReleaseEvent::TransferResumed => "TransferResumed",
            ReleaseEvent::Prepared => "Prepared",
            ReleaseEvent::PrepareFailed { .. } => "PrepareFailed",
            ReleaseEvent::Observed { .. } => "Observed",
            ReleaseEvent::Unloaded => "Unloaded",
        }
    }
}

/// The place that a release has in its model's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On its way, not serving: fetched, prepared, or held back.
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

    pub(super) fn place(&self, model: &ModelName, release: Digest) -> Option<Place> {
        let state = self.state.model(model)?;
        if let Some(next) = &state.next
            && next.installed.release == release
        {
            return Some(match next.stage {
                Stage::Fetching | Stage::Preparing | Stage::Held => Place::Coming,
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
                E::TransferStalled { .. } | E::TransferResumed => {}
                E::Observed { .. } | E::Unloaded => {}
            };
        };
        let load = self.live.get(&model).and_then(|live| live.load(&release));
        match (load, event) {
            (Some(Load::Fetching), E::BlobsArrived) => self.blobs_arrived(&model, release, place, out),
            (Some(Load::Fetching), E::TransferFailed { code, detail }) => {
                let refusal = Refusal::Prepare { code: code.clone(), detail: detail.clone() };
                self.refuse(now, Subject::Release(release), &refusal, out);
                self.wait(&model, release, now, Load::FetchAt, trouble(&code, detail));
            }
            (Some(Load::Fetching), E::TransferStalled { code, detail }) => {
                self.set_trouble(&model, &release, Some(trouble(&code, detail)));
                self.tell_standing(now, out);
            }
            (Some(Load::Fetching), E::TransferResumed) => {
                self.set_trouble(&model, &release, None);
                self.tell_standing(now, out);
            }
            (Some(Load::Preparing), E::Prepared) => self.prepared(&model, release, place, now, out),
            (Some(Load::Preparing), E::PrepareFailed { fault, code, detail }) => {
                self.prepare_failed(&model, release, place, now, (fault, code, detail), out);
            }
            (Some(Load::Ready), E::Observed { served, failed }) => {
                self.observed(&model, place, now, served, failed, out);
            }
            (Some(Load::Ready | Load::Preparing), E::Unloaded) => {
                self.unloaded(&model, release, out);
                self.load_again(&model, release, place, out);
                self.settle(&model, out);
            }
            // Observations of before a crash or a switch are late, not wrong.
            (
                None | Some(Load::Fetching | Load::Preparing | Load::FetchAt(_) | Load::PrepareAt(_)),
                E::Observed { .. },
            ) => {}
            // A switch may be older than what unloaded the release.
            (None | Some(Load::Fetching | Load::FetchAt(_) | Load::PrepareAt(_)), E::Unloaded) => {}
            // Unloaded on purpose in the meantime.
            (None, E::Prepared) => out.act(Action::Discard { release }),
            (
                None,
                E::BlobsArrived
                | E::TransferFailed { .. }
                | E::TransferStalled { .. }
                | E::TransferResumed
                | E::PrepareFailed { .. },
            ) => {}
            (Some(Load::Fetching), event @ (E::Prepared | E::PrepareFailed { .. }))
            | (
                Some(Load::Preparing | Load::Ready),
                event @ (E::BlobsArrived
                | E::TransferFailed { .. }
                | E::TransferStalled { .. }
                | E::TransferResumed),
            )
            | (Some(Load::Ready), event @ (E::Prepared | E::PrepareFailed { .. }))
            | (
                Some(Load::FetchAt(_) | Load::PrepareAt(_)),
                event @ (E::BlobsArrived
                | E::TransferFailed { .. }
                | E::TransferStalled { .. }
                | E::TransferResumed
                | E::Prepared
                | E::PrepareFailed { .. }),
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
        self.set_trouble(model, &release, None);
        self.prepare(model, release, out);
    }

    pub(super) fn prepared(
        &mut self,
        model: &ModelName,
        release: Digest,
        place: Place,
        now: Now,
        out: &mut Out,
    ) {
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
                let refusal = Refusal::Prepare { code: code.clone(), detail: detail.clone() };
                self.refuse(now, Subject::Release(release), &refusal, out);
                self.wait(model, release, now, Load::PrepareAt, trouble(&code, detail));
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
            self.end_hold(&model, now, out);
            self.judge_trial(&model, now, out);
        }
        self.note_missing_documents(now);
        self.tell_standing(now, out);
        self.ask_again(now, out);
    }

    pub(super) fn set_stage(&mut self, model: &ModelName, stage: Stage, out: &mut Out) {
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

    pub(super) fn wait(
        &mut self,
        model: &ModelName,
        release: Digest,
        now: Now,
        load: fn(u64) -> Load,
        trouble: Trouble,
    ) {
        let live = self.live.entry(model.clone()).or_default();
        let wait_ms = live.back_off_ms(release, now.random);
        live.set(release, load(now.monotonic_ms.saturating_add(wait_ms)));
        live.set_trouble(&release, Some(trouble));
    }

    fn set_trouble(&mut self, model: &ModelName, release: &Digest, trouble: Option<Trouble>) {
        if let Some(live) = self.live.get_mut(model) {
            live.set_trouble(release, trouble);
        }
    }

    /// While what should serve cannot, the proven release before serves.
    pub(super) fn load_previous_if_needed(&mut self, model: &ModelName, out: &mut Out) {
        let Some(state) = self.state.model(model) else { return };
        let Some(previous) = state.previous.as_ref().map(|previous| previous.release) else { return };
        let Some(live) = self.live.get(model) else { return };
        if live.running.is_none() && live.load(&previous).is_none() {
            self.prepare(model, previous, out);
        }
    }
}

/// The alarm of a release that cannot go on for this reason.
pub(super) fn trouble(code: &str, detail: String) -> Trouble {
    Trouble { code: code::find(code).unwrap_or(code::update::PREPARE_FAILED), detail }
}
