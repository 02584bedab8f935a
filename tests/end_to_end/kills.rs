//! `kill -9` of the real agent, again and again, while it pulls, switches and commits; and a state that is
//! lost altogether.

use std::time::{Duration, Instant};

use crate::onnx;
use crate::world::{World, classes, eventually, ok, test_images};

/// How often the agent is killed in an ordinary run; `DUNLIN_KILLS` says otherwise.
const KILLS: u64 = 200;

/// A linear congruential generator, as Knuth's MMIX has it.
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Each kill comes at a random moment of a life in which something is always under way: every second start
/// finds a new deployment, of one of three releases, and a second model of 3 MiB comes and goes, so that some
/// kills come in a pull. One life in ten lasts until the agent pulls.
#[test]
fn two_hundred_kills_cost_time_and_nothing_else() {
    let kills = number("DUNLIN_KILLS").unwrap_or(KILLS);
    let first_seed = number("DUNLIN_KILL_SEED").unwrap_or_else(|| {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::from(since.subsec_nanos())
    });
    println!("DUNLIN_KILL_SEED={first_seed}");
    let mut seed = first_seed;
    let world = World::new();
    let device = world.enroll("alpha");
    // A pull of the second model takes 0.4 s at least, so that there is time to be killed in one.
    let config =
        std::fs::read_to_string(device.config()).unwrap() + "\n[pull]\nmax_bytes_per_s = 8_000_000\n";
    std::fs::write(device.config(), config).unwrap();
    let versions = ["1.0.0", "1.1.0", "1.2.0"];
    for (version, batch) in versions.iter().zip([16, 8, 4]) {
        world.release_digits(version, batch);
        world.publish(&format!("digits@{version}"));
    }
    world.deploy("digits@1.0.0", "stable");
    {
        let mut agent = device.start();
        device.serves("1.0.0");
        // Proven, so that it is what a later release would go back to.
        device.classify(&test_images().0);
        eventually("the release is proven", || proven(&device.config()).then_some(()));
        agent.kill();
    }
    world.release_onnx("large", "1.0.0", &onnx::dense(512, 1536));
    let (fleet, mut pulls) = (world.fleet(), 0);
    let pulls_now = || device.bundle.join("state/partial").read_dir().unwrap().next().is_some();
    let start = Instant::now();
    for kill in 0..kills {
        if kill % 10 == 1 {
            world.deploy("large@1.0.0", "stable");
        } else if kill % 10 == 8 {
            let remove =
                ["deploy", "large@1.0.0", "--fleet", &fleet, "--broker", &world.url, "--to", "stable"];
            ok(&[&remove[..], &["--remove"]].concat());
        }
        if kill % 2 == 0 {
            let version = versions[usize::try_from(next(&mut seed) % 3).unwrap()];
            world.deploy(&format!("digits@{version}"), "stable");
        }
        let mut agent = device.start();
        if kill % 10 == 1 {
            // On a busy machine a start takes longer than the lives of the others.
            eventually("the large model is pulled", || {
                let serves = || Some(device.get("/v2/models/large/ready")?.0 == 200);
                (pulls_now() || serves()?).then_some(())
            });
        }
        std::thread::sleep(Duration::from_millis(next(&mut seed) % 120));
        assert!(
            agent.is_running(),
            "seed {first_seed}, kill {kill}: the agent ended by itself\n{}",
            device.log()
        );
        agent.kill();
        pulls += u64::from(pulls_now());
        // Whatever it was in the middle of, its state can be read.
        let state: serde_json::Value =
            serde_json::from_str(&ok(&["agent", "state", "--config", &device.config(), "--json"])).unwrap();
        assert!(state["models"][0]["active"].is_object(), "seed {first_seed}, kill {kill}: {state}");
    }
    println!("{kills} kills in {:.1} s, {pulls} of them in a pull", start.elapsed().as_secs_f64());
    assert!(pulls > 0, "no kill came in a pull");
    let _agent = device.start();
    world.deploy("large@1.0.0", "stable");
    eventually("the large model serves", || (device.get("/v2/models/large/ready")?.0 == 200).then_some(()));
    world.deploy("digits@1.2.0", "stable");
    device.serves("1.2.0");
    let (images, labels) = test_images();
    let right = classes(&device.classify(&images)).iter().zip(&labels).filter(|(a, b)| a == b).count();
    assert_eq!(right, 351, "seed {first_seed}: of {}", labels.len());
    let state: serde_json::Value =
        serde_json::from_str(&ok(&["agent", "state", "--config", &device.config(), "--json"])).unwrap();
    assert_eq!(state["bad"], serde_json::json!([]), "seed {first_seed}: a kill was held against a release");
    for code in ["illegal-event", "document-lost", "artifact-digest", "state-lost"] {
        assert!(!device.log().contains(code), "seed {first_seed}: {code}\n{}", device.log());
    }
}

fn proven(config: &str) -> bool {
    let state: serde_json::Value =
        serde_json::from_str(&ok(&["agent", "state", "--config", config, "--json"])).unwrap();
    state["models"][0]["active"].is_object()
}

#[test]
fn a_device_that_lost_its_state_serves_what_was_proven_and_waits_for_an_echo() {
    let world = World::new();
    let device = world.enroll("alpha");
    world.release_digits("1.0.0", 16);
    world.release_digits("1.1.0", 8);
    world.publish("digits@1.0.0");
    world.publish("digits@1.1.0");
    world.deploy("digits@1.0.0", "stable");
    let mut agent = device.start();
    device.serves("1.0.0");
    let images = test_images().0;
    device.classify(&images);
    // The copy follows the commit that proves the release: it is not there as soon as that is.
    let state = device.bundle.join("state/state");
    eventually("what is proven is copied", || state.join("proven").exists().then_some(()));
    agent.kill();
    for slot in ["a", "b"] {
        std::fs::write(state.join(slot), vec![7; 16 * 1024]).unwrap();
    }
    let _agent = device.start();
    device.serves("1.0.0");
    let alarms = || Some(device.get("/dunlin/v1/device")?.1["alarms"].clone());
    eventually("it says so", || {
        alarms()?[0]["code"].as_str().map(|code| assert_eq!(code, "state-recovered"))
    });
    // A new deployment for its channel could be an old one: it is not followed.
    world.deploy("digits@1.1.0", "stable");
    eventually("it refuses", || device.log().contains("echoes its nonce").then_some(()));
    device.serves("1.0.0");
    let fleet = world.fleet();
    let echo =
        ["deploy", "digits@1.0.0", "--fleet", &fleet, "--broker", &world.url, "--to", "@alpha", "--echo"];
    ok(&echo);
    eventually("it follows again", || (alarms()? == serde_json::json!([])).then_some(()));
    world.deploy("digits@1.1.0", "@alpha");
    device.serves("1.1.0");
}
