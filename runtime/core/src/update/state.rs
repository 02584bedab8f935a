//! The durable state of a device: the only mutable truth, committed as a whole.
//!
//! It is JSON of at most [`MAX_STATE_BYTES`], so that it fits a preallocated slot of 16 KiB with the
//! slot's own header; every list is bounded and a test fills them all. Documents and blobs are stored
//! beside it under their digests and are named here.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::document::{Audience, Release};
use crate::enrolment::Enrolment;
use crate::id::{ChannelId, DeviceId, ModelName};
use crate::trust::{TrustedRoot, Verified};

/// The version of the state's format. A newer one stops the start and is not overwritten.
pub const STATE_FORMAT: u32 = 1;

/// The longest state, in bytes of JSON.
pub const MAX_STATE_BYTES: usize = 16_000;

/// The most models of a device.
pub const MAX_DEVICE_MODELS: usize = 12;

/// The most releases that are remembered as bad; the oldest are forgotten first.
pub const MAX_BAD: usize = 32;

/// The most audiences whose sequences are remembered; the one that was used longest ago is forgotten
/// first, and the device's own never.
pub const MAX_AUDIENCES: usize = 4;

/// The most starts of the agent in a trial that did not survive; the next one holds the release back.
pub const MAX_TRIAL_STARTS: u8 = 3;

/// The most reboots of the machine in a trial that did not survive; the next one holds the release back.
pub const MAX_TRIAL_REBOOTS: u8 = 10;

/// The longest name of a boot of the machine, in bytes: a UUID.
pub const MAX_MACHINE_BOOT_BYTES: usize = 36;

/// A version text longer than this is cut in the state; the stored release has it in full.
pub const MAX_VERSION_BYTES: usize = 32;

/// The newest deployment of an audience.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptedSequence {
    /// The audience.
    pub audience: Audience,
    /// The greatest sequence that was accepted.
    pub sequence: u64,
    /// The deployment that had it; `None` where the number comes from the enrolment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
}

/// A release on the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Installed {
    /// The digest of the release's body.
    pub release: Digest,
    /// The digest of its module.
    pub artifact: Digest,
    /// Its counter.
    pub counter: u64,
    /// Its version, cut to [`MAX_VERSION_BYTES`].
    pub version: String,
    /// Whether its precompiled variant was found signed by the role for it; false where the device compiles.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub precompiled: bool,
}

impl Installed {
    /// What the state keeps of a release that was judged.
    pub fn of(release: &Verified<Release>, precompiled: bool) -> Installed {
        let text = &release.version;
        let end = (0..=MAX_VERSION_BYTES.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
        Installed {
            release: release.digest(),
            artifact: release.artifact.digest,
            counter: release.counter,
            version: text.get(..end.unwrap_or(0)).unwrap_or_default().to_string(),
            precompiled,
        }
    }
}

/// How far a release on its way is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Stage {
    /// Its blobs are on their way.
    Fetching,
    /// Its blobs are in the store; it is admitted, compiled and checked.
    Preparing,
    /// It serves, on probation.
    Trial {
        /// Starts in this trial that have not survived yet: committed before loading, and set to 0
        /// once the release has served or a minute has passed.
        starts: u8,
        /// Starts in this trial that followed a reboot of the machine, not counted among the others: the
        /// power went. Set to 0 likewise.
        #[serde(default, skip_serializing_if = "is_zero")]
        reboots: u8,
    },
    /// Its trial is suspended: the agent, or the machine, went down too often in it. The agent runs no code
    /// of a model, so that this is not held against the release. It goes on with a newer deployment, or after
    /// a while of the agent's running.
    Held,
}

fn is_zero(number: &u8) -> bool {
    *number == 0
}

/// A release on its way to be active.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Next {
    /// The release.
    pub installed: Installed,
    /// How far it is.
    pub stage: Stage,
}

/// One model of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelState {
    /// The model.
    pub model: ModelName,
    /// The least counter that may be installed, in this deploy epoch.
    pub floor: u64,
    /// The proven release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<Installed>,
    /// The proven release before; while nothing was ever proven, the one whose trial was cut short
    /// by a newer deployment, so that the model serves until its successor does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Installed>,
    /// The release on its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Next>,
}

impl ModelState {
    /// A model of which nothing is installed.
    pub(super) fn new(model: ModelName) -> ModelState {
        ModelState { model, floor: 0, active: None, previous: None, next: None }
    }

    /// Every release of the model on the device: next, active, previous.
    pub fn installed(&self) -> impl Iterator<Item = &Installed> {
        self.next.iter().map(|next| &next.installed).chain(&self.active).chain(&self.previous)
    }

    /// What serves when the release on its way does not: the proven release, else the one before.
    pub(super) fn fallback(&self) -> Option<&Installed> {
        self.active.as_ref().or(self.previous.as_ref())
    }

    /// Whether the model's release is in its trial.
    pub fn in_trial(&self) -> bool {
        self.next.as_ref().is_some_and(|next| matches!(next.stage, Stage::Trial { .. }))
    }

    /// The release whose trial is suspended.
    pub(super) fn held(&self) -> Option<&Installed> {
        self.next.as_ref().filter(|next| next.stage == Stage::Held).map(|next| &next.installed)
    }
}

/// The durable state of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceState {
    /// [`STATE_FORMAT`].
    pub format: u32,
    /// The device that it is of; `None` in a state of an earlier version, which its next commit names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
    /// How often the agent was started with this state; committed at each start.
    pub boots: u64,
    /// The boot of the machine in which the agent was started last; see [`super::Identity::machine_boot`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_boot: Option<String>,
    /// The trusted root's version.
    pub root_version: u64,
    /// The digest of its body.
    pub root_digest: Digest,
    /// Its deploy epoch, which sequences and floors belong to.
    pub deploy_epoch: u64,
    /// The latest signed time, in seconds since 1970.
    pub t_low_unix_s: u64,
    /// The channel that the device follows.
    pub channel: ChannelId,
    /// The newest deployment of each audience, the latest used last.
    pub sequences: Vec<AcceptedSequence>,
    /// The models.
    pub models: Vec<ModelState>,
    /// Releases that failed here, the latest last.
    pub bad: Vec<Digest>,
    /// Whether this was put together from an older copy, because the newest state was lost. Then nothing is
    /// installed before a deployment echoes a nonce of the device, or a root moves the deploy epoch: an old
    /// copy does not know what was accepted since.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub recovered: bool,
}

impl DeviceState {
    /// The state of a device that never ran: the enrolment's channel, sequences and floors, as far as
    /// they belong to the root's deploy epoch.
    pub fn enrolled(enrolment: &Enrolment, root: &TrustedRoot) -> DeviceState {
        let root_document = root.root();
        let same_epoch = enrolment.deploy_epoch == root_document.deploy_epoch;
        // The deployment of the enrolment's day is still accepted: what is stored is one below it.
        let sequences = enrolment.sequences.iter().filter(|_| same_epoch).map(|seen| AcceptedSequence {
            audience: seen.audience.clone(),
            sequence: seen.sequence.saturating_sub(1),
            digest: None,
        });
        let mut models: Vec<ModelState> = Vec::new();
        for floor in enrolment.floors.iter().filter(|_| same_epoch) {
            // The channel's and the device's own deployment may both have one.
            match models.iter_mut().find(|state| state.model == floor.model) {
                Some(state) => state.floor = state.floor.max(floor.counter),
                None => {
                    models.push(ModelState { floor: floor.counter, ..ModelState::new(floor.model.clone()) });
                }
            }
        }
        models.truncate(MAX_DEVICE_MODELS);
        DeviceState {
            format: STATE_FORMAT,
            device: Some(enrolment.device.clone()),
            boots: 0,
            machine_boot: None,
            root_version: root.version(),
            root_digest: root.digest(),
            deploy_epoch: root_document.deploy_epoch,
            t_low_unix_s: enrolment.time_low_unix_s.max(root_document.issued_unix_s),
            channel: enrolment.channel.clone(),
            sequences: sequences.take(MAX_AUDIENCES).collect(),
            models,
            bad: Vec::new(),
            recovered: false,
        }
    }

    /// The part of the state that is worth a copy beside it: what is proven, and what guards it.
    pub fn proven(&self) -> DeviceState {
        let models = self.models.iter().map(|state| ModelState {
            active: state.active.clone(),
            previous: None,
            next: None,
            ..state.clone()
        });
        DeviceState { models: models.collect(), ..self.clone() }
    }

    /// A state out of the copy of what was proven, under the newest root that is stored. Deployments are not
    /// recalled: which one was the newest is what was lost. Where that root is older than the copy, the root of
    /// the copy was lost too, and the state goes on naming it.
    pub fn recovered(proven: DeviceState, root: &TrustedRoot) -> DeviceState {
        if root.version() < proven.root_version {
            let forgotten = |accepted: AcceptedSequence| AcceptedSequence { digest: None, ..accepted };
            let sequences = proven.sequences.into_iter().map(forgotten).collect();
            return DeviceState { sequences, recovered: true, ..proven };
        }
        let document = root.root();
        let same_epoch = proven.deploy_epoch == document.deploy_epoch;
        let forgotten = |accepted: AcceptedSequence| AcceptedSequence { digest: None, ..accepted };
        let mut state = DeviceState {
            root_version: root.version(),
            root_digest: root.digest(),
            deploy_epoch: document.deploy_epoch,
            t_low_unix_s: proven.t_low_unix_s.max(document.issued_unix_s),
            sequences: proven.sequences.into_iter().filter(|_| same_epoch).map(forgotten).collect(),
            recovered: true,
            ..proven
        };
        for model in &mut state.models {
            if !same_epoch {
                model.floor = 0;
            }
            // A root that came after the copy was made may forbid what it names.
            let least = model.floor.max(document.minimum_counter(&model.model));
            model.active.take_if(|active| {
                active.counter < least || document.revoked_releases.contains(&active.release)
            });
        }
        state
    }

    /// The digests of every document that the state names: a shell loads them for
    /// [`super::Device::restore`].
    pub fn documents(&self) -> Vec<Digest> {
        let deployments = self.sequences.iter().filter_map(|accepted| accepted.digest);
        let releases = self.models.iter().flat_map(ModelState::installed).map(|installed| installed.release);
        deployments.chain(releases).collect()
    }

    /// What is known of a model.
    pub fn model(&self, model: &ModelName) -> Option<&ModelState> {
        self.models.iter().find(|state| state.model == *model)
    }

    /// The newest deployment that was accepted for an audience.
    pub fn accepted(&self, audience: &Audience) -> Option<&AcceptedSequence> {
        self.sequences.iter().find(|accepted| accepted.audience == *audience)
    }

    pub(super) fn accept(&mut self, device: &DeviceId, accepted: AcceptedSequence) {
        self.sequences.retain(|known| known.audience != accepted.audience);
        self.sequences.push(accepted);
        if self.sequences.len() > MAX_AUDIENCES {
            let own = Audience::Device(device.clone());
            let current = Audience::Channel(self.channel.clone());
            let oldest =
                self.sequences.iter().position(|known| known.audience != own && known.audience != current);
            self.sequences.remove(oldest.unwrap_or(0));
        }
    }

    pub(super) fn blame(&mut self, release: Digest) {
        self.bad.retain(|bad| *bad != release);
        self.bad.push(release);
        if self.bad.len() > MAX_BAD {
            self.bad.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn the_fullest_state_fits_its_slot() {
        let long = |head: char| format!("{head}{}", "x".repeat(62));
        let installed = || Installed {
            release: Digest::of(b""),
            artifact: Digest::of(b""),
            counter: u64::MAX,
            version: "\"".repeat(MAX_VERSION_BYTES),
            precompiled: true,
        };
        let state = DeviceState {
            format: u32::MAX,
            device: Some(long('d').parse().unwrap()),
            boots: u64::MAX,
            machine_boot: Some("x".repeat(MAX_MACHINE_BOOT_BYTES)),
            root_version: u64::MAX,
            root_digest: Digest::of(b""),
            deploy_epoch: u64::MAX,
            t_low_unix_s: u64::MAX,
            channel: long('c').parse().unwrap(),
            sequences: (0..MAX_AUDIENCES)
                .map(|_| AcceptedSequence {
                    audience: Audience::Channel(long('c').parse().unwrap()),
                    sequence: u64::MAX,
                    digest: Some(Digest::of(b"")),
                })
                .collect(),
            models: (0..MAX_DEVICE_MODELS)
                .map(|_| ModelState {
                    model: long('m').parse().unwrap(),
                    floor: u64::MAX,
                    active: Some(installed()),
                    previous: Some(installed()),
                    next: Some(Next {
                        installed: installed(),
                        stage: Stage::Trial { starts: MAX_TRIAL_STARTS, reboots: MAX_TRIAL_REBOOTS },
                    }),
                })
                .collect(),
            bad: (0..MAX_BAD).map(|_| Digest::of(b"")).collect(),
            recovered: true,
        };
        let bytes = serde_json::to_vec(&state).unwrap();
        assert!(bytes.len() < MAX_STATE_BYTES, "{} bytes", bytes.len());
        assert_eq!(serde_json::from_slice::<DeviceState>(&bytes).unwrap(), state);
    }
}
