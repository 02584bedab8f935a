//! The thread that makes an instance out of a release: admit, compare with the contract, compile,
//! prove, load. One release at a time, and nothing that serves waits for it.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use dunlin_core::Digest;
use dunlin_core::document::Release;
use dunlin_core::drift::{Baseline, Monitor, MonitorConfig};
use dunlin_core::id::ModelName;
use dunlin_sandbox::{Admission, CompiledModel, Engine, Limits, admit};
use tokio::sync::mpsc::WeakSender;

use super::golden;
use super::input::max_samples;
use super::instance::{Running, Start};
use super::message::{DataError, Description, Prepare, Prepared};
use super::plane::{Message, Policy, Reply, spawn};
use super::tally::{Shared, Watch};

/// A release to be loaded, and who wants to know.
pub(super) struct Order {
    pub prepare: Box<Prepare>,
    pub reply: Reply<Prepared>,
}

/// A release that was loaded, on its way back to the router.
pub(super) struct Loaded {
    pub running: Running,
    pub reply: Reply<Prepared>,
}

/// The router's end of the thread.
pub(super) struct Compiler {
    orders: Sender<Order>,
}

impl Compiler {
    pub(super) fn start(
        engine: Engine,
        policy: Policy,
        router: WeakSender<Message>,
    ) -> Result<Compiler, DataError> {
        let (orders, receiver) = channel();
        spawn("model-compile", move || run(&engine, policy, &receiver, &router))?;
        Ok(Compiler { orders })
    }

    pub(super) fn order(&self, order: Order) {
        if let Err(lost) = self.orders.send(order) {
            let error = DataError::Ended("the thread that compiles has ended".into());
            drop(lost.0.reply.send(Err(error)));
        }
    }
}

fn run(engine: &Engine, policy: Policy, orders: &Receiver<Order>, router: &WeakSender<Message>) {
    for Order { prepare, reply } in orders {
        // Whoever wanted it has gone.
        if reply.is_closed() {
            continue;
        }
        match load(engine, policy, *prepare) {
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

fn load(engine: &Engine, policy: Policy, prepare: Prepare) -> Result<Running, DataError> {
    let Prepare { model: name, release, document, artifact, golden, baseline } = prepare;
    check_identity(&name, &document, artifact.digest())?;
    let admitted =
        admit(artifact, &admission(&document, policy)).map_err(|error| DataError::model(&error))?;
    if let Some(difference) = document.contract.difference(admitted.card()) {
        return Err(DataError::Contract(difference));
    }
    let started = Instant::now();
    let model = engine.compile(admitted).map_err(|error| DataError::model(&error))?;
    let compiled = started.elapsed();
    let golden_vectors = match golden {
        Some(bytes) => golden::prove(&model, &bytes)?,
        None => 0,
    };
    let watch = baseline.map(|bytes| watch(&model, &bytes)).transpose()?;
    let started = Instant::now();
    let instance = model.instantiate().map_err(|error| DataError::model(&error))?;
    let prepared = Prepared {
        compile_us: micros(compiled),
        instantiate_us: micros(started.elapsed()),
        golden_vectors,
        memory_bytes: instance.memory_bytes(),
    };
    let description = Description {
        model: name,
        release,
        version: document.version,
        artifact: model.digest(),
        card: model.card().clone(),
        max_samples: max_samples(model.card()),
    };
    let tally = Shared::new(prepared.memory_bytes, watch)?;
    Running::start(Start {
        description,
        prepared,
        model,
        instance,
        contract: document.contract,
        tally,
        queue_requests: policy.queue_requests,
    })
}

/// The parts of the message belong together. The artifact's digest is compared once more here, because
/// in a process of its own this is the first place that sees it.
fn check_identity(model: &ModelName, document: &Release, artifact: Digest) -> Result<(), DataError> {
    if document.model != *model {
        return Err(DataError::Contract(format!(
            "the release is of model {}, not of {model}",
            document.model
        )));
    }
    if document.artifact.digest != artifact {
        let signed = document.artifact.digest;
        return Err(DataError::Contract(format!("the artifact is {artifact}, the release signs {signed}")));
    }
    Ok(())
}

/// The terms of the release, tightened by the device's own.
fn admission(document: &Release, policy: Policy) -> Admission {
    let signed = &document.limits;
    Admission {
        limits: Limits {
            memory_bytes: signed.memory_bytes.min(policy.memory_bytes),
            table_elements: signed.table_elements,
            stack_bytes: signed.stack_bytes,
            deadline: Duration::from_micros(signed.deadline_us.min(policy.deadline_us)),
            log_lines_per_s: signed.log_lines_per_s,
            metrics_per_s: signed.metrics_per_s,
        },
        imports: document.imports.clone(),
        card_digest: Some(document.card_digest),
    }
}

fn watch(model: &CompiledModel, bytes: &[u8]) -> Result<Watch, DataError> {
    let baseline = Baseline::decode(bytes).map_err(|error| DataError::model(&error))?;
    baseline.check_card(model.card()).map_err(|error| DataError::model(&error))?;
    let monitor = Monitor::new(baseline, MonitorConfig::default());
    Ok(Watch { baseline: Digest::of(bytes), monitor })
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
