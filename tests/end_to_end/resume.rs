//! `kill -9` in the middle of a pull: the next start fetches only what is missing.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::onnx;
use crate::world::{World, eventually};

#[test]
fn a_killed_agent_resumes_its_pull() {
    let world = World::new();
    let device = world.enroll_at("alpha", &slow_link(&world.url));
    // Weights of 6 MiB: about 200 chunks.
    world.release_onnx("large", "1.0.0", &onnx::dense(1024, 1536));
    world.deploy("large@1.0.0", "stable");

    let mut agent = device.start();
    let map = eventually("the pull begins", || {
        let partial = device.bundle.join("state/partial");
        let maps = std::fs::read_dir(partial).ok()?.filter_map(Result::ok);
        maps.map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|extension| extension == "map"))
    });
    let first = std::fs::read(&map).unwrap();
    eventually("a part of the pull is on disk", || (std::fs::read(&map).ok()? != first).then_some(()));
    agent.kill();
    assert!(map.exists(), "the pull was complete before the agent was killed");

    let _again = device.start();
    eventually("the model serves", || (device.get("/v2/models/large/ready")?.0 == 200).then_some(()));
    let log = device.log();
    let line = log.lines().rev().find(|line| line.contains("resuming")).unwrap_or_else(|| panic!("{log}"));
    println!("{line}");
    let number = |after: &str| -> u64 {
        let rest = &line[line.find(after).unwrap_or_else(|| panic!("{line}")) + after.len()..];
        rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
    };
    let (here, of, fetching) = (number("resuming: "), number(" of "), number("fetching "));
    assert!(here > 0 && fetching > 0, "{line}");
    assert_eq!(here + fetching, of, "{line}");
}

/// A link of about 2 MB/s to the broker, so that the kill comes in the middle. It ends with the test's
/// process; its address.
fn slow_link(broker: &str) -> String {
    let broker = broker.strip_prefix("mqtt://").unwrap().to_string();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for device in listener.incoming().map_while(Result::ok) {
            let Ok(upstream) = TcpStream::connect(&broker) else { continue };
            let (from, to) = (upstream.try_clone().unwrap(), device.try_clone().unwrap());
            std::thread::spawn(move || forward(from, to, Duration::from_millis(8)));
            std::thread::spawn(move || forward(device, upstream, Duration::ZERO));
        }
    });
    url
}

/// Copies until either side ends, 16 KiB at a time with a pause between.
fn forward(mut from: TcpStream, mut to: TcpStream, pause: Duration) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
        std::thread::sleep(pause);
    }
    // The other side may be gone already.
    let _ = to.shutdown(std::net::Shutdown::Both);
}

/// Counts what passes to the device, and can be cut.
#[derive(Default)]
struct Line {
    bytes: std::sync::atomic::AtomicU64,
    current: std::sync::Mutex<Option<TcpStream>>,
}

impl Line {
    fn cut(&self) {
        if let Some(device) = self.current.lock().unwrap().take() {
            let _ = device.shutdown(std::net::Shutdown::Both);
        }
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// A line of about 4 MB/s to the broker; its address.
fn line(broker: &str) -> (std::sync::Arc<Line>, String) {
    let broker = broker.strip_prefix("mqtt://").unwrap().to_string();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    let line = std::sync::Arc::new(Line::default());
    let shared = std::sync::Arc::clone(&line);
    std::thread::spawn(move || {
        for device in listener.incoming().map_while(Result::ok) {
            let Ok(mut upstream) = TcpStream::connect(&broker) else { continue };
            *shared.current.lock().unwrap() = Some(device.try_clone().unwrap());
            let (from_device, to_broker) = (device.try_clone().unwrap(), upstream.try_clone().unwrap());
            std::thread::spawn(move || forward(from_device, to_broker, Duration::ZERO));
            let (shared, mut device) = (std::sync::Arc::clone(&shared), device);
            std::thread::spawn(move || {
                let mut buffer = [0; 16 * 1024];
                while let Ok(length @ 1..) = upstream.read(&mut buffer) {
                    if device.write_all(&buffer[..length]).is_err() {
                        break;
                    }
                    shared.bytes.fetch_add(length as u64, std::sync::atomic::Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(4));
                }
                let _ = device.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    (line, url)
}

/// A pull of 64 MiB with 20 cuts of the line and 5 kills, scaled down to `DUNLIN_INTERRUPTED_MIB` (12 if
/// nothing is said), beside one that is left in peace.
#[test]
fn cuts_and_kills_send_little_twice() {
    let mib: usize = std::env::var("DUNLIN_INTERRUPTED_MIB").map_or(12, |text| text.parse().unwrap());
    let (cuts, kills) = ((mib * 20).div_ceil(64), (mib * 5).div_ceil(64));
    let world = World::new();
    world.release_onnx("large", "1.0.0", &onnx::dense(1024, mib * 256));
    world.deploy_ahead("large@1.0.0", "stable");
    let (calm, calm_url) = line(&world.url);
    let (rough, rough_url) = line(&world.url);
    let serves = |device: &crate::world::Device| {
        eventually("the model serves", || (device.get("/v2/models/large/ready")?.0 == 200).then_some(()));
    };
    {
        let device = world.enroll_at("calm", &calm_url);
        let _agent = device.start();
        serves(&device);
    }
    let device = world.enroll_at("rough", &rough_url);
    let mut agent = device.start();
    let total = calm.bytes();
    let events = cuts + kills;
    for event in 0..events {
        let due = total * (event as u64 + 1) / (events as u64 + 2);
        eventually("the pull goes on", || (rough.bytes() >= due).then_some(()));
        if event % (events / kills) == 1 {
            agent.kill();
            agent = device.start();
        } else {
            rough.cut();
        }
    }
    serves(&device);
    let twice = rough.bytes().saturating_sub(total);
    let share = 100.0 * twice as f64 / total as f64;
    println!("{mib} MiB, {cuts} cuts, {kills} kills: {twice} bytes twice, {share:.2} %");
    // What is on its way at such a moment: a few chunks.
    assert!(twice <= (events * 4 * 32 * 1024) as u64, "{twice} bytes came twice in {events} interruptions");
}
