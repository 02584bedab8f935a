//! mosquitto with certificates and access rules: the files and commands of `docs/brokers.md` as they stand on the
//! page, with the distribution's openssl and mosquitto and mosquitto's own user. Only places, ports and the host's
//! name are other ones.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use dunlin_mqtt::{
    ClientCertificate, Event, Events, Link, LinkConfig, Message, Subscription, Tls, connect_once,
};

use crate::mosquitto;
use crate::toolchain::available;
use crate::world::{Device, Process, command, digits, eventually, free_port, ok, refused};

const PAGE: &str = include_str!("../../docs/brokers.md");

/// A machine on which the page's section about mosquitto is followed.
struct Plant {
    // First, so that it ends before its folder does.
    broker: Option<Process>,
    folder: tempfile::TempDir,
    devices: u16,
    people: u16,
    /// The user and group of mosquitto, where the test may act for them.
    owner: Option<(u32, u32)>,
}

/// The code blocks of the section, with their languages, in order.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let section = PAGE.split("## mosquitto\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let fenced = section.split("```").skip(1).step_by(2);
    fenced.map(|block| block.split_once('\n').unwrap()).collect()
}

fn number(program: &str, arguments: &[&str]) -> Option<u32> {
    let output = Command::new(program).args(arguments).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

impl Plant {
    fn new() -> Plant {
        let folder = tempfile::tempdir().unwrap();
        let mode =
            |mode| std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        // mosquitto's own user has to get through.
        mode(0o755);
        let owner = number("id", &["-u"])
            .filter(|user| *user == 0)
            .and_then(|_| Some((number("id", &["-u", "mosquitto"])?, number("id", &["-g", "mosquitto"])?)));
        let plant = Plant { devices: free_port(), people: free_port(), folder, owner, broker: None };
        let missing =
            "mosquitto runs as the user of the tests: they are not root, or there is no user mosquitto";
        available("DUNLIN_REQUIRE_ROOT", plant.owner.map(|_| ()).ok_or_else(|| missing.to_string()));
        for place in ["work", "bin", "etc/mosquitto/conf.d", "lib", "log", "run"] {
            std::fs::create_dir_all(plant.path(place)).unwrap();
        }
        for place in ["lib", "log", "run"] {
            if let Some((user, group)) = plant.owner {
                std::os::unix::fs::chown(plant.path(place), Some(user), Some(group)).unwrap();
            }
        }
        // The page's commands find these; without root, files stay with the user of the tests.
        let sudo = match plant.owner {
            Some(_) => "exec \"$@\"",
            None => {
                "program=$1; shift\nif [ \"$1\" = -d ]; then program=\"$program -d\"; shift; fi\n\
                 if [ \"$1\" = -o ]; then shift 4; fi\nexec $program \"$@\""
            }
        };
        plant.program("sudo", sudo);
        plant.program("systemctl", "[ \"$*\" = \"restart mosquitto\" ]");
        plant.program("dunlin", &format!("exec {} \"$@\"", env!("CARGO_BIN_EXE_dunlin")));
        plant
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn work(&self, name: &str) -> String {
        self.path("work").join(name).display().to_string()
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A text of the page, for this machine.
    fn here(&self, text: &str) -> String {
        let folder = self.folder.path().display().to_string();
        text.replace("8883", &self.devices.to_string())
            .replace("8884", &self.people.to_string())
            .replace("broker.plant.example", "localhost")
            .replace("/etc/mosquitto", &format!("{folder}/etc/mosquitto"))
            .replace("/var/lib/mosquitto", &format!("{folder}/lib"))
            .replace("/var/log/mosquitto", &format!("{folder}/log"))
            .replace("/run/mosquitto", &format!("{folder}/run"))
    }

    fn shell(&self, script: &str) -> Output {
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("sh");
        shell.args(["-euc", &self.here(script)]).current_dir(self.path("work")).env("PATH", path);
        for name in ["DUNLIN_FLEET", "DUNLIN_BROKER", "DUNLIN_LOG"] {
            shell.env_remove(name);
        }
        shell.stdin(Stdio::null()).output().unwrap()
    }

    /// Follows the section; gives what its last two commands said, of the doctor and of the collector.
    fn follow(&mut self, program: &str) -> Vec<String> {
        for (language, text) in blocks() {
            if let Some(name) =
                text.strip_prefix("# ").and_then(|text| text.lines().next()).filter(|_| language == "conf")
            {
                std::fs::write(self.work(name), self.here(text)).unwrap();
            }
        }
        let mut said = Vec::new();
        for (_, script) in blocks().into_iter().filter(|(language, _)| *language == "sh") {
            let output = self.shell(script);
            let (out, err) =
                (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success(), "{script}\n{out}\n{err}\nbroker: {}", self.log());
            if script.contains("systemctl restart") {
                self.start(program);
            }
            said.push(out.into_owned());
        }
        said
    }

    /// As the distribution's unit does.
    fn start(&mut self, program: &str) {
        let main = std::fs::read_to_string("/etc/mosquitto/mosquitto.conf").unwrap_or_else(|_| {
            String::from(
                "persistence true\npersistence_location /var/lib/mosquitto/\ninclude_dir /etc/mosquitto/conf.d\n\
                 log_dest file /var/log/mosquitto/mosquitto.log\n",
            )
        });
        let path = self.path("etc/mosquitto/mosquitto.conf");
        std::fs::write(&path, self.here(&main)).unwrap();
        let mut command = Command::new(program);
        command.arg("-c").arg(&path).stdout(Stdio::null()).stderr(Stdio::null());
        let mut process = Process::spawn(command);
        for port in [self.devices, self.people] {
            eventually("mosquitto is up", || {
                assert!(process.is_running(), "mosquitto ended: {}", self.log());
                std::net::TcpStream::connect(("127.0.0.1", port)).ok()
            });
        }
        self.broker = Some(process);
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log/mosquitto.log")).unwrap_or_default()
    }

    /// The flags that show a certificate of the plant, at a listener.
    fn flags(&self, name: &str, port: u16) -> [String; 8] {
        let file = |ending: &str| self.work(&format!("{name}.{ending}"));
        let url = format!("mqtts://localhost:{port}");
        [
            "--broker",
            &url,
            "--ca",
            &self.work("ca.pem"),
            "--certificate",
            &file("pem"),
            "--certificate-key",
            &file("key"),
        ]
        .map(ToString::to_string)
    }

    /// A link with a certificate of the plant, to the listener for people.
    async fn link(&self, name: &str) -> (Link, Events) {
        let read = |name: &str| std::fs::read(self.work(name)).unwrap();
        let (chain, key) = (read(&format!("{name}.pem")), read(&format!("{name}.key")));
        let certificate = ClientCertificate { chain: &chain, key: &key };
        let url = format!("mqtts://localhost:{}", self.people).parse().unwrap();
        let mut config = LinkConfig::new(url, format!("test-{name}"));
        config.tls = Some(Tls::new(&read("ca.pem"), Some(certificate), None).unwrap());
        connect_once(config, Duration::from_secs(10)).await.unwrap()
    }
}

fn strs(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

/// The bundle that the page enrols, with an address of the test's own.
fn press(plant: &Plant) -> Device {
    let device = Device {
        bundle: PathBuf::from(plant.work("press-3")),
        api: std::net::SocketAddr::from(([127, 0, 0, 1], free_port())),
    };
    let config = std::fs::read_to_string(device.config()).unwrap();
    let config = config
        .replace("127.0.0.1:8500", &device.api.to_string())
        .replace("first_connect_jitter_s = 30", "first_connect_jitter_s = 0");
    std::fs::write(device.config(), config).unwrap();
    device
}

/// Rows 34 and 46 of SECURITY.md, and the rules of the page.
#[test]
fn certificates_and_access_rules_hold() {
    let Some(program) = mosquitto::program() else { return };
    let mut plant = Plant::new();
    let said = plant.follow(program);
    let [.., doctor, collector] = &said[..] else { panic!("{said:?}") };
    assert!(doctor.contains("this broker does all that Dunlin needs"), "{doctor}");
    assert!(collector.contains("press-3") && collector.contains("stable"), "{collector}");
    if let Some((user, _)) = plant.owner {
        let key = std::fs::metadata(plant.path("etc/mosquitto/dunlin/broker.key")).unwrap();
        assert_eq!((key.uid(), key.mode() & 0o777), (user, 0o600));
        let id = plant.broker.as_ref().unwrap().id();
        assert_eq!(std::fs::metadata(format!("/proc/{id}")).unwrap().uid(), user, "mosquitto drops root");
    }

    // A model reaches the device, and the collector reads what it reports.
    let (fleet, device) = (plant.work("plant"), press(&plant));
    let _agent = device.start();
    let wasm = plant.work("digits.wasm");
    ok(&["compile", &digits("digits.onnx"), "-o", &wasm, "--batch", "16"]);
    ok(&["release", &wasm, "--fleet", &fleet, "--name", "digits", "--version", "1.0.0"]);
    ok(&["publish", "digits@1.0.0", "--fleet", &fleet]);
    ok(&["deploy", "digits@1.0.0", "--fleet", &fleet, "--to", "stable", "--report-interval-s", "1"]);
    device.serves("1.0.0");
    let root = plant.work("plant/root/1.json");
    let tail = ["tail", "health", "--count", "1", "--root", &root].map(str::to_string);
    let reported = ok(&strs(&[&tail[..], &plant.flags("collector", plant.people)].concat()));
    assert!(reported.contains("\"press-3\""), "{reported}");
    let (_, state) = device.get("/dunlin/v1/device").unwrap();
    assert_eq!((&state["connected"], &state["clock"]), (&true.into(), &"bounded".into()), "{state}");
    assert_eq!(state["alarms"], serde_json::json!([]));

    certificates_open_their_own_listener(&plant, &root);
    collectors_write_nothing(&plant);
}

/// Each listener takes the certificates of its own authority, and no one gets in without one.
fn certificates_open_their_own_listener(plant: &Plant, root: &str) {
    let devices = |flags: &[String]| -> Vec<String> {
        ["devices", "--root", root].iter().map(ToString::to_string).chain(flags.iter().cloned()).collect()
    };
    let people = plant.flags("operator", plant.people);
    ok(&strs(&devices(&people)));
    // Without a certificate, without an authority, and with one that did not sign the broker's.
    refused(&strs(&devices(&people[..4])), 3, "broker-untrusted");
    refused(&strs(&devices(&people[..2])), 2, "link-config");
    let mut other = people.clone();
    other[3] = plant.work("devices-ca.pem");
    let message = refused(&strs(&devices(&other)), 3, "broker-untrusted");
    assert!(message.contains("not trusted"), "{message}");
    // People at the devices' listener, and a device at that of people.
    for name in ["operator", "collector"] {
        let output = command(&strs(&devices(&plant.flags(name, plant.devices)))).output().unwrap();
        assert!(!output.status.success(), "{name} gets in as a device");
    }
    for ending in ["pem", "key"] {
        let from = plant.path("work/press-3").join(format!("client.{ending}"));
        std::fs::copy(from, plant.work(&format!("press-3.{ending}"))).unwrap();
    }
    let output = command(&strs(&devices(&plant.flags("press-3", plant.people)))).output().unwrap();
    assert!(!output.status.success(), "a device gets in as an operator");
    let key = plant.work("operator.key");
    std::fs::set_permissions(Path::new(&key), std::fs::Permissions::from_mode(0o644)).unwrap();
    refused(&strs(&devices(&people)), 3, "key-file-mode");
    std::fs::set_permissions(Path::new(&key), std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// What a collector publishes does not arrive, also where a device of its name could write.
fn collectors_write_nothing(plant: &Plant) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (watch, mut seen) = plant.link("operator").await;
        watch.subscribe(&[Subscription::new("dunlin/v1/plant/#", 120 * 1024)]).await.unwrap();
        let (collector, _events) = plant.link("collector").await;
        let forged = b"by the collector";
        let put = |topic: &str, payload: &'static [u8]| {
            let topic = format!("dunlin/v1/plant/{topic}");
            Message { topic, payload: payload.into(), retain: false }
        };
        for topic in [
            "device/collector/presence",
            "device/collector/telemetry/event",
            "device/press-3/presence",
            "devices",
            "root/2",
            "deploy/channel/stable",
        ] {
            // mosquitto acknowledges what it drops.
            collector.publish(put(topic, forged)).await.unwrap();
        }
        watch.publish(put("marker", b"last")).await.unwrap();
        loop {
            let event = tokio::time::timeout(Duration::from_secs(30), seen.recv()).await.unwrap().unwrap();
            let Event::Received(message) = event else { continue };
            assert_ne!(&message.payload[..], forged, "{} is written by a collector", message.topic);
            if message.topic.ends_with("/marker") {
                break;
            }
        }
        collector.close().await;
        watch.close().await;
    });
}
