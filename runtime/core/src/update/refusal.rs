//! Why a verified document, or a part of it, is not followed.

use alloc::string::String;
use semver::Version;

use crate::code::{self, Code, Coded};
use crate::digest::Digest;
use crate::document::{Audience, RoleName};
use crate::id::{DeviceId, ModelName};
use crate::precompiled::Machine;
use crate::trust::TrustError;
use dunlin_abi::{Import, Simd};

/// One reason, one code. Nothing changes by a refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not trusted.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A deployment for somebody else.
    #[error("the deployment is for {found}, on the topic of {expected}")]
    Audience {
        /// The topic's audience.
        expected: Audience,
        /// The document's.
        found: Audience,
    },
    /// A topic that this device does not follow.
    #[error("this device does not follow deployments for {0}")]
    NotOurs(Audience),
    /// The device was revoked by the root.
    #[error("device {0} is revoked: it installs nothing more")]
    DeviceRevoked(DeviceId),
    /// The root is older than the deployment needs.
    #[error("the deployment needs root version {needed}, this device has {trusted}")]
    RootTooOld {
        /// What it needs.
        needed: u64,
        /// The trusted version.
        trusted: u64,
    },
    /// Another deploy epoch.
    #[error("the deployment is of epoch {found}, the root of epoch {expected}")]
    DeployEpoch {
        /// The root's.
        expected: u64,
        /// The document's.
        found: u64,
    },
    /// An older deployment.
    #[error("the deployment has sequence {found}, {stored} was accepted before")]
    Replayed {
        /// The greatest that was accepted.
        stored: u64,
        /// The document's.
        found: u64,
    },
    /// Two deployments with one sequence: somebody signs twice.
    #[error("two deployments with sequence {sequence}: {accepted} was accepted, {found} came")]
    Equivocation {
        /// The sequence.
        sequence: u64,
        /// The digest that was accepted.
        accepted: Digest,
        /// The digest that came.
        found: Digest,
    },
    /// A sequence out of all proportion.
    #[error("the deployment has sequence {found}, more than 2^32 above {stored}")]
    SequenceJump {
        /// The greatest that was accepted.
        stored: u64,
        /// The document's.
        found: u64,
    },
    /// Past its end.
    #[error("the deployment ended at {not_after_unix_s}, it is {now_unix_s} (seconds since 1970)")]
    Expired {
        /// Its end.
        not_after_unix_s: u64,
        /// The device's time.
        now_unix_s: u64,
    },
    /// The release of one model under the name of another.
    #[error("the release is of model {found}, the deployment names it for {expected}")]
    Model {
        /// The deployment's.
        expected: ModelName,
        /// The release's.
        found: ModelName,
    },
    /// An older release epoch.
    #[error("the release is of epoch {found}, the root asks for {least} at least")]
    ReleaseEpoch {
        /// The root's.
        least: u64,
        /// The release's.
        found: u64,
    },
    /// An older counter than a floor.
    #[error("the release has counter {found}, the floor is {floor}")]
    BelowFloor {
        /// The floor, or the root's minimum.
        floor: u64,
        /// The release's.
        found: u64,
    },
    /// Revoked by the root.
    #[error("release {0} is revoked")]
    Revoked(Digest),
    /// It failed on this device before.
    #[error("release {0} failed on this device before")]
    Bad(Digest),
    /// Another guest ABI.
    #[error("the release needs ABI {needed}, this runtime has {offered}")]
    Abi {
        /// The release's.
        needed: u32,
        /// This runtime's.
        offered: u32,
    },
    /// A newer runtime is needed.
    #[error("the release needs runtime {needed}, this is {offered}")]
    Runtime {
        /// The oldest that will do.
        needed: Version,
        /// This runtime's.
        offered: Version,
    },
    /// SIMD that this host does not offer.
    #[error("the release needs SIMD {needed:?}, this host offers {offered:?}")]
    Simd {
        /// What the code uses.
        needed: Simd,
        /// What there is.
        offered: Simd,
    },
    /// A gate that this device cannot judge.
    #[error("the candidate has gates, which this runtime cannot judge")]
    Gates,
    /// A floor above what would run.
    #[error("the floor {floor} is above the counter {stable} of the stable release")]
    FloorAboveStable {
        /// The deployment's floor.
        floor: u64,
        /// The counter of the stable release beside it.
        stable: u64,
    },
    /// More models than a device can hold.
    #[error("the device holds {0} models already, the most")]
    TooManyModels(usize),
    /// The site does not allow the model.
    #[error("the site's policy does not allow model {0}")]
    SiteModel(ModelName),
    /// The site demands more signatures than the root.
    #[error("the site's policy demands {least} signatures of role {role}, the root {found}")]
    SiteThreshold {
        /// The role.
        role: RoleName,
        /// The site's.
        least: u8,
        /// The root's.
        found: u8,
    },
    /// The site denies a host function.
    #[error("the site's policy denies the import {:?}", .0.name())]
    SiteImport(Import),
    /// The site holds the model at another release.
    #[error("the site's policy holds {model} at {pinned}, this is {found}")]
    SitePin {
        /// The model.
        model: ModelName,
        /// The version or digest that it is held at.
        pinned: String,
        /// The version that came.
        found: String,
    },
    /// A device without a compiler has no code to run.
    #[error("this device cannot compile, and runs code for {} by wasmtime {}: {why}", .machine.target, .machine.wasmtime)]
    NoPrecompiled {
        /// What it could run.
        machine: Machine,
        /// Why it has none.
        why: NoPrecompiled,
    },
    /// The device does not know any more what it accepted.
    #[error(
        "the device's state was lost and put together from an older copy: it follows a deployment for itself that \
         echoes its nonce, or one of a new deploy epoch"
    )]
    Recovered,
    /// The device does not have the root that it trusts.
    #[error(
        "the stored copy of root {trusted} is damaged, and the device has only root {held}: it follows deployments \
         again when every root up to {trusted} has come"
    )]
    RootLost {
        /// The version that it trusts.
        trusted: u64,
        /// The newest version that it can read.
        held: u64,
    },
    /// The release could not be prepared.
    #[error("{detail}")]
    Prepare {
        /// The code that the shell gave.
        code: String,
        /// What happened.
        detail: String,
    },
}

/// Why a device may run no machine code of a release.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPrecompiled {
    /// The owner of the site did not opt in.
    #[error("the site's policy does not allow precompiled code (`site.allow_precompiled`)")]
    NotAllowed,
    /// It has no variant for this machine.
    #[error("the release has no such variant")]
    Missing,
    /// The role did not sign it.
    #[error("{0}")]
    Signatures(TrustError),
}

impl Refusal {
    /// Whether a newer root could make the same bytes acceptable.
    pub fn may_heal_with_a_new_root(&self) -> bool {
        match self {
            Refusal::Trust(error) => error.may_heal_with_a_new_root(),
            Refusal::RootTooOld { .. }
            | Refusal::DeployEpoch { .. }
            | Refusal::SiteThreshold { .. }
            | Refusal::RootLost { .. }
            | Refusal::Recovered => true,
            Refusal::NoPrecompiled { why, .. } => match why {
                NoPrecompiled::Signatures(error) => error.may_heal_with_a_new_root(),
                NoPrecompiled::NotAllowed | NoPrecompiled::Missing => false,
            },
            Refusal::Audience { .. }
            | Refusal::NotOurs(_)
            | Refusal::DeviceRevoked(_)
            | Refusal::Replayed { .. }
            | Refusal::Equivocation { .. }
            | Refusal::SequenceJump { .. }
            | Refusal::Expired { .. }
            | Refusal::Model { .. }
            | Refusal::ReleaseEpoch { .. }
            | Refusal::BelowFloor { .. }
            | Refusal::Revoked(_)
            | Refusal::Bad(_)
            | Refusal::Abi { .. }
            | Refusal::Runtime { .. }
            | Refusal::Simd { .. }
            | Refusal::Gates
            | Refusal::FloorAboveStable { .. }
            | Refusal::TooManyModels(_)
            | Refusal::SiteModel(_)
            | Refusal::SiteImport(_)
            | Refusal::SitePin { .. }
            | Refusal::Prepare { .. } => false,
        }
    }
}

impl Coded for Refusal {
    fn code(&self) -> Code {
        match self {
            Refusal::Trust(error) => error.code(),
            Refusal::Audience { .. } | Refusal::NotOurs(_) => code::update::WRONG_AUDIENCE,
            Refusal::DeviceRevoked(_) => code::update::DEVICE_REVOKED,
            Refusal::RootTooOld { .. } => code::update::ROOT_TOO_OLD,
            Refusal::DeployEpoch { .. } => code::update::DEPLOY_EPOCH,
            Refusal::Replayed { .. } => code::update::REPLAYED,
            Refusal::Equivocation { .. } => code::update::EQUIVOCATION,
            Refusal::SequenceJump { .. } => code::update::SEQUENCE_JUMP,
            Refusal::Expired { .. } => code::update::EXPIRED,
            Refusal::Model { .. } => code::update::WRONG_MODEL,
            Refusal::ReleaseEpoch { .. } => code::update::RELEASE_EPOCH,
            Refusal::BelowFloor { .. } => code::update::BELOW_FLOOR,
            Refusal::Revoked(_) => code::update::RELEASE_REVOKED,
            Refusal::Bad(_) => code::update::RELEASE_BAD,
            Refusal::Abi { .. } => code::update::COMPAT_ABI,
            Refusal::Runtime { .. } => code::update::COMPAT_RUNTIME,
            Refusal::Simd { .. } => code::update::COMPAT_SIMD,
            Refusal::Gates => code::update::GATE_UNSUPPORTED,
            Refusal::FloorAboveStable { .. } => code::update::FLOOR_ABOVE_STABLE,
            Refusal::TooManyModels(_) => code::update::TOO_MANY_MODELS,
            Refusal::SiteModel(_) => code::update::SITE_MODEL,
            Refusal::SiteThreshold { .. } => code::update::SITE_THRESHOLD,
            Refusal::SiteImport(_) => code::update::SITE_IMPORT,
            Refusal::SitePin { .. } => code::update::SITE_PIN,
            Refusal::NoPrecompiled { .. } => code::module::NO_PRECOMPILED,
            Refusal::RootLost { .. } => code::update::ROOT_LOST,
            Refusal::Recovered => code::update::STATE_RECOVERED,
            Refusal::Prepare { .. } => code::update::PREPARE_FAILED,
        }
    }
}
