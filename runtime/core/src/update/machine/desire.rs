//! What the accepted deployments want of a model, and the first step towards it.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::Device;
use super::install::Place;
use super::live::Load;
use super::out::Out;
use crate::digest::Digest;
use crate::document::{Deployment, Floor, Want};
use crate::id::ModelName;
use crate::trust::Verified;
use crate::update::acceptance::judge_floor;
use crate::update::clock::Now;
use crate::update::cohort::in_cohort;
use crate::update::event::{Action, Subject};
use crate::update::refusal::Refusal;
use crate::update::state::{Installed, MAX_DEVICE_MODELS, ModelState, Next, Stage};

/// What is wanted of a model.
enum Desire {
    /// Nothing is said about it, or what is said is refused.
    LeaveAlone,
    /// It should go.
    Remove,
    /// These documents are needed to tell.
    Fetch(Vec<Digest>),
    /// This release should run; the floor beside it, once it does.
    Run(Digest, u64),
}

impl Device {
    /// Brings every model that a deployment names, or that is installed, towards what is wanted.
    pub(super) fn reconcile_all(&mut self, now: Now, out: &mut Out) {
        let followed = [&self.deployments.device, &self.deployments.channel];
        let entries = followed.into_iter().flatten().flat_map(|deployment| &deployment.models);
        let named: BTreeSet<ModelName> = entries.map(|entry| entry.model.clone()).collect();
        for model in named {
            self.reconcile(&model, now, out);
        }
        self.give_up_what_nobody_wants(out);
    }

    /// Brings one model towards what is wanted.
    pub(super) fn reconcile(&mut self, model: &ModelName, now: Now, out: &mut Out) {
        let mut refusals = Vec::new();
        let desire = self.desire(model, now, &mut refusals);
        for refusal in refusals {
            self.refuse(now, Subject::Model(model.clone()), &refusal, out);
        }
        self.abort_unless_named(model, out);
        match desire {
            Desire::LeaveAlone => {}
            Desire::Remove => self.remove(model, out),
            Desire::Fetch(digests) => {
                for digest in digests {
                    out.act(Action::FetchRelease { digest });
                }
            }
            Desire::Run(release, floor) => {
                self.run(model, release, now, out);
                self.raise_floor(model, floor, out);
            }
        }
    }

    /// The deployment whose word counts for a model: the device's own, then the channel's.
    fn deployment_of(&self, model: &ModelName) -> Option<&Verified<Deployment>> {
        let followed = [&self.deployments.device, &self.deployments.channel];
        followed.into_iter().flatten().find(|deployment| deployment.entry(model).is_some())
    }

    fn desire(&self, model: &ModelName, now: Now, refusals: &mut Vec<Refusal>) -> Desire {
        let Some(deployment) = self.deployment_of(model) else { return Desire::LeaveAlone };
        let Some(entry) = deployment.entry(model) else { return Desire::LeaveAlone };
        let Want::Release { stable, candidate } = &entry.want else { return Desire::Remove };
        let mut needed = Vec::new();
        let floor = deployment.floors.iter().find(|floor| floor.model == *model);
        match self.floor(floor, stable) {
            Ok(Some(())) => {}
            Ok(None) => needed.push(*stable),
            Err(refusal) => {
                refusals.push(refusal);
                return Desire::LeaveAlone;
            }
        }
        let floor = floor.map_or(0, |floor| floor.counter);
        let candidate = candidate.filter(|candidate| in_cohort(candidate, &self.identity.device));
        let judged = candidate
            .map(|candidate| self.ground(now).judge_candidate(&candidate).map(|()| candidate.release));
        for choice in judged.into_iter().chain([Ok(*stable)]) {
            let verdict =
                choice.and_then(|release| Ok((release, self.judge(model, release, deployment, floor, now)?)));
            match verdict {
                Ok((release, true)) if needed.is_empty() => return Desire::Run(release, floor),
                Ok((_, true)) => return Desire::Fetch(needed),
                Ok((release, false)) => {
                    needed.push(release);
                    needed.dedup();
                    return Desire::Fetch(needed);
                }
                Err(refusal) => refusals.push(refusal),
            }
        }
        Desire::LeaveAlone
    }

    /// Whether a floor holds against the stable release beside it; `None` while that is not known.
    fn floor(&self, floor: Option<&Floor>, stable: &Digest) -> Result<Option<()>, Refusal> {
        let Some(floor) = floor else { return Ok(Some(())) };
        let mut installed = self.state.models.iter().flat_map(ModelState::installed);
        let known = self.releases.get(stable).map(|release| release.counter);
        let known = known.or_else(|| Some(installed.find(|it| it.release == *stable)?.counter));
        known.map(|counter| judge_floor(floor.counter, counter)).transpose()
    }

    /// Whether a release may be installed: yes, not before its document is known, or a refusal. What
    /// is installed or on its way already is not judged again; the root has its own way to forbid it.
    fn judge(
        &self,
        model: &ModelName,
        release: Digest,
        deployment: &Deployment,
        floor: u64,
        now: Now,
    ) -> Result<bool, Refusal> {
        let state = self.state.model(model);
        let running = state.and_then(|state| state.active.as_ref()).map(|active| active.release);
        let next = state.and_then(|state| state.next.as_ref()).map(|next| next.installed.release);
        if running == Some(release) || next == Some(release) {
            return Ok(true);
        }
        let ground = self.ground(now);
        self.identity.site.judge_model(model)?;
        ground.judge_digest(release)?;
        ground.unexpired(deployment)?;
        let installing = state.is_some_and(|state| state.installed().next().is_some());
        let count = self.state.models.iter().filter(|state| state.installed().next().is_some()).count();
        if !installing && count >= MAX_DEVICE_MODELS {
            return Err(Refusal::TooManyModels(count));
        }
        match self.releases.get(&release) {
            Some(document) => ground.judge_release(model, document, floor).map(|()| true),
            None => Ok(false),
        }
    }

    /// Begins the install of a release, unless it is active or on its way.
    fn run(&mut self, model: &ModelName, release: Digest, now: Now, out: &mut Out) {
        let next = self.state.model(model).and_then(|state| state.next.as_ref());
        if next.is_some_and(|next| next.installed.release == release) {
            return;
        }
        if self.must_serve_on(model) {
            // Reconciled again as soon as the proven release is loaded, or is not.
            return;
        }
        if next.is_some() {
            self.supersede(model, out);
        }
        let active = self.state.model(model).and_then(|state| state.active.as_ref());
        if active.is_some_and(|active| active.release == release) {
            return self.settle(model, out);
        }
        let Some(document) = self.releases.get(&release) else { return };
        let (digest, envelope) = (document.digest(), document.envelope().to_vec());
        let load = self.live.get(model).and_then(|live| live.load(&release));
        let stage = match load {
            None | Some(Load::Fetching | Load::FetchAt(_)) => Stage::Fetching,
            Some(Load::Preparing | Load::PrepareAt(_) | Load::Ready) => Stage::Preparing,
        };
        let next = Next { installed: Installed::of(document, self.identity.machine.is_some()), stage };
        let spread_s = self.deployment_of(model).map_or(0, |deployment| deployment.pull_spread_s);
        match self.model_mut(model) {
            Some(state) => state.next = Some(next),
            None => {
                self.forget_an_empty_model();
                let state = ModelState { next: Some(next), ..ModelState::new(model.clone()) };
                self.state.models.push(state);
            }
        }
        out.store(Action::StoreDocument { digest, envelope });
        let spread_ms = u64::from(spread_s).saturating_mul(1000);
        match load {
            None => {
                self.fetch(model, release, if spread_ms == 0 { 0 } else { now.random % spread_ms }, out);
                self.settle(model, out);
            }
            // The release before is wanted again, and is on the device already.
            Some(Load::Ready) => self.prepared(model, release, Place::Coming, now, out),
            Some(Load::Fetching | Load::FetchAt(_) | Load::Preparing | Load::PrepareAt(_)) => {
                self.settle(model, out);
            }
        }
    }

    /// Documents that have to come before anything goes on: of what is wanted, and of what is installed.
    pub(super) fn note_missing_documents(&mut self, now: Now) {
        let followed = [&self.deployments.device, &self.deployments.channel];
        let entries = followed.into_iter().flatten().flat_map(|deployment| &deployment.models);
        let wanted = entries.flat_map(|entry| match self.desire(&entry.model, now, &mut Vec::new()) {
            Desire::Fetch(digests) => digests,
            Desire::LeaveAlone | Desire::Remove | Desire::Run(..) => Vec::new(),
        });
        let installed = self.state.models.iter().flat_map(ModelState::installed).map(|it| it.release);
        let missing: BTreeSet<Digest> =
            wanted.chain(installed).filter(|digest| !self.releases.contains_key(digest)).collect();
        self.missing.retain(|digest, _| missing.contains(digest));
        for digest in missing {
            self.missing.entry(digest).or_insert(now.monotonic_ms);
        }
    }

    /// Makes room for a model: entries that hold nothing but an old floor go, when the state is full.
    fn forget_an_empty_model(&mut self) {
        if self.state.models.len() >= MAX_DEVICE_MODELS
            && let Some(empty) = self.state.models.iter().position(|state| state.installed().next().is_none())
        {
            self.state.models.remove(empty);
        }
    }

    /// A floor closes behind the device, never over it: it holds once what is active has reached it.
    pub(super) fn raise_floor(&mut self, model: &ModelName, floor: u64, out: &mut Out) {
        let Some(state) = self.model_mut(model) else { return };
        let reached = state.active.as_ref().is_some_and(|active| active.counter >= floor)
            && state.next.as_ref().is_none_or(|next| next.installed.counter >= floor);
        if floor <= state.floor || !reached {
            return;
        }
        state.floor = floor;
        if state.previous.as_ref().is_some_and(|previous| previous.counter < floor) {
            state.previous = None;
        }
        out.persist_and_clean_up();
    }

    /// The floor that the deployment of a model asks for, if it holds against its stable release.
    pub(super) fn asked_floor(&self, model: &ModelName) -> u64 {
        let Some(deployment) = self.deployment_of(model) else { return 0 };
        let Some(floor) = deployment.floors.iter().find(|floor| floor.model == *model) else { return 0 };
        let Some(entry) = deployment.entry(model) else { return 0 };
        match &entry.want {
            Want::Release { stable, .. } => match self.floor(Some(floor), stable) {
                Ok(Some(())) => floor.counter,
                Ok(None) | Err(_) => 0,
            },
            Want::Remove => 0,
        }
    }

    /// An install ends where the deployment that now counts names another release. A trial goes on
    /// until that release is known and accepted: who names one that is not takes nothing away.
    fn abort_unless_named(&mut self, model: &ModelName, out: &mut Out) {
        let next = self.state.model(model).and_then(|state| state.next.as_ref());
        let Some(release) = next.map(|next| next.installed.release) else { return };
        let entry = self.deployment_of(model).and_then(|deployment| deployment.entry(model));
        let named = match entry.map(|entry| &entry.want) {
            Some(Want::Release { stable, candidate }) => {
                let candidate = candidate.filter(|candidate| in_cohort(candidate, &self.identity.device));
                *stable == release || candidate.is_some_and(|candidate| candidate.release == release)
            }
            // A removal ends the install with all the rest.
            Some(Want::Remove) => true,
            None => false,
        };
        if !named && !self.state.model(model).is_some_and(ModelState::in_trial) {
            self.end_next(model, out);
        }
    }

    /// Installs that no deployment asks for any more end; what is active stays.
    fn give_up_what_nobody_wants(&mut self, out: &mut Out) {
        for model in self.model_names() {
            let Some(state) = self.state.model(&model) else { continue };
            if state.next.is_some() && self.deployment_of(&model).is_none() && !state.in_trial() {
                self.end_next(&model, out);
            }
        }
    }
}
