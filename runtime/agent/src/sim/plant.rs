//! The operator's side of a simulation: keys, signed documents, models, and a broker that retains.

use std::collections::BTreeMap;

use dunlin_abi::{Card, DType, Dim, Simd, State, TensorSpec};
use dunlin_core::document::{
    Attachment, AttachmentKind, Audience, Compat, Contract, Deployment, Document, Floor, Limits, Lineage,
    ModelEntry, Probation, Release, Role, Roles, Root, RootKey, SCHEMA, Want, to_body,
};
use dunlin_core::enrolment::Enrolment;
use dunlin_core::envelope::seal;
use dunlin_core::id::{DeviceId, FleetId, KeyName};
use dunlin_core::key::SecretKey;
use dunlin_core::{Digest, chunk, topic};

use super::Luck;

/// The day on which simulations begin.
pub(super) const TODAY: u64 = 1_800_000_000;
const YEAR: u64 = 365 * 86_400;

/// How long chunks are: a few sectors, so that there is something to tear.
const CHUNK_BYTES: usize = 700;

pub(super) fn fleet() -> FleetId {
    "sim".parse().unwrap()
}

pub(super) fn channel() -> Audience {
    Audience::Channel("stable".parse().unwrap())
}

/// What a model does on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Behaviour {
    Good,
    /// Its golden answers are wrong.
    WrongAnswers,
    /// It passes them, and fails when it serves.
    FailsInTrial,
}

/// A model that was released.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) release: Release,
    pub(super) digest: Digest,
    pub(super) behaviour: Behaviour,
    /// The module and its golden vectors.
    blobs: [Vec<u8>; 2],
    list: Option<Vec<u8>>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Broker {
    pub(super) retained: BTreeMap<String, Vec<u8>>,
}

/// The operator.
#[derive(Clone, Debug)]
pub(super) struct Plant {
    pub(super) broker: Broker,
    pub(super) models: Vec<Model>,
    root_version: u64,
    epoch: u64,
    sequence: u64,
    /// Of the deploy key; it grows with each rotation.
    deploy_key: u8,
    now_unix_s: u64,
}

const ROOT_KEY: u8 = 1;
const RELEASE_KEY: u8 = 2;
const FIRST_DEPLOY_KEY: u8 = 10;

fn secret(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn name(seed: u8) -> KeyName {
    format!("key-{seed}").parse().unwrap()
}

fn signed<T: Document>(document: &T, key: u8) -> (Digest, Vec<u8>) {
    let (body, digest) = to_body(document).unwrap();
    (digest, seal::<T>(&body, &[(&name(key), &secret(key))]))
}

impl Plant {
    pub(super) fn new() -> Plant {
        let mut plant = Plant {
            broker: Broker::default(),
            models: Vec::new(),
            root_version: 0,
            epoch: 1,
            sequence: 0,
            deploy_key: FIRST_DEPLOY_KEY,
            now_unix_s: TODAY,
        };
        plant.publish_root();
        plant
    }

    pub(super) fn at(&mut self, now_unix_s: u64) -> &mut Plant {
        self.now_unix_s = now_unix_s;
        self
    }

    fn publish_root(&mut self) {
        self.root_version += 1;
        let role = |seed: u8| Role { keys: vec![name(seed)], threshold: 1 };
        let key = |seed: u8| RootKey { name: name(seed), public: secret(seed).public() };
        let root = Root {
            schema: SCHEMA,
            fleet: fleet(),
            version: self.root_version,
            issued_unix_s: self.now_unix_s,
            not_after_unix_s: self.now_unix_s + 5 * YEAR,
            keys: [ROOT_KEY, RELEASE_KEY, self.deploy_key].map(key).to_vec(),
            roles: Roles {
                root: role(ROOT_KEY),
                release: role(RELEASE_KEY),
                deploy: role(self.deploy_key),
                precompiled: None,
            },
            release_epoch: 1,
            deploy_epoch: self.epoch,
            revoked_releases: vec![],
            revoked_devices: vec![],
            minimum_counters: vec![],
        };
        let (_, envelope) = signed(&root, ROOT_KEY);
        self.broker.retained.insert(topic::root(&fleet(), self.root_version), envelope);
    }

    pub(super) fn root_version(&self) -> u64 {
        self.root_version
    }

    /// The root that devices are enrolled with.
    pub(super) fn first_root(&self) -> Vec<u8> {
        self.broker.retained[&topic::root(&fleet(), 1)].clone()
    }

    /// The deploy key is rotated, in a new epoch.
    pub(super) fn rotate(&mut self) {
        self.deploy_key += 1;
        self.epoch += 1;
        self.sequence = 0;
        self.publish_root();
    }

    /// Releases a model of so many bytes, which shares all but its second chunk with others of its `family`,
    /// and publishes it.
    pub(super) fn release(&mut self, family: u64, bytes: usize, behaviour: Behaviour) -> Digest {
        let counter = self.models.len() as u64 + 1;
        let mut module = noise(family, bytes);
        module
            .iter_mut()
            .skip(CHUNK_BYTES)
            .take(8)
            .zip(counter.to_le_bytes())
            .for_each(|(at, byte)| *at = byte);
        let golden = noise(1000 + counter, 700);
        let (artifact, list) = chunk::describe(&module, &[], CHUNK_BYTES).unwrap();
        let (golden_blob, _) = chunk::describe(&golden, &[], CHUNK_BYTES).unwrap();
        let card = card();
        let release = Release {
            schema: SCHEMA,
            fleet: fleet(),
            release_epoch: 1,
            model: "m".parse().unwrap(),
            counter,
            version: format!("1.0.{counter}"),
            issued_unix_s: self.now_unix_s,
            artifact,
            card_digest: Digest::of(&card.to_bytes().unwrap()),
            compat: Compat { abi: 1, min_runtime: "0.1.0".parse().unwrap(), simd: Simd::None },
            limits: Limits {
                memory_bytes: 1 << 20,
                table_elements: 16,
                stack_bytes: 64 * 1024,
                deadline_us: 200_000,
                log_lines_per_s: 10,
                metrics_per_s: 10,
            },
            imports: Vec::new(),
            contract: Contract::of_card(&card),
            attachments: vec![Attachment { kind: AttachmentKind::Golden, blob: golden_blob }],
            probation: Probation { min_inferences: 10, duration_s: 3600, max_failures: 3 },
            lineage: Lineage::default(),
        };
        let (digest, envelope) = signed(&release, RELEASE_KEY);
        self.models.push(Model { release, digest, behaviour, blobs: [module, golden], list });
        self.broker.retained.insert(topic::release(&fleet(), &digest), envelope);
        self.repair();
        digest
    }

    /// Publishes every chunk again.
    pub(super) fn repair(&mut self) {
        for model in &self.models {
            let pieces = model.blobs.iter().flat_map(|blob| blob.chunks(CHUNK_BYTES)).map(<[u8]>::to_vec);
            for payload in pieces.chain(model.list.clone()) {
                let digest = Digest::of(&payload);
                self.broker.retained.insert(topic::chunk(&fleet(), &digest), payload);
            }
        }
    }

    /// Deploys a release to the channel, with a floor of its counter or without.
    pub(super) fn deploy(&mut self, release: Digest, floor: bool) {
        self.publish_deployment(release, floor, false);
    }

    /// Deploys a release that may have failed on a device before.
    pub(super) fn deploy_again(&mut self, release: Digest) {
        self.publish_deployment(release, false, true);
    }

    fn publish_deployment(&mut self, release: Digest, floor: bool, retry: bool) {
        self.sequence += 1;
        let model = self.model(&release).release.clone();
        let deployment = Deployment {
            schema: SCHEMA,
            fleet: fleet(),
            audience: channel(),
            deploy_epoch: self.epoch,
            sequence: self.sequence,
            min_root_version: self.root_version,
            issued_unix_s: self.now_unix_s,
            not_after_unix_s: self.now_unix_s + YEAR,
            models: vec![ModelEntry {
                model: model.model.clone(),
                want: Want::Release { stable: release, candidate: None },
                retry,
            }],
            floors: floor
                .then(|| Floor { model: model.model.clone(), counter: model.counter })
                .into_iter()
                .collect(),
            channel: None,
            nonce_echo: None,
            report_interval_s: 900,
            pull_spread_s: 0,
        };
        let (_, envelope) = signed(&deployment, self.deploy_key);
        self.broker.retained.insert(topic::deployment(&fleet(), &channel()), envelope);
    }

    pub(super) fn model(&self, digest: &Digest) -> &Model {
        self.models.iter().find(|model| model.digest == *digest).unwrap()
    }

    /// The broker loses some chunks, or holds them with a flipped bit.
    pub(super) fn harm_chunks(&mut self, luck: &mut Luck) {
        for (topic, payload) in &mut self.broker.retained {
            if topic.contains("/chunk/") && luck.once_in(3) {
                if luck.once_in(2) {
                    payload.clear();
                } else {
                    let at = luck.below(payload.len().max(1) as u64) as usize;
                    payload.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1);
                }
            }
        }
        // An empty retained message is none.
        self.broker.retained.retain(|_, payload| !payload.is_empty());
    }
}

pub(super) fn enrolment(device: &DeviceId) -> Enrolment {
    Enrolment {
        schema: SCHEMA,
        fleet: fleet(),
        device: device.clone(),
        public: secret(99).public(),
        channel: "stable".parse().unwrap(),
        deploy_epoch: 1,
        sequences: vec![],
        floors: vec![],
        time_low_unix_s: TODAY,
    }
}

fn card() -> Card {
    let tensor = |name| TensorSpec::new(name, DType::F32, [Dim::Batch, Dim::Fixed(2)]);
    Card {
        abi: dunlin_abi::ABI_VERSION,
        inputs: vec![tensor("x")],
        outputs: vec![tensor("y")],
        max_batch: 1,
        state: State::None,
        simd: Simd::None,
        stack_bytes: 0,
        arena_bytes: 0,
        producer: "sim".into(),
        source_sha256: None,
    }
}

/// Bytes of a seed, of which no two chunks are equal.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut luck = Luck(seed);
    std::iter::from_fn(|| Some(luck.next().to_le_bytes())).flatten().take(length).collect()
}
