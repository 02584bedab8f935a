//! Models written as text, their releases, and a small HTTP client that can be as wrong as a test wants.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

pub mod device;
pub mod schema;
pub mod served;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use dunlin_abi::{Card, DType, Dim, TensorSpec};
use dunlin_agent::data::{DataError, DataPlane, Policy, Prepared};
use dunlin_agent::worker::{Flight, Prepare, build_here};
use dunlin_core::document::{Blob, Chunks, Compat, Contract, Limits, Lineage, Probation, Release, SCHEMA};
use dunlin_core::{Digest, VerifiedArtifact};

pub const POLICY: Policy = Policy {
    memory_bytes: 1 << 32,
    deadline_us: 60_000_000,
    queue_requests: 64,
    instances: 1,
    streams: 16,
    stream_idle_ms: 300_000,
};

/// A card with one input `x` and one output `y`, both `[n, 2]` of f32.
pub fn card(max_batch: u32) -> Card {
    let tensor = |name| TensorSpec::new(name, DType::F32, [Dim::Batch, Dim::Fixed(2)]);
    Card {
        abi: dunlin_abi::ABI_VERSION,
        inputs: vec![tensor("x")],
        outputs: vec![tensor("y")],
        max_batch,
        state: dunlin_abi::State::None,
        simd: dunlin_abi::Simd::None,
        stack_bytes: 0,
        arena_bytes: 0,
        producer: "dunlin-agent tests".into(),
        source_sha256: None,
    }
}

/// A module: `y = x + addend`, element by element; `body` runs first, with the batch in `$n`.
pub fn module(card: &Card, addend: f32, body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
          (memory (export "memory") 3)
          (func (export "dunlin_input") (param i32) (result i32) (i32.const 1024))
          (func (export "dunlin_output") (param i32) (result i32) (i32.const 66560))
          (func (export "dunlin_infer") (param $n i32) (result i32)
            (local $i i32)
            {body}
            (loop $next
              (f32.store offset=66560 (local.get $i)
                (f32.add (f32.load offset=1024 (local.get $i)) (f32.const {addend})))
              (local.set $i (i32.add (local.get $i) (i32.const 4)))
              (br_if $next (i32.lt_u (local.get $i) (i32.mul (local.get $n) (i32.const 8)))))
            (i32.const 0)))"#
    );
    with_card(wat::parse_str(text).unwrap(), card)
}

/// A card of state `stream`, with one input and one output of two f32.
pub fn stream_card() -> Card {
    Card { state: dunlin_abi::State::Stream, ..card(1) }
}

/// A module that remembers: `y` is the sum of every `x` since the last reset. It traps where the first
/// element is 2, and gives a status where it is 1.
pub fn stream_module(card: &Card) -> Vec<u8> {
    let text = r#"(module
          (memory (export "memory") 3)
          (func (export "dunlin_input") (param i32) (result i32) (i32.const 1024))
          (func (export "dunlin_output") (param i32) (result i32) (i32.const 66560))
          (func (export "dunlin_reset") (i64.store (i32.const 66560) (i64.const 0)))
          (func $add (param $at i32)
            (f32.store offset=66560 (local.get $at)
              (f32.add (f32.load offset=66560 (local.get $at)) (f32.load offset=1024 (local.get $at)))))
          (func (export "dunlin_infer") (param $n i32) (result i32)
            (if (f32.eq (f32.load (i32.const 1024)) (f32.const 1)) (then (return (i32.const 7))))
            (if (f32.eq (f32.load (i32.const 1024)) (f32.const 2)) (then unreachable))
            (call $add (i32.const 0))
            (call $add (i32.const 4))
            (i32.const 0)))"#;
    with_card(wat::parse_str(text).unwrap(), card)
}

/// Prepares and activates the model that remembers.
pub async fn serve_stream(data: &DataPlane, model: &str, version: &str) {
    let card = stream_card();
    let release = release(model, version, &card, stream_module(&card));
    let (model, digest) = (release.model.clone(), release.release);
    prepare(data, release).await.unwrap();
    data.activate(model, digest).await.unwrap();
}

/// Appends the card's custom section.
pub fn with_card(mut wasm: Vec<u8>, card: &Card) -> Vec<u8> {
    fn leb(mut value: usize, out: &mut Vec<u8>) {
        while value >= 0x80 {
            out.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
            value >>= 7;
        }
        out.push(u8::try_from(value).unwrap());
    }
    let name = dunlin_abi::CARD_SECTION;
    let mut section = Vec::new();
    leb(name.len(), &mut section);
    section.extend_from_slice(name.as_bytes());
    section.extend_from_slice(&card.to_bytes().unwrap());
    wasm.push(0);
    leb(section.len(), &mut wasm);
    wasm.extend_from_slice(&section);
    wasm
}

/// A release of a module, as control would hand it over.
pub fn release(model: &str, version: &str, card: &Card, wasm: Vec<u8>) -> Prepare {
    let artifact = VerifiedArtifact::trust_local(wasm);
    let document = Release {
        schema: SCHEMA,
        fleet: "test".parse().unwrap(),
        release_epoch: 1,
        model: model.parse().unwrap(),
        counter: 1,
        version: version.into(),
        issued_unix_s: 0,
        artifact: Blob {
            digest: artifact.digest(),
            size_bytes: artifact.bytes().len() as u64,
            chunks: Chunks::Inline(Vec::new()),
        },
        card_digest: Digest::of(&card.to_bytes().unwrap()),
        compat: Compat { abi: 1, min_runtime: "0.1.0".parse().unwrap(), simd: card.simd },
        limits: Limits {
            memory_bytes: 1 << 20,
            table_elements: 16,
            stack_bytes: 64 * 1024,
            deadline_us: 200_000,
            log_lines_per_s: 10,
            metrics_per_s: 10,
        },
        imports: Vec::new(),
        contract: Contract::of_card(card),
        attachments: Vec::new(),
        probation: Probation { min_inferences: 1, duration_s: 1, max_failures: 1 },
        lineage: Lineage::default(),
    };
    let release = Digest::of(format!("{model}@{version}").as_bytes());
    let (golden, baseline) = (None, None);
    Prepare { model: document.model.clone(), release, document, artifact, variant: None, golden, baseline }
}

/// A data plane in this process.
pub fn data_plane() -> DataPlane {
    DataPlane::start(POLICY, Flight::default()).unwrap()
}

/// Admits, compiles, proves and loads a release.
pub async fn prepare(data: &DataPlane, prepare: Prepare) -> Result<Prepared, DataError> {
    data.load(build_here(POLICY, prepare)?).await
}

/// Prepares and activates `y = x + addend`.
pub async fn serve(data: &DataPlane, model: &str, version: &str, card: &Card, addend: f32, body: &str) {
    let release = release(model, version, card, module(card, addend, body));
    let (model, digest) = (release.model.clone(), release.release);
    prepare(data, release).await.unwrap();
    data.activate(model, digest).await.unwrap();
}

/// The body of a model that goes on for as long as its deadline lets it, if the first number is 3.
pub const STUCK: &str =
    "(if (f32.eq (f32.load (i32.const 1024)) (f32.const 3)) (then (loop $ever (br $ever))))";

/// Begins a request that such a model is stuck in.
pub fn stick(address: SocketAddr, model: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = post_bytes(&format!("/v2/models/{model}/infer"), &input("[1,2]", "[3,3]"));
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

/// The worker that listens at an address: the process with the hidden verb that has the socket open.
pub fn worker_at(address: SocketAddr) -> rustix::process::Pid {
    let port = format!(":{:04X}", address.port());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let column = |row: &str, index: usize| row.split_whitespace().nth(index).unwrap_or_default().to_string();
    let listening = table.lines().find(|row| column(row, 1).ends_with(&port) && column(row, 3) == "0A");
    let socket = format!("socket:[{}]", column(listening.unwrap(), 9));
    let holds = |pid: i32| {
        std::fs::read_dir(format!("/proc/{pid}/fd")).is_ok_and(|mut files| {
            files.any(|file| {
                let target = file.and_then(|file| std::fs::read_link(file.path()));
                target.is_ok_and(|target| target.to_string_lossy() == socket)
            })
        })
    };
    let is_worker = |pid: i32| {
        std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| words.ends_with(b"worker\0"))
    };
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let mut pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let pid = pids.find(|pid| is_worker(*pid) && holds(*pid)).expect("a worker listens");
    rustix::process::Pid::from_raw(pid).unwrap()
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
    /// The body as it came.
    pub bytes: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Status and code of an error.
    pub fn error(&self) -> (u16, String) {
        let json = self.json();
        assert!(!json["error"].as_str().unwrap().is_empty(), "{json}");
        (self.status, json["code"].as_str().unwrap().to_string())
    }
}

/// Sends bytes as they are and reads one answer.
pub fn raw(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // A server that refuses a body early may close before all of it is written.
    let _ = stream.write_all(request);
    read_answer(&mut stream)
}

pub fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok())
                .unwrap_or(0usize);
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            while bytes.len() < end + 4 + length {
                let read = stream.read(&mut buffer).unwrap();
                assert!(read > 0, "the answer ended early: {head}");
                bytes.extend_from_slice(&buffer[..read]);
            }
            let bytes = bytes.split_off(end + 4);
            let body = String::from_utf8_lossy(&bytes).into_owned();
            return Answer { status, head, body, bytes };
        }
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "the connection ended without an answer");
        bytes.extend_from_slice(&buffer[..read]);
    }
}

pub fn get(address: SocketAddr, path: &str) -> Answer {
    raw(address, format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())
}

pub fn post(address: SocketAddr, path: &str, body: &str) -> Answer {
    raw(address, post_bytes(path, body).as_bytes())
}

pub fn post_bytes(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A request of one input `x`.
pub fn input(shape: &str, data: &str) -> String {
    format!(r#"{{"inputs":[{{"name":"x","datatype":"FP32","shape":{shape},"data":{data}}}]}}"#)
}
