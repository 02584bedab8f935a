//! What each audience is sent: the newest of what this folder records and the broker holds, and whether the two agree.

use std::collections::BTreeMap;

use bytes::Bytes;
use dunlin_core::document::{Audience, Deployment, ModelEntry, Release, Want};
use dunlin_core::id::{ChannelId, DeviceId, ModelName};
use dunlin_core::trust::Verified;
use dunlin_core::{Digest, topic};
use dunlin_mqtt::LinkError;
use serde::Serialize;

use super::DeployError;
use crate::folder::Fleet;
use crate::registry::all_releases;
use crate::session::Session;

/// What the broker holds for an audience, beside what the folder records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Held {
    /// The same deployment.
    Same,
    /// Nothing.
    Missing,
    /// An earlier deployment.
    Older {
        /// Its sequence.
        sequence: u64,
    },
    /// A deployment that this folder does not record.
    Newer {
        /// Its sequence.
        sequence: u64,
    },
    /// Another deployment of the same sequence.
    Conflict,
    /// Something that devices refuse by its signatures.
    Invalid,
}

/// What an audience is sent about a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelRow {
    /// The model.
    pub model: ModelName,
    /// The release; `None` if it is removed.
    pub release: Option<Digest>,
    /// What people call the release, if this folder has it.
    pub version: Option<String>,
    /// The candidate for a part of the audience.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate: Option<Digest>,
}

/// An audience.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AudienceRow {
    /// The audience.
    pub audience: Audience,
    /// The enrolled devices that belong to it.
    pub devices: Vec<DeviceId>,
    /// The sequence of the newest deployment; `None` if there is none that devices would accept.
    pub sequence: Option<u64>,
    /// Until when it may be installed, in seconds since 1970.
    pub not_after_unix_s: Option<u64>,
    /// The channel that a device is assigned to by its own deployment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<ChannelId>,
    /// What it says of each model.
    pub models: Vec<ModelRow>,
    /// What the broker holds.
    pub broker: Held,
}

/// Every audience that has a deployment here or on the broker.
///
/// # Errors
/// The folder cannot be read, or the broker does not answer.
pub async fn overview(fleet: &Fleet, session: &mut Session) -> Result<Vec<AudienceRow>, DeployError> {
    let held = held(fleet, session).await?;
    let mut audiences = fleet.audiences()?;
    audiences.extend(held.keys().cloned());
    audiences.sort();
    audiences.dedup();
    let releases = all_releases(fleet)?;
    audiences.into_iter().map(|audience| row(fleet, &releases, audience, &held)).collect()
}

/// What the broker retains for each audience, verified or not.
pub(crate) async fn held(
    fleet: &Fleet,
    session: &mut Session,
) -> Result<BTreeMap<Audience, Bytes>, LinkError> {
    let mut held = BTreeMap::new();
    let filters = topic::every_deployment(fleet.name());
    session
        .each_retained(&filters, |message| {
            if let Some(audience) = topic::parse_deployment(fleet.name(), &message.topic) {
                held.insert(audience, message.payload);
            }
        })
        .await?;
    Ok(held)
}

fn row(
    fleet: &Fleet,
    releases: &[Verified<Release>],
    audience: Audience,
    held: &BTreeMap<Audience, Bytes>,
) -> Result<AudienceRow, DeployError> {
    let recorded = fleet.deployment(&audience)?;
    let retained = held.get(&audience).map(|envelope| fleet.root().verify::<Deployment>(envelope).ok());
    let broker = compare(recorded.as_ref(), retained.as_ref().map(Option::as_ref));
    let newest = match (recorded, retained.flatten()) {
        (Some(recorded), Some(retained)) if at(&recorded) >= at(&retained) => Some(recorded),
        (recorded, retained) => retained.or(recorded),
    };
    let models = newest.iter().flat_map(|deployment| &deployment.models);
    Ok(AudienceRow {
        devices: fleet.members(&audience)?,
        sequence: newest.as_ref().map(|deployment| deployment.sequence),
        not_after_unix_s: newest.as_ref().map(|deployment| deployment.not_after_unix_s),
        channel: newest.as_ref().and_then(|deployment| deployment.channel.clone()),
        models: models.map(|entry| model_row(entry, releases)).collect(),
        audience,
        broker,
    })
}

fn at(deployment: &Deployment) -> (u64, u64) {
    (deployment.deploy_epoch, deployment.sequence)
}

/// `retained` is `Some(None)` where the broker holds what devices refuse.
fn compare(recorded: Option<&Verified<Deployment>>, retained: Option<Option<&Verified<Deployment>>>) -> Held {
    let retained = match retained {
        None => return Held::Missing,
        Some(None) => return Held::Invalid,
        Some(Some(retained)) => retained,
    };
    let sequence = retained.sequence;
    match recorded {
        Some(recorded) if recorded.digest() == retained.digest() => Held::Same,
        Some(recorded) if at(retained) == at(recorded) => Held::Conflict,
        Some(recorded) if at(retained) < at(recorded) => Held::Older { sequence },
        Some(_) | None => Held::Newer { sequence },
    }
}

fn model_row(entry: &ModelEntry, releases: &[Verified<Release>]) -> ModelRow {
    let (release, candidate) = match &entry.want {
        Want::Release { stable, candidate } => (Some(*stable), candidate.map(|candidate| candidate.release)),
        Want::Remove => (None, None),
    };
    let known = releases.iter().find(|known| Some(known.digest()) == release);
    let version = known.map(|known| known.version.clone());
    ModelRow { model: entry.model.clone(), release, version, candidate }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::fixture::deployment;
    use crate::fixture::Plant;

    #[test]
    fn folder_and_broker_are_compared() {
        let plant = Plant::new();
        let signed = |deployment: Deployment| plant.fleet.sign(&deployment).unwrap();
        let [one, two] = [1, 2].map(|sequence| signed(deployment(&plant.fleet, sequence)));
        let other = signed(Deployment { pull_spread_s: 9, ..deployment(&plant.fleet, 2) });
        let held = |recorded, retained| compare(recorded, retained);
        assert_eq!(held(Some(&two), None), Held::Missing);
        assert_eq!(held(Some(&two), Some(None)), Held::Invalid);
        assert_eq!(held(Some(&two), Some(Some(&two))), Held::Same);
        assert_eq!(held(Some(&two), Some(Some(&one))), Held::Older { sequence: 1 });
        assert_eq!(held(Some(&one), Some(Some(&two))), Held::Newer { sequence: 2 });
        assert_eq!(held(None, Some(Some(&two))), Held::Newer { sequence: 2 });
        assert_eq!(held(Some(&two), Some(Some(&other))), Held::Conflict);
    }
}
