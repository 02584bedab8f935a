//! A plant of one device: a folder as `dunlin enroll` makes it, a broker, keys, and the agent as a
//! process of its own.

#![allow(dead_code, unreachable_pub, reason = "a module of tests, each of which uses a part of it")]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use dunlin_abi::Card;
use dunlin_core::Digest;
use dunlin_core::document::{
    Audience, ChunkRef, Chunks, Deployment, Document, ModelEntry, Release, Role, Roles, Root, RootKey, Want,
    to_body,
};
use dunlin_core::enrolment::Enrolment;
use dunlin_core::envelope::seal;
use dunlin_core::id::KeyName;
use dunlin_core::key::SecretKey;
use dunlin_core::telemetry::{EventRecord, Health, Presence, PresenceState, Record};
use dunlin_core::topic::{self, TelemetryClass};
use dunlin_mqtt::{Event, Events, Link, LinkConfig, Message, Subscription, connect_once};
use mqtt5::broker::config::AuthConfig;
use mqtt5::broker::{BrokerConfig, MqttBroker, StorageBackendType, StorageConfig};
use tokio::task::JoinHandle;

use crate::support;

#[derive(Clone, Copy, Debug)]
pub enum Signer {
    Root,
    Release,
    Deploy,
    Device,
    Stranger,
}

impl Signer {
    fn secret(self) -> SecretKey {
        SecretKey::from_seed(&[self as u8 + 1; 32])
    }

    fn name(self) -> KeyName {
        format!("{self:?}").to_lowercase().parse().unwrap()
    }
}

fn signed<T: Document>(document: &T, signer: Signer) -> Vec<u8> {
    let body = to_body(document).unwrap().0;
    seal::<T>(&body, &[(&signer.name(), &signer.secret())])
}

pub fn digest<T: Document>(document: &T) -> Digest {
    to_body(document).unwrap().1
}

/// Gives a release another module, in chunks of 256 bytes.
pub fn replace_module(release: &mut Release, wasm: &[u8]) {
    let chunk = |bytes: &[u8]| ChunkRef {
        digest: Digest::of(bytes),
        size_bytes: u32::try_from(bytes.len()).unwrap(),
    };
    release.artifact.digest = Digest::of(wasm);
    release.artifact.size_bytes = wasm.len() as u64;
    release.artifact.chunks = Chunks::Inline(wasm.chunks(256).map(chunk).collect());
}

/// A release of `y = x + addend` with its module, in chunks of 256 bytes.
pub fn module_release(model: &str, counter: u64, card: &Card, addend: f32, body: &str) -> (Release, Vec<u8>) {
    let wasm = support::module(card, addend, body);
    let mut release = support::release(model, &counter.to_string(), card, wasm.clone()).document;
    release.counter = counter;
    replace_module(&mut release, &wasm);
    release.probation.duration_s = 3600;
    (release, wasm)
}

fn root(version: u64, deploy: Signer) -> Root {
    let role = |signer: Signer| Role { keys: vec![signer.name()], threshold: 1 };
    let key = |signer: Signer| RootKey { name: signer.name(), public: signer.secret().public() };
    Root {
        schema: 1,
        fleet: FLEET.parse().unwrap(),
        version,
        issued_unix_s: 1_000_000_000,
        not_after_unix_s: 9_000_000_000,
        keys: vec![key(Signer::Root), key(Signer::Release), key(deploy)],
        roles: Roles {
            root: role(Signer::Root),
            release: role(Signer::Release),
            deploy: role(deploy),
            precompiled: None,
        },
        release_epoch: 1,
        deploy_epoch: 1,
        revoked_releases: vec![],
        revoked_devices: vec![],
        minimum_counters: vec![],
    }
}

struct Broker {
    address: SocketAddr,
    shutdown: mqtt5::broker::BrokerShutdownHandle,
    task: JoinHandle<mqtt5::Result<()>>,
}

impl Broker {
    async fn start(listen: SocketAddr) -> Broker {
        let config = BrokerConfig::new()
            .with_bind_address(listen)
            .with_auth(AuthConfig::new().with_allow_anonymous(true))
            .with_storage(StorageConfig::new().with_backend(StorageBackendType::Memory))
            .with_sys_topics_enabled(false);
        let mut broker = MqttBroker::with_config(config).await.unwrap();
        let (address, shutdown) = (broker.local_addr().unwrap(), broker.shutdown_handle());
        let mut ready = broker.ready_receiver();
        let task = tokio::spawn(async move { broker.run().await });
        ready.wait_for(|ready| *ready).await.unwrap();
        Broker { address, shutdown, task }
    }

    async fn stop(self) {
        self.shutdown.shutdown();
        let _ = tokio::time::timeout(Duration::from_secs(5), self.task).await;
    }
}

pub struct Plant {
    folder: tempfile::TempDir,
    broker: Option<Broker>,
    address: SocketAddr,
    link: Link,
    events: Events,
    /// What came and nobody has asked for yet.
    waiting: VecDeque<Message>,
}

const FLEET: &str = "test";

impl Plant {
    pub async fn new() -> Plant {
        let broker = Broker::start(SocketAddr::from(([127, 0, 0, 1], 0))).await;
        let folder = tempfile::tempdir().unwrap();
        let address = broker.address;
        let (link, events) = listen(address).await;
        let plant = Plant { folder, broker: Some(broker), address, link, events, waiting: VecDeque::new() };
        plant.enrol();
        plant
    }

    /// A file of the device's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn enrol(&self) {
        let root = root(1, Signer::Deploy);
        let enrolment = Enrolment {
            schema: 1,
            fleet: FLEET.parse().unwrap(),
            device: "d".parse().unwrap(),
            public: Signer::Device.secret().public(),
            channel: "stable".parse().unwrap(),
            deploy_epoch: 1,
            sequences: vec![],
            floors: vec![],
            time_low_unix_s: 1_000_000_000,
        };
        std::fs::write(self.path("root.json"), signed(&root, Signer::Root)).unwrap();
        std::fs::write(self.path("enrolment.json"), serde_json::to_vec(&enrolment).unwrap()).unwrap();
        let key = self.path("device.key");
        std::fs::write(&key, Signer::Device.secret().to_text().as_bytes()).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&key, private).unwrap();
        self.configure(&self.config());
    }

    /// The text of a configuration that works.
    pub fn config(&self) -> String {
        format!(
            "fleet = \"{FLEET}\"\ndevice = \"d\"\nstate_dir = \"state\"\n\
             [broker]\nurl = \"mqtt://{}\"\nfirst_connect_jitter_s = 0\n\
             [api]\nlisten = \"127.0.0.1:0\"\n[telemetry]\nreport_interval_s = 1\n",
            self.address
        )
    }

    pub fn configure(&self, text: &str) {
        std::fs::write(self.path("agent.toml"), text).unwrap();
    }

    pub fn spoil_enrolment(&self) {
        std::fs::write(self.path("enrolment.json"), "{}").unwrap();
    }

    /// The agent's command line, behind that of a program that starts it, if there is one.
    fn command(&self, starter: &[&str]) -> Command {
        let mut words = starter.iter().copied().chain([env!("CARGO_BIN_EXE_dunlind")]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).arg("--config").arg(self.path("agent.toml")).env("DUNLIN_LOG", "info");
        command
    }

    /// Starts the agent.
    pub fn start(&self) -> Agent {
        self.spawn(self.command(&[]))
    }

    /// Starts the agent by another program.
    pub fn start_by(&self, starter: &[&str]) -> Agent {
        self.spawn(self.command(starter))
    }

    /// Starts the agent with a log of this level.
    pub fn start_at(&self, level: &str) -> Agent {
        let mut command = self.command(&[]);
        command.env("DUNLIN_LOG", level);
        self.spawn(command)
    }

    /// All that it says goes into one file.
    fn spawn(&self, mut command: Command) -> Agent {
        let log = self.path("agent.log");
        let file = std::fs::File::create(&log).unwrap();
        let child = command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap();
        Agent { child, log }
    }

    /// A file beside the configuration that its owner alone can read.
    pub fn write_secret(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }

    /// What the device's key is made of, as text and in hexadecimal digits.
    pub fn device_secrets() -> [String; 2] {
        let seed = [Signer::Device as u8 + 1; 32];
        let text = Signer::Device.secret().to_text();
        [text.trim().to_string(), seed.map(|byte| format!("{byte:02x}")).concat()]
    }

    /// Runs the agent's binary to its end: exit code and all output.
    pub fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        self.run_by(&[], arguments)
    }

    /// The same, by another program.
    pub fn run_by(&self, starter: &[&str], arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.command(starter).args(arguments).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }

    /// The persisted state, by the agent's own verb.
    pub fn state(&self) -> serde_json::Value {
        let (code, text) = self.run(&["state", "--json"]);
        assert_eq!(code, Some(0), "{text}");
        serde_json::from_str(&text).unwrap()
    }

    pub async fn stop_broker(&mut self) {
        self.broker.take().unwrap().stop().await;
    }

    pub async fn restart_broker(&mut self) {
        self.stop_broker().await;
        self.broker = Some(Broker::start(self.address).await);
        (self.link, self.events) = listen(self.address).await;
        self.waiting.clear();
    }

    async fn publish(&self, topic: String, payload: Vec<u8>) {
        self.link.publish(Message { topic, payload: payload.into(), retain: true }).await.unwrap();
    }

    pub async fn publish_release(&self, release: &Release, wasm: &[u8], signer: Signer) {
        let fleet = FLEET.parse().unwrap();
        for chunk in wasm.chunks(256) {
            self.publish(topic::chunk(&fleet, &Digest::of(chunk)), chunk.to_vec()).await;
        }
        self.publish(topic::release(&fleet, &digest(release)), signed(release, signer)).await;
    }

    pub async fn publish_root(&self, version: u64, deploy: Signer) {
        let envelope = signed(&root(version, deploy), Signer::Root);
        self.publish(topic::root(&FLEET.parse().unwrap(), version), envelope).await;
    }

    pub async fn deploy(&self, sequence: u64, release: &Release, signer: Signer) {
        let audience = Audience::Channel("stable".parse().unwrap());
        let deployment = Deployment {
            schema: 1,
            fleet: FLEET.parse().unwrap(),
            audience: audience.clone(),
            deploy_epoch: 1,
            sequence,
            min_root_version: 1,
            issued_unix_s: 1_000_000_000,
            not_after_unix_s: 9_000_000_000,
            models: vec![ModelEntry {
                model: release.model.clone(),
                want: Want::Release { stable: digest(release), candidate: None },
                retry: false,
            }],
            floors: vec![],
            channel: None,
            nonce_echo: None,
            report_interval_s: 60,
            pull_spread_s: 0,
        };
        self.publish(topic::deployment(&FLEET.parse().unwrap(), &audience), signed(&deployment, signer))
            .await;
    }

    /// The next message that `read` makes something of; others stay for later.
    async fn next<T>(&mut self, patience: Duration, what: &str, read: impl Fn(&Message) -> Option<T>) -> T {
        if let Some(at) = self.waiting.iter().position(|message| read(message).is_some()) {
            return read(&self.waiting.remove(at).unwrap()).unwrap();
        }
        let end = tokio::time::Instant::now() + patience;
        loop {
            let event = tokio::time::timeout_at(end, self.events.recv()).await;
            let Ok(Some(event)) = event else { panic!("no {what} came; waiting: {:?}", self.seen()) };
            if let Event::Received(message) = event {
                match read(&message) {
                    Some(found) => return found,
                    None => self.waiting.push_back(message),
                }
            }
        }
    }

    fn seen(&self) -> Vec<String> {
        self.waiting.iter().map(|message| String::from_utf8_lossy(&message.payload).into_owned()).collect()
    }

    async fn record<T: Record>(&mut self, patience: Duration, what: &str, wanted: impl Fn(&T) -> bool) -> T {
        let (fleet, device) = (FLEET.parse().unwrap(), "d".parse().unwrap());
        let topic = match T::CLASS {
            Some(class) => topic::telemetry(&fleet, &device, class),
            None => topic::presence(&fleet, &device),
        };
        let read = |message: &Message| {
            (message.topic == topic).then(|| T::from_json(&message.payload).unwrap()).filter(&wanted)
        };
        self.next(patience, what, read).await
    }

    pub async fn presence(&mut self, patience: Duration) -> Presence {
        self.record(patience, "presence", |_| true).await
    }

    /// The next presence that says offline.
    pub async fn offline(&mut self, patience: Duration) -> Presence {
        self.record(patience, "offline", |presence: &Presence| presence.state == PresenceState::Offline).await
    }

    /// The next event of this name.
    pub async fn event(&mut self, name: &str, patience: Duration) -> EventRecord {
        self.record(patience, name, |event: &EventRecord| event.event == name).await
    }

    /// The next health record.
    pub async fn any_health(&mut self, patience: Duration) -> Health {
        self.record(patience, "health", |_: &Health| true).await
    }

    /// The next health record that shows a model which serves.
    pub async fn health(&mut self, patience: Duration) -> Health {
        self.record(patience, "health", |health: &Health| health.models.iter().any(|model| model.ready)).await
    }
}

async fn listen(address: SocketAddr) -> (Link, Events) {
    let (fleet, device) = (FLEET.parse().unwrap(), "d".parse().unwrap());
    let config = LinkConfig::new(format!("mqtt://{address}").parse().unwrap(), "watcher");
    let (link, events) = connect_once(config, Duration::from_secs(5)).await.unwrap();
    let mut topics = TelemetryClass::ALL.map(|class| topic::telemetry(&fleet, &device, class)).to_vec();
    topics.push(topic::presence(&fleet, &device));
    let subscriptions: Vec<_> = topics.into_iter().map(|topic| Subscription::new(topic, 1 << 16)).collect();
    link.subscribe(&subscriptions).await.unwrap();
    (link, events)
}

/// The agent, as a process. It is killed when a test fails.
pub struct Agent {
    child: Child,
    log: PathBuf,
}

impl Agent {
    /// Resident memory of the agent and its children, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        let own = self.child.id();
        // Each thread has the children that it has started.
        let threads = std::fs::read_dir(format!("/proc/{own}/task")).unwrap();
        let children = threads.map(|thread| {
            std::fs::read_to_string(thread.unwrap().path().join("children")).unwrap_or_default()
        });
        let all: Vec<u32> = children
            .flat_map(|ids| ids.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<_>>())
            .chain([own])
            .collect();
        assert!(all.len() > 1, "the worker is a child");
        let pages = |id: u32| -> u64 {
            let statm = std::fs::read_to_string(format!("/proc/{id}/statm")).unwrap_or_default();
            statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0)
        };
        all.into_iter().map(pages).sum::<u64>() * 4096
    }

    /// All that it has said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for something in the log.
    pub fn eventually<T>(&self, what: &str, mut probe: impl FnMut(&str) -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let log = self.log();
            if let Some(found) = probe(&log) {
                return found;
            }
            assert!(Instant::now() < end, "{what} did not happen; the log:\n{log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Where the local API listens.
    pub fn address(&self) -> SocketAddr {
        self.eventually("the local API", |log| {
            let rest = log.split("api=").nth(1)?;
            rest.split_whitespace().next()?.parse().ok()
        })
    }

    /// The first element of the model's answer to `[x, x]`, once it serves; or the code of its refusal.
    pub fn infer(&mut self, model: &str, x: f32) -> Result<f64, String> {
        let address = self.address();
        let path = format!("/v2/models/{model}");
        self.eventually("the model serves", |_| {
            (support::get(address, &format!("{path}/ready")).status == 200).then_some(())
        });
        let body = support::input("[1,2]", &format!("[{x},{x}]"));
        let answer = support::post(address, &format!("{path}/infer"), &body);
        match answer.status {
            200 => Ok(answer.json()["outputs"][0]["data"][0].as_f64().unwrap()),
            _refused => Err(answer.error().1),
        }
    }

    /// SIGTERM; gives the exit code.
    pub fn terminate(&mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < end, "it does not end; the log:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
