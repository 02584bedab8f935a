//! Invariants that hold in any interleaving; [`Shell::step`] checks them after each step.

use super::*;
use crate::fixture::{candidate, channel, deployment, device, digest_of, entry, floor, release, root};
use proptest::prelude::*;

#[test]
fn a_thousand_recorded_deployments_in_any_order_end_at_the_newest() {
    let stable = release("m", 1);
    let recorded: Vec<Vec<u8>> = (1..=1000)
        .map(|sequence| signed(&deployment(channel(), sequence, vec![entry(&stable)]), &[Key::Deploy]))
        .collect();
    // An order that visits each once: 617 has no divisor in common with 1000.
    let mut shell = Shell::new();
    let mut greatest = 0;
    for step in 0..1000usize {
        let index = (step * 617 + 3) % 1000;
        let envelope = recorded[index].clone();
        shell.step(Event::DeploymentArrived { audience: channel(), envelope });
        greatest = greatest.max(index as u64 + 1);
        assert_eq!(shell.device.state().accepted(&channel()).unwrap().sequence, greatest);
    }
    assert_eq!(greatest, 1000);
    let accepted = shell.device.state().accepted(&channel()).unwrap().digest;
    assert_eq!(accepted, Some(digest_of(&deployment(channel(), 1000, vec![entry(&stable)]))));
    let replays = shell.device.refusals().count("deployment-replayed");
    assert!(replays > 900, "{replays} of them were older");
}

/// What happens next; numbers choose among a few releases, so that collisions are frequent.
#[derive(Clone, Debug)]
enum Move {
    Deploy { own: bool, sequence: u64, stable: u64, candidate: Option<u64>, least: Option<u64>, retry: bool },
    Remove { own: bool, sequence: u64 },
    Root { epoch: bool, minimum: u64, revoked: Option<u64> },
    Release(u64),
    Blobs(u64),
    Prepared(u64),
    Failed(u64, u8),
    TransferFailed(u64),
    Observed(u64, u64, u64),
    Crashed(u64),
    Tick(u64),
    Stopping,
    Reboot,
    LoseDocuments,
}

fn moves() -> impl Strategy<Value = Move> {
    let counter = 1u64..6;
    let option = proptest::option::of(1u64..6);
    prop_oneof![
        4 => (any::<bool>(), 1u64..60, counter.clone(), option.clone(), option.clone(), any::<bool>()).prop_map(
            |(own, sequence, stable, candidate, least, retry)| Move::Deploy {
                own, sequence, stable, candidate, least, retry
            }
        ),
        1 => (any::<bool>(), 1u64..60).prop_map(|(own, sequence)| Move::Remove { own, sequence }),
        1 => (prop::bool::weighted(0.2), 0u64..4, option)
            .prop_map(|(epoch, minimum, revoked)| Move::Root { epoch, minimum, revoked }),
        5 => counter.clone().prop_map(Move::Release),
        5 => counter.clone().prop_map(Move::Blobs),
        5 => counter.clone().prop_map(Move::Prepared),
        1 => (counter.clone(), 0u8..3).prop_map(|(counter, fault)| Move::Failed(counter, fault)),
        1 => counter.clone().prop_map(Move::TransferFailed),
        4 => (counter.clone(), 0u64..12, 0u64..3).prop_map(|(c, served, failed)| Move::Observed(c, served, failed)),
        1 => counter.prop_map(Move::Crashed),
        2 => (0u64..700).prop_map(Move::Tick),
        1 => Just(Move::Stopping),
        1 => Just(Move::Reboot),
        1 => Just(Move::LoseDocuments),
    ]
}

fn play(shell: &mut Shell, next: &mut Root, step: Move) {
    let digest = |counter: u64| digest_of(&release("m", counter));
    let text = || (String::from("code"), String::from("detail"));
    match step {
        Move::Deploy { own, sequence, stable, candidate: newer, least, retry } => {
            let audience = if own { device() } else { channel() };
            let mut wanted = deployment(audience, sequence, vec![entry(&release("m", stable))]);
            wanted.deploy_epoch = shell.device.root().root().deploy_epoch;
            if let Some(newer) = newer.filter(|newer| *newer != stable) {
                wanted.models[0].want = crate::document::Want::Release {
                    stable: digest(stable),
                    candidate: Some(candidate(&release("m", newer), 1000)),
                };
            }
            wanted.floors = least.map(|least| floor("m", least)).into_iter().collect();
            wanted.models[0].retry = retry;
            shell.deploy(&wanted);
        }
        Move::Remove { own, sequence } => {
            let audience = if own { device() } else { channel() };
            shell.deploy(&deployment(audience, sequence, vec![crate::fixture::removal("m")]));
        }
        Move::Root { epoch, minimum, revoked } => {
            next.version = shell.device.root().version() + 1;
            next.deploy_epoch += u64::from(epoch);
            next.minimum_counters = vec![crate::fixture::minimum("m", minimum)];
            next.revoked_releases = revoked.map(digest).into_iter().collect();
            shell.root(&next.clone());
        }
        Move::Release(counter) => drop(shell.release(&release("m", counter))),
        Move::Blobs(counter) => drop(shell.step(Event::BlobsArrived { release: digest(counter) })),
        Move::Prepared(counter) => drop(shell.step(Event::Prepared { release: digest(counter) })),
        Move::Failed(counter, fault) => {
            let fault = [Fault::Release, Fault::Device, Fault::Blob][usize::from(fault)];
            shell.failed(&release("m", counter), fault);
        }
        Move::TransferFailed(counter) => {
            let (code, detail) = text();
            shell.step(Event::TransferFailed { release: digest(counter), code, detail });
        }
        Move::Observed(counter, served, failed) => {
            shell.step(Event::Observed { release: digest(counter), served, failed });
        }
        Move::Crashed(counter) => {
            let (code, detail) = text();
            shell.step(Event::WorkerDied { suspects: vec![digest(counter)], code, detail });
        }
        Move::Tick(seconds) => drop(shell.tick(seconds)),
        Move::Stopping => drop(shell.step(Event::Stopping)),
        Move::Reboot => drop(shell.reboot()),
        Move::LoseDocuments => shell.lose_documents(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn floors_revocations_and_sequences_hold_in_any_interleaving(
        steps in proptest::collection::vec(moves(), 1..120)
    ) {
        let mut shell = Shell::new();
        let mut next = root(2);
        next.not_after_unix_s = u64::MAX;
        for step in steps {
            let before = shell.device.state().clone();
            play(&mut shell, &mut next, step);
            let after = shell.device.state();
            // `Shell::step` checked floors, minimums, revocations and the order of actions.
            if after.deploy_epoch == before.deploy_epoch {
                for old in &before.sequences {
                    let new = after.accepted(&old.audience);
                    prop_assert!(new.is_some_and(|new| new.sequence >= old.sequence));
                }
                for old in before.models.iter().filter(|model| model.floor > 0) {
                    prop_assert!(after.model(&old.model).is_some_and(|new| new.floor >= old.floor));
                }
            }
        }
    }

    #[test]
    fn no_bytes_make_the_device_panic_or_change(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut shell = Shell::new();
        let before = shell.device.state().clone();
        shell.step(Event::RootArrived { envelope: bytes.clone() });
        shell.step(Event::DeploymentArrived { audience: channel(), envelope: bytes.clone() });
        shell.step(Event::ReleaseArrived { digest: Digest::of(&bytes), envelope: bytes });
        prop_assert_eq!(shell.device.state(), &before);
    }
}
