//! The fleet's folder: plain files that `dunlin init` makes and every other verb reads.
//!
//! ```text
//! fleet.toml                       the fleet's name
//! connection.toml                  how operators reach the broker
//! keys/<name>.key, <name>.toml     keys of the root's names, and signers elsewhere; mode 0600
//! root/<version>.json              every version of the root, signed
//! releases/<model>/<counter>.json  releases, signed
//! blobs/<sha256>                   modules, attachments and chunk lists
//! deployments/{channel,device}/<name>.json   the newest deployment of each audience, signed
//! history/{channel,device}/<name>/<epoch>-<sequence>.json   deployments that said something else before, signed
//! devices.json                     the device list, signed
//! attempts/                        sequences that are taken and whose documents the broker did not confirm
//! pending/<kind>-<digest>.json     what still needs signatures
//! ```
//! Every file is replaced whole. Signed files are verified again each time that they are read, and hold
//! what their names say. Files that were signed under an earlier root can be read, so that they can be
//! signed anew; what goes to devices must be signed as the newest root demands. What is signed here is
//! verified before it is kept: a key that the root does not name leaves nothing behind.

mod begin;
mod error;
mod history;
mod sign;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use dunlin_core::Digest;
use dunlin_core::document::{Audience, Deployment, DeviceList, Document, DocumentError, Release};
use dunlin_core::id::{FleetId, KeyName, ModelName};
use dunlin_core::trust::{TrustError, TrustedRoot, Verified};
use serde::{Deserialize, Serialize};

use crate::file::{self, Readers};
use crate::key::{NoPassphrase, Passphrases, Signer};

pub use self::begin::Party;
pub use self::error::FolderError;

/// How long a root is said to be good for: two years. Advisory; devices go on with an old root.
pub(crate) const ROOT_VALIDITY_S: u64 = 2 * 365 * 86_400;

/// A fleet's folder, opened, with its roots.
pub struct Fleet {
    folder: PathBuf,
    /// Every root, oldest first; there is at least one.
    roots: Vec<TrustedRoot>,
    /// The newest.
    root: TrustedRoot,
    passphrases: Arc<dyn Passphrases>,
    /// Keys that were opened, since opening an encrypted one takes a good part of a second.
    signers: Mutex<BTreeMap<PathBuf, Arc<Signer>>>,
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// The content of `fleet.toml`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    fleet: FleetId,
}

impl Fleet {
    /// Opens a folder and walks its roots, each verified against the one before.
    ///
    /// # Errors
    /// The folder has no fleet, or a root is not signed as it must be.
    pub fn open(folder: &Path) -> Result<Fleet, FolderError> {
        let path = folder.join("fleet.toml");
        let Some(text) = file::read_if_there(&path)? else {
            return Err(FolderError::NotAFleet(folder.to_path_buf()));
        };
        let invalid = |error: String| FolderError::Manifest { path: path.clone(), error };
        let text = String::from_utf8(text).map_err(|error| invalid(error.to_string()))?;
        let manifest: Manifest = toml::from_str(&text).map_err(|error| invalid(error.to_string()))?;
        let roots = walk(folder)?;
        let root = roots.last().cloned().ok_or_else(|| FolderError::NotAFleet(folder.to_path_buf()))?;
        if *root.fleet() != manifest.fleet {
            return Err(invalid(format!("the root is of fleet {}, not of {}", root.fleet(), manifest.fleet)));
        }
        let (folder, signers) = (folder.to_path_buf(), Mutex::default());
        Ok(Fleet { folder, roots, root, passphrases: Arc::new(NoPassphrase), signers })
    }

    /// Where passphrases of encrypted keys come from; nowhere, unless this was called.
    #[must_use]
    pub fn with_passphrases(self, passphrases: Arc<dyn Passphrases>) -> Fleet {
        Fleet { passphrases, ..self }
    }

    /// The fleet's name.
    pub fn name(&self) -> &FleetId {
        self.root.fleet()
    }

    /// Where the folder is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The newest root.
    pub fn root(&self) -> &TrustedRoot {
        &self.root
    }

    /// Every version of the root, as signed, oldest first.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn root_envelopes(&self) -> Result<Vec<(u64, Vec<u8>)>, FolderError> {
        (1..=self.root.version())
            .map(|version| Ok((version, file::read(&root_path(&self.folder, version))?)))
            .collect()
    }

    /// Verifies a document of this fleet.
    ///
    /// # Errors
    /// It is not signed as the newest root demands.
    pub fn verify<T: Document>(&self, path: &Path, envelope: &[u8]) -> Result<Verified<T>, FolderError> {
        self.root.verify(envelope).map_err(|error| FolderError::Trust { path: path.to_path_buf(), error })
    }

    /// Verifies a document of this fleet that may have been signed under an earlier root.
    ///
    /// # Errors
    /// No root of the fleet accepts it; told is what the newest says.
    pub(crate) fn recall<T: Document>(
        &self,
        path: &Path,
        envelope: &[u8],
    ) -> Result<Verified<T>, FolderError> {
        let newest = self.verify(path, envelope);
        let Err(FolderError::Trust { error: TrustError::Threshold { .. }, .. }) = &newest else {
            return newest;
        };
        let earlier = self.roots.iter().rev().skip(1);
        earlier.into_iter().find_map(|root| root.verify(envelope).ok()).map_or(newest, Ok)
    }

    /// Whether all devices with the newest root accept a document by its signatures, also those that run a part
    /// of it which another role signs.
    pub(crate) fn is_current<T: Document>(&self, document: &Verified<T>) -> bool {
        self.verify_whole::<T>(document.envelope()).is_ok()
    }

    /// All releases of a model, by counter, those signed under an earlier root included.
    ///
    /// # Errors
    /// A file cannot be read or is not signed as it must be.
    pub fn releases(&self, model: &ModelName) -> Result<Vec<Verified<Release>>, FolderError> {
        let folder = self.folder.join("releases").join(model.as_str());
        let mut releases = Vec::new();
        for name in file::list(&folder)?.iter().filter(|name| name.ends_with(".json")) {
            let path = folder.join(name);
            let release = self.recall::<Release>(&path, &file::read(&path)?)?;
            if release.model != *model || *name != format!("{}.json", release.counter) {
                let holds = format!("release {} of {}", release.counter, release.model);
                return Err(FolderError::Misplaced { path, holds });
            }
            releases.push(release);
        }
        releases.sort_by_key(|release| release.counter);
        Ok(releases)
    }

    /// The release of a model that people call by this version.
    ///
    /// # Errors
    /// There is none, or a file is not signed as it must be.
    pub fn find_release(&self, model: &ModelName, version: &str) -> Result<Verified<Release>, FolderError> {
        let mut releases = self.releases(model)?;
        match releases.iter().position(|release| release.version == version) {
            Some(index) => {
                let release = releases.swap_remove(index);
                let path = self.release_path(&release);
                if release.release_epoch < self.root.root().release_epoch {
                    let remedy = "it is of an older release epoch; release the module again";
                    return Err(FolderError::Outdated { path, remedy });
                }
                if !self.is_current(&release) {
                    let remedy = "sign it anew with `dunlin release resign`";
                    return Err(FolderError::Outdated { path, remedy });
                }
                Ok(release)
            }
            None => {
                let known: Vec<&str> = releases.iter().map(|release| release.version.as_str()).collect();
                let known = if known.is_empty() { "none".to_string() } else { known.join(", ") };
                Err(FolderError::NoRelease { model: model.clone(), version: version.to_string(), known })
            }
        }
    }

    /// Keeps a signed release.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn store_release(&self, release: &Verified<Release>) -> Result<(), FolderError> {
        let path = self.release_path(release);
        Ok(file::replace(&path, release.envelope(), Readers::Anyone)?)
    }

    pub(crate) fn release_path(&self, release: &Release) -> PathBuf {
        self.folder.join(format!("releases/{}/{}.json", release.model, release.counter))
    }

    /// Keeps a blob under its digest.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn store_blob(&self, bytes: &[u8]) -> Result<(), FolderError> {
        Ok(file::replace(&self.blob_path(&Digest::of(bytes)), bytes, Readers::Anyone)?)
    }

    /// A blob, hashed again.
    ///
    /// # Errors
    /// The file cannot be read, or its content changed.
    pub fn blob(&self, digest: &Digest) -> Result<Vec<u8>, FolderError> {
        let path = self.blob_path(digest);
        let bytes = file::read(&path)?;
        if Digest::of(&bytes) == *digest { Ok(bytes) } else { Err(FolderError::Blob { path }) }
    }

    /// Where a blob is kept.
    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs").join(digest.to_string())
    }

    /// The newest deployment that was signed here for an audience.
    ///
    /// # Errors
    /// The file is there and cannot be read or verified.
    pub fn deployment(&self, audience: &Audience) -> Result<Option<Verified<Deployment>>, FolderError> {
        let path = self.deployment_path(audience);
        let Some(envelope) = file::read_if_there(&path)? else { return Ok(None) };
        let deployment = self.recall::<Deployment>(&path, &envelope)?;
        if deployment.audience != *audience {
            let holds = format!("the deployment for {}", deployment.audience);
            return Err(FolderError::Misplaced { path, holds });
        }
        Ok(Some(deployment))
    }

    /// Every audience that has a deployment here, channels first.
    ///
    /// # Errors
    /// The folder cannot be read, or a file's name is no audience's.
    pub fn audiences(&self) -> Result<Vec<Audience>, FolderError> {
        let mut audiences = Vec::new();
        for kind in ["channel", "device"] {
            for file in file::list(&self.folder.join("deployments").join(kind))? {
                let Some(name) = file.strip_suffix(".json") else { continue };
                audiences.push(match kind {
                    "channel" => Audience::Channel(name.parse()?),
                    _ => Audience::Device(name.parse()?),
                });
            }
        }
        Ok(audiences)
    }

    /// Records a deployment; one that it replaces and that said something else becomes history.
    ///
    /// # Errors
    /// A file cannot be read or written.
    pub(crate) fn store_deployment(&self, deployment: &Verified<Deployment>) -> Result<(), FolderError> {
        self.keep_superseded(deployment)?;
        let path = self.deployment_path(&deployment.audience);
        Ok(file::replace(&path, deployment.envelope(), Readers::Anyone)?)
    }

    fn deployment_path(&self, audience: &Audience) -> PathBuf {
        let name = match audience {
            Audience::Channel(channel) => format!("channel/{channel}.json"),
            Audience::Device(device) => format!("device/{device}.json"),
        };
        self.folder.join("deployments").join(name)
    }

    /// The device list, if a device was enrolled.
    ///
    /// # Errors
    /// The file is there and cannot be read or verified.
    pub fn device_list(&self) -> Result<Option<Verified<DeviceList>>, FolderError> {
        let path = self.folder.join("devices.json");
        file::read_if_there(&path)?.map(|envelope| self.recall(&path, &envelope)).transpose()
    }

    /// Keeps a device list.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn store_device_list(&self, list: &Verified<DeviceList>) -> Result<(), FolderError> {
        Ok(file::replace(&self.folder.join("devices.json"), list.envelope(), Readers::Anyone)?)
    }
}

/// A count that has reached its end, which only a thief of the key brings about.
pub(crate) fn exhausted<T: Document>(count: &str, remedy: &str) -> DocumentError {
    let rule = format!("no {count} comes after the last one; sign a root with {remedy}");
    DocumentError::Rule { kind: T::KIND, rule }
}

/// From the first root to the newest, each signed by the one before.
fn walk(folder: &Path) -> Result<Vec<TrustedRoot>, FolderError> {
    let path = root_path(folder, 1);
    let pending = folder.join("pending");
    if !path.exists() && !file::list(&pending)?.is_empty() {
        return Err(FolderError::NotBegun(pending));
    }
    let untrusted = |path: PathBuf| move |error| FolderError::Trust { path, error };
    let mut root = TrustedRoot::enrolled(&file::read(&path)?).map_err(untrusted(path.clone()))?;
    if root.version() != 1 {
        let error = TrustError::RootVersion { expected: 1, found: root.version() };
        return Err(FolderError::Trust { path, error });
    }
    let mut roots = Vec::new();
    while let Some(next) = root.version().checked_add(1) {
        let path = root_path(folder, next);
        let Some(envelope) = file::read_if_there(&path)? else { break };
        let step = root.step(&envelope).map_err(untrusted(path))?;
        roots.push(std::mem::replace(&mut root, step));
    }
    roots.push(root);
    Ok(roots)
}

/// Where the folder keeps a key.
pub fn key_path(folder: &Path, name: &KeyName) -> PathBuf {
    folder.join("keys").join(format!("{name}.key"))
}

/// Where a document waits for signatures.
pub(crate) fn pending_path(folder: &Path, kind: &str, digest: &Digest) -> PathBuf {
    folder.join("pending").join(format!("{}-{}.json", kind.replace(' ', "-"), digest.short()))
}

pub(crate) fn root_path(folder: &Path, version: u64) -> PathBuf {
    folder.join("root").join(format!("{version}.json"))
}

#[cfg(test)]
mod tests;
