//! For tests: a fleet in a temporary folder, and models written as text.

use std::collections::BTreeMap;
use std::path::PathBuf;

use dunlin_core::document::{Audience, Lineage};

use crate::Fleet;
use crate::enroll::EnrollRequest;
use crate::release::{ReleaseRequest, Released};
use crate::tensor::Tensor;

/// The day on which everything happens, in seconds since 1970.
pub(crate) const TODAY: u64 = 1_800_000_000;

/// One input `x` and one output `y` of `[n, 2]`, at most 3 samples a call.
pub(crate) const CARD: &str = r#"{"abi": 1, "max_batch": 3, "producer": "test 1",
    "inputs": [{"name": "x", "dtype": "f32", "shape": ["n", 2]}],
    "outputs": [{"name": "y", "dtype": "f32", "shape": ["n", 2]}]}"#;

/// The body of `dunlin_infer` that computes `y = x + 1` for `[n, 2]`.
pub(crate) const ADD_ONE: &str = "
    (local $i i32)
    (loop $next
        (f32.store offset=2048 (local.get $i) (f32.add (f32.load offset=1024 (local.get $i)) (f32.const 1)))
        (local.set $i (i32.add (local.get $i) (i32.const 4)))
        (br_if $next (i32.lt_u (local.get $i) (i32.mul (local.get $n) (i32.const 8)))))
    (i32.const 0)";

/// A module: inputs from address 1024 on, outputs from 2048 on, 64 bytes each.
pub(crate) fn module(card: &str, infer: &str, extra: &str) -> Vec<u8> {
    let card = card.replace('"', "\\\"").replace('\n', " ");
    let place = |from: u32| {
        format!(
            "(param $i i32) (result i32) (i32.add (i32.const {from}) (i32.mul (local.get $i) (i32.const 64)))"
        )
    };
    let text = format!(
        r#"(module (@custom "dunlin.card" (before first) "{card}") (memory (export "memory") 4)
        (func (export "dunlin_input") {input})
        (func (export "dunlin_output") {output})
        (func (export "dunlin_infer") (param $n i32) (result i32) {infer})
        {extra})"#,
        input = place(1024),
        output = place(2048),
    );
    wat::parse_str(text).unwrap()
}

/// `y = x + 1`.
pub(crate) fn adder() -> Vec<u8> {
    module(CARD, ADD_ONE, "")
}

/// A fleet whose folder goes with it.
pub(crate) struct Plant {
    pub(crate) fleet: Fleet,
    folder: tempfile::TempDir,
}

impl Plant {
    pub(crate) fn new() -> Plant {
        let folder = tempfile::tempdir().unwrap();
        let fleet = Fleet::init(&folder.path().join("plant"), "plant".parse().unwrap(), None, TODAY).unwrap();
        Plant { fleet, folder }
    }

    /// A path in the fleet's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.fleet.folder().join(name)
    }

    /// A path beside the fleet's folder.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The folder, opened anew.
    pub(crate) fn opened(&self) -> Fleet {
        Fleet::open(self.fleet.folder()).unwrap()
    }

    /// Enrols a device in the channel `stable`; its bundle is beside the folder.
    pub(crate) fn enroll(&self, device: &str) {
        let request = EnrollRequest {
            device: device.parse().unwrap(),
            channel: "stable".parse().unwrap(),
            broker: "mqtt://broker".parse().unwrap(),
            authority: None,
            client_certificate: false,
            listen: "127.0.0.1:1".parse().unwrap(),
            out: self.beside(device),
            public: None,
            first_connect_jitter_s: 0,
            now_unix_s: TODAY,
        };
        self.fleet.enroll(&request).unwrap();
    }

    /// A release of `y = x + 1`.
    pub(crate) fn release(&self, model: &str, version: &str) -> Released {
        self.fleet.release(request(model, version, adder())).unwrap()
    }

    /// Signs and keeps the next root, changed by `change`.
    pub(crate) fn step_root(&mut self, change: impl FnOnce(&mut dunlin_core::document::Root)) {
        let mut root = self.fleet.root().root().clone();
        root.version += 1;
        change(&mut root);
        let signed = self.fleet.sign(&root).unwrap();
        std::fs::write(self.path(&format!("root/{}.json", root.version)), signed.envelope()).unwrap();
        self.fleet = self.opened();
    }

    /// Every file below the fleet's folder with its content.
    pub(crate) fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        files(self.fleet.folder())
    }
}

/// Every file below a folder with its content.
pub(crate) fn files(folder: &std::path::Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => drop(found.insert(path.clone(), std::fs::read(&path).unwrap())),
        }
    }
    found
}

/// What is asked for a release of a module, with neither baseline nor golden vectors.
pub(crate) fn request(model: &str, version: &str, module: Vec<u8>) -> ReleaseRequest {
    ReleaseRequest {
        module,
        model: model.parse().unwrap(),
        version: version.to_string(),
        baseline: None,
        golden: None,
        deadline_us: None,
        lineage: Lineage::default(),
        provenance: None,
        precompiled: Vec::new(),
        now_unix_s: TODAY,
    }
}

/// Arrays by name.
pub(crate) fn arrays(given: &[(&str, Tensor)]) -> BTreeMap<String, Tensor> {
    given.iter().map(|(name, tensor)| (name.to_string(), tensor.clone())).collect()
}

/// The channel that tests deploy to.
pub(crate) fn stable() -> Audience {
    Audience::Channel("stable".parse().unwrap())
}
