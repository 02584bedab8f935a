//! The records, field by field.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::BootId;
use crate::digest::Digest;
use crate::drift::{Counts, DriftVerdict};
use crate::health::{Counters, Latency, MetricSummary};
use crate::id::{ChannelId, DeviceId, FleetId, ModelName};
use crate::topic::TelemetryClass;

/// The version of the records.
pub const SCHEMA: u32 = 1;

/// How far a device's clock can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// It was never set; times order records of one boot and say no more.
    Unset,
    /// It is not before the newest signed document that the device accepted.
    Bounded,
    /// Likewise, and a document of the last day echoed a nonce of this boot, so that it was signed in it.
    Attested,
}

/// What every record starts with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The version of the records: [`SCHEMA`].
    pub schema: u32,
    /// The fleet; the topic tells it too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetId>,
    /// The device.
    pub device: DeviceId,
    /// The run of the agent.
    pub boot: BootId,
    /// 1 for the first record of its class in this boot, then one more each.
    pub seq: u64,
    /// The device's clock when the record was made, in seconds since 1970.
    pub time_unix_s: u64,
    /// How far to believe it.
    pub clock: Clock,
}

/// Whether a device is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PresenceState {
    /// Sent when it connected.
    Online,
    /// Sent when it left, or by the broker as its last will.
    Offline,
}

/// Retained, with a last will: whether a device is connected, and what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// What every record starts with.
    #[serde(flatten)]
    pub header: Header,
    /// Whether it is connected.
    pub state: PresenceState,
    /// Grows with every connection of the device, over restarts too. A late last will of an earlier
    /// connection carries that one's number: the highest number counts.
    pub connection: u64,
    /// The version of the runtime.
    pub runtime: String,
    /// The version of the guest ABI that it runs.
    pub abi: u32,
    /// The target triple of the runtime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The channel that it listens to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<ChannelId>,
    /// The version of the root that it trusts.
    pub root_version: u64,
    /// The newest releases that failed on it, which it does not try again unless a deployment says so; by the digest
    /// of their bodies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<Digest>,
    /// To be echoed by a device document, as proof that it is fresh: 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
}

/// How one model does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelHealth {
    /// The model.
    pub model: ModelName,
    /// The release that serves, by the digest of its body.
    pub release: Digest,
    /// What people call it.
    pub version: String,
    /// Whether it answers requests.
    pub ready: bool,
    /// Since it was loaded in this boot.
    #[serde(flatten)]
    pub counters: Counters,
    /// Since the last report.
    pub latency: Latency,
    /// Memory of its instance, in bytes.
    pub memory_bytes: u64,
    /// What the model itself reported since the last report, by name; at most [`MAX_METRICS`] names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metrics: BTreeMap<String, MetricSummary>,
}

/// The most metrics of one model in a report.
pub const MAX_METRICS: usize = 16;

/// How many records were dropped in a boot before they were sent, by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Of health.
    pub health: u64,
    /// Of drift.
    pub drift: u64,
    /// Of events.
    pub event: u64,
}

impl Dropped {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.health.saturating_add(self.drift).saturating_add(self.event)
    }

    /// One more of a class.
    pub fn count(&mut self, class: TelemetryClass) {
        let count = match class {
            TelemetryClass::Health => &mut self.health,
            TelemetryClass::Drift => &mut self.drift,
            TelemetryClass::Event => &mut self.event,
        };
        *count = count.saturating_add(1);
    }
}

/// How a device and its models do, every interval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// What every record starts with.
    #[serde(flatten)]
    pub header: Header,
    /// How long the agent has run, in seconds.
    pub uptime_s: u64,
    /// How long the interval was, in seconds.
    pub interval_s: u32,
    /// Resident memory of the agent, in bytes.
    pub memory_bytes: u64,
    /// Seconds since the newest deployment that the device follows was signed, by its own time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment_age_s: Option<u64>,
    /// Seconds since a deployment echoed a nonce of this boot: since when it is proven that nothing new was
    /// held back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven_age_s: Option<u64>,
    /// The codes of what a person should look at, for as long as it lasts.
    #[serde(default)]
    pub alarms: Vec<String>,
    /// Records that were dropped unsent since the agent started, because their queue was full.
    #[serde(default)]
    pub dropped: Dropped,
    /// Every release that the device holds: what serves, what was proven before, and what is on its way; by the
    /// digest of its body.
    #[serde(default)]
    pub installed: Vec<Digest>,
    /// The models that are loaded.
    pub models: Vec<ModelHealth>,
}

/// How far a model's inputs and outputs are from its baseline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// What every record starts with.
    #[serde(flatten)]
    pub header: Header,
    /// The model.
    pub model: ModelName,
    /// The release, by the digest of its body.
    pub release: Digest,
    /// The baseline that the counts belong to, by the digest of its file.
    pub baseline: Digest,
    /// What the device says.
    #[serde(flatten)]
    pub verdict: DriftVerdict,
    /// What was counted since the last record, in the bins of the baseline: the fleet's view is their sum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRecord {
    /// What every record starts with.
    #[serde(flatten)]
    pub header: Header,
    /// What happened, in lower case with hyphens: `rolled-back`, as [`crate::update::Occurrence`] names it.
    pub event: String,
    /// The model that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelName>,
    /// The release that it is about, by the digest of its body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Digest>,
    /// What people call that release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Why it was refused or failed: a code of `docs/errors.md`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// More, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// A record of any kind that leaves the device.
pub trait Record: Serialize + DeserializeOwned {
    /// The class of its topic; `None` for presence, which has a topic of its own.
    const CLASS: Option<TelemetryClass>;

    /// What the record starts with.
    fn header(&self) -> &Header;

    /// The bytes of the message.
    ///
    /// # Errors
    /// A number that JSON cannot write; none of our own is.
    fn to_json(&self) -> Result<Vec<u8>, TelemetryError> {
        serde_json::to_vec(self).map_err(|error| TelemetryError::Json(error.to_string()))
    }

    /// Reads a message. Unknown fields are ignored.
    ///
    /// # Errors
    /// It is not a record of this kind, or of another schema.
    fn from_json(bytes: &[u8]) -> Result<Self, TelemetryError> {
        let record: Self =
            serde_json::from_slice(bytes).map_err(|error| TelemetryError::Json(error.to_string()))?;
        match record.header().schema {
            SCHEMA => Ok(record),
            other => Err(TelemetryError::Schema(other)),
        }
    }
}

macro_rules! record {
    ($name:ident, $class:expr) => {
        impl Record for $name {
            const CLASS: Option<TelemetryClass> = $class;

            fn header(&self) -> &Header {
                &self.header
            }
        }
    };
}
record!(Presence, None);
record!(Health, Some(TelemetryClass::Health));
record!(Drift, Some(TelemetryClass::Drift));
record!(EventRecord, Some(TelemetryClass::Event));

/// A message that is no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TelemetryError {
    /// Not the JSON of this kind of record.
    #[error("the message is not a record of this kind: {0}")]
    Json(String),
    /// A version that this build does not know.
    #[error("the record has schema {0}, this build knows {SCHEMA}")]
    Schema(u32),
}

impl crate::code::Coded for TelemetryError {
    fn code(&self) -> crate::code::Code {
        crate::code::transfer::RECORD_MALFORMED
    }
}
