//! Acts 1 and 2: the fleet, its devices, and a signed release.

use dunlin_compiler::Options;
use dunlin_core::document::Lineage;
use dunlin_fleet::Fleet;
use dunlin_fleet::enroll::EnrollRequest;
use dunlin_fleet::release::{ReleaseRequest, Released};
use dunlin_fleet::tensor::{self, Tensor};

use super::stage::{MODEL, Stage, failed, setup_fleet_name};
use super::{Seen, images};
use crate::failure::{Failure, Outcome};
use crate::show;

/// The channel that both devices are in.
pub(super) const CHANNEL: &str = "stable";

pub(super) fn fleet(stage: &mut Stage) -> Seen {
    let fleet = Fleet::init(&stage.path("fleet"), setup_fleet_name()?, None, show::now_unix_s())?;
    let url = stage.url.clone();
    for device in &mut stage.devices {
        fleet.enroll(&EnrollRequest {
            device: device.id.parse().map_err(name)?,
            channel: CHANNEL.parse().map_err(name)?,
            broker: url.clone(),
            authority: None,
            client_certificate: false,
            listen: device.api,
            out: device.bundle.clone(),
            public: None,
            first_connect_jitter_s: 0,
            now_unix_s: show::now_unix_s(),
        })?;
        device.start()?;
    }
    let connected = stage.devices.len();
    Ok(format!(
        "root {}…, {connected} agents started as processes of their own",
        fleet.root().digest().short()
    ))
}

pub(super) fn release(stage: &mut Stage) -> Seen {
    let Released { release, baseline_rows, golden_vectors, .. } = sign(stage, "1.0.0", 1)?;
    Ok(format!(
        "{} of ONNX -> {} of WebAssembly; {golden_vectors} golden vectors, {baseline_rows} rows as counts",
        show::bytes(images::ONNX.len() as u64),
        show::bytes(release.artifact.size_bytes),
    ))
}

/// Compiles the digits and signs them as a version. Another batch makes another module.
pub(super) fn sign(stage: &Stage, version: &str, batch: u32) -> Outcome<Released> {
    let options = Options { max_batch: batch, ..Options::default() };
    let compiled = dunlin_compiler::compile(images::ONNX, &options)?;
    Ok(stage.fleet()?.release(ReleaseRequest {
        module: compiled.wasm,
        model: MODEL.parse().map_err(name)?,
        version: version.to_string(),
        baseline: Some(Tensor::read(&stage.path("baseline.npy"))?),
        golden: Some(tensor::read_npz(&stage.path("golden.npz"))?),
        deadline_us: None,
        lineage: Lineage {
            training_run: Some("examples/digits/train.py".to_string()),
            licence: Some("CC-BY-4.0".to_string()),
            ..Lineage::default()
        },
        provenance: None,
        precompiled: Vec::new(),
        now_unix_s: show::now_unix_s(),
    })?)
}

/// A name that the demo itself wrote.
pub(super) fn name(error: dunlin_core::id::IdError) -> Failure {
    failed(error.to_string())
}
