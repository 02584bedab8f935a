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
    assert_eq!(codes(&shell.tick(1)), ["root-expired"]);
    shell.reboot();
    shell.step(Event::Prepared { release: digest_of(&release("m", 3)) });
    assert_eq!(shell.serving("m"), Some(digest_of(&release("m", 3))));
    let four = deployment(channel(), 2, vec![entry(&release("m", 4))]);
    assert_eq!(codes(&shell.deploy(&four)), ["deployment-expired"]);
}
