//! The judgements: whether a deployment is to be followed, and whether a release may be installed.
//!
//! Pure functions of what the device has; they change nothing. The order of the checks is fixed, so
//! that a document that breaks several rules is always refused for the same one.

use dunlin_abi::ABI_VERSION;

use super::machine::Identity;
use super::refusal::Refusal;
use super::state::DeviceState;
use crate::digest::Digest;
use crate::document::{Audience, Candidate, Deployment, Gates, Release, RoleName};
use crate::id::ModelName;
use crate::trust::{TrustedRoot, Verified};

/// The greatest step between the sequences of two deployments.
pub const MAX_SEQUENCE_STEP: u64 = 1 << 32;

/// What judgements are made of.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// The device.
    pub identity: &'a Identity,
    /// Its state.
    pub state: &'a DeviceState,
    /// The trusted root.
    pub root: &'a TrustedRoot,
    /// The device's time, in seconds since 1970: its wall clock where that is plausible.
    pub now_unix_s: u64,
}

/// A deployment that is not refused.
#[derive(Clone, Debug)]
pub enum Judgement {
    /// It is newer than the one that is followed.
    Newer(Verified<Deployment>),
    /// It is the very one that was accepted last for its audience.
    Known(Verified<Deployment>),
}

impl Ground<'_> {
    /// Judges what arrived on the deployment topic of an audience.
    ///
    /// # Errors
    /// The first reason for which it is not followed.
    pub fn judge_deployment(&self, topic: &Audience, envelope: &[u8]) -> Result<Judgement, Refusal> {
        if !self.follows(topic) {
            return Err(Refusal::NotOurs(topic.clone()));
        }
        let deployment: Verified<Deployment> = self.root.verify(envelope)?;
        if deployment.audience != *topic {
            let found = deployment.audience.clone();
            return Err(Refusal::Audience { expected: topic.clone(), found });
        }
        if self.root.root().revoked_devices.contains(&self.identity.device) {
            return Err(Refusal::DeviceRevoked(self.identity.device.clone()));
        }
        let (needed, trusted) = (deployment.min_root_version, self.root.version());
        if needed > trusted {
            return Err(Refusal::RootTooOld { needed, trusted });
        }
        let (expected, found) = (self.root.root().deploy_epoch, deployment.deploy_epoch);
        if found != expected {
            return Err(Refusal::DeployEpoch { expected, found });
        }
        self.identity.site.judge_threshold(self.root.root(), RoleName::Deploy)?;
        if self.state.recovered && !self.identity.is_echoed_by(&deployment) {
            return Err(Refusal::Recovered);
        }
        if self.is_known(&deployment)? {
            return Ok(Judgement::Known(deployment));
        }
        self.unexpired(&deployment)?;
        Ok(Judgement::Newer(deployment))
    }

    /// Whether the device follows deployments for this audience.
    pub fn follows(&self, audience: &Audience) -> bool {
        match audience {
            Audience::Channel(channel) => *channel == self.state.channel,
            Audience::Device(device) => *device == self.identity.device,
        }
    }

    fn is_known(&self, deployment: &Verified<Deployment>) -> Result<bool, Refusal> {
        let accepted = self.state.accepted(&deployment.audience);
        let (stored, found) = (accepted.map_or(0, |accepted| accepted.sequence), deployment.sequence);
        if found == stored
            && let Some(digest) = accepted.and_then(|accepted| accepted.digest)
        {
            return if digest == deployment.digest() {
                Ok(true)
            } else {
                Err(Refusal::Equivocation { sequence: found, accepted: digest, found: deployment.digest() })
            };
        }
        if found <= stored {
            return Err(Refusal::Replayed { stored, found });
        }
        if found - stored > MAX_SEQUENCE_STEP {
            return Err(Refusal::SequenceJump { stored, found });
        }
        Ok(false)
    }

    /// Whether a deployment may still cause installs.
    ///
    /// # Errors
    /// It is past its end by the device's time.
    pub fn unexpired(&self, deployment: &Deployment) -> Result<(), Refusal> {
        let (not_after_unix_s, now_unix_s) = (deployment.not_after_unix_s, self.now_unix_s);
        if now_unix_s > not_after_unix_s {
            return Err(Refusal::Expired { not_after_unix_s, now_unix_s });
        }
        Ok(())
    }

    /// Judges whether a release may be installed for a model, `floor` being what the deployment asks
    /// for beside the floor of the state.
    ///
    /// # Errors
    /// The first reason for which it may not.
    pub fn judge_release(
        &self,
        model: &ModelName,
        release: &Verified<Release>,
        floor: u64,
    ) -> Result<(), Refusal> {
        if release.model != *model {
            let (expected, found) = (model.clone(), release.model.clone());
            return Err(Refusal::Model { expected, found });
        }
        let root = self.root.root();
        let (least, found) = (root.release_epoch, release.release_epoch);
        if found < least {
            return Err(Refusal::ReleaseEpoch { least, found });
        }
        let stored = self.state.model(model).map_or(0, |state| state.floor);
        let floor = floor.max(stored).max(root.minimum_counter(model));
        if release.counter < floor {
            return Err(Refusal::BelowFloor { floor, found: release.counter });
        }
        self.judge_digest(release.digest())?;
        self.judge_compat(release)?;
        self.identity.site.judge_threshold(root, RoleName::Release)?;
        self.identity.site.judge_release(release)?;
        self.identity.variant(release, Some(self.root)).map(|_| ())
    }

    /// Judges what needs no document: whether a release is revoked, or failed here before.
    ///
    /// # Errors
    /// It is, or it did.
    pub fn judge_digest(&self, release: Digest) -> Result<(), Refusal> {
        if self.root.root().revoked_releases.contains(&release) {
            return Err(Refusal::Revoked(release));
        }
        if self.state.bad.contains(&release) {
            return Err(Refusal::Bad(release));
        }
        Ok(())
    }

    fn judge_compat(&self, release: &Release) -> Result<(), Refusal> {
        let compat = &release.compat;
        if compat.abi != ABI_VERSION {
            return Err(Refusal::Abi { needed: compat.abi, offered: ABI_VERSION });
        }
        let offered = &self.identity.runtime_version;
        if *offered < compat.min_runtime {
            let (needed, offered) = (compat.min_runtime.clone(), offered.clone());
            return Err(Refusal::Runtime { needed, offered });
        }
        let (needed, offered) = (compat.simd, self.identity.simd);
        if offered < needed {
            return Err(Refusal::Simd { needed, offered });
        }
        Ok(())
    }

    /// Judges what can be said of a candidate before its release is known.
    ///
    /// # Errors
    /// It has gates, is revoked, or failed here before.
    pub fn judge_candidate(&self, candidate: &Candidate) -> Result<(), Refusal> {
        if candidate.gates != Gates::default() {
            return Err(Refusal::Gates);
        }
        self.judge_digest(candidate.release)
    }
}

/// Judges a floor against the counter of the stable release beside it.
///
/// # Errors
/// The floor is above the counter.
pub fn judge_floor(floor: u64, stable: u64) -> Result<(), Refusal> {
    if floor > stable { Err(Refusal::FloorAboveStable { floor, stable }) } else { Ok(()) }
}
