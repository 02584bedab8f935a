//! A fleet for tests: keys, and documents that are valid until a test changes them.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use dunlin_abi::{DType, Dim, Import, Simd};

use crate::digest::Digest;
use crate::document::{
    Attachment, AttachmentKind, Audience, Blob, Candidate, ChunkRef, Chunks, Compat, Contract, Deployment,
    DeviceEntry, DeviceList, Document, Floor, Limits, Lineage, MinimumCounter, ModelEntry, Probation,
    Release, Role, Roles, Root, RootKey, TensorContract, Want, to_body,
};
use crate::envelope::seal;
use crate::id::KeyName;
use crate::key::SecretKey;

/// The day on which everything is signed, in seconds since 1970.
pub(crate) const TODAY: u64 = 1_800_000_000;

/// A year, in seconds.
pub(crate) const YEAR: u64 = 365 * 86_400;

/// Which key of the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Root,
    Root2,
    Release,
    Deploy,
    Stranger,
    Native,
    Native2,
}

impl Key {
    pub(crate) fn secret(self) -> SecretKey {
        SecretKey::from_seed(&[self as u8 + 1; 32])
    }

    pub(crate) fn name(self) -> KeyName {
        format!("{self:?}").to_lowercase().parse().unwrap()
    }
}

/// Signs anything, valid or not.
pub(crate) fn signed<T: Document>(document: &T, keys: &[Key]) -> Vec<u8> {
    signed_body::<T>(&serde_json::to_vec(document).unwrap(), keys)
}

pub(crate) fn signed_body<T: Document>(body: &[u8], keys: &[Key]) -> Vec<u8> {
    let pairs: Vec<_> = keys.iter().map(|key| (key.name(), key.secret())).collect();
    let signers: Vec<_> = pairs.iter().map(|(name, secret)| (name, secret)).collect();
    seal::<T>(body, &signers)
}

/// The digest of a document's body.
pub(crate) fn digest_of<T: Document>(document: &T) -> Digest {
    to_body(document).unwrap().1
}

pub(crate) fn root(version: u64) -> Root {
    let role = |key: Key| Role { keys: vec![key.name()], threshold: 1 };
    let key = |key: Key| RootKey { name: key.name(), public: key.secret().public() };
    Root {
        schema: 1,
        fleet: "f".parse().unwrap(),
        version,
        issued_unix_s: TODAY,
        not_after_unix_s: TODAY + 5 * YEAR,
        keys: vec![key(Key::Root), key(Key::Release), key(Key::Deploy)],
        roles: Roles {
            root: role(Key::Root),
            release: role(Key::Release),
            deploy: role(Key::Deploy),
            precompiled: None,
        },
        release_epoch: 1,
        deploy_epoch: 1,
        revoked_releases: Vec::new(),
        revoked_devices: Vec::new(),
        minimum_counters: Vec::new(),
    }
}

pub(crate) fn blob(content: &str) -> Blob {
    let size = u32::try_from(content.len()).unwrap();
    let digest = Digest::of(content.as_bytes());
    Blob {
        digest,
        size_bytes: u64::from(size),
        chunks: Chunks::Inline(vec![ChunkRef { digest, size_bytes: size }]),
    }
}

pub(crate) fn release(model: &str, counter: u64) -> Release {
    let tensor = |name: &str, extent| TensorContract {
        name: String::from(name),
        dtype: DType::F32,
        shape: vec![Dim::Batch, Dim::Fixed(extent)],
        range: Some([0.0, 1.0]),
        finite: true,
    };
    let attachment = |kind, content: &str| Attachment { kind, blob: blob(content) };
    Release {
        schema: 1,
        fleet: "f".parse().unwrap(),
        release_epoch: 1,
        model: model.parse().unwrap(),
        counter,
        version: format!("1.0.{counter}"),
        issued_unix_s: TODAY,
        artifact: blob(&format!("module {model} {counter}")),
        card_digest: Digest::of(b"card"),
        compat: Compat { abi: 1, min_runtime: "0.1.0".parse().unwrap(), simd: Simd::Deterministic },
        limits: Limits {
            memory_bytes: 1 << 20,
            table_elements: 0,
            stack_bytes: 65_536,
            deadline_us: 1000,
            log_lines_per_s: 10,
            metrics_per_s: 10,
        },
        imports: vec![Import::Log],
        contract: Contract { inputs: vec![tensor("x", 3)], outputs: vec![tensor("y", 2)] },
        attachments: vec![
            attachment(AttachmentKind::Golden, "golden"),
            attachment(AttachmentKind::Baseline, "baseline"),
            attachment(AttachmentKind::ModelCard, "words"),
            attachment(
                AttachmentKind::Precompiled {
                    target: String::from("aarch64-unknown-linux-gnu"),
                    wasmtime: String::from("48.0.8"),
                },
                "native",
            ),
        ],
        probation: Probation { min_inferences: 10, duration_s: 600, max_failures: 3 },
        lineage: Lineage { commit: Some(String::from("abc")), ..Lineage::default() },
    }
}

pub(crate) fn channel() -> Audience {
    Audience::Channel("stable".parse().unwrap())
}

pub(crate) fn device() -> Audience {
    Audience::Device("d".parse().unwrap())
}

pub(crate) fn entry(stable: &Release) -> ModelEntry {
    ModelEntry {
        model: stable.model.clone(),
        want: Want::Release { stable: digest_of(stable), candidate: None },
        retry: false,
    }
}

pub(crate) fn removal(model: &str) -> ModelEntry {
    ModelEntry { model: model.parse().unwrap(), want: Want::Remove, retry: false }
}

pub(crate) fn candidate(release: &Release, cohort_permille: u16) -> Candidate {
    Candidate {
        release: digest_of(release),
        seed: 1,
        cohort_permille,
        gates: crate::document::Gates::default(),
    }
}

pub(crate) fn floor(model: &str, counter: u64) -> Floor {
    Floor { model: model.parse().unwrap(), counter }
}

pub(crate) fn minimum(model: &str, counter: u64) -> MinimumCounter {
    MinimumCounter { model: model.parse().unwrap(), counter }
}

pub(crate) fn deployment(audience: Audience, sequence: u64, models: Vec<ModelEntry>) -> Deployment {
    Deployment {
        schema: 1,
        fleet: "f".parse().unwrap(),
        audience,
        deploy_epoch: 1,
        sequence,
        min_root_version: 1,
        issued_unix_s: TODAY,
        not_after_unix_s: TODAY + YEAR,
        models,
        floors: Vec::new(),
        channel: None,
        nonce_echo: None,
        report_interval_s: 60,
        pull_spread_s: 0,
    }
}

/// The device list of two devices.
pub(crate) fn device_list() -> DeviceList {
    let device = |id: &str, key: Key, revoked| DeviceEntry {
        id: id.parse().unwrap(),
        public: key.secret().public(),
        channel: "stable".parse().unwrap(),
        revoked,
    };
    DeviceList {
        schema: 1,
        fleet: "f".parse().unwrap(),
        deploy_epoch: 1,
        sequence: 7,
        issued_unix_s: TODAY,
        devices: vec![device("d", Key::Stranger, false), device("e", Key::Root2, true)],
    }
}
