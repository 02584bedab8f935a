//! Each reason to refuse a deployment or a release: its code, no side effect, and a good document
//! after it succeeds.

use super::*;
use crate::fixture::{
    YEAR, candidate, channel, deployment, device, digest_of, entry, floor, release, root, signed_body,
};

/// Refused with this code, without a trace, and the unchanged document is accepted after it.
fn refused_deployment(what: &str, code: &str, keys: &[Key], change: impl Fn(&mut Deployment)) {
    let mut shell = Shell::new();
    let good = deployment(channel(), 5, vec![entry(&release("m", 1))]);
    shell.deploy(&deployment(channel(), 3, vec![]));
    let before = shell.device.state().clone();
    let mut bad = good.clone();
    change(&mut bad);
    let envelope = signed(&bad, keys);
    let actions = shell.step(Event::DeploymentArrived { audience: channel(), envelope });
    assert_eq!(codes(&actions), [code], "{what}");
    assert_eq!(actions.len(), 1, "{what}: {actions:?}");
    assert_eq!(shell.device.state(), &before, "{what}");
    assert_eq!(shell.device.refusals().count(code), 1, "{what}");
    assert!(codes(&shell.deploy(&good)).is_empty(), "{what}");
    assert_eq!(shell.device.state().accepted(&channel()).unwrap().sequence, 5);
}

#[test]
fn every_field_of_a_deployment_decides() {
    let deploy = &[Key::Deploy][..];
    refused_deployment("schema", "document-schema-unknown", deploy, |d| d.schema = 2);
    refused_deployment("fleet", "wrong-fleet", deploy, |d| d.fleet = "g".parse().unwrap());
    refused_deployment("audience", "deployment-wrong-audience", deploy, |d| d.audience = device());
    refused_deployment("epoch", "deployment-wrong-epoch", deploy, |d| d.deploy_epoch = 2);
    refused_deployment("sequence, older", "deployment-replayed", deploy, |d| d.sequence = 2);
    refused_deployment("sequence, equal", "deployment-equivocation", deploy, |d| d.sequence = 3);
    refused_deployment("sequence, far", "deployment-sequence-jump", deploy, |d| {
        d.sequence = 4 + (1 << 32);
    });
    refused_deployment("root", "deployment-needs-newer-root", deploy, |d| d.min_root_version = 2);
    refused_deployment("end", "deployment-expired", deploy, |d| d.not_after_unix_s = TODAY + 59);
    refused_deployment("issued", "document-rule-broken", deploy, |d| d.issued_unix_s = TODAY + 2 * YEAR);
    refused_deployment("models", "document-rule-broken", deploy, |d| d.models.extend(d.models.clone()));
    refused_deployment("floors", "document-rule-broken", deploy, |d| d.floors = vec![floor("x", 1)]);
    refused_deployment("channel", "document-rule-broken", deploy, |d| d.channel = Some("c".parse().unwrap()));
    refused_deployment("nonce", "document-rule-broken", deploy, |d| d.nonce_echo = Some("ab".repeat(16)));
    refused_deployment("interval", "document-rule-broken", deploy, |d| d.report_interval_s = 0);
    refused_deployment("spread", "document-rule-broken", deploy, |d| d.pull_spread_s = 86_401);
    for key in [Key::Root, Key::Release, Key::Stranger] {
        refused_deployment("key", "signature-threshold", &[key], |_| {});
    }
}

#[test]
fn bytes_that_are_no_deployment_leave_no_trace() {
    let mut shell = Shell::new();
    let before = shell.device.state().clone();
    let list = br#"{"schema":1,"fleet":"f","deploy_epoch":1,"sequence":1,"issued_unix_s":1,"devices":[]}"#;
    for (envelope, code) in [
        (b"garbage".to_vec(), "envelope-malformed"),
        (vec![b' '; 65_537], "envelope-too-large"),
        (signed_body::<crate::document::DeviceList>(list, &[Key::Deploy]), "document-wrong-type"),
    ] {
        let actions = shell.step(Event::DeploymentArrived { audience: channel(), envelope });
        assert_eq!(codes(&actions), [code]);
        assert_eq!(shell.device.state(), &before);
    }
    let envelope = signed(&deployment(channel(), 1, vec![]), &[Key::Deploy]);
    let elsewhere = Audience::Channel("other".parse().unwrap());
    let actions = shell.step(Event::DeploymentArrived { audience: elsewhere, envelope });
    assert_eq!(codes(&actions), ["deployment-wrong-audience"], "a topic that nobody asked for");
}

/// The release is refused with this code, nothing is installed, and a good one after it is.
fn refused_release(what: &str, code: &str, change: impl Fn(&mut Release)) {
    let mut shell = Shell::new();
    let mut next = root(2);
    next.release_epoch = 1;
    next.minimum_counters = vec![crate::fixture::minimum("m", 2)];
    shell.root(&next);
    let mut bad = release("m", 5);
    change(&mut bad);
    let mut wanted = deployment(channel(), 1, vec![entry(&bad)]);
    wanted.models[0].model = "m".parse().unwrap();
    shell.deploy(&wanted);
    let before = shell.device.state().clone();
    let (digest, envelope) = (body_digest(&bad), signed(&bad, &[Key::Release]));
    let actions = shell.step(Event::ReleaseArrived { digest, envelope });
    assert_eq!(codes(&actions), [code], "{what}");
    assert_eq!(shell.device.state().models, before.models, "{what}");
    let good = release("m", 5);
    shell.deploy(&deployment(channel(), 2, vec![entry(&good)]));
    shell.release(&good);
    assert_eq!(shell.next("m"), Some(digest_of(&good)), "{what}");
}

#[test]
fn every_deciding_field_of_a_release_decides() {
    refused_release("fleet", "wrong-fleet", |r| r.fleet = "g".parse().unwrap());
    refused_release("epoch", "release-epoch", |r| r.release_epoch = 0);
    refused_release("model", "release-wrong-model", |r| r.model = "other".parse().unwrap());
    refused_release("counter", "release-below-floor", |r| r.counter = 1);
    refused_release("abi", "release-abi", |r| r.compat.abi = 2);
    refused_release("runtime", "release-runtime", |r| r.compat.min_runtime = "0.2.0".parse().unwrap());
    refused_release("simd", "release-simd", |r| r.compat.simd = Simd::Relaxed);
    // What the worker enforces (card digest, limits, imports, contract) is checked where it is used;
    // artifact and attachments by digest and size in the transfer; probation in the trial's tests;
    // version and lineage decide nothing and are bounded by the parser.
}

#[test]
fn a_release_with_wrong_signature_or_bytes_is_refused_and_the_right_one_taken() {
    let mut shell = Shell::new();
    let good = release("m", 1);
    let digest = digest_of(&good);
    shell.deploy(&deployment(channel(), 1, vec![entry(&good)]));
    for (envelope, code) in [
        (signed(&good, &[Key::Deploy]), "signature-threshold"),
        (signed(&release("m", 2), &[Key::Release]), "document-wrong-digest"),
        (b"{}".to_vec(), "envelope-malformed"),
    ] {
        assert_eq!(codes(&shell.step(Event::ReleaseArrived { digest, envelope })), [code]);
    }
    shell.release(&good);
    assert_eq!(shell.next("m"), Some(digest));
    let unasked = release("x", 1);
    let release = digest_of(&unasked);
    assert_eq!(shell.release(&unasked), [Action::CancelFetch { release }]);
}

#[test]
fn a_floor_holds_once_it_is_reached() {
    let mut shell = Shell::new();
    let releases: Vec<_> = (0..6).map(|counter| release("m", counter.max(1))).collect();
    let floored = |sequence, stable: &Release, least| {
        let mut wanted = deployment(channel(), sequence, vec![entry(stable)]);
        wanted.floors = vec![floor("m", least)];
        wanted
    };
    shell.deploy(&deployment(channel(), 1, vec![entry(&releases[2])]));
    shell.prove(&releases[2]);
    // A floor above its stable release is refused, and the model with it.
    shell.deploy(&floored(2, &releases[3], 4));
    assert_eq!(codes(&shell.release(&releases[3])), ["floor-above-stable"]);
    assert_eq!((shell.next("m"), shell.model("m").unwrap().floor), (None, 0));
    // It does not fall behind the device before the device has passed it.
    shell.deploy(&floored(3, &releases[4], 4));
    shell.install(&releases[4]);
    assert_eq!(shell.model("m").unwrap().floor, 0);
    shell.step(Event::Observed { release: digest_of(&releases[4]), served: 10, failed: 0 });
    assert_eq!((shell.model("m").unwrap().floor, shell.previous("m")), (4, None));
    // From now on nothing older comes in, by whatever deployment.
    shell.deploy(&deployment(device(), 1, vec![entry(&releases[2])]));
    assert!(codes(&shell.release(&releases[2])).contains(&String::from("release-below-floor")));
    shell.deploy(&deployment(device(), 2, vec![crate::fixture::removal("m")]));
    assert_eq!(shell.model("m").unwrap().floor, 4, "not even after a removal");
    // A candidate below the floor that comes with it is refused too.
    let mut wanted = floored(4, &releases[5], 5);
    wanted.audience = device();
    wanted.models[0].want = crate::document::Want::Release {
        stable: digest_of(&releases[5]),
        candidate: Some(candidate(&releases[4], 1000)),
    };
    let refused = shell.device.refusals().count("release-below-floor");
    shell.deploy(&wanted);
    shell.release(&releases[5]);
    assert!(shell.device.refusals().count("release-below-floor") > refused);
    assert_eq!(shell.next("m"), Some(digest_of(&releases[5])));
}

#[test]
fn a_deployment_that_ends_stops_nothing_that_runs() {
    let mut shell = Shell::new();
    let (one, two) = (release("m", 1), release("m", 2));
    shell.deploy(&deployment(channel(), 1, vec![entry(&one)]));
    shell.prove(&one);
    shell.deploy(&deployment(channel(), 2, vec![entry(&two)]));
    shell.now.wall_unix_s = TODAY + YEAR + 1;
    assert_eq!(codes(&shell.release(&two)), ["deployment-expired"]);
    shell.tick(1);
    assert_eq!((shell.serving("m"), shell.next("m")), (Some(digest_of(&one)), None));
}

#[test]
fn a_wrong_clock_blocks_nothing_for_ever() {
    let mut shell = Shell::new();
    // No clock at boot, then one that jumps eighty years, then back: updates are accepted throughout.
    for (sequence, wall) in [(1, 0), (2, TODAY + 80 * YEAR), (3, TODAY + 100)] {
        shell.now.wall_unix_s = wall;
        let mut wanted = deployment(channel(), sequence, vec![]);
        wanted.issued_unix_s = TODAY + sequence;
        assert_eq!(codes(&shell.deploy(&wanted)), [] as [String; 0], "wall clock {wall}");
        assert_eq!(shell.device.state().t_low_unix_s, TODAY + sequence);
    }
    assert_eq!(shell.device.clock(shell.now), Clock::Bounded);
    // A signed date far ahead moves T_low by 400 days, and is not refused.
    let mut far = deployment(channel(), 4, vec![]);
    (far.issued_unix_s, far.not_after_unix_s) = (TODAY + 50 * YEAR, TODAY + 60 * YEAR);
    shell.deploy(&far);
    assert_eq!(shell.device.state().t_low_unix_s, TODAY + 3 + 400 * 86_400);
    assert_eq!(shell.device.clock(shell.now), Clock::Unset);
}

#[test]
fn the_nonce_of_this_boot_attests_the_clock() {
    let mut shell = Shell::new();
    let mut echo = deployment(device(), 1, vec![]);
    echo.nonce_echo = Some("00".repeat(16));
    shell.deploy(&echo);
    assert_eq!(shell.device.clock(shell.now), Clock::Bounded, "of another boot");
    (echo.sequence, echo.nonce_echo) = (2, Some(identity().boot_id));
    shell.deploy(&echo);
    assert_eq!(shell.device.clock(shell.now), Clock::Attested);
    shell.tick(86_400);
    assert_eq!(shell.device.clock(shell.now), Clock::Bounded, "for a day");
}

#[test]
fn the_enrolment_shuts_out_what_was_before_it() {
    let mut enrolment = enrolment();
    enrolment.sequences = vec![crate::enrolment::SeenSequence { audience: channel(), sequence: 7 }];
    enrolment.floors = vec![floor("m", 3), floor("m", 2)];
    let mut shell = Shell::enrolled(&enrolment);
    assert_eq!(codes(&shell.deploy(&deployment(channel(), 6, vec![]))), ["deployment-replayed"]);
    let old = release("m", 2);
    shell.deploy(&deployment(channel(), 7, vec![entry(&old)]));
    assert_eq!(codes(&shell.release(&old)), ["release-below-floor"]);
    // Of another epoch, sequences and floors say nothing.
    enrolment.deploy_epoch = 9;
    let mut shell = Shell::enrolled(&enrolment);
    assert_eq!(codes(&shell.deploy(&deployment(channel(), 6, vec![]))), [] as [String; 0]);
}

#[test]
fn a_hostile_broker_is_counted_and_not_repeated() {
    let mut shell = Shell::new();
    let forged = deployment(channel(), 1, vec![]);
    let mut told = 0;
    for _ in 0..500 {
        told += shell.deploy_signed(&forged, &[Key::Stranger]).len();
    }
    assert_eq!((told, shell.device.refusals().count("signature-threshold")), (1, 500));
    shell.now.monotonic_ms += 3_600_000;
    let actions = shell.deploy_signed(&forged, &[Key::Stranger]);
    assert!(matches!(&actions[0], Action::Report(Occurrence::Refused { count: 500, .. })));
}

#[test]
fn the_greatest_step_is_counted_from_the_sequence_before() {
    let mut shell = Shell::new();
    let step = crate::update::acceptance::MAX_SEQUENCE_STEP;
    for sequence in [step, 2 * step, 3 * step] {
        assert_eq!(codes(&shell.deploy(&deployment(channel(), sequence, vec![]))), [] as [String; 0]);
    }
    let beyond = deployment(channel(), 4 * step + 1, vec![]);
    assert_eq!(codes(&shell.deploy(&beyond)), ["deployment-sequence-jump"]);
}
