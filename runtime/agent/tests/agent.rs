//! The agent as a process, against a real broker: what a fleet sees of a device.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)]

mod plant;
mod support;

use std::time::Duration;

use dunlin_core::telemetry::PresenceState;

use plant::{Plant, Signer, module_release};
use support::{STUCK, card, stick, worker_at};

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
