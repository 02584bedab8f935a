//! Installs, trials, rollbacks and restarts.

use super::*;
use crate::document::{Attachment, AttachmentKind};
use crate::fixture::{candidate, channel, deployment, device, digest_of, entry, release, removal};
use crate::update::state::{MAX_BAD, MAX_TRIAL_REBOOTS, MAX_TRIAL_STARTS, Stage};

fn has(actions: &[Action], wanted: &Action) -> bool {
    actions.contains(wanted)
}

#[test]
fn a_release_goes_from_deployment_to_active() {
    let mut shell = Shell::new();
    let one = release("m", 1);
    let digest = digest_of(&one);
    let first = deployment(channel(), 1, vec![entry(&one)]);
    let actions = shell.deploy(&first);
    assert!(matches!(actions[0], Action::StoreDocument { digest, .. } if digest == digest_of(&first)));
    assert!(has(&actions, &Action::FetchRelease { digest }));
    let actions = shell.release(&one);
    assert!(matches!(&actions[2], Action::FetchBlobs { release, delay_ms: 0, .. } if *release == digest));
    assert_eq!(shell.step(Event::BlobsArrived { release: digest })[1], Action::Prepare { release: digest });
    let actions = shell.step(Event::Prepared { release: digest });
    let model: ModelName = "m".parse().unwrap();
    assert!(has(&actions, &Action::Switch { model: model.clone(), release: digest }));
    assert!(shell.model("m").unwrap().in_trial());
    let actions = shell.step(Event::Observed { release: digest, served: 9, failed: 0 });
    assert_eq!(actions, [Action::Persist], "the start survived, which is committed");
    let actions = shell.step(Event::Observed { release: digest, served: 1, failed: 0 });
    assert!(has(&actions, &Action::Report(Occurrence::Proven { model, release: digest })));
    assert_eq!((shell.active("m"), shell.next("m")), (Some(digest), None));
    assert_eq!(shell.device.report_interval_s(), Some(60));
}

#[test]
fn only_what_a_device_needs_is_fetched() {
    let mut shell = Shell::new();
    let mut one = release("m", 1);
    let statement = crate::fixture::blob("statement");
    one.lineage.provenance_digest = Some(statement.digest);
    one.attachments.push(Attachment { kind: AttachmentKind::Provenance, blob: statement });
    shell.deploy(&deployment(channel(), 1, vec![entry(&one)]));
    let actions = shell.release(&one);
    let fetched = actions.iter().find_map(|action| match action {
        Action::FetchBlobs { blobs, .. } => Some(blobs.iter().map(|blob| blob.digest).collect::<Vec<_>>()),
        _other => None,
    });
    let wanted = ["module m 1", "golden", "baseline"].map(|text| Digest::of(text.as_bytes()));
    assert_eq!(fetched.unwrap(), wanted, "neither the model card, nor the provenance, nor native code");
}

#[test]
fn pulls_are_spread_over_the_signed_time() {
    let mut shell = Shell::new();
    let one = release("m", 1);
    let mut spread = deployment(channel(), 1, vec![entry(&one)]);
    spread.pull_spread_s = 60;
    shell.deploy(&spread);
    shell.now.random = 60_000 * 7 + 1234;
    let actions = shell.release(&one);
    assert!(actions.iter().any(|action| matches!(action, Action::FetchBlobs { delay_ms: 1234, .. })));
}

#[test]
fn a_trial_that_fails_returns_to_the_release_before() {
    let mut shell = Shell::new();
    let (one, two) = (release("m", 1), release("m", 2));
    shell.deploy(&deployment(channel(), 1, vec![entry(&one)]));
    shell.prove(&one);
    shell.deploy(&deployment(channel(), 2, vec![entry(&two)]));
    shell.install(&two);
    assert_eq!(shell.serving("m"), Some(digest_of(&two)));
    let failed = |failed| Event::Observed { release: digest_of(&two), served: 0, failed };
    assert_eq!(shell.step(failed(2)), []);
    let actions = shell.step(failed(1));
    let model: ModelName = "m".parse().unwrap();
    assert!(has(&actions, &Action::Switch { model, release: digest_of(&one) }), "without a gap");
    assert_eq!(codes(&actions)[0], "trial-failed");
    assert_eq!((shell.serving("m"), shell.next("m")), (Some(digest_of(&one)), None));
    assert_eq!(shell.device.state().bad, [digest_of(&two)]);
    // It is not tried again, not even after a restart, until a newer deployment says so.
    shell.reboot();
    shell.deploy(&deployment(channel(), 3, vec![entry(&two)]));
    assert_eq!(shell.next("m"), None);
    let mut again = deployment(channel(), 4, vec![entry(&two)]);
    again.models[0].retry = true;
    shell.deploy(&again);
    shell.release(&two);
    assert_eq!(shell.next("m"), Some(digest_of(&two)));
    assert_eq!(shell.device.state().bad, []);
}

#[test]
fn the_way_back_is_loaded_again_beside_a_trial() {
    let mut shell = Shell::new();
    let (one, two) = (release("m", 1), release("m", 2));
    shell.deploy(&deployment(channel(), 1, vec![entry(&one)]));
    shell.prove(&one);
    shell.deploy(&deployment(channel(), 2, vec![entry(&two)]));
    shell.release(&two);
    shell.step(Event::BlobsArrived { release: digest_of(&two) });
    let actions = shell.step(Event::Prepared { release: digest_of(&two) });
    let model: ModelName = "m".parse().unwrap();
    let at = |wanted: Action| actions.iter().position(|action| *action == wanted).unwrap();
    let switch = at(Action::Switch { model: model.clone(), release: digest_of(&two) });
    assert!(switch < at(Action::Prepare { release: digest_of(&one) }));
    // A trial that fails before it is loaded leaves a gap, and no longer one than that.
    let failed = Event::Observed { release: digest_of(&two), served: 0, failed: 3 };
    assert!(has(&shell.step(failed), &Action::Stop { model: model.clone() }));
    let actions = shell.step(Event::Prepared { release: digest_of(&one) });
    assert_eq!(actions[0], Action::Switch { model, release: digest_of(&one) });
    // A trial that passes discards it.
    let three = release("m", 3);
    shell.deploy(&deployment(channel(), 3, vec![entry(&three)]));
    shell.install(&three);
    shell.take();
    shell.step(Event::Observed { release: digest_of(&three), served: 10, failed: 0 });
    assert!(has(&shell.take(), &Action::Discard { release: digest_of(&one) }));
}

#[test]
fn probation_passes_by_time_without_a_fault() {
    let mut shell = Shell::new();
    let one = release("m", 1);
    shell.deploy(&deployment(channel(), 1, vec![entry(&one)]));
    shell.install(&one);
    shell.tick(599);
    assert!(shell.model("m").unwrap().in_trial());
    shell.tick(1);
    assert_eq!(shell.active("m"), Some(digest_of(&one)));
    // With a fault among them, only enough good answers pass.
    let two = release("m", 2);
    shell.deploy(&deployment(channel(), 2, vec![entry(&two)]));
    shell.install(&two);
    shell.step(Event::Observed { release: digest_of(&two), served: 5, failed: 1 });
    shell.tick(10_000);
    assert!(shell.model("m").unwrap().in_trial());
    shell.step(Event::Observed { release: digest_of(&two), served: 5, failed: 0 });
    assert_eq!(shell.active("m"), Some(digest_of(&two)));
}

#[test]
fn a_release_that_cannot_be_prepared_never_serves() {
    let mut shell = Shell::new();
    let (one, two) = (release("m", 1), release("m", 2));
    shell.deploy(&deployment(channel(), 1, vec![entry(&one)]));
    shell.prove(&one);
    shell.deploy(&deployment(channel(), 2, vec![entry(&two)]));
    shell.release(&two);
    shell.step(Event::BlobsArrived { release: digest_of(&two) });
    let actions = shell.failed(&two, Fault::Release);
    assert_eq!(codes(&actions)[0], "golden-differs", "the reason of the shell is told");
    assert_eq!(shell.device.refusals().count("release-prepare-failed"), 1);
    assert_eq!((shell.serving("m"), shell.next("m")), (Some(digest_of(&one)), None));
    assert!(shell.device.state().bad.contains(&digest_of(&two)));
}

#[test]
fn what_is_the_devices_fault_is_tried_again_with_patience() {
    let mut shell = Shell::new();
    let one = release("m", 1);
    let digest = digest_of(&one);
    shell.deploy(&deployment(channel(), 1, vec![entry(&one)]));
    shell.release(&one);
    let (code, detail) = (String::from("chunk-timeout"), String::new());
    shell.step(Event::TransferFailed { release: digest, code, detail });
    let mut waits = Vec::new();
    for _ in 0..14 {
        let mut waited = 0;
        while !shell.tick(1).iter().any(|action| matches!(action, Action::FetchBlobs { .. })) {
            waited += 1;
        }
        waits.push(waited);
        let (code, detail) = (String::from("chunk-timeout"), String::new());
        shell.step(Event::TransferFailed { release: digest, code, detail });
    }
    assert!(waits[0] <= 5 && waits.is_sorted() && waits[13] >= 1700 && waits[13] <= 3600, "{waits:?}");
    // And the same for preparing.
    while !shell.tick(60).iter().any(|action| matches!(action, Action::FetchBlobs { .. })) {}
    shell.step(Event::BlobsArrived { release: digest });
    shell.failed(&one, Fault::Device);
    assert_eq!(shell.device.state().bad, []);
    while !has(&shell.tick(60), &Action::Prepare { release: digest }) {}
    shell.step(Event::Prepared { release: digest });
    assert_eq!(shell.serving("m"), Some(digest));
}

#[test]
fn an_offline_boot_serves_what_was_active() {
    let mut shell = Shell::new();
    let one = release("m", 1);
    let digest = digest_of(&one);
    shell.deploy(&deployment(channel(), 1, vec![entry(&one)]));
    shell.prove(&one);
    let actions = shell.reboot();
    assert_eq!(actions[0], Action::Persist, "the boot is counted before anything else");
    assert_eq!(actions[1], Action::Prepare { release: digest });
    assert!(!actions.iter().any(|action| matches!(action, Action::FetchRelease { .. })));
    let actions = shell.step(Event::Prepared { release: digest });
    assert_eq!(actions[0], Action::Switch { model: "m".parse().unwrap(), release: digest });
    assert_eq!(shell.device.state().boots, 2);
    // The broker is back and shows the same deployment: nothing happens.
    assert_eq!(shell.deploy(&deployment(channel(), 1, vec![entry(&one)])), []);
}

#[test]
fn a_restart_in_a_pull_goes_on_with_it() {
    let mut shell = Shell::new();
    let one = release("m", 1);
    shell.deploy(&deployment(channel(), 1, vec![entry(&one)]));
    shell.release(&one);
    let actions = shell.reboot();
    assert!(actions.iter().any(|action| matches!(action, Action::FetchBlobs { delay_ms: 0, .. })));
    shell.step(Event::BlobsArrived { release: digest_of(&one) });
    let actions = shell.reboot();
    assert!(has(&actions, &Action::Prepare { release: digest_of(&one) }));
}

fn held(shell: &Shell) -> bool {
    shell.model("m").unwrap().next.as_ref().unwrap().stage == Stage::Held
}

#[test]
fn deaths_of_the_agent_hold_back_without_blame() {
    let mut shell = Shell::new();
    let (one, two) = (release("m", 1), release("m", 2));
    shell.deploy(&deployment(channel(), 1, vec![entry(&one)]));
    shell.prove(&one);
    shell.deploy(&deployment(channel(), 2, vec![entry(&two)]));
    shell.install(&two);
    // The process dies before the release has survived a minute or answered once.
    for _ in 1..MAX_TRIAL_STARTS {
        let actions = shell.reboot();
        assert!(has(&actions, &Action::Prepare { release: digest_of(&one) }), "the way back is loaded");
        assert!(has(&actions, &Action::Prepare { release: digest_of(&two) }));
    }
    for _ in 0..10 {
        let actions = shell.reboot();
        assert!(held(&shell) && !has(&actions, &Action::Prepare { release: digest_of(&two) }));
        shell.step(Event::Prepared { release: digest_of(&one) });
        assert_eq!(shell.serving("m"), Some(digest_of(&one)));
        assert_eq!(codes(&shell.tick(1)), ["trial-held"]);
    }
    assert_eq!(shell.device.state().bad, []);
    // It comes back with time,
    assert!(!has(&shell.tick(590), &Action::Prepare { release: digest_of(&two) }));
    assert!(has(&shell.tick(10), &Action::Prepare { release: digest_of(&two) }));
    assert!(shell.device.standing(shell.now).is_empty());
    shell.step(Event::Prepared { release: digest_of(&two) });
    assert_eq!(shell.serving("m"), Some(digest_of(&two)));
    // and with a newer deployment, of whatever kind.
    for _ in 0..MAX_TRIAL_STARTS {
        shell.reboot();
    }
    assert!(held(&shell));
    assert_eq!(shell.deploy(&deployment(channel(), 2, vec![entry(&two)])), [], "the same one again");
    let actions = shell.deploy(&deployment(channel(), 3, vec![entry(&two)]));
    assert!(has(&actions, &Action::Prepare { release: digest_of(&two) }));
}

#[test]
fn a_release_held_back_gives_way_to_another() {
    let mut shell = Shell::new();
    let (one, two) = (release("m", 1), release("m", 2));
    shell.deploy(&deployment(channel(), 1, vec![entry(&one)]));
    shell.install(&one);
    for _ in 0..MAX_TRIAL_STARTS {
        shell.reboot();
    }
    assert!(held(&shell));
    shell.deploy(&deployment(channel(), 2, vec![entry(&two)]));
    shell.prove(&two);
    assert!(shell.device.standing(shell.now).is_empty());
}

#[test]
fn power_cuts_are_counted_apart() {
    let in_trial = || {
        let mut shell = Shell::new();
        shell.deploy(&deployment(channel(), 1, vec![entry(&release("m", 1))]));
        shell.install(&release("m", 1));
        shell
    };
    // Power cuts between two deaths of the agent: these are two, and the third holds the release back.
    let mut shell = in_trial();
    for _ in 1..MAX_TRIAL_STARTS {
        shell.power_cut();
        shell.power_cut();
        shell.machine_boots -= 1;
        shell.power_cut();
        assert!(shell.model("m").unwrap().in_trial());
    }
    shell.machine_boots -= 1;
    shell.power_cut();
    assert!(held(&shell));
    // Power cuts alone: ten of them, and the eleventh holds it back.
    let mut shell = in_trial();
    for _ in 0..MAX_TRIAL_REBOOTS {
        shell.power_cut();
        assert!(shell.model("m").unwrap().in_trial());
    }
    shell.power_cut();
    assert!(held(&shell));
    // One that serves in between begins anew.
    let mut shell = in_trial();
    for _ in 0..3 * MAX_TRIAL_REBOOTS {
        shell.power_cut();
        shell.step(Event::Prepared { release: digest_of(&release("m", 1)) });
        shell.tick(60);
    }
    assert!(shell.model("m").unwrap().in_trial());
}

#[test]
fn an_older_builds_trial_is_read() {
    let old = r#"{"trial":{"starts":3}}"#;
    let stage = Stage::Trial { starts: 3, reboots: 0 };
    assert_eq!(serde_json::from_str::<Stage>(old).unwrap(), stage);
    assert_eq!(serde_json::to_string(&stage).unwrap(), old);
}

#[test]
fn a_start_that_survived_or_ended_in_order_is_no_failure() {
    let mut shell = Shell::new();
    let one = release("m", 1);
    shell.deploy(&deployment(channel(), 1, vec![entry(&one)]));
    shell.install(&one);
    for round in 0..10 {
        if round % 2 == 0 {
            shell.tick(60);
        } else {
            shell.step(Event::Stopping);
        }
        shell.reboot();
        shell.step(Event::Prepared { release: digest_of(&one) });
    }
    let stage = shell.model("m").unwrap().next.as_ref().unwrap().stage;
    assert_eq!(stage, Stage::Trial { starts: 1, reboots: 0 });
    assert_eq!(shell.serving("m"), Some(digest_of(&one)));
}

#[test]
fn a_damaged_blob_is_fetched_again_while_the_release_before_serves() {
    let mut shell = Shell::new();
    let (one, two) = (release("m", 1), release("m", 2));
    shell.deploy(&deployment(channel(), 1, vec![entry(&one)]));
    shell.prove(&one);
    shell.deploy(&deployment(channel(), 2, vec![entry(&two)]));
    shell.prove(&two);
    assert_eq!(shell.previous("m"), Some(digest_of(&one)));
    shell.reboot();
    let actions = shell.failed(&two, Fault::Blob);
    assert!(
        actions.iter().any(
            |action| matches!(action, Action::FetchBlobs { release, .. } if *release == digest_of(&two))
        )
    );
    assert!(has(&actions, &Action::Prepare { release: digest_of(&one) }));
    shell.step(Event::Prepared { release: digest_of(&one) });
    assert_eq!(shell.serving("m"), Some(digest_of(&one)));
    shell.step(Event::BlobsArrived { release: digest_of(&two) });
    let actions = shell.step(Event::Prepared { release: digest_of(&two) });
    assert_eq!(shell.serving("m"), Some(digest_of(&two)));
    assert_eq!(actions[0], Action::Switch { model: "m".parse().unwrap(), release: digest_of(&two) });
    assert_eq!(shell.active("m"), Some(digest_of(&two)), "active all the time");
}

#[test]
fn an_active_release_that_keeps_dying_gives_way() {
    let mut shell = Shell::new();
    let (one, two) = (release("m", 1), release("m", 2));
    let crash = |release: &Release| Event::WorkerDied {
        suspects: vec![digest_of(release)],
        code: String::from("worker-died"),
        detail: String::from("signal 6"),
    };
    shell.deploy(&deployment(channel(), 1, vec![entry(&one)]));
    shell.prove(&one);
    // With nothing behind it, it is tried again, with patience.
    for _ in 0..2 {
        let actions = shell.step(crash(&one));
        assert!(has(&actions, &Action::Prepare { release: digest_of(&one) }));
        shell.step(Event::Prepared { release: digest_of(&one) });
    }
    shell.step(crash(&one));
    assert_eq!(shell.serving("m"), None);
    while !has(&shell.tick(1), &Action::Prepare { release: digest_of(&one) }) {}
    shell.step(Event::Prepared { release: digest_of(&one) });
    // With a proven one behind it, that one takes over.
    shell.deploy(&deployment(channel(), 2, vec![entry(&two)]));
    shell.prove(&two);
    for _ in 0..2 {
        shell.step(crash(&two));
        shell.step(Event::Prepared { release: digest_of(&two) });
    }
    let actions = shell.step(crash(&two));
    assert!(has(&actions, &Action::Prepare { release: digest_of(&one) }));
    shell.step(Event::Prepared { release: digest_of(&one) });
    assert_eq!((shell.active("m"), shell.serving("m")), (Some(digest_of(&one)), Some(digest_of(&one))));
    // And a trial that dies goes back at once.
    let three = release("m", 3);
    shell.deploy(&deployment(channel(), 3, vec![entry(&three)]));
    shell.install(&three);
    shell.step(crash(&three));
    assert_eq!(shell.serving("m"), Some(digest_of(&one)));
}

#[test]
fn a_model_goes_only_by_remove() {
    let mut shell = Shell::new();
    let (one, other) = (release("m", 1), release("other", 1));
    shell.deploy(&deployment(channel(), 1, vec![entry(&one), entry(&other)]));
    shell.prove(&one);
    shell.prove(&other);
    shell.deploy(&deployment(channel(), 2, vec![entry(&other)]));
    assert_eq!(shell.serving("m"), Some(digest_of(&one)), "absent is left alone");
    let actions = shell.deploy(&deployment(channel(), 3, vec![removal("m")]));
    let model: ModelName = "m".parse().unwrap();
    assert!(has(&actions, &Action::Stop { model: model.clone() }));
    assert!(has(&actions, &Action::Report(Occurrence::Removed { model })));
    let Some(Action::CleanUp { keep_documents, keep_blobs }) = actions.last() else { panic!("{actions:?}") };
    assert!(!keep_documents.contains(&digest_of(&one)) && keep_documents.contains(&digest_of(&other)));
    assert!(!keep_blobs.contains(&one.artifact.digest) && keep_blobs.contains(&other.artifact.digest));
    assert!(shell.model("m").is_none());
    assert_eq!(shell.deploy(&deployment(channel(), 4, vec![removal("m")])).len(), 4, "nothing to remove");
}

#[test]
fn the_devices_own_deployment_wins_and_may_assign_the_channel() {
    let mut shell = Shell::new();
    let (one, two) = (release("m", 1), release("m", 2));
    shell.deploy(&deployment(channel(), 1, vec![entry(&two)]));
    shell.prove(&two);
    shell.deploy(&deployment(device(), 1, vec![entry(&one)]));
    shell.prove(&one);
    shell.deploy(&deployment(channel(), 2, vec![entry(&two)]));
    assert_eq!((shell.active("m"), shell.next("m")), (Some(digest_of(&one)), None));
    let mut moved = deployment(device(), 2, vec![]);
    moved.channel = Some("canary".parse().unwrap());
    let actions = shell.deploy(&moved);
    let canary = Audience::Channel("canary".parse().unwrap());
    assert!(has(&actions, &Action::WatchDeployments { audiences: vec![device(), canary.clone()] }));
    assert_eq!(codes(&shell.deploy(&deployment(channel(), 3, vec![]))), ["deployment-wrong-audience"]);
    shell.deploy(&deployment(canary.clone(), 1, vec![entry(&two)]));
    assert_eq!(shell.next("m"), Some(digest_of(&two)));
    // Back again: the sequences of the old channel were kept.
    moved.sequence = 3;
    moved.channel = Some("stable".parse().unwrap());
    shell.deploy(&moved);
    assert_eq!(shell.next("m"), None, "the canary's install ended");
    assert_eq!(codes(&shell.deploy(&deployment(channel(), 1, vec![]))), ["deployment-replayed"]);
}

#[test]
fn a_candidate_runs_in_its_cohort_only_and_an_abort_returns() {
    let (stable, newer) = (release("m", 1), release("m", 2));
    let bucket = crate::update::bucket(1, &"d".parse().unwrap());
    let with = |sequence, permille| {
        let mut wanted = deployment(channel(), sequence, vec![entry(&stable)]);
        wanted.models[0].want = crate::document::Want::Release {
            stable: digest_of(&stable),
            candidate: Some(candidate(&newer, permille)),
        };
        wanted
    };
    let mut shell = Shell::new();
    shell.deploy(&with(1, bucket));
    shell.prove(&stable);
    assert_eq!(shell.next("m"), None, "outside of the cohort");
    shell.deploy(&with(2, bucket + 1));
    shell.prove(&newer);
    shell.deploy(&deployment(channel(), 3, vec![entry(&stable)]));
    assert_eq!(shell.next("m"), Some(digest_of(&stable)), "an abort goes back to the stable release");
    shell.step(Event::BlobsArrived { release: digest_of(&stable) });
    shell.step(Event::Prepared { release: digest_of(&stable) });
    shell.step(Event::Observed { release: digest_of(&stable), served: 10, failed: 0 });
    assert_eq!(shell.active("m"), Some(digest_of(&stable)));
}

#[test]
fn a_candidate_that_is_refused_leaves_the_stable_release() {
    let (stable, newer) = (release("m", 1), release("m", 2));
    let mut wanted = deployment(channel(), 1, vec![entry(&stable)]);
    let mut gated = candidate(&newer, 1000);
    gated.gates.max_p99_us = Some(1000);
    wanted.models[0].want =
        crate::document::Want::Release { stable: digest_of(&stable), candidate: Some(gated) };
    let mut shell = Shell::new();
    let actions = shell.deploy(&wanted);
    assert_eq!(codes(&actions), ["gate-unsupported"]);
    shell.prove(&stable);
    // One that fails its golden answers, likewise.
    wanted.sequence = 2;
    gated.gates = crate::document::Gates::default();
    wanted.models[0].want =
        crate::document::Want::Release { stable: digest_of(&stable), candidate: Some(gated) };
    shell.deploy(&wanted);
    shell.release(&newer);
    shell.step(Event::BlobsArrived { release: digest_of(&newer) });
    shell.failed(&newer, Fault::Release);
    assert_eq!((shell.serving("m"), shell.next("m")), (Some(digest_of(&stable)), None));
}

#[test]
fn a_newer_deployment_ends_an_install_at_every_stage() {
    let (one, two) = (release("m", 1), release("m", 2));
    for stage in 0..2 {
        let mut shell = Shell::new();
        shell.deploy(&deployment(channel(), 1, vec![entry(&one)]));
        shell.release(&one);
        if stage > 0 {
            shell.step(Event::BlobsArrived { release: digest_of(&one) });
        }
        shell.take();
        shell.deploy(&deployment(channel(), 2, vec![entry(&two)]));
        shell.release(&two);
        let release = digest_of(&one);
        let ended = match stage {
            0 => Action::CancelFetch { release },
            _prepares => Action::Discard { release },
        };
        assert!(has(&shell.take(), &ended), "stage {stage}");
        assert_eq!(shell.next("m"), Some(digest_of(&two)));
        // What still comes of it is late, not wrong; a loaded instance goes.
        assert_eq!(shell.step(Event::BlobsArrived { release }), []);
        assert_eq!(shell.step(Event::Observed { release, served: 1, failed: 1 }), []);
        assert_eq!(shell.step(Event::Prepared { release }), [Action::Discard { release }]);
        assert_eq!(shell.device.refusals().count("illegal-event"), 0);
    }
}

fn stops(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::Stop { .. }))
}

#[test]
fn a_superseded_trial_serves_until_its_successor_is_loaded() {
    let mut shell = Shell::new();
    let (one, two) = (release("m", 1), release("m", 2));
    shell.deploy(&deployment(channel(), 1, vec![entry(&one)]));
    shell.install(&one);
    shell.take();
    shell.deploy(&deployment(channel(), 2, vec![entry(&two)]));
    shell.release(&two);
    shell.step(Event::BlobsArrived { release: digest_of(&two) });
    assert_eq!(shell.serving("m"), Some(digest_of(&one)), "nothing was ever proven, and it serves on");
    assert!(!stops(&shell.take()));
    // Also after a restart in between.
    shell.reboot();
    shell.step(Event::Prepared { release: digest_of(&one) });
    assert_eq!(shell.serving("m"), Some(digest_of(&one)));
    let model: ModelName = "m".parse().unwrap();
    let actions = shell.step(Event::Prepared { release: digest_of(&two) });
    assert!(has(&actions, &Action::Switch { model, release: digest_of(&two) }));
    // It is the way back, too.
    shell.step(Event::Prepared { release: digest_of(&one) });
    shell.take();
    shell.step(Event::Observed { release: digest_of(&two), served: 0, failed: 3 });
    assert_eq!(shell.serving("m"), Some(digest_of(&one)));
    assert!(!stops(&shell.take()));
}

#[test]
fn a_trial_serves_on_while_the_release_to_return_to_is_loaded() {
    let (one, two, three) = (release("m", 1), release("m", 2), release("m", 3));
    for wanted in [&one, &three] {
        let mut shell = Shell::new();
        shell.deploy(&deployment(channel(), 1, vec![entry(&one)]));
        shell.prove(&one);
        shell.deploy(&deployment(channel(), 2, vec![entry(&two)]));
        shell.release(&two);
        shell.step(Event::BlobsArrived { release: digest_of(&two) });
        // The switch unloads the first; it is being loaded again when another deployment comes.
        shell.step(Event::Prepared { release: digest_of(&two) });
        shell.take();
        shell.deploy(&deployment(channel(), 3, vec![entry(wanted)]));
        shell.release(wanted);
        assert_eq!(shell.serving("m"), Some(digest_of(&two)));
        shell.step(Event::Prepared { release: digest_of(&one) });
        assert_eq!(shell.serving("m"), Some(digest_of(&one)));
        assert!(!stops(&shell.take()));
        let expected = (wanted == &three).then(|| digest_of(&three));
        assert_eq!(shell.next("m"), expected, "the newer deployment was not forgotten");
    }
}

#[test]
fn a_trial_stops_where_the_model_is_removed() {
    let mut shell = Shell::new();
    let (one, two) = (release("m", 1), release("m", 2));
    shell.deploy(&deployment(channel(), 1, vec![entry(&one)]));
    shell.prove(&one);
    shell.deploy(&deployment(channel(), 2, vec![entry(&two)]));
    shell.release(&two);
    shell.step(Event::BlobsArrived { release: digest_of(&two) });
    shell.step(Event::Prepared { release: digest_of(&two) });
    shell.take();
    shell.deploy(&deployment(channel(), 3, vec![removal("m")]));
    assert!(stops(&shell.take()));
    assert_eq!(shell.serving("m"), None);
}

#[test]
fn naming_a_release_that_is_refused_takes_nothing_away() {
    let mut shell = Shell::new();
    let (one, mut forged) = (release("m", 1), release("m", 2));
    forged.version = "6.6.6".into();
    shell.deploy(&deployment(channel(), 1, vec![entry(&one)]));
    shell.install(&one);
    shell.take();
    shell.deploy(&deployment(channel(), 2, vec![entry(&forged)]));
    let envelope = signed(&forged, &[Key::Stranger]);
    shell.step(Event::ReleaseArrived { digest: digest_of(&forged), envelope });
    let actions = shell.take();
    assert_eq!(codes(&actions), ["signature-threshold"]);
    assert!(!stops(&actions));
    assert_eq!(shell.serving("m"), Some(digest_of(&one)));
    shell.step(Event::Observed { release: digest_of(&one), served: 10, failed: 0 });
    assert_eq!(shell.active("m"), Some(digest_of(&one)), "its trial went on");
}

#[test]
fn an_event_that_cannot_be_is_counted_and_changes_nothing() {
    let mut shell = Shell::new();
    let one = release("m", 1);
    let release = digest_of(&one);
    shell.deploy(&deployment(channel(), 1, vec![entry(&one)]));
    shell.release(&one);
    let before = shell.device.state().clone();
    assert_eq!(codes(&shell.step(Event::Prepared { release })), ["illegal-event"]);
    shell.failed(&one, Fault::Release);
    assert_eq!(shell.device.state(), &before);
    shell.step(Event::BlobsArrived { release });
    shell.step(Event::BlobsArrived { release });
    shell.step(Event::Prepared { release });
    shell.step(Event::Prepared { release });
    shell.failed(&one, Fault::Device);
    assert_eq!(shell.device.refusals().count("illegal-event"), 5);
    assert_eq!(shell.serving("m"), Some(release));
}

#[test]
fn a_lost_document_is_fetched_again_and_needs_no_signature() {
    let mut shell = Shell::new();
    let one = release("m", 1);
    let digest = digest_of(&one);
    let first = deployment(channel(), 1, vec![entry(&one)]);
    shell.deploy(&first);
    shell.prove(&one);
    shell.lose_documents();
    let actions = shell.reboot();
    assert_eq!(codes(&actions), ["document-lost", "document-lost"], "the release's and the deployment's");
    assert!(has(&actions, &Action::FetchRelease { digest }));
    let envelope = signed(&one, &[Key::Stranger]);
    let actions = shell.step(Event::ReleaseArrived { digest, envelope });
    assert!(has(&actions, &Action::Prepare { release: digest }), "the state's digest is proof enough");
    let actions = shell.deploy(&first);
    assert!(matches!(actions[0], Action::StoreDocument { .. }), "the deployment is stored again");
}

#[test]
fn a_device_holds_twelve_models() {
    let mut shell = Shell::new();
    let releases: Vec<_> = (0..13).map(|i| release(&alloc::format!("m-{i}"), 1)).collect();
    shell.deploy(&deployment(channel(), 1, releases.iter().map(entry).collect()));
    for release in &releases {
        shell.release(release);
    }
    assert_eq!(shell.device.state().models.len(), 12);
    assert!(codes(&shell.take()).contains(&String::from("too-many-models")));
    shell.deploy(&deployment(channel(), 2, vec![removal("m-0"), entry(&releases[12])]));
    shell.release(&releases[12]);
    assert!(shell.model("m-12").is_some());
}

#[test]
fn the_list_of_bad_releases_is_bounded() {
    let mut shell = Shell::new();
    for counter in 1..=40 {
        let release = release("m", counter);
        shell.deploy(&deployment(channel(), counter, vec![entry(&release)]));
        shell.release(&release);
        shell.step(Event::BlobsArrived { release: digest_of(&release) });
        shell.failed(&release, Fault::Release);
    }
    assert_eq!(shell.device.state().bad.len(), MAX_BAD);
    assert_eq!(shell.device.state().bad.last(), Some(&digest_of(&release("m", 40))));
}

#[test]
fn a_release_that_nobody_names_any_more_is_not_asked_for_any_more() {
    let mut shell = Shell::new();
    let [one, two] = [release("m", 1), release("m", 2)];
    let asked = |release: &Release| Action::FetchRelease { digest: digest_of(release) };
    let ended = |release: &Release| Action::CancelFetch { release: digest_of(release) };
    let actions = shell.deploy(&deployment(channel(), 1, vec![entry(&one)]));
    assert!(has(&actions, &asked(&one)));
    let actions = shell.deploy(&deployment(channel(), 2, vec![entry(&two)]));
    assert!(has(&actions, &ended(&one)) && has(&actions, &asked(&two)), "{actions:?}");
    let actions = shell.deploy(&deployment(channel(), 3, vec![entry(&two)]));
    assert!(!has(&actions, &ended(&one)) && !has(&actions, &ended(&two)), "{actions:?}");
}

#[test]
fn a_lost_document_of_what_runs_is_asked_for_whatever_is_deployed() {
    let mut shell = Shell::new();
    let [one, two] = [release("m", 1), release("m", 2)];
    shell.deploy(&deployment(channel(), 1, vec![entry(&one)]));
    shell.prove(&one);
    shell.lose_documents();
    shell.reboot();
    let actions = shell.deploy(&deployment(channel(), 2, vec![entry(&two)]));
    assert!(!has(&actions, &Action::CancelFetch { release: digest_of(&one) }), "{actions:?}");
}
