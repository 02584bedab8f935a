//! What audiences were sent before: superseded deployments, which name the releases that devices may go back to.

use std::path::PathBuf;

use dunlin_core::document::{Audience, Deployment};
use dunlin_core::trust::Verified;

use super::{Fleet, FolderError};
use crate::file::{self, Readers};

impl Fleet {
    /// Keeps the recorded deployment of an audience as history before another one replaces it. One that says the
    /// same, as a renewal does, leaves no trace.
    pub(super) fn keep_superseded(&self, next: &Deployment) -> Result<(), FolderError> {
        let Some(last) = self.deployment(&next.audience)? else { return Ok(()) };
        let wants = |deployment: &Deployment| -> Vec<_> {
            deployment.models.iter().map(|entry| (entry.model.clone(), entry.want.clone())).collect()
        };
        if wants(&last) == wants(next) {
            return Ok(());
        }
        let name = format!("{}-{}.json", last.deploy_epoch, last.sequence);
        let path = self.history_folder(&next.audience).join(name);
        Ok(file::replace(&path, last.envelope(), Readers::Anyone)?)
    }

    /// The superseded deployments of an audience, oldest first.
    ///
    /// # Errors
    /// A file cannot be read or verified.
    pub fn history(&self, audience: &Audience) -> Result<Vec<Verified<Deployment>>, FolderError> {
        let folder = self.history_folder(audience);
        let mut history = Vec::new();
        for name in file::list(&folder)?.iter().filter(|name| name.ends_with(".json")) {
            let path = folder.join(name);
            let deployment = self.recall::<Deployment>(&path, &file::read(&path)?)?;
            if deployment.audience != *audience {
                let holds = format!("a deployment for {}", deployment.audience);
                return Err(FolderError::Misplaced { path, holds });
            }
            history.push(deployment);
        }
        history.sort_by_key(|deployment| (deployment.deploy_epoch, deployment.sequence));
        Ok(history)
    }

    fn history_folder(&self, audience: &Audience) -> PathBuf {
        let name = match audience {
            Audience::Channel(channel) => format!("channel/{channel}"),
            Audience::Device(device) => format!("device/{device}"),
        };
        self.folder.join("history").join(name)
    }
}

#[cfg(test)]
mod tests {
    use dunlin_core::Digest;
    use dunlin_core::document::{ModelEntry, Want};

    use super::*;
    use crate::deploy::fixture::deployment;
    use crate::fixture::{Plant, stable};

    #[test]
    fn changes_become_history_and_renewals_do_not() {
        let plant = Plant::new();
        let store = |sequence: u64, release: &[u8]| {
            let want = Want::Release { stable: Digest::of(release), candidate: None };
            let models = vec![ModelEntry { model: "m".parse().unwrap(), want, retry: false }];
            let signed =
                plant.fleet.sign(&Deployment { models, ..deployment(&plant.fleet, sequence) }).unwrap();
            plant.fleet.store_deployment(&signed).unwrap();
        };
        for (sequence, release) in [(9, b"a"), (10, b"a"), (11, b"b"), (12, b"c")] {
            store(sequence, release);
        }
        let history = plant.fleet.history(&stable()).unwrap();
        let sequences: Vec<u64> = history.iter().map(|deployment| deployment.sequence).collect();
        assert_eq!(sequences, [10, 11]);
        assert_eq!(plant.fleet.deployment(&stable()).unwrap().unwrap().sequence, 12);
    }
}
