//! Success means that it happened: against mosquitto with access rules, which acknowledges what it drops.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::mosquitto;
use crate::world::{Process, World, eventually, free_port, ok, refused};

/// What users may do; without a name one may do everything.
const RULES: &str = "\
topic readwrite #

user reader
topic read #

user publisher
topic read #
topic write dunlin/v1/test/root/#
topic write dunlin/v1/test/devices
topic write dunlin/v1/test/chunk/#
topic write dunlin/v1/test/release/#

user blind
topic write #
";

/// mosquitto with [`RULES`] and further settings; its URL.
fn start(folder: &Path, settings: &str) -> Option<(Process, String)> {
    let program = mosquitto::program()?;
    let port = free_port();
    let (config, rules) = (folder.join("mosquitto.conf"), folder.join("acl"));
    std::fs::write(&rules, RULES).unwrap();
    let text = format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\nset_tcp_nodelay true\npersistence false\n\
         acl_file {}\nuser root\n{settings}\n",
        rules.display()
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(program);
    command.arg("-c").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
    let process = Process::spawn(command);
    eventually("mosquitto is up", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    Some((process, format!("mqtt://127.0.0.1:{port}")))
}

/// A plant behind mosquitto, with a device and a release; nothing is published.
struct Plant {
    world: World,
    fleet: String,
    password: String,
}

impl Plant {
    fn new(settings: &str) -> Option<Plant> {
        let folder = tempfile::tempdir().unwrap();
        let (broker, url) = start(folder.path(), settings)?;
        let world = World::with(broker, url);
        let password = world.path("password");
        std::fs::write(&password, "any").unwrap();
        world.enroll("alpha");
        world.release_digits("1.0.0", 16);
        let fleet = world.fleet();
        Some(Plant { world, fleet, password })
    }

    /// A command with fleet and broker, as a user; without a name as one who may do everything.
    fn command<'a>(&'a self, user: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
        let places = ["--fleet", &self.fleet, "--broker", &self.world.url];
        let login: &[&str] =
            if user.is_empty() { &[] } else { &["--username", user, "--password-file", &self.password] };
        [arguments, &places, login].concat()
    }

    fn ok(&self, arguments: &[&str]) -> String {
        ok(&self.command("", arguments))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[arguments, &["--json"]].concat())).unwrap()
    }

    fn refused(&self, user: &str, arguments: &[&str], exit: i32, code: &str) -> String {
        refused(&self.command(user, arguments), exit, code)
    }

    /// Every file of the fleet's folder but the sequences that are taken.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        collect(Path::new(&self.fleet), &mut files);
        files.retain(|path, _| !path.contains("/attempts/"));
        files
    }

    fn sequence(&self, audience: &str) -> Option<u64> {
        self.json(&["deploy", "show", audience])["sequence"].as_u64()
    }
}

fn collect(folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => collect(&path, files),
            false => drop(files.insert(path.display().to_string(), std::fs::read(&path).unwrap())),
        }
    }
}

#[test]
fn dropped_publishes_fail() {
    let Some(plant) = Plant::new("") else { return };
    let publish = ["publish", "digits@1.0.0"];
    for user in ["reader", "blind"] {
        let message = plant.refused(user, &publish, 3, "publish-not-kept");
        assert!(
            message.contains("on dunlin/v1/test/root/1 it holds nothing: let this user write and read"),
            "{message}"
        );
    }
    // Nothing of it arrived but what the blind user wrote: the release goes last, and only behind its chunks.
    assert_eq!(plant.json(&["gc", "--listen-s", "0"])["releases"], serde_json::json!([]));
    assert!(plant.ok(&publish).contains("sent and read back"));
    assert_eq!(plant.json(&publish)["sent"], 0);
}

#[test]
fn large_messages_name_the_limit() {
    let Some(plant) = Plant::new("message_size_limit 4000") else { return };
    let message = plant.refused("", &["publish", "digits@1.0.0"], 3, "publish-not-kept");
    assert!(message.contains("/chunk/") && message.contains("message_size_limit"), "{message}");
}

#[test]
fn dropped_documents_change_nothing_here() {
    let Some(plant) = Plant::new("") else { return };
    plant.ok(&["publish", "digits@1.0.0"]);
    let before = plant.files();
    let deploy = ["deploy", "digits@1.0.0", "--to", "stable"];
    let message = plant.refused("publisher", &deploy, 3, "publish-not-kept");
    assert!(message.contains("dunlin/v1/test/deploy/channel/stable"), "{message}");
    assert_eq!(plant.files(), before);
    // What failed comes alive neither by a repair nor by a renewal.
    assert_eq!(plant.json(&["publish", "--repair"])["sent"], 0);
    assert_eq!(plant.json(&["deploy", "resign", "--all"])["deployments"], serde_json::json!([]));
    assert_eq!(plant.json(&["deploy", "list"]), serde_json::json!([]));
    // Its sequence is never signed with another content.
    plant.ok(&deploy);
    assert_eq!(plant.sequence("stable"), Some(2));

    let before = plant.files();
    for command in [
        &["deploy", "renew", "--within-days", "1000"][..],
        &["deploy", "resign", "--all"],
        &["deploy", "delete", "stable"],
        &["move", "alpha", "canary", "--new-channel"],
        &["decommission", "alpha"],
    ] {
        let message = plant.refused("reader", command, 3, "publish-not-kept");
        assert!(message.contains("nothing") || message.contains("another message"), "{command:?}: {message}");
        assert_eq!(plant.files(), before, "{command:?}");
    }
    // A root is made here and published with what comes next.
    ok(&["root", "renew", "--fleet", &plant.fleet]);
    let message = plant.refused("reader", &["publish", "--repair"], 3, "publish-not-kept");
    assert!(message.contains("dunlin/v1/test/root/2"), "{message}");
    assert_eq!(plant.json(&["publish", "--repair"])["sent"], 1);
    // Sequences that failed are skipped by what succeeds.
    plant.ok(&["deploy", "renew", "--within-days", "1000"]);
    assert_eq!(plant.sequence("stable"), Some(5));
}

#[test]
fn dropped_deletions_fail() {
    let Some(plant) = Plant::new("") else { return };
    for (minor, batch) in [(0, 16), (1, 15), (2, 14), (3, 13)] {
        if minor > 0 {
            plant.world.release_digits(&format!("1.{minor}.0"), batch);
        }
        plant.ok(&["publish", &format!("digits@1.{minor}.0")]);
    }
    let gc = ["gc", "--delete", "--listen-s", "0"];
    // Another copy of the folder deploys the oldest; a release that is needed on the broker stays.
    let copy = plant.world.path("copy");
    let copied = Command::new("cp").args(["-r", &plant.fleet, &copy]).status().unwrap();
    assert!(copied.success());
    ok(&["deploy", "digits@1.0.0", "--to", "stable", "--fleet", &copy, "--broker", &plant.world.url]);
    assert_eq!(plant.json(&gc)["unreferenced"], serde_json::json!([]));
    ok(&["deploy", "digits@1.3.0", "--to", "stable", "--fleet", &copy, "--broker", &plant.world.url]);
    plant.refused("reader", &gc, 3, "publish-not-kept");
    let deleted = plant.json(&gc);
    assert!(!deleted["unreferenced"].as_array().unwrap().is_empty(), "{deleted}");
    assert_eq!(plant.json(&gc)["unreferenced"], serde_json::json!([]));
}

/// The folder as a command leaves it that is killed between publishing and recording: `attempts/` says what was sent.
#[test]
fn interrupted_deployments_are_recorded_later() {
    let Some(plant) = Plant::new("") else { return };
    plant.ok(&["publish", "digits@1.0.0"]);
    let deploy = ["deploy", "digits@1.0.0", "--to", "stable"];
    plant.ok(&deploy);
    let recorded = format!("{}/deployments/channel/stable.json", plant.fleet);
    let old = std::fs::read(&recorded).unwrap();
    let second = plant.json(&deploy);
    let new = std::fs::read(&recorded).unwrap();
    std::fs::write(&recorded, &old).unwrap();
    let attempt = format!("{}/attempts/channel/stable.json", plant.fleet);
    let noted = |sequence: u64, digest: &Value| {
        serde_json::json!({ "deploy_epoch": 1, "sequence": sequence, "digest": digest }).to_string()
    };
    std::fs::create_dir_all(Path::new(&attempt).parent().unwrap()).unwrap();
    std::fs::write(&attempt, noted(2, &second["digest"])).unwrap();
    assert_eq!(plant.json(&["deploy", "show", "stable"])["broker"]["state"], "newer");

    assert_eq!(plant.json(&["deploy", "renew"])["deployments"], serde_json::json!([]));
    assert_eq!(std::fs::read(&recorded).unwrap(), new);
    assert!(!Path::new(&attempt).exists());
    assert_eq!(plant.json(&["deploy", "show", "stable"])["broker"]["state"], "same");

    // What publishes the folder's documents reads them after that.
    std::fs::write(&recorded, &old).unwrap();
    std::fs::write(&attempt, noted(2, &second["digest"])).unwrap();
    assert_eq!(plant.json(&["publish", "--repair"])["sent"], 0);
    assert_eq!(std::fs::read(&recorded).unwrap(), new);

    // One that never arrived leaves its sequence unused.
    std::fs::write(&attempt, noted(3, &Value::from("0".repeat(64)))).unwrap();
    plant.ok(&["deploy", "renew"]);
    assert_eq!(std::fs::read(&recorded).unwrap(), new);
    assert_eq!(plant.json(&deploy)["deployment"]["sequence"], 4);
    assert!(!Path::new(&attempt).exists());
}

#[test]
fn newer_documents_are_not_replaced() {
    let Some(plant) = Plant::new("") else { return };
    plant.ok(&["publish", "digits@1.0.0"]);
    plant.ok(&["deploy", "digits@1.0.0", "--to", "stable"]);
    let keep = |name: &str| std::fs::read(format!("{}/{name}", plant.fleet)).unwrap();
    let (list, deployment) = (keep("devices.json"), keep("deployments/channel/stable.json"));
    // Another copy of the folder goes on.
    plant.ok(&["deploy", "resign", "--all"]);
    std::fs::write(format!("{}/deployments/channel/stable.json", plant.fleet), deployment).unwrap();
    let message = plant.refused("", &["publish", "--repair"], 3, "deployment-conflict");
    assert!(
        message.contains("deploy/channel/stable") && message.contains("this folder has sequence 1"),
        "{message}"
    );
    std::fs::write(format!("{}/devices.json", plant.fleet), list).unwrap();
    let message = plant.refused("", &["publish", "digits@1.0.0"], 3, "deployment-conflict");
    assert!(message.contains("dunlin/v1/test/devices"), "{message}");
    // Who means this folder signs it again, above what the broker has.
    plant.ok(&["deploy", "resign", "--all"]);
    plant.ok(&["publish", "--repair"]);
    assert_eq!(plant.sequence("stable"), Some(3));
}
