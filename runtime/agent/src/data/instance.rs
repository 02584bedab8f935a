//! One instance of a model on a thread of its own.
//!
//! The thread takes requests from a bounded queue, one at a time: check, call, check, count, answer,
//! and only then look for drift. When the queue's other end is dropped it answers what is left and
//! ends. After a call that leaves the instance unusable it makes a new one; while that fails, every
//! request is answered with the failure, and tries again.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dunlin_core::code::Coded as _;
use dunlin_core::document::Contract;
use dunlin_core::drift::values;
use dunlin_sandbox::{CallError, CompiledModel, Instance, validate_output};

use super::input::{self, Batch};
use super::message::{DataError, Description, Inferred, Interval, Observation, Phase, Prepared, Tensor};
use super::plane::{Reply, spawn};
use super::tally::{Shared, Watch};
use crate::worker::Place;

/// A request on its way to a model.
pub(super) struct Job {
    inputs: Vec<Tensor>,
    received: Instant,
    reply: Reply<Inferred>,
}

impl Job {
    pub(super) fn new(inputs: Vec<Tensor>, reply: Reply<Inferred>) -> Job {
        Job { inputs, received: Instant::now(), reply }
    }

    /// Who asked may have gone; then there is nobody to tell.
    fn answer(self, result: Result<Inferred, DataError>) {
        drop(self.reply.send(result));
    }
}

/// The router's end of an instance.
pub(super) struct Running {
    description: Description,
    prepared: Prepared,
    queue: Option<SyncSender<Job>>,
    queue_requests: usize,
    tally: Shared,
    thread: JoinHandle<()>,
}

/// What an instance is started with.
pub(super) struct Start {
    pub description: Description,
    pub prepared: Prepared,
    pub model: CompiledModel,
    pub instance: Instance,
    pub place: Place,
    pub contract: Contract,
    pub tally: Shared,
    pub queue_requests: usize,
}

impl Running {
    /// Starts the thread.
    pub(super) fn start(start: Start) -> Result<Running, DataError> {
        let Start { description, prepared, model, instance, place, contract, tally, queue_requests } = start;
        let (queue, jobs) = sync_channel(queue_requests.max(1));
        let worker = Worker {
            description: description.clone(),
            model,
            instance: Some(instance),
            place,
            contract,
            tally: tally.clone(),
        };
        let thread = spawn(&format!("model-{}", description.model), move || worker.run(&jobs))?;
        Ok(Running { description, prepared, queue: Some(queue), queue_requests, tally, thread })
    }

    pub(super) fn description(&self) -> &Description {
        &self.description
    }

    pub(super) fn prepared(&self) -> Prepared {
        self.prepared
    }

    /// Queues a request, or refuses it at once.
    pub(super) fn accept(&self, job: Job) {
        let model = || self.description.model.clone();
        let Some(queue) = &self.queue else {
            return job.answer(Err(DataError::NotReady(model())));
        };
        match queue.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(job)) => {
                let error = DataError::Busy { model: model(), waiting: self.queue_requests };
                self.tally.rejected(error.code());
                job.answer(Err(error));
            }
            Err(TrySendError::Disconnected(job)) => {
                job.answer(Err(DataError::Ended(format!("the thread of model {} has ended", model()))));
            }
        }
    }

    /// Takes no more; what is queued is still answered.
    pub(super) fn end(&mut self) {
        self.queue = None;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.thread.is_finished()
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
            memory_bytes: tally.memory_bytes,
            drift: tally.drift(interval),
            metrics: tally.metrics.clone(),
            log: tally.lines(interval),
            unheard: tally.unheard,
        }
    }
}

/// The thread's end.
struct Worker {
    description: Description,
    model: CompiledModel,
    /// `None` after a failure, until a new one could be made.
    instance: Option<Instance>,
    /// Where it says that it is in a call.
    place: Place,
    contract: Contract,
    tally: Shared,
}

impl Worker {
    fn run(mut self, jobs: &Receiver<Job>) {
        for job in jobs {
            // Nobody waits for the answer any more: the caller hung up while it was queued.
            if !job.reply.is_closed() {
                self.serve(job);
            }
        }
    }

    fn serve(&mut self, mut job: Job) {
        let given = std::mem::take(&mut job.inputs);
        let batch = match input::check(&self.contract, self.description.max_samples, given) {
            Ok(batch) => batch,
            Err(error) => {
                self.tally.rejected(error.code());
                return job.answer(Err(error.into()));
            }
        };
        let queued = job.received.elapsed();
        let started = Instant::now();
        let result = self.call(&batch);
        let called = started.elapsed();
        self.count(&batch, &result);
        let now_unix_ms = u64::try_from(unix_ms()).unwrap_or(0);
        self.tally.lock().ended(result.is_ok(), micros(queued), micros(called), now_unix_ms);
        match result {
            Ok(outputs) => {
                let seen = self.tally.lock().watch.is_some().then(|| outputs.clone());
                job.answer(Ok(Inferred {
                    release: self.description.release,
                    version: self.description.version.clone(),
                    outputs,
                    queued_us: micros(queued),
                    called_us: micros(called),
                }));
                if let Some(outputs) = seen {
                    self.observe(&batch, &outputs);
                }
            }
            Err(error) => {
                // Counted and reported; a caller who repeats it shall not fill the log.
                tracing::debug!(model = %self.description.model, code = error.code().id, %error, "an inference failed");
                job.answer(Err(error));
                self.recover();
            }
        }
    }

    /// Runs all samples, in slices of `max_batch`.
    fn call(&mut self, batch: &Batch) -> Result<Vec<Tensor>, DataError> {
        let instance = match &mut self.instance {
            Some(instance) => instance,
            empty => {
                let made = self.place.during(|| self.model.instantiate());
                empty.insert(made.map_err(|error| DataError::model(&error))?)
            }
        };
        let card = &self.description.card;
        instance.set_clock_ms(unix_ms());
        let mut outputs: Vec<Tensor> = Vec::with_capacity(card.outputs.len());
        let mut done = 0;
        while done < batch.samples {
            let samples = (batch.samples - done).min(card.max_batch);
            let started = Instant::now();
            self.place
                .during(|| infer(instance, batch, done, samples))
                .map_err(|error| DataError::model(&error))?;
            self.tally.lock().called(started.elapsed());
            gather(instance, &self.contract, samples, &mut outputs)?;
            done += samples;
        }
        Ok(outputs)
    }

    fn count(&mut self, batch: &Batch, result: &Result<Vec<Tensor>, DataError>) {
        let mut tally = self.tally.lock();
        match result {
            Ok(_) => tally.counters.answered(batch.samples.into()),
            Err(error) => tally.counters.failed(error.code()),
        }
        if let Some(instance) = &mut self.instance {
            tally.memory_bytes = instance.memory_bytes();
            let (logs, metrics) = (instance.take_logs(), instance.take_metrics());
            tally.heard(logs, metrics);
        }
    }

    /// Makes a new instance where the old one is of no more use.
    fn recover(&mut self) {
        if !self.instance.as_ref().is_some_and(Instance::is_poisoned) {
            return;
        }
        self.instance = None;
        self.tally.lock().restarts += 1;
        match self.place.during(|| self.model.instantiate()) {
            Ok(instance) => self.instance = Some(instance),
            Err(error) => {
                tracing::error!(model = %self.description.model, %error, "no new instance; the next request tries again");
            }
        }
    }

    /// Counts a batch for drift. Locked anew for every sample, so that the router, which reads the
    /// same tally, waits for one sample at most.
    fn observe(&self, batch: &Batch, outputs: &[Tensor]) {
        let card = &self.description.card;
        for (index, (tensor, spec)) in batch.inputs.iter().zip(&card.inputs).enumerate() {
            for sample in samples_of(tensor, spec.is_batched()) {
                if let Some(Watch { monitor, .. }) = &mut self.tally.lock().watch {
                    monitor.observe_input(index, values(tensor.dtype, sample));
                }
            }
        }
        for (index, (tensor, spec)) in outputs.iter().zip(&card.outputs).enumerate() {
            for sample in samples_of(tensor, spec.is_batched()) {
                if let Some(Watch { monitor, .. }) = &mut self.tally.lock().watch {
                    monitor.observe_output(index, values(tensor.dtype, sample));
                }
            }
        }
    }
}

/// Writes `samples` samples, from `first` on, and computes.
fn infer(instance: &mut Instance, batch: &Batch, first: u32, samples: u32) -> Result<(), CallError> {
    for (index, tensor) in batch.inputs.iter().enumerate() {
        let batched = instance.card().inputs.get(index).is_some_and(|spec| spec.is_batched());
        let bytes = if batched { part(&tensor.bytes, batch.samples, first, samples) } else { &tensor.bytes };
        if let Some(place) = instance.input_mut(index)?.get_mut(..bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }
    instance.infer(samples)
}

/// Reads and checks the outputs of a call, and adds them to those of the slices before.
fn gather(
    instance: &Instance,
    contract: &Contract,
    samples: u32,
    outputs: &mut Vec<Tensor>,
) -> Result<(), DataError> {
    for (index, (spec, signed)) in instance.card().outputs.iter().zip(&contract.outputs).enumerate() {
        let bytes = instance.output(index, samples).map_err(|error| DataError::model(&error))?;
        validate_output(spec, signed.finite, signed.range, bytes)
            .map_err(|error| DataError::model(&error))?;
        let shape = instance.output_shape(index, samples).map_err(|error| DataError::model(&error))?;
        match outputs.get_mut(index) {
            Some(output) => {
                output.bytes.extend_from_slice(bytes);
                if let Some(extent) = output.shape.first_mut() {
                    *extent += samples;
                }
            }
            None => {
                let (name, dtype) = (spec.name.clone(), spec.dtype);
                outputs.push(Tensor { name, dtype, shape, bytes: bytes.to_vec() });
            }
        }
    }
    Ok(())
}

/// The bytes of some of a batch's samples.
fn part(bytes: &[u8], of: u32, first: u32, samples: u32) -> &[u8] {
    let (of, first, samples) = (of as usize, first as usize, samples as usize);
    let sample_bytes = bytes.len() / of.max(1);
    bytes.get(first * sample_bytes..(first + samples) * sample_bytes).unwrap_or_default()
}

/// The samples of a tensor, each as its bytes.
fn samples_of(tensor: &Tensor, batched: bool) -> impl Iterator<Item = &[u8]> {
    let count = if batched { tensor.shape.first().copied().unwrap_or(1) } else { 1 };
    let sample_bytes = tensor.bytes.len() / (count as usize).max(1);
    tensor.bytes.chunks_exact(sample_bytes.max(1))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The wall clock, for guests that were granted it; 0 before 1970.
fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
