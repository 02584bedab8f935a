//! The fleet's folder: plain files that `dunlin init` makes and every other verb reads.
//!
//! ```text
//! fleet.toml                       the fleet's name
//! keys/{root,release,deploy}.key   secret keys, mode 0600
//! root/<version>.json              every version of the root, signed
//! releases/<model>/<counter>.json  releases, signed
//! blobs/<sha256>                   modules, attachments and chunk lists
//! deployments/{channel,device}/<name>.json   the newest deployment of each audience, signed
//! devices.json                     the device list, signed
//! ```
//! Every file is replaced whole. Signed files are verified again each time that they are read, and hold
//! what their names say. What is signed here is verified before it is kept: a key that the root does not
//! name leaves nothing behind.

use std::path::{Path, PathBuf};

use dunlin_core::Digest;
use dunlin_core::code::{self, Code, Coded};
use dunlin_core::document::{
    self, Audience, Deployment, DeviceList, Document, DocumentError, Release, Role, RoleName, Roles, Root,
    RootKey, SCHEMA,
};
use dunlin_core::envelope;
use dunlin_core::id::{FleetId, IdError, KeyName, ModelName};
use dunlin_core::key::SecretKey;
use dunlin_core::trust::{TrustError, TrustedRoot, Verified};
use serde::{Deserialize, Serialize};

use crate::file::{self, FileError, Readers};
use crate::key::{self, KeyFileError};

/// How long a root is said to be good for: two years. Advisory; devices go on with an old root.
const ROOT_VALIDITY_S: u64 = 2 * 365 * 86_400;

/// A fleet's folder, opened, with its newest root.
#[derive(Debug)]
pub struct Fleet {
    folder: PathBuf,
    root: TrustedRoot,
}

/// The content of `fleet.toml`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    fleet: FleetId,
}

/// Something about the folder that stands in the way.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// `init` into a folder that has a fleet.
    #[error("{0} holds a fleet already, or what is left of one; choose another folder")]
    Exists(PathBuf),
    /// The folder has no fleet.
    #[error("{0} is no fleet's folder: it has no fleet.toml; make one with `dunlin init`")]
    NotAFleet(PathBuf),
    /// `fleet.toml` is wrong.
    #[error("{path} is not valid: {error}")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        error: String,
    },
    /// A signed file, or the key that was to sign one, is not what the root says.
    #[error("{path}: {error}")]
    Trust {
        /// The file, or the key's.
        path: PathBuf,
        /// What is wrong.
        error: TrustError,
    },
    /// A signed file that lies where another one belongs.
    #[error("{path} holds {holds}; give it back the name that it had")]
    Misplaced {
        /// The file.
        path: PathBuf,
        /// What it is signed as.
        holds: String,
    },
    /// A document that breaks a rule.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A text that should be a name.
    #[error(transparent)]
    Id(#[from] IdError),
    /// There is no such release.
    #[error("{model} has no release {version}; it has {known}")]
    NoRelease {
        /// The model.
        model: ModelName,
        /// The version that was asked for.
        version: String,
        /// The versions that are there.
        known: String,
    },
    /// A blob that a release names is missing or altered.
    #[error("the file {path} is not what the signed release says")]
    Blob {
        /// The file.
        path: PathBuf,
    },
}

impl Coded for FolderError {
    fn code(&self) -> Code {
        match self {
            FolderError::File(_) => code::fleet::FILE,
            FolderError::Key(error) => error.code(),
            FolderError::Exists(_) => code::fleet::FOLDER_EXISTS,
            FolderError::NotAFleet(_) => code::fleet::FOLDER_MISSING,
            FolderError::Manifest { .. } => code::fleet::MANIFEST,
            FolderError::Trust { error, .. } => error.code(),
            FolderError::Misplaced { .. } => code::fleet::FILE_MISPLACED,
            FolderError::Document(error) => error.code(),
            FolderError::Id(_) => code::fleet::NAME,
            FolderError::NoRelease { .. } => code::fleet::RELEASE_UNKNOWN,
            FolderError::Blob { .. } => code::fleet::BLOB_ALTERED,
        }
    }
}

impl Fleet {
    /// Makes a fleet: its folder, one key a role, and the first root.
    ///
    /// # Errors
    /// The folder has a fleet already, or keys of one; or files or randomness fail.
    pub fn init(folder: &Path, fleet: FleetId, now_unix_s: u64) -> Result<Fleet, FolderError> {
        // Keys without a manifest are of a fleet that was half lost, and are all that can save it.
        for part in ["fleet.toml", "keys", "root"] {
            if folder.join(part).exists() {
                return Err(FolderError::Exists(folder.to_path_buf()));
            }
        }
        let keys = [
            (RoleName::Root, key::generate()?),
            (RoleName::Release, key::generate()?),
            (RoleName::Deploy, key::generate()?),
        ];
        let root = first_root(&fleet, &keys, now_unix_s)?;
        let [(role, secret), ..] = &keys;
        let envelope = seal(&root, *role, secret)?;
        for (role, secret) in &keys {
            key::write(&key_path(folder, *role), secret)?;
        }
        file::replace(&root_path(folder, 1), &envelope, Readers::Anyone)?;
        // The manifest comes last: with it the folder is a fleet's.
        let manifest = format!("# A Dunlin fleet. Keep `keys/` secret and backed up.\nfleet = \"{fleet}\"\n");
        file::replace(&folder.join("fleet.toml"), manifest.as_bytes(), Readers::Anyone)?;
        Fleet::open(folder)
    }

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
        let root = walk(folder)?;
        if *root.fleet() != manifest.fleet {
            return Err(invalid(format!("the root is of fleet {}, not of {}", root.fleet(), manifest.fleet)));
        }
        Ok(Fleet { folder: folder.to_path_buf(), root })
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

    /// Signs a document with the folder's key of its role, and verifies it as a device will.
    ///
    /// # Errors
    /// The key cannot be used or is not the one that the root names, or the document breaks a rule.
    pub fn sign<T: Document>(&self, document: &T) -> Result<Verified<T>, FolderError> {
        let path = key_path(&self.folder, T::ROLE);
        let envelope = seal(document, T::ROLE, &key::read(&path)?)?;
        self.verify(&path, &envelope)
    }

    /// The sequence after one that a document of a deploy epoch has: a new epoch starts anew.
    pub(crate) fn sequence_after<T: Document>(
        &self,
        deploy_epoch: u64,
        sequence: u64,
    ) -> Result<u64, FolderError> {
        let same_epoch = deploy_epoch == self.root.root().deploy_epoch;
        let next = if same_epoch { sequence.checked_add(1) } else { Some(1) };
        next.ok_or_else(|| FolderError::Document(exhausted::<T>("sequence", "the next deploy epoch")))
    }

    /// Verifies a document of this fleet.
    ///
    /// # Errors
    /// It is not signed as the newest root demands.
    pub fn verify<T: Document>(&self, path: &Path, envelope: &[u8]) -> Result<Verified<T>, FolderError> {
        self.root.verify(envelope).map_err(|error| FolderError::Trust { path: path.to_path_buf(), error })
    }

    /// All releases of a model, by counter.
    ///
    /// # Errors
    /// A file cannot be read or is not signed as it must be.
    pub fn releases(&self, model: &ModelName) -> Result<Vec<Verified<Release>>, FolderError> {
        let folder = self.folder.join("releases").join(model.as_str());
        let mut releases = Vec::new();
        for name in file::list(&folder)?.iter().filter(|name| name.ends_with(".json")) {
            let path = folder.join(name);
            let release = self.verify::<Release>(&path, &file::read(&path)?)?;
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
            Some(index) => Ok(releases.swap_remove(index)),
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
        let path = self.folder.join(format!("releases/{}/{}.json", release.model, release.counter));
        Ok(file::replace(&path, release.envelope(), Readers::Anyone)?)
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
        let deployment = self.verify::<Deployment>(&path, &envelope)?;
        if deployment.audience != *audience {
            let holds = format!("the deployment for {}", deployment.audience);
            return Err(FolderError::Misplaced { path, holds });
        }
        Ok(Some(deployment))
    }

    /// Keeps a deployment, synced to disk, before it is published.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn store_deployment(&self, deployment: &Verified<Deployment>) -> Result<(), FolderError> {
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
        file::read_if_there(&path)?.map(|envelope| self.verify(&path, &envelope)).transpose()
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

/// The root of version 1: one key a role.
fn first_root(
    fleet: &FleetId,
    keys: &[(RoleName, SecretKey); 3],
    now_unix_s: u64,
) -> Result<Root, FolderError> {
    let role = |name: RoleName| -> Result<Role, FolderError> {
        Ok(Role { keys: vec![role_key_name(name)?], threshold: 1 })
    };
    let mut public = Vec::new();
    for (name, secret) in keys {
        public.push(RootKey { name: role_key_name(*name)?, public: secret.public() });
    }
    Ok(Root {
        schema: SCHEMA,
        fleet: fleet.clone(),
        version: 1,
        issued_unix_s: now_unix_s,
        not_after_unix_s: now_unix_s.saturating_add(ROOT_VALIDITY_S),
        keys: public,
        roles: Roles {
            root: role(RoleName::Root)?,
            release: role(RoleName::Release)?,
            deploy: role(RoleName::Deploy)?,
            precompiled: None,
        },
        release_epoch: 1,
        deploy_epoch: 1,
        revoked_releases: Vec::new(),
        revoked_devices: Vec::new(),
        minimum_counters: Vec::new(),
    })
}

/// From the first root to the newest, each signed by the one before.
fn walk(folder: &Path) -> Result<TrustedRoot, FolderError> {
    let path = root_path(folder, 1);
    let untrusted = |path: PathBuf| move |error| FolderError::Trust { path, error };
    let mut root = TrustedRoot::enrolled(&file::read(&path)?).map_err(untrusted(path.clone()))?;
    if root.version() != 1 {
        let error = TrustError::RootVersion { expected: 1, found: root.version() };
        return Err(FolderError::Trust { path, error });
    }
    while let Some(next) = root.version().checked_add(1) {
        let path = root_path(folder, next);
        let Some(envelope) = file::read_if_there(&path)? else { break };
        root = root.step(&envelope).map_err(untrusted(path))?;
    }
    Ok(root)
}

fn seal<T: Document>(document: &T, role: RoleName, secret: &SecretKey) -> Result<Vec<u8>, FolderError> {
    let (body, _) = document::to_body(document)?;
    Ok(envelope::seal::<T>(&body, &[(&role_key_name(role)?, secret)]))
}

fn role_key_name(role: RoleName) -> Result<KeyName, FolderError> {
    Ok(role.to_string().parse()?)
}

fn key_path(folder: &Path, role: RoleName) -> PathBuf {
    folder.join("keys").join(format!("{role}.key"))
}

fn root_path(folder: &Path, version: u64) -> PathBuf {
    folder.join("root").join(format!("{version}.json"))
}

#[cfg(test)]
mod tests;
