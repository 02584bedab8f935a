//! A release that is loaded: its queue, and the threads behind it.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use dunlin_abi::State;
use dunlin_core::code::Coded as _;
use dunlin_core::document::Contract;
use dunlin_sandbox::CompiledModel;

use super::instance::{self, Worker};
use super::instances::Instances;
use super::message::{DataError, Description, Inferred, Interval, Observation, Phase, Prepared, Tensor};
use super::pace::Pace;
use super::plane::{Reply, spawn};
use super::queue::{Queue, Refused};
use super::seats::Seats;
use super::sequence::Sequence;
use super::tally::Shared;
use crate::worker::Place;

/// A request on its way to a model.
pub(super) struct Job {
    pub inputs: Vec<Tensor>,
    pub sequence: Option<Sequence>,
    pub received: Instant,
    reply: Reply<Inferred>,
}

impl Job {
    pub(super) fn new(inputs: Vec<Tensor>, sequence: Option<Sequence>, reply: Reply<Inferred>) -> Job {
        Job { inputs, sequence, received: Instant::now(), reply }
    }

    /// Who asked may have gone; then there is nobody to tell.
    pub(super) fn answer(self, result: Result<Inferred, DataError>) {
        drop(self.reply.send(result));
    }

    /// Whether nobody waits for the answer any more: the caller hung up while it was queued.
    pub(super) fn is_given_up(&self) -> bool {
        self.reply.is_closed()
    }
}

/// The near end of a release: requests go in, counts come out.
pub(super) struct Running {
    description: Arc<Description>,
    prepared: Prepared,
    queue: Queue<Job, Worker>,
    pace: Arc<Pace>,
    queue_requests: usize,
    seats: Seats,
    tally: Shared,
    threads: Vec<JoinHandle<()>>,
}

/// What a release is started with: one thread for each of `instances`.
pub(super) struct Start {
    pub description: Description,
    pub prepared: Prepared,
    pub model: CompiledModel,
    pub instances: Vec<(Instances, Place)>,
    pub contract: Contract,
    pub tally: Shared,
    pub queue_requests: usize,
    pub seats: Seats,
}

impl Running {
    /// Starts the threads.
    pub(super) fn start(start: Start) -> Result<Running, DataError> {
        let Start { description, prepared, model, instances, contract, tally, queue_requests, seats } = start;
        let (description, contract) = (Arc::new(description), Arc::new(contract));
        let pace = Arc::new(Pace::default());
        let workers = instances.into_iter().enumerate().map(|(number, (instances, place))| Worker {
            number,
            description: description.clone(),
            model: model.clone(),
            instances,
            place,
            contract: contract.clone(),
            tally: tally.clone(),
            pace: pace.clone(),
        });
        let (queue, takers) = Queue::new(queue_requests, workers.collect());
        let name = format!("model-{}", description.model);
        let run = match description.card.state {
            State::None => instance::run,
            State::Stream => instance::run_streams,
        };
        let mut threads = Vec::with_capacity(takers.len());
        for jobs in takers {
            // Where one cannot be started, the queue is closed, and those before it end.
            threads.push(spawn(&name, move || run(&jobs)).inspect_err(|_| queue.close())?);
        }
        Ok(Running { description, prepared, queue, pace, queue_requests, seats, tally, threads })
    }

    pub(super) fn description(&self) -> &Arc<Description> {
        &self.description
    }

    pub(super) fn prepared(&self) -> Prepared {
        self.prepared
    }

    /// Serves a request of a quick model on the spot, where no request waits before it and a thread of the API is
    /// left for others; queues another, or hands it back at once.
    pub(super) fn accept(&self, job: Job) -> Result<(), Refused<Job>> {
        if self.pace.is_quick()
            && let Some(_seat) = self.seats.take()
            && let Some(worker) = self.queue.lend()
        {
            worker.get().serve(job);
            return Ok(());
        }
        self.queue.give(job)
    }

    /// The error of a request that was handed back because the queue is full; counts it.
    pub(super) fn busy(&self) -> DataError {
        let (model, waiting) = (self.description.model.clone(), self.queue_requests);
        let error = DataError::Busy { model, waiting };
        self.tally.rejected(error.code());
        error
    }

    /// Takes no more; what is queued is still answered.
    pub(super) fn end(&self) {
        self.queue.close();
    }

    pub(super) fn has_ended(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    pub(super) fn observe(&self, phase: Phase, interval: Interval) -> Observation {
        let mut tally = self.tally.lock();
        Observation {
            model: self.description.model.clone(),
            release: self.description.release,
            artifact: self.description.artifact,
            version: self.description.version.clone(),
            phase,
            counters: tally.counters.clone(),
            restarts: tally.restarts,
            requests: tally.requests,
            latency: tally.latency(interval),
            memory_bytes: tally.all_memory_bytes(),
            drift: tally.drift(interval),
            metrics: tally.metrics(interval),
            log: tally.lines(interval),
            unheard: tally.unheard,
        }
    }
}

/// The threads answer what they have, and end.
impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}
