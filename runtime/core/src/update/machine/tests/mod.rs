//! The device under test, with a simulated disk and a broker that holds what was published.

mod acceptance;
mod installs;
mod interleavings;
mod precompiled;
mod properties;
mod recovery;
mod roots;
mod simulator;
mod site;
mod threats;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::document::{Deployment, Root, to_body};
use crate::enrolment::Enrolment;
use crate::fixture::{self, Key, TODAY, signed};
use crate::update::event::Fault;

/// A device with its disk; every step checks the order of actions.
pub(super) struct Shell {
    pub(super) device: Device,
    pub(super) now: Now,
    disk: Disk,
    machine_boots: u32,
    /// Every action since the last [`Shell::take`].
    pub(super) actions: Vec<Action>,
}

#[derive(Clone, Default)]
struct Disk {
    state: Vec<u8>,
    root: Vec<u8>,
    documents: BTreeMap<Digest, Vec<u8>>,
}

pub(super) fn identity() -> Identity {
    Identity {
        fleet: "f".parse().unwrap(),
        device: "d".parse().unwrap(),
        runtime_version: "0.1.0".parse().unwrap(),
        released_unix_s: 0,
        simd: Simd::Deterministic,
        boot_id: "ab".repeat(16),
        machine_boot: None,
        site: SitePolicy::default(),
        machine: None,
    }
}

pub(super) fn enrolment() -> Enrolment {
    Enrolment {
        schema: 1,
        fleet: "f".parse().unwrap(),
        device: "d".parse().unwrap(),
        public: Key::Stranger.secret().public(),
        channel: "stable".parse().unwrap(),
        deploy_epoch: 1,
        sequences: vec![],
        floors: vec![],
        time_low_unix_s: TODAY,
    }
}

impl Shell {
    /// An enrolled device that was started.
    pub(super) fn new() -> Shell {
        Shell::enrolled(&enrolment())
    }

    pub(super) fn enrolled(enrolment: &Enrolment) -> Shell {
        Shell::of(identity(), enrolment)
    }

    /// A device whose site has a policy.
    pub(super) fn of_site(site: SitePolicy) -> Shell {
        Shell::of(Identity { site, ..identity() }, &enrolment())
    }

    pub(super) fn of(identity: Identity, enrolment: &Enrolment) -> Shell {
        let envelope = signed(&fixture::root(1), &[Key::Root]);
        let root = TrustedRoot::enrolled(&envelope).unwrap();
        let state = DeviceState::enrolled(enrolment, &root);
        let disk =
            Disk { state: serde_json::to_vec(&state).unwrap(), root: envelope, documents: BTreeMap::new() };
        let device = Device::restore(identity, state, root, []).unwrap();
        let now = Now { wall_unix_s: TODAY + 60, monotonic_ms: 0, random: 0 };
        let mut shell = Shell { device, now, disk, machine_boots: 0, actions: Vec::new() };
        shell.step(Event::Started);
        shell
    }

    /// One step; the simulated disk does the stores and commits.
    pub(super) fn step(&mut self, event: Event) -> Vec<Action> {
        let before = self.device.state().clone();
        let actions = self.device.step(self.now, event);
        self.check(&before, &actions);
        for action in &actions {
            match action {
                Action::StoreRoot { envelope, .. } => self.disk.root = envelope.clone(),
                Action::StoreDocument { digest, envelope } => {
                    self.disk.documents.insert(*digest, envelope.clone());
                }
                Action::Persist => self.disk.state = serde_json::to_vec(self.device.state()).unwrap(),
                Action::CleanUp { keep_documents, .. } => {
                    self.disk.documents.retain(|digest, _| keep_documents.contains(digest));
                }
                _seen_by_tests => {}
            }
        }
        self.actions.extend(actions.iter().cloned());
        actions
    }

    fn check(&self, before: &DeviceState, actions: &[Action]) {
        let rank = |action: &Action| match action {
            Action::StoreRoot { .. } | Action::StoreDocument { .. } => 0,
            Action::Persist => 1,
            Action::CleanUp { .. } => 3,
            _seen_by_others => 2,
        };
        let ranks: Vec<_> = actions.iter().map(rank).collect();
        assert!(ranks.is_sorted(), "{actions:?}");
        let committed = ranks.contains(&1);
        let mut changed = self.device.state().clone();
        // A later signed time alone is not worth a commit.
        changed.t_low_unix_s = before.t_low_unix_s;
        assert!(committed || changed == *before, "changed without a commit: {actions:?}");
        let bytes = serde_json::to_vec(self.device.state()).unwrap();
        assert!(bytes.len() < crate::update::MAX_STATE_BYTES);
        for model in &self.device.state().models {
            let least = model.floor.max(self.device.root().root().minimum_counter(&model.model));
            for installed in model.installed() {
                assert!(installed.counter >= least, "{installed:?} is below {least}");
                assert!(!self.device.root().root().revoked_releases.contains(&installed.release));
            }
            if let Some(running) = self.device.serving(&model.model) {
                assert!(model.installed().any(|installed| installed.release == running), "{running} runs");
            }
        }
    }

    pub(super) fn take(&mut self) -> Vec<Action> {
        core::mem::take(&mut self.actions)
    }

    pub(super) fn tick(&mut self, seconds: u64) -> Vec<Action> {
        self.now.monotonic_ms += seconds * 1000;
        self.now.wall_unix_s += seconds;
        self.step(Event::Ticked)
    }

    pub(super) fn deploy(&mut self, deployment: &Deployment) -> Vec<Action> {
        self.deploy_signed(deployment, &[Key::Deploy])
    }

    pub(super) fn deploy_signed(&mut self, deployment: &Deployment, keys: &[Key]) -> Vec<Action> {
        let (audience, envelope) = (deployment.audience.clone(), signed(deployment, keys));
        self.step(Event::DeploymentArrived { audience, envelope })
    }

    pub(super) fn root(&mut self, root: &Root) -> Vec<Action> {
        self.step(Event::RootArrived { envelope: signed(root, &[Key::Root]) })
    }

    pub(super) fn release(&mut self, release: &Release) -> Vec<Action> {
        let (digest, envelope) = (fixture::digest_of(release), signed(release, &[Key::Release]));
        self.step(Event::ReleaseArrived { digest, envelope })
    }

    /// The release goes all the way to its trial.
    pub(super) fn install(&mut self, release: &Release) {
        let digest = fixture::digest_of(release);
        self.release(release);
        self.step(Event::BlobsArrived { release: digest });
        for action in self.step(Event::Prepared { release: digest }) {
            // The way back is loaded beside the trial.
            if let Action::Prepare { release } = action {
                self.step(Event::Prepared { release });
            }
        }
    }

    /// And passes it.
    pub(super) fn prove(&mut self, release: &Release) {
        self.install(release);
        self.step(Event::Observed { release: fixture::digest_of(release), served: 10, failed: 0 });
        assert_eq!(self.active(release.model.as_str()), Some(fixture::digest_of(release)));
    }

    /// The agent dies and starts again; only what was committed is left.
    pub(super) fn reboot(&mut self) -> Vec<Action> {
        self.start_as(identity())
    }

    /// The power goes and comes back: the machine has another boot.
    pub(super) fn power_cut(&mut self) -> Vec<Action> {
        self.machine_boots += 1;
        self.start_as(Identity { machine_boot: Some(format!("boot {}", self.machine_boots)), ..identity() })
    }

    fn start_as(&mut self, identity: Identity) -> Vec<Action> {
        let state: DeviceState = serde_json::from_slice(&self.disk.state).unwrap();
        let root = TrustedRoot::enrolled(&self.disk.root).unwrap();
        let named = state.documents();
        let stored = self.disk.documents.clone().into_iter().filter(|(digest, _)| named.contains(digest));
        self.device = Device::restore(identity, state, root, stored).unwrap();
        self.now.monotonic_ms = 0;
        self.step(Event::Started)
    }

    /// Both slots are damaged: the state is put together from this copy, as a shell does it.
    pub(super) fn lose_state(&mut self, copy: &DeviceState) {
        let root = TrustedRoot::enrolled(&self.disk.root).unwrap();
        self.disk.state = serde_json::to_vec(&DeviceState::recovered(copy.clone(), &root)).unwrap();
        self.reboot();
    }

    pub(super) fn lose_documents(&mut self) {
        self.disk.documents.clear();
    }

    pub(super) fn model(&self, model: &str) -> Option<&ModelState> {
        self.device.state().model(&model.parse().unwrap())
    }

    pub(super) fn active(&self, model: &str) -> Option<Digest> {
        Some(self.model(model)?.active.as_ref()?.release)
    }

    pub(super) fn next(&self, model: &str) -> Option<Digest> {
        Some(self.model(model)?.next.as_ref()?.installed.release)
    }

    pub(super) fn previous(&self, model: &str) -> Option<Digest> {
        Some(self.model(model)?.previous.as_ref()?.release)
    }

    pub(super) fn serving(&self, model: &str) -> Option<Digest> {
        self.device.serving(&model.parse().unwrap())
    }

    pub(super) fn failed(&mut self, release: &Release, fault: Fault) -> Vec<Action> {
        let release = fixture::digest_of(release);
        let (code, detail) = (String::from("golden-differs"), String::from("wrong answer"));
        self.step(Event::PrepareFailed { release, fault, code, detail })
    }
}

/// The codes of the refusals and alarms among actions.
pub(super) fn codes(actions: &[Action]) -> Vec<String> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Report(
                Occurrence::Refused { code, .. }
                | Occurrence::Alarm { code, .. }
                | Occurrence::RolledBack { code, .. },
            ) => Some(code.clone()),
            _other => None,
        })
        .collect()
}

pub(super) fn body_digest<T: crate::document::Document>(document: &T) -> Digest {
    to_body(document).unwrap().1
}
