//! What the acts play on: a temporary folder, a broker, two agents, and an ear on the telemetry.

use std::fs::OpenOptions;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dunlin_core::code;
use dunlin_core::topic::TelemetryClass;
use dunlin_fleet::tensor::Tensor;
use dunlin_fleet::{Fleet, Session, tail};
use dunlin_mqtt::{BrokerUrl, Events, Link, LinkConfig};
use serde_json::Value;
use tempfile::TempDir;

use super::images;
use crate::broker::Broker;
use crate::failure::{Failure, Outcome, on_file};

/// How long any single thing may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The devices.
pub(super) const DEVICES: [&str; 2] = ["alpha", "beta"];

/// The model.
pub(super) const MODEL: &str = "digits";

/// Everything that the acts share.
pub(super) struct Stage {
    pub(super) runtime: tokio::runtime::Runtime,
    folder: TempDir,
    broker: Option<Broker>,
    pub(super) url: BrokerUrl,
    pub(super) devices: Vec<Device>,
    /// The operator's own connections.
    pub(super) session: Session,
    /// Another one, which an attacker who owns the broker could have.
    pub(super) link: Link,
    _events: Events,
    /// Records in the order in which they came, and the task that listens for them.
    records: std::sync::mpsc::Receiver<Value>,
    ear: tokio::task::JoinHandle<()>,
    /// The first deployment, as signed; an attacker keeps it.
    pub(super) first_deployment: Vec<u8>,
    pub(super) images: Vec<Vec<f32>>,
    pub(super) labels: Vec<u8>,
}

/// A device of the demo.
pub(super) struct Device {
    pub(super) id: &'static str,
    pub(super) bundle: PathBuf,
    pub(super) api: SocketAddr,
    pub(super) agent: Option<Child>,
}

impl Stage {
    pub(super) fn open() -> Outcome<Stage> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(|error| failed(format!("cannot start the event loop: {error}")))?;
        let folder = tempfile::Builder::new().prefix("dunlin-demo-").tempdir();
        let folder = folder.map_err(|error| failed(format!("cannot make a temporary folder: {error}")))?;
        let broker = runtime.block_on(Broker::start(SocketAddr::from(([127, 0, 0, 1], 0)), None))?;
        let url: BrokerUrl = format!("mqtt://{}", broker.address()).parse()?;
        let connect = |name: &str| {
            runtime.block_on(dunlin_mqtt::connect_once(LinkConfig::new(url.clone(), name), PATIENCE))
        };
        let session = Session::new(connect("dunlin-demo-writer")?, connect("dunlin-demo-reader")?);
        let (link, events) = connect("dunlin-demo-attacker")?;
        let (records, ear) = listen(&runtime, &url)?;
        let devices = DEVICES
            .into_iter()
            .map(|id| Ok(Device { id, bundle: folder.path().join(id), api: free_address()?, agent: None }))
            .collect::<Outcome<Vec<Device>>>()?;
        let (images, labels) = images_of(folder.path())?;
        Ok(Stage {
            runtime,
            folder,
            broker: Some(broker),
            url,
            devices,
            session,
            link,
            _events: events,
            records,
            ear,
            first_deployment: Vec::new(),
            images,
            labels,
        })
    }

    /// A path in the temporary folder.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn fleet(&self) -> Outcome<Fleet> {
        Ok(Fleet::open(&self.path("fleet"))?)
    }

    /// The next record that fits, within [`PATIENCE`].
    pub(super) fn hear(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Outcome<Value> {
        let start = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(start.elapsed());
            match self.records.recv_timeout(left) {
                Ok(record) if fits(&record) => return Ok(record),
                Ok(_) => {}
                Err(_) => return Err(failed(format!("no record came: {what}"))),
            }
        }
    }

    /// Ends the broker, as a power cut in the server room would.
    pub(super) fn stop_broker(&mut self) {
        self.ear.abort();
        if let Some(broker) = self.broker.take() {
            self.runtime.block_on(broker.stop());
        }
    }

    /// Ends everything that was started.
    pub(super) fn close(mut self, keep: bool) {
        self.devices.clear();
        self.stop_broker();
        if keep {
            println!("left in {}", self.folder.keep().display());
        }
    }
}

impl Device {
    /// Starts the agent as a process of its own, with its log in the bundle.
    pub(super) fn start(&mut self) -> Outcome {
        let path = self.bundle.join("agent.log");
        let log = on_file("write", &path, OpenOptions::new().create(true).append(true).open(&path))?;
        let program =
            std::env::current_exe().map_err(|error| failed(format!("where is this program? {error}")))?;
        let config = dunlin_fleet::enroll::config_path(&self.bundle);
        let child = Command::new(program)
            .args(["agent".as_ref(), "--config".as_ref(), config.as_os_str()])
            .env("DUNLIN_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.agent = Some(child.map_err(|error| failed(format!("cannot start the agent: {error}")))?);
        Ok(())
    }

    /// `kill -9`, by its own id.
    pub(super) fn kill(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            // It may have ended by itself: then there is nothing to kill.
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }

    /// Waits until the device serves a version of the model.
    pub(super) fn await_version(&self, version: &str) -> Outcome {
        let (start, mut last) = (Instant::now(), String::from("no answer"));
        while start.elapsed() < PATIENCE {
            match self.get(&format!("/v2/models/{MODEL}")) {
                Ok(body) => {
                    let versions = body["versions"].as_array();
                    if versions.is_some_and(|versions| versions.iter().any(|found| found == version)) {
                        return Ok(());
                    }
                    last = body.to_string();
                }
                Err(error) => last = error.message,
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(failed(format!("{} does not serve {MODEL} {version}; its last answer: {last}", self.id)))
    }

    pub(super) fn get(&self, path: &str) -> Outcome<Value> {
        let answer = http().get(format!("http://{}{path}", self.api)).call();
        answer.and_then(|mut answer| answer.body_mut().read_json()).map_err(|error| failed(error.to_string()))
    }

    /// The class with the greatest probability.
    pub(super) fn classify(&self, image: &[f32]) -> Outcome<u8> {
        let body = serde_json::json!({ "inputs": [{
            "name": "pixels", "datatype": "FP32", "shape": [1, image.len()], "data": image,
        }] });
        let answer = http().post(format!("http://{}/v2/models/{MODEL}/infer", self.api)).send_json(body);
        let answer: Value = answer
            .and_then(|mut answer| answer.body_mut().read_json())
            .map_err(|error| failed(error.to_string()))?;
        let probabilities = answer["outputs"][0]["data"].as_array().cloned().unwrap_or_default();
        let of =
            |class: &u8| probabilities.get(usize::from(*class)).and_then(Value::as_f64).unwrap_or(f64::NAN);
        (0..10u8)
            .max_by(|a, b| of(a).total_cmp(&of(b)))
            .filter(|_| probabilities.len() == 10)
            .ok_or_else(|| failed(format!("expected ten probabilities, got {answer}")))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A failure of the demo itself.
pub(super) fn failed(message: impl Into<String>) -> Failure {
    Failure::new(code::fleet::DEMO_FAILED, message)
}

fn http() -> ureq::Agent {
    ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).build().into()
}

/// A port that is free now; the agent takes it a moment later.
fn free_address() -> Outcome<SocketAddr> {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    address.map_err(|error| failed(format!("no free port on loopback: {error}")))
}

/// Follows the telemetry of every device on a connection of its own.
fn listen(
    runtime: &tokio::runtime::Runtime,
    url: &BrokerUrl,
) -> Outcome<(std::sync::mpsc::Receiver<Value>, tokio::task::JoinHandle<()>)> {
    let fleet = setup_fleet_name()?;
    let (sender, records) = std::sync::mpsc::channel();
    let config = LinkConfig::new(url.clone(), "dunlin-demo-tail");
    let (link, mut events) = runtime.block_on(dunlin_mqtt::connect_once(config, PATIENCE))?;
    runtime.block_on(async {
        for class in [TelemetryClass::Event, TelemetryClass::Drift] {
            tail::subscribe(&link, &fleet, Some(class)).await?;
        }
        Outcome::Ok(())
    })?;
    let ear = runtime.spawn(async move {
        // The link lives as long as somebody listens.
        let _link = link;
        while let Some(record) = tail::next(&mut events, &fleet).await {
            if sender.send(record.json).is_err() {
                break;
            }
        }
    });
    Ok((records, ear))
}

/// The name of the demo's fleet.
pub(super) fn setup_fleet_name() -> Outcome<dunlin_core::id::FleetId> {
    "demo".parse().map_err(|error: dunlin_core::id::IdError| failed(error.to_string()))
}

/// The held-out images and their labels; the files are kept in the folder, for the verbs that read files.
fn images_of(folder: &std::path::Path) -> Outcome<(Vec<Vec<f32>>, Vec<u8>)> {
    let keep = |name: &str, bytes: &[u8]| -> Outcome<PathBuf> {
        let path = folder.join(name);
        on_file("write", &path, std::fs::write(&path, bytes))?;
        Ok(path)
    };
    keep("baseline.npy", images::BASELINE)?;
    keep("golden.npz", images::GOLDEN)?;
    let pixels = Tensor::read(&keep("test_images.npy", images::TEST_IMAGES)?)?.to_f64();
    let labels = Tensor::read(&keep("test_labels.npy", images::TEST_LABELS)?)?;
    let pixels: Vec<f32> = pixels.into_iter().map(|pixel| pixel as f32).collect();
    Ok((pixels.chunks_exact(images::PIXELS).map(<[f32]>::to_vec).collect(), labels.bytes))
}
