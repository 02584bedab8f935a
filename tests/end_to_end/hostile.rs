//! A hostile broker: a real one behind a proxy that replays, withholds, reorders, doubles, cuts off, alters,
//! floods and lies, byte by byte. Each kind of mischief meets a running agent in the middle of an update; when
//! it ends, the device must come to what the operator wants, by itself, and must not have grown.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::world::{Device, World, test_images};

/// What the proxy does to what the broker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mischief {
    None,
    CutOff,
    Double,
    Reorder,
    Withhold,
    Alter,
    Replay,
    RefuseSubscriptions,
    AnswerOtherSubscriptions,
    AnswerTooFew,
    OtherTopics,
    Oversize,
    EndlessPacket,
    Garbage,
    Flood,
}

const ALL: [Mischief; 14] = [
    Mischief::CutOff,
    Mischief::Double,
    Mischief::Reorder,
    Mischief::Withhold,
    Mischief::Alter,
    Mischief::Replay,
    Mischief::RefuseSubscriptions,
    Mischief::AnswerOtherSubscriptions,
    Mischief::AnswerTooFew,
    Mischief::OtherTopics,
    Mischief::Oversize,
    Mischief::EndlessPacket,
    Mischief::Garbage,
    Mischief::Flood,
];

const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const SUBACK: u8 = 9;

/// What connections share.
struct Proxy {
    mischief: Mutex<Mischief>,
    /// The first deployment that passed: an old one, later.
    recorded: Mutex<Option<Vec<u8>>>,
}

/// Starts a proxy in front of a broker; its address.
fn proxy(broker: &str) -> (Arc<Proxy>, String) {
    let broker = broker.strip_prefix("mqtt://").unwrap().to_string();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    let shared = Arc::new(Proxy { mischief: Mutex::new(Mischief::None), recorded: Mutex::new(None) });
    let proxy = Arc::clone(&shared);
    std::thread::spawn(move || {
        for device in listener.incoming().map_while(Result::ok) {
            let Ok(upstream) = TcpStream::connect(&broker) else { continue };
            let (mut from_device, mut to_broker) =
                (device.try_clone().unwrap(), upstream.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from_device, &mut to_broker);
                let _ = to_broker.shutdown(std::net::Shutdown::Both);
            });
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                let closing = device.try_clone().unwrap();
                // An error is an end like any other.
                let _ = shared.forward(upstream, device);
                let _ = closing.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    (proxy, url)
}

/// One packet, whole.
fn read_packet(from: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut packet = vec![0];
    from.read_exact(&mut packet)?;
    let (mut length, mut shift) = (0_usize, 0);
    loop {
        let mut byte = [0];
        from.read_exact(&mut byte)?;
        packet.push(byte[0]);
        length |= usize::from(byte[0] & 0x7f) << shift;
        shift += 7;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let start = packet.len();
    packet.resize(start + length, 0);
    from.read_exact(&mut packet[start..])?;
    Ok(packet)
}

/// A PUBLISH of QoS 0.
fn publish(topic: &str, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(topic.len()).unwrap().to_be_bytes();
    let body = [&length, topic.as_bytes(), payload].concat();
    let mut packet = vec![0x30];
    let mut rest = body.len();
    loop {
        let more = if rest > 127 { 0x80 } else { 0 };
        packet.push(u8::try_from(rest % 128).unwrap() | more);
        rest /= 128;
        if rest == 0 {
            break;
        }
    }
    packet.extend_from_slice(&body);
    packet
}

/// Where the body of a packet begins.
fn body_start(packet: &[u8]) -> usize {
    1 + packet[1..].iter().position(|byte| byte & 0x80 == 0).unwrap() + 1
}

fn topic_of(packet: &[u8]) -> String {
    let body = &packet[body_start(packet)..];
    let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
    String::from_utf8_lossy(&body[2..2 + length]).into_owned()
}

const DEPLOYMENTS: &str = "dunlin/v1/test/deploy/channel/stable";

impl Proxy {
    fn set(&self, mischief: Mischief) {
        *self.mischief.lock().unwrap() = mischief;
    }

    fn forward(&self, mut from: TcpStream, mut to: TcpStream) -> std::io::Result<()> {
        let mut held: Vec<Vec<u8>> = Vec::new();
        let mut count = 0_usize;
        loop {
            let mut packet = read_packet(&mut from)?;
            count += 1;
            let mischief = *self.mischief.lock().unwrap();
            let kind = packet[0] >> 4;
            if kind == PUBLISH && topic_of(&packet) == DEPLOYMENTS {
                let start = body_start(&packet) + 2 + DEPLOYMENTS.len() + 2;
                let mut recorded = self.recorded.lock().unwrap();
                recorded.get_or_insert_with(|| packet[start..].to_vec());
            }
            // What was held back comes in the end; who never says something is row 5 of SECURITY.md.
            if mischief != Mischief::Reorder {
                for packet in held.drain(..).rev() {
                    to.write_all(&packet)?;
                }
            }
            match (mischief, kind) {
                (Mischief::CutOff, PUBLISH) => {
                    to.write_all(&packet[..packet.len() * count.min(7) / 8])?;
                    return Ok(());
                }
                (Mischief::Double, PUBLISH) => {
                    for _ in 0..3 {
                        to.write_all(&packet)?;
                    }
                }
                (Mischief::Reorder, PUBLISH) => {
                    held.push(packet);
                    if held.len() == 4 {
                        for packet in held.drain(..).rev() {
                            to.write_all(&packet)?;
                        }
                    }
                }
                (Mischief::Withhold, PUBLISH)
                    if topic_of(&packet).contains("/chunk/") && count.is_multiple_of(2) => {}
                (Mischief::Alter, PUBLISH) => {
                    let last = packet.len() - 1;
                    packet[last] ^= 1;
                    to.write_all(&packet)?;
                }
                (Mischief::Replay, SUBACK) => {
                    to.write_all(&packet)?;
                    if let Some(old) = &*self.recorded.lock().unwrap() {
                        for _ in 0..50 {
                            to.write_all(&publish(DEPLOYMENTS, old))?;
                        }
                    }
                }
                (Mischief::RefuseSubscriptions, SUBACK) => {
                    let codes = body_start(&packet) + 2;
                    packet[codes..].fill(0x80);
                    to.write_all(&packet)?;
                }
                (Mischief::AnswerOtherSubscriptions, SUBACK) => {
                    let id = body_start(&packet) + 1;
                    packet[id] ^= 0x55;
                    to.write_all(&packet)?;
                }
                (Mischief::AnswerTooFew, SUBACK) => {
                    let id = body_start(&packet);
                    to.write_all(&[0x90, 2, packet[id], packet[id + 1]])?;
                }
                (Mischief::OtherTopics, PUBLISH) => {
                    for topic in ["dunlin/v1/test/deploy/device/other", "dunlin/v1/other/root/2", "+/#", ""] {
                        to.write_all(&publish(topic, b"{}"))?;
                    }
                    to.write_all(&packet)?;
                }
                (Mischief::Oversize, SUBACK) => {
                    to.write_all(&publish(DEPLOYMENTS, &vec![b'x'; 900 * 1024]))?;
                    to.write_all(&packet)?;
                }
                (Mischief::EndlessPacket, CONNACK) => {
                    to.write_all(&packet)?;
                    to.write_all(&[0x30, 0xff, 0xff, 0xff, 0x7f])?;
                    // As much of it as the device takes.
                    for _ in 0..64 {
                        to.write_all(&[0; 64 * 1024])?;
                    }
                }
                (Mischief::Garbage, SUBACK) => {
                    let noise: Vec<u8> =
                        (0..64_u8).map(|byte| byte.wrapping_mul(197).wrapping_add(91)).collect();
                    to.write_all(&noise)?;
                }
                (Mischief::Flood, SUBACK) => {
                    to.write_all(&packet)?;
                    let garbage = publish(DEPLOYMENTS, &vec![b'{'; 32 * 1024]);
                    for _ in 0..2000 {
                        to.write_all(&garbage)?;
                    }
                }
                _ => to.write_all(&packet)?,
            }
        }
    }
}

fn resident_kib(agent: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{agent}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn whatever_a_broker_does_the_device_comes_to_what_is_wanted() {
    let world = World::new();
    let (proxy, url) = proxy(&world.url);
    let device = world.enroll_at("alpha", &url);
    // What is withheld is asked for again soon.
    let mut config = std::fs::read_to_string(device.config()).unwrap();
    config += "\n[pull]\nchunk_timeout_s = 1\n";
    std::fs::write(device.config(), config).unwrap();
    let versions = ["1.0.0", "1.1.0"];
    for (version, batch) in versions.iter().zip([16, 8]) {
        world.release_digits(version, batch);
        world.publish(&format!("digits@{version}"));
    }
    world.deploy("digits@1.0.0", "stable");
    let calm = {
        let agent = device.start();
        device.serves("1.0.0");
        device.classify(&test_images().0);
        resident_kib(agent.id())
    };
    for (round, mischief) in ALL.into_iter().enumerate() {
        let wanted = versions[(round + 1) % 2];
        proxy.set(mischief);
        forget_blobs(&device);
        let mut agent = device.start();
        world.deploy_again(&format!("digits@{wanted}"), "stable");
        std::thread::sleep(Duration::from_millis(1200));
        assert!(agent.is_running(), "{mischief:?}: the agent ended");
        proxy.set(Mischief::None);
        device.serves(wanted);
        device.classify(&test_images().0[..64]);
        let most = resident_kib(agent.id());
        println!("{mischief:?}: {most} KiB at most, {calm} when calm");
        assert!(most < calm + 12 * 1024, "{mischief:?}: {most} KiB, {calm} when calm");
        assert!(agent.terminate(), "{mischief:?}: the agent did not end in order");
    }
    let log = device.log();
    for never in ["panicked", "illegal-event"] {
        assert!(!log.contains(never), "{never}\n{log}");
    }
}

/// What is not proven has to be fetched again, so that there is something to disturb.
fn forget_blobs(device: &Device) {
    for folder in ["blobs", "partial"] {
        let Ok(entries) = std::fs::read_dir(device.bundle.join("state").join(folder)) else { continue };
        for entry in entries.filter_map(Result::ok) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
