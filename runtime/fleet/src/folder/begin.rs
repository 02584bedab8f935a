//! The beginning of a fleet: its first root, by one person with a key a role, or by several with theirs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dunlin_core::Digest;
use dunlin_core::document::{self, Document as _, Role, RoleName, Roles, Root, RootKey, SCHEMA};
use dunlin_core::envelope::{self, Envelope};
use dunlin_core::id::{FleetId, KeyName};
use dunlin_core::key::PublicKey;
use dunlin_core::trust::{TrustError, TrustedRoot};
use zeroize::Zeroizing;

use super::{Fleet, FolderError, ROOT_VALIDITY_S, key_path, pending_path, root_path};
use crate::file::{self, Readers};
use crate::key;

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

    /// Takes the first root of a fleet whose keys other people hold, once enough of them have signed it; see
    /// [`Fleet::init_ceremony`].
    ///
    /// # Errors
    /// The folder is no fleet's, or has its first root already; the root is of another fleet, no first one, or
    /// not signed by enough of its own keys (then it waits, joined with what waits already); or files fail.
    pub fn import_first(folder: &Path, bytes: &[u8]) -> Result<Fleet, FolderError> {
        let path = root_path(folder, 1);
        if path.exists() {
            return Err(FolderError::Exists(folder.to_path_buf()));
        }
        let untrusted = |error| FolderError::Trust { path: path.clone(), error };
        let envelope = Envelope::parse(bytes).map_err(|error| untrusted(error.into()))?;
        let waiting = pending_path(folder, Root::KIND, &Digest::of(envelope.body()));
        let bytes = match file::read_if_there(&waiting)? {
            Some(there) => {
                dunlin_core::envelope::merge(&there, bytes).map_err(|error| untrusted(error.into()))?
            }
            None => bytes.to_vec(),
        };
        let root = match TrustedRoot::enrolled(&bytes) {
            Err(TrustError::Threshold { kind, role, found, needed }) if found > 0 => {
                file::replace(&waiting, &bytes, Readers::Anyone)?;
                return Err(FolderError::Unfinished { kind, path: waiting, role, found, needed });
            }
            root => root.map_err(untrusted)?,
        };
        if root.version() != 1 {
            return Err(untrusted(TrustError::RootVersion { expected: 1, found: root.version() }));
        }
        file::replace(&path, &bytes, Readers::Anyone)?;
        match Fleet::open(folder) {
            Ok(fleet) => {
                file::remove_if_there(&waiting)?;
                Ok(fleet)
            }
            Err(error) => {
                file::remove_if_there(&path)?;
                Err(error)
            }
        }
    }
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
