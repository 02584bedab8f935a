//! What delivery costs: `cargo run --release -p dunlin-agent --example delivery_cost`.
//!
//! Starts mosquitto on loopback, with the settings of `docs/brokers.md` and without TLS, and tells: reading and
//! hashing a model of 64 MiB; pulling 100 MB to one device, and what its memory does meanwhile; 1,000 devices
//! that pull 1 MB each; what models and devices cost the broker in memory and on disk.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use dunlin_agent::fetch::{FetchEvent, Fetcher};
use dunlin_agent::store::Store;
use dunlin_core::document::{Blob, Chunks};
use dunlin_core::id::FleetId;
use dunlin_core::transfer::{Resume, Transfer, TransferAction, TransferConfig, TransferEvent};
use dunlin_core::{Digest, chunk, topic};
use dunlin_mqtt::{BrokerUrl, Event, Events, Link, LinkConfig, Message, Subscription, connect_once};

const CHUNK_BYTES: usize = 32 * 1024;
const MIB: usize = 1 << 20;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    hash();
    runtime.block_on(async {
        let broker = Broker::start().await;
        one_device(&broker).await;
        fleet(&broker).await;
    });
}

/// Bytes that do not repeat.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Some((z ^ (z >> 31)).to_le_bytes())
    };
    std::iter::from_fn(next).flatten().take(length).collect()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn hash() {
    let bytes = noise(1, 64 * MIB);
    let (blob, list) = chunk::describe(&bytes, &[], CHUNK_BYTES).unwrap();
    let chunks = chunk::decode_list(&list.unwrap(), blob.size_bytes).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let mut partial = store.create_partial(blob.digest, blob.size_bytes, &chunks).unwrap();
    for (index, piece) in bytes.chunks(CHUNK_BYTES).enumerate() {
        partial.write(0, index, (index * CHUNK_BYTES) as u64, piece).unwrap();
    }
    partial.finish().unwrap();
    let time = |work: &dyn Fn()| {
        let start = Instant::now();
        work();
        start.elapsed()
    };
    let whole = median((0..7).map(|_| time(&|| drop(store.blob(&blob.digest, blob.size_bytes)))).collect());
    let digest = || assert!(std::hint::black_box(Digest::of(&bytes)) == blob.digest);
    let sha256 = median((0..7).map(|_| time(&digest)).collect());
    println!(
        "64 MiB read from the page cache and verified: {:.0} ms, of which sha256 {:.0} ms ({:.0} %)",
        whole.as_secs_f64() * 1e3,
        sha256.as_secs_f64() * 1e3,
        100.0 * sha256.as_secs_f64() / whole.as_secs_f64()
    );
}

struct Broker {
    process: Child,
    url: BrokerUrl,
    folder: tempfile::TempDir,
}

impl Broker {
    async fn start() -> Broker {
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let place = folder.path().display();
        let config = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nuser root\nset_tcp_nodelay true\n\
             max_inflight_messages 1000\nmax_queued_messages 1000000\npersistence true\n\
             persistence_location {place}/\nautosave_interval 30\n"
        );
        let path = folder.path().join("mosquitto.conf");
        std::fs::write(&path, config).unwrap();
        let program = ["/usr/sbin/mosquitto", "mosquitto"].into_iter().find(|name| {
            Command::new(name).arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
        });
        let mut command = Command::new(program.unwrap());
        command.arg("-c").arg(&path).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().unwrap();
        let url: BrokerUrl = format!("mqtt://127.0.0.1:{port}").parse().unwrap();
        let broker = Broker { process, url, folder };
        while connect_once(LinkConfig::new(broker.url.clone(), "up"), Duration::from_secs(1)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        broker
    }

    async fn link(&self, id: &str) -> (Link, Events) {
        connect_once(LinkConfig::new(self.url.clone(), id), Duration::from_secs(30)).await.unwrap()
    }

    /// User and system time so far.
    fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }

    fn resident_mb(&self) -> f64 {
        kib(&format!("/proc/{}/status", self.process.id()), "VmRSS") * 1024.0 / 1e6
    }

    /// The file that retained messages are kept in, as written now.
    async fn stored_mb(&self) -> f64 {
        let id = self.process.id().to_string();
        Command::new("kill").args(["-USR1", &id]).status().unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let path: &Path = self.folder.path();
        std::fs::metadata(path.join("mosquitto.db")).map_or(0.0, |file| file.len() as f64 / 1e6)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn kib(path: &str, field: &str) -> f64 {
    let status = std::fs::read_to_string(path).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn fleet_name() -> FleetId {
    "bench".parse().unwrap()
}

async fn publish(link: &Link, bytes: &[u8], list: Option<&Vec<u8>>) {
    let mut waiting = std::collections::VecDeque::new();
    for piece in bytes.chunks(CHUNK_BYTES).map(<[u8]>::to_vec).chain(list.cloned()) {
        let topic = topic::chunk(&fleet_name(), &Digest::of(&piece));
        let message = Message { topic, payload: piece.into(), retain: true };
        waiting.push_back(link.enqueue(message).await.unwrap());
        if waiting.len() > 32 {
            waiting.pop_front().unwrap().await.unwrap();
        }
    }
    for pending in waiting {
        pending.await.unwrap();
    }
}

async fn one_device(broker: &Broker) {
    let bytes = noise(2, 100_000_000);
    let (blob, list) = chunk::describe(&bytes, &[], CHUNK_BYTES).unwrap();
    let (link, _events) = broker.link("publisher").await;
    let start = Instant::now();
    publish(&link, &bytes, list.as_ref()).await;
    println!("100 MB published: {:.2} s", start.elapsed().as_secs_f64());
    println!(
        "the broker with it: {:.0} MB resident, {:.0} MB on disk",
        broker.resident_mb(),
        broker.stored_mb().await
    );
    drop((bytes, list));
    let before = kib("/proc/self/status", "VmRSS");
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (link, mut events) = broker.link("device").await;
    let (fetcher, mut fetched) =
        Fetcher::start(link.clone(), fleet_name(), store.clone(), TransferConfig::default());
    let start = Instant::now();
    fetcher.link_up();
    fetcher.fetch(Digest::of(b"release"), vec![blob.clone()], Duration::ZERO);
    let mut most = before;
    let done = loop {
        tokio::select! {
            event = events.recv() => if let Some(Event::Received(message)) = event {
                fetcher.deliver(&message);
            },
            event = fetched.recv() => match event.unwrap().1 {
                FetchEvent::Done { .. } => break true,
                FetchEvent::Failed { .. } => break false,
                FetchEvent::BadChunk { .. }
                | FetchEvent::Stalled { .. }
                | FetchEvent::Resumed { .. }
                | FetchEvent::Slow { .. } => {}
            },
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
        most = most.max(kib("/proc/self/status", "VmRSS"));
    };
    assert!(done);
    println!(
        "100 MB to one device, synced and verified: {:.2} s; its memory grew by {:.1} MB at most",
        start.elapsed().as_secs_f64(),
        (most - before) * 1024.0 / 1e6
    );
    fetcher.stop().await;
    link.close().await;
}

const DEVICES: usize = 1000;

async fn fleet(broker: &Broker) {
    let bytes = noise(3, 1_000_000);
    let (blob, list) = chunk::describe(&bytes, &[], CHUNK_BYTES).unwrap();
    assert!(list.is_none() && matches!(blob.chunks, Chunks::Inline(_)));
    let (link, _events) = broker.link("publisher").await;
    publish(&link, &bytes, None).await;
    let before_mb = broker.resident_mb();
    let mut devices = Vec::new();
    for index in 0..DEVICES {
        devices.push(broker.link(&format!("device-{index}")).await);
    }
    println!("{DEVICES} connections cost the broker {:.1} MB", broker.resident_mb() - before_mb);
    let (start, cpu) = (Instant::now(), broker.cpu());
    let pulls = devices.into_iter().map(|(link, events)| tokio::spawn(pull(link, events, blob.clone())));
    let pulls: Vec<_> = pulls.collect();
    for pull in pulls {
        pull.await.unwrap();
    }
    println!(
        "{DEVICES} devices pull 1 MB each: {:.2} s, {:.2} s of broker CPU",
        start.elapsed().as_secs_f64(),
        (broker.cpu() - cpu).as_secs_f64()
    );
}

/// A device without a disk.
async fn pull(link: Link, mut events: Events, blob: Blob) {
    let fleet = fleet_name();
    let start = Instant::now();
    let mut transfer = Transfer::new(&blob, Resume::default(), TransferConfig::default()).unwrap();
    let mut actions = transfer.step(0, TransferEvent::Started);
    loop {
        let (mut subscribe, mut unsubscribe) = (Vec::new(), Vec::new());
        for action in actions {
            match action {
                TransferAction::Subscribe { digest, max_payload_bytes } => {
                    subscribe.push(Subscription::new(topic::chunk(&fleet, &digest), max_payload_bytes));
                }
                TransferAction::Unsubscribe { digest } => unsubscribe.push(topic::chunk(&fleet, &digest)),
                TransferAction::Finished => return link.close().await,
                TransferAction::Write { .. }
                | TransferAction::ListComplete { .. }
                | TransferAction::Stalled { .. }
                | TransferAction::Slow { .. }
                | TransferAction::Failed => {}
            }
        }
        if !unsubscribe.is_empty() {
            link.unsubscribe(&unsubscribe).await.unwrap();
        }
        if !subscribe.is_empty() {
            link.subscribe(&subscribe).await.unwrap();
        }
        let Some(Event::Received(message)) = events.recv().await else {
            actions = Vec::new();
            continue;
        };
        let digest = message.topic.rsplit('/').next().unwrap().parse().unwrap();
        let now_ms = u64::try_from(start.elapsed().as_millis()).unwrap();
        actions = transfer.step(now_ms, TransferEvent::Arrived { digest, payload: &message.payload });
    }
}
