//! The trial of a release: what it must show, and both ways out of it.

use alloc::format;
use alloc::string::{String, ToString as _};

use super::Device;
use super::install::Place;
use super::live::TrialRun;
use super::out::Out;
use crate::code;
use crate::id::ModelName;
use crate::update::clock::Now;
use crate::update::event::Occurrence;
use crate::update::state::{MAX_TRIAL_REBOOTS, MAX_TRIAL_STARTS, Stage};

/// A trial's start counts as survived after this long.
const SURVIVED_MS: u64 = 60_000;

/// How long the agent has to run before a release that is held back is tried again, in milliseconds.
const HELD_MS: u64 = 600_000;

impl Device {
    pub(super) fn begin_trial(&mut self, model: &ModelName, now: Now) {
        let run = TrialRun { since_ms: now.monotonic_ms, served: 0, failed: 0 };
        self.live.entry(model.clone()).or_default().trial = Some(run);
    }

    pub(super) fn observed(
        &mut self,
        model: &ModelName,
        place: Place,
        now: Now,
        served: u64,
        failed: u64,
        out: &mut Out,
    ) {
        match place {
            Place::Trial => {
                if let Some(run) = self.live.get_mut(model).and_then(|live| live.trial.as_mut()) {
                    run.served = run.served.saturating_add(served);
                    run.failed = run.failed.saturating_add(failed);
                }
                self.judge_trial(model, now, out);
            }
            // Health is told by the records; only a trial draws conclusions from it.
            Place::Coming | Place::Active | Place::Previous => {}
        }
    }

    /// Probation, as the release's document has it.
    pub(super) fn judge_trial(&mut self, model: &ModelName, now: Now, out: &mut Out) {
        let Some(state) = self.state.model(model) else { return };
        let Some(next) = state.next.as_ref().filter(|_| state.in_trial()) else { return };
        let release = next.installed.release;
        let Some(document) = self.releases.get(&release) else { return };
        let probation = document.probation;
        let Some(live) = self.live.get(model).filter(|live| live.is_ready(&release)) else { return };
        let Some(run) = live.trial else { return };
        let elapsed_ms = now.monotonic_ms.saturating_sub(run.since_ms);
        if run.failed >= u64::from(probation.max_failures) {
            let detail = format!(
                "{} of {} inferences failed, {} are the most",
                run.failed,
                run.failed.saturating_add(run.served),
                probation.max_failures
            );
            self.roll_back(model, code::update::TRIAL_FAILED.id, detail, out);
            self.settle(model, out);
            return self.reconcile(model, now, out);
        }
        let served = run.served >= u64::from(probation.min_inferences);
        let waited = run.failed == 0 && elapsed_ms >= u64::from(probation.duration_s).saturating_mul(1000);
        if served || waited {
            self.promote(model, out);
        } else if run.served > 0 || elapsed_ms >= SURVIVED_MS {
            self.survived(model, out);
        }
    }

    pub(super) fn survived(&mut self, model: &ModelName, out: &mut Out) {
        if let Some(next) = self.model_mut(model).and_then(|state| state.next.as_mut())
            && let Stage::Trial { starts, reboots } = &mut next.stage
            && (*starts, *reboots) != (0, 0)
        {
            (*starts, *reboots) = (0, 0);
            out.persist();
        }
    }

    /// A start within a trial: counts it, apart for one after a reboot of the machine. Too many of them hold
    /// the release back, without blame.
    pub(super) fn trial_started(&mut self, model: &ModelName, rebooted: bool, now: Now) {
        let Some(next) = self.model_mut(model).and_then(|state| state.next.as_mut()) else { return };
        if let Stage::Trial { starts, reboots } = &mut next.stage {
            let (count, most) =
                if rebooted { (reboots, MAX_TRIAL_REBOOTS) } else { (starts, MAX_TRIAL_STARTS) };
            if *count < most {
                *count += 1;
            } else {
                next.stage = Stage::Held;
            }
        }
        if next.stage == Stage::Held {
            let held_until_ms = now.monotonic_ms.saturating_add(HELD_MS);
            self.live.entry(model.clone()).or_default().held_until_ms = held_until_ms;
        }
    }

    /// Tries a release again that was held back, once the agent has run for a while.
    pub(super) fn end_hold(&mut self, model: &ModelName, now: Now, out: &mut Out) {
        let held_until_ms = self.live.get(model).map_or(0, |live| live.held_until_ms);
        if now.monotonic_ms >= held_until_ms {
            self.resume_held(model, out);
        }
    }

    /// Tries a release again that was held back, if one is.
    pub(super) fn resume_held(&mut self, model: &ModelName, out: &mut Out) {
        let held = self.state.model(model).and_then(|state| state.held());
        let Some(release) = held.map(|held| held.release) else { return };
        self.set_stage(model, Stage::Preparing, out);
        if self.live.get(model).is_none_or(|live| live.load(&release).is_none()) {
            self.prepare(model, release, out);
        }
    }

    /// The trial is passed: one commit makes the release active and the one before previous.
    pub(super) fn promote(&mut self, model: &ModelName, out: &mut Out) {
        let Some(state) = self.model_mut(model) else { return };
        let Some(next) = state.next.take() else { return };
        let release = next.installed.release;
        state.previous = state.active.replace(next.installed);
        if let Some(live) = self.live.get_mut(model) {
            live.trial = None;
            live.crashes = 0;
        }
        out.persist_and_clean_up();
        out.report(Occurrence::Proven { model: model.clone(), release });
        let floor = self.asked_floor(model);
        self.raise_floor(model, floor, out);
        self.settle(model, out);
    }

    /// Gives up the release in its trial, or on its way, and blames it.
    pub(super) fn roll_back(&mut self, model: &ModelName, code: &str, detail: String, out: &mut Out) {
        let Some(state) = self.state.model(model) else { return };
        let Some(next) = &state.next else { return };
        let from = next.installed.release;
        let to = state.active.as_ref().map(|active| active.release);
        self.state.blame(from);
        self.end_next(model, out);
        out.report(Occurrence::RolledBack { model: model.clone(), from, to, code: code.to_string(), detail });
    }
}
