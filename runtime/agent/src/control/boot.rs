//! From the folder on disk to a [`Device`]: at the first start from the enrolment, then from the
//! committed state. Needs no network.

use std::path::Path;

use dunlin_abi::Simd;
use dunlin_core::Digest;
use dunlin_core::code::Coded as _;
use dunlin_core::document::SCHEMA;
use dunlin_core::enrolment::Enrolment;
use dunlin_core::key::SecretKey;
use dunlin_core::precompiled::Machine;
use dunlin_core::telemetry::BootId;
use dunlin_core::trust::TrustedRoot;
use dunlin_core::update::{Device, DeviceState, Identity};
use dunlin_sandbox::{Target, WASMTIME_VERSION};

use crate::config::{Config, ConfigError};
use crate::error::AgentError;
use crate::store::{Store, StoreError};

/// Opens the folder and restores the device. Waits for the disk.
pub(super) fn boot(config: &Config, boot_id: BootId) -> Result<(Store, Device), AgentError> {
    let store = Store::open(&config.state_dir)?;
    let device = device(config, boot_id, &store)?;
    Ok((store, device))
}

/// Does the same without changing anything on the disk; gives what it found damaged and would put right.
pub(super) fn preview(config: &Config) -> Result<Vec<String>, AgentError> {
    let store = Store::preview(&config.state_dir)?;
    device(config, BootId::from_bytes([0; 16]), &store)?;
    Ok(store.take_damage())
}

fn device(config: &Config, boot_id: BootId, store: &Store) -> Result<Device, AgentError> {
    let identity = identity(config, boot_id)?;
    let first_root = || std::fs::read(&config.root_file).ok();
    restore(store, identity, first_root, |store| enrol(config, store))
}

fn identity(config: &Config, boot_id: BootId) -> Result<Identity, AgentError> {
    Ok(Identity {
        fleet: config.fleet.clone(),
        device: config.device.clone(),
        runtime_version: runtime_version()?,
        released_unix_s: super::RELEASED_UNIX_S,
        // Cranelift lowers relaxed SIMD on each host that it supports, so every level is offered.
        simd: Simd::Relaxed,
        boot_id: boot_id.to_string(),
        machine_boot: machine_boot(),
        site: config.site.clone(),
        machine: machine(),
    })
}

/// What a build without a compiler runs.
fn machine() -> Option<Machine> {
    cfg!(not(feature = "compiler"))
        .then(|| Machine { target: Target::HERE.to_string(), wasmtime: WASMTIME_VERSION.to_string() })
}

/// The device that a store holds; `enrol` begins one that never ran, and `first_root` is the root of its
/// enrolment, if there still is one.
pub(crate) fn restore(
    store: &Store,
    identity: Identity,
    first_root: impl FnOnce() -> Option<Vec<u8>>,
    enrol: impl FnOnce(&Store) -> Result<(DeviceState, TrustedRoot), AgentError>,
) -> Result<Device, AgentError> {
    let (state, root) = match store.load_state() {
        Ok(Some(state)) => {
            let root = trusted(store, &state, first_root)?;
            (state, root)
        }
        Ok(None) => enrol(store)?,
        Err(error @ StoreError::StateLost { .. }) => recover(store, first_root, error)?,
        Err(error) => return Err(error.into()),
    };
    let mut documents: Vec<(Digest, Vec<u8>)> = Vec::new();
    for digest in state.documents() {
        match store.document(&digest) {
            Ok(Some(envelope)) => documents.push((digest, envelope)),
            Ok(None) => {}
            // It counts as lost and is fetched again; a start does not hang on it.
            Err(error) => tracing::error!(code = %error.code(), "a stored document: {error}"),
        }
    }
    Ok(Device::restore(identity, state, root, documents)?)
}

/// What Linux calls this boot of the machine.
fn machine_boot() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(name.trim().to_string()).filter(|name| !name.is_empty())
}

fn runtime_version<T>() -> Result<T, AgentError>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    super::RUNTIME_VERSION.parse().map_err(|error| AgentError::system("version of its own", &error))
}

/// The first start: root and state come from the bundle, and are committed before anything else.
fn enrol(config: &Config, store: &Store) -> Result<(DeviceState, TrustedRoot), AgentError> {
    let path = &config.enrolment_file;
    let unusable = |detail: String| AgentError::Enrolment { path: path.clone(), detail };
    let text = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    let enrolment: Enrolment = serde_json::from_slice(&text).map_err(|error| unusable(error.to_string()))?;
    check(config, &enrolment).map_err(unusable)?;
    let envelope = read(&config.root_file)?;
    let root = TrustedRoot::enrolled(&envelope)?;
    if *root.fleet() != config.fleet {
        return Err(unusable(format!("its root is of fleet {}, not of {}", root.fleet(), config.fleet)));
    }
    let state = DeviceState::enrolled(&enrolment, &root);
    store.store_root(root.version(), &envelope)?;
    store.commit(&state)?;
    tracing::info!(root = root.version(), channel = %state.channel, "the device starts from its enrolment");
    Ok((state, root))
}

/// The root that the state trusts. Where its copy is damaged, the root of the enrolment if it is that one; or else
/// the newest before it, from which the device walks to it again.
fn trusted(
    store: &Store,
    state: &DeviceState,
    first_root: impl FnOnce() -> Option<Vec<u8>>,
) -> Result<TrustedRoot, AgentError> {
    let is_trusted = |root: &TrustedRoot| {
        root.version() < state.root_version
            || (root.version(), root.digest()) == (state.root_version, state.root_digest)
    };
    let newest = store.roots()?.into_iter().rfind(is_trusted);
    if let Some(root) = newest.as_ref().filter(|root| root.version() == state.root_version) {
        return Ok(root.clone());
    }
    let first = first_root().and_then(|envelope| TrustedRoot::enrolled(&envelope).ok());
    let first =
        first.filter(|root| is_trusted(root) && newest.as_ref().is_none_or(|n| n.version() < root.version()));
    let missing = || AgentError::RootMissing { version: state.root_version, dir: store.dir().to_path_buf() };
    let root = first.or(newest).ok_or_else(missing)?;
    tracing::error!(
        code = dunlin_core::code::agent::STORE_DAMAGED.id,
        trusted = state.root_version,
        found = root.version(),
        "the stored copy of the trusted root is missing or damaged"
    );
    store.store_root(root.version(), root.envelope())?;
    Ok(root)
}

/// The state is put together from the copy of what was proven, under the newest root that can be read. A root is
/// stored only after it was verified.
fn recover(
    store: &Store,
    first_root: impl FnOnce() -> Option<Vec<u8>>,
    lost: StoreError,
) -> Result<(DeviceState, TrustedRoot), AgentError> {
    let Some(proven) = store.proven()? else { return Err(lost.into()) };
    let root = match store.roots()?.pop().filter(|root| root.version() >= proven.root_version) {
        Some(root) => root,
        None => trusted(store, &proven, first_root)?,
    };
    let state = DeviceState::recovered(proven, &root);
    store.recover(&state)?;
    tracing::error!(code = %lost.code(), root = root.version(), "{lost}; what was proven before is served");
    Ok((state, root))
}

fn check(config: &Config, enrolment: &Enrolment) -> Result<(), String> {
    if enrolment.schema != SCHEMA {
        return Err(format!("it has schema {}, this build knows {SCHEMA}", enrolment.schema));
    }
    if (&enrolment.fleet, &enrolment.device) != (&config.fleet, &config.device) {
        return Err(format!(
            "it is for device {} of fleet {}, the configuration for {} of {}",
            enrolment.device, enrolment.fleet, config.device, config.fleet
        ));
    }
    let text = std::fs::read_to_string(&config.key_file).map_err(|error| format!("its key: {error}"))?;
    let key = SecretKey::from_text(&text).map_err(|error| format!("its key: {error}"))?;
    if key.public() != enrolment.public {
        return Err(format!("its key is {}, the device's is {}", enrolment.public, key.public()));
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, AgentError> {
    let failed =
        |error: std::io::Error| ConfigError::File { path: path.to_path_buf(), error: error.to_string() };
    Ok(std::fs::read(path).map_err(failed)?)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use dunlin_core::document::{Role, Roles, Root, RootKey, to_body};
    use dunlin_core::envelope::seal;
    use dunlin_core::id::KeyName;

    fn secret(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    fn root_envelope(fleet: &str) -> Vec<u8> {
        let names: [KeyName; 3] = ["root", "release", "deploy"].map(|name| name.parse().unwrap());
        let role = |index: usize| Role { keys: vec![names[index].clone()], threshold: 1 };
        let key =
            |index: u8| RootKey { name: names[usize::from(index)].clone(), public: secret(index).public() };
        let root = Root {
            schema: 1,
            fleet: fleet.parse().unwrap(),
            version: 1,
            issued_unix_s: 1_000_000_000,
            not_after_unix_s: 9_000_000_000,
            keys: (0..3).map(key).collect(),
            roles: Roles { root: role(0), release: role(1), deploy: role(2), precompiled: None },
            release_epoch: 1,
            deploy_epoch: 1,
            revoked_releases: vec![],
            revoked_devices: vec![],
            minimum_counters: vec![],
        };
        seal::<Root>(&to_body(&root).unwrap().0, &[(&names[0], &secret(0))])
    }

    fn enrolment() -> Enrolment {
        Enrolment {
            schema: 1,
            fleet: "f".parse().unwrap(),
            device: "d".parse().unwrap(),
            public: secret(9).public(),
            channel: "stable".parse().unwrap(),
            deploy_epoch: 1,
            sequences: vec![],
            floors: vec![],
            time_low_unix_s: 1_500_000_000,
        }
    }

    /// A device that never ran.
    pub(in crate::control) fn device() -> Device {
        let root = TrustedRoot::enrolled(&root_envelope("f")).unwrap();
        let identity = Identity {
            fleet: "f".parse().unwrap(),
            device: "d".parse().unwrap(),
            runtime_version: runtime_version().unwrap(),
            released_unix_s: 0,
            simd: Simd::Relaxed,
            boot_id: "0a".repeat(16),
            machine_boot: None,
            site: dunlin_core::update::SitePolicy::default(),
            machine: None,
        };
        let state = DeviceState::enrolled(&enrolment(), &root);
        Device::restore(identity, state, root, []).unwrap()
    }

    /// A folder as `dunlin enroll` makes it.
    fn folder(fleet: &str, enrolment: &Enrolment) -> (tempfile::TempDir, Config) {
        let folder = tempfile::tempdir().unwrap();
        let text = "fleet = \"f\"\ndevice = \"d\"\n[broker]\nurl = \"mqtt://localhost\"\n";
        let mut config = Config::parse(text).unwrap();
        let path = |name: &str| folder.path().join(name);
        config.state_dir = path("state");
        config.root_file = path("root.json");
        config.enrolment_file = path("enrolment.json");
        config.key_file = path("device.key");
        std::fs::write(&config.root_file, root_envelope(fleet)).unwrap();
        std::fs::write(&config.enrolment_file, serde_json::to_vec(enrolment).unwrap()).unwrap();
        std::fs::write(&config.key_file, secret(9).to_text().as_bytes()).unwrap();
        (folder, config)
    }

    const BOOT: BootId = BootId::from_bytes([1; 16]);

    #[test]
    fn the_first_start_needs_the_enrolment_and_later_ones_the_state_alone() {
        let (_folder, config) = folder("f", &enrolment());
        let (store, device) = boot(&config, BOOT).unwrap();
        assert_eq!(device.state().t_low_unix_s, 1_500_000_000);
        assert_eq!(boot(&config, BOOT).unwrap_err().code().id, "agent-already-running");
        drop(store);
        for file in [&config.root_file, &config.enrolment_file, &config.key_file] {
            std::fs::remove_file(file).unwrap();
        }
        let (store, again) = boot(&config, BOOT).unwrap();
        assert_eq!(again.state(), device.state());
        drop(store);
        // The root of the state is damaged, and so is every other.
        std::fs::remove_file(config.state_dir.join("trust/1.json")).unwrap();
        let error = boot(&config, BOOT).unwrap_err();
        assert_eq!(error.code().id, "state-lost");
        assert!(error.to_string().contains("root.json"), "{error}");
    }

    #[test]
    fn a_damaged_root_is_replaced_from_the_enrolment() {
        let (_folder, config) = folder("f", &enrolment());
        drop(boot(&config, BOOT).unwrap());
        let stored = config.state_dir.join("trust/1.json");
        let sound = std::fs::read(&stored).unwrap();
        for at in (0..sound.len()).step_by(97) {
            let mut damaged = sound.clone();
            damaged[at] ^= 1;
            std::fs::write(&stored, &damaged).unwrap();
            let (store, device) = boot(&config, BOOT).unwrap();
            assert!(!device.root_is_lost());
            let damage = store.take_damage();
            assert!(damage.iter().all(|finding| finding.starts_with("trust/1.json: ")), "{damage:?}");
            drop(store);
            let found = std::fs::read(&stored).unwrap();
            assert!(
                found == sound || damage.is_empty(),
                "byte {at}: it is put right where it was found damaged"
            );
        }
        // Another root of the same version takes no place.
        std::fs::write(&stored, b"{}").unwrap();
        std::fs::write(&config.root_file, root_envelope("g")).unwrap();
        assert_eq!(boot(&config, BOOT).unwrap_err().code().id, "state-lost");
    }

    #[test]
    fn a_state_of_another_device_is_refused() {
        let (_folder, mut config) = folder("f", &enrolment());
        drop(boot(&config, BOOT).unwrap());
        config.device = "e".parse().unwrap();
        let error = boot(&config, BOOT).unwrap_err();
        assert_eq!(error.code().id, "state-mismatch");
        assert!(error.to_string().contains("of device d, the configuration names e"), "{error}");
        config.fleet = "g".parse().unwrap();
        assert_eq!(boot(&config, BOOT).unwrap_err().code().id, "state-mismatch");
    }

    #[test]
    fn empty_slots_beside_proven_are_lost() {
        let (_folder, config) = folder("f", &enrolment());
        let (store, device) = boot(&config, BOOT).unwrap();
        let mut state = device.state().clone();
        let installed = dunlin_core::update::Installed {
            release: Digest::of(b"r"),
            artifact: Digest::of(b"a"),
            counter: 1,
            version: "1".into(),
            precompiled: false,
        };
        state.models.push(dunlin_core::update::ModelState {
            model: "m".parse().unwrap(),
            floor: 1,
            active: Some(installed),
            previous: None,
            next: None,
        });
        store.commit(&state).unwrap();
        drop(store);
        for slot in ["state/a", "state/b"] {
            std::fs::write(config.state_dir.join(slot), b"").unwrap();
        }
        std::fs::write(config.state_dir.join("trust/1.json"), b"").unwrap();
        let (_store, device) = boot(&config, BOOT).unwrap();
        assert!(device.state().recovered && device.state().models.len() == 1);
    }

    #[test]
    fn a_state_that_is_lost_is_put_together_from_what_was_proven() {
        let (_folder, config) = folder("f", &enrolment());
        let (store, device) = boot(&config, BOOT).unwrap();
        let installed = dunlin_core::update::Installed {
            release: Digest::of(b"r"),
            artifact: Digest::of(b"a"),
            counter: 1,
            version: "1".into(),
            precompiled: false,
        };
        let damage = || {
            for slot in ["state/a", "state/b"] {
                std::fs::write(config.state_dir.join(slot), vec![7; 16 * 1024]).unwrap();
            }
        };
        drop(store);
        damage();
        assert_eq!(boot(&config, BOOT).unwrap_err().code().id, "state-lost", "nothing was proven");
        std::fs::remove_dir_all(config.state_dir.join("state")).unwrap();
        let (store, _) = boot(&config, BOOT).unwrap();
        let mut state = device.state().clone();
        state.models.push(dunlin_core::update::ModelState {
            model: "m".parse().unwrap(),
            floor: 1,
            active: Some(installed.clone()),
            previous: None,
            next: None,
        });
        store.commit(&state).unwrap();
        drop(store);
        damage();
        let (store, device) = boot(&config, BOOT).unwrap();
        assert!(device.state().recovered);
        assert_eq!(device.state().models[0].active, Some(installed));
        // It is a committed state like any other now.
        drop(store);
        assert!(boot(&config, BOOT).unwrap().1.state().recovered);
    }

    #[test]
    fn an_enrolment_of_something_else_starts_nothing() {
        let change = |change: fn(&mut Enrolment)| {
            let mut enrolment = enrolment();
            change(&mut enrolment);
            let (folder, config) = folder("f", &enrolment);
            let error = boot(&config, BOOT).unwrap_err();
            assert!(config.state_dir.join("trust").read_dir().unwrap().next().is_none());
            drop(folder);
            (error.code().id, error.to_string())
        };
        for (code, words, changed) in [
            ("enrolment-unusable", "schema 2", (|e| e.schema = 2) as fn(&mut Enrolment)),
            ("enrolment-unusable", "device other", |e| e.device = "other".parse().unwrap()),
            ("enrolment-unusable", "fleet other", |e| e.fleet = "other".parse().unwrap()),
            ("enrolment-unusable", "its key is", |e| e.public = secret(8).public()),
        ] {
            let (found, text) = change(changed);
            assert!(found == code && text.contains(words), "{text}");
        }
        let (_folder, config) = folder("g", &enrolment());
        assert_eq!(boot(&config, BOOT).unwrap_err().code().id, "enrolment-unusable");
        let (_folder, config) = self::folder("f", &enrolment());
        std::fs::write(&config.root_file, b"{}").unwrap();
        assert_eq!(boot(&config, BOOT).unwrap_err().code().id, "envelope-malformed");
        std::fs::remove_file(&config.enrolment_file).unwrap();
        assert_eq!(boot(&config, BOOT).unwrap_err().code().id, "enrolment-unusable");
    }
}
