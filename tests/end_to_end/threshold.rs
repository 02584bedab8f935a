//! A hand-written guest travels the same way as a compiled model.

use crate::guest;
use crate::world::{World, eventually, ok};

#[test]
fn a_hand_written_guest_is_signed_delivered_and_served() {
    let Some(module) = guest::build("threshold") else { return };
    let world = World::new();
    let device = world.enroll("alpha");
    let _agent = device.start();
    ok(&["release", &module, "--fleet", &world.fleet(), "--name", "threshold", "--version", "1.0.0"]);
    world.publish("threshold@1.0.0");
    world.deploy("threshold@1.0.0", "stable");
    eventually("the guest serves", || (device.get("/v2/models/threshold/ready")?.0 == 200).then_some(()));
    // A square wave of amplitude 2: rms 2, peak 2, crest factor 1, no alarm.
    let wave: Vec<f32> = (0..64).map(|i| if i % 2 == 0 { 2.0 } else { -2.0 }).collect();
    let body = serde_json::json!({ "inputs": [
        { "name": "acceleration", "datatype": "FP32", "shape": [1, 64], "data": wave },
    ] });
    let (status, answer) = device.post("/v2/models/threshold/infer", &body).unwrap();
    assert_eq!(status, 200, "{answer}");
    let value = |name: &str| {
        let outputs = answer["outputs"].as_array().unwrap();
        outputs.iter().find(|output| output["name"] == name).unwrap()["data"][0].as_f64().unwrap()
    };
    assert_eq!((value("rms"), value("peak"), value("crest"), value("alarm")), (2.0, 2.0, 1.0, 0.0));
}
