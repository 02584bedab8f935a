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
//! Every file is replaced whole. Signed files are verified again each time that they are read.

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
    #[error("{0} holds a fleet already; choose another folder")]
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
    /// A signed file is not what its name or its signature says.
    #[error("{path}: {error}")]
    Trust {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: TrustError,
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
    /// The folder has a fleet already, or files or randomness fail.
    pub fn init(folder: &Path, fleet: FleetId, now_unix_s: u64) -> Result<Fleet, FolderError> {
        let manifest_path = folder.join("fleet.toml");
        if manifest_path.exists() {
            return Err(FolderError::Exists(folder.to_path_buf()));
        }
        let mut keys = Vec::new();
        for role in [RoleName::Root, RoleName::Release, RoleName::Deploy] {
            let secret = key::generate()?;
            key::write(&key_path(folder, role), &secret)?;
            keys.push((role_key_name(role)?, secret));
        }
        let role = |name: RoleName| -> Result<Role, FolderError> {
            Ok(Role { keys: vec![role_key_name(name)?], threshold: 1 })
        };
        let root = Root {
            schema: SCHEMA,
            fleet: fleet.clone(),
            version: 1,
            issued_unix_s: now_unix_s,
            not_after_unix_s: now_unix_s + ROOT_VALIDITY_S,
            keys: keys
                .iter()
                .map(|(name, secret)| RootKey { name: name.clone(), public: secret.public() })
                .collect(),
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
        };
        let envelope = sign(&root, &keys[0].0, &keys[0].1)?;
        file::replace(&folder.join("root/1.json"), &envelope, Readers::Anyone)?;
        let manifest = format!("# A Dunlin fleet. Keep `keys/` secret and backed up.\nfleet = \"{fleet}\"\n");
        file::replace(&manifest_path, manifest.as_bytes(), Readers::Anyone)?;
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
        let path = root_path(folder, 1);
        let mut root = TrustedRoot::enrolled(&file::read(&path)?)
            .map_err(|error| FolderError::Trust { path: path.clone(), error })?;
        while let Some(envelope) = file::read_if_there(&root_path(folder, root.version() + 1))? {
            let path = root_path(folder, root.version() + 1);
            root = root.step(&envelope).map_err(|error| FolderError::Trust { path, error })?;
        }
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

    /// Signs a document with the folder's key of its role.
    ///
    /// # Errors
    /// The key cannot be used, or the document breaks a rule.
    pub fn sign<T: Document>(&self, document: &T) -> Result<Vec<u8>, FolderError> {
        let secret = key::read(&key_path(&self.folder, T::ROLE))?;
        sign(document, &role_key_name(T::ROLE)?, &secret)
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
            releases.push(self.verify::<Release>(&path, &file::read(&path)?)?);
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
    pub(crate) fn store_release(&self, release: &Release, envelope: &[u8]) -> Result<PathBuf, FolderError> {
        let path = self.folder.join(format!("releases/{}/{}.json", release.model, release.counter));
        file::replace(&path, envelope, Readers::Anyone)?;
        Ok(path)
    }

    /// Keeps a blob under its digest.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn store_blob(&self, bytes: &[u8]) -> Result<Digest, FolderError> {
        let digest = Digest::of(bytes);
        file::replace(&self.blob_path(&digest), bytes, Readers::Anyone)?;
        Ok(digest)
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

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs").join(digest.to_string())
    }

    /// The newest deployment that was signed here for an audience.
    ///
    /// # Errors
    /// The file is there and cannot be read or verified.
    pub fn deployment(&self, audience: &Audience) -> Result<Option<Verified<Deployment>>, FolderError> {
        let path = self.deployment_path(audience);
        file::read_if_there(&path)?.map(|envelope| self.verify(&path, &envelope)).transpose()
    }

    /// Keeps a deployment, synced to disk, before it is published.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn store_deployment(&self, audience: &Audience, envelope: &[u8]) -> Result<(), FolderError> {
        Ok(file::replace(&self.deployment_path(audience), envelope, Readers::Anyone)?)
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

    /// Signs and keeps a device list.
    ///
    /// # Errors
    /// It breaks a rule, or the file cannot be written.
    pub(crate) fn store_device_list(&self, list: &DeviceList) -> Result<(), FolderError> {
        let envelope = self.sign(list)?;
        Ok(file::replace(&self.folder.join("devices.json"), &envelope, Readers::Anyone)?)
    }
}

fn sign<T: Document>(document: &T, name: &KeyName, secret: &SecretKey) -> Result<Vec<u8>, FolderError> {
    let (body, _) = document::to_body(document)?;
    Ok(envelope::seal::<T>(&body, &[(name, secret)]))
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
