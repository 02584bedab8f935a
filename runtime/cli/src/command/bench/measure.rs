//! Loads a module the way a device does, and measures each step and many calls.

use std::time::{Duration, Instant};

use dunlin_abi::{DType, TensorSpec};
use dunlin_core::VerifiedArtifact;
use dunlin_fleet::run::local_limits;
use dunlin_sandbox::{Admission, Engine, Instance};

use crate::command::device::DeviceArguments;
use crate::compiled::{Compiled, compiled};
use crate::failure::{Failure, Outcome};

/// How long calls are measured.
pub(super) const MEASURE: Duration = Duration::from_secs(1);

/// The least number of calls that are measured.
const MIN_CALLS: usize = 50;

/// What was measured.
#[derive(serde::Serialize)]
pub(super) struct Figures {
    /// Reading and checking the module.
    pub(super) load_us: f64,
    /// Compiling it to native code.
    pub(super) compile_us: f64,
    /// The first instance, its initialisation included.
    pub(super) instantiate_us: f64,
    /// The median of a call.
    pub(super) p50_us: f64,
    /// The 99th percentile of a call.
    pub(super) p99_us: f64,
    /// Linear memory of the instance.
    pub(super) guest_bytes: u64,
    /// By how much this process grew from before loading to after the calls, where the system tells.
    pub(super) resident_bytes: Option<u64>,
    /// How many calls were measured.
    pub(super) calls: usize,
    /// Whether the code has checks for its deadline, because it is not proven to end in time.
    pub(super) interruptible: bool,
}

/// A module that is loaded, with its inputs filled.
pub(super) struct Loaded {
    /// Its clock ends calls that take too long: it lives as long as the instance.
    _engine: Engine,
    pub(super) instance: Instance,
    load_us: f64,
    compile_us: f64,
    instantiate_us: f64,
}

impl Loaded {
    /// Loads it under the limits of a developer's machine, with `patience` times the deadline.
    pub(super) fn patiently(bytes: Vec<u8>, patience: u32) -> Outcome<Loaded> {
        let summary = dunlin_sandbox::inspect(&bytes)?;
        let (mut limits, imports) = (local_limits(&summary), summary.imports);
        limits.deadline = limits.deadline.saturating_mul(patience);
        Loaded::new(bytes, &Admission { limits, imports, card_digest: None })
    }

    /// Loads it on these terms.
    fn new(bytes: Vec<u8>, admission: &Admission) -> Outcome<Loaded> {
        let start = Instant::now();
        dunlin_sandbox::admit(VerifiedArtifact::trust_local(bytes.clone()), admission)?;
        let load_us = micros(start);
        let Compiled { engine, model, took } = compiled(bytes, admission)?;
        let compile_us = took.as_secs_f64() * 1e6;
        let start = Instant::now();
        let mut instance = model.instantiate()?;
        let instantiate_us = micros(start);
        for (index, spec) in model.card().inputs.iter().enumerate() {
            fill(spec, instance.input_mut(index)?);
        }
        Ok(Loaded { _engine: engine, instance, load_us, compile_us, instantiate_us })
    }
}

/// Measures all of it.
pub(super) fn measure(bytes: Vec<u8>, batch: u32, device: &DeviceArguments) -> Outcome<Figures> {
    let before = resident_bytes();
    let mut loaded = match device.is_given() {
        true => {
            let terms = device.admission(&dunlin_sandbox::inspect(&bytes)?)?;
            Loaded::new(bytes, &terms)?
        }
        false => Loaded::patiently(bytes, 1)?,
    };
    let most = loaded.instance.card().max_batch;
    if !(1..=most).contains(&batch) {
        return Err(Failure::usage(format!("--batch is {batch}, the module takes 1 to {most}")));
    }
    let mut times = calls(&mut loaded.instance, batch)?;
    times.sort_by(f64::total_cmp);
    let growth = before.zip(resident_bytes()).map(|(before, after)| after.saturating_sub(before));
    Ok(Figures {
        load_us: loaded.load_us,
        compile_us: loaded.compile_us,
        instantiate_us: loaded.instantiate_us,
        p50_us: quantile(&times, 0.5),
        p99_us: quantile(&times, 0.99),
        guest_bytes: loaded.instance.memory_bytes(),
        resident_bytes: growth,
        calls: times.len(),
        interruptible: loaded.instance.model().is_interruptible(),
    })
}

fn calls(instance: &mut Instance, batch: u32) -> Outcome<Vec<f64>> {
    let warm = Instant::now();
    while warm.elapsed() < MEASURE / 10 {
        instance.infer(batch)?;
    }
    let (mut times, begin) = (Vec::new(), Instant::now());
    while times.len() < MIN_CALLS || begin.elapsed() < MEASURE {
        let start = Instant::now();
        instance.infer(batch)?;
        times.push(micros(start));
    }
    Ok(times)
}

/// Of numbers in order, at least one.
pub(super) fn quantile(sorted: &[f64], q: f64) -> f64 {
    sorted.get((sorted.len().saturating_sub(1) as f64 * q).round() as usize).copied().unwrap_or(0.0)
}

fn micros(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e6
}

/// `VmRSS` of this process, where there is a `/proc`.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Pseudo-random numbers in the tensor's range, the same in every run: zeros would flatter some kernels.
fn fill(spec: &TensorSpec, bytes: &mut [u8]) {
    let [low, high] = spec.range.unwrap_or([0.0, 1.0]);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for element in bytes.chunks_exact_mut(spec.dtype.size() as usize) {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let value = low + (high - low) * ((state >> 40) as f64 / (1u64 << 24) as f64);
        match spec.dtype {
            DType::F32 => element.copy_from_slice(&(value as f32).to_le_bytes()),
            DType::F64 => element.copy_from_slice(&value.to_le_bytes()),
            DType::I8 | DType::I16 | DType::I32 | DType::I64 => {
                element.copy_from_slice(&(value as i64).to_le_bytes()[..element.len()]);
            }
            DType::U8 | DType::U16 | DType::U32 | DType::U64 | DType::Bool => {
                element.copy_from_slice(&(value as u64).to_le_bytes()[..element.len()]);
            }
        }
    }
}
