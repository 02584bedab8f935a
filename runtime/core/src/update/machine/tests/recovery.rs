//! A device whose newest state was lost: it serves what was proven, and follows nothing that could be old.

use super::*;
use crate::fixture::{channel, deployment, device, digest_of, entry, floor, release, root};

/// A device that had proven release 3 of model m at floor 3, went on to release 4, and lost its state.
fn recovered() -> Shell {
    let mut shell = Shell::new();
    let three = release("m", 3);
    let mut wanted = deployment(channel(), 5, vec![entry(&three)]);
    wanted.floors = vec![floor("m", 3)];
    shell.deploy(&wanted);
    shell.prove(&three);
    let proven = shell.device.state().proven();
    shell.deploy(&deployment(channel(), 6, vec![entry(&release("m", 4))]));
    shell.install(&release("m", 4));
    shell.lose_state(&proven);
    shell.step(Event::Prepared { release: digest_of(&three) });
    shell
}

fn echo(sequence: u64) -> Deployment {
    let mut echo = deployment(device(), sequence, vec![]);
    echo.nonce_echo = Some(identity().boot_id);
    echo
}

#[test]
fn what_was_proven_serves_and_nothing_is_followed_before_an_echo() {
    let mut shell = recovered();
    let three = digest_of(&release("m", 3));
    assert_eq!((shell.serving("m"), shell.active("m")), (Some(three), Some(three)));
    assert_eq!(shell.model("m").unwrap().floor, 3);
    assert_eq!(codes(&shell.tick(1)), ["state-recovered"]);
    // Neither an old deployment nor a new one nor one that echoes another boot; the device cannot tell.
    for sequence in [4, 5, 6, 7] {
        let refused = codes(&shell.deploy(&deployment(channel(), sequence, vec![entry(&release("m", 5))])));
        assert!(refused.is_empty() || refused == ["state-recovered"], "{refused:?}");
        assert_eq!(shell.next("m"), None);
    }
    let mut foreign = echo(1);
    foreign.nonce_echo = Some("cd".repeat(16));
    shell.deploy(&foreign);
    assert!(shell.device.state().recovered);
    // And it stays so over reboots.
    shell.reboot();
    assert!(shell.device.state().recovered);

    let actions = shell.deploy(&echo(2));
    assert!(!shell.device.state().recovered);
    let anew = |action: &Action| matches!(action, Action::WatchDeployments { .. });
    assert!(actions.iter().any(anew), "what was refused is asked for again");
    // Sequences that the copy knew still hold.
    assert_eq!(codes(&shell.deploy(&deployment(channel(), 4, vec![]))), ["deployment-replayed"]);
    shell.deploy(&deployment(channel(), 6, vec![entry(&release("m", 4))]));
    shell.prove(&release("m", 4));
}

#[test]
fn a_root_that_moves_the_epoch_heals_it_too_and_what_was_refused_is_judged_again() {
    let mut shell = recovered();
    let mut next = deployment(channel(), 1, vec![entry(&release("m", 4))]);
    next.deploy_epoch = 2;
    shell.deploy(&next);
    let mut moved = root(2);
    moved.deploy_epoch = 2;
    shell.root(&moved);
    assert!(!shell.device.state().recovered);
    shell.prove(&release("m", 4));
}

#[test]
fn a_root_that_came_after_the_copy_forbids_what_the_copy_names() {
    let shell = recovered();
    let copy = shell.device.state().proven();
    let under = |change: fn(&mut Root)| {
        let mut newer = root(2);
        change(&mut newer);
        let trusted = TrustedRoot::enrolled(&signed(&newer, &[Key::Root])).unwrap();
        DeviceState::recovered(copy.clone(), &trusted)
    };
    let active = |state: &DeviceState| state.model(&"m".parse().unwrap()).unwrap().active.clone();
    let same = under(|_| {});
    assert_eq!((same.root_version, same.models[0].floor, same.sequences.len()), (2, 3, 1));
    assert!(same.recovered && active(&same).is_some());
    assert_eq!(active(&under(|root| root.revoked_releases = vec![digest_of(&release("m", 3))])), None);
    let raise = |root: &mut Root| {
        root.minimum_counters =
            vec![crate::document::MinimumCounter { model: "m".parse().unwrap(), counter: 4 }];
    };
    assert_eq!(active(&under(raise)), None);
    let other_epoch = under(|root| root.deploy_epoch = 9);
    assert_eq!((other_epoch.models[0].floor, other_epoch.sequences.len()), (0, 0));
}
