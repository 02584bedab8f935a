//! What the machine believes and what the worker does, in random interleavings of everything that happens to
//! a device. The invariants have names; a failure is shrunk, and its seed is kept by proptest.

use alloc::collections::BTreeSet;

use super::simulator::{COUNTERS, World};
use super::*;
use crate::document::Want;
use crate::fixture::candidate;
use crate::update::state::Stage;
use proptest::prelude::*;

const MODELS: [&str; 2] = ["m", "n"];

#[derive(Clone, Debug)]
enum Move {
    Deploy {
        model: usize,
        stable: u64,
        candidate: Option<u64>,
        retry: bool,
    },
    Remove {
        model: usize,
    },
    WithholdChunks {
        model: usize,
        counter: u64,
        on: bool,
    },
    WithholdDocument {
        model: usize,
        counter: u64,
        on: bool,
    },
    FillDisk(bool),
    /// One of the things under way goes on.
    Proceed(usize),
    /// Everything goes on for so many seconds.
    Pass(u64),
    Serve {
        model: usize,
        failed: bool,
    },
    /// In a call of what serves the first model, the second, both or none.
    WorkerDies {
        in_calls: [bool; 2],
    },
    /// The supervisor's word of deaths arrives.
    HearOfDeaths,
    AgentDies {
        times: u32,
    },
    PowerCut,
    Restart,
}

fn moves() -> impl Strategy<Value = Move> {
    let (model, counter) = (0..MODELS.len(), COUNTERS);
    let on = any::<bool>();
    prop_oneof![
        5 => (model.clone(), counter.clone(), proptest::option::of(counter.clone()), prop::bool::weighted(0.2))
            .prop_map(|(model, stable, candidate, retry)| Move::Deploy { model, stable, candidate, retry }),
        1 => model.clone().prop_map(|model| Move::Remove { model }),
        2 => (model.clone(), counter.clone(), on)
            .prop_map(|(model, counter, on)| Move::WithholdChunks { model, counter, on }),
        1 => (model.clone(), counter, on)
            .prop_map(|(model, counter, on)| Move::WithholdDocument { model, counter, on }),
        1 => on.prop_map(Move::FillDisk),
        16 => (0usize..64).prop_map(Move::Proceed),
        4 => prop_oneof![Just(30u64), Just(120), Just(700)].prop_map(Move::Pass),
        4 => (model, prop::bool::weighted(0.2)).prop_map(|(model, failed)| Move::Serve { model, failed }),
        3 => any::<[bool; 2]>().prop_map(|in_calls| Move::WorkerDies { in_calls }),
        1 => Just(Move::HearOfDeaths),
        2 => (1u32..5).prop_map(|times| Move::AgentDies { times }),
        1 => Just(Move::PowerCut),
        1 => Just(Move::Restart),
    ]
}

fn play(world: &mut World, step: &Move) {
    let name = |model: usize| MODELS[model].parse::<ModelName>().unwrap();
    match *step {
        Move::Deploy { model, stable, candidate: newer, retry } => {
            let newer = newer.filter(|newer| *newer != stable);
            let newer = newer.map(|newer| world.digest(MODELS[model], newer));
            let candidate = newer.map(|newer| candidate(&world.releases[&newer], 1000));
            let stable = world.digest(MODELS[model], stable);
            world.deploy(MODELS[model], Some(Want::Release { stable, candidate }), retry);
        }
        Move::Remove { model } => world.deploy(MODELS[model], None, false),
        Move::WithholdChunks { model, counter, on } => {
            let release = world.digest(MODELS[model], counter);
            set(&mut world.chunks_withheld, release, on);
        }
        Move::WithholdDocument { model, counter, on } => {
            let release = world.digest(MODELS[model], counter);
            set(&mut world.documents_withheld, release, on);
        }
        Move::FillDisk(full) => world.disk_full = full,
        Move::Proceed(which) => world.proceed(which),
        Move::Pass(seconds) => world.pass(seconds),
        Move::Serve { model, failed } => {
            let Some(release) = world.serving(&name(model)) else { return };
            let (served, failed) = if failed { (0, 3) } else { (4, 0) };
            world.guilty.extend((failed > 0).then_some(release));
            world.handle(Event::Observed { release, served, failed });
        }
        Move::WorkerDies { in_calls } => {
            let serving = |(index, called): (usize, &bool)| world.serving(&name(index)).filter(|_| *called);
            let in_call: Vec<Digest> = in_calls.iter().enumerate().filter_map(serving).collect();
            world.worker_dies(&in_call);
        }
        Move::HearOfDeaths => world.take_deaths(),
        Move::AgentDies { times } => (0..times).for_each(|_| world.agent_dies(false)),
        Move::PowerCut => world.agent_dies(true),
        Move::Restart => {
            world.handle(Event::Stopping);
            world.agent_dies(false);
        }
    }
}

fn set(set: &mut BTreeSet<Digest>, release: Digest, on: bool) {
    if on {
        set.insert(release);
    } else {
        set.remove(&release);
    }
}

/// What must hold after every event.
fn check(world: &World, step: &Move) {
    what_is_rolled_back_never_serves(world, step);
    only_a_fault_in_a_call_blames(world, step);
    if !world.has_deaths() {
        what_serves_is_what_the_state_says(world, step);
        what_is_loaded_is_what_the_state_says(world, step);
    }
    let refused = world.shell.device.refusals().count("illegal-event");
    assert_eq!(refused, 0, "nothing impossible happens, {step:?}");
}

fn what_is_rolled_back_never_serves(world: &World, step: &Move) {
    for model in MODELS.map(|model| model.parse().unwrap()) {
        let serving = world.serving(&model);
        let bad = serving.filter(|release| world.shell.device.state().bad.contains(release));
        assert_eq!(bad, None, "{model} is served by what was given up, {step:?}");
    }
}

fn only_a_fault_in_a_call_blames(world: &World, step: &Move) {
    let innocent = world.shell.device.state().bad.iter().find(|bad| !world.guilty.contains(bad));
    assert_eq!(innocent, None, "blamed, and did nothing, {step:?}");
}

fn what_serves_is_what_the_state_says(world: &World, step: &Move) {
    for model in MODELS.map(|model| model.parse().unwrap()) {
        let (believed, serving) = (world.shell.device.serving(&model), world.serving(&model));
        assert_eq!(believed, serving, "{model}: the machine's belief and the worker, {step:?}");
        let ready: Vec<Digest> = world.shell.device.loaded(&model).collect();
        assert!(serving.is_none_or(|it| ready.contains(&it)), "{model}: what serves is loaded, {step:?}");
        let state = world.shell.device.state().model(&model);
        let serves_best = |release: &Digest| {
            state.is_some_and(|state| {
                let trial = state.next.as_ref().filter(|_| state.in_trial()).map(|next| &next.installed);
                let ranked = [trial, state.active.as_ref(), state.previous.as_ref()];
                let best = ranked.into_iter().flatten().find(|it| ready.contains(&it.release));
                best.is_some_and(|best| best.release == *release)
            })
        };
        assert!(serving.is_none_or(|it| serves_best(&it)), "{model}: the best of the state serves, {step:?}");
    }
}

fn what_is_loaded_is_what_the_state_says(world: &World, step: &Move) {
    let models = MODELS.map(|model| model.parse::<ModelName>().unwrap());
    let believed: BTreeSet<Digest> =
        models.iter().flat_map(|model| world.shell.device.loaded(model)).collect();
    let loaded = world.process.loaded();
    assert!(believed.is_subset(&loaded), "believed to be loaded, {step:?}");
    let unknown = loaded.difference(&believed).find(|release| !world.comes(release));
    assert_eq!(unknown, None, "loaded, and not known to be, {step:?}");
}

/// A release on disk that may run: one that was proven, or that is wanted and not held back.
fn runnable(world: &World, model: &ModelName) -> bool {
    let state = world.shell.device.state();
    let Some(of_model) = state.model(model) else { return false };
    let held = of_model.held().map(|held| held.release);
    let wanted = |release: &Digest| match world.wanted(model) {
        Some(Want::Release { stable, candidate }) => {
            release == stable || candidate.is_some_and(|candidate| candidate.release == *release)
        }
        Some(Want::Remove) | None => false,
    };
    let known = |release: &Digest| world.shell.device.release(release).is_some();
    of_model.installed().any(|installed| {
        let release = &installed.release;
        let proven = of_model.active.as_ref().is_some_and(|active| active.release == *release);
        let usable = known(release) && world.has_blobs(release) && held != Some(*release);
        usable && (proven || wanted(release))
    })
}

/// Within ten minutes, whatever is withheld goes on being withheld.
fn a_model_with_a_runnable_release_serves(world: &World) {
    for model in MODELS.map(|model| model.parse().unwrap()) {
        if runnable(world, &model) {
            assert!(world.serving(&model).is_some(), "{model} is dark: {:#?}", world.shell.device.state());
        }
    }
}

fn every_wait_has_an_alarm(world: &World) {
    let device = &world.shell.device;
    let standing: BTreeSet<Subject> =
        device.standing(world.shell.now).into_iter().map(|standing| standing.what).collect();
    for model in MODELS.map(|model| model.parse::<ModelName>().unwrap()) {
        let next = device.state().model(&model).and_then(|state| state.next.as_ref());
        if let Some(next) = next.filter(|next| !matches!(next.stage, Stage::Trial { .. })) {
            let about = Subject::Release(next.installed.release);
            assert!(standing.contains(&about), "{model} waits at {:?}: {standing:?}", next.stage);
        }
        // What is wanted, and not even on its way.
        let Some(Want::Release { stable, .. }) = world.wanted(&model) else { continue };
        let state = device.state();
        let here = state.model(&model).is_some_and(|state| state.installed().next().is_some());
        let explained = state.bad.contains(stable) || standing.contains(&Subject::Release(*stable));
        let other = standing.iter().any(|what| matches!(what, Subject::Release(_)));
        assert!(here || explained || other, "{model} waits for {}: {standing:?}", stable.short());
    }
}

/// With nothing in the way any more, what is wanted serves.
fn what_is_wanted_serves(world: &World) {
    for model in MODELS.map(|model| model.parse::<ModelName>().unwrap()) {
        let serving = world.serving(&model);
        let bad = &world.shell.device.state().bad;
        match world.wanted(&model) {
            Some(Want::Release { stable, candidate }) => {
                let candidate = candidate.map(|candidate| candidate.release);
                let choices = candidate.into_iter().chain([*stable]);
                let wanted = choices.into_iter().find(|release| !bad.contains(release));
                if let Some(wanted) = wanted {
                    let short = serving.map(|serving| serving.short());
                    let state = world.shell.device.state().model(&model);
                    assert_eq!(serving, Some(wanted), "{model} is served by {short:?}: {state:#?}");
                }
            }
            Some(Want::Remove) | None => assert_eq!(serving, None, "{model} is removed"),
        }
    }
}

proptest! {
    #[test]
    fn belief_and_worker_agree_in_any_interleaving(
        steps in proptest::collection::vec(moves(), 1..60)
    ) {
        let mut world = World::new();
        for step in &steps {
            play(&mut world, step);
            check(&world, step);
        }
        let end = Move::Pass(1200);
        play(&mut world, &end);
        check(&world, &end);
        a_model_with_a_runnable_release_serves(&world);
        every_wait_has_an_alarm(&world);
        world.chunks_withheld.clear();
        world.documents_withheld.clear();
        world.disk_full = false;
        // Long enough for the longest back-off.
        world.pass(2 * 3600);
        check(&world, &end);
        what_is_wanted_serves(&world);
    }
}

/// The faults that this test was written for, as their shortest histories.
mod histories {
    use super::*;

    fn lived(steps: &[Move]) -> World {
        let mut world = World::new();
        for step in steps {
            play(&mut world, step);
            check(&world, step);
        }
        world
    }

    fn deploy(stable: u64) -> Move {
        Move::Deploy { model: 0, stable, candidate: None, retry: false }
    }

    fn model() -> ModelName {
        "m".parse().unwrap()
    }

    #[test]
    fn a_first_release_that_kills_stops() {
        let died = Move::WorkerDies { in_calls: [true, false] };
        let world = lived(&[deploy(1), Move::Pass(30), died, Move::HearOfDeaths, Move::Pass(1200)]);
        assert_eq!(world.serving(&model()), None);
        assert_eq!(world.shell.device.state().bad, [world.digest("m", 1)]);
    }

    #[test]
    fn a_release_wanted_again_goes_on_serving() {
        let withheld = Move::WithholdChunks { model: 0, counter: 2, on: true };
        for again in [Move::Pass(0), Move::Pass(300)] {
            let mut world = lived(&[withheld.clone(), deploy(1), Move::Pass(30), deploy(2), again]);
            let first = Some(world.digest("m", 1));
            assert_eq!(world.serving(&model()), first);
            play(&mut world, &deploy(1));
            assert_eq!(world.serving(&model()), first, "without a gap");
            world.pass(1200);
            assert_eq!(world.shell.active("m"), first);
        }
    }

    #[test]
    fn deaths_of_the_agent_blame_no_release() {
        let mut world = lived(&[deploy(1), Move::Pass(30)]);
        for _ in 0..20 {
            play(&mut world, &Move::AgentDies { times: 1 });
            world.proceed(0);
        }
        assert_eq!(world.shell.device.state().bad, []);
        let codes: Vec<&str> =
            world.shell.device.standing(world.shell.now).iter().map(|standing| standing.code.id).collect();
        assert_eq!(codes, ["trial-held"]);
        world.pass(1500);
        assert_eq!(world.shell.active("m"), Some(world.digest("m", 1)), "it came back by itself");
    }
}
