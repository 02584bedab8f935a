//! A release in its probation, and what goes wrong around it: its worker dies, its successor does not come, the
//! agent is killed, the worker hangs.

use std::io::Write as _;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::registry::{chunk_topics, put};
use crate::world::{Device, Process, World, eventually, ok, test_images};

/// The process of an agent in which models run.
fn worker_of(agent: &Process) -> Option<u32> {
    let parent = format!("PPid:\t{}\n", agent.id());
    std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let words = std::fs::read(entry.path().join("cmdline")).ok()?;
        let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
        (words.ends_with(b"worker\0") && status.contains(&parent)).then_some(pid)
    })
}

fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

fn state(device: &Device) -> Value {
    serde_json::from_str(&ok(&["agent", "state", "--config", &device.config(), "--json"])).unwrap()
}

fn alarms(device: &Device) -> Option<Vec<String>> {
    let (_, body) = device.get("/dunlin/v1/device")?;
    let codes = body["alarms"].as_array()?.iter().map(|alarm| alarm["code"].as_str().map(str::to_string));
    codes.collect()
}

fn has_alarm(device: &Device, code: &str) -> Option<()> {
    alarms(device)?.iter().any(|alarm| alarm == code).then_some(())
}

/// A module that copies a number, and goes on for as long as it may where the number is 3.
fn endless_at_three() -> Vec<u8> {
    let card = r#"{"abi": 1, "max_batch": 1, "producer": "test 1",
        "inputs": [{"name": "x", "dtype": "i64", "shape": ["n", 1]}],
        "outputs": [{"name": "y", "dtype": "i64", "shape": ["n", 1]}]}"#;
    let card = card.replace('"', "\\\"").replace('\n', " ");
    let text = format!(
        r#"(module (@custom "dunlin.card" (before first) "{card}") (memory (export "memory") 1)
        (func (export "dunlin_input") (param i32) (result i32) (i32.const 1024))
        (func (export "dunlin_output") (param i32) (result i32) (i32.const 2048))
        (func (export "dunlin_infer") (param i32) (result i32)
            (if (i64.eq (i64.load (i32.const 1024)) (i64.const 3)) (then (loop $ever (br $ever))))
            (i64.store (i32.const 2048) (i64.load (i32.const 1024))) (i32.const 0)))"#
    );
    wat::parse_str(text).unwrap()
}

fn number(x: i64) -> Value {
    json!({ "inputs": [{ "name": "x", "datatype": "INT64", "shape": [1, 1], "data": [x] }] })
}

#[test]
fn a_first_release_that_kills_stops() {
    let world = World::new();
    let device = world.enroll("alpha");
    let (wasm, fleet) = (world.path("endless.wasm"), world.fleet());
    std::fs::write(&wasm, endless_at_three()).unwrap();
    let named = ["--name", "endless", "--version", "1.0.0", "--deadline-us", "20000000"];
    ok(&[&["release", &wasm, "--fleet", &fleet], &named[..]].concat());
    world.publish("endless@1.0.0");
    world.deploy("endless@1.0.0", "stable");
    let mut agent = device.start();
    let ready = || Some(device.get("/v2/models/endless/ready")?.0);
    eventually("the model serves", || (ready()? == 200).then_some(()));
    let infer = |x| Some(device.post("/v2/models/endless/infer", &number(x))?.0);
    assert_eq!(infer(1), Some(200));

    let mut stuck = TcpStream::connect(device.api).unwrap();
    let (body, host) = (number(3).to_string(), device.api);
    write!(
        stuck,
        "POST /v2/models/endless/infer HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let worker = worker_of(&agent).unwrap();
    signal(worker, "-KILL");
    eventually("the release is given up", || device.log().contains("rolled-back").then_some(()));
    let status = eventually("the next worker answers", ready);
    assert_ne!(status, 200, "{}", device.log());
    assert_ne!(infer(3), Some(200), "it would die of this");
    assert_eq!(state(&device)["bad"].as_array().map(Vec::len), Some(1));
    assert_eq!(device.log().matches("the worker is no more").count(), 1, "{}", device.log());
    assert!(agent.is_running());
}

#[test]
fn a_release_wanted_again_goes_on_serving() {
    let world = World::new();
    let device = world.enroll("alpha");
    let config = std::fs::read_to_string(device.config()).unwrap() + "\n[pull]\nchunk_timeout_s = 1\n";
    std::fs::write(device.config(), config).unwrap();
    for (version, batch) in [("1.0.0", 16), ("1.1.0", 15)] {
        world.release_digits(version, batch);
        world.publish(&format!("digits@{version}"));
    }
    put(&world.url, chunk_topics(&world, 2).into_iter().map(|topic| (topic, Vec::new())).collect());
    world.deploy("digits@1.0.0", "stable");
    let _agent = device.start();
    device.serves("1.0.0");
    let health = world.tail("health");

    world.deploy("digits@1.1.0", "stable");
    eventually("what does not come is an alarm", || has_alarm(&device, "chunk-missing"));
    let warned = device.log().lines().any(|line| line.contains("WARN") && line.contains("chunk-missing"));
    assert!(warned, "{}", device.log());
    let record = health.until("health with the alarm", |record| {
        record["alarms"].as_array().is_some_and(|alarms| alarms.contains(&json!("chunk-missing")))
    });
    let mut releases: Vec<String> =
        record["models"].as_array().unwrap().iter().map(|model| model["release"].to_string()).collect();
    let all = releases.len();
    releases.dedup();
    assert_eq!(releases.len(), all, "each release once: {record}");
    device.serves("1.0.0");

    world.deploy("digits@1.0.0", "stable");
    let next = || state(&device)["models"][0]["next"]["installed"]["version"].clone();
    eventually("it follows", || (next() == "1.0.0").then_some(()));
    for _ in 0..20 {
        assert_eq!(device.get("/v2/models/digits/ready").map(|(status, _)| status), Some(200));
        std::thread::sleep(Duration::from_millis(50));
    }
    device.serves("1.0.0");
    assert_eq!(alarms(&device), Some(vec![]));

    world.deploy("digits@1.1.0", "stable");
    eventually("it is an alarm again", || has_alarm(&device, "chunk-missing"));
    let fleet = world.fleet();
    ok(&["publish", "--repair", "--fleet", &fleet, "--broker", &world.url]);
    device.serves("1.1.0");
    eventually("the alarm ends", || (alarms(&device)?.is_empty()).then_some(()));
    device.classify(&test_images().0);
}

#[test]
fn kills_of_the_agent_blame_no_release() {
    let world = World::new();
    let device = world.enroll("alpha");
    world.release_digits("1.0.0", 16);
    world.publish("digits@1.0.0");
    world.deploy("digits@1.0.0", "stable");
    let mut agent = device.start();
    device.serves("1.0.0");
    for _ in 0..5 {
        agent.kill();
        agent = device.start();
        eventually("it is there", || device.get("/dunlin/v1/device").map(drop));
    }
    eventually("it says that it holds the release back", || has_alarm(&device, "trial-held"));
    assert_eq!(state(&device)["bad"], json!([]));
    assert_eq!(state(&device)["models"][0]["next"]["stage"], "held");
    assert_ne!(device.get("/v2/models/digits/ready").map(|(status, _)| status), Some(200));
    // The very same release, without `--retry`.
    world.deploy("digits@1.0.0", "stable");
    device.serves("1.0.0");
    device.classify(&test_images().0);
    eventually("it is proven", || state(&device)["models"][0]["active"].is_object().then_some(()));
    assert_eq!(alarms(&device), Some(vec![]));
}

#[test]
fn an_idle_worker_that_hangs_is_replaced() {
    let world = World::new();
    let device = world.enroll("alpha");
    world.release_digits("1.0.0", 16);
    world.publish("digits@1.0.0");
    world.deploy("digits@1.0.0", "stable");
    let agent = device.start();
    device.serves("1.0.0");
    device.classify(&test_images().0);
    eventually("it is proven", || state(&device)["models"][0]["active"].is_object().then_some(()));
    let worker = worker_of(&agent).unwrap();
    signal(worker, "-STOP");
    eventually("another one takes its place", || worker_of(&agent).filter(|now| *now != worker));
    device.serves("1.0.0");
    device.classify(&test_images().0);
    let log = device.log();
    assert!(log.contains("worker-stuck") && !log.contains("rolled-back"), "{log}");
    assert_eq!(state(&device)["bad"], json!([]));
}
