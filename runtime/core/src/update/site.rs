//! The site's own policy: what the owner of a device allows, whatever the fleet's keys sign.
//!
//! It can only forbid. It is asked before anything is installed; what is installed already goes on, and goes
//! by a deployment.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::num::NonZeroU32;

use dunlin_abi::Import;
use serde::{Deserialize, Serialize};

use super::refusal::Refusal;
use crate::digest::Digest;
use crate::document::{Release, RoleName, Root};
use crate::id::ModelName;
use crate::trust::Verified;

/// What a site allows. The default allows everything but code that others compiled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SitePolicy {
    /// The models that may be installed; any, if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<ModelName>>,
    /// Host functions that no release is granted.
    pub denied_imports: Vec<Import>,
    /// The least threshold that the root must set for releases; under another root nothing is installed.
    pub min_release_signatures: u8,
    /// The least threshold that the root must set for deployments.
    pub min_deploy_signatures: u8,
    /// A deployment must echo a nonce of the device within this many seconds, or an alarm is raised: a
    /// broker that holds back what is new is found out so. No alarm, if nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fresh_within_s: Option<NonZeroU32>,
    /// Whether a device that cannot compile runs machine code that the role `precompiled` signed.
    pub allow_precompiled: bool,
    /// Models that stay at one release: its version, or the sha256 of its body.
    pub pinned: BTreeMap<ModelName, String>,
}

impl SitePolicy {
    /// Judges a model by its name.
    ///
    /// # Errors
    /// The site does not allow it.
    pub fn judge_model(&self, model: &ModelName) -> Result<(), Refusal> {
        match &self.models {
            Some(allowed) if !allowed.contains(model) => Err(Refusal::SiteModel(model.clone())),
            Some(_) | None => Ok(()),
        }
    }

    /// Judges a root by the threshold of a role.
    ///
    /// # Errors
    /// Fewer people must sign than the site demands.
    pub fn judge_threshold(&self, root: &Root, role: RoleName) -> Result<(), Refusal> {
        let least = match role {
            RoleName::Release => self.min_release_signatures,
            RoleName::Deploy => self.min_deploy_signatures,
            RoleName::Root | RoleName::Precompiled => 0,
        };
        let found = root.role(role).map_or(0, |role| role.threshold);
        if found < least { Err(Refusal::SiteThreshold { role, least, found }) } else { Ok(()) }
    }

    /// Judges a release by what it may do and by the pin of its model.
    ///
    /// # Errors
    /// It asks for a host function that the site denies, or is not the one that is pinned.
    pub fn judge_release(&self, release: &Verified<Release>) -> Result<(), Refusal> {
        if let Some(import) = release.imports.iter().find(|import| self.denied_imports.contains(import)) {
            return Err(Refusal::SiteImport(*import));
        }
        let Some(pin) = self.pinned.get(&release.model) else { return Ok(()) };
        let pinned = match pin.parse::<Digest>() {
            Ok(digest) => digest == release.digest(),
            Err(_) => *pin == release.version,
        };
        if pinned {
            return Ok(());
        }
        let (model, pinned, found) = (release.model.clone(), pin.clone(), release.version.clone());
        Err(Refusal::SitePin { model, pinned, found })
    }
}
