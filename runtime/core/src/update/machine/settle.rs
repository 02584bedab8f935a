//! Which loaded release serves, and taking releases out of the state.
//!
//! Of a model's loaded releases the one in trial serves, else the active one, else the one before. A
//! switch unloads what served before it; the active release is then loaded again beside the trial, as
//! the way back. What is loaded and is neither is discarded. A trial that is only superseded ends when
//! something else can serve; one that is blamed, revoked or removed stops at once.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use super::Device;
use super::live::Load;
use super::out::Out;
use crate::digest::Digest;
use crate::id::ModelName;
use crate::update::event::{Action, Occurrence};
use crate::update::state::{ModelState, Stage};

impl Device {
    /// Lets the best loaded release of a model serve.
    pub(super) fn settle(&mut self, model: &ModelName, out: &mut Out) {
        let Some(live) = self.live.get(model) else { return };
        let state = self.state.model(model);
        let trial = state.and_then(|state| state.next.as_ref()).filter(|next| match next.stage {
            Stage::Trial { .. } => true,
            Stage::Fetching | Stage::Preparing | Stage::Held => false,
        });
        let active = state.and_then(|state| state.active.as_ref());
        let previous = state.and_then(|state| state.previous.as_ref());
        let ranked = [trial.map(|next| &next.installed), active, previous];
        let best = ranked.into_iter().flatten().find(|installed| live.is_ready(&installed.release));
        let (from, to) = (live.running, best.map(|best| best.release));
        let version = best.map_or(String::new(), |best| best.version.clone());
        let fallback = state.and_then(ModelState::fallback).map(|installed| installed.release);
        let kept = [to, fallback, trial.map(|next| next.installed.release)];
        let idle: Vec<Digest> = live
            .progress
            .iter()
            .filter(|(release, progress)| progress.load == Load::Ready && !kept.contains(&Some(**release)))
            .map(|(release, _)| *release)
            .collect();
        if from != to {
            match to {
                Some(release) => {
                    out.act(Action::Switch { model: model.clone(), release });
                    out.report(Occurrence::Switched { model: model.clone(), from, to: release, version });
                }
                None => out.act(Action::Stop { model: model.clone() }),
            }
        }
        let way_back = trial.and(fallback);
        if let Some(live) = self.live.get_mut(model) {
            live.running = to;
            // The switch unloads it; what is fetched or prepared again goes on.
            if let Some(from) = from.filter(|from| Some(*from) != to && live.is_ready(from)) {
                live.progress.remove(&from);
            }
        }
        for release in idle {
            self.unload(model, release, out);
        }
        if let Some(way_back) = way_back
            && self.live.get(model).is_some_and(|live| live.load(&way_back).is_none())
        {
            self.prepare(model, way_back, out);
        }
    }

    /// Ends whatever happens with a release in this boot.
    pub(super) fn unload(&mut self, model: &ModelName, release: Digest, out: &mut Out) {
        let progress = self.live.get_mut(model).and_then(|live| live.progress.remove(&release));
        match progress.map(|progress| progress.load) {
            Some(Load::Fetching | Load::FetchAt(_)) => out.act(Action::CancelFetch { release }),
            Some(Load::Preparing | Load::Ready) => out.act(Action::Discard { release }),
            Some(Load::PrepareAt(_)) | None => {}
        }
    }

    /// Whether a trial that is to be superseded has to serve on: the proven release is being loaded.
    pub(super) fn must_serve_on(&self, model: &ModelName) -> bool {
        let Some((state, live)) = self.state.model(model).zip(self.live.get(model)) else { return false };
        let active = state.active.as_ref().and_then(|active| live.load(&active.release));
        state.in_trial() && matches!(active, Some(Load::Preparing | Load::Fetching))
    }

    /// A newer deployment cuts an install short. Where nothing was ever proven, a trial that serves
    /// takes the place of a release before, so that the model serves until its successor does.
    pub(super) fn supersede(&mut self, model: &ModelName, out: &mut Out) {
        let running = self.live.get(model).and_then(|live| live.running);
        let Some(state) = self.model_mut(model) else { return };
        let trial = state.next.as_ref().map(|next| &next.installed).filter(|_| state.in_trial());
        if let Some(trial) = trial.filter(|trial| state.active.is_none() && Some(trial.release) == running) {
            state.previous = Some(trial.clone());
        }
        self.end_next(model, out);
    }

    /// Takes the release on its way out of the state; what is active serves again.
    pub(super) fn end_next(&mut self, model: &ModelName, out: &mut Out) {
        let Some(state) = self.model_mut(model) else { return };
        let Some(next) = state.next.take() else { return };
        let release = next.installed.release;
        // Going back to the release before and failing leaves that release where it was.
        let stays = state.installed().any(|installed| installed.release == release);
        if let Some(live) = self.live.get_mut(model) {
            live.trial = None;
        }
        out.persist_and_clean_up();
        if stays && self.state.bad.contains(&release) {
            self.forget_previous(model, release);
        }
        if stays && !self.state.bad.contains(&release) {
            return self.settle(model, out);
        }
        self.leave(model, release, out);
        self.forget_if_empty(model);
    }

    fn forget_previous(&mut self, model: &ModelName, release: Digest) {
        if let Some(state) = self.model_mut(model)
            && state.previous.as_ref().is_some_and(|previous| previous.release == release)
        {
            state.previous = None;
        }
    }

    /// Switches away from a release before it is unloaded.
    fn leave(&mut self, model: &ModelName, release: Digest, out: &mut Out) {
        self.settle(model, out);
        self.unload(model, release, out);
    }

    /// Takes a release out of the state wherever it stands there, for a reason that forbids it.
    pub(super) fn drop_release(&mut self, model: &ModelName, release: Digest, code: &str, out: &mut Out) {
        let Some(state) = self.model_mut(model) else { return };
        let is = |installed: &Option<crate::update::state::Installed>| {
            installed.as_ref().is_some_and(|it| it.release == release)
        };
        if is(&state.previous) {
            state.previous = None;
        }
        if state.next.as_ref().is_some_and(|next| next.installed.release == release) {
            state.next = None;
        }
        let was_active = is(&state.active);
        if was_active {
            state.active = state.previous.take();
        }
        let to = state.active.as_ref().map(|active| active.release);
        out.persist_and_clean_up();
        if was_active {
            out.report(Occurrence::RolledBack {
                model: model.clone(),
                from: release,
                to,
                code: code.to_string(),
                detail: alloc::format!("release {} may not run any more", release.short()),
            });
        }
        self.leave(model, release, out);
        if let Some(to) = to
            && self.live.get(model).is_none_or(|live| live.load(&to).is_none())
        {
            self.prepare(model, to, out);
        }
        self.settle(model, out);
        self.forget_if_empty(model);
    }

    /// A deployment removes the model: it stops, and nothing of it stays but its floor.
    pub(super) fn remove(&mut self, model: &ModelName, out: &mut Out) {
        let Some(state) = self.model_mut(model) else { return };
        if state.installed().next().is_none() {
            return;
        }
        *state = ModelState { floor: state.floor, ..ModelState::new(model.clone()) };
        out.persist_and_clean_up();
        self.settle(model, out);
        let left: Vec<Digest> =
            self.live.get(model).map_or(Vec::new(), |live| live.progress.keys().copied().collect());
        for release in left {
            self.unload(model, release, out);
        }
        self.live.remove(model);
        out.act(Action::Forget { model: model.clone() });
        out.report(Occurrence::Removed { model: model.clone() });
        self.forget_if_empty(model);
    }

    /// An entry that says nothing is no entry.
    fn forget_if_empty(&mut self, model: &ModelName) {
        self.state
            .models
            .retain(|state| state.model != *model || state.floor > 0 || state.installed().next().is_some());
    }
}
