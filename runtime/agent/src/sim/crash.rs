//! Crash enumeration: the life of a device, with each call of its disk failing in every way.
//!
//! The life has installs, a switch, a rotation, a release that is taken back, and clean-ups. In each run one
//! call of the disk cuts the power (and unsynced writes are lost, torn or reordered by a seed), or fails as
//! full, or as broken. After it the device starts again and lives to the end; on the way what must always
//! hold is checked. `DUNLIN_CRASH_STATES=1000000 cargo test --release -p dunlin-agent --lib crash -- --nocapture`
//! goes on with further seeds, and with a second failure in each run.

use std::fmt;

use dunlin_core::document::Release;
use dunlin_core::trust::Verified;
use dunlin_core::update::{DeviceState, Stage, device_blobs};

use super::node::{Node, Off};
use super::plant::{Behaviour, Plant};
use super::{Luck, number};
use crate::store::faulty::{Fault, FaultyFs};

/// What an ordinary run goes through at least.
const STATES: u64 = 5_000;

/// Seeds of what a power cut leaves, at each call.
const SUBSETS: u64 = 8;

/// What the operator does, one after the other.
const LIFE: [fn(&mut Plant); 6] = [
    |plant| {
        let first = plant.release(1, 3_000, Behaviour::Good);
        plant.deploy(first, true);
    },
    |plant| {
        let second = plant.release(1, 3_000, Behaviour::Good);
        plant.deploy(second, false);
    },
    |plant| {
        plant.rotate();
        let second = plant.models[1].digest;
        plant.deploy(second, true);
    },
    |plant| {
        let wrong = plant.release(2, 3_000, Behaviour::WrongAnswers);
        plant.deploy(wrong, false);
    },
    |plant| {
        let failing = plant.release(2, 3_000, Behaviour::FailsInTrial);
        plant.deploy(failing, false);
    },
    |plant| {
        // Long enough for a list of its own.
        let last = plant.release(3, 46_000, Behaviour::Good);
        plant.deploy(last, true);
    },
];

/// One failure, as a failed test names it.
#[derive(Clone, Copy)]
struct Case {
    nth: u64,
    fault: Fault,
    luck: u64,
    second: Option<u64>,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call {} {:?}, seed {}, second {:?}", self.nth, self.fault, self.luck, self.second)
    }
}

/// The plant after each of these.
fn lifetime() -> Vec<Plant> {
    let mut plant = Plant::new();
    let after = |act: &fn(&mut Plant)| {
        act(&mut plant);
        plant.clone()
    };
    LIFE.iter().map(after).collect()
}

/// Lives to the end; whether the failure came at all.
fn live(lifetime: &[Plant], case: Case) -> bool {
    let fs = FaultyFs::failing(case.nth, case.fault, case.luck);
    let mut node = Node::new("d", &lifetime[0], fs);
    let mut second = case.second;
    let mut now_ms = 0;
    for plant in lifetime {
        // A device that is switched off twice is done with after a third time.
        for attempt in 0.. {
            assert!(attempt < 4, "{case}: it does not come to rest");
            if go_on(&mut node, plant, &mut now_ms).is_ok() {
                break;
            }
            node.switch_off();
            check(&node, case);
            if let Some(nth) = second.take() {
                node.fs.fail_again(nth, Fault::PowerCut, case.luck ^ nth);
            }
        }
    }
    check(&node, case);
    let last = lifetime.last().and_then(|plant| plant.models.last()).map(|model| model.digest);
    let active = node.state().and_then(|state| state.models.first()?.active.as_ref().map(|it| it.release));
    assert_eq!((active, node.serving()), (last, last), "{case}: the newest release serves at the end");
    node.fs.failed()
}

/// Runs until nothing is under way.
fn go_on(node: &mut Node, plant: &Plant, now_ms: &mut u64) -> Result<(), Off> {
    if !node.is_on() {
        node.start(*now_ms)?;
    }
    for _ in 0..400 {
        let came = node.exchange(*now_ms, plant)?;
        if came {
            *now_ms += 50;
            continue;
        }
        // Nothing comes: a retry may be due, or all is done.
        *now_ms += 5_000;
        node.tick(*now_ms, plant)?;
        if node.is_idle() && !node.exchange(*now_ms, plant)? {
            return Ok(());
        }
    }
    panic!("{} does not come to rest: {}", node.id, node.describe());
}

/// What must hold whenever one looks.
fn check(node: &Node, case: Case) {
    node.fs.undisturbed(|| look(node, case));
}

fn look(node: &Node, case: Case) {
    let Ok(store) = node.store_beside() else { panic!("{case}: the store does not open") };
    let state = store.load_state().unwrap_or_else(|error| panic!("{case}: {error}"));
    let Some(state) = state else {
        assert!(node.seen.committed.is_none(), "{case}: a committed state is lost");
        return;
    };
    counters_never_go_down(node, &state, case);
    let beside = store.further_states();
    for state in std::iter::once(&state).chain(&beside) {
        no_blob_of_either_slot_is_missing(&store, state, case);
    }
    a_runnable_model_exists_if_one_was_ever_proven(node, &state, case);
}

fn counters_never_go_down(node: &Node, found: &DeviceState, case: Case) {
    let Some(committed) = &node.seen.committed else { return };
    assert!(found.root_version >= committed.root_version && found.boots >= committed.boots, "{case}");
    assert!(found.deploy_epoch >= committed.deploy_epoch, "{case}");
    if found.deploy_epoch > committed.deploy_epoch {
        return;
    }
    assert!(found.t_low_unix_s >= committed.t_low_unix_s, "{case}");
    for accepted in &committed.sequences {
        let now = found.accepted(&accepted.audience).map_or(0, |now| now.sequence);
        assert!(now >= accepted.sequence, "{case}: sequence {now} after {}", accepted.sequence);
    }
    for model in &committed.models {
        let floor = found.model(&model.model).map_or(0, |now| now.floor);
        assert!(floor >= model.floor, "{case}: floor {floor} after {}", model.floor);
    }
    for bad in &committed.bad {
        assert!(found.bad.contains(bad), "{case}: a release that failed is forgotten");
    }
}

fn no_blob_of_either_slot_is_missing(store: &crate::store::Store, state: &DeviceState, case: Case) {
    for model in &state.models {
        let whole = |stage: Stage| stage != Stage::Fetching;
        let next = model.next.iter().filter(|next| whole(next.stage)).map(|next| &next.installed);
        for installed in model.active.iter().chain(&model.previous).chain(next) {
            let envelope = store.document(&installed.release).unwrap();
            let envelope =
                envelope.unwrap_or_else(|| panic!("{case}: the document of {installed:?} is gone"));
            let release = Verified::<Release>::recalled(&envelope, installed.release).unwrap();
            for blob in device_blobs(&release, None) {
                let found = store.blob(&blob.digest, blob.size_bytes);
                assert!(found.is_ok(), "{case}: {:?} of {installed:?}", found.err());
            }
        }
    }
}

fn a_runnable_model_exists_if_one_was_ever_proven(node: &Node, state: &DeviceState, case: Case) {
    for (model, release) in &node.seen.proven {
        let found = state.model(model).and_then(|model| model.active.as_ref());
        assert!(found.is_some(), "{case}: {} was proven, and nothing is", release.short());
    }
}

/// Every call fails once, one life each; how many there were.
fn live_through(lifetime: &[Plant], fault: Fault, subset: u64, round: u64) -> u64 {
    let mut luck = Luck(round * 1000 + subset);
    let mut states = 0;
    for nth in 1.. {
        let second = (round > 0).then(|| 1 + luck.below(200));
        if !live(lifetime, Case { nth, fault, luck: luck.next(), second }) {
            assert!(nth > 200, "the life has only {nth} calls");
            break;
        }
        states += 1;
    }
    states
}

#[test]
fn every_call_of_the_disk_may_be_the_last() {
    let wanted = number("DUNLIN_CRASH_STATES").unwrap_or(STATES);
    let undisturbed = Case { nth: u64::MAX, fault: Fault::PowerCut, luck: 0, second: None };
    let lifetime = lifetime();
    assert!(!live(&lifetime, undisturbed));
    let (mut states, mut round) = (0, 0);
    while states < wanted {
        let series: Vec<(Fault, u64)> = (0..SUBSETS)
            .map(|subset| (Fault::PowerCut, subset))
            .chain([(Fault::Full, 0), (Fault::Broken, 0)])
            .collect();
        let (one, other) = series.split_at(series.len() / 2);
        let lives = |series: &[(Fault, u64)]| -> u64 {
            series.iter().map(|(fault, subset)| live_through(&lifetime, *fault, *subset, round)).sum()
        };
        states += std::thread::scope(|scope| {
            let beside = scope.spawn(|| lives(other));
            lives(one) + beside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        round += 1;
    }
    println!("{states} states after a failure of the disk, all of them sound");
}
