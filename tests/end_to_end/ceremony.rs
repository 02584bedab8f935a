//! The ceremony: keys that are encrypted, several signers, and a fleet that survives a stolen deploy key.

use std::process::Output;

use serde_json::Value;

use crate::world::{World, command, digits, ok, refused, test_images};

/// Runs `dunlin` with a passphrase in its environment.
fn with_passphrase(passphrase: &str, arguments: &[&str]) -> Output {
    command(arguments).env("DUNLIN_PASSPHRASE", passphrase).output().unwrap()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The root that a device says it trusts.
fn root_of(world: &World, device: &str) -> Option<u64> {
    let rows = json(&ok(&["devices", "--fleet", &world.fleet(), "--broker", &world.url, "--json"]));
    let row = rows.as_array().unwrap().iter().find(|row| row["id"] == device)?.clone();
    row["presence"]["root_version"].as_u64()
}

#[test]
fn a_stolen_deploy_key_is_rotated_and_devices_follow() {
    let world = World::new();
    let device = world.enroll("alpha");
    let _agent = device.start();
    let events = world.tail("event");
    let (fleet, broker) = (world.fleet(), world.url.clone());
    world.release_digits("1.0.0", 16);
    world.release_digits("1.1.0", 8);
    for release in ["digits@1.0.0", "digits@1.1.0"] {
        world.publish(release);
    }
    world.deploy("digits@1.0.0", "stable");
    device.serves("1.0.0");

    // The thief has a copy of the folder as it is now.
    let thief = world.folder.path().join("thief");
    copy(std::path::Path::new(&fleet), &thief);
    let thief = thief.display().to_string();

    let rotated = ok(&["root", "rotate", "deploy", "--no-passphrase", "--fleet", &fleet, "--json"]);
    assert_eq!(
        (json(&rotated)["version"].as_u64(), json(&rotated)["trusted"].as_bool()),
        (Some(2), Some(true))
    );
    // Before everything is signed anew, nothing goes out that devices would refuse.
    refused(
        &["deploy", "digits@1.1.0", "--fleet", &fleet, "--broker", &broker, "--to", "stable"],
        3,
        "signed-before",
    );
    let resigned = ok(&["deploy", "resign", "--all", "--fleet", &fleet, "--broker", &broker, "--json"]);
    let resigned = json(&resigned);
    assert_eq!(
        resigned["deployments"][0]["deployment"]["sequence"], 1,
        "a new epoch starts anew: {resigned}"
    );
    events.until("the device trusts the new root", |record| {
        record["event"] == "root-accepted" && record["detail"] == "root 2"
    });
    device.serves("1.0.0");

    // What the thief signs with the old key no longer moves the device.
    ok(&["deploy", "digits@1.1.0", "--fleet", &thief, "--broker", &broker, "--to", "stable"]);
    events.until("the stolen key is refused", |record| {
        record["event"] == "refused" && record["code"] == "signature-threshold"
    });
    device.serves("1.0.0");
    // Who owns the fleet moves it on.
    ok(&["deploy", "digits@1.1.0", "--fleet", &fleet, "--broker", &broker, "--to", "stable"]);
    device.serves("1.1.0");
    assert_eq!(root_of(&world, "alpha"), Some(2));

    // A second run of a timer finds nothing to do.
    let renewed = ok(&["deploy", "renew", "--fleet", &fleet, "--broker", &broker, "--json"]);
    assert_eq!(json(&renewed)["deployments"].as_array().unwrap().len(), 0, "{renewed}");
    let verified = ok(&[
        "verify",
        &format!("{fleet}/deployments/channel/stable.json"),
        "--root",
        &format!("{fleet}/root/2.json"),
        "--json",
    ]);
    assert_eq!(json(&verified)["accepted"], true, "{verified}");
    refused(
        &[
            "verify",
            &format!("{fleet}/deployments/channel/stable.json"),
            "--root",
            &format!("{fleet}/root/1.json"),
        ],
        3,
        "signature-threshold",
    );
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[test]
fn a_revoked_release_is_left_for_the_one_that_was_proven_before() {
    let world = World::new();
    let device = world.enroll("alpha");
    let _agent = device.start();
    let (fleet, events) = (world.fleet(), world.tail("event"));
    let (images, _) = test_images();
    for (version, batch) in [("1.0.0", 16), ("1.1.0", 8)] {
        world.release_digits(version, batch);
        world.publish(&format!("digits@{version}"));
        world.deploy(&format!("digits@{version}"), "stable");
        device.serves(version);
        device.classify(&images);
        events.until("the release is proven", |record| {
            record["event"] == "proven" && record.to_string().contains(version)
        });
    }
    ok(&["root", "revoke", "--release", "digits@1.1.0", "--fleet", &fleet]);
    // Roots go out with whatever is published.
    ok(&["publish", "digits@1.0.0", "--fleet", &fleet, "--broker", &world.url]);
    device.serves("1.0.0");
    // Of the one that is left, nothing may be put back.
    refused(
        &["verify", &format!("{fleet}/releases/digits/2.json"), "--root", &format!("{fleet}/root/2.json")],
        3,
        "release-revoked",
    );
}

#[test]
fn keys_are_encrypted_and_a_passphrase_opens_them() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = folder.path().join("plant").display().to_string();
    // Without a terminal nobody can be asked.
    refused(&["init", &fleet, "--fleet", "plant"], 2, "key-passphrase");
    let made = with_passphrase("correct horse", &["init", &fleet, "--fleet", "plant", "--json"]);
    assert!(made.status.success(), "{made:?}");
    assert_eq!(json(&String::from_utf8(made.stdout).unwrap())["encrypted"], true);
    let listed = json(&ok(&["key", "list", "--fleet", &fleet, "--json"]));
    assert!(listed.as_array().unwrap().iter().all(|row| row["kind"] == "encrypted"), "{listed}");

    refused(&["root", "renew", "--fleet", &fleet], 2, "key-passphrase");
    let wrong = with_passphrase("correct house", &["root", "renew", "--fleet", &fleet]);
    assert_eq!(wrong.status.code(), Some(2));
    let right = with_passphrase("correct horse", &["root", "renew", "--fleet", &fleet]);
    assert!(right.status.success(), "{right:?}");

    let (key, fresh) = (format!("{fleet}/keys/deploy.key"), folder.path().join("fresh.txt"));
    std::fs::write(&fresh, "battery staple\n").unwrap();
    let fresh = fresh.display().to_string();
    let arguments = ["key", "change-passphrase", &key, "--new-passphrase-file", &fresh];
    assert!(with_passphrase("correct horse", &arguments).status.success());
    assert_eq!(with_passphrase("correct horse", &arguments).status.code(), Some(2));
    // Nothing that was said repeats a passphrase.
    for output in [&wrong, &right] {
        let said = format!("{output:?}");
        assert!(!said.contains("horse") && !said.contains("house"), "{said}");
    }
}

#[test]
fn two_people_sign_a_root_on_machines_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let generate = |name: &str| {
        let made =
            ok(&["key", "generate", name, "-o", &path(&format!("{name}.key")), "--no-passphrase", "--json"]);
        format!("{name}={}", json(&made)["public"].as_str().unwrap())
    };
    let [alice, bob, ci, ops] = ["alice", "bob", "ci", "ops"].map(generate);
    let plant = path("plant");
    let init = [
        "root",
        "init",
        &plant,
        "--name",
        "plant",
        "--root",
        &alice,
        "--root",
        &bob,
        "--threshold",
        "root=2",
        "--release",
        &ci,
        "--deploy",
        &ops,
        "--json",
    ];
    let pending = json(&ok(&init))["pending"].as_str().unwrap().to_string();
    let shown = ok(&["sign", &pending, "--key", &path("alice.key"), "--dry-run"]);
    assert!(shown.contains("root 1 of fleet plant"), "{shown}");
    ok(&["sign", &pending, "--key", &path("alice.key")]);
    refused(&["import", &pending, "--fleet", &plant], 3, "signatures-missing");
    ok(&["sign", &pending, "--key", &path("bob.key"), "-o", &path("signed.json")]);
    assert!(ok(&["import", &path("signed.json"), "--fleet", &plant]).contains("begins with root 1"));

    // A change by one of them waits for the other.
    std::fs::create_dir_all(format!("{plant}/keys")).unwrap();
    std::fs::copy(path("alice.key"), format!("{plant}/keys/alice.key")).unwrap();
    let changed = json(&ok(&["root", "minimum", "digits", "3", "--fleet", &plant, "--json"]));
    assert_eq!(
        (changed["trusted"].as_bool(), changed["signatures"]["own"]["found"].as_u64()),
        (Some(false), Some(1))
    );
    let pending = changed["file"].as_str().unwrap().to_string();
    refused(&["import", &pending, "--fleet", &plant], 3, "signatures-missing");
    ok(&["sign", &pending, "--key", &path("bob.key"), "-o", &path("signed.json")]);
    ok(&["import", &path("signed.json"), "--fleet", &plant]);
    let root = json(&ok(&["root", "show", "--fleet", &plant, "--json"]));
    assert_eq!(root["root"]["version"], 2);
    assert_eq!(root["root"]["minimum_counters"][0]["counter"], 3);
    // The release key is elsewhere.
    let wasm = path("digits.wasm");
    ok(&["compile", &digits("digits.onnx"), "-o", &wasm]);
    let release = ["release", &wasm, "--fleet", &plant, "--name", "digits", "--version", "1.0.0"];
    refused(&release, 3, "key-missing");

    // A rotation that waits for signatures keeps the key that it made.
    let rotate = ["root", "rotate", "deploy", "--no-passphrase", "--fleet", &plant];
    ok(&[&rotate[..], &["--dry-run"]].concat());
    let waiting = json(&ok(&[&rotate[..], &["--json"]].concat()));
    assert_eq!(waiting["trusted"], false);
    let key = std::fs::read(format!("{plant}/keys/deploy-3.key")).unwrap();
    refused(&rotate, 2, "output-exists");
    assert_eq!(std::fs::read(format!("{plant}/keys/deploy-3.key")).unwrap(), key);
    ok(&["sign", waiting["file"].as_str().unwrap(), "--key", &path("bob.key"), "-o", &path("signed.json")]);
    ok(&["import", &path("signed.json"), "--fleet", &plant]);
    let listed = json(&ok(&["key", "list", "--fleet", &plant, "--json"]));
    let fresh = listed.as_array().unwrap().iter().find(|row| row["name"] == "deploy-3").unwrap().clone();
    assert_eq!((fresh["role"].as_str(), fresh["kind"].as_str()), (Some("deploy"), Some("not encrypted")));
}

#[test]
fn a_device_moves_to_another_channel_and_leaves() {
    let world = World::new();
    let device = world.enroll("alpha");
    let _agent = device.start();
    let fleet = world.fleet();
    let events = world.tail("event");
    world.release_digits("1.0.0", 16);
    world.publish("digits@1.0.0");
    world.deploy_ahead("digits@1.0.0", "canary");
    ok(&["move", "alpha", "canary", "--fleet", &fleet, "--broker", &world.url]);
    device.serves("1.0.0");
    // A nonce is echoed to the device that said it.
    let echoed = ok(&[
        "deploy",
        "digits@1.0.0",
        "--fleet",
        &fleet,
        "--broker",
        &world.url,
        "--to",
        "@alpha",
        "--echo",
        "--report-interval-s",
        "1",
        "--json",
    ]);
    assert_eq!(json(&echoed)["deployment"]["nonce_echo"].as_str().map(str::len), Some(32), "{echoed}");
    let attested = world.tail("health");
    attested.until("the device's clock is attested", |record| record["clock"] == "attested");
    refused(
        &["deploy", "digits@1.0.0", "--fleet", &fleet, "--broker", &world.url, "--to", "canary", "--echo"],
        4,
        "no-nonce",
    );
    // What is only tried changes nothing.
    let files = || {
        let read = |path: &str| std::fs::read(format!("{fleet}/{path}")).unwrap();
        (read("devices.json"), read("deployments/device/alpha.json"))
    };
    let before = files();
    let broker = ["--fleet", &fleet, "--broker", &world.url];
    for tried in [
        &["deploy", "digits@1.0.0", "--to", "@alpha", "--remove"][..],
        &["deploy", "renew", "--within-days", "1000"],
        &["deploy", "resign", "--all"],
        &["move", "alpha", "stable", "--new-channel"],
        &["decommission", "alpha"],
    ] {
        let told = ok(&[tried, &broker, &["--dry-run"]].concat());
        assert!(told.starts_with("dry run"), "{tried:?}: {told}");
        assert!(files() == before, "{tried:?} changed the folder");
        json(&ok(&[tried, &broker, &["--dry-run", "--json"]].concat()));
    }
    let preview = [&["deploy", "digits@1.0.0", "--to", "@alpha", "--json"], &broker[..]].concat();
    let previewed = json(&ok(&[&preview[..], &["--dry-run"]].concat()));
    assert_eq!(previewed["deployment"]["sequence"], json(&ok(&preview))["deployment"]["sequence"]);

    ok(&["decommission", "alpha", "--fleet", &fleet, "--broker", &world.url]);
    // Its own deployment has gone from the broker, and is not signed again.
    let renewed = json(&ok(&[&["deploy", "resign", "--all", "--json"], &broker[..]].concat()));
    let audiences: Vec<&str> = renewed["deployments"]
        .as_array()
        .unwrap()
        .iter()
        .map(|deployed| deployed["deployment"]["audience"].as_str().unwrap_or("channel"))
        .collect();
    assert_eq!(audiences, ["channel"], "{renewed}");
    refused(&["move", "alpha", "stable", "--fleet", &fleet, "--broker", &world.url], 2, "device-unknown");
    // The root makes it refuse what comes; it goes on with what it runs.
    ok(&["root", "revoke", "--device", "alpha", "--fleet", &fleet]);
    world.deploy_ahead("digits@1.0.0", "canary");
    events.until("the device refuses", |record| record["code"] == "device-revoked");
    device.serves("1.0.0");
}
