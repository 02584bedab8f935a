//! The walk-through of `examples/digits/README.md`, by hand, against mosquitto.

use std::process::{Command, Stdio};

use crate::toolchain::available;
use crate::world::{Process, World, classes, eventually, free_port, test_images};

/// mosquitto, or nothing where it is not installed and nobody demands it.
pub fn program() -> Option<&'static str> {
    let program = ["/usr/sbin/mosquitto", "mosquitto"].into_iter().find(|program| {
        Command::new(program).arg("-h").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    });
    let missing = "mosquitto is not installed; run `apt-get install mosquitto`";
    let found = program.map(|_| ()).ok_or_else(|| missing.to_string());
    available("DUNLIN_REQUIRE_MOSQUITTO", found).then_some(())?;
    program
}

/// mosquitto on loopback, open to everyone.
fn mosquitto(folder: &std::path::Path) -> Option<(Process, String)> {
    with(folder, "allow_anonymous true\n")
}

/// mosquitto on loopback, with further lines in its configuration.
pub fn with(folder: &std::path::Path, lines: &str) -> Option<(Process, String)> {
    let program = program()?;
    let port = free_port();
    let config = folder.join("mosquitto.conf");
    // Tests may run as root, and mosquitto would then become a user who cannot read the folder.
    let text =
        format!("listener {port} 127.0.0.1\nuser root\nset_tcp_nodelay true\npersistence false\n{lines}");
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(program);
    command.arg("-c").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
    let process = Process::spawn(command);
    eventually("mosquitto is up", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    Some((process, format!("mqtt://127.0.0.1:{port}")))
}

#[test]
fn the_walk_through_by_hand_works_with_mosquitto() {
    let folder = tempfile::tempdir().unwrap();
    let Some((broker, url)) = mosquitto(folder.path()) else { return };
    let world = World::with(broker, url);
    let device = world.enroll("press-3");
    let events = world.tail("event");
    world.release_digits("1.0.0", 16);
    world.publish("digits@1.0.0");
    world.deploy("digits@1.0.0", "stable");
    // The device comes last: everything waits for it on the broker.
    let _agent = device.start();
    device.serves("1.0.0");
    let (images, labels) = test_images();
    let found = classes(&device.classify(&images));
    let right = found.iter().zip(&labels).filter(|(a, b)| a == b).count();
    assert_eq!(right, 351, "of {}", labels.len());
    let switched = events.until("the switch is reported", |record| record["event"] == "switched");
    assert_eq!(switched["device"], "press-3");
}
