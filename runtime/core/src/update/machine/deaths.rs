//! Deaths of the worker: which release is blamed, and what follows from it.
//!
//! Suspects are the releases that the flight record shows in a call. The worker that takes the dead one's
//! place does not have them: what becomes of them is decided here, before they are loaded again. Where one of
//! them is new, it is blamed, and the others, which ran for longer, are only loaded again. A death without a
//! suspect blames no release, and neither does a death of the agent itself.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::Device;
use super::install::{Place, trouble};
use super::live::Load;
use super::out::Out;
use crate::code;
use crate::digest::Digest;
use crate::id::ModelName;
use crate::update::clock::Now;
use crate::update::event::{Action, Occurrence, Subject};
use crate::update::refusal::Refusal;

/// Deaths of an active release's worker in one boot before the device goes back to the one before.
pub(super) const MAX_CRASHES: u32 = 3;

impl Device {
    pub(super) fn worker_died(
        &mut self,
        now: Now,
        suspects: Vec<Digest>,
        (code, detail): (String, String),
        out: &mut Out,
    ) {
        let known: Vec<(ModelName, Digest, Place)> = suspects
            .into_iter()
            .filter_map(|release| {
                let model = self.owner(&release)?;
                let load = self.live.get(&model)?.load(&release)?;
                let place = self.place(&model, release)?;
                matches!(load, Load::Ready | Load::Preparing).then_some((model, release, place))
            })
            .collect();
        if known.is_empty() {
            return out.report(Occurrence::Alarm { code, detail, what: Subject::Device });
        }
        let is_new = |place: Place| matches!(place, Place::Coming | Place::Trial);
        let one_is_new = known.iter().any(|(_, _, place)| is_new(*place));
        for (model, release, _) in &known {
            self.unloaded(model, *release, out);
        }
        for (model, release, place) in known {
            // Blaming one may have moved another.
            let Some(place) = self.place(&model, release).filter(|now| *now == place) else { continue };
            if one_is_new && !is_new(place) {
                self.load_again(&model, release, place, out);
                self.settle(&model, out);
            } else {
                self.crashed(&model, release, place, now, (code.clone(), detail.clone()), out);
            }
        }
    }

    /// The worker does not have the release any more. What served is told to stop by the next settling, so
    /// that the worker does what this state says, whatever it believes itself.
    pub(super) fn unloaded(&mut self, model: &ModelName, release: Digest, out: &mut Out) {
        let Some(live) = self.live.get_mut(model) else { return };
        let progress = live.progress.remove(&release);
        if progress.is_some_and(|progress| progress.load == Load::Preparing) {
            out.act(Action::Discard { release });
        }
    }

    /// Loads a release that was lost without a fault of its own.
    pub(super) fn load_again(&mut self, model: &ModelName, release: Digest, place: Place, out: &mut Out) {
        match place {
            Place::Coming | Place::Trial | Place::Active => self.prepare(model, release, out),
            Place::Previous => {
                let fallback = self.state.model(model).and_then(|state| state.fallback());
                if fallback.is_some_and(|fallback| fallback.release == release) {
                    self.prepare(model, release, out);
                }
            }
        }
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
        let what = Subject::Release(release);
        match place {
            Place::Coming | Place::Trial => {
                self.roll_back(model, &code, detail, out);
                self.settle(model, out);
                self.reconcile(model, now, out);
            }
            Place::Active => {
                live.crashes = live.crashes.saturating_add(1);
                let crashes = live.crashes;
                self.alarm(now, code::update::CRASHED, format!("{code}: {detail}"), what, out);
                if crashes >= MAX_CRASHES {
                    self.active_failed(model, release, now, (code, detail), out);
                } else {
                    self.prepare(model, release, out);
                    self.settle(model, out);
                }
            }
            Place::Previous => {
                self.alarm(now, code::update::CRASHED, format!("{code}: {detail}"), what, out);
                self.load_again(model, release, place, out);
                self.settle(model, out);
            }
        }
    }

    /// The active release cannot run: the one before takes its place, or it is tried again later.
    pub(super) fn active_failed(
        &mut self,
        model: &ModelName,
        release: Digest,
        now: Now,
        (code, detail): (String, String),
        out: &mut Out,
    ) {
        let has_previous = self.state.model(model).is_some_and(|state| state.previous.is_some());
        if !has_previous {
            let refusal = Refusal::Prepare { code: code.clone(), detail: detail.clone() };
            self.refuse(now, Subject::Release(release), &refusal, out);
            self.wait(model, release, now, Load::PrepareAt, trouble(&code, detail));
            return self.settle(model, out);
        }
        self.state.blame(release);
        let Some(state) = self.model_mut(model) else { return };
        state.active = state.previous.take();
        let to = state.active.as_ref().map(|active| active.release);
        out.report(Occurrence::RolledBack { model: model.clone(), from: release, to, code, detail });
        out.persist_and_clean_up();
        if let Some(live) = self.live.get_mut(model) {
            live.crashes = 0;
        }
        self.unload(model, release, out);
        if let Some(to) = to
            && self.live.get(model).is_none_or(|live| live.load(&to).is_none())
        {
            self.prepare(model, to, out);
        }
        self.settle(model, out);
    }
}
