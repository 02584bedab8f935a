//! The local API under load and under callers that mean no good.
//!
//! Scaled down, so that all of it takes some seconds; `DUNLIN_LOAD_CLIENTS` and `DUNLIN_LOAD_SECONDS` scale it
//! up. Figures are printed (`--nocapture`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dunlin_agent::api::{ApiBounds, Patience};
use dunlin_agent::data::Policy;
use serde_json::json;
use support::device::Device;
use support::served::{BOUNDS, Served};
use support::{POLICY, card, get, input, post, post_bytes, read_answer, serve};

const INFER: &str = "/v2/models/adder/infer";

fn scale(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What one client saw.
struct Seen {
    latencies: Vec<Duration>,
    versions: std::collections::BTreeSet<String>,
}

/// Asks until it is done, over one connection. Its question is its own, so that an answer for another client
/// would show.
fn client(at: std::net::SocketAddr, number: usize, done: &AtomicBool) -> Seen {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut seen = Seen { latencies: Vec::new(), versions: std::collections::BTreeSet::new() };
    let mut round = 0u32;
    while !done.load(Ordering::Relaxed) {
        let x = [number as f64, f64::from(round % 1000)];
        let request = post_bytes(INFER, &input("[1,2]", &format!("{x:?}")));
        let began = Instant::now();
        stream.write_all(request.as_bytes()).unwrap();
        let answer = read_answer(&mut stream);
        seen.latencies.push(began.elapsed());
        assert_eq!(answer.status, 200, "{answer:?}");
        let json = answer.json();
        let version = json["model_version"].as_str().unwrap().to_string();
        let addend: f64 = version.parse().unwrap();
        assert_eq!(json["outputs"][0]["data"], json!([x[0] + addend, x[1] + addend]), "version {version}");
        seen.versions.insert(version);
        round += 1;
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_stay_see_no_failure_while_releases_are_switched() {
    let clients = scale("DUNLIN_LOAD_CLIENTS", 200);
    let seconds = scale("DUNLIN_LOAD_SECONDS", 3);
    let mut device = Device::with(|settings| {
        settings.api.max_connections = clients + 8;
        settings.policy = Policy { queue_requests: clients.max(64), instances: 2, ..POLICY };
    })
    .await;
    let at = device.address;
    device.serve("1", 1.0, "").await;
    let done = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..clients)
        .map(|number| {
            let done = done.clone();
            let small = std::thread::Builder::new().stack_size(256 * 1024);
            small.spawn(move || client(at, number, &done)).unwrap()
        })
        .collect();
    for version in 2..=seconds + 1 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let addend = u16::try_from(version).unwrap();
        device.serve(&version.to_string(), addend.into(), "").await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    done.store(true, Ordering::Relaxed);
    let seen: Vec<Seen> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let mut latencies: Vec<Duration> = seen.iter().flat_map(|seen| seen.latencies.clone()).collect();
    latencies.sort_unstable();
    let at = |quantile: usize| latencies[(latencies.len() - 1) * quantile / 100];
    eprintln!(
        "{clients} clients, {seconds} switches: {} requests in {seconds} s, none failed, none wrong; p50 {:?}, p99 {:?}",
        latencies.len(),
        at(50),
        at(99)
    );
    assert!(seen.iter().any(|seen| seen.versions.len() > 1), "nobody saw a switch");
    assert!(device.deaths.try_recv().is_err(), "the worker lived");
}

/// Whether the other side has closed.
fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    match stream.read(&mut [0; 4096]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
    }
}

/// Every place is taken by somebody who trickles; each loses it after its time, and who means well is served.
#[test]
fn callers_that_trickle_lose_their_places_to_those_that_do_not() {
    let patience = Patience { headers_ms: 500, body_ms: 500, answer_ms: 500 };
    let served = Served::start(ApiBounds { max_connections: 8, patience, ..BOUNDS });
    served.runtime.block_on(serve(&served.data, "adder", "1", &card(4), 1.0, ""));
    let at = served.address();
    let hold = |bytes: &str| {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        stream
    };
    let half_head = "GET /v2 HTTP/1.1\r\nHost: loc";
    let half_body = format!("POST {INFER} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000\r\n\r\n{{");
    let mut heads: Vec<_> = (0..4).map(|_| hold(half_head)).collect();
    let mut bodies: Vec<_> = (0..4).map(|_| hold(&half_body)).collect();
    let began = Instant::now();
    let trickle = std::thread::spawn(move || {
        let end = Instant::now() + Duration::from_secs(2);
        let mut dropped = 0;
        while Instant::now() < end {
            for stream in &mut heads {
                let _ = stream.write_all(b"a");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        for stream in &mut heads {
            dropped += usize::from(is_closed(stream));
        }
        dropped
    });
    let answer = post(at, INFER, &input("[1,2]", "[1,2]"));
    let waited = began.elapsed();
    assert_eq!(answer.status, 200);
    eprintln!("8 places taken by callers that trickle, 500 ms of patience: served after {waited:?}");
    for stream in &mut bodies {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        assert_eq!(read_answer(stream).error(), (408, "request-timeout".into()));
    }
    assert_eq!(trickle.join().unwrap(), 4, "a byte now and then keeps no place");
}

/// Whoever asks and never reads the answers is not answered for ever.
#[test]
fn a_caller_that_does_not_read_loses_its_place() {
    let patience = Patience { answer_ms: 500, ..Patience::DEFAULT };
    let served = Served::start(ApiBounds { max_connections: 1, patience, ..BOUNDS });
    let at = served.address();
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    // Pipelined until nothing more is taken: answers of 30 KB each fill what the system keeps for us.
    let request = b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let began = Instant::now();
    while stream.write_all(request).is_ok() {}
    assert_eq!(get(at, "/v2/health/live").status, 200);
    eprintln!("the only place taken by a caller that does not read: served after {:?}", began.elapsed());
    drop(stream);
}
