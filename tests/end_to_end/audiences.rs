//! Deployments are checked before they are signed, followed until devices serve, listed, and withdrawn.

use serde_json::{Value, json};

use crate::registry::put;
use crate::world::{World, ok, refused, run};

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn mistakes_are_refused_before_signing() {
    let world = World::new();
    let fleet = world.fleet();
    let with = |arguments: &[&str], exit: i32, code: &str| {
        refused(&[arguments, &["--fleet", &fleet, "--broker", &world.url]].concat(), exit, code)
    };
    world.enroll("alpha");
    world.enroll("beta");
    for (version, batch) in [("1.0.0", 16), ("1.1.0", 8)] {
        world.release_digits(version, batch);
    }
    let deploy = |to: &'static str, more: &[&'static str], exit: i32, code: &str| {
        with(&[&["deploy", "digits@1.0.0", "--to", to][..], more].concat(), exit, code)
    };
    let message = deploy("stable", &[], 3, "release-unpublished");
    assert!(message.contains("no device could fetch it") && message.contains("dunlin publish"), "{message}");
    world.publish("digits@1.0.0");
    world.publish("digits@1.1.0");
    let message = deploy("stabel", &[], 2, "channel-empty");
    assert!(message.contains("devices are in stable"), "{message}");
    deploy("@gamma", &[], 2, "device-unknown");
    deploy("stable", &["--valid-days", "0"], 2, "argument");
    with(&["move", "alpha", "stabel"], 2, "channel-empty");
    with(&["move", "gamma", "stable"], 2, "device-unknown");
    with(&["decommission", "gamma"], 2, "device-unknown");
    with(&["deploy", "delete", "stable"], 2, "deployment-unknown");
    with(&["deploy", "show", "stable"], 2, "deployment-unknown");
    refused(&["root", "revoke", "--device", "gamma", "--fleet", &fleet], 2, "device-unknown");
    let wasm = world.path("digits-8.wasm");
    for version in ["1.2", "latest", "v1.2.0", "1.2.0\n"] {
        let release = ["release", &wasm, "--fleet", &fleet, "--name", "digits", "--version", version];
        refused(&release, 2, "version-invalid");
    }
    assert!(!world.folder.path().join("fleet/deployments").exists(), "nothing is signed");

    ok(&["decommission", "beta", "--fleet", &fleet, "--broker", &world.url]);
    deploy("@beta", &[], 2, "device-unknown");
    // What failed halfway can be finished.
    ok(&["decommission", "beta", "--fleet", &fleet, "--broker", &world.url]);
    ok(&["root", "revoke", "--release", "digits@1.0.0", "--device", "alpha", "--fleet", &fleet]);
    deploy("stable", &["--new-channel"], 3, "release-revoked");
    deploy("@alpha", &[], 3, "device-revoked");
    ok(&["root", "minimum", "digits", "3", "--fleet", &fleet]);
    with(&["deploy", "digits@1.1.0", "--to", "stable", "--new-channel"], 3, "release-below-floor");
    // To remove a model, its release need not be good.
    ok(&[
        "deploy",
        "digits@1.0.0",
        "--to",
        "stable",
        "--new-channel",
        "--remove",
        "--fleet",
        &fleet,
        "--broker",
        &world.url,
    ]);
}

#[test]
fn waiting_separates_refused_from_silent() {
    let world = World::new();
    let [alpha, beta] = ["alpha", "beta"].map(|device| world.enroll(device));
    let mut config = std::fs::read_to_string(beta.config()).unwrap();
    config += "\n[site]\nmodels = [\"other\"]\n";
    std::fs::write(beta.config(), config).unwrap();
    let _agents = [alpha.start(), beta.start()];
    world.release_digits("1.0.0", 16);
    world.publish("digits@1.0.0");
    let fleet = world.fleet();
    let deploy = |to: &str, seconds: &str, exit: i32| {
        let arguments = ["deploy", "digits@1.0.0", "--to", to, "--report-interval-s", "1", "--wait", seconds];
        let output = run(&[&arguments[..], &["--json", "--fleet", &fleet, "--broker", &world.url]].concat());
        let (out, err) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.code(), Some(exit), "{out}\n{err}");
        (parsed(&out), err)
    };
    let (answer, err) = deploy("stable", "60", 3);
    let row = |index: usize, field: &str| answer["devices"][index][field].clone();
    assert_eq!((row(0, "device"), row(0, "standing")), (json!("alpha"), json!("serves")), "{answer}");
    assert_eq!((row(1, "standing"), row(1, "code")), (json!("refused"), json!("site-model")), "{answer}");
    assert!(
        err.contains("\"code\":\"deployment-refused\"") && err.contains("1 of 2 devices refused"),
        "{err}"
    );
    assert!(err.contains("beta (site-model)"), "{err}");
    alpha.serves("1.0.0");
    // A device that serves already says so with its next report.
    let (answer, _) = deploy("@alpha", "60", 0);
    assert_eq!(answer["devices"][0]["standing"], "serves", "{answer}");
    world.enroll("gamma");
    let (answer, err) = deploy("@gamma", "1", 4);
    assert_eq!(answer["devices"][0]["standing"], "silent", "{answer}");
    assert!(err.contains("\"code\":\"deployment-silent\"") && err.contains("gamma"), "{err}");
    // Without waiting, the last line says how to follow.
    let text = ok(&["deploy", "digits@1.0.0", "--to", "stable", "--fleet", &fleet, "--broker", &world.url]);
    assert!(text.lines().last().unwrap().contains("dunlin tail event"), "{text}");
}

#[test]
fn earlier_failures_are_named() {
    let world = World::new();
    world.enroll("alpha");
    world.release_digits("1.0.0", 16);
    world.publish("digits@1.0.0");
    let fleet = world.fleet();
    let deploy = ["deploy", "digits@1.0.0", "--to", "stable", "--fleet", &fleet, "--broker", &world.url];
    let planned = parsed(&ok(&[&deploy[..], &["--dry-run", "--json"]].concat()));
    let release = &planned["deployment"]["models"][0]["want"]["release"]["stable"];
    // What a device says whose trial failed.
    let presence = json!({
        "schema": 1, "device": "alpha", "boot": "0".repeat(32), "seq": 1, "time_unix_s": 1, "clock": "bounded",
        "state": "offline", "connection": 1, "runtime": "0.1.0", "abi": 1, "root_version": 1, "failed": [release],
    });
    put(&world.url, vec![("dunlin/v1/test/device/alpha/presence".into(), presence.to_string().into_bytes())]);
    let answer = run(&deploy);
    let err = String::from_utf8(answer.stderr).unwrap();
    assert!(err.contains("warning[release-failed-before]: it failed before on alpha"), "{err}");
    assert_eq!(parsed(&ok(&[&deploy[..], &["--json"]].concat()))["failed_before"], json!(["alpha"]));
    assert_eq!(parsed(&ok(&[&deploy[..], &["--json", "--retry"]].concat()))["failed_before"], json!([]));
}

#[test]
fn mistyped_channels_are_withdrawn() {
    let world = World::new();
    let device = world.enroll("alpha");
    let _agent = device.start();
    world.release_digits("1.0.0", 16);
    world.publish("digits@1.0.0");
    let fleet = world.fleet();
    let places = ["--fleet", &fleet, "--broker", &world.url];
    let answer = |arguments: &[&str]| parsed(&ok(&[arguments, &places, &["--json"]].concat()));
    world.deploy("digits@1.0.0", "stable");
    answer(&["deploy", "digits@1.0.0", "--to", "stabel", "--new-channel"]);
    let list = answer(&["deploy", "list"]);
    let row = |list: &Value, channel: &str| {
        list.as_array().unwrap().iter().find(|row| row["audience"]["channel"] == channel).cloned().unwrap()
    };
    assert_eq!(
        (&row(&list, "stable")["devices"], &row(&list, "stabel")["devices"]),
        (&json!(["alpha"]), &json!([]))
    );
    assert_eq!(row(&list, "stabel")["models"][0]["version"], "1.0.0");
    let table = ok(&[&["deploy", "list"][..], &places].concat());
    assert!(
        table.contains("channel stabel") && table.contains("digits 1.0.0") && table.contains("holds it"),
        "{table}"
    );

    // A dry run and a broker that still serves the typo change nothing; then it is gone for good.
    assert_eq!(answer(&["deploy", "delete", "stabel", "--dry-run"])["deployment"]["models"], json!([]));
    assert_eq!(answer(&["deploy", "list"]), list);
    let deleted = answer(&["deploy", "delete", "stabel"]);
    assert_eq!((&deleted["deleted"], &deleted["deployment"]["sequence"]), (&json!(true), &json!(2)));
    assert_eq!(row(&answer(&["deploy", "list"]), "stabel")["broker"]["state"], "missing");
    answer(&["publish", "--repair"]);
    assert_eq!(answer(&["deploy", "resign", "--all"])["deployments"].as_array().unwrap().len(), 1);
    assert_eq!(row(&answer(&["deploy", "list"]), "stabel")["broker"]["state"], "missing");
    // A copy of the deleted one is no use against devices of a later channel of that name.
    let again = answer(&["deploy", "digits@1.0.0", "--to", "stabel", "--new-channel"]);
    assert_eq!(again["deployment"]["sequence"], 3);

    // Where there are devices, the empty deployment stays for them, and what runs goes on.
    device.serves("1.0.0");
    let deleted = answer(&["deploy", "delete", "stable"]);
    assert_eq!((&deleted["deleted"], &deleted["devices"]), (&json!(false), &json!(["alpha"])));
    assert_eq!(row(&answer(&["deploy", "list"]), "stable")["broker"]["state"], "same");
    device.serves("1.0.0");
}

#[test]
fn lost_checks_are_warned_about() {
    let world = World::new();
    world.release_digits("1.0.0", 16);
    let (fleet, wasm) = (world.fleet(), world.path("digits-16.wasm"));
    let release = ["release", &wasm, "--fleet", &fleet, "--name", "digits", "--version", "1.1.0"];
    let dry = run(&[&release[..], &["--dry-run"]].concat());
    let err = String::from_utf8(dry.stderr).unwrap();
    for code in ["release-lost-golden", "release-lost-baseline"] {
        assert!(err.contains(&format!("warning[{code}]: 1.0.0 has")), "{err}");
    }
    assert!(dry.status.success());
    let answer = parsed(&ok(&[&release[..], &["--json"]].concat()));
    let codes: Vec<&str> = answer["warnings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|warning| warning["code"].as_str().unwrap())
        .collect();
    assert_eq!(codes, ["release-lost-golden", "release-lost-baseline"]);
}
