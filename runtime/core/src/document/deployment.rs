//! The deployment: what an audience should run.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

use super::{Document, DocumentError, RoleName, ensure, unique};
use crate::digest::Digest;
use crate::id::{ChannelId, DeviceId, FleetId, ModelName};

/// The most models of a deployment.
pub const MAX_MODELS: usize = 64;

/// The longest spread of pulls, in seconds: a day.
const MAX_PULL_SPREAD_S: u32 = 86_400;

/// Whom a deployment is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Audience {
    /// Every device of a channel.
    Channel(ChannelId),
    /// One device; wins over the channel for each model that it names.
    Device(DeviceId),
}

impl fmt::Display for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Audience::Channel(channel) => write!(f, "channel {channel}"),
            Audience::Device(device) => write!(f, "device {device}"),
        }
    }
}

/// What must hold for a candidate to go on. A device that cannot judge a gate refuses the candidate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gates {
    /// The slowest 99th percentile of a call, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_p99_us: Option<u64>,
    /// The most memory of an instance, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_memory_bytes: Option<u64>,
    /// The most failed calls of a thousand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_failures_permille: Option<u16>,
    /// The greatest population stability index, in thousandths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_psi_permille: Option<u32>,
    /// The least agreement with the stable release on the same inputs, of a thousand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_agreement_permille: Option<u16>,
}

/// A release on trial in a part of the audience.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// The digest of the release's body.
    pub release: Digest,
    /// Fixed for a candidate, so that widening the cohort keeps the devices that are in it.
    pub seed: u64,
    /// The size of the cohort, of a thousand.
    pub cohort_permille: u16,
    /// What must hold.
    #[serde(default)]
    pub gates: Gates,
}

/// What should become of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Want {
    /// It should run.
    Release {
        /// The digest of the release's body.
        stable: Digest,
        /// A newer release for a part of the audience.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        candidate: Option<Candidate>,
    },
    /// It should stop and be deleted.
    Remove,
}

/// What an audience should do about one model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelEntry {
    /// The model.
    pub model: ModelName,
    /// What should become of it.
    pub want: Want,
    /// Whether releases that failed on the device before are to be tried again.
    #[serde(default)]
    pub retry: bool,
}

/// The least counter that a model may have from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Floor {
    /// A model of this deployment.
    pub model: ModelName,
    /// At most the counter of its stable release.
    pub counter: u64,
}

/// What an audience should run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// The version of the format.
    pub schema: u32,
    /// The fleet.
    pub fleet: FleetId,
    /// Whom it is for.
    pub audience: Audience,
    /// Must equal the root's.
    pub deploy_epoch: u64,
    /// Greater than that of every earlier deployment for this audience.
    pub sequence: u64,
    /// Devices with an older root wait until they have this one.
    pub min_root_version: u64,
    /// When it was signed, in seconds since 1970.
    pub issued_unix_s: u64,
    /// Not to be installed after this; a running model is never stopped by it.
    pub not_after_unix_s: u64,
    /// What to do about each model; a model that is absent is left alone.
    pub models: Vec<ModelEntry>,
    /// The least counters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub floors: Vec<Floor>,
    /// The channel that the device belongs to; in device documents only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<ChannelId>,
    /// The nonce that the device sent in this boot, 32 hexadecimal digits; in device documents only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce_echo: Option<String>,
    /// How often devices report their health, in seconds.
    pub report_interval_s: u32,
    /// Devices start pulling at a random moment within this many seconds.
    pub pull_spread_s: u32,
}

impl Deployment {
    /// What it says about a model.
    pub fn entry(&self, model: &ModelName) -> Option<&ModelEntry> {
        self.models.iter().find(|entry| entry.model == *model)
    }
}

impl Document for Deployment {
    const PAYLOAD_TYPE: &'static str = "application/vnd.dunlin.deployment+json";
    const KIND: &'static str = "deployment";
    const ROLE: RoleName = RoleName::Deploy;

    fn schema(&self) -> u32 {
        self.schema
    }

    fn fleet(&self) -> &FleetId {
        &self.fleet
    }

    fn check(&self) -> Result<(), DocumentError> {
        ensure!(Deployment, self.sequence >= 1, "sequences start at 1");
        ensure!(Deployment, self.issued_unix_s <= self.not_after_unix_s, "it ends before it was issued");
        let count = self.models.len();
        ensure!(Deployment, count <= MAX_MODELS, "it has {count} models, the most is {MAX_MODELS}");
        ensure!(Deployment, unique(&self.models, |entry| &entry.model), "a model stands in it twice");
        for entry in &self.models {
            if let Want::Release { stable, candidate: Some(candidate) } = &entry.want {
                let permille = candidate.cohort_permille;
                ensure!(Deployment, permille <= 1000, "a cohort has {permille} of a thousand");
                ensure!(Deployment, candidate.release != *stable, "a candidate is the stable release itself");
                let gates = candidate.gates;
                for share in [gates.max_failures_permille, gates.min_agreement_permille].into_iter().flatten()
                {
                    ensure!(Deployment, share <= 1000, "a gate has {share} of a thousand");
                }
            }
        }
        ensure!(Deployment, unique(&self.floors, |floor| &floor.model), "a model has two floors");
        for floor in &self.floors {
            let beside =
                self.entry(&floor.model).is_some_and(|entry| matches!(entry.want, Want::Release { .. }));
            ensure!(Deployment, beside, "the floor of {} has no release beside it", floor.model);
        }
        let for_device = matches!(self.audience, Audience::Device(_));
        ensure!(
            Deployment,
            for_device || self.channel.is_none(),
            "only a device's document may set the channel"
        );
        ensure!(
            Deployment,
            for_device || self.nonce_echo.is_none(),
            "only a device's document may echo a nonce"
        );
        if let Some(nonce) = &self.nonce_echo {
            let good = nonce.len() == 32 && nonce.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            ensure!(Deployment, good, "the nonce is not 32 lower-case hexadecimal digits");
        }
        let interval = self.report_interval_s;
        ensure!(
            Deployment,
            (1..=86_400).contains(&interval),
            "report_interval_s is {interval}, not 1 to 86400"
        );
        let spread = self.pull_spread_s;
        ensure!(
            Deployment,
            spread <= MAX_PULL_SPREAD_S,
            "pull_spread_s is {spread}, over {MAX_PULL_SPREAD_S}"
        );
        Ok(())
    }
}
