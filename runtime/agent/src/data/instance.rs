//! One instance of a model at work, and the thread that waits for requests to it.
//!
//! A request at a time: check, call, check, count, answer, and only then look for drift. The thread takes
//! requests from the bounded queue of its release; when that is closed it answers what is left and ends. A call
//! that leaves an instance unusable costs the instance: a model without state gets a new one, and while
//! that fails, every request is answered with the failure, and tries again; a stream is lost, and its next
//! request is told so.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dunlin_core::code::Coded as _;
use dunlin_core::document::Contract;
use dunlin_core::drift::values;
use dunlin_sandbox::{CallError, CompiledModel, Instance, validate_output};

use super::input::{self, Batch};
use super::instances::{Instances, Way};
use super::message::{DataError, Description, Inferred, Tensor};
use super::pace::Pace;
use super::queue::{Taken, Taker};
use super::running::Job;
use super::sequence::Sequence;
use super::tally::{Shared, Watch};
use crate::worker::Place;

/// What serves requests: the instance of a model without state, or all streams of one with it.
pub(super) struct Worker {
    /// Its number among those of the release.
    pub number: usize,
    pub description: Arc<Description>,
    pub model: CompiledModel,
    pub instances: Instances,
    /// Where it says that it is in a call.
    pub place: Place,
    pub contract: Arc<Contract>,
    pub tally: Shared,
    pub pace: Arc<Pace>,
}

/// The thread of a model without state. Between requests the worker is anybody's who brings one.
pub(super) fn run(jobs: &Taker<Job, Worker>) {
    while let Some((job, worker)) = jobs.next() {
        if !job.is_given_up() {
            worker.get().serve(job);
        }
    }
}

/// The thread of a model with streams. It keeps the worker, to give up what is idle in time.
pub(super) fn run_streams(jobs: &Taker<Job, Worker>) {
    let Some(worker) = jobs.keep() else { return };
    let mut worker = worker.get();
    loop {
        match jobs.take(worker.instances.patience()) {
            Taken::Item(job) => {
                if !job.is_given_up() {
                    worker.serve(job);
                }
            }
            Taken::Nothing => {
                worker.instances.tick();
                worker.tally.lock().holds(worker.number, worker.instances.memory_bytes());
            }
            Taken::End => return,
        }
    }
}

impl Worker {
    /// What is wrong with a request is the caller's fault until it is admitted.
    fn admit(&mut self, job: &mut Job) -> Result<(Batch, Way), DataError> {
        let given = std::mem::take(&mut job.inputs);
        let batch = input::check(&self.contract, self.description.max_samples, given)?;
        Ok((batch, self.instances.admit(job.sequence.as_ref())?))
    }

    /// Answers a request.
    pub(super) fn serve(&mut self, job: Job) {
        let began = Instant::now();
        self.answer(job);
        self.pace.took(began.elapsed());
    }

    fn answer(&mut self, mut job: Job) {
        let (batch, way) = match self.admit(&mut job) {
            Ok(admitted) => admitted,
            Err(error) => {
                self.tally.rejected(error.code());
                return job.answer(Err(error));
            }
        };
        let sequence = job.sequence.take();
        let queued = job.received.elapsed();
        let started = Instant::now();
        let result = self.call(&batch, way);
        let called = started.elapsed();
        self.count(&batch, sequence.as_ref(), &result, (queued, called));
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
            }
        }
        self.settle(sequence.as_ref());
    }

    /// Runs all samples, in slices of `max_batch`.
    fn call(&mut self, batch: &Batch, way: Way) -> Result<Vec<Tensor>, DataError> {
        let ready = self.instances.ready(way, &self.model, &self.place);
        let instance = ready.map_err(|error| DataError::model(&error))?;
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

    fn count(
        &mut self,
        batch: &Batch,
        sequence: Option<&Sequence>,
        result: &Result<Vec<Tensor>, DataError>,
        (queued, called): (Duration, Duration),
    ) {
        let now_unix_ms = u64::try_from(unix_ms()).unwrap_or(0);
        let memory_bytes = self.instances.memory_bytes();
        let mut tally = self.tally.lock();
        tally.ended(result.is_ok(), micros(queued), micros(called), now_unix_ms);
        match result {
            Ok(_) => tally.counters.answered(batch.samples.into()),
            Err(error) => tally.counters.failed(error.code()),
        }
        tally.holds(self.number, memory_bytes);
        if let Some(instance) = self.instances.current(sequence) {
            let (logs, metrics) = (instance.take_logs(), instance.take_metrics());
            tally.heard(logs, metrics);
        }
    }

    /// Gives up what the call has ended or damaged, and makes anew what the next one needs.
    fn settle(&mut self, sequence: Option<&Sequence>) {
        let damaged = self.instances.settle(sequence);
        if damaged {
            self.tally.lock().restarts += 1;
            if let Err(error) = self.instances.renew(&self.model, &self.place) {
                tracing::error!(model = %self.description.model, %error, "no new instance; the next request tries again");
            }
        }
        if damaged || sequence.is_some_and(|sequence| sequence.end) {
            self.tally.lock().holds(self.number, self.instances.memory_bytes());
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
