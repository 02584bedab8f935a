//! What remains to be done after a root has changed, so that devices get it and accept what this folder holds.

use dunlin_core::document::{Audience, Document};
use dunlin_core::id::ModelName;
use dunlin_core::trust::Verified;
use serde::Serialize;

use crate::folder::{Fleet, FolderError};

/// A step, in the order in which they are taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Releases lack signatures of keys that the root names: `dunlin release resign`.
    ResignReleases,
    /// Every release of the model is of an epoch that the root ends: `dunlin release`, `publish` and `deploy`.
    ReleaseAgain(ModelName),
    /// The device list or deployments lack signatures, or are of another epoch: `dunlin deploy resign --all`.
    ResignDeployments,
    /// The broker lacks the root, or what was signed again: `dunlin publish --repair`.
    Publish,
}

impl Fleet {
    /// The steps from the newest root to devices that follow it. Each that publishes brings the root to the broker,
    /// too.
    ///
    /// # Errors
    /// A file of the folder cannot be read or verified.
    pub fn steps_to_devices(&self) -> Result<Vec<Step>, FolderError> {
        let root = self.root().root();
        let (mut unsigned, mut ended) = (false, Vec::new());
        for model in self.models()? {
            let releases = self.releases(&model)?;
            let in_epoch = || releases.iter().filter(|release| release.release_epoch >= root.release_epoch);
            unsigned |= in_epoch().any(|release| !self.is_current(release));
            if in_epoch().next().is_none() && !releases.is_empty() {
                ended.push(Step::ReleaseAgain(model));
            }
        }
        let list = self.device_list()?;
        let left = |audience: &Audience| {
            let mut devices = list.iter().flat_map(|list| &list.devices);
            devices.any(|device| device.revoked && *audience == Audience::Device(device.id.clone()))
        };
        let mut stale = list.as_ref().is_some_and(|list| self.is_stale(list, list.deploy_epoch));
        for audience in self.audiences()?.into_iter().filter(|audience| !left(audience)) {
            let deployment = self.deployment(&audience)?;
            stale |= deployment.is_some_and(|found| self.is_stale(&found, found.deploy_epoch));
        }
        let mut steps = Vec::new();
        steps.extend(unsigned.then_some(Step::ResignReleases));
        steps.extend(stale.then_some(Step::ResignDeployments));
        steps.extend((unsigned || !stale && ended.is_empty()).then_some(Step::Publish));
        steps.extend(ended);
        Ok(steps)
    }

    fn is_stale<T: Document>(&self, document: &Verified<T>, deploy_epoch: u64) -> bool {
        deploy_epoch != self.root().root().deploy_epoch || !self.is_current(document)
    }
}
