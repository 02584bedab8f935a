//! The device: documents in, actions out.
//!
//! This file has the machine's parts and its entry; `documents` takes roots, deployments and release
//! documents, and `ask` asks for them again; `standing` says what a person should look at while it lasts;
//! `desire` says what the accepted deployments want of a model; `install` is the table of (load, event) for
//! releases; `deaths` says what follows from a worker's death; `trial` judges probation; `settle` chooses which loaded release serves.
//!
//! Invariants, each held by a property test: no release that is installed has a counter below its
//! floor or the root's minimum, none is revoked; sequences of an audience never fall within a deploy
//! epoch; in every step the stores come first, then `Persist`, then everything else.

mod ask;
mod deaths;
mod desire;
mod documents;
mod install;
mod live;
mod out;
mod settle;
mod standing;
#[cfg(test)]
mod tests;
mod trial;

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use dunlin_abi::Simd;

use super::acceptance::Ground;
use super::clock::{Clock, DAY_MS, Now};
use super::event::{Action, Event, Occurrence, Subject};
use super::refusal::{NoPrecompiled, Refusal};
use super::refusals::Refusals;
use super::site::SitePolicy;
use super::state::{DeviceState, ModelState, STATE_FORMAT};
use crate::code::{self, Code, Coded};
use crate::digest::Digest;
use crate::document::{Audience, Blob, Deployment, Release, RoleName};
use crate::id::{DeviceId, FleetId, ModelName};
use crate::precompiled::Machine;
use crate::trust::{TrustedRoot, Verified};
use live::Live;
pub use live::{device_blobs, kept_blobs};
use out::Out;
pub use standing::{Freshness, Standing};

/// Who and what a device is; constant within a boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The fleet.
    pub fleet: FleetId,
    /// The device.
    pub device: DeviceId,
    /// The version of the runtime, which releases may ask for.
    pub runtime_version: semver::Version,
    /// When the runtime was released, in seconds since 1970: no document and no clock is before it.
    pub released_unix_s: u64,
    /// The SIMD instructions that the host offers.
    pub simd: Simd,
    /// This boot's random id, 32 lower-case hexadecimal digits. It stands in every record; a
    /// deployment for this device that echoes it attests that it was signed in this boot.
    pub boot_id: String,
    /// What names this boot of the machine, as long as no two have the same name; it tells a start after a
    /// power cut from one after the agent died. `None` where the system does not tell.
    pub machine_boot: Option<String>,
    /// What the owner of the site allows.
    pub site: SitePolicy,
    /// The machine code that it runs where it cannot compile; `None` for a device with a compiler, which
    /// makes its own.
    pub machine: Option<Machine>,
}

impl Identity {
    /// The variant of a release that this device runs; `None` where it compiles for itself. Whether the role
    /// `precompiled` signed it is asked of a root.
    ///
    /// # Errors
    /// The site does not allow it, there is none for this machine, or too few have signed it.
    pub(super) fn variant<'r>(
        &self,
        release: &'r Verified<Release>,
        root: Option<&TrustedRoot>,
    ) -> Result<Option<&'r Blob>, Refusal> {
        let Some(machine) = &self.machine else { return Ok(None) };
        let refused = |why| Refusal::NoPrecompiled { machine: machine.clone(), why };
        if !self.site.allow_precompiled {
            return Err(refused(NoPrecompiled::NotAllowed));
        }
        let variant = machine.variant(release).ok_or_else(|| refused(NoPrecompiled::Missing))?;
        let signed = root.map_or(Ok(()), |root| root.countersigned(release, RoleName::Precompiled));
        signed.map_err(|error| refused(NoPrecompiled::Signatures(error)))?;
        Ok(Some(variant))
    }

    /// Whether a deployment echoes the nonce of this boot: it was signed in it.
    pub fn is_echoed_by(&self, deployment: &Deployment) -> bool {
        deployment.nonce_echo.as_deref() == Some(self.boot_id.as_str())
    }
}

/// The deployments that are followed.
#[derive(Clone, Debug, Default)]
struct Deployments {
    channel: Option<Verified<Deployment>>,
    device: Option<Verified<Deployment>>,
}

/// Envelopes that failed on what a new root may heal: the last of each audience.
#[derive(Clone, Debug, Default)]
struct Kept {
    channel: Option<Vec<u8>>,
    device: Option<Vec<u8>>,
}

/// A device: what it holds, and what follows from what happens.
#[derive(Clone, Debug)]
pub struct Device {
    identity: Identity,
    state: DeviceState,
    root: TrustedRoot,
    deployments: Deployments,
    kept: Kept,
    releases: BTreeMap<Digest, Verified<Release>>,
    live: BTreeMap<ModelName, Live>,
    refusals: Refusals,
    /// When this boot began, in monotonic milliseconds.
    started_ms: u64,
    /// When a nonce of this boot was echoed last, in monotonic milliseconds.
    echoed_ms: Option<u64>,
    standing_told: Vec<standing::Told>,
    ask: ask::Ask,
    /// Named by the state, but absent or damaged in the store.
    lost: Vec<Digest>,
    /// Documents that have to come before anything goes on, and since when, in monotonic milliseconds.
    missing: BTreeMap<Digest, u64>,
    /// The deployments among them.
    lost_deployments: Vec<Audience>,
}

/// A stored state that cannot be continued from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Written by a newer version.
    #[error("the state has format {found}, this build knows {STATE_FORMAT}")]
    Format {
        /// The state's format.
        found: u32,
    },
    /// The state names another root.
    #[error("the state trusts root {wanted} ({}), not root {found}", .digest.short())]
    Root {
        /// The version that the state names.
        wanted: u64,
        /// The digest that the state names.
        digest: Digest,
        /// The version of the root that came with it.
        found: u64,
    },
    /// The state is of another device.
    #[error(
        "the state is of device {found}, the configuration names {wanted}: set `device` to {found} again, or give \
         {wanted} a folder of its own with `dunlin enroll`"
    )]
    Device {
        /// The device of the configuration.
        wanted: DeviceId,
        /// The state's.
        found: DeviceId,
    },
    /// The root rules another fleet.
    #[error("the root is of fleet {found}, the device of fleet {wanted}")]
    Fleet {
        /// The device's fleet.
        wanted: FleetId,
        /// The root's.
        found: FleetId,
    },
}

impl Coded for RestoreError {
    fn code(&self) -> Code {
        match self {
            RestoreError::Format { .. } => code::update::STATE_FORMAT,
            RestoreError::Root { .. } | RestoreError::Fleet { .. } | RestoreError::Device { .. } => {
                code::update::STATE_MISMATCH
            }
        }
    }
}

impl Device {
    /// A device with its committed state, the root that the state names, and the stored documents
    /// ([`DeviceState::documents`]), each under the digest it is stored by. Documents that are absent
    /// or damaged are fetched again. Where the root is, an older one of its chain takes its place: what is
    /// installed runs, and no deployment is followed before the chain has led to the root of the state again.
    ///
    /// # Errors
    /// State, root and identity do not belong together.
    pub fn restore(
        identity: Identity,
        mut state: DeviceState,
        root: TrustedRoot,
        documents: impl IntoIterator<Item = (Digest, Vec<u8>)>,
    ) -> Result<Device, RestoreError> {
        if state.format != STATE_FORMAT {
            return Err(RestoreError::Format { found: state.format });
        }
        let same = (state.root_version, state.root_digest) == (root.version(), root.digest());
        if !same && root.version() >= state.root_version {
            let (wanted, digest) = (state.root_version, state.root_digest);
            return Err(RestoreError::Root { wanted, digest, found: root.version() });
        }
        if identity.fleet != *root.fleet() {
            let (wanted, found) = (identity.fleet, root.fleet().clone());
            return Err(RestoreError::Fleet { wanted, found });
        }
        let device = state.device.get_or_insert_with(|| identity.device.clone());
        if *device != identity.device {
            let (wanted, found) = (identity.device, device.clone());
            return Err(RestoreError::Device { wanted, found });
        }
        let mut device = Device {
            identity,
            state,
            root,
            deployments: Deployments::default(),
            kept: Kept::default(),
            releases: BTreeMap::new(),
            live: BTreeMap::new(),
            refusals: Refusals::default(),
            started_ms: 0,
            echoed_ms: None,
            standing_told: Vec::new(),
            ask: ask::Ask::default(),
            lost: Vec::new(),
            missing: BTreeMap::new(),
            lost_deployments: Vec::new(),
        };
        device.recall(&documents.into_iter().collect());
        Ok(device)
    }

    fn recall(&mut self, documents: &BTreeMap<Digest, Vec<u8>>) {
        let mut lost = Vec::new();
        let mut deployment = |audience: Audience| {
            let digest = self.state.accepted(&audience)?.digest?;
            let stored = documents.get(&digest);
            let recalled =
                stored.and_then(|envelope| Verified::<Deployment>::recalled(envelope, digest).ok());
            if recalled.is_none() {
                lost.push(audience);
            }
            recalled
        };
        let channel = deployment(Audience::Channel(self.state.channel.clone()));
        let device = deployment(Audience::Device(self.identity.device.clone()));
        // What a deployment wants is judged by the root under which it was accepted, and by no older one.
        if !self.root_is_lost() {
            self.deployments = Deployments { channel, device };
        }
        self.lost_deployments = lost;
        for installed in self.state.models.iter().flat_map(ModelState::installed) {
            let digest = installed.release;
            let stored =
                documents.get(&digest).map(|envelope| Verified::<Release>::recalled(envelope, digest));
            match stored {
                Some(Ok(release)) => {
                    self.releases.insert(digest, release);
                }
                Some(Err(_)) | None => self.lost.push(digest),
            }
        }
    }

    /// Takes one event and says what to do about it.
    pub fn step(&mut self, now: Now, event: Event) -> Vec<Action> {
        let mut out = Out::default();
        match event {
            Event::Started => self.started(now, &mut out),
            Event::Stopping => self.stopping(&mut out),
            Event::RootArrived { envelope } => self.root_arrived(now, &envelope, &mut out),
            Event::DeploymentArrived { audience, envelope } => {
                self.deployment_arrived(now, &audience, &envelope, &mut out);
            }
            Event::ReleaseArrived { digest, envelope } => {
                self.release_arrived(now, digest, &envelope, &mut out)
            }
            Event::BlobsArrived { release } => {
                self.release_event(now, release, install::ReleaseEvent::BlobsArrived, &mut out);
            }
            Event::TransferFailed { release, code, detail } => {
                self.release_event(
                    now,
                    release,
                    install::ReleaseEvent::TransferFailed { code, detail },
                    &mut out,
                );
            }
            Event::TransferStalled { release, code, detail } => {
                self.release_event(
                    now,
                    release,
                    install::ReleaseEvent::TransferStalled { code, detail },
                    &mut out,
                );
            }
            Event::TransferResumed { release } => {
                self.release_event(now, release, install::ReleaseEvent::TransferResumed, &mut out);
            }
            Event::Prepared { release } => {
                self.release_event(now, release, install::ReleaseEvent::Prepared, &mut out);
            }
            Event::PrepareFailed { release, fault, code, detail } => {
                let event = install::ReleaseEvent::PrepareFailed { fault, code, detail };
                self.release_event(now, release, event, &mut out);
            }
            Event::Observed { release, served, failed } => {
                self.release_event(
                    now,
                    release,
                    install::ReleaseEvent::Observed { served, failed },
                    &mut out,
                );
            }
            Event::WorkerDied { suspects, code, detail } => {
                self.worker_died(now, suspects, (code, detail), &mut out);
            }
            Event::Unloaded { release } => {
                self.release_event(now, release, install::ReleaseEvent::Unloaded, &mut out);
            }
            Event::Ticked => self.ticked(now, &mut out),
        }
        self.finish(out)
    }

    fn finish(&mut self, out: Out) -> Vec<Action> {
        let named = out.cleans_up().then(|| self.named());
        out.into_actions(named)
    }

    /// Documents and blobs that the state names; unnamed release documents are forgotten.
    fn named(&mut self) -> (Vec<Digest>, Vec<Digest>) {
        let documents = self.state.documents();
        let wanted = self.wanted_releases();
        self.releases.retain(|digest, _| documents.contains(digest) || wanted.contains(digest));
        let mut blobs = Vec::new();
        for installed in self.state.models.iter().flat_map(ModelState::installed) {
            blobs.push(installed.artifact);
            if let Some(release) = self.releases.get(&installed.release) {
                blobs.extend(kept_blobs(release).map(|blob| blob.digest));
            }
        }
        blobs.sort_unstable();
        blobs.dedup();
        (documents, blobs)
    }

    /// What is to be committed at `Persist`.
    pub fn state(&self) -> &DeviceState {
        &self.state
    }

    /// Who this is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The trusted root.
    pub fn root(&self) -> &TrustedRoot {
        &self.root
    }

    /// Whether the trusted root is damaged in the store, and an older one of its chain in its place.
    pub fn root_is_lost(&self) -> bool {
        self.root.version() < self.state.root_version
    }

    /// A release's document, if the device has it.
    pub fn release(&self, digest: &Digest) -> Option<&Verified<Release>> {
        self.releases.get(digest)
    }

    /// The variant of a release that the device runs; `None` where it compiles for itself. Who signed it was
    /// judged when it was installed, and is judged here only where another build of the agent installed it.
    ///
    /// # Errors
    /// There is none that the device may run.
    pub fn variant<'r>(&self, release: &'r Verified<Release>) -> Result<Option<&'r Blob>, Refusal> {
        let installed = self.state.models.iter().flat_map(ModelState::installed);
        let judged = installed
            .into_iter()
            .any(|installed| installed.release == release.digest() && installed.precompiled);
        self.identity.variant(release, (!judged).then_some(&self.root))
    }

    /// The release that requests to a model go to, in this boot.
    pub fn serving(&self, model: &ModelName) -> Option<Digest> {
        self.live.get(model)?.running
    }

    /// The releases of a model that are loaded, in this boot.
    pub fn loaded(&self, model: &ModelName) -> impl Iterator<Item = Digest> + '_ {
        let progress = self.live.get(model).into_iter().flat_map(|live| live.progress.iter());
        progress.filter(|(_, progress)| progress.load == live::Load::Ready).map(|(release, _)| *release)
    }

    /// How often to report health, in seconds: the device's own deployment first, then the channel's;
    /// `None` before the first deployment.
    pub fn report_interval_s(&self) -> Option<u32> {
        let deployment = self.deployments.device.as_ref().or(self.deployments.channel.as_ref())?;
        Some(deployment.report_interval_s)
    }

    /// What the wall clock is worth.
    pub fn clock(&self, now: Now) -> Clock {
        let echoed = self.echoed_ms.is_some_and(|at_ms| now.monotonic_ms.saturating_sub(at_ms) < DAY_MS);
        Clock::judge(now.wall_unix_s, self.time_low_unix_s(), echoed)
    }

    /// The true time is not before this: the latest signed time that was accepted, and the day on which
    /// the runtime was released. In seconds since 1970.
    pub fn time_low_unix_s(&self) -> u64 {
        self.state.t_low_unix_s.max(self.identity.released_unix_s)
    }

    /// What was refused in this boot, by code.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// The audiences whose deployments the device follows.
    pub fn audiences(&self) -> Vec<Audience> {
        alloc::vec![
            Audience::Device(self.identity.device.clone()),
            Audience::Channel(self.state.channel.clone()),
        ]
    }

    fn ground(&self, now: Now) -> Ground<'_> {
        Ground {
            identity: &self.identity,
            state: &self.state,
            root: &self.root,
            now_unix_s: self.clock(now).effective_unix_s(now.wall_unix_s, self.time_low_unix_s()),
        }
    }

    fn refuse(&mut self, now: Now, what: Subject, refusal: &Refusal, out: &mut Out) {
        self.ask_about(&what, now);
        let counted = refusal.code().id;
        let told_as = if let Refusal::Prepare { code, .. } = refusal { code.as_str() } else { counted };
        if let Some(count) = self.refusals.note(counted, told_as, &what, now.monotonic_ms) {
            let (code, detail) = (told_as.to_string(), refusal.to_string());
            out.report(Occurrence::Refused { code, detail, what, count });
        }
    }

    fn alarm(&mut self, now: Now, code: Code, detail: String, what: Subject, out: &mut Out) {
        if self.refusals.note(code.id, code.id, &what, now.monotonic_ms).is_some() {
            out.report(Occurrence::Alarm { code: code.id.to_string(), detail, what });
        }
    }

    fn model_mut(&mut self, model: &ModelName) -> Option<&mut ModelState> {
        self.state.models.iter_mut().find(|state| state.model == *model)
    }

    fn model_names(&self) -> Vec<ModelName> {
        self.state.models.iter().map(|state| state.model.clone()).collect()
    }
}
