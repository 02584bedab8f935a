//! The main job: a model goes from a laptop to devices, serves, is replaced, and survives what
//! happens to a device.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::world::{World, classes, eventually, ok, test_images};

#[test]
fn a_model_reaches_devices_and_classifies() {
    let world = World::new();
    let devices = [world.enroll("alpha"), world.enroll("beta")];
    let _agents = devices.each_ref().map(|device| device.start());
    let events = world.tail("event");
    world.release_digits("1.0.0", 16);
    world.publish("digits@1.0.0");
    // Publishing is idempotent.
    world.publish("digits@1.0.0");
    world.deploy("digits@1.0.0", "stable");
    let (images, labels) = test_images();
    for device in &devices {
        device.serves("1.0.0");
        assert_eq!(device.get("/v2/health/live").unwrap().0, 200);
        assert_eq!(device.get("/v2/health/ready").unwrap().0, 200);
        let found = classes(&device.classify(&images));
        let right = found.iter().zip(&labels).filter(|(a, b)| a == b).count();
        assert!(right * 100 >= labels.len() * 95, "{right} of {} are right", labels.len());
    }
    events
        .until("both devices switched", |record| record["event"] == "switched" && record["device"] == "beta");

    let listed: serde_json::Value =
        serde_json::from_str(&ok(&["devices", "--fleet", &world.fleet(), "--broker", &world.url, "--json"]))
            .unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    for row in listed.as_array().unwrap() {
        assert_eq!(row["presence"]["state"], "online", "{row}");
    }
}

#[test]
fn health_and_drift_are_reported() {
    let world = World::new();
    let device = world.enroll("alpha");
    let mut agent = device.start();
    world.release_digits("1.0.0", 16);
    world.publish("digits@1.0.0");
    world.deploy("digits@1.0.0", "stable");
    device.serves("1.0.0");
    let (health, drift) = (world.tail("health"), world.tail("drift"));
    let (images, _) = test_images();
    device.classify(&images);
    let record = health.until("the inferences are counted", |record| {
        record["models"][0]["inferences"].as_u64().is_some_and(|count| count >= 360)
    });
    assert_eq!(record["device"], "alpha");
    assert!(record["models"][0]["latency"]["p50_us"].as_f64().unwrap() > 0.0, "{record}");
    assert!(record["seq"].is_u64() && record["boot"].is_string(), "{record}");
    let calm = drift.until("drift is computed", |record| record["state"] == "stable");
    println!("unshifted: {calm}");
    // Fog on the lens: a quarter of the contrast, brighter.
    let fogged: Vec<f32> = images.iter().map(|pixel| (pixel / 4.0).floor() + 8.0).collect();
    device.classify(&fogged);
    let alarm = drift.until("drift is seen", |record| record["state"] == "drift");
    println!("shifted: {alarm}");

    let presence = || -> serde_json::Value {
        serde_json::from_str(&ok(&["devices", "--fleet", &world.fleet(), "--broker", &world.url, "--json"]))
            .unwrap()
    };
    assert!(agent.terminate(), "an agent that is asked to end ends with code 0");
    assert_eq!(presence()[0]["presence"]["state"], "offline");
}

#[test]
fn a_new_release_replaces_the_old_one_without_a_failed_request() {
    let world = World::new();
    let device = Arc::new(world.enroll("alpha"));
    let _agent = device.start();
    world.release_digits("1.0.0", 16);
    world.release_digits("1.1.0", 8);
    for release in ["digits@1.0.0", "digits@1.1.0"] {
        world.publish(release);
    }
    world.deploy("digits@1.0.0", "stable");
    device.serves("1.0.0");
    let (images, _) = test_images();
    let first: Vec<f32> = images[..64].to_vec();
    let expected = classes(&device.classify(&first));
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (device, stop, first, expected) =
                (device.clone(), stop.clone(), first.clone(), expected.clone());
            std::thread::spawn(move || {
                let mut requests = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(classes(&device.classify(&first)), expected);
                    requests += 1;
                }
                requests
            })
        })
        .collect();
    for version in ["1.1.0", "1.0.0", "1.1.0"] {
        world.deploy(&format!("digits@{version}"), "stable");
        device.serves(version);
    }
    stop.store(true, Ordering::Relaxed);
    let requests: u64 = clients.into_iter().map(|client| client.join().unwrap()).sum();
    println!("{requests} requests during three switches, none failed");
    assert!(requests > 10);
}

#[test]
fn an_offline_boot_serves_the_active_model() {
    let mut world = World::new();
    let device = world.enroll("alpha");
    let mut agent = device.start();
    world.release_digits("1.0.0", 16);
    world.publish("digits@1.0.0");
    world.deploy("digits@1.0.0", "stable");
    device.serves("1.0.0");
    world.broker.kill();
    // Without a broker the agent goes on.
    let (images, _) = test_images();
    device.classify(&images[..64]);
    agent.kill();
    let mut again = device.start();
    device.serves("1.0.0");
    device.classify(&images[..64]);
    assert!(again.is_running());
}

#[test]
fn a_lost_broker_comes_back_and_the_agent_with_it() {
    let port = crate::world::free_port();
    let listen = format!("127.0.0.1:{port}");
    let broker = || crate::world::Process::spawn(crate::world::command(&["broker", "--listen", &listen]));
    let mut world = World::with(broker(), format!("mqtt://{listen}"));
    let device = world.enroll("alpha");
    let _agent = device.start();
    world.release_digits("1.0.0", 16);
    eventually("the broker is up", || std::net::TcpStream::connect(&listen).ok());
    world.publish("digits@1.0.0");
    world.deploy("digits@1.0.0", "stable");
    device.serves("1.0.0");
    world.broker.kill();
    // The embedded broker keeps nothing: all is published again.
    world.broker = eventually("the port is free again", || {
        let mut again = broker();
        std::thread::sleep(std::time::Duration::from_millis(500));
        again.is_running().then_some(again)
    });
    eventually("the broker is up", || std::net::TcpStream::connect(&listen).ok());
    world.release_digits("1.1.0", 8);
    world.publish("digits@1.1.0");
    world.deploy("digits@1.1.0", "stable");
    device.serves("1.1.0");
}

#[test]
fn a_broker_that_is_asked_to_end_ends_in_order() {
    let (mut broker, _url) = crate::world::embedded_broker();
    assert!(broker.terminate());
}

#[test]
fn a_model_is_removed_when_the_deployment_says_so() {
    let world = World::new();
    let device = world.enroll("alpha");
    let _agent = device.start();
    world.release_digits("1.0.0", 16);
    world.publish("digits@1.0.0");
    world.deploy("digits@1.0.0", "@alpha");
    device.serves("1.0.0");
    ok(&[
        "deploy",
        "digits@1.0.0",
        "--fleet",
        &world.fleet(),
        "--broker",
        &world.url,
        "--to",
        "@alpha",
        "--remove",
    ]);
    eventually("the model is gone", || (device.get("/v2/models/digits")?.0 == 404).then_some(()));
}
