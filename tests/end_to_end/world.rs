//! A world for one test: a temporary folder, a broker, a fleet and its agents.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take before a test gives up: machines of CI are slow.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The folder of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A file of `examples/digits`.
pub fn digits(name: &str) -> String {
    repository().join("examples/digits").join(name).display().to_string()
}

/// `dunlin` with arguments, not yet started.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dunlin"));
    command.args(arguments).stdin(Stdio::null());
    // What the developer's shell says must not lead a test to another fleet or broker.
    for name in std::env::vars_os().map(|(name, _)| name) {
        if name.to_string_lossy().starts_with("DUNLIN_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs `dunlin` and gives what it wrote, whatever its exit code.
pub fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// Runs `dunlin`, which must succeed, and gives its standard output.
pub fn ok(arguments: &[&str]) -> String {
    let output = run(arguments);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.success(),
        "dunlin {arguments:?} failed with {:?}:\n{out}\n{err}",
        output.status.code()
    );
    out.into_owned()
}

/// Runs `dunlin`, which must fail with this exit code and this error code, and gives its message.
pub fn refused(arguments: &[&str], exit: i32, code: &str) -> String {
    let output = run(arguments);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(exit), "dunlin {arguments:?}:\n{err}");
    let (named, remedy) = match arguments.contains(&"--json") {
        true => (format!("{{\"error\":{{\"code\":\"{code}\""), "\"remedy\":"),
        false => (format!("error[{code}]"), "to do:"),
    };
    assert!(err.contains(&named), "dunlin {arguments:?} should say {code}:\n{err}");
    assert!(err.contains(remedy), "an error says what to do:\n{err}");
    err
}

/// A process that ends with the test.
pub struct Process {
    child: Child,
}

impl Process {
    pub fn spawn(mut command: Command) -> Process {
        Process { child: command.spawn().unwrap() }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end, as a service manager does, and waits; true if it ended with code 0.
    pub fn terminate(&mut self) -> bool {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        self.child.wait().unwrap().success()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A port on loopback for a process that cannot choose one itself. It stays free while that process is away: it is
/// below those that Linux gives to connections and to listeners at port 0, and the UDP port of the same number,
/// which nothing here uses, reserves it among the processes of tests.
pub fn free_port() -> u16 {
    static RESERVED: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());
    let mut reserved = RESERVED.lock().unwrap();
    for port in 20_000..32_768 {
        let Ok(reservation) = UdpSocket::bind(("127.0.0.1", port)) else { continue };
        reserved.push(reservation);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port from 20000 to 32767 is free on loopback");
}

/// Tries until it gives something, or fails the test with what was awaited.
pub fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(start.elapsed() < PATIENCE, "did not happen within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The embedded broker as a process; its address.
pub fn embedded_broker() -> (Process, String) {
    let mut command = command(&["broker", "--listen", "127.0.0.1:0"]);
    command.stdout(Stdio::piped());
    let mut process = Process::spawn(command);
    let mut line = String::new();
    BufReader::new(process.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.trim().strip_prefix("listening on ").expect(&line).to_string();
    (process, url)
}

/// A fleet in a folder, with a broker.
pub struct World {
    pub folder: tempfile::TempDir,
    pub broker: Process,
    pub url: String,
}

impl World {
    /// With the embedded broker.
    pub fn new() -> World {
        let (broker, url) = embedded_broker();
        World::with(broker, url)
    }

    /// With a broker of the test's own.
    pub fn with(broker: Process, url: String) -> World {
        let folder = tempfile::tempdir().unwrap();
        let world = World { folder, broker, url };
        ok(&["init", &world.fleet(), "--fleet", "test", "--no-passphrase"]);
        world
    }

    /// `dunlin` with arguments and with those that say where the fleet and the broker are.
    fn with_broker<'a>(&'a self, arguments: &[&'a str], fleet: &'a str) -> Vec<&'a str> {
        [arguments, &["--fleet", fleet, "--broker", &self.url]].concat()
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    pub fn fleet(&self) -> String {
        self.path("fleet")
    }

    /// Enrols a device in the channel `stable`.
    pub fn enroll(&self, device: &str) -> Device {
        self.enroll_at(device, &self.url)
    }

    /// Enrols a device that reaches the broker at another address.
    pub fn enroll_at(&self, device: &str, url: &str) -> Device {
        self.enroll_with(device, url, &[])
    }

    /// Likewise, with further arguments.
    pub fn enroll_with(&self, device: &str, url: &str, further: &[&str]) -> Device {
        let (bundle, api) = (self.path(device), SocketAddr::from(([127, 0, 0, 1], free_port())));
        let (fleet, listen) = (self.fleet(), api.to_string());
        let places = ["--fleet", &fleet, "--broker", url, "--channel", "stable", "-o", &bundle];
        let device_own = ["--listen", &listen, "--first-connect-jitter-s", "0"];
        ok(&[&["enroll", device], &places[..], &device_own, further].concat());
        Device { bundle: PathBuf::from(bundle), api }
    }

    /// Compiles the digits and releases them with baseline and golden vectors.
    pub fn release_digits(&self, version: &str, batch: u32) {
        let wasm = self.path(&format!("digits-{batch}.wasm"));
        ok(&["compile", &digits("digits.onnx"), "-o", &wasm, "--batch", &batch.to_string()]);
        ok(&[
            "release",
            &wasm,
            "--fleet",
            &self.fleet(),
            "--name",
            "digits",
            "--version",
            version,
            "--baseline",
            &digits("baseline.npy"),
            "--golden",
            &digits("golden.npz"),
        ]);
    }

    /// Compiles a model, and releases and publishes it.
    pub fn release_onnx(&self, name: &str, version: &str, model: &[u8]) {
        let (onnx, wasm) = (self.path(&format!("{name}.onnx")), self.path(&format!("{name}.wasm")));
        std::fs::write(&onnx, model).unwrap();
        ok(&["compile", &onnx, "-o", &wasm]);
        ok(&["release", &wasm, "--fleet", &self.fleet(), "--name", name, "--version", version]);
        self.publish(&format!("{name}@{version}"));
    }

    pub fn publish(&self, release: &str) {
        ok(&self.with_broker(&["publish", release], &self.fleet()));
    }

    /// Deploys a release that may have failed on a device before.
    pub fn deploy_again(&self, release: &str, to: &str) {
        let arguments = ["deploy", release, "--to", to, "--report-interval-s", "1", "--retry"];
        ok(&self.with_broker(&arguments, &self.fleet()));
    }

    /// Deploys to a channel that no device is in.
    pub fn deploy_ahead(&self, release: &str, to: &str) {
        let arguments = ["deploy", release, "--to", to, "--report-interval-s", "1", "--new-channel"];
        ok(&self.with_broker(&arguments, &self.fleet()));
    }

    pub fn deploy(&self, release: &str, to: &str) {
        ok(&self.with_broker(&["deploy", release, "--to", to, "--report-interval-s", "1"], &self.fleet()));
    }

    /// Follows what the devices report, from now on.
    pub fn tail(&self, class: &str) -> Tail {
        let mut command = command(&self.with_broker(&["tail", class], &self.fleet()));
        command.stdout(Stdio::piped());
        let mut process = Process::spawn(command);
        let lines = BufReader::new(process.child.stdout.take().unwrap());
        let (sender, records) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                if sender.send(serde_json::from_str(&line).unwrap()).is_err() {
                    break;
                }
            }
        });
        // The subscription is there a moment after the process.
        std::thread::sleep(Duration::from_millis(500));
        Tail { _process: process, records }
    }
}

/// Records as they come.
pub struct Tail {
    _process: Process,
    records: std::sync::mpsc::Receiver<Value>,
}

impl Tail {
    /// The next record that fits; the ones before it are passed over.
    pub fn until(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let (start, mut seen) = (Instant::now(), Vec::new());
        loop {
            let left = PATIENCE.saturating_sub(start.elapsed());
            match self.records.recv_timeout(left) {
                Ok(record) if fits(&record) => return record,
                Ok(other) => seen.push(other),
                Err(_) => panic!("no record came: {what}; these did: {seen:#?}"),
            }
        }
    }
}

/// A device's bundle.
pub struct Device {
    pub bundle: PathBuf,
    pub api: SocketAddr,
}

impl Device {
    pub fn config(&self) -> String {
        self.bundle.join("agent.toml").display().to_string()
    }

    /// Starts its agent; the log goes to `agent.log` in the bundle, run after run.
    pub fn start(&self) -> Process {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let mut command = command(&["agent", "--config", &self.config()]);
        command.env("DUNLIN_LOG", "info").stdout(Stdio::null()).stderr(log);
        Process::spawn(command)
    }

    fn log_path(&self) -> PathBuf {
        self.bundle.join("agent.log")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// GET: status and body.
    pub fn get(&self, path: &str) -> Option<(u16, Value)> {
        let mut response = agent().get(format!("http://{}{path}", self.api)).call().ok()?;
        Some((response.status().as_u16(), response.body_mut().read_json().unwrap_or(Value::Null)))
    }

    /// POST: status and body.
    pub fn post(&self, path: &str, body: &Value) -> Option<(u16, Value)> {
        let mut response = agent().post(format!("http://{}{path}", self.api)).send_json(body).ok()?;
        Some((response.status().as_u16(), response.body_mut().read_json().unwrap_or(Value::Null)))
    }

    /// Announces a body of this length and sends none of it; the answer, as text.
    pub fn announce(&self, path: &str, length: u64) -> String {
        let mut stream = std::net::TcpStream::connect(self.api).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let (host, kind) = (self.api, "Content-Type: application/json");
        write!(stream, "POST {path} HTTP/1.1\r\nHost: {host}\r\n{kind}\r\nContent-Length: {length}\r\n\r\n")
            .unwrap();
        let mut answer = Vec::new();
        // The server closes the connection, or says nothing more.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Waits until it serves this version of the digits.
    pub fn serves(&self, version: &str) {
        eventually(&format!("{} serves digits {version}\n", self.bundle.display()), || {
            let (status, body) = self.get("/v2/models/digits")?;
            let versions = body["versions"].as_array()?;
            (status == 200 && versions.iter().any(|v| v == version)).then_some(())
        });
    }

    /// Classifies images of 64 pixels; the probabilities, ten an image.
    pub fn classify(&self, images: &[f32]) -> Vec<f64> {
        let body = serde_json::json!({ "inputs": [{
            "name": "pixels", "datatype": "FP32", "shape": [images.len() / 64, 64], "data": images,
        }] });
        let (status, answer) = self.post("/v2/models/digits/infer", &body).expect("the API is down");
        assert_eq!(status, 200, "{answer}");
        answer["outputs"][0]["data"].as_array().unwrap().iter().map(|p| p.as_f64().unwrap()).collect()
    }
}

impl Drop for Device {
    /// A test that fails shows what the agent had to say.
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("--- log of {}:\n{}", self.bundle.display(), self.log());
        }
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(10)))
        .build()
        .into()
}

/// The held-out test images: 64 pixels each, and their labels.
pub fn test_images() -> (Vec<f32>, Vec<u8>) {
    let image_bytes = std::fs::read(digits("test_images.npy")).unwrap();
    let label_bytes = std::fs::read(digits("test_labels.npy")).unwrap();
    let images = npy_u8(&image_bytes);
    (images.iter().map(|pixel| f32::from(*pixel)).collect(), npy_u8(&label_bytes).to_vec())
}

/// The elements of a version 1.0 file of bytes.
fn npy_u8(file: &[u8]) -> &[u8] {
    assert!(file.starts_with(b"\x93NUMPY\x01\x00"));
    &file[10 + usize::from(u16::from_le_bytes([file[8], file[9]]))..]
}

/// The index of the greatest of ten numbers, an image.
pub fn classes(probabilities: &[f64]) -> Vec<u8> {
    probabilities
        .chunks_exact(10)
        .map(|ten| (0..10u8).max_by(|a, b| ten[usize::from(*a)].total_cmp(&ten[usize::from(*b)])).unwrap())
        .collect()
}
