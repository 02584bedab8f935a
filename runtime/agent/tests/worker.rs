//! The worker and the process that compiles, as control deals with them: real processes, killed, stopped
//! and bombed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)]

mod support;

use std::time::{Duration, Instant};

use dunlin_agent::data::{Interval, Phase};
use dunlin_agent::worker::{CompileBounds, Settings};
use dunlin_core::code::Coded as _;
use dunlin_core::golden::{Golden, GoldenVector};
use rustix::process::{Signal, kill_process};
use support::device::Device;
use support::{STUCK, card, get, module, release, stick, worker_at};

/// Other bounds of the process that compiles.
fn compile(bounds: CompileBounds) -> impl FnOnce(&mut Settings) {
    move |settings| settings.compile = bounds
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_is_back_at_once_with_everything_that_it_had() {
    let mut device = Device::start().await;
    let card = card(4);
    let staged = device.load(release("adder", "2", &card, module(&card, 2.0, ""))).await.unwrap();
    let active = device.serve("1", 1.0, "").await;
    assert_eq!(device.infer(1.0), (200, 2.0));
    device.worker.status(String::from("{\"told\":1}"));

    let started = Instant::now();
    kill_process(worker_at(device.address), Signal::KILL).unwrap();
    // A client that comes while there is no worker waits and is served.
    assert_eq!(device.infer(5.0), (200, 6.0));
    eprintln!("killed, started, loaded and answered: {:?}", started.elapsed());
    let death = device.death().await;
    assert_eq!((death.code.id, death.suspects.as_slice()), ("worker-died", [].as_slice()), "{death:?}");
    assert!(death.detail.contains("the signal KILL"), "{}", death.detail);
    let observed = device.worker.observe(Interval::Peek).await.unwrap();
    let phases: Vec<_> = observed.iter().map(|o| (o.release, o.phase)).collect();
    assert!(
        phases.contains(&(active, Phase::Active)) && phases.contains(&(staged, Phase::Staged)),
        "{phases:?}"
    );
    device.worker.activate("adder".parse().unwrap(), staged).await.unwrap();
    assert_eq!(device.infer(5.0), (200, 7.0));
    assert_eq!(get(device.address, "/dunlin/v1/device").json()["told"], 1, "it was told again");
    device.worker.end(Duration::from_secs(5)).await;
    assert!(std::net::TcpStream::connect(device.address).is_err(), "nobody listens any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspect_is_not_given_to_the_next_worker() {
    let mut device = Device::start().await;
    let card = card(4);
    let mut slow = release("adder", "1", &card, module(&card, 1.0, STUCK));
    slow.document.limits.deadline_us = 20_000_000;
    let (model, digest) = (slow.model.clone(), slow.release);
    for _ in 0..3 {
        device.load(slow.clone()).await.unwrap();
        device.worker.activate(model.clone(), digest).await.unwrap();
        device.worker.serve();
        assert_eq!(device.infer(1.0), (200, 2.0));
        let stuck = stick(device.address, "adder");
        let pid = worker_at(device.address);
        std::thread::sleep(Duration::from_millis(200));
        kill_process(pid, Signal::KILL).unwrap();
        let death = device.death().await;
        assert_eq!(
            (death.code.id, death.suspects.as_slice()),
            ("worker-died", [digest].as_slice()),
            "{death:?}"
        );
        drop(stuck);
        assert_eq!(device.worker.loaded(digest).await.unwrap(), None);
        assert!(device.worker.activate(model.clone(), digest).await.is_err());
    }
    // Nothing was decided: after a while connections are taken without the release.
    assert_eq!(device.infer(2.0).0, 503);
}

/// Nothing calls a model, and so no deadline passes.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_worker_that_hangs_is_replaced() {
    let mut device = Device::start().await;
    device.serve("1", 1.0, "").await;
    let started = Instant::now();
    kill_process(worker_at(device.address), Signal::STOP).unwrap();
    let death = device.death().await;
    eprintln!("an idle worker that hangs is ended after {:?}", started.elapsed());
    assert_eq!((death.code.id, death.suspects.as_slice()), ("worker-stuck", [].as_slice()), "{death:?}");
    assert_eq!(device.infer(1.0), (200, 2.0));
}

/// What a model that is proven to end, and does not, would look like from outside: a call that goes on after
/// its deadline. Here the whole process is stopped in one.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_past_its_deadline_and_grace_is_ended_from_outside() {
    let mut device = Device::start().await;
    let digest = device.serve("1", 1.0, STUCK).await;
    let stuck = stick(device.address, "adder");
    std::thread::sleep(Duration::from_millis(50));
    kill_process(worker_at(device.address), Signal::STOP).unwrap();
    let started = Instant::now();
    let death = device.death().await;
    eprintln!("a deadline of 200 ms, ended after {:?}", started.elapsed());
    assert_eq!(
        (death.code.id, death.suspects.as_slice()),
        ("worker-stuck", [digest].as_slice()),
        "{death:?}"
    );
    assert!(death.detail.contains("its deadline is 200ms"), "{}", death.detail);
    drop(stuck);
    device.serve("1", 1.0, STUCK).await;
    device.worker.serve();
    assert_eq!(device.infer(1.0), (200, 2.0));
}

/// A model that was quick dozens of times is called on a thread of the API; while
/// it is stuck there, other threads go on.
#[tokio::test(flavor = "multi_thread")]
async fn stuck_calls_leave_the_api_free() {
    let device = Device::with(|settings| settings.policy.instances = 4).await;
    let card = card(4);
    let mut slow = release("adder", "1", &card, module(&card, 1.0, STUCK));
    slow.document.limits.deadline_us = 20_000_000;
    let digest = device.load(slow).await.unwrap();
    device.worker.activate("adder".parse().unwrap(), digest).await.unwrap();
    for _ in 0..50 {
        assert_eq!(device.infer(1.0), (200, 2.0));
    }
    let stuck: Vec<_> = (0..3).map(|_| stick(device.address, "adder")).collect();
    for _ in 0..20 {
        assert_eq!(get(device.address, "/v2/health/live").status, 200);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(device.infer(1.0), (200, 2.0), "an instance is left");
    for stream in stuck {
        stream.set_nonblocking(true).unwrap();
        let answer = stream.peek(&mut [0]).unwrap_err();
        assert_eq!(answer.kind(), std::io::ErrorKind::WouldBlock, "it is still in its call");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_is_refused_with_its_own_code_across_processes() {
    let device = Device::start().await;
    let card = card(1);
    let good = || release("adder", "1", &card, module(&card, 1.0, ""));
    let refused = async |other| device.load(other).await.unwrap_err().code().id;
    let mut other = good();
    other.document.contract.outputs[0].name = "z".into();
    assert_eq!(refused(other).await, "contract-broken");
    let mut other = good();
    other.document.card_digest = other.release;
    assert_eq!(refused(other).await, "module-card-digest");
    let mut other = good();
    other.document.limits.memory_bytes = 65_536;
    assert_eq!(refused(other).await, "module-over-limit");
    let mut other = good();
    other.baseline = Some(b"no baseline".to_vec());
    assert_eq!(refused(other).await, "baseline-malformed");
    let mut other = good();
    let vector = GoldenVector { inputs: vec![vec![0; 8]], outputs: vec![vec![0; 8]], status: 0 };
    other.golden = Some(Golden::new(&card, vec![vector]).encode(&card).unwrap());
    assert_eq!(refused(other).await, "golden-mismatch");
    let unknown = device.worker.activate("adder".parse().unwrap(), good().release).await.unwrap_err();
    assert_eq!(unknown.code().id, "release-not-prepared");
    device.load(good()).await.unwrap();
}

/// What a process has in memory beside programs and libraries, in bytes, with its share of what it shares: a worker
/// that ends gives its share of the program's pages to those that remain.
fn proportional_bytes(pid: rustix::process::Pid) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/smaps", pid.as_raw_nonzero())).unwrap();
    let (mut counted, mut bytes) = (false, 0);
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("Pss:") if counted => bytes += words.next().unwrap().parse::<u64>().unwrap() * 1024,
            Some(word) if word.ends_with(':') => {}
            // A mapping: addresses, permissions, offset, device, inode and, where it has one, a path.
            _ => {
                counted =
                    words.nth(4).is_none_or(|path| !path.starts_with('/') || path.starts_with("/memfd:"))
            }
        }
    }
    bytes
}

/// A model that adds up 16 MiB of weights, in pages of their own.
fn weighty(weights: usize) -> Vec<u8> {
    let pages = weights / 65_536 + 4;
    let data = "\\01\\02\\03\\04".repeat(weights / 4);
    let text = format!(
        r#"(module (memory (export "memory") {pages}) (data (i32.const 196608) "{data}")
          (func (export "dunlin_input") (param i32) (result i32) (i32.const 1024))
          (func (export "dunlin_output") (param i32) (result i32) (i32.const 66560))
          (func (export "dunlin_infer") (param $n i32) (result i32) (local $i i32) (local $sum i32)
            (loop $next
              (local.set $sum (i32.add (local.get $sum) (i32.load offset=196608 (local.get $i))))
              (local.set $i (i32.add (local.get $i) (i32.const 4)))
              (br_if $next (i32.lt_u (local.get $i) (i32.const {weights}))))
            (f32.store (i32.const 66560) (f32.convert_i32_u (i32.shr_u (local.get $sum) (i32.const 20))))
            (f32.store (i32.const 66564) (f32.const 0))
            (i32.const 0)))"#
    );
    support::with_card(wat::parse_str(text).unwrap(), &card(1))
}

/// Weights are in memory once, however many instances run on them: they are mapped from the sealed file.
#[tokio::test(flavor = "multi_thread")]
async fn a_model_takes_its_weights_once() {
    const WEIGHTS: usize = 16 << 20;
    let device = Device::start().await;
    let card = card(1);
    // What the worker takes for itself is in memory after the first model.
    device.serve("0", 1.0, "").await;
    assert_eq!(device.infer(1.0).0, 200);
    let mut heavy = release("adder", "1", &card, weighty(WEIGHTS));
    heavy.document.limits.memory_bytes = 64 << 20;
    heavy.document.limits.deadline_us = 10_000_000;
    let (model, digest) = (heavy.model.clone(), heavy.release);
    let worker = worker_at(device.address);
    let before = proportional_bytes(worker);
    device.load(heavy).await.unwrap();
    device.worker.activate(model, digest).await.unwrap();
    assert_eq!(device.infer(1.0).0, 200);
    let grown = proportional_bytes(worker) - before;
    eprintln!("weights of {WEIGHTS} bytes: the worker grew by {grown}");
    assert!(grown >= WEIGHTS as u64 - (1 << 20), "the sum read them all: {grown}");
    assert!(grown <= WEIGHTS as u64 + (2 << 20) + 4 * 65_536, "{grown} bytes for weights of {WEIGHTS}");
}

/// A function that a compiler works on for long: thousands of values that live at once.
fn bomb(functions: usize) -> Vec<u8> {
    let mut body = String::new();
    for index in 0..3000 {
        body.push_str(&format!(
            "(local.set {} (i32.add (local.get {}) (i32.mul (local.get {}) (local.get {}))))\n",
            index % 1500 + 1,
            (index * 7) % 1500 + 1,
            (index * 13) % 1500 + 1,
            (index * 31) % 1500 + 1
        ));
    }
    let locals = "(local ".to_string() + &"i32 ".repeat(1600) + ")";
    let function = |index: usize| {
        format!(
            "(func $f{index} (param i32) (result i32) {locals} (loop $l {body} (br_if $l (local.get 7))) (local.get 9))"
        )
    };
    let text = format!(
        r#"(module (memory (export "memory") 3)
          (func (export "dunlin_input") (param i32) (result i32) (i32.const 1024))
          (func (export "dunlin_output") (param i32) (result i32) (i32.const 66560))
          (func (export "dunlin_infer") (param $n i32) (result i32) (i32.const 0)) {})"#,
        (0..functions).map(function).collect::<String>()
    );
    support::with_card(wat::parse_str(text).unwrap(), &card(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compile_bomb_dies_in_its_process_and_is_told() {
    let card = card(1);
    let wasm = bomb(60);
    let device =
        Device::with(compile(CompileBounds { memory_bytes: 1 << 30, time: Duration::from_secs(1) })).await;
    let good = device.serve("1", 1.0, "").await;
    let late = device.load(release("bomb", "1", &card, wasm.clone())).await.unwrap_err();
    assert_eq!(late.code().id, "module-compile-limit", "{late}");
    assert!(late.to_string().contains("longer than 1s"), "{late}");
    assert_eq!(device.infer(1.0), (200, 2.0), "what serves is not disturbed");
    assert!(device.worker.loaded(good).await.unwrap().is_some());

    // Who ends the process from outside says nothing against the release.
    let device = Device::start().await;
    let interrupted = tokio::join!(device.load(release("bomb", "1", &card, wasm.clone())), async {
        let own = std::process::id().to_string();
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let children = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
                let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
                let words = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
                let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
                let ours = status
                    .lines()
                    .any(|line| line.strip_prefix("PPid:").is_some_and(|parent| parent.trim() == own));
                (ours && words.ends_with(b"compile-child\0"))
                    .then(|| rustix::process::Pid::from_raw(pid))
                    .flatten()
            });
            let children: Vec<_> = children.collect();
            for child in &children {
                kill_process(*child, Signal::TERM).unwrap();
            }
            if !children.is_empty() {
                return;
            }
        }
    });
    assert_eq!(interrupted.0.unwrap_err().code().id, "data-plane-ended");

    let bounds = CompileBounds { memory_bytes: 24 << 20, time: Duration::from_secs(60) };
    let device = Device::with(compile(bounds)).await;
    let large = device.load(release("bomb", "1", &card, wasm)).await.unwrap_err();
    assert_eq!(large.code().id, "module-compile-limit", "{large}");
    assert!(large.to_string().contains("died"), "{large}");
}
