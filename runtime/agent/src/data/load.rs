//! The thread that makes an instance out of machine code: map, instantiate, warm. One release at a time,
//! and nothing that serves waits for it.

use std::fs::File;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

use dunlin_abi::{Card, State};
use dunlin_core::Digest;
use dunlin_core::drift::{Baseline, Monitor, MonitorConfig};
use dunlin_sandbox::{CallError, CompiledModel, Engine, Facts, Instance};
use tokio::sync::mpsc::WeakSender;

use super::input::max_samples;
use super::instances::Instances;
use super::message::{DataError, Description, Load, Prepared};
use super::plane::{Message, Policy, Reply, spawn};
use super::running::{Running, Start};
use super::seats::Seats;
use super::tally::{Shared, Watch};
use crate::worker::{Flight, Place};

/// A release to be loaded, and who wants to know.
pub(super) struct Order {
    pub load: Box<Load>,
    pub reply: Reply<Prepared>,
}

/// A release that was loaded, on its way back to the router.
pub(super) struct Loaded {
    pub running: Running,
    pub reply: Reply<Prepared>,
}

/// The router's end of the thread.
pub(super) struct Loader {
    orders: Sender<Order>,
}

/// What the thread works with.
pub(super) struct Tools {
    pub engine: Engine,
    pub flight: Flight,
    pub policy: Policy,
    pub seats: Seats,
}

impl Loader {
    pub(super) fn start(tools: Tools, router: WeakSender<Message>) -> Result<Loader, DataError> {
        let (orders, receiver) = channel();
        spawn("model-load", move || run(&tools, &receiver, &router))?;
        Ok(Loader { orders })
    }

    pub(super) fn order(&self, order: Order) {
        if let Err(lost) = self.orders.send(order) {
            let error = DataError::Ended("the thread that loads models has ended".into());
            drop(lost.0.reply.send(Err(error)));
        }
    }
}

fn run(tools: &Tools, orders: &Receiver<Order>, router: &WeakSender<Message>) {
    for Order { load: order, reply } in orders {
        // Whoever wanted it has gone.
        if reply.is_closed() {
            continue;
        }
        match load(tools, *order) {
            Ok(running) => {
                let Some(router) = router.upgrade() else { return };
                let loaded = Message::Loaded(Box::new(Loaded { running, reply }));
                if router.blocking_send(loaded).is_err() {
                    return;
                }
            }
            Err(error) => drop(reply.send(Err(error))),
        }
    }
}

fn load(tools: &Tools, load: Load) -> Result<Running, DataError> {
    let Load { model: name, release, document, facts, code, golden_vectors, compile_us, baseline } = load;
    let started = Instant::now();
    let model = load_sealed(&tools.engine, code, facts)?;
    let watch = baseline.map(|bytes| watch(model.card(), &bytes)).transpose()?;
    let instances = instances(tools, &model, release).map_err(|error| DataError::model(&error))?;
    let memory_bytes: Vec<u64> = instances.iter().map(|(held, _)| held.memory_bytes()).collect();
    let prepared = Prepared {
        compile_us,
        instantiate_us: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
        golden_vectors,
        memory_bytes: memory_bytes.iter().sum(),
    };
    let description = Description {
        model: name,
        release,
        version: document.version,
        artifact: model.digest(),
        card: model.card().clone(),
        max_samples: max_samples(model.card()),
    };
    let tally = Shared::new(memory_bytes, watch)?;
    Running::start(Start {
        description,
        prepared,
        model,
        instances,
        contract: document.contract,
        tally,
        queue_requests: tools.policy.queue_requests,
        seats: tools.seats.clone(),
    })
}

/// What each thread of a release begins with, and where it says that it is in a call.
fn instances(
    tools: &Tools,
    model: &CompiledModel,
    release: Digest,
) -> Result<Vec<(Instances, Place)>, CallError> {
    let threads = match model.card().state {
        State::None => tools.policy.instances.max(1),
        // Streams take turns: what one thread does in order needs no other order.
        State::Stream => 1,
    };
    let mut all = Vec::with_capacity(threads);
    for _ in 0..threads {
        let place = tools.flight.place(release);
        let instance = place.during(|| Ok(warmed(model, model.instantiate()?)))?;
        let instances = match model.card().state {
            State::None => Instances::one(instance),
            State::Stream => Instances::many(instance, tools.policy.streams, tools.policy.stream_idle_ms),
        };
        all.push((instances, place));
    }
    Ok(all)
}

/// Makes a model of machine code that control hands over.
///
/// # Errors
/// It was made for another engine.
pub(crate) fn load_sealed(engine: &Engine, code: File, facts: Facts) -> Result<CompiledModel, DataError> {
    // SAFETY: control hands over a sealed file, which it had made by the process that compiles, checked by
    // the MAC of its cache, or took from a blob whose digest the role `precompiled` signed. None of them is
    // trusted further than the process that loads it is locked: that is what it is locked for.
    #[allow(unsafe_code)]
    unsafe { engine.load(code, facts) }.map_err(|error| DataError::model(&error))
}

/// Calls once with zeros, so that the first request finds the model's pages in place. What comes of it does
/// not matter: golden vectors are what judges a model.
fn warmed(model: &CompiledModel, mut instance: Instance) -> Instance {
    let warm = instance.infer(1).and_then(|()| instance.reset());
    let _ = instance.take_logs();
    let _ = instance.take_metrics();
    match warm {
        Ok(()) => instance,
        // One that does not take zeros starts as it would have without them.
        Err(_) => model.instantiate().unwrap_or(instance),
    }
}

fn watch(card: &Card, bytes: &[u8]) -> Result<Watch, DataError> {
    let baseline = Baseline::decode(bytes).map_err(|error| DataError::model(&error))?;
    baseline.check_card(card).map_err(|error| DataError::model(&error))?;
    let monitor = Monitor::new(baseline, MonitorConfig::default());
    Ok(Watch { baseline: Digest::of(bytes), monitor })
}
