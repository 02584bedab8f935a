//! What a thief of one key can do to a device and what not, and what time and place cannot do to it. Names
//! begin with the number of the threat in SECURITY.md.

use super::*;
use crate::document::{DeviceList, RootKey};
use crate::fixture::{
    YEAR, channel, deployment, device, device_list, digest_of, entry, floor, release, removal, root,
};

/// A device that runs release 3 of model m, which is its floor too.
fn at_the_floor() -> Shell {
    let mut shell = Shell::new();
    let three = release("m", 3);
    let mut wanted = deployment(channel(), 1, vec![entry(&three)]);
    wanted.floors = vec![floor("m", 3)];
    shell.deploy(&wanted);
    shell.prove(&three);
    assert_eq!(shell.model("m").map(|model| model.floor), Some(3));
    shell
}

/// The thief signs a deployment of a release, and the broker brings that release with these signatures.
fn bring(shell: &mut Shell, wanted: &Release, deployed_by: Key, released_by: Key) -> bool {
    let digest = digest_of(wanted);
    shell.deploy_signed(&deployment(channel(), 50, vec![entry(wanted)]), &[deployed_by]);
    shell.step(Event::ReleaseArrived { digest, envelope: signed(wanted, &[released_by]) });
    shell.next("m") == Some(digest)
}

/// A thing to try with a stolen key, and whether it came about.
type Attempt = (&'static str, fn(&mut Shell, Key) -> bool);

const ATTEMPTS: [Attempt; 10] = [
    ("sign a release", |shell, key| {
        let root = shell.device.root();
        root.verify::<Release>(&signed(&release("m", 9), &[key])).is_ok()
    }),
    ("install code of its own", |shell, key| bring(shell, &release("m", 9), key, key)),
    ("install code of its own that a deployment does not name", |shell, key| {
        let evil = release("m", 9);
        let (digest, envelope) = (digest_of(&evil), signed(&evil, &[key]));
        shell.step(Event::ReleaseArrived { digest, envelope });
        shell.next("m") == Some(digest)
    }),
    ("choose a newer release", |shell, key| bring(shell, &release("m", 4), key, Key::Release)),
    ("return below the floor", |shell, key| bring(shell, &release("m", 2), key, Key::Release)),
    ("raise the floor to what it chose", |shell, key| {
        let four = release("m", 4);
        let mut wanted = deployment(channel(), 50, vec![entry(&four)]);
        wanted.floors = vec![floor("m", 4)];
        shell.deploy_signed(&wanted, &[key]);
        shell.install(&four);
        shell.step(Event::Observed { release: digest_of(&four), served: 10, failed: 0 });
        shell.model("m").is_some_and(|model| model.floor == 4)
    }),
    ("remove a model", |shell, key| {
        shell.deploy_signed(&deployment(channel(), 50, vec![removal("m")]), &[key]);
        shell.active("m").is_none()
    }),
    ("list devices", |shell, key| {
        shell.device.root().verify::<DeviceList>(&signed(&device_list(), &[key])).is_ok()
    }),
    ("move the root", |shell, key| {
        shell.step(Event::RootArrived { envelope: signed(&root(2), &[key]) });
        shell.device.root().version() == 2
    }),
    ("name other keys and use them", |shell, key| {
        let mut next = root(2);
        next.keys[1].public = Key::Root2.secret().public();
        next.keys[2].public = Key::Stranger.secret().public();
        shell.step(Event::RootArrived { envelope: signed(&next, &[key]) });
        bring(shell, &release("m", 9), Key::Stranger, Key::Root2)
    }),
];

#[test]
fn t09_a_stolen_key_does_what_its_row_says_and_nothing_more() {
    let rows: [(Key, &[&str]); 4] = [
        (Key::Root, &["move the root", "name other keys and use them"]),
        (Key::Release, &["sign a release"]),
        (
            Key::Deploy,
            &["choose a newer release", "raise the floor to what it chose", "remove a model", "list devices"],
        ),
        // The key of a device, of another fleet, or of nobody.
        (Key::Stranger, &[]),
    ];
    for (key, row) in rows {
        for (what, attempt) in ATTEMPTS {
            let mut shell = at_the_floor();
            let before = shell.device.state().clone();
            let done = attempt(&mut shell, key);
            assert_eq!(done, row.contains(&what), "the key {key:?}: {what}");
            if row.is_empty() {
                assert_eq!(shell.device.state(), &before, "{what} left a trace");
            }
        }
    }
}

#[test]
fn t09_release_and_deploy_keys_together_install_code_and_stay_above_the_floor() {
    assert!(bring(&mut at_the_floor(), &release("m", 9), Key::Deploy, Key::Release));
    assert!(!bring(&mut at_the_floor(), &release("m", 2), Key::Deploy, Key::Release));
}

#[test]
fn t09_one_of_two_root_keys_does_nothing() {
    let mut two = root(2);
    two.keys.push(RootKey { name: Key::Root2.name(), public: Key::Root2.secret().public() });
    two.roles.root.keys.push(Key::Root2.name());
    two.roles.root.threshold = 2;
    for key in [Key::Root, Key::Root2] {
        let mut shell = at_the_floor();
        let both = [Key::Root, Key::Root2];
        shell.step(Event::RootArrived { envelope: signed(&two, &both) });
        assert_eq!(shell.device.root().version(), 2);
        let before = shell.device.state().clone();
        shell.step(Event::RootArrived { envelope: signed(&root(3), &[key, key]) });
        assert_eq!(shell.device.state(), &before, "{key:?}");
        shell.step(Event::RootArrived { envelope: signed(&root(3), &both) });
        assert_eq!(shell.device.root().version(), 3);
    }
}

#[test]
fn t06_releases_cannot_be_mixed() {
    let mut shell = at_the_floor();
    let (four, five) = (release("m", 4), release("m", 5));
    shell.deploy(&deployment(channel(), 2, vec![entry(&four)]));
    // Five is as valid, but it is four that the deployment names.
    let envelope = signed(&five, &[Key::Release]);
    let actions = shell.step(Event::ReleaseArrived { digest: digest_of(&four), envelope });
    assert_eq!(codes(&actions), ["document-wrong-digest"]);
    assert_eq!(shell.release(&five), [Action::CancelFetch { release: digest_of(&five) }]);
    assert_eq!(shell.next("m"), None);
    shell.release(&four);
    assert_eq!(shell.next("m"), Some(digest_of(&four)));
}

#[test]
fn t07_what_is_for_another_device_or_channel_is_refused() {
    let mut shell = at_the_floor();
    let before = shell.device.state().clone();
    for other in [Audience::Device("other".parse().unwrap()), Audience::Channel("canary".parse().unwrap())] {
        // On the other's topic, and on the device's own two.
        for topic in [other.clone(), channel(), device()] {
            let envelope = signed(&deployment(other.clone(), 9, vec![]), &[Key::Deploy]);
            shell.step(Event::DeploymentArrived { audience: topic, envelope });
        }
    }
    assert_eq!(shell.device.refusals().count("deployment-wrong-audience"), 6);
    assert_eq!(shell.device.state(), &before);
}

#[test]
fn t15_a_thousand_roots_are_walked_and_each_step_survives_a_power_cut() {
    let mut shell = at_the_floor();
    for version in 2..=1025 {
        let actions = shell.root(&root(version));
        assert!(matches!(actions[0], Action::StoreRoot { .. }) && actions[1] == Action::Persist);
        assert!(actions.contains(&Action::WatchRoot { version: version + 1 }));
        if version % 101 == 0 {
            assert!(shell.reboot().contains(&Action::WatchRoot { version: version + 1 }));
        }
    }
    assert_eq!(
        (shell.device.state().root_version, shell.active("m")),
        (1025, Some(digest_of(&release("m", 3))))
    );
}

/// What stands, by code.
fn standing(shell: &Shell) -> Vec<&'static str> {
    shell.device.standing(shell.now).into_iter().map(|standing| standing.code.id).collect()
}

#[test]
fn t05_a_broker_that_holds_back_what_is_new_is_found_out_while_the_model_runs() {
    let day_s = 86_400;
    let fresh_within_s = core::num::NonZeroU32::new(day_s as u32);
    let mut shell = Shell::of_site(SitePolicy { fresh_within_s, ..SitePolicy::default() });
    shell.deploy(&deployment(channel(), 1, vec![entry(&release("m", 3))]));
    shell.prove(&release("m", 3));
    assert_eq!(shell.device.freshness(shell.now).proven_age_s, None);
    let mut echo = deployment(device(), 1, vec![]);
    echo.nonce_echo = Some(identity().boot_id);
    shell.deploy(&echo);
    // Withheld for eight days: the alarm is told when the day is over, and then every day.
    let mut told = 0;
    for hour in 1..=8 * 24u64 {
        let codes = codes(&shell.tick(3600));
        assert!(codes.is_empty() || codes == ["freshness-unproven"], "{codes:?}");
        assert_eq!(standing(&shell).is_empty(), hour <= 24, "hour {hour}");
        told += codes.len();
    }
    assert_eq!(told, 7);
    assert_eq!(shell.serving("m"), Some(digest_of(&release("m", 3))));
    let freshness = shell.device.freshness(shell.now);
    assert_eq!(freshness.proven_age_s, Some(8 * day_s));
    // Signed at TODAY, and the wall clock started a minute later.
    assert_eq!(freshness.deployment_age_s, Some(8 * day_s + 60));
    // The next echo ends it, and after a reboot the day begins anew.
    echo.sequence = 2;
    shell.deploy(&echo);
    assert_eq!(standing(&shell), [] as [&str; 0]);
    assert_eq!(shell.device.freshness(shell.now).proven_age_s, Some(0));
}

#[test]
fn t05_a_deployment_past_its_end_is_told_of_until_one_takes_its_place() {
    let mut shell = at_the_floor();
    let end = shell.device.deployments.channel.as_ref().unwrap().not_after_unix_s;
    shell.now.wall_unix_s = end;
    assert_eq!(codes(&shell.step(Event::Ticked)), [] as [String; 0]);
    assert_eq!(codes(&shell.tick(1)), ["deployment-stale"]);
    assert_eq!(codes(&shell.tick(1)), [] as [String; 0], "once a day");
    assert_eq!(standing(&shell), ["deployment-stale"]);
    let mut renewed = deployment(channel(), 2, vec![entry(&release("m", 3))]);
    renewed.not_after_unix_s = end + YEAR;
    shell.deploy(&renewed);
    assert_eq!(standing(&shell), [] as [&str; 0]);
    assert_eq!(shell.serving("m"), Some(digest_of(&release("m", 3))));
    // With an unset clock nothing can be said, and so nothing is.
    shell.now.wall_unix_s = 0;
    assert_eq!(standing(&shell), [] as [&str; 0]);
}

#[test]
fn a_revoked_device_says_so() {
    let mut shell = Shell::new();
    let mut revoking = fixture::root(2);
    revoking.revoked_devices = vec!["d".parse().unwrap()];
    shell.root(&revoking);
    assert_eq!(codes(&shell.tick(1)), ["device-revoked"]);
    assert_eq!(standing(&shell), ["device-revoked"]);
}

#[test]
fn t65_the_true_time_is_not_before_the_day_of_the_release() {
    let released_unix_s = TODAY + 30 * 86_400;
    let mut shell = Shell::of(Identity { released_unix_s, ..identity() }, &enrolment());
    assert_eq!(shell.device.clock(shell.now), Clock::Unset, "the wall clock is before that day");
    let mut ended = deployment(channel(), 1, vec![entry(&release("m", 3))]);
    ended.not_after_unix_s = released_unix_s - 1;
    assert_eq!(codes(&shell.deploy(&ended)), ["deployment-expired"]);
    // A new epoch sets T_low back to its root's day, and no further than the day of the release.
    let mut next = fixture::root(2);
    next.deploy_epoch += 1;
    shell.root(&next);
    assert_eq!(shell.device.state().t_low_unix_s, next.issued_unix_s);
    assert_eq!(shell.device.time_low_unix_s(), released_unix_s);
}

#[test]
fn t66_a_boot_in_1970_serves_and_says_that_the_clock_is_unset() {
    let mut shell = at_the_floor();
    shell.now.wall_unix_s = 0;
    shell.reboot();
    shell.step(Event::Prepared { release: digest_of(&release("m", 3)) });
    assert_eq!(shell.device.clock(shell.now), Clock::Unset);
    assert_eq!(shell.serving("m"), Some(digest_of(&release("m", 3))));
    // And it updates: a deployment is judged by the latest signed time.
    let mut late = deployment(channel(), 2, vec![entry(&release("m", 4))]);
    late.not_after_unix_s = TODAY;
    shell.deploy(&late);
    shell.prove(&release("m", 4));
}

#[test]
fn t67_without_a_clock_freshness_is_proven_by_the_nonce_of_this_boot_alone() {
    let mut shell = at_the_floor();
    let echo = |sequence, nonce: String| {
        let mut echo = deployment(device(), sequence, vec![]);
        echo.nonce_echo = Some(nonce);
        echo
    };
    shell.deploy(&echo(1, "cd".repeat(16)));
    assert_eq!(shell.device.clock(shell.now), Clock::Bounded, "the nonce of another boot");
    shell.deploy(&echo(2, identity().boot_id));
    assert_eq!(shell.device.clock(shell.now), Clock::Attested);
    // A clock that is not plausible is not made so by an echo.
    shell.now.wall_unix_s = 0;
    assert_eq!(shell.device.clock(shell.now), Clock::Unset);
}

#[test]
fn t68_when_everything_has_ended_what_runs_goes_on_also_after_a_reboot() {
    let mut shell = at_the_floor();
    shell.now.wall_unix_s = TODAY + 9 * YEAR;
    assert_eq!(codes(&shell.tick(1)), ["root-expired", "deployment-stale"]);
    shell.reboot();
    shell.step(Event::Prepared { release: digest_of(&release("m", 3)) });
    assert_eq!(shell.serving("m"), Some(digest_of(&release("m", 3))));
    let four = deployment(channel(), 2, vec![entry(&release("m", 4))]);
    assert_eq!(codes(&shell.deploy(&four)), ["deployment-expired"]);
}

/// When the device asks for its deployments, in seconds, over so many.
fn asked(shell: &mut Shell, seconds: u64) -> Vec<u64> {
    let asks = |action: &Action| matches!(action, Action::WatchDeployments { .. });
    (1..=seconds).filter(|_| shell.tick(1).iter().any(asks)).collect()
}

#[test]
fn t35_what_was_displaced_on_its_way_is_asked_for_again() {
    let mut shell = Shell::new();
    let garbage = || Event::DeploymentArrived { audience: channel(), envelope: b"poison".to_vec() };
    // A broker that sends nothing is asked every quarter of an hour, with some jitter.
    let calm = asked(&mut shell, 3600);
    assert!((4..=8).contains(&calm.len()), "{calm:?}");
    // However long it was calm, the first refusal is asked about soon.
    shell.step(garbage());
    assert!(!asked(&mut shell, 6).is_empty());
    // A refusal is asked about soon; one after the other, ever later.
    let mut shell = Shell::new();
    let mut waits = Vec::new();
    for _ in 0..10 {
        shell.step(garbage());
        let mut wait = 1;
        while asked(&mut shell, 1).is_empty() {
            wait += 1;
        }
        waits.push(wait);
    }
    assert!(waits[0] <= 6 && waits.is_sorted() && *waits.last().unwrap() <= 900, "{waits:?}");
    assert!(waits[5] >= 60, "{waits:?}");
    // The root and release documents that are wanted and have not come are asked for with it.
    let one = release("m", 1);
    shell.deploy(&deployment(channel(), 1, vec![entry(&one)]));
    let digest = digest_of(&one);
    shell.step(Event::ReleaseArrived { digest, envelope: b"poison".to_vec() });
    let actions: Vec<Action> = (0..6).flat_map(|_| shell.tick(1)).collect();
    assert!(actions.contains(&Action::FetchRelease { digest }), "{actions:?}");
    assert!(actions.contains(&Action::WatchRoot { version: 2 }));
    // What is accepted begins anew.
    shell.install(&one);
    shell.step(garbage());
    assert!(!asked(&mut shell, 6).is_empty());
}
