//! Steps of the root: what they forbid, what they heal, and what starts anew.

use super::*;
use crate::fixture::{channel, deployment, device, digest_of, entry, minimum, release, root};

/// A device with releases 1 (previous) and 2 (active) of model m.
fn with_two() -> (Shell, [Release; 2]) {
    let mut shell = Shell::new();
    let releases = [release("m", 1), release("m", 2)];
    for (sequence, release) in (1..).zip(&releases) {
        shell.deploy(&deployment(channel(), sequence, vec![entry(release)]));
        shell.prove(release);
    }
    shell.take();
    (shell, releases)
}

#[test]
fn a_root_step_is_stored_and_the_next_one_watched() {
    let mut shell = Shell::new();
    let actions = shell.root(&root(2));
    assert!(matches!(actions[0], Action::StoreRoot { version: 2, .. }));
    assert_eq!(actions[1], Action::Persist);
    assert!(actions.contains(&Action::WatchRoot { version: 3 }));
    assert_eq!(shell.device.root().version(), 2);
    for version in [1, 2, 4] {
        assert_eq!(codes(&shell.root(&root(version))).len(), usize::from(version == 1), "told once an hour");
    }
    assert_eq!(shell.device.refusals().count("root-version"), 3);
    shell.root(&root(3));
    shell.reboot();
    assert_eq!(shell.device.root().version(), 3);
}

#[test]
fn a_year_of_roots_is_walked_with_power_cuts() {
    let mut shell = Shell::new();
    for version in 2..=120 {
        shell.root(&root(version));
        if version % 7 == 0 {
            shell.reboot();
        }
    }
    assert_eq!(shell.device.state().root_version, 120);
}

#[test]
fn a_revoked_active_release_returns_to_the_one_before() {
    let (mut shell, [one, two]) = with_two();
    let mut next = root(2);
    next.revoked_releases = vec![digest_of(&two)];
    let actions = shell.root(&next);
    assert!(codes(&actions).contains(&String::from("release-revoked")));
    assert_eq!((shell.active("m"), shell.previous("m")), (Some(digest_of(&one)), None));
    assert_eq!(shell.serving("m"), None, "never the revoked one, not for a moment");
    assert!(actions.contains(&Action::Prepare { release: digest_of(&one) }));
    shell.step(Event::Prepared { release: digest_of(&one) });
    assert_eq!(shell.serving("m"), Some(digest_of(&one)));
    assert_eq!(shell.next("m"), None, "the deployment's wish for the revoked one is refused");
    // With the last one revoked too, the model stops.
    let mut last = root(3);
    last.revoked_releases = vec![digest_of(&one), digest_of(&two)];
    let actions = shell.root(&last);
    assert!(actions.contains(&Action::Stop { model: "m".parse().unwrap() }));
    assert!(shell.model("m").is_none());
}

#[test]
fn a_revoked_trial_ends_and_a_revoked_previous_is_no_way_back() {
    let (mut shell, [one, two]) = with_two();
    let three = release("m", 3);
    shell.deploy(&deployment(channel(), 3, vec![entry(&three)]));
    shell.install(&three);
    let mut next = root(2);
    next.revoked_releases = vec![digest_of(&one), digest_of(&three)];
    shell.root(&next);
    assert_eq!(shell.serving("m"), Some(digest_of(&two)));
    assert_eq!((shell.next("m"), shell.previous("m")), (None, None));
}

#[test]
fn a_minimum_counter_works_like_a_revocation() {
    let (mut shell, [_, two]) = with_two();
    let mut next = root(2);
    next.minimum_counters = vec![minimum("m", 2)];
    shell.root(&next);
    assert_eq!((shell.serving("m"), shell.previous("m")), (Some(digest_of(&two)), None));
    let mut last = root(3);
    last.minimum_counters = vec![minimum("m", 3)];
    let actions = shell.root(&last);
    assert!(actions.contains(&Action::Stop { model: "m".parse().unwrap() }));
}

#[test]
fn a_new_release_epoch_leaves_what_runs() {
    let (mut shell, [_, two]) = with_two();
    let mut next = root(2);
    next.release_epoch = 2;
    shell.root(&next);
    assert_eq!(shell.serving("m"), Some(digest_of(&two)));
    let old = release("m", 3);
    shell.deploy(&deployment(channel(), 3, vec![entry(&old)]));
    assert_eq!(codes(&shell.release(&old)), ["release-epoch"]);
}

#[test]
fn a_new_deploy_epoch_undoes_a_stolen_key() {
    let mut shell = Shell::new();
    let one = release("m", 9);
    // The thief pushes the sequence, the floor and the date as far as they go.
    let mut stolen = deployment(channel(), 1 << 32, vec![entry(&one)]);
    stolen.floors = vec![crate::fixture::floor("m", 9)];
    (stolen.issued_unix_s, stolen.not_after_unix_s) = (u64::MAX - 1, u64::MAX);
    shell.deploy(&stolen);
    shell.prove(&one);
    assert_eq!(shell.model("m").unwrap().floor, 9);
    let mut next = root(2);
    next.deploy_epoch = 2;
    shell.root(&next);
    assert_eq!(shell.device.state().t_low_unix_s, TODAY);
    assert_eq!((shell.model("m").unwrap().floor, shell.active("m")), (0, Some(digest_of(&one))));
    let older = release("m", 3);
    let mut fresh = deployment(channel(), 1, vec![entry(&older)]);
    fresh.deploy_epoch = 2;
    shell.deploy(&fresh);
    shell.prove(&older);
    assert_eq!(codes(&shell.deploy(&stolen)), ["deployment-wrong-epoch"]);
    shell.reboot();
    assert_eq!(shell.active("m"), Some(digest_of(&older)));
}

#[test]
fn a_revoked_device_installs_nothing_more() {
    let (mut shell, [_, two]) = with_two();
    let mut next = root(2);
    next.revoked_devices = vec!["d".parse().unwrap()];
    shell.root(&next);
    assert_eq!(codes(&shell.deploy(&deployment(channel(), 3, vec![]))), ["device-revoked"]);
    assert_eq!(shell.serving("m"), Some(digest_of(&two)), "what runs goes on");
}

#[test]
fn what_failed_before_its_root_came_is_judged_again() {
    let mut rotated = root(2);
    rotated.keys[2].public = Key::Root2.secret().public();
    // Signed by the new deploy key; asking for the new root; of the new epoch.
    let mut needs = deployment(device(), 1, vec![]);
    needs.min_root_version = 2;
    let mut shell = Shell::new();
    shell.deploy_signed(&deployment(channel(), 1, vec![]), &[Key::Root2]);
    shell.deploy_signed(&needs, &[Key::Deploy, Key::Root2]);
    assert_eq!(shell.device.state().sequences, []);
    shell.take();
    shell.root(&rotated);
    assert_eq!(shell.device.state().sequences.len(), 2);
    assert_eq!(codes(&shell.take()), [] as [String; 0]);
    // Only the last of an audience is kept, and only what a root can heal.
    let mut shell = Shell::new();
    shell.deploy_signed(&deployment(channel(), 5, vec![]), &[Key::Root2]);
    shell.deploy_signed(&deployment(channel(), 4, vec![]), &[Key::Root2]);
    shell.step(Event::DeploymentArrived { audience: channel(), envelope: b"garbage".to_vec() });
    shell.root(&rotated);
    assert_eq!(shell.device.state().accepted(&channel()).unwrap().sequence, 4);
}

#[test]
fn a_release_of_a_rotated_key_is_asked_for_again() {
    let mut shell = Shell::new();
    let one = release("m", 1);
    let digest = digest_of(&one);
    shell.deploy(&deployment(channel(), 1, vec![entry(&one)]));
    let by_new_key = || Event::ReleaseArrived { digest, envelope: signed(&one, &[Key::Root2]) };
    assert_eq!(codes(&shell.step(by_new_key())), ["signature-threshold"]);
    let mut rotated = root(2);
    rotated.keys[1].public = Key::Root2.secret().public();
    assert!(shell.root(&rotated).contains(&Action::FetchRelease { digest }));
    shell.step(by_new_key());
    assert_eq!(shell.next("m"), Some(digest));
}

#[test]
fn an_old_root_is_told_of_and_works_on() {
    let mut shell = Shell::new();
    shell.now.wall_unix_s = TODAY + 5 * crate::fixture::YEAR + 1;
    assert_eq!(codes(&shell.step(Event::Ticked)), ["root-expired"]);
    assert_eq!(shell.step(Event::Ticked), [], "once");
    let mut wanted = deployment(channel(), 1, vec![]);
    wanted.not_after_unix_s = u64::MAX;
    assert_eq!(codes(&shell.deploy(&wanted)), [] as [String; 0]);
}

#[test]
fn state_and_root_must_belong_together() {
    let shell = Shell::new();
    let restore = |identity, state, root: &Root| {
        let root = TrustedRoot::enrolled(&signed(root, &[Key::Root])).unwrap();
        Device::restore(identity, state, root, []).map(|_| ()).map_err(|error| error.code().id)
    };
    let state = || shell.device.state().clone();
    assert_eq!(restore(identity(), state(), &root(1)), Ok(()));
    assert_eq!(restore(identity(), state(), &root(2)), Err("state-mismatch"));
    let other = Identity { fleet: "g".parse().unwrap(), ..identity() };
    assert_eq!(restore(other, state(), &root(1)), Err("state-mismatch"));
    let newer = DeviceState { format: 2, ..state() };
    assert_eq!(restore(identity(), newer, &root(1)), Err("state-format"));
}

#[test]
fn a_damaged_root_is_walked_to_again() {
    let (mut shell, [_, two]) = with_two();
    let one = shell.disk.root.clone();
    let second = root(2);
    let mut third = root(3);
    third.keys[2].public = Key::Root2.secret().public();
    shell.root(&second);
    shell.root(&third);
    // Only root 1 can be read.
    let newest = std::mem::replace(&mut shell.disk.root, one);
    let actions = shell.reboot();
    assert!(shell.device.root_is_lost() && codes(&actions).is_empty());
    assert!(actions.contains(&Action::WatchRoot { version: 2 }));
    assert!(actions.contains(&Action::Prepare { release: digest_of(&two) }), "what is installed runs");
    assert_eq!(codes(&shell.step(Event::Ticked)), ["root-damaged"]);
    assert_eq!(shell.device.standing(shell.now)[0].code.id, "root-damaged");
    // A deployment by a key that root 3 took away is not followed, and one by its own key waits.
    let three = release("m", 3);
    let stolen = deployment(channel(), 9, vec![entry(&three)]);
    assert_eq!(codes(&shell.deploy(&stolen)), ["root-damaged"]);
    shell.deploy_signed(&deployment(channel(), 3, vec![entry(&three)]), &[Key::Root2]);
    assert!(codes(&shell.root(&second)).is_empty() && shell.device.root_is_lost());
    // Another root of that version, validly signed, is not the one that was trusted.
    assert_eq!(codes(&shell.root(&root(3))), ["document-wrong-digest"]);
    assert!(shell.device.root_is_lost());
    shell.root(&third);
    assert_eq!((shell.disk.root.clone(), shell.device.root_is_lost()), (newest, false));
    assert_eq!(shell.device.state().accepted(&channel()).unwrap().sequence, 3);
    assert_eq!(shell.device.standing(shell.now), []);
    shell.reboot();
    assert_eq!(shell.device.root().version(), 3);
}
