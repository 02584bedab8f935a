//! The broker as the registry: what is there is not sent again, what is lost is repaired, what nobody needs
//! is deleted; and the doctor, who looks at brokers.

use std::time::Duration;

use dunlin_mqtt::{LinkConfig, Message, connect_once};
use serde_json::Value;

use crate::onnx::{self, Axis};
use crate::world::{World, eventually, ok, refused, test_images};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// Publishes on the broker whatever a test likes.
pub fn put(url: &str, messages: Vec<(String, Vec<u8>)>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let config = LinkConfig::new(url.parse().unwrap(), "hand");
        let (link, _events) = connect_once(config, Duration::from_secs(5)).await.unwrap();
        for (topic, payload) in messages {
            link.publish(Message { topic, payload: payload.into(), retain: true }).await.unwrap();
        }
        link.close().await;
    });
}

/// The chunk topics of a release of the digits; a batch of 16 fits an inline list.
pub fn chunk_topics(world: &World, counter: u64) -> Vec<String> {
    let envelope = std::fs::read(world.path(&format!("fleet/releases/digits/{counter}.json"))).unwrap();
    let envelope = dunlin_core::envelope::Envelope::parse(&envelope).unwrap();
    let document = json(std::str::from_utf8(envelope.body()).unwrap());
    let chunks = document["artifact"]["chunks"]["inline"].as_array();
    let digests = chunks.unwrap_or_else(|| panic!("{document}")).iter().map(|chunk| chunk["digest"].as_str());
    digests.map(|digest| format!("dunlin/v1/test/chunk/{}", digest.unwrap())).collect()
}

#[test]
fn what_is_there_is_not_sent_again_and_what_is_lost_is_repaired() {
    let world = World::new();
    let device = world.enroll("alpha");
    world.release_digits("1.0.0", 16);
    let fleet = world.fleet();
    let publish = |more: &[&str]| {
        let fixed = ["--fleet", &fleet, "--broker", &world.url, "--json"];
        json(&ok(&[&["publish"], more, &fixed].concat()))
    };
    let planned = publish(&["digits@1.0.0", "--dry-run"]);
    assert_eq!(planned["present"], 0);
    let first = publish(&["digits@1.0.0"]);
    assert_eq!((&first["sent"], &first["present"]), (&planned["sent"], &0.into()));
    let second = publish(&["digits@1.0.0"]);
    assert_eq!((&second["sent"], &second["present"]), (&0.into(), &first["sent"]));
    // Nothing is deployed yet: of this release nothing needs repair.
    assert_eq!(publish(&["--repair"])["sent"], 0);
    world.deploy("digits@1.0.0", "stable");
    let topics = chunk_topics(&world, 1);
    let root = String::from("dunlin/v1/test/root/1");
    put(&world.url, vec![(topics[0].clone(), vec![]), (root, b"{}".to_vec())]);
    assert_eq!(publish(&["--repair", "--dry-run"])["sent"], 2);
    assert_eq!(publish(&["--repair"])["sent"], 2);
    assert_eq!(publish(&["--repair"])["sent"], 0);
    let _agent = device.start();
    device.serves("1.0.0");
}

#[test]
fn unneeded_releases_go_and_come_back() {
    let world = World::new();
    let fleet = world.fleet();
    let device = world.enroll("alpha");
    for (minor, batch) in [(0, 16), (1, 15), (2, 14), (3, 13), (4, 12)] {
        world.release_digits(&format!("1.{minor}.0"), batch);
        world.publish(&format!("digits@1.{minor}.0"));
    }
    world.deploy("digits@1.0.0", "stable");
    let gc = |more: &[&str]| {
        json(&ok(&[&["gc", "--fleet", &fleet, "--broker", &world.url, "--json"], more].concat()))
    };
    // The one that is deployed and the newest three stay; one release goes, with what is its own alone.
    let found = gc(&[]);
    let topics: Vec<&str> =
        found["unreferenced"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
    let releases = topics.iter().filter(|topic| topic.contains("/release/")).count();
    assert!(releases == 1 && topics.len() > 1, "{found}");
    assert_eq!(found["devices_without_report"], serde_json::json!(["alpha"]));
    assert_eq!(gc(&[])["unreferenced"], found["unreferenced"], "a dry run changes nothing");
    let text = ok(&["gc", "--fleet", &fleet, "--broker", &world.url]);
    assert!(text.contains("1 releases and") && text.contains("--delete"), "{text}");
    assert!(text.contains("stays: deployed to channel stable") && text.contains("not needed"), "{text}");
    assert_eq!(gc(&["--delete"])["unreferenced"], found["unreferenced"]);
    assert_eq!(gc(&[])["unreferenced"], serde_json::json!([]));
    let _agent = device.start();
    device.serves("1.0.0");
    refused(
        &["deploy", "digits@1.1.0", "--to", "stable", "--fleet", &fleet, "--broker", &world.url],
        3,
        "release-unpublished",
    );
    world.publish("digits@1.1.0");
    world.deploy("digits@1.1.0", "stable");
    device.serves("1.1.0");
}

#[test]
fn releases_that_devices_hold_stay() {
    let world = World::new();
    let fleet = world.fleet();
    let device = world.enroll("alpha");
    let _agent = device.start();
    let events = world.tail("event");
    for (minor, batch) in [(0, 16), (1, 15), (2, 14), (3, 13), (4, 12)] {
        world.release_digits(&format!("1.{minor}.0"), batch);
        world.publish(&format!("digits@1.{minor}.0"));
    }
    world.deploy("digits@1.0.0", "stable");
    device.serves("1.0.0");
    device.classify(&test_images().0);
    events.until("the first is proven", |record| record["event"] == "proven");
    world.deploy("digits@1.4.0", "stable");
    device.serves("1.4.0");
    let reasons = |version: &str| {
        let found = json(&ok(&["gc", "--fleet", &fleet, "--broker", &world.url, "--json"]));
        assert_eq!(found["devices_without_report"], serde_json::json!([]));
        let rows = found["releases"].as_array().unwrap().clone();
        rows.into_iter().find(|row| row["version"] == version).unwrap()["kept"].clone()
    };
    let (way_back, held) =
        (serde_json::json!({ "way-back": { "channel": "stable" } }), serde_json::json!({ "held": "alpha" }));
    assert_eq!(reasons("1.0.0"), serde_json::json!([way_back, held]));
    assert_eq!(reasons("1.1.0"), serde_json::json!([]));
    // What the device says is enough.
    std::fs::remove_dir_all(world.path("fleet/history")).unwrap();
    assert_eq!(reasons("1.0.0"), serde_json::json!([held]));
}

/// `y = relu(relu(x A) B)`; B begins with a number.
fn two_layers(first_of_b: f32) -> Vec<u8> {
    let size = 512u64;
    let noise = |seed: u64| onnx::noise(seed, 512 * 512);
    let mut b = noise(2);
    b[0] = first_of_b;
    onnx::model(&[
        onnx::node("MatMul", &["x", "a"], "h"),
        onnx::node("Relu", &["h"], "r"),
        onnx::node("MatMul", &["r", "b"], "s"),
        onnx::node("Relu", &["s"], "y"),
        onnx::initializer("a", &[size, size], &noise(1)),
        onnx::initializer("b", &[size, size], &b),
        onnx::input("x", &[Axis::Fixed(1), Axis::Fixed(size)]),
        onnx::output("y", &[Axis::Fixed(1), Axis::Fixed(size)]),
    ])
}

/// Two layers of 1 MiB, in 32 chunks each; one weight of the second changes, and then the code alone.
#[test]
fn a_changed_layer_or_new_code_is_all_that_is_sent_and_fetched() {
    let world = World::new();
    let device = world.enroll("alpha");
    let _agent = device.start();
    let fleet = world.fleet();
    let mut sent = Vec::new();
    let (onnx, wasm, old) = (world.path("two.onnx"), world.path("two.wasm"), world.path("old.wasm"));
    let other_code = ["--simd", "deterministic", "--like", &old];
    for (version, first, options) in
        [("1.0.0", 0.25, &[][..]), ("1.1.0", 0.5, &[]), ("1.2.0", 0.5, &other_code)]
    {
        std::fs::write(&onnx, two_layers(first)).unwrap();
        ok(&[&["compile", &onnx, "-o", &wasm], options].concat());
        std::fs::copy(&wasm, &old).unwrap();
        ok(&["release", &wasm, "--fleet", &fleet, "--name", "two", "--version", version]);
        let release = format!("two@{version}");
        let told = json(&ok(&["publish", &release, "--fleet", &fleet, "--broker", &world.url, "--json"]));
        sent.push((told["sent"].as_u64().unwrap(), told["sent_bytes"].as_u64().unwrap()));
        world.deploy(&release, "stable");
        eventually("it serves", || {
            let (status, body) = device.get("/v2/models/two")?;
            (status == 200 && body["versions"][0] == version).then_some(())
        });
    }
    println!("messages and bytes sent: {sent:?}");
    // A weight lies in one chunk; code, card and release are new at most.
    assert!(sent[0].1 > 2 << 20 && sent[1].0 <= 4 && sent[2].0 <= 4, "{sent:?}");
    let log = device.log();
    let fetched = log
        .lines()
        .filter_map(|line| line.split(": fetched ").nth(1)?.split(' ').next()?.parse::<u64>().ok());
    let fetched: Vec<u64> = fetched.collect();
    println!("chunks fetched: {fetched:?}");
    assert!(fetched.len() == 3 && fetched[1..].iter().all(|chunks| *chunks <= 3), "{fetched:?}");
}

#[test]
fn the_doctor_finds_the_embedded_broker_well_and_says_what_is_missing() {
    let world = World::new();
    let told = ok(&["doctor", "--broker", &world.url]);
    assert!(told.contains("ok    retained messages") && told.contains("this broker does all"), "{told}");
    let told = json(&ok(&["doctor", "--broker", &world.url, "--json"]));
    assert_eq!(told["verdict"], "good", "{told}");
    // It leaves nothing behind.
    let device = world.enroll("alpha");
    let checked = ["doctor", "--broker", &world.url, "--name", "test", "--device", &device.config()];
    // A broker without rules lets a device do everything.
    let message = refused(&checked, 1, "broker-unfit");
    assert!(message.contains("3 probes of the broker failed"), "{message}");
    let left = ok(&["gc", "--fleet", &world.fleet(), "--broker", &world.url, "--json"]);
    assert_eq!(json(&left)["unreferenced"], serde_json::json!([]), "{left}");
    refused(&["doctor", "--broker", "mqtt://127.0.0.1:9"], 4, "broker-unreachable");
}
