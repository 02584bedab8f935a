//! Roots, deployments and release documents as they arrive, and the start.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::ToString as _;
use alloc::vec::Vec;

use super::ask::Ask;
use super::live::Load;
use super::out::Out;
use super::{Device, Kept};
use crate::code;
use crate::digest::Digest;
use crate::document::{Audience, Deployment, Release, Want};
use crate::id::ModelName;
use crate::trust::{TrustError, TrustedRoot, Verified};
use crate::update::acceptance::Judgement;
use crate::update::clock::{Now, raised};
use crate::update::event::{Action, Occurrence, Subject};
use crate::update::refusal::{NoPrecompiled, Refusal};
use crate::update::state::{AcceptedSequence, MAX_MACHINE_BOOT_BYTES, Stage};

impl Device {
    /// A start: counts it, suspends a trial in which too many of them failed, loads what is installed, and
    /// subscribes. Nothing here needs the network.
    pub(super) fn started(&mut self, now: Now, out: &mut Out) {
        self.started_ms = now.monotonic_ms;
        self.ask = Ask::content(now);
        self.state.boots = self.state.boots.saturating_add(1);
        let machine_boot = self.identity.machine_boot.clone();
        let rebooted = machine_boot.is_some() && machine_boot != self.state.machine_boot;
        self.state.machine_boot = machine_boot.filter(|name| name.len() <= MAX_MACHINE_BOOT_BYTES);
        out.persist();
        for model in self.model_names() {
            self.trial_started(&model, rebooted, now);
            self.load_installed(&model, out);
        }
        for digest in core::mem::take(&mut self.lost) {
            let detail = format!("the document of release {digest} is missing or damaged");
            self.alarm(now, code::update::DOCUMENT_LOST, detail, Subject::Release(digest), out);
            out.act(Action::FetchRelease { digest });
        }
        for audience in core::mem::take(&mut self.lost_deployments) {
            let detail = format!("the deployment for {audience} is missing or damaged");
            self.alarm(now, code::update::DOCUMENT_LOST, detail, Subject::Deployment(audience), out);
        }
        out.act(Action::WatchRoot { version: self.root.version().saturating_add(1) });
        out.act(Action::WatchDeployments { audiences: self.audiences() });
        self.reconcile_all(now, out);
    }

    /// An orderly end is no failed start of a trial.
    pub(super) fn stopping(&mut self, out: &mut Out) {
        for model in &mut self.state.models {
            if let Some(next) = &mut model.next
                && let Stage::Trial { starts, reboots } = &mut next.stage
                && (*starts, *reboots) != (0, 0)
            {
                (*starts, *reboots) = (0, 0);
                out.persist();
            }
        }
    }

    pub(super) fn root_arrived(&mut self, now: Now, envelope: &[u8], out: &mut Out) {
        let next = match self.root.step(envelope) {
            Ok(next) => next,
            Err(error) => return self.refuse(now, Subject::Root, &Refusal::Trust(error), out),
        };
        let version = next.version();
        self.ask = Ask::content(now);
        if self.root_is_lost() {
            return self.root_came_again(now, next, out);
        }
        let wanted = self.wanted_releases();
        self.root = next;
        self.state.root_version = version;
        self.state.root_digest = self.root.digest();
        let (epoch, issued) = (self.root.root().deploy_epoch, self.root.root().issued_unix_s);
        if epoch == self.state.deploy_epoch {
            self.state.t_low_unix_s = raised(self.state.t_low_unix_s, issued);
        } else {
            self.begin_epoch(epoch, issued);
        }
        out.store(Action::StoreRoot { version, envelope: envelope.to_vec() });
        out.act(Action::WatchRoot { version: version.saturating_add(1) });
        out.report(Occurrence::RootAccepted { version });
        self.give_up_what_the_root_forbids(out);
        self.judge_kept_again(now, out);
        self.reconcile_all(now, out);
        self.ask_no_more_for(&wanted, out);
    }

    /// A root of the chain to the one that the state names, whose stored copy was damaged. The last of them
    /// must be that very root: two roots of one version mean that the root keys are used in two places.
    fn root_came_again(&mut self, now: Now, next: TrustedRoot, out: &mut Out) {
        let (version, expected) = (next.version(), self.state.root_digest);
        if version == self.state.root_version && next.digest() != expected {
            let error = TrustError::Digest { expected, actual: next.digest() };
            return self.refuse(now, Subject::Root, &Refusal::Trust(error), out);
        }
        out.store(Action::StoreRoot { version, envelope: next.envelope().to_vec() });
        self.root = next;
        out.act(Action::WatchRoot { version: version.saturating_add(1) });
        out.report(Occurrence::RootAccepted { version });
        if !self.root_is_lost() {
            self.judge_kept_again(now, out);
            self.reconcile_all(now, out);
        }
    }

    /// A new deploy epoch: sequences, floors and `T_low` start anew, in the commit of the root.
    fn begin_epoch(&mut self, epoch: u64, issued_unix_s: u64) {
        self.state.deploy_epoch = epoch;
        self.state.sequences.clear();
        self.state.t_low_unix_s = issued_unix_s;
        self.state.recovered = false;
        for model in &mut self.state.models {
            model.floor = 0;
        }
        self.deployments.channel = None;
        self.deployments.device = None;
    }

    fn judge_kept_again(&mut self, now: Now, out: &mut Out) {
        let Kept { channel, device } = core::mem::take(&mut self.kept);
        // The device's own first: it may assign the channel.
        if let Some(envelope) = device {
            let audience = Audience::Device(self.identity.device.clone());
            self.deployment_arrived(now, &audience, &envelope, out);
        }
        if let Some(envelope) = channel {
            let audience = Audience::Channel(self.state.channel.clone());
            self.deployment_arrived(now, &audience, &envelope, out);
        }
    }

    pub(super) fn deployment_arrived(
        &mut self,
        now: Now,
        audience: &Audience,
        envelope: &[u8],
        out: &mut Out,
    ) {
        if self.root_is_lost() {
            let refusal = Refusal::RootLost { trusted: self.state.root_version, held: self.root.version() };
            return self.refuse_deployment(now, audience, envelope, &refusal, out);
        }
        match self.ground(now).judge_deployment(audience, envelope) {
            Ok(Judgement::Newer(deployment)) => self.follow(now, deployment, out),
            Ok(Judgement::Known(deployment)) => self.know_again(now, deployment, out),
            Err(refusal) => self.refuse_deployment(now, audience, envelope, &refusal, out),
        }
    }

    fn refuse_deployment(
        &mut self,
        now: Now,
        audience: &Audience,
        envelope: &[u8],
        refusal: &Refusal,
        out: &mut Out,
    ) {
        if refusal.may_heal_with_a_new_root() {
            let place = match audience {
                Audience::Channel(_) => &mut self.kept.channel,
                Audience::Device(_) => &mut self.kept.device,
            };
            *place = Some(envelope.to_vec());
        }
        let what = Subject::Deployment(audience.clone());
        if let Refusal::Equivocation { .. } = refusal {
            self.alarm(now, code::update::EQUIVOCATION, refusal.to_string(), what, out);
        } else {
            self.refuse(now, what, refusal, out);
        }
    }

    /// The same deployment again changes nothing, unless its stored copy was lost.
    fn know_again(&mut self, now: Now, deployment: Verified<Deployment>, out: &mut Out) {
        self.note_echo(now, &deployment);
        let followed = match deployment.audience {
            Audience::Channel(_) => &mut self.deployments.channel,
            Audience::Device(_) => &mut self.deployments.device,
        };
        if followed.is_none() {
            let (digest, envelope) = (deployment.digest(), deployment.envelope().to_vec());
            *followed = Some(deployment);
            out.store(Action::StoreDocument { digest, envelope });
            self.reconcile_all(now, out);
        }
    }

    fn follow(&mut self, now: Now, deployment: Verified<Deployment>, out: &mut Out) {
        let (audience, sequence, digest) =
            (deployment.audience.clone(), deployment.sequence, deployment.digest());
        self.ask = Ask::content(now);
        let wanted = self.wanted_releases();
        out.store(Action::StoreDocument { digest, envelope: deployment.envelope().to_vec() });
        self.state.t_low_unix_s = raised(self.state.t_low_unix_s, deployment.issued_unix_s);
        self.note_echo(now, &deployment);
        for entry in deployment.models.iter().filter(|entry| entry.retry) {
            if let Want::Release { stable, candidate } = &entry.want {
                let named = [Some(*stable), candidate.map(|candidate| candidate.release)];
                self.state.bad.retain(|bad| !named.contains(&Some(*bad)));
            }
        }
        let accepted = AcceptedSequence { audience: audience.clone(), sequence, digest: Some(digest) };
        self.state.accept(&self.identity.device, accepted);
        let channel = deployment.channel.clone();
        let named: Vec<ModelName> = deployment.models.iter().map(|entry| entry.model.clone()).collect();
        match audience {
            Audience::Channel(_) => {
                self.deployments.channel = Some(deployment);
                self.kept.channel = None;
            }
            Audience::Device(_) => {
                self.deployments.device = Some(deployment);
                self.kept.device = None;
            }
        }
        // Only what echoes gets here while the state is a recovered one.
        let mut watch_anew = core::mem::take(&mut self.state.recovered);
        if let Some(channel) = channel
            && channel != self.state.channel
        {
            self.state.channel = channel;
            self.deployments.channel = None;
            self.kept.channel = None;
            watch_anew = true;
        }
        if watch_anew {
            out.act(Action::WatchDeployments { audiences: self.audiences() });
        }
        out.report(Occurrence::DeploymentAccepted { audience, sequence, digest });
        out.persist_and_clean_up();
        self.reconcile_all(now, out);
        for model in named {
            self.resume_held(&model, out);
        }
        self.ask_no_more_for(&wanted, out);
    }

    /// Ends asking for documents that were wanted, have not come, and are not wanted any more: who
    /// withholds them must not make subscriptions pile up.
    fn ask_no_more_for(&mut self, wanted_before: &BTreeSet<Digest>, out: &mut Out) {
        for release in wanted_before.difference(&self.wanted_releases()).copied() {
            if !self.releases.contains_key(&release) && self.owner(&release).is_none() {
                out.act(Action::CancelFetch { release });
            }
        }
    }

    /// A deployment that echoes the nonce of this boot was signed in it.
    fn note_echo(&mut self, now: Now, deployment: &Deployment) {
        if self.identity.is_echoed_by(deployment) {
            self.echoed_ms = Some(now.monotonic_ms);
        }
    }

    pub(super) fn release_arrived(&mut self, now: Now, digest: Digest, envelope: &[u8], out: &mut Out) {
        if self.releases.contains_key(&digest) && !self.lacks_signatures(&digest) {
            return;
        }
        let owner = self.owner(&digest);
        let verified = if owner.is_some() {
            // The state names it: it was verified before it was lost from the store.
            Verified::<Release>::recalled(envelope, digest)
        } else if self.wanted_releases().contains(&digest) {
            self.root.verify_by_digest(envelope, digest)
        } else {
            return out.act(Action::CancelFetch { release: digest });
        };
        let release = match verified {
            Ok(release) => release,
            Err(error) => return self.refuse(now, Subject::Release(digest), &Refusal::Trust(error), out),
        };
        self.state.t_low_unix_s = raised(self.state.t_low_unix_s, release.issued_unix_s);
        self.releases.insert(digest, release);
        match owner {
            Some(model) => {
                out.store(Action::StoreDocument { digest, envelope: envelope.to_vec() });
                self.load_installed(&model, out);
            }
            None => {
                for model in self.models_that_want(digest) {
                    self.reconcile(&model, now, out);
                }
            }
        }
    }

    /// Whether a wanted release is known, and fails on the signatures of the role `precompiled` alone: the same
    /// body may come with more of them.
    pub(super) fn lacks_signatures(&self, digest: &Digest) -> bool {
        let Some(release) = self.releases.get(digest) else { return false };
        match self.variant(release) {
            Err(Refusal::NoPrecompiled { why: NoPrecompiled::Signatures(_), .. }) => {
                self.owner(digest).is_none()
            }
            Ok(_) | Err(_) => false,
        }
    }

    fn models_that_want(&self, digest: Digest) -> BTreeSet<ModelName> {
        let followed = [&self.deployments.device, &self.deployments.channel];
        let entries = followed.into_iter().flatten().flat_map(|deployment| &deployment.models);
        let wants = |want: &Want| match want {
            Want::Release { stable, candidate } => {
                *stable == digest || candidate.is_some_and(|candidate| candidate.release == digest)
            }
            Want::Remove => false,
        };
        entries.filter(|entry| wants(&entry.want)).map(|entry| entry.model.clone()).collect()
    }

    /// The releases that the followed deployments name for this device, now or after a fall-back.
    pub(super) fn wanted_releases(&self) -> BTreeSet<Digest> {
        let followed = [&self.deployments.device, &self.deployments.channel];
        let entries = followed.into_iter().flatten().flat_map(|deployment| &deployment.models);
        let mut wanted = BTreeSet::new();
        for entry in entries {
            match &entry.want {
                Want::Release { stable, candidate } => {
                    wanted.insert(*stable);
                    wanted.extend(candidate.map(|candidate| candidate.release));
                }
                Want::Remove => {}
            }
        }
        wanted
    }

    /// Root may revoke a release, or raise a minimum above it: it goes, and with it its trial.
    fn give_up_what_the_root_forbids(&mut self, out: &mut Out) {
        for model in self.model_names() {
            let root = self.root.root();
            let minimum = root.minimum_counter(&model);
            let Some(state) = self.state.model(&model) else { continue };
            let forbidden: Vec<(Digest, &'static str)> = state
                .installed()
                .filter_map(|installed| {
                    let reason = if root.revoked_releases.contains(&installed.release) {
                        code::update::RELEASE_REVOKED.id
                    } else if installed.counter < minimum {
                        code::update::BELOW_FLOOR.id
                    } else {
                        return None;
                    };
                    Some((installed.release, reason))
                })
                .collect();
            for (release, reason) in forbidden {
                self.drop_release(&model, release, reason, out);
            }
        }
    }

    /// Loads what a model has installed, as far as its documents are known.
    fn load_installed(&mut self, model: &ModelName, out: &mut Out) {
        let Some(state) = self.state.model(model) else { return };
        let mut loads: Vec<(Digest, Load)> = Vec::new();
        if let Some(next) = &state.next {
            match next.stage {
                Stage::Fetching => loads.push((next.installed.release, Load::Fetching)),
                Stage::Preparing | Stage::Trial { .. } => {
                    loads.push((next.installed.release, Load::Preparing));
                }
                Stage::Held => {}
            }
        }
        if let Some(fallback) = state.fallback() {
            loads.insert(0, (fallback.release, Load::Preparing));
        }
        for (release, load) in loads {
            let idle = self.live.get(model).is_none_or(|live| live.load(&release).is_none());
            if !idle || !self.releases.contains_key(&release) {
                continue;
            }
            match load {
                Load::Fetching => self.fetch(model, release, 0, out),
                Load::Preparing => self.prepare(model, release, out),
                Load::Ready | Load::FetchAt(_) | Load::PrepareAt(_) => {}
            }
        }
        self.settle(model, out);
    }
}
