//! A front end and a network: one module gives the answers of librosa and onnxruntime, and so do two.

use std::collections::BTreeMap;

use crate::guest;
use crate::world::{World, eventually, ok, repository};

fn file(name: &str) -> String {
    repository().join("examples/keyword").join(name).display().to_string()
}

#[test]
fn keyword_answers_as_its_reference_does_and_cannot_panic() {
    let Some(module) = guest::build("keyword") else { return };
    guest::cannot_panic(&module);
    guest::gives_its_reference("keyword", &module, 1e-5);
}

#[test]
fn the_front_end_before_the_compiled_network_answers_likewise() {
    let folder = tempfile::tempdir().unwrap();
    let network = folder.path().join("network.wasm").display().to_string();
    ok(&["compile", &file("network.onnx"), "-o", &network]);
    let reference = guest::arrays("keyword", "reference.npz");
    let audio = BTreeMap::from([("audio".to_string(), reference["input/audio"].clone())]);
    let Some(front_end) = guest::build_package("keyword", "front-end") else { return };
    let coefficients = guest::run(&front_end, &audio, [&"coefficients".to_string()]);
    let probabilities = guest::run(&network, &coefficients, [&"probabilities".to_string()]);
    let wanted = &reference["output/probabilities"];
    guest::are_close("probabilities", &probabilities["probabilities"], wanted, 1e-5);
}

#[test]
fn keyword_is_signed_with_its_golden_answers_and_serves() {
    let Some(module) = guest::build("keyword") else { return };
    let world = World::new();
    let device = world.enroll("alpha");
    let _agent = device.start();
    let release = ["release", &module, "--fleet", &world.fleet(), "--name", "keyword", "--version", "1.0.0"];
    ok(&[&release[..], &["--golden", &file("golden.npz")]].concat());
    world.publish("keyword@1.0.0");
    world.deploy("keyword@1.0.0", "stable");
    eventually("the guest serves", || (device.get("/v2/models/keyword/ready")?.0 == 200).then_some(()));
}
