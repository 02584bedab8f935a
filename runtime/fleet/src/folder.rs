//! The fleet's folder: plain files that `dunlin init` makes and every other verb reads.
//!
//! ```text
//! fleet.toml                       the fleet's name
//! keys/<name>.key, <name>.toml     keys of the root's names, and signers elsewhere; mode 0600
//! root/<version>.json              every version of the root, signed
//! releases/<model>/<counter>.json  releases, signed
//! blobs/<sha256>                   modules, attachments and chunk lists
//! deployments/{channel,device}/<name>.json   the newest deployment of each audience, signed
//! devices.json                     the device list, signed
//! pending/<kind>-<digest>.json     what still needs signatures
//! ```
//! Every file is replaced whole. Signed files are verified again each time that they are read, and hold
//! what their names say. Files that were signed under an earlier root can be read, so that they can be
//! signed anew; what goes to devices must be signed as the newest root demands. What is signed here is
//! verified before it is kept: a key that the root does not name leaves nothing behind.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use dunlin_core::Digest;
use dunlin_core::code::{self, Code, Coded};
use dunlin_core::document::{
    self, Audience, Deployment, DeviceList, Document, DocumentError, Release, Role, RoleName, Roles, Root,
    RootKey, SCHEMA,
};
use dunlin_core::envelope::{self, Envelope};
use dunlin_core::id::{FleetId, IdError, KeyName, ModelName};
use dunlin_core::key::PublicKey;
use dunlin_core::trust::{TrustError, TrustedRoot, Verified};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::file::{self, FileError, Readers};
use crate::key::{self, KeyFileError, NoPassphrase, Passphrases, Signer};

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
    /// No key of the role is in the folder.
    #[error("no key that may sign a {kind} is in {keys}: role {role} has the keys {names}")]
    NoKey {
        /// The kind of document.
        kind: &'static str,
        /// The folder of keys.
        keys: PathBuf,
        /// The role that signs it.
        role: RoleName,
        /// The keys of the role.
        names: String,
    },
    /// A key file that is not the key that the root names so.
    #[error("{path} is not the key that the root calls {name}: the root has {expected}, the file {found}")]
    WrongKey {
        /// The file.
        path: PathBuf,
        /// The name.
        name: KeyName,
        /// The root's key.
        expected: String,
        /// The file's.
        found: String,
    },
    /// The folder's keys are fewer than the threshold.
    #[error("the {kind} has {found} of the {needed} signatures that it needs; it waits in {path}")]
    Unfinished {
        /// The kind of document.
        kind: &'static str,
        /// The file with the signatures so far.
        path: PathBuf,
        /// How many keys have signed.
        found: usize,
        /// The threshold.
        needed: usize,
    },
    /// A fleet that has not begun.
    #[error("the first root of this fleet waits for signatures under {0}; `dunlin import` takes it")]
    NotBegun(PathBuf),
    /// Signed under an earlier root, whose keys no longer count.
    #[error("{path} was signed under an earlier root: {remedy}")]
    Outdated {
        /// The file.
        path: PathBuf,
        /// What to do.
        remedy: &'static str,
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
            FolderError::NoKey { .. } | FolderError::WrongKey { .. } => code::fleet::KEY_MISSING,
            FolderError::Unfinished { .. } | FolderError::NotBegun(_) => code::fleet::SIGNATURES_MISSING,
            FolderError::Outdated { .. } => code::fleet::SIGNED_BEFORE,
            FolderError::Document(error) => error.code(),
            FolderError::Id(_) => code::fleet::NAME,
            FolderError::NoRelease { .. } => code::fleet::RELEASE_UNKNOWN,
            FolderError::Blob { .. } => code::fleet::BLOB_ALTERED,
        }
    }
}

impl Fleet {
    /// Makes a fleet: its folder, one key a role, encrypted if there is a passphrase, and the first root.
    ///
    /// # Errors
    /// The folder has a fleet already, or keys of one; or files or randomness fail.
    pub fn init(
        folder: &Path,
        fleet: FleetId,
        passphrase: Option<Zeroizing<String>>,
        now_unix_s: u64,
    ) -> Result<Fleet, FolderError> {
        expect_empty(folder)?;
        let mut parties = Vec::new();
        let mut secrets = Vec::new();
        for role in [RoleName::Root, RoleName::Release, RoleName::Deploy] {
            let (name, secret) = (role.to_string().parse::<KeyName>()?, key::generate()?);
            parties.push(Party { role, name: name.clone(), public: secret.public() });
            secrets.push((name, secret));
        }
        let root = first_root(&fleet, &parties, &[], now_unix_s)?;
        let (body, _) = document::to_body(&root)?;
        let signer = secrets.first().map(|(name, secret)| (name, secret));
        let envelope = envelope::seal::<Root>(&body, signer.as_slice());
        for (name, secret) in &secrets {
            let passphrase = passphrase.as_ref().map(|passphrase| passphrase.as_str());
            key::write(&key_path(folder, name), secret, passphrase)?;
        }
        file::replace(&root_path(folder, 1), &envelope, Readers::Anyone)?;
        write_manifest(folder, &fleet)?;
        let opened = Fleet::open(folder)?;
        Ok(match passphrase {
            Some(passphrase) => opened.with_passphrases(Arc::new(passphrase)),
            None => opened,
        })
    }

    /// Makes a fleet whose keys other people hold: its folder with a first root that nobody has signed
    /// yet, which waits in the file that is given back. [`Fleet::import_first`] ends it.
    ///
    /// # Errors
    /// The folder has a fleet already, the keys make no root, or files fail.
    pub fn init_ceremony(
        folder: &Path,
        fleet: FleetId,
        parties: &[Party],
        thresholds: &[(RoleName, u8)],
        now_unix_s: u64,
    ) -> Result<PathBuf, FolderError> {
        expect_empty(folder)?;
        let root = first_root(&fleet, parties, thresholds, now_unix_s)?;
        let (body, digest) = document::to_body(&root)?;
        let path = pending_path(folder, Root::KIND, &digest);
        file::replace(&path, &Envelope::of::<Root>(&body).to_bytes(), Readers::Anyone)?;
        write_manifest(folder, &fleet)?;
        Ok(path)
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

    /// Signs a document with the folder's keys of its role, as many as are needed, and verifies it as a
    /// device will.
    ///
    /// # Errors
    /// A key cannot be used or is not the one that the root names, or the document breaks a rule. With
    /// fewer keys than are needed, the document waits under `pending/` for the others.
    pub fn sign<T: Document>(&self, document: &T) -> Result<Verified<T>, FolderError> {
        let (body, _) = document::to_body(document)?;
        self.complete::<T>(Envelope::of::<T>(&body))
    }

    /// Adds the signatures that an envelope still needs, and verifies it.
    ///
    /// # Errors
    /// As [`Fleet::sign`].
    pub(crate) fn complete<T: Document>(&self, mut envelope: Envelope) -> Result<Verified<T>, FolderError> {
        let root = self.root.root();
        let role = root.role(T::ROLE);
        let needed = role.map_or(1, |role| usize::from(role.threshold));
        let before = envelope.count_signers(root.role_keys(T::ROLE), needed);
        let added =
            if before < needed { self.add_signatures(&mut envelope, root, T::ROLE, needed)? } else { 0 };
        if before == 0 && added == 0 {
            let names: Vec<&str> = role.iter().flat_map(|role| &role.keys).map(KeyName::as_str).collect();
            let (keys, names) = (self.folder.join("keys"), names.join(", "));
            return Err(FolderError::NoKey { kind: T::KIND, keys, role: T::ROLE, names });
        }
        let (digest, bytes) = (Digest::of(envelope.body()), envelope.to_bytes());
        let path = pending_path(&self.folder, T::KIND, &digest);
        match self.root.verify(&bytes) {
            Ok(document) => {
                file::remove_if_there(&path)?;
                Ok(document)
            }
            Err(TrustError::Threshold { kind, found, needed, .. }) => {
                file::replace(&path, &bytes, Readers::Anyone)?;
                Err(FolderError::Unfinished { kind, path, found, needed })
            }
            Err(error) => Err(FolderError::Trust { path, error }),
        }
    }

    /// Signs with the folder's keys of a role of some root, with `most` of them; gives how many signed.
    ///
    /// # Errors
    /// A key cannot be used, or is not the one that the root names so.
    pub(crate) fn add_signatures(
        &self,
        envelope: &mut Envelope,
        root: &Root,
        role: RoleName,
        most: usize,
    ) -> Result<usize, FolderError> {
        let names = root.role(role).map_or(&[][..], |role| &role.keys);
        let (message, mut signed) = (envelope.message(), 0);
        for key in root.keys.iter().filter(|key| names.contains(&key.name)) {
            if signed == most {
                break;
            }
            let Some(path) = self.key_file(&key.name) else { continue };
            let signer = self.signer(&path)?;
            if signer.public() != key.public {
                let (name, expected, found) =
                    (key.name.clone(), key.public.to_string(), signer.public().to_string());
                return Err(FolderError::WrongKey { path, name, expected, found });
            }
            envelope.push(&key.name, signer.sign(&message)?);
            signed += 1;
        }
        Ok(signed)
    }

    /// The file of a key of this name, if the folder has one.
    pub fn key_file(&self, name: &KeyName) -> Option<PathBuf> {
        let file = |extension: &str| self.folder.join("keys").join(format!("{name}.{extension}"));
        [file("key"), file("toml")].into_iter().find(|path| path.exists())
    }

    /// The signer of a file, opened once.
    fn signer(&self, path: &Path) -> Result<Arc<Signer>, FolderError> {
        let mut signers = self.signers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(signer) = signers.get(path) {
            return Ok(Arc::clone(signer));
        }
        let signer = Arc::new(Signer::open(path, &*self.passphrases)?);
        signers.insert(path.to_path_buf(), Arc::clone(&signer));
        Ok(signer)
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

    /// Whether devices with the newest root accept a document by its signatures.
    pub(crate) fn is_current<T: Document>(&self, document: &Verified<T>) -> bool {
        self.root.verify::<T>(document.envelope()).is_ok()
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

/// A key of a first root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// What it may sign.
    pub role: RoleName,
    /// What people call it.
    pub name: KeyName,
    /// The key.
    pub public: PublicKey,
}

/// The root of version 1. A role whose threshold is not given needs one signature.
fn first_root(
    fleet: &FleetId,
    parties: &[Party],
    thresholds: &[(RoleName, u8)],
    now_unix_s: u64,
) -> Result<Root, FolderError> {
    let role = |name: RoleName| Role {
        keys: parties.iter().filter(|party| party.role == name).map(|party| party.name.clone()).collect(),
        threshold: thresholds.iter().find(|(role, _)| *role == name).map_or(1, |(_, threshold)| *threshold),
    };
    Ok(Root {
        schema: SCHEMA,
        fleet: fleet.clone(),
        version: 1,
        issued_unix_s: now_unix_s,
        not_after_unix_s: now_unix_s.saturating_add(ROOT_VALIDITY_S),
        keys: parties
            .iter()
            .map(|party| RootKey { name: party.name.clone(), public: party.public.clone() })
            .collect(),
        roles: Roles {
            root: role(RoleName::Root),
            release: role(RoleName::Release),
            deploy: role(RoleName::Deploy),
            precompiled: None,
        },
        release_epoch: 1,
        deploy_epoch: 1,
        revoked_releases: Vec::new(),
        revoked_devices: Vec::new(),
        minimum_counters: Vec::new(),
    })
}

/// Keys without a manifest are of a fleet that was half lost, and are all that can save it.
fn expect_empty(folder: &Path) -> Result<(), FolderError> {
    match ["fleet.toml", "keys", "root"].into_iter().find(|part| folder.join(part).exists()) {
        Some(_) => Err(FolderError::Exists(folder.to_path_buf())),
        None => Ok(()),
    }
}

/// The manifest comes last: with it the folder is a fleet's.
fn write_manifest(folder: &Path, fleet: &FleetId) -> Result<(), FolderError> {
    let manifest = format!("# A Dunlin fleet. Keep `keys/` secret and backed up.\nfleet = \"{fleet}\"\n");
    Ok(file::replace(&folder.join("fleet.toml"), manifest.as_bytes(), Readers::Anyone)?)
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
