//! What an operator need not type: the fleet and the broker are found by flags, variables or the fleet's folder;
//! and consumers who have no folder.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::mosquitto;
use crate::world::{World, command, eventually, ok, refused, run};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `dunlin` in a folder, with variables.
fn run_in(folder: &str, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    command(arguments).current_dir(folder).envs(variables.iter().copied()).output().unwrap()
}

fn code_of(output: &Output) -> String {
    let last = text(&output.stderr);
    let last = json(last.lines().last().unwrap_or_default());
    last["error"]["code"].as_str().unwrap().to_string()
}

#[test]
fn flag_beats_variable_beats_folder() {
    let world = World::new();
    let (fleet, here) = (world.fleet(), world.path(""));
    let broken = "mqtt://127.0.0.1:9";
    // Nothing names a fleet, or a broker.
    assert_eq!(code_of(&run_in(&here, &[], &["devices", "--json"])), "fleet-missing");
    assert_eq!(code_of(&run_in(&fleet, &[], &["devices", "--json"])), "broker-missing");
    let shown = json(&ok(&["connection", "set", "--fleet", &fleet, "--broker", broken, "--json"]));
    assert_eq!(shown["url"], broken);
    assert_eq!(code_of(&run_in(&fleet, &[], &["devices", "--json"])), "broker-unreachable");
    let devices = ["devices", "--quiet-ms", "50"];
    let works = |folder: &str, variables: &[(&str, &str)], flags: &[&str]| {
        let output = run_in(folder, variables, &[&devices[..], flags].concat());
        assert!(output.status.success(), "{folder} {variables:?} {flags:?}: {}", text(&output.stderr));
    };
    works(&fleet, &[("DUNLIN_BROKER", &world.url)], &[]);
    works(&fleet, &[("DUNLIN_BROKER", broken)], &["--broker", &world.url]);
    ok(&["connection", "set", "--fleet", &fleet, "--broker", &world.url]);
    let inner = world.path("fleet/keys");
    works(&fleet, &[("DUNLIN_BROKER", "")], &[]);
    works(&inner, &[], &[]);
    works(&here, &[("DUNLIN_FLEET", "fleet")], &[]);
    works(&here, &[("DUNLIN_FLEET", "nowhere")], &["--fleet", "fleet"]);
    assert_eq!(
        code_of(&run_in(&fleet, &[("DUNLIN_FLEET", "nowhere")], &["devices", "--json"])),
        "fleet-missing"
    );
    ok(&["connection", "clear", "--fleet", &fleet]);
    assert_eq!(code_of(&run_in(&fleet, &[], &["devices", "--json"])), "broker-missing");
}

#[test]
fn bundles_name_the_broker_of_devices() {
    let world = World::new();
    let fleet = world.path("plant");
    let (operators, devices) = ("mqtt://ann@10.0.0.5:1884", "mqtt://10.0.0.5:1883");
    let made = ["init", &fleet, "--fleet", "plant", "--no-passphrase", "--broker", operators, "--json"];
    assert_eq!(json(&ok(&made))["broker"], operators);
    let enroll = |device: &str, further: &[&str]| {
        let out = world.path(device);
        let fixed = ["enroll", device, "--fleet", &fleet, "--channel", "stable", "-o", &out, "--json"];
        let enrolled = json(&ok(&[&fixed[..], further].concat()));
        let config = std::fs::read_to_string(format!("{out}/agent.toml")).unwrap();
        let broker = enrolled["broker"].as_str().unwrap().to_string();
        assert!(config.contains(&format!("url = \"{broker}\"")), "{config}");
        broker
    };
    // The operator's name is not a device's.
    assert_eq!(enroll("a", &[]), "mqtt://10.0.0.5:1884");
    ok(&["connection", "set", "--fleet", &fleet, "--broker", operators, "--device-broker", devices]);
    assert_eq!(enroll("b", &[]), devices);
    assert_eq!(enroll("c", &["--broker", "mqtt://press@10.0.0.6"]), "mqtt://press@10.0.0.6:1883");
}

#[test]
fn batches_give_each_bundle_a_port() {
    let world = World::new();
    let (list, out, fleet) = (world.path("devices.csv"), world.path("bundles"), world.fleet());
    std::fs::write(&list, "device,channel\na,stable\nb,stable\nc,canary\n").unwrap();
    let batch = ["enroll", "--batch", &list, "--fleet", &fleet, "--broker", &world.url, "-o", &out, "--json"];
    let none_left = [&batch[..], &["--api-port-from", "65534"]].concat();
    assert!(refused_json(&none_left, 2, "argument").contains("device 3"));
    assert!(!Path::new(&out).exists(), "nothing is half enrolled");
    let rows = json(&ok(&[&batch[..], &["--api-port-from", "9001"]].concat()));
    let ports: Vec<&str> = rows.as_array().unwrap().iter().map(|row| row["api"].as_str().unwrap()).collect();
    assert_eq!(ports, ["127.0.0.1:9001", "127.0.0.1:9002", "127.0.0.1:9003"]);
    for (device, port) in ["a", "b", "c"].iter().zip(ports) {
        let config = std::fs::read_to_string(format!("{out}/{device}/agent.toml")).unwrap();
        assert!(config.contains(&format!("listen = \"{port}\"")), "{config}");
    }
    let one =
        ["enroll", "d", "--channel", "stable", "--api-port-from", "9001", "-o", &out, "--fleet", &fleet];
    refused(&one, 2, "argument");
}

/// Runs `dunlin`, which must fail, and gives the message of its error in JSON.
fn refused_json(arguments: &[&str], exit: i32, code: &str) -> String {
    let output = run(arguments);
    assert_eq!((output.status.code(), code_of(&output).as_str()), (Some(exit), code), "{arguments:?}");
    let last = text(&output.stderr);
    json(last.lines().last().unwrap())["error"]["message"].as_str().unwrap().to_string()
}

#[test]
fn a_folder_of_another_user_is_not_taken() {
    let world = World::new();
    let fleet = world.fleet();
    if std::os::unix::fs::chown(Path::new(&fleet).join("fleet.toml"), Some(1), None).is_err() {
        return; // Files are given away by root alone.
    }
    assert_eq!(code_of(&run_in(&fleet, &[], &["root", "show", "--json"])), "fleet-owner");
    // Who names it trusts it.
    ok(&["root", "show", "--fleet", &fleet]);
}

#[test]
fn a_root_alone_lists_and_follows() {
    let world = World::new();
    let device = world.enroll("alpha");
    let (fleet, first) = (world.fleet(), world.path("fleet/root/1.json"));
    // Some roots later, nine in all: more than are asked for at a time.
    for _ in 0..8 {
        ok(&["root", "renew", "--fleet", &fleet]);
    }
    ok(&["root", "rotate", "deploy", "--no-passphrase", "--fleet", &fleet]);
    ok(&["deploy", "resign", "--all", "--fleet", &fleet, "--broker", &world.url]);
    let root = device.bundle.join("root.json").display().to_string();
    assert_eq!(std::fs::read(&root).unwrap(), std::fs::read(&first).unwrap());
    let _agent = device.start();
    let source = ["--root", &root, "--broker", &world.url];
    let row = eventually("the device is online", || {
        let rows = json(&ok(&[&["devices", "--json"], &source[..]].concat()));
        rows.as_array().unwrap().iter().find(|row| row["presence"]["state"] == "online").cloned()
    });
    assert_eq!((&row["id"], &row["enrolled"]["channel"]), (&"alpha".into(), &"stable".into()), "{row}");
    world.release_digits("1.0.0", 16);
    world.publish("digits@1.0.0");
    world.deploy("digits@1.0.0", "stable");
    let record = json(ok(&[&["tail", "health", "--count", "1"], &source[..]].concat()).trim());
    assert_eq!(record["device"], "alpha");
    // A root of another fleet does not believe the list.
    refused(&["devices", "--root", &root, "--fleet", &fleet], 2, "argument");
    assert_eq!(run(&["devices", "--root", &root]).status.code(), Some(2), "no broker is named");
    refused(&["devices", "--root", &device.config(), "--broker", &world.url], 3, "envelope-malformed");
}

#[test]
fn decommissioning_deletes_what_is_retained() {
    let world = World::new();
    let device = world.enroll("alpha");
    let (fleet, url) = (world.fleet(), world.url.clone());
    let presence = || {
        let rows = json(&ok(&["devices", "--fleet", &fleet, "--broker", &url, "--json"]));
        rows[0]["presence"]["state"].as_str().map(str::to_string)
    };
    let mut agent = device.start();
    eventually("the device is online", || presence().filter(|state| state == "online"));
    agent.kill();
    eventually("the broker says that it is gone", || presence().filter(|state| state == "offline"));
    let decommission = ["decommission", "alpha", "--fleet", &fleet, "--broker", &url, "--json"];
    let list = json(&ok(&decommission))["device_list"].clone();
    assert_eq!((presence(), &list["devices"][0]["revoked"]), (None, &true.into()));
    // It connects once more; what it leaves is deleted by the same command, and nothing is signed for it.
    let mut agent = device.start();
    eventually("the device is online", || presence().filter(|state| state == "online"));
    assert!(agent.terminate());
    assert_eq!(json(&ok(&decommission))["device_list"], list);
    assert_eq!(presence(), None);
    refused(&["decommission", "beta", "--fleet", &fleet, "--broker", &url], 2, "device-unknown");
}

#[test]
fn a_changed_root_names_steps_that_work() {
    let world = World::new();
    let fleet = world.fleet();
    ok(&["connection", "set", "--fleet", &fleet, "--broker", &world.url]);
    let device = world.enroll("alpha");
    let _agent = device.start();
    world.release_digits("1.0.0", 16);
    world.publish("digits@1.0.0");
    world.deploy("digits@1.0.0", "stable");
    device.serves("1.0.0");
    let wasm = world.path("digits-16.wasm");
    let changes: [(&[&str], &[&str]); 4] = [
        (&["rotate", "deploy", "--no-passphrase"], &["deploy resign --all"]),
        (&["rotate", "release", "--no-passphrase"], &["release resign", "publish --repair"]),
        (
            &["rotate", "release", "--epoch", "--no-passphrase"],
            &[
                "release MODULE --name digits --version VERSION",
                "publish digits@VERSION",
                "deploy digits@VERSION --to CHANNEL",
            ],
        ),
        (&["renew"], &["publish --repair"]),
    ];
    for (version, (change, expected)) in (2..).zip(changes) {
        let changed = json(&ok(&[&["root"], change, &["--fleet", &fleet, "--json"]].concat()));
        let next: Vec<&str> =
            changed["next"].as_array().unwrap().iter().map(|step| step.as_str().unwrap()).collect();
        let with_fleet: Vec<String> =
            expected.iter().map(|step| format!("dunlin {step} --fleet {fleet}")).collect();
        assert_eq!(next, with_fleet, "{change:?}");
        for step in next {
            let step = step.replace("MODULE", &wasm).replace("VERSION", "1.1.0").replace("CHANNEL", "stable");
            ok(&step.split(' ').skip(1).collect::<Vec<_>>());
        }
        eventually(&format!("the device trusts root {version}"), || {
            let rows = json(&ok(&["devices", "--fleet", &fleet, "--json"]));
            (rows[0]["presence"]["root_version"] == version).then_some(())
        });
    }
    device.serves("1.1.0");
    // Nothing is refused afterwards.
    ok(&["deploy", "digits@1.1.0", "--to", "stable", "--fleet", &fleet]);
}

#[test]
fn the_doctor_ends_where_rules_drop_everything() {
    let folder = tempfile::tempdir().unwrap();
    let acl = folder.path().join("acl");
    std::fs::write(&acl, "# nothing is allowed\n").unwrap();
    let lines = format!("allow_anonymous true\nacl_file {}\n", acl.display());
    let Some((_broker, url)) = mosquitto::with(folder.path(), &lines) else { return };
    let start = std::time::Instant::now();
    let output = run(&["doctor", "--broker", &url, "--json"]);
    assert!(start.elapsed() < std::time::Duration::from_secs(60), "{:?}", start.elapsed());
    assert_eq!((output.status.code(), code_of(&output).as_str()), (Some(1), "broker-unfit"));
    let found = json(&text(&output.stdout));
    assert_eq!((&found["verdict"], &found["fleet"]), (&"bad".into(), &"dunlin-doctor".into()));
    let remedies = found["findings"].to_string();
    assert!(remedies.contains("retained messages") && remedies.contains("--name"), "{remedies}");
}

#[test]
fn a_user_in_the_url_needs_only_a_password() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    if mosquitto::program().is_none() {
        return;
    }
    let mut made = Command::new("mosquitto_passwd");
    made.args(["-b", "-c", &path("users"), "ann", "hunter2"]).stderr(Stdio::null());
    assert!(made.status().unwrap().success());
    let Some((_broker, url)) = mosquitto::with(folder.path(), &format!("password_file {}\n", path("users")))
    else {
        return;
    };
    let url = url.replace("mqtt://", "mqtt://ann@");
    let fleet = path("plant");
    ok(&["init", &fleet, "--fleet", "plant", "--no-passphrase", "--broker", &url]);
    let devices = ["devices", "--quiet-ms", "50", "--json"];
    let password = |password: &str| run_in(&fleet, &[("DUNLIN_BROKER_PASSWORD", password)], &devices);
    assert!(password("hunter2").status.success());
    let wrong = password("hunter3");
    assert_eq!((wrong.status.code(), code_of(&wrong).as_str()), (Some(4), "broker-refused"));
    assert!(!text(&wrong.stderr).contains("hunter3"));
    // Without one the name goes alone, and the broker refuses it.
    assert_eq!(code_of(&password("")), "broker-refused");
    std::fs::write(path("password"), "hunter2\n").unwrap();
    assert!(
        run_in(&fleet, &[], &[&devices[..], &["--password-file", &path("password")]].concat())
            .status
            .success()
    );
    ok(&["connection", "set", "--fleet", &fleet, "--broker", &url, "--password-file", &path("password")]);
    assert!(run_in(&fleet, &[], &devices).status.success());
    let kept = std::fs::read_to_string(path("plant/connection.toml")).unwrap();
    assert!(!kept.contains("hunter2"), "{kept}");
    // A password needs a user.
    let nameless = url.replace("ann@", "");
    let arguments =
        ["devices", "--fleet", &fleet, "--broker", &nameless, "--password-file", &path("password")];
    refused(&arguments, 2, "broker-password");
    std::fs::write(path("password"), "\n").unwrap();
    assert_eq!(code_of(&run_in(&fleet, &[], &devices)), "broker-password");
}
