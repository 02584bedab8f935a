//! The agent as a process, against a real broker: what a fleet sees of a device.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)]

mod plant;
mod support;

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use dunlin_core::telemetry::PresenceState;

use plant::{Plant, Signer, module_release};
use support::{Answer, STUCK, card, stick, worker_at};

const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_release_travels_from_the_broker_to_the_local_api_and_survives_an_offline_boot() {
    let mut plant = Plant::new().await;
    let (release, wasm) = module_release("m", 1, &card(4), 1.0, "");
    plant.publish_release(&release, &wasm, Signer::Release).await;
    plant.deploy(1, &release, Signer::Deploy).await;

    let mut agent = plant.start();
    let presence = plant.presence(PATIENCE).await;
    assert_eq!((presence.state, presence.connection), (PresenceState::Online, 1));
    assert_eq!(presence.nonce, Some(presence.header.boot.to_string()));
    for name in ["deployment-accepted", "installed", "switched"] {
        let event = plant.event(name, PATIENCE).await;
        assert_eq!(event.header.device.as_str(), "d");
        assert_eq!(event.code, None);
    }
    assert_eq!(agent.infer("m", 2.0), Ok(3.0));
    plant.event("proven", PATIENCE).await;
    let health = plant.health(PATIENCE).await;
    assert!(health.models.iter().any(|model| model.ready && model.version == "1"), "{health:?}");

    assert_eq!(agent.terminate(), Some(0));
    let presence = plant.presence(PATIENCE).await;
    assert_eq!((presence.state, presence.connection), (PresenceState::Offline, 1));
    let state = plant.state();
    assert_eq!(state["models"][0]["active"]["version"], "1", "{state}");

    plant.stop_broker().await;
    let mut agent = plant.start();
    assert_eq!(agent.infer("m", 5.0), Ok(6.0), "without a broker");
    assert!(agent.log().contains("cached=true"), "from the compiled cache:\n{}", agent.log());
    assert_eq!(agent.terminate(), Some(0));
    assert_eq!(plant.state()["boots"], 2);

    // One byte of the machine code is another one.
    let native = plant.path("state/native").join(plant::digest(&release).to_string());
    let mut code = std::fs::read(&native).unwrap();
    let middle = code.len() / 2;
    code[middle] ^= 1;
    std::fs::write(&native, &code).unwrap();
    let mut agent = plant.start();
    assert_eq!(agent.infer("m", 6.0), Ok(7.0));
    assert!(agent.log().contains("cached=false"), "compiled again:\n{}", agent.log());
    assert_eq!(agent.terminate(), Some(0));
    let mut agent = plant.start();
    assert_eq!(agent.infer("m", 6.0), Ok(7.0));
    assert!(agent.log().contains("cached=true"), "and kept again:\n{}", agent.log());
    assert_eq!(agent.terminate(), Some(0));
}

/// The worker dies in its calls, as it would by a fault in the engine or for want of memory.
#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_its_worker_dies_of_three_times_gives_way_to_the_one_before() {
    let mut plant = Plant::new().await;
    let mut agent = None;
    for (counter, addend) in [(1, 1.0), (2, 2.0)] {
        let (mut release, wasm) = module_release("m", counter, &card(4), addend, STUCK);
        release.limits.deadline_us = 20_000_000;
        plant.publish_release(&release, &wasm, Signer::Release).await;
        plant.deploy(counter, &release, Signer::Deploy).await;
        let agent = agent.get_or_insert_with(|| plant.start());
        plant.event("switched", PATIENCE).await;
        assert_eq!(agent.infer("m", 1.0), Ok(1.0 + f64::from(addend)));
        plant.event("proven", PATIENCE).await;
    }
    let mut agent = agent.unwrap();
    let address = agent.address();
    for death in 1..=3 {
        let _stuck = stick(address, "m");
        std::thread::sleep(Duration::from_millis(200));
        rustix::process::kill_process(worker_at(address), rustix::process::Signal::KILL).unwrap();
        // Alarms of one reason are one an hour.
        if death == 1 {
            let event = plant.event("alarm", PATIENCE).await;
            assert_eq!((event.code.as_deref(), event.version.as_deref()), (Some("worker-died"), Some("2")));
        }
        if death < 3 {
            plant.event("switched", PATIENCE).await;
            assert_eq!(agent.infer("m", 1.0), Ok(3.0), "it serves again");
        }
    }
    let event = plant.event("rolled-back", PATIENCE).await;
    assert_eq!((event.code.as_deref(), event.version.as_deref()), (Some("worker-died"), Some("2")));
    plant.event("switched", PATIENCE).await;
    assert_eq!(agent.infer("m", 1.0), Ok(2.0));
    assert_eq!(agent.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forged_is_refused_with_its_code_and_the_real_one_is_taken() {
    let mut plant = Plant::new().await;
    let (release, wasm) = module_release("m", 1, &card(4), 1.0, "");
    let mut agent = plant.start();
    plant.deploy(1, &release, Signer::Stranger).await;
    let event = plant.event("refused", PATIENCE).await;
    assert_eq!(event.code.as_deref(), Some("signature-threshold"));
    plant.deploy(2, &release, Signer::Deploy).await;
    plant.event("deployment-accepted", PATIENCE).await;
    plant.publish_release(&release, &wasm, Signer::Deploy).await;
    let event = plant.event("refused", PATIENCE).await;
    assert_eq!(event.code.as_deref(), Some("signature-threshold"));
    assert_eq!(event.release, Some(plant::digest(&release)));
    plant.deploy(1, &release, Signer::Deploy).await;
    let event = plant.event("refused", PATIENCE).await;
    assert_eq!(event.code.as_deref(), Some("deployment-replayed"));
    plant.publish_release(&release, &wasm, Signer::Release).await;
    plant.event("switched", PATIENCE).await;
    assert_eq!(agent.infer("m", 1.0), Ok(2.0));
    assert_eq!(agent.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_fails_its_trial_gives_way_to_the_one_before() {
    let mut plant = Plant::new().await;
    let (good, wasm) = module_release("m", 1, &card(4), 1.0, "");
    plant.publish_release(&good, &wasm, Signer::Release).await;
    plant.deploy(1, &good, Signer::Deploy).await;
    let mut agent = plant.start();
    plant.event("switched", PATIENCE).await;
    assert_eq!(agent.infer("m", 1.0), Ok(2.0));
    plant.event("proven", PATIENCE).await;

    let (bad, wasm) = module_release("m", 2, &card(4), 9.0, "(return (i32.const 7))");
    plant.publish_release(&bad, &wasm, Signer::Release).await;
    plant.deploy(2, &bad, Signer::Deploy).await;
    plant.event("switched", PATIENCE).await;
    assert!(agent.infer("m", 1.0).is_err());
    let event = plant.event("rolled-back", PATIENCE).await;
    assert_eq!((event.code.as_deref(), event.version.as_deref()), (Some("trial-failed"), Some("2")));
    plant.event("switched", PATIENCE).await;
    assert_eq!(agent.infer("m", 1.0), Ok(2.0));
    assert_eq!(agent.terminate(), Some(0));
    assert_eq!(plant.state()["bad"][0], plant::digest(&bad).to_string());
    assert_eq!(plant.offline(PATIENCE).await.failed, [plant::digest(&bad)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_may_go_and_come_back_and_tells_of_a_killed_device() {
    let mut plant = Plant::new().await;
    let mut agent = plant.start();
    assert_eq!(plant.presence(PATIENCE).await.state, PresenceState::Online);
    agent.kill();
    let will = plant.presence(PATIENCE).await;
    assert_eq!((will.state, will.connection), (PresenceState::Offline, 1), "the last will");
    let mut agent = plant.start();
    assert_eq!(plant.presence(PATIENCE).await.connection, 2, "a late will of start 1 counts for nothing");
    plant.restart_broker().await;
    let presence = plant.presence(PATIENCE).await;
    assert_eq!((presence.state, presence.connection), (PresenceState::Online, 2));
    let (release, wasm) = module_release("m", 1, &card(4), 1.0, "");
    plant.publish_release(&release, &wasm, Signer::Release).await;
    plant.deploy(1, &release, Signer::Deploy).await;
    plant.event("switched", PATIENCE).await;
    assert_eq!(agent.infer("m", 1.0), Ok(2.0));
    assert_eq!(agent.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_root_is_walked_and_heals_what_waited_for_it() {
    let mut plant = Plant::new().await;
    let (release, wasm) = module_release("m", 1, &card(4), 1.0, "");
    plant.publish_release(&release, &wasm, Signer::Release).await;
    let mut agent = plant.start();
    assert_eq!(plant.presence(PATIENCE).await.root_version, 1);
    // Signed by a deploy key that only the next root knows.
    plant.deploy(1, &release, Signer::Stranger).await;
    assert_eq!(plant.event("refused", PATIENCE).await.code.as_deref(), Some("signature-threshold"));
    plant.publish_root(2, Signer::Stranger).await;
    plant.event("root-accepted", PATIENCE).await;
    plant.event("switched", PATIENCE).await;
    assert_eq!(plant.presence(PATIENCE).await.root_version, 2, "presence tells it");
    assert_eq!(agent.infer("m", 1.0), Ok(2.0));
    agent.kill();
    let mut agent = plant.start();
    assert_eq!(agent.infer("m", 1.0), Ok(2.0), "also after kill -9");
    assert_eq!(agent.terminate(), Some(0));
    assert_eq!(plant.state()["root_version"], 2);
}

/// What an agent that was killed leaves for a moment: a worker whose sockets are still open.
#[tokio::test(flavor = "multi_thread")]
async fn starts_when_a_killed_predecessor_is_gone() {
    let plant = Plant::new().await;
    let socket = plant.path("api.sock");
    let config = plant.config().replace("[api]", &format!("[api]\nsocket_file = \"{}\"", socket.display()));
    plant.configure(&config);
    let predecessor = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let mut agent = plant.start();
    agent.eventually("the agent waits", |log| log.contains("waiting up to 5 s").then_some(()));
    drop(predecessor);
    agent.eventually("the agent starts", |log| log.contains("the agent starts").then_some(()));
    assert_eq!(agent.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_cannot_be_says_why_with_its_code() {
    let plant = Plant::new().await;
    let mut agent = plant.start();
    let address = agent.address();
    let (code, text) = plant.run(&["run"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("error[agent-already-running]"), "{text}");
    // The state can be read all the same.
    assert_eq!(plant.state()["root_version"], 1);
    let (code, text) = plant.run(&["state"]);
    assert_eq!(code, Some(0));
    assert!(text.contains("device d of fleet test, channel stable"), "{text}");

    let config = plant.config().replace("\"state\"", "\"other\"");
    plant.configure(&config.replace("127.0.0.1:0", &address.to_string()));
    let (code, text) = plant.run(&[]);
    assert_eq!(code, Some(1));
    assert!(text.contains("error[listen-address-in-use]"), "{text}");
    plant.configure(&config);
    plant.spoil_enrolment();
    let config = config.replace("\"other\"", "\"third\"");
    plant.configure(&config);
    let (code, text) = plant.run(&["run"]);
    assert_eq!(code, Some(2));
    assert!(text.contains("error[enrolment-unusable]"), "{text}");
    plant.configure(&format!("{config}\ncolour = 1\n"));
    let (code, text) = plant.run(&["check-config"]);
    assert_eq!(code, Some(2));
    assert!(text.contains("error[config-invalid]"), "{text}");
    assert_eq!(agent.terminate(), Some(0));
}

/// A request that shows a token.
fn ask(at: SocketAddr, request: &str, token: &str, body: &str) -> Answer {
    let head = format!(
        "{request} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    support::raw(at, [head.as_str(), body].concat().as_bytes())
}

const INFER: &str = "POST /v2/models/m/infer";

fn wait_until_it_serves(at: SocketAddr, token: &str) {
    let end = Instant::now() + PATIENCE;
    while ask(at, "GET /v2/models/m/ready", token, "").status != 200 {
        assert!(Instant::now() < end, "the model does not serve");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whatever a device knows that nobody else may know, none of it comes into its log, however much it says.
#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_logged_at_any_level() {
    const PASSWORD: &str = "canary-password-7261";
    const TOKEN: &str = "canary-token-5480-6637";
    const WRONG: &str = "canary-wrong-token-9912";
    const TLS: &str = "canary-private-key-3348";
    let plant = Plant::new().await;
    plant.write_secret("password", PASSWORD);
    plant.write_secret("token", TOKEN);
    let plain = plant.config();
    let config = plain
        .replace("mqtt://", "mqtt://canary-user@")
        .replace("[api]", "password_file = \"password\"\n[api]\ntoken_file = \"token\"");
    plant.configure(&config);
    let (release, wasm) = module_release("m", 1, &card(4), 1.0, "");
    plant.publish_release(&release, &wasm, Signer::Release).await;
    plant.deploy(1, &release, Signer::Deploy).await;
    let mut agent = plant.start_at("trace");
    let at = agent.address();
    let body = support::input("[1,2]", "[1,2]");
    wait_until_it_serves(at, TOKEN);
    assert_eq!(ask(at, INFER, TOKEN, &body).status, 200);
    assert_eq!(ask(at, INFER, WRONG, &body).error(), (401, "request-token".into()));
    assert_eq!(support::post(at, "/v2/models/m/infer", &body).error(), (401, "request-token".into()));
    assert_eq!(agent.terminate(), Some(0));
    let log = agent.log();
    assert!(log.contains("DEBUG") && log.contains("switched"), "it says much: {log:.2000}");
    let mut said = vec![("a day of the agent", log)];
    // What is wrong with a configuration is said without what is in it.
    let tls = "ca_file = \"ca.pem\"\ncertificate_file = \"c.pem\"\ncertificate_key_file = \"c.key\"\n[api]";
    plant.write_secret("ca.pem", "no certificate");
    plant.write_secret("c.pem", "no certificate");
    plant.write_secret("c.key", TLS);
    for (what, config) in [
        (
            "a password in the file",
            config.replace("password_file = \"password\"", &format!("password = \"{PASSWORD}\"")),
        ),
        ("a password in the URL", plain.replace("mqtt://", &format!("mqtt://user:{PASSWORD}@"))),
        ("a token in the file", config.replace("token_file = \"token\"", &format!("token = \"{TOKEN}\""))),
    ] {
        plant.configure(&config);
        for verb in ["check-config", "run"] {
            let (code, text) = plant.run(&[verb]);
            assert!(code.is_some_and(|code| code != 0) && text.contains("error["), "{what}: {text}");
            said.push((what, text));
        }
    }
    plant.configure(&config);
    said.push(("check-config", plant.run(&["check-config"]).1));
    plant.configure(&plain.replace("mqtt://", "mqtts://").replace("[api]", tls));
    said.push(("check-config of TLS files that are none", plant.run(&["check-config"]).1));
    plant.configure(&config);
    said.push(("state", plant.run(&["state"]).1));
    let secrets = [PASSWORD, TOKEN, WRONG, TLS].map(str::to_string);
    for secret in secrets.into_iter().chain(Plant::device_secrets()) {
        assert!(secret.len() >= 16);
        for (what, text) in &said {
            assert!(!text.contains(&secret), "{what} tells a secret:\n{text}");
        }
    }
}

/// Thousands of connections, bodies that are too long, callers without a right: the answers are those of the
/// page, the memory is bounded, and who comes afterwards is served. `DUNLIN_ABUSE_CONNECTIONS` scales it up.
#[tokio::test(flavor = "multi_thread")]
async fn abuse_costs_the_agent_little_memory_and_nobody_their_answer() {
    const TOKEN: &str = "0123456789abcdef";
    let plant = Plant::new().await;
    plant.write_secret("token", TOKEN);
    plant.configure(&plant.config().replace("[api]", "[api]\ntoken_file = \"token\""));
    let (release, wasm) = module_release("m", 1, &card(4), 1.0, "");
    plant.publish_release(&release, &wasm, Signer::Release).await;
    plant.deploy(1, &release, Signer::Deploy).await;
    let mut agent = plant.start();
    let at = agent.address();
    let body = support::input("[1,2]", "[1,2]");
    wait_until_it_serves(at, TOKEN);
    let before = agent.memory_bytes();
    let long = format!(
        "POST /v2/models/m/infer HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 100000000\r\n\r\n"
    );
    for _ in 0..100 {
        assert_eq!(support::raw(at, long.as_bytes()).error(), (413, "request-too-large".into()));
        assert_eq!(support::post(at, "/v2/models/m/infer", &body).error(), (401, "request-token".into()));
        let foreign = support::raw(at, b"GET /v2 HTTP/1.1\r\nHost: evil.example\r\n\r\n");
        assert_eq!(foreign.error(), (403, "request-host".into()));
        let large = format!("GET /v2 HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(20_000));
        assert_eq!(support::raw(at, large.as_bytes()).status, 431);
    }
    let wanted: usize =
        std::env::var("DUNLIN_ABUSE_CONNECTIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(800);
    let (mut held, mut failed) = (Vec::new(), 0);
    while held.len() < wanted && failed < 5 {
        match TcpStream::connect_timeout(&at, Duration::from_millis(200)) {
            Ok(mut stream) => {
                // Half of a body each, as much as the model's bound lets.
                let _ = stream.write_all(long.replace("100000000", "80000").as_bytes());
                stream.set_nonblocking(true).unwrap();
                let _ = stream.write(&[b' '; 40_000]);
                held.push(stream);
            }
            Err(_) => failed += 1,
        }
    }
    std::thread::sleep(Duration::from_millis(500));
    let during = agent.memory_bytes();
    let connections = held.len();
    drop(held);
    let began = Instant::now();
    let answer = ask(at, INFER, TOKEN, &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    eprintln!(
        "{connections} connections with half a body each: {} KiB of memory before, {} KiB during; a good client \
         was served {:?} after they went",
        before / 1024,
        during / 1024,
        began.elapsed()
    );
    assert!(during < before + (64 << 20), "{before} bytes before, {during} during");
    assert_eq!(agent.terminate(), Some(0));
}

/// What a file of the state folder may become.
const DAMAGES: [&str; 4] = ["a flipped bit", "cut short", "empty", "a folder"];

fn damage(path: &std::path::Path, how: &str) {
    let mut bytes = std::fs::read(path).unwrap();
    match how {
        "a flipped bit" => {
            // In the middle, but not in what is behind the contents of a slot.
            let middle = (bytes.len() / 2).min(100);
            if let Some(byte) = bytes.get_mut(middle) {
                *byte ^= 1;
            }
        }
        "cut short" => bytes.truncate(bytes.len().min(400) / 2),
        "empty" => bytes.clear(),
        _ => {
            std::fs::remove_file(path).unwrap();
            std::fs::create_dir(path).unwrap();
            std::fs::write(path.join("inside"), b"x").unwrap();
            return;
        }
    }
    std::fs::write(path, bytes).unwrap();
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, target).unwrap();
        }
    }
}

/// Every file of a device's folder in turn, in every way: the device serves, and says so where something was lost.
#[tokio::test(flavor = "multi_thread")]
async fn one_damaged_file_costs_no_service() {
    let mut plant = Plant::new().await;
    let (release, wasm) = module_release("m", 1, &card(4), 1.0, "");
    plant.publish_root(2, Signer::Deploy).await;
    plant.publish_release(&release, &wasm, Signer::Release).await;
    plant.deploy(1, &release, Signer::Deploy).await;
    let mut agent = plant.start();
    plant.event("root-accepted", PATIENCE).await;
    plant.event("switched", PATIENCE).await;
    assert_eq!(agent.infer("m", 2.0), Ok(3.0));
    plant.event("proven", PATIENCE).await;
    assert_eq!(agent.terminate(), Some(0));
    let (state, sound) = (plant.path("state"), plant.path("sound"));
    copy(&state, &sound);
    let mut files = Vec::new();
    for folder in std::fs::read_dir(&sound).unwrap().map(|entry| entry.unwrap().path()) {
        let inside = if folder.is_dir() { std::fs::read_dir(&folder).unwrap().collect() } else { Vec::new() };
        files.extend(inside.into_iter().map(|entry| entry.unwrap().path()));
        files.extend(Some(folder).filter(|path| path.is_file()));
    }
    files.sort();
    assert!(files.len() >= 12, "{files:?}");
    for (index, file) in files.iter().enumerate() {
        let name = file.strip_prefix(&sound).unwrap().to_str().unwrap();
        // Of the lock only that it is held matters.
        if name == "lock" {
            continue;
        }
        // Two of the ways for each, and every way for the files that decide what is trusted.
        let all = ["trust", "state"].iter().any(|folder| name.starts_with(folder));
        for (way, how) in DAMAGES.iter().enumerate().filter(|(way, _)| all || (index + way) % 2 == 0) {
            copy(&sound, &state);
            damage(&state.join(name), how);
            let mut agent = plant.start();
            assert_eq!(agent.infer("m", 2.0), Ok(3.0), "{name}: {how} ({way})");
            let quiet =
                ["native/", "ballast"].iter().any(|start| name.starts_with(start)) || name.ends_with(".map");
            if !quiet {
                agent.eventually(&format!("an alarm of {name}, {how}"), |log| {
                    let codes = ["store-damaged", "document-lost", "root-damaged"];
                    codes.iter().any(|code| log.contains(code)).then_some(())
                });
            }
            if name == "trust/2.json" {
                agent.eventually("root 2 comes again", |log| {
                    log.contains("root-accepted: root 2").then_some(())
                });
            }
            agent.kill();
        }
    }
    // What was damaged has been put right: the next start finds nothing.
    copy(&sound, &state);
    damage(&state.join("trust/2.json"), "empty");
    let mut agent = plant.start();
    agent.eventually("root 2 comes again", |log| log.contains("root-accepted: root 2").then_some(()));
    assert_eq!(agent.terminate(), Some(0));
    let mut agent = plant.start();
    assert_eq!(agent.infer("m", 2.0), Ok(3.0));
    let status = support::get(agent.address(), "/dunlin/v1/device").json();
    assert_eq!((&status["root_version"], &status["alarms"]), (&serde_json::json!(2), &serde_json::json!([])));
    assert_eq!(agent.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_worker_inherits_no_descriptor() {
    let plant = Plant::new().await;
    std::fs::write(plant.path("secret"), "of the service manager").unwrap();
    let open = format!("exec 7<{0} 9<{0}; exec \"$@\"", plant.path("secret").display());
    let mut agent = plant.start_by(&["sh", "-c", &open, "sh"]);
    let worker = worker_at(agent.address());
    let folder = format!("/proc/{}/fd", worker.as_raw_nonzero());
    let open: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .map(|target| target.display().to_string())
        .collect();
    assert!(open.iter().any(|target| target.starts_with("socket:")), "{open:?}");
    assert!(!open.iter().any(|target| target.ends_with("/secret")), "{open:?}");
    assert_eq!(agent.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_device_folder_is_refused() {
    let plant = Plant::new().await;
    let mut agent = plant.start();
    agent.address();
    assert_eq!(agent.terminate(), Some(0));
    plant.configure(&plant.config().replace("device = \"d\"", "device = \"e\""));
    let (code, text) = plant.run(&[]);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("state-mismatch") && text.contains("set `device` to d again"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_of_a_model_reach_health() {
    let mut plant = Plant::new().await;
    let card = card(1);
    let text = r#"(module
        (import "dunlin" "metric" (func $metric (param i32 i32 f64)))
        (memory (export "memory") 3)
        (data (i32.const 16) "level")
        (func (export "dunlin_input") (param i32) (result i32) (i32.const 1024))
        (func (export "dunlin_output") (param i32) (result i32) (i32.const 66560))
        (func (export "dunlin_infer") (param i32) (result i32)
          (call $metric (i32.const 16) (i32.const 5) (f64.promote_f32 (f32.load (i32.const 1024))))
          (i64.store (i32.const 66560) (i64.load (i32.const 1024)))
          (i32.const 0)))"#;
    let wasm = support::with_card(wat::parse_str(text).unwrap(), &card);
    let (mut release, _) = module_release("m", 1, &card, 0.0, "");
    plant::replace_module(&mut release, &wasm);
    release.imports = vec![dunlin_abi::Import::Metric];
    plant.publish_release(&release, &wasm, Signer::Release).await;
    plant.deploy(1, &release, Signer::Deploy).await;
    let mut agent = plant.start();
    plant.event("switched", PATIENCE).await;
    for x in [2.0, 5.0, 3.0] {
        assert_eq!(agent.infer("m", x), Ok(f64::from(x)));
    }
    // The calls may fall into several intervals.
    let (mut count, mut sum, mut max) = (0, 0.0, f64::MIN);
    while count < 3 {
        let health = plant.health(PATIENCE).await;
        if let Some(metric) = health.models[0].metrics.get("level") {
            (count, sum, max) = (count + metric.count, sum + metric.sum, metric.max.max(max));
        }
    }
    assert_eq!((count, sum, max), (3, 10.0, 5.0));
    assert_eq!(agent.terminate(), Some(0));
}

/// Every name below a folder, with its bytes.
fn contents(folder: &std::path::Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(contents(&path)),
            false => found.push((path.clone(), std::fs::read(&path).unwrap_or_default())),
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_finds_what_a_start_does() {
    let plant = Plant::new().await;
    let config = plant.config();
    let (code, text) = plant.run(&["check-config"]);
    assert_eq!(code, Some(0), "{text}");
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    plant.write_secret("file", "");
    let pem = "ca_file = \"ca.pem\"\n[api]";
    plant.write_secret("ca.pem", "no certificate");
    for (what, broken) in [
        ("a state below a file", config.replace("\"state\"", "\"file/state\"")),
        ("an address in use", config.replace("127.0.0.1:0", &busy.local_addr().unwrap().to_string())),
        ("another fleet", config.replacen("fleet = \"", "fleet = \"other-", 1)),
        ("TLS files that are none", config.replace("mqtt://", "mqtts://").replace("[api]", pem)),
    ] {
        assert_ne!(broken, config, "{what}");
        plant.configure(&broken);
        let before = contents(&plant.path(""));
        let (checked, said) = plant.run(&["check-config"]);
        assert_eq!(contents(&plant.path("")), before, "{what}: the check changed the disk");
        let (started, text) = plant.run(&["run"]);
        assert_eq!(checked, started, "{what}: {said}\n{text}");
        let code = |text: &str| {
            text.split("error[").nth(1).and_then(|rest| rest.split(']').next()).map(String::from)
        };
        assert!(code(&said).is_some() && code(&said) == code(&text), "{what}: {said}\n{text}");
    }
    // Beside an agent that runs, whose address is taken by itself.
    plant.configure(&config);
    let mut agent = plant.start();
    plant.configure(&config.replace("127.0.0.1:0", &agent.address().to_string()));
    let (code, text) = plant.run(&["check-config"]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(agent.terminate(), Some(0));
}
