//! A guest made of blocks, with a memory: its answers are those of numpy and scikit-learn, here and on a device.

use serde_json::{Value, json};

use crate::guest;
use crate::world::{World, eventually, ok, repository};

#[test]
fn vibration_answers_as_its_reference_does_and_cannot_panic() {
    let Some(module) = guest::build("vibration") else { return };
    guest::cannot_panic(&module);
    guest::gives_its_reference("vibration", &module, 1e-4);
}

#[test]
fn a_stream_of_vibrations_is_judged_on_a_device() {
    let Some(module) = guest::build("vibration") else { return };
    let golden = repository().join("examples/vibration/golden.npz").display().to_string();
    let world = World::new();
    let device = world.enroll("alpha");
    let _agent = device.start();
    let release =
        ["release", &module, "--fleet", &world.fleet(), "--name", "vibration", "--version", "1.0.0"];
    ok(&[&release[..], &["--golden", &golden]].concat());
    world.publish("vibration@1.0.0");
    world.deploy("vibration@1.0.0", "stable");
    eventually("the guest serves", || (device.get("/v2/models/vibration/ready")?.0 == 200).then_some(()));

    let reference = guest::arrays("vibration", "reference.npz");
    let rows = reference["input/acceleration"].to_f64();
    let mut states = Vec::new();
    for (row, samples) in rows.chunks_exact(512).enumerate() {
        let body = json!({
            "parameters": { "sequence_id": 1, "sequence_start": row == 0 },
            "inputs": [{ "name": "acceleration", "datatype": "FP32", "shape": [1, 512], "data": samples }],
        });
        let (status, answer) = device.post("/v2/models/vibration/infer", &body).unwrap();
        assert_eq!(status, 200, "{answer}");
        states.push(value(&answer, "state"));
    }
    assert_eq!(states, reference["output/state"].to_f64());
}

fn value(answer: &Value, name: &str) -> f64 {
    let outputs = answer["outputs"].as_array().unwrap();
    outputs.iter().find(|output| output["name"] == name).unwrap()["data"][0].as_f64().unwrap()
}
