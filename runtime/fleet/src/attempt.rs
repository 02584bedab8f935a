//! Attempts: what a command is about to publish and the folder does not record yet.
//!
//! A document with a sequence (a deployment, the device list) is signed, noted as an attempt, published, read back,
//! and only then recorded in the folder. What a command leaves that is killed, or whose broker drops the message:
//!
//! | ends after | the folder | the next command |
//! |---|---|---|
//! | signing | as it was | signs the same sequence |
//! | noting the attempt | as it was, and a sequence that is taken | signs the next sequence |
//! | publishing | likewise | finds the attempt on the broker and records it |
//! | recording | the new document, and its own sequence that is taken | forgets the attempt |
//!
//! An attempt is a sequence and a digest and never the document. So a deployment that failed cannot come alive
//! later, and no sequence is signed twice with different content, which devices would take for a stolen key.

use std::io;
use std::path::PathBuf;

use bytes::Bytes;
use dunlin_core::document::{Audience, Deployment, DeviceList, Document};
use dunlin_core::trust::Verified;
use dunlin_core::{Digest, topic};
use serde::{Deserialize, Serialize};

use crate::file::{self, FileError, Readers};
use crate::folder::{Fleet, FolderError, exhausted};
use crate::publish::{PublishError, retained};
use crate::session::Session;

/// The folder of attempts.
const FOLDER: &str = "attempts";

/// Where a document with a sequence belongs; sequences are counted for each place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The deployment of an audience.
    Deployment(Audience),
    /// The device list.
    DeviceList,
}

/// A sequence that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Attempt {
    pub(crate) deploy_epoch: u64,
    pub(crate) sequence: u64,
    /// Of the document's body.
    pub(crate) digest: Digest,
}

/// A document that counts in sequences.
pub(crate) trait Sequenced: Document {
    /// Where it belongs.
    fn place(&self) -> Place;

    /// Its deploy epoch and its sequence.
    fn at(&self) -> (u64, u64);

    /// What the folder records for the place.
    fn recorded(fleet: &Fleet, place: &Place) -> Result<Option<Verified<Self>>, FolderError>;

    /// Records it in the folder.
    fn record(fleet: &Fleet, document: &Verified<Self>) -> Result<(), FolderError>;
}

impl Sequenced for Deployment {
    fn place(&self) -> Place {
        Place::Deployment(self.audience.clone())
    }

    fn at(&self) -> (u64, u64) {
        (self.deploy_epoch, self.sequence)
    }

    fn recorded(fleet: &Fleet, place: &Place) -> Result<Option<Verified<Self>>, FolderError> {
        match place {
            Place::Deployment(audience) => fleet.deployment(audience),
            Place::DeviceList => Ok(None),
        }
    }

    fn record(fleet: &Fleet, document: &Verified<Self>) -> Result<(), FolderError> {
        fleet.store_deployment(document)
    }
}

impl Sequenced for DeviceList {
    fn place(&self) -> Place {
        Place::DeviceList
    }

    fn at(&self) -> (u64, u64) {
        (self.deploy_epoch, self.sequence)
    }

    fn recorded(fleet: &Fleet, _place: &Place) -> Result<Option<Verified<Self>>, FolderError> {
        fleet.device_list()
    }

    fn record(fleet: &Fleet, document: &Verified<Self>) -> Result<(), FolderError> {
        fleet.store_device_list(document)
    }
}

impl Place {
    pub(crate) fn topic(&self, fleet: &Fleet) -> String {
        match self {
            Place::Deployment(audience) => topic::deployment(fleet.name(), audience),
            Place::DeviceList => topic::devices(fleet.name()),
        }
    }

    fn file(&self) -> String {
        match self {
            Place::Deployment(Audience::Channel(channel)) => format!("channel/{channel}.json"),
            Place::Deployment(Audience::Device(device)) => format!("device/{device}.json"),
            Place::DeviceList => String::from("devices.json"),
        }
    }
}

impl Fleet {
    /// The next sequence of a place: after what it has, and after what was attempted for it. A new deploy epoch
    /// counts from 1 again.
    pub(crate) fn next_sequence<T: Document>(
        &self,
        place: &Place,
        newest: Option<(u64, u64)>,
    ) -> Result<u64, FolderError> {
        let attempted = self.attempt(place)?.map(|attempt| (attempt.deploy_epoch, attempt.sequence));
        let epoch = self.root().root().deploy_epoch;
        let taken = newest.into_iter().chain(attempted).filter(|(of, _)| *of == epoch);
        let last = taken.map(|(_, sequence)| sequence).max().unwrap_or(0);
        let next = last.checked_add(1);
        next.ok_or_else(|| FolderError::Document(exhausted::<T>("sequence", "the next deploy epoch")))
    }

    /// What was attempted for a place and is not recorded.
    pub(crate) fn attempt(&self, place: &Place) -> Result<Option<Attempt>, FolderError> {
        let path = self.attempt_path(place);
        let Some(json) = file::read_if_there(&path)? else { return Ok(None) };
        let attempt = serde_json::from_slice(&json).map_err(|error| FileError {
            what: "read",
            path,
            error: io::Error::new(io::ErrorKind::InvalidData, error),
        })?;
        Ok(Some(attempt))
    }

    fn note_attempt(&self, place: &Place, attempt: Attempt) -> Result<(), FolderError> {
        let path = self.attempt_path(place);
        let json = serde_json::to_vec(&attempt).map_err(|error| FileError {
            what: "write",
            path: path.clone(),
            error: error.into(),
        })?;
        Ok(file::replace(&path, &json, Readers::Anyone)?)
    }

    fn forget_attempt(&self, place: &Place) -> Result<(), FolderError> {
        Ok(file::remove_if_there(&self.attempt_path(place))?)
    }

    /// Every place that has an attempt.
    fn attempted(&self) -> Result<Vec<Place>, FolderError> {
        let folder = self.folder().join(FOLDER);
        let mut places = Vec::new();
        for kind in ["channel", "device"] {
            for file in file::list(&folder.join(kind))? {
                let Some(name) = file.strip_suffix(".json") else { continue };
                places.push(Place::Deployment(match kind {
                    "channel" => Audience::Channel(name.parse()?),
                    _ => Audience::Device(name.parse()?),
                }));
            }
        }
        if self.attempt_path(&Place::DeviceList).exists() {
            places.push(Place::DeviceList);
        }
        Ok(places)
    }

    fn attempt_path(&self, place: &Place) -> PathBuf {
        self.folder().join(FOLDER).join(place.file())
    }
}

/// Publishes a signed document, reads it back, and records it.
///
/// # Errors
/// The broker does not take or keep it: the folder then stays as it was, but for the sequence, which is taken.
pub(crate) async fn publish_and_record<T: Sequenced>(
    fleet: &Fleet,
    session: &mut Session,
    document: &Verified<T>,
) -> Result<(), PublishError> {
    let (place, (deploy_epoch, sequence)) = (document.place(), document.at());
    fleet.note_attempt(&place, Attempt { deploy_epoch, sequence, digest: document.digest() })?;
    let message = retained(place.topic(fleet), Bytes::copy_from_slice(document.envelope()));
    session.publish(&[message], |_| {}).await?;
    T::record(fleet, document)?;
    Ok(fleet.forget_attempt(&place)?)
}

/// Records what an interrupted command published: each attempt that the broker holds.
///
/// # Errors
/// The broker does not answer, or files fail.
pub(crate) async fn reconcile(fleet: &Fleet, session: &mut Session) -> Result<(), PublishError> {
    for place in fleet.attempted()? {
        match place {
            Place::Deployment(_) => settle::<Deployment>(fleet, session, &place).await?,
            Place::DeviceList => settle::<DeviceList>(fleet, session, &place).await?,
        }
    }
    Ok(())
}

async fn settle<T: Sequenced>(
    fleet: &Fleet,
    session: &mut Session,
    place: &Place,
) -> Result<(), PublishError> {
    let Some(attempt) = fleet.attempt(place)? else { return Ok(()) };
    let recorded = T::recorded(fleet, place)?;
    if recorded.as_ref().is_some_and(|recorded| recorded.digest() == attempt.digest) {
        return Ok(fleet.forget_attempt(place)?);
    }
    let topic = place.topic(fleet);
    let found = session.retained(std::slice::from_ref(&topic)).await?.remove(&topic);
    let Some(document) = found.and_then(|envelope| fleet.root().verify::<T>(&envelope).ok()) else {
        return Ok(());
    };
    if document.digest() != attempt.digest {
        return Ok(());
    }
    // Another document may have been recorded since without the broker, by enrolment or import.
    if recorded.is_none_or(|recorded| recorded.at() < document.at()) {
        let sequence = attempt.sequence;
        tracing::warn!(%topic, sequence, "an interrupted command published this document; it is recorded now");
        T::record(fleet, &document)?;
    }
    Ok(fleet.forget_attempt(place)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::fixture::deployment;
    use crate::fixture::{Plant, stable};

    fn attempt(deploy_epoch: u64, sequence: u64) -> Attempt {
        Attempt { deploy_epoch, sequence, digest: Digest::of(b"d") }
    }

    #[test]
    fn attempted_sequences_are_not_reused() {
        let mut plant = Plant::new();
        let place = Place::Deployment(stable());
        let next = |plant: &Plant, newest| plant.fleet.next_sequence::<Deployment>(&place, newest).unwrap();
        assert_eq!((next(&plant, None), next(&plant, Some((1, 4)))), (1, 5));
        plant.fleet.note_attempt(&place, attempt(1, 7)).unwrap();
        assert_eq!((next(&plant, None), next(&plant, Some((1, 9)))), (8, 10));
        // Other places count for themselves, and a new epoch counts from 1.
        let other = Place::Deployment(Audience::Device("stable".parse().unwrap()));
        assert_eq!(plant.fleet.next_sequence::<Deployment>(&other, None).unwrap(), 1);
        assert_eq!(plant.fleet.next_device_list(0).unwrap().sequence, 1);
        plant.step_root(|root| root.deploy_epoch = 2);
        assert_eq!(next(&plant, Some((1, 9))), 1);
        plant.fleet.forget_attempt(&place).unwrap();
        assert_eq!(plant.fleet.attempt(&place).unwrap(), None);
    }

    #[test]
    fn attempts_are_found_by_place() {
        let plant = Plant::new();
        let places = [
            Place::Deployment(stable()),
            Place::Deployment(Audience::Device("a".parse().unwrap())),
            Place::DeviceList,
        ];
        for place in &places {
            plant.fleet.note_attempt(place, attempt(1, 1)).unwrap();
        }
        assert_eq!(plant.fleet.attempted().unwrap(), places);
        assert_eq!(deployment(&plant.fleet, 1).place(), places[0]);
        std::fs::write(plant.fleet.attempt_path(&places[0]), "{").unwrap();
        assert!(
            plant.fleet.attempt(&places[0]).unwrap_err().to_string().contains("attempts/channel/stable.json")
        );
    }
}
