//! The root: who may sign what, and what is no longer valid.
//!
//! Version N+1 is signed by the threshold of N's root keys and of its own. A device starts from the
//! root that it was enrolled with and walks from version to version, one at a time.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use super::{Document, DocumentError, ensure, unique};
use crate::digest::Digest;
use crate::id::{DeviceId, FleetId, KeyName, ModelName};
use crate::key::PublicKey;

/// The most keys of a root.
const MAX_KEYS: usize = 64;

/// The most entries of a list of revocations or minimum counters.
const MAX_ENTRIES: usize = 256;

/// What a key may sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoleName {
    /// Roots. Offline; two of three keys are advised.
    Root,
    /// Releases. Offline, or a signer of the build system.
    Release,
    /// Deployments and the device list. Online.
    Deploy,
    /// Precompiled native code, which a device must opt in to.
    Precompiled,
}

impl core::fmt::Display for RoleName {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            RoleName::Root => "root",
            RoleName::Release => "release",
            RoleName::Deploy => "deploy",
            RoleName::Precompiled => "precompiled",
        })
    }
}

/// A public key and the name that people know it by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootKey {
    /// For people; the key itself decides.
    pub name: KeyName,
    /// The ed25519 public key.
    pub public: PublicKey,
}

/// The keys of one role, and how many of them must sign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// Names of keys of this root.
    pub keys: Vec<KeyName>,
    /// How many different keys must sign, at least 1.
    pub threshold: u8,
}

/// The roles of a root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roles {
    /// Signs roots.
    pub root: Role,
    /// Signs releases.
    pub release: Role,
    /// Signs deployments and the device list.
    pub deploy: Role,
    /// Signs precompiled code, only where it is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precompiled: Option<Role>,
}

/// The least counter that a model's releases must have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MinimumCounter {
    /// The model.
    pub model: ModelName,
    /// Releases below this counter are refused.
    pub counter: u64,
}

/// The root of trust of a fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Root {
    /// The version of the format.
    pub schema: u32,
    /// The fleet.
    pub fleet: FleetId,
    /// 1 for the first root, then one more each.
    pub version: u64,
    /// When it was signed, in seconds since 1970.
    pub issued_unix_s: u64,
    /// After this the operators want a newer one; advisory, a device goes on with an old root.
    pub not_after_unix_s: u64,
    /// All keys of all roles.
    pub keys: Vec<RootKey>,
    /// Which keys sign what.
    pub roles: Roles,
    /// Releases of an older epoch are refused.
    pub release_epoch: u64,
    /// Deployments of any other epoch are refused; a new one starts sequences and floors anew.
    pub deploy_epoch: u64,
    /// Releases that must never run again, by the digest of their bodies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked_releases: Vec<Digest>,
    /// Devices that are no longer part of the fleet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked_devices: Vec<DeviceId>,
    /// The least counters of models.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub minimum_counters: Vec<MinimumCounter>,
}

impl Root {
    /// The keys and the threshold of a role; `None` for a role that this root does not use.
    pub fn role(&self, name: RoleName) -> Option<&Role> {
        match name {
            RoleName::Root => Some(&self.roles.root),
            RoleName::Release => Some(&self.roles.release),
            RoleName::Deploy => Some(&self.roles.deploy),
            RoleName::Precompiled => self.roles.precompiled.as_ref(),
        }
    }

    /// The public keys of a role.
    pub fn role_keys(&self, name: RoleName) -> impl Iterator<Item = &PublicKey> {
        let names = self.role(name).map_or(&[][..], |role| &role.keys);
        self.keys.iter().filter(|key| names.contains(&key.name)).map(|key| &key.public)
    }

    /// The least counter that releases of a model must have.
    pub fn minimum_counter(&self, model: &ModelName) -> u64 {
        self.minimum_counters.iter().find(|entry| entry.model == *model).map_or(0, |entry| entry.counter)
    }

    fn check_role(&self, name: RoleName, role: &Role) -> Result<(), DocumentError> {
        ensure!(Root, unique(&role.keys, |key| key), "role {name} lists a key twice");
        for key in &role.keys {
            ensure!(
                Root,
                self.keys.iter().any(|known| known.name == *key),
                "role {name} names the unknown key {key}"
            );
        }
        let (threshold, keys) = (role.threshold, role.keys.len());
        ensure!(
            Root,
            threshold >= 1 && usize::from(threshold) <= keys,
            "role {name} has threshold {threshold} of {keys} keys; it must be 1 to {keys}"
        );
        Ok(())
    }
}

impl Document for Root {
    const PAYLOAD_TYPE: &'static str = "application/vnd.dunlin.root+json";
    const KIND: &'static str = "root";
    const ROLE: RoleName = RoleName::Root;

    fn schema(&self) -> u32 {
        self.schema
    }

    fn fleet(&self) -> &FleetId {
        &self.fleet
    }

    fn check(&self) -> Result<(), DocumentError> {
        ensure!(Root, self.version >= 1, "versions start at 1");
        ensure!(Root, self.issued_unix_s <= self.not_after_unix_s, "it ends before it was issued");
        ensure!(Root, self.keys.len() <= MAX_KEYS, "it has {} keys, the most is {MAX_KEYS}", self.keys.len());
        ensure!(Root, unique(&self.keys, |key| &key.name), "two keys share a name");
        ensure!(Root, unique(&self.keys, |key| &key.public), "one public key stands under two names");
        let names = [RoleName::Root, RoleName::Release, RoleName::Deploy, RoleName::Precompiled];
        let roles = || names.into_iter().filter_map(|name| Some((name, self.role(name)?)));
        for (name, role) in roles() {
            self.check_role(name, role)?;
        }
        for key in &self.keys {
            let uses = roles().filter(|(_, role)| role.keys.contains(&key.name)).count();
            ensure!(Root, uses == 1, "key {} stands in {uses} roles, it must be in exactly one", key.name);
        }
        for (what, length) in [
            ("revoked releases", self.revoked_releases.len()),
            ("revoked devices", self.revoked_devices.len()),
            ("minimum counters", self.minimum_counters.len()),
        ] {
            ensure!(Root, length <= MAX_ENTRIES, "it has {length} {what}, the most is {MAX_ENTRIES}");
        }
        ensure!(Root, unique(&self.revoked_releases, |digest| *digest), "a release is revoked twice");
        ensure!(Root, unique(&self.revoked_devices, |device| device), "a device is revoked twice");
        ensure!(
            Root,
            unique(&self.minimum_counters, |entry| &entry.model),
            "a model has two minimum counters"
        );
        Ok(())
    }
}
