//! One running model: a memory, the addresses of its tensors, and calls into it.
//!
//! Tensors are written and read in place; nothing is copied. Every entry into guest code sets the
//! deadline anew. Invariant: after a trap nothing of the guest is used again, neither code nor memory.

use core::fmt;
use std::time::{Duration, Instant};

use dunlin_abi::{Card, Dim, MAX_ERROR_BYTES, TensorSpec, export};
use wasmtime::{Memory, Store, TypedFunc, UpdateDeadline, WasmParams, WasmResults};

use crate::call::{CallError, Stop};
use crate::compiled::CompiledModel;
use crate::host::Host;
use crate::limits::MAX_STACK_BYTES;
use crate::region::{Region, check_disjoint};
use crate::speech::{Logs, Metrics, clean};

/// One instance of a model. It may move between threads, and is used by one at a time; each needs
/// [`NATIVE_STACK_BYTES`](crate::NATIVE_STACK_BYTES) of native stack.
pub struct Instance {
    model: CompiledModel,
    store: Store<Host>,
    guest: Guest,
    inputs: Vec<Region>,
    outputs: Vec<Output>,
    /// The address of the message for traps, if the model exports one.
    error_address: Option<u32>,
    /// The samples of the last call, if it succeeded.
    samples: u32,
    poisoned: bool,
}

/// What is called and read in the guest.
struct Guest {
    /// For exports that are not the ABI's.
    wasm: wasmtime::Instance,
    memory: Memory,
    infer: TypedFunc<u32, i32>,
    dim: Option<TypedFunc<(u32, u32), i32>>,
    reset: Option<TypedFunc<(), ()>>,
}

/// One output: its place, and what its axes were in the last call.
struct Output {
    region: Region,
    /// The extents of one sample, without the batch axis.
    extents: Vec<u32>,
}

impl Instance {
    pub(crate) fn new(model: CompiledModel) -> Result<Instance, CallError> {
        let mut store = Store::new(model.template().module().engine(), Host::new(model.limits()));
        store.limiter(|host| host);
        // The epoch says when to look, the clock what time it is: ticks that are late stop nothing later.
        store.epoch_deadline_callback(|store| match store.data().is_late() {
            true => Ok(UpdateDeadline::Interrupt),
            false => Ok(UpdateDeadline::Continue(1)),
        });
        let wasm = entered(&model, &mut store, |store| model.template().instantiate(store))
            .map_err(|stop| stopped(&model, &store, stop, None))?;

        let memory = wasm.get_memory(&mut store, export::MEMORY).ok_or_else(|| missing(export::MEMORY))?;
        let guest = Guest {
            wasm,
            memory,
            infer: function(&wasm, &mut store, export::INFER)?.ok_or_else(|| missing(export::INFER))?,
            dim: function(&wasm, &mut store, export::DIM)?,
            reset: function(&wasm, &mut store, export::RESET)?,
        };
        let mut instance = Instance {
            model,
            store,
            guest,
            inputs: Vec::new(),
            outputs: Vec::new(),
            error_address: None,
            samples: 0,
            poisoned: false,
        };
        instance.initialise(&wasm)?;
        Ok(instance)
    }

    /// `_initialize`, `dunlin_init`, then the addresses, in this order and once.
    fn initialise(&mut self, wasm: &wasmtime::Instance) -> Result<(), CallError> {
        if let Some(initialize) = function::<(), ()>(wasm, &mut self.store, export::INITIALIZE)? {
            self.call(&initialize, ())?;
        }
        if let Some(init) = function::<(), i32>(wasm, &mut self.store, export::INIT)? {
            check_status(self.call(&init, ())?)?;
        }
        if let Some(error) = function::<(), u32>(wasm, &mut self.store, export::ERROR)? {
            self.error_address = Some(self.call(&error, ())?);
        }
        let model = self.model.clone();
        let card = model.card();
        self.inputs = self.regions(wasm, "input", &card.inputs)?;
        let outputs = self.regions(wasm, "output", &card.outputs)?;
        let inputs = card.inputs.iter().zip(&self.inputs).map(|(tensor, region)| ("input", tensor, region));
        let others = card.outputs.iter().zip(&outputs).map(|(tensor, region)| ("output", tensor, region));
        check_disjoint(inputs.chain(others))?;
        self.outputs = outputs
            .into_iter()
            .zip(&card.outputs)
            .map(|(region, tensor)| Output { region, extents: greatest_extents(tensor) })
            .collect();
        Ok(())
    }

    /// Where the tensors of one kind, `input` or `output`, lie.
    fn regions(
        &mut self,
        wasm: &wasmtime::Instance,
        kind: &'static str,
        tensors: &[TensorSpec],
    ) -> Result<Vec<Region>, CallError> {
        let name = if kind == "input" { export::INPUT } else { export::OUTPUT };
        let address_of = function::<u32, u32>(wasm, &mut self.store, name)?.ok_or_else(|| missing(name))?;
        let mut regions = Vec::with_capacity(tensors.len());
        for (index, tensor) in (0u32..).zip(tensors) {
            let address = self.call(&address_of, index)?;
            let memory_bytes = self.guest.memory.data_size(&self.store);
            regions.push(Region::new(self.card(), kind, tensor, address, memory_bytes)?);
        }
        Ok(regions)
    }

    /// What the model says of itself.
    pub fn card(&self) -> &Card {
        self.model.card()
    }

    /// The model that this is an instance of.
    pub fn model(&self) -> &CompiledModel {
        &self.model
    }

    /// The bytes of input `index`, to be written: `max_batch` samples, contiguous, little-endian and
    /// row-major. They keep their values between calls.
    ///
    /// # Errors
    /// No such input, or an earlier call trapped.
    pub fn input_mut(&mut self, index: usize) -> Result<&mut [u8], CallError> {
        self.check_sound()?;
        let region = find(&self.inputs, index, "input")?;
        let range = region.first(region.bytes);
        self.guest.memory.data_mut(&mut self.store).get_mut(range).ok_or_else(gone)
    }

    /// The bytes of input `index`, all `max_batch` samples.
    ///
    /// # Errors
    /// No such input, or an earlier call trapped.
    pub fn input(&self, index: usize) -> Result<&[u8], CallError> {
        self.check_sound()?;
        let region = find(&self.inputs, index, "input")?;
        self.guest.memory.data(&self.store).get(region.first(region.bytes)).ok_or_else(gone)
    }

    /// Computes the outputs of the first `samples` samples.
    ///
    /// # Errors
    /// Not 1 to `max_batch` samples; a status of the model; a trap, after which the instance is
    /// poisoned; an extent above the card's.
    pub fn infer(&mut self, samples: u32) -> Result<(), CallError> {
        let most = self.card().max_batch;
        if !(1..=most).contains(&samples) {
            return Err(CallError::Batch { samples, most });
        }
        self.samples = 0;
        let infer = self.guest.infer.clone();
        check_status(self.call(&infer, samples)?)?;
        if let Some(dim) = self.guest.dim.clone() {
            self.read_extents(&dim)?;
        }
        self.samples = samples;
        Ok(())
    }

    /// Asks for the extents of all data-dependent axes.
    fn read_extents(&mut self, dim: &TypedFunc<(u32, u32), i32>) -> Result<(), CallError> {
        let model = self.model.clone();
        for (output, (index, tensor)) in (0u32..).zip(&model.card().outputs).enumerate() {
            let axes = (0u32..).zip(&tensor.shape).filter(|(_, dim)| **dim != Dim::Batch);
            for (place, (axis, extent)) in axes.enumerate() {
                let Dim::AtMost(max) = *extent else { continue };
                let got = self.call(dim, (index, axis))?;
                let good = u32::try_from(got).ok().filter(|got| *got <= max);
                let Some(good) = good else {
                    return Err(CallError::Dim { output: tensor.name.clone(), axis, extent: got, max });
                };
                if let Some(slot) = self.outputs.get_mut(output).and_then(|o| o.extents.get_mut(place)) {
                    *slot = good;
                }
            }
        }
        Ok(())
    }

    /// The bytes of output `index` for the first `samples` samples of the last call.
    ///
    /// # Errors
    /// No such output, more samples than the last call had, or it failed.
    pub fn output(&self, index: usize, samples: u32) -> Result<&[u8], CallError> {
        let output = self.computed(index, samples)?;
        let elements = output.extents.iter().map(|extent| *extent as usize).product::<usize>();
        let size = self.card().outputs.get(index).map_or(0, |tensor| tensor.dtype.size() as usize);
        let sample_bytes = elements.saturating_mul(size).min(output.region.sample_bytes);
        let range = output.region.first(sample_bytes.saturating_mul(samples as usize));
        self.guest.memory.data(&self.store).get(range).ok_or_else(gone)
    }

    /// The shape of output `index` for the first `samples` samples of the last call, with the extents
    /// that data-dependent axes had there.
    ///
    /// # Errors
    /// No such output, more samples than the last call had, or it failed.
    pub fn output_shape(&self, index: usize, samples: u32) -> Result<Vec<u32>, CallError> {
        let output = self.computed(index, samples)?;
        let batched = self.card().outputs.get(index).is_some_and(TensorSpec::is_batched);
        Ok(batched.then_some(samples).into_iter().chain(output.extents.iter().copied()).collect())
    }

    fn computed(&self, index: usize, samples: u32) -> Result<&Output, CallError> {
        self.check_sound()?;
        if !(1..=self.samples).contains(&samples) {
            return Err(CallError::Batch { samples, most: self.samples });
        }
        find(&self.outputs, index, "output")
    }

    /// Makes a `stream` model forget what it has seen; nothing to do for others.
    ///
    /// # Errors
    /// A trap, after which the instance is poisoned.
    pub fn reset(&mut self) -> Result<(), CallError> {
        self.check_sound()?;
        match self.guest.reset.clone() {
            Some(reset) => self.call(&reset, ()),
            None => Ok(()),
        }
    }

    /// A tool for testing, never on a device: sets every byte of every output region, so that what a call does
    /// not write can be told from what it does.
    ///
    /// # Errors
    /// An earlier call trapped.
    pub fn fill_outputs(&mut self, byte: u8) -> Result<(), CallError> {
        self.check_sound()?;
        self.samples = 0;
        for output in &self.outputs {
            let range = output.region.first(output.region.bytes);
            let bytes = self.guest.memory.data_mut(&mut self.store).get_mut(range).ok_or_else(gone)?;
            bytes.fill(byte);
        }
        Ok(())
    }

    /// A tool for measuring, never on a device: calls an export `(times: i32) -> ()` that is not the
    /// ABI's, and gives the time of the call. It has the limits and the deadline of any other call.
    ///
    /// # Errors
    /// No export of this name and type; a trap, after which the instance is poisoned.
    pub fn time(&mut self, export: &str, times: u32) -> Result<Duration, CallError> {
        self.samples = 0;
        let wasm = self.guest.wasm;
        let function = function::<u32, ()>(&wasm, &mut self.store, export)?.ok_or_else(|| missing(export))?;
        let start = Instant::now();
        self.call(&function, times)?;
        Ok(start.elapsed())
    }

    /// What `dunlin.clock` tells the guest from now on, in milliseconds; 0 at first. The meaning of
    /// 0 is the caller's.
    pub fn set_clock_ms(&mut self, now_ms: i64) {
        self.store.data_mut().clock_ms = now_ms;
    }

    /// The least address of a tensor.
    pub fn lowest_tensor(&self) -> Option<u32> {
        let outputs = self.outputs.iter().map(|output| &output.region);
        self.inputs.iter().chain(outputs).map(|region| u32::try_from(region.start).ok()).min().flatten()
    }

    /// The linear memory as it is now, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.guest.memory.data_size(&self.store) as u64
    }

    /// Whether a call trapped, so that only a new instance helps.
    pub fn is_poisoned(&self) -> bool {
        self.poisoned
    }

    /// What the guest logged since this was last called.
    pub fn take_logs(&mut self) -> Logs {
        self.store.data_mut().speech.take_logs()
    }

    /// The metrics that the guest reported since this was last called.
    pub fn take_metrics(&mut self) -> Metrics {
        self.store.data_mut().speech.take_metrics()
    }

    fn check_sound(&self) -> Result<(), CallError> {
        if self.poisoned { Err(CallError::Poisoned) } else { Ok(()) }
    }

    /// Enters the guest, with a new deadline; a trap poisons the instance.
    fn call<P: WasmParams, R: WasmResults>(
        &mut self,
        function: &TypedFunc<P, R>,
        params: P,
    ) -> Result<R, CallError> {
        self.check_sound()?;
        self.store.data_mut().denied_bytes = None;
        entered(&self.model, &mut self.store, |store| function.call(store, params)).map_err(|stop| {
            self.poisoned = true;
            stopped(&self.model, &self.store, stop, self.error_message())
        })
    }

    /// `{len: u32, [u8; len]}` at the address of `dunlin_error`, if all of it is in memory.
    fn error_message(&self) -> Option<String> {
        let memory = self.guest.memory.data(&self.store);
        let start = self.error_address? as usize;
        let (length, rest) = memory.get(start..)?.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length);
        if length == 0 || length > MAX_ERROR_BYTES {
            return None;
        }
        rest.get(..length as usize).map(clean)
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("model", &self.model)
            .field("poisoned", &self.poisoned)
            .finish_non_exhaustive()
    }
}

/// Runs guest code, with a new deadline where it looks at the clock.
fn entered<R>(
    model: &CompiledModel,
    store: &mut Store<Host>,
    enter: impl FnOnce(&mut Store<Host>) -> wasmtime::Result<R>,
) -> Result<R, Stop> {
    if let Some(deadline) = model.deadline() {
        // None is a time that this clock will never show.
        store.data_mut().deadline = Instant::now().checked_add(deadline);
    }
    let _running = model.is_interruptible().then(|| {
        store.set_epoch_deadline(1);
        model.engine().ticker().running()
    });
    enter(store).map_err(|error| Stop::of(&error))
}

/// A stop as the caller sees it, with the limits that it met.
fn stopped(model: &CompiledModel, store: &Store<Host>, stop: Stop, message: Option<String>) -> CallError {
    let limits = model.limits();
    match (stop, store.data().denied_bytes) {
        (Stop::Deadline, _) => CallError::Deadline { deadline: limits.deadline },
        (Stop::Stack { place }, _) => CallError::Stack { stack_bytes: MAX_STACK_BYTES, place },
        (Stop::Trap { kind, place, frames }, Some(wanted)) => {
            let (wanted, limit) = (wanted as u64, limits.memory_bytes);
            CallError::OutOfMemory { wanted, limit, kind, place, message, frames }
        }
        (Stop::Trap { kind, place, frames }, None) => CallError::Trap { kind, place, message, frames },
        (Stop::Host(what), _) => CallError::Engine(what),
    }
}

/// An exported function, if there is one; admission has checked its type.
fn function<P: WasmParams, R: WasmResults>(
    wasm: &wasmtime::Instance,
    store: &mut Store<Host>,
    name: &str,
) -> Result<Option<TypedFunc<P, R>>, CallError> {
    match wasm.get_func(&mut *store, name) {
        None => Ok(None),
        Some(function) => function
            .typed(&*store)
            .map(Some)
            .map_err(|error| CallError::Engine(format!("export {name:?}: {error:#}"))),
    }
}

fn missing(name: &str) -> CallError {
    CallError::Engine(format!("export {name:?} is missing"))
}

/// Memory does not shrink, so that a region which was inside once stays there.
fn gone() -> CallError {
    CallError::Engine("a tensor is no longer inside of memory".into())
}

fn check_status(status: i32) -> Result<(), CallError> {
    match u8::try_from(status) {
        Ok(0) => Ok(()),
        Ok(status) => Err(CallError::Model { status }),
        Err(_) => Err(CallError::ReservedStatus { status }),
    }
}

/// The greatest extents of one sample.
fn greatest_extents(tensor: &TensorSpec) -> Vec<u32> {
    let extents = tensor.shape.iter().filter_map(|dim| match dim {
        Dim::Batch => None,
        Dim::Fixed(extent) | Dim::AtMost(extent) => Some(*extent),
    });
    extents.collect()
}

fn find<'a, T>(tensors: &'a [T], index: usize, kind: &'static str) -> Result<&'a T, CallError> {
    tensors.get(index).ok_or(CallError::TensorIndex { kind, index, count: tensors.len() })
}
