//! Changes of the root: who may sign what from now on, and what is no longer valid.
//!
//! A change starts from the newest root, or from a draft of the next one that waits under `pending/`, so
//! that several changes make one version. The next root is signed by the threshold of the root before and
//! by its own. Where this folder has too few of those keys, the draft waits: its file is signed elsewhere
//! ([`crate::signing::sign`]) and brought back in ([`Fleet::import`]).

mod next;

use std::path::PathBuf;

use dunlin_core::Digest;
use dunlin_core::code::{self, Code, Coded};
use dunlin_core::document::{self, Document as _, MinimumCounter, Role, RoleName, Root, RootKey};
use dunlin_core::envelope::Envelope;
use dunlin_core::id::{DeviceId, KeyName, ModelName};
use dunlin_core::key::PublicKey;

use crate::file::{self, Readers};
use crate::folder::{Fleet, FolderError, ROOT_VALIDITY_S, pending_path, root_path};

pub use self::next::Step;

/// One change of a root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A key more for a role.
    AddKey {
        /// What it may sign.
        role: RoleName,
        /// What people call it.
        name: KeyName,
        /// The key.
        public: PublicKey,
    },
    /// A key less.
    RemoveKey(KeyName),
    /// How many keys of a role must sign.
    Threshold(RoleName, u8),
    /// A release that must never run again.
    RevokeRelease(Digest),
    /// A device that is no longer part of the fleet.
    RevokeDevice(DeviceId),
    /// The least counter of a model's releases; never lower than it was in this release epoch.
    Minimum(ModelName, u64),
    /// Releases of this epoch's and older ones are refused from now on.
    NextReleaseEpoch,
    /// Deployments of this epoch's are refused from now on; sequences and floors start anew.
    NextDeployEpoch,
    /// Nothing but a newer date.
    Renew,
}

/// A change that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum CeremonyError {
    /// The folder stands in the way.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The change makes no sense.
    #[error("{0}")]
    Change(String),
    /// The device was never enrolled: its name is a mistake.
    #[error("no device {0} was ever enrolled")]
    UnknownDevice(DeviceId),
    /// There is no draft to be signed.
    #[error("no draft of root {0} waits under pending/")]
    NoDraft(u64),
}

impl Coded for CeremonyError {
    fn code(&self) -> Code {
        match self {
            CeremonyError::Folder(error) => error.code(),
            CeremonyError::UnknownDevice(_) => code::fleet::DEVICE_UNKNOWN,
            CeremonyError::Change(_) | CeremonyError::NoDraft(_) => code::fleet::ROOT_CHANGE,
        }
    }
}

/// How many of the keys that must sign have signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Signed {
    /// Different keys.
    pub found: usize,
    /// The threshold.
    pub needed: usize,
}

/// A next root.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// The root.
    pub root: Root,
    /// The sha256 of its body.
    pub digest: Digest,
    /// Its file: in `root/` if it is trusted, else under `pending/`.
    pub path: PathBuf,
    /// Signatures of the root before.
    pub before: Signed,
    /// Signatures of its own root keys.
    pub own: Signed,
    /// Whether it is signed by enough and is the fleet's newest root now.
    pub trusted: bool,
}

/// Makes a change. The rules of the document are checked when it is written.
///
/// # Errors
/// What is to be removed is not there, or what is to be added is.
pub fn apply(root: &mut Root, change: &Change) -> Result<(), CeremonyError> {
    let wrong = |message: String| Err(CeremonyError::Change(message));
    match change {
        Change::AddKey { role, name, public } => {
            if let Some(known) = root.keys.iter().find(|key| key.name == *name || key.public == *public) {
                return wrong(format!("the root has the key {} already: {}", known.name, known.public));
            }
            root.keys.push(RootKey { name: name.clone(), public: public.clone() });
            role_mut(root, *role).keys.push(name.clone());
        }
        Change::RemoveKey(name) => {
            let before = root.keys.len();
            root.keys.retain(|key| key.name != *name);
            if root.keys.len() == before {
                return wrong(format!("the root has no key {name}"));
            }
            for role in [RoleName::Root, RoleName::Release, RoleName::Deploy, RoleName::Precompiled] {
                let role_there = root.role(role).is_some();
                if role_there {
                    role_mut(root, role).keys.retain(|key| key != name);
                }
            }
            if root.roles.precompiled.as_ref().is_some_and(|role| role.keys.is_empty()) {
                root.roles.precompiled = None;
            }
        }
        Change::Threshold(role, threshold) => role_mut(root, *role).threshold = *threshold,
        Change::RevokeRelease(digest) => {
            if root.revoked_releases.contains(digest) {
                return wrong(format!("release {digest} is revoked already"));
            }
            root.revoked_releases.push(*digest);
        }
        Change::RevokeDevice(device) => {
            if root.revoked_devices.contains(device) {
                return wrong(format!("device {device} is revoked already"));
            }
            root.revoked_devices.push(device.clone());
        }
        Change::Minimum(model, counter) => {
            let before = root.minimum_counter(model);
            if *counter <= before {
                return wrong(format!("the minimum counter of {model} is {before} already"));
            }
            root.minimum_counters.retain(|entry| entry.model != *model);
            root.minimum_counters.push(MinimumCounter { model: model.clone(), counter: *counter });
        }
        Change::NextReleaseEpoch => root.release_epoch = next(root.release_epoch)?,
        Change::NextDeployEpoch => root.deploy_epoch = next(root.deploy_epoch)?,
        Change::Renew => {}
    }
    Ok(())
}

fn next(epoch: u64) -> Result<u64, CeremonyError> {
    epoch.checked_add(1).ok_or_else(|| CeremonyError::Change("no epoch comes after the last one".into()))
}

fn role_mut(root: &mut Root, role: RoleName) -> &mut Role {
    match role {
        RoleName::Root => &mut root.roles.root,
        RoleName::Release => &mut root.roles.release,
        RoleName::Deploy => &mut root.roles.deploy,
        RoleName::Precompiled => {
            root.roles.precompiled.get_or_insert_with(|| Role { keys: Vec::new(), threshold: 1 })
        }
    }
}

impl Fleet {
    /// The next root with these changes, on top of the draft that waits, if there is one. It is signed with
    /// the root keys of this folder unless `draft` is set, and takes effect if those are enough.
    ///
    /// # Errors
    /// A change makes no sense, the root would break a rule, or files or keys fail; nothing is changed then.
    pub fn change_root(
        &self,
        changes: &[Change],
        draft: bool,
        now_unix_s: u64,
    ) -> Result<Proposal, CeremonyError> {
        let waiting = self.root_draft()?;
        let root = self.next_root(changes, now_unix_s)?;
        let (body, _) = document::to_body(&root).map_err(FolderError::from)?;
        let proposal = self.propose(Envelope::of::<Root>(&body), root, !draft)?;
        if let Some((path, ..)) = waiting.filter(|(path, ..)| *path != proposal.path) {
            file::remove_if_there(&path).map_err(FolderError::from)?;
        }
        Ok(proposal)
    }

    /// The next root with these changes, on top of the draft that waits, if there is one. Nothing is written.
    ///
    /// # Errors
    /// A change makes no sense, or the root would break a rule.
    pub fn next_root(&self, changes: &[Change], now_unix_s: u64) -> Result<Root, CeremonyError> {
        let mut root = match self.root_draft()? {
            Some((_, _, root)) => root,
            None => self.root().root().clone(),
        };
        root.version = self.root().version().saturating_add(1);
        root.issued_unix_s = now_unix_s;
        root.not_after_unix_s = now_unix_s.saturating_add(ROOT_VALIDITY_S);
        for change in changes {
            if let Change::RevokeDevice(device) = change {
                self.expect_enrolled(device)?;
            }
            apply(&mut root, change)?;
        }
        document::to_body(&root).map_err(FolderError::from)?;
        Ok(root)
    }

    /// Refuses a device that is not in the device list; one that is decommissioned is.
    fn expect_enrolled(&self, device: &DeviceId) -> Result<(), CeremonyError> {
        let list = self.device_list()?;
        let known = list.is_some_and(|list| list.devices.iter().any(|entry| entry.id == *device));
        if known { Ok(()) } else { Err(CeremonyError::UnknownDevice(device.clone())) }
    }

    /// Signs the draft of the next root with the root keys of this folder.
    ///
    /// # Errors
    /// There is no draft, or files or keys fail.
    pub fn sign_root_draft(&self) -> Result<Proposal, CeremonyError> {
        let Some((_, envelope, root)) = self.root_draft()? else {
            return Err(CeremonyError::NoDraft(self.root().version().saturating_add(1)));
        };
        self.propose(envelope, root, true)
    }

    /// Takes a next root that others have signed, together with the signatures of a draft that waits.
    ///
    /// # Errors
    /// It is no root of the next version, or files fail.
    pub(crate) fn import_root(&self, envelope: Envelope, root: Root) -> Result<Proposal, CeremonyError> {
        let expected = self.root().version().saturating_add(1);
        if root.version != expected {
            let message = format!("the file holds root {}, the next one is {expected}", root.version);
            return Err(CeremonyError::Change(message));
        }
        self.propose(envelope, root, false)
    }

    /// The draft of the next root: its file, the envelope with the signatures so far, and the root.
    fn root_draft(&self) -> Result<Option<(PathBuf, Envelope, Root)>, FolderError> {
        let folder = self.folder().join("pending");
        for name in file::list(&folder)?.iter().filter(|name| name.starts_with("root-")) {
            let path = folder.join(name);
            let invalid = |error| FolderError::Trust { path: path.clone(), error };
            let envelope = Envelope::parse(&file::read(&path)?).map_err(|error| invalid(error.into()))?;
            let root: Root = document::parse(envelope.body()).map_err(|error| invalid(error.into()))?;
            if root.version == self.root().version().saturating_add(1) {
                return Ok(Some((path, envelope, root)));
            }
        }
        Ok(None)
    }

    /// Writes a next root where it belongs: to `root/` if enough have signed, else to `pending/`.
    fn propose(&self, mut envelope: Envelope, root: Root, sign: bool) -> Result<Proposal, CeremonyError> {
        let before = self.root().root();
        if sign {
            for signing in [before, &root] {
                let enough = usize::from(signing.roles.root.threshold);
                if count(&envelope, signing).found < enough {
                    self.add_signatures(&mut envelope, signing, RoleName::Root, usize::MAX)?;
                }
            }
        }
        let digest = Digest::of(envelope.body());
        let waiting = pending_path(self.folder(), Root::KIND, &digest);
        if let Some(there) = file::read_if_there(&waiting).map_err(FolderError::from)? {
            let joined = dunlin_core::envelope::merge(&there, &envelope.to_bytes());
            if let Ok(joined) = joined.and_then(|bytes| Envelope::parse(&bytes)) {
                envelope = joined;
            }
        }
        let bytes = envelope.to_bytes();
        let (signed_before, own) = (count(&envelope, before), count(&envelope, &root));
        let trusted = match self.root().step(&bytes) {
            Ok(_) => true,
            Err(_) if signed_before.found < signed_before.needed || own.found < own.needed => false,
            Err(error) => return Err(FolderError::Trust { path: waiting, error }.into()),
        };
        let path = if trusted { root_path(self.folder(), root.version) } else { waiting.clone() };
        file::replace(&path, &bytes, Readers::Anyone).map_err(FolderError::from)?;
        if trusted {
            file::remove_if_there(&waiting).map_err(FolderError::from)?;
        }
        Ok(Proposal { root, digest, path, before: signed_before, own, trusted })
    }
}

/// How many root keys of a root have signed.
fn count(envelope: &Envelope, root: &Root) -> Signed {
    let needed = usize::from(root.roles.root.threshold);
    Signed { found: envelope.count_signers(root.role_keys(RoleName::Root), needed), needed }
}

#[cfg(test)]
mod tests;
