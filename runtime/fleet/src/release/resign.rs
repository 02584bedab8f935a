//! Signing releases again whose keys the newest root no longer names: the same bodies, more signatures.

use dunlin_core::document::Release;
use dunlin_core::envelope::Envelope;
use dunlin_core::id::ModelName;
use dunlin_core::trust::{TrustError, Verified};

use crate::file;
use crate::folder::{Fleet, FolderError};

impl Fleet {
    /// The models that have releases here.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn models(&self) -> Result<Vec<ModelName>, FolderError> {
        let names = file::list(&self.folder().join("releases"))?;
        names.iter().map(|name| Ok(name.parse()?)).collect()
    }

    /// Adds signatures to every release of a model that devices with the newest root would refuse by its
    /// signatures alone. Devices know a release by the digest of its body, so deployments that name it stay
    /// as they are. Releases of an older epoch are left alone: they must be released again.
    ///
    /// # Errors
    /// A key cannot be used, or the keys here are too few: the release then waits under `pending/`.
    pub fn resign_releases(&self, model: &ModelName) -> Result<Vec<Verified<Release>>, FolderError> {
        let mut resigned = Vec::new();
        for release in self.releases(model)? {
            let in_epoch = release.release_epoch >= self.root().root().release_epoch;
            if !in_epoch || self.is_current(&release) {
                continue;
            }
            let envelope = Envelope::parse(release.envelope()).map_err(|error| FolderError::Trust {
                path: self.release_path(&release),
                error: TrustError::from(error),
            })?;
            let signed = self.complete::<Release>(envelope)?;
            self.store_release(&signed)?;
            resigned.push(signed);
        }
        Ok(resigned)
    }
}
