//! `dunlin bench`: how fast a module is on this machine.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use dunlin_abi::TensorSpec;
use dunlin_core::VerifiedArtifact;
use dunlin_fleet::run::local_limits;
use dunlin_sandbox::{Admission, Engine, EngineConfig, Instance};

use crate::failure::{Failure, Outcome, on_file};
use crate::show;

/// How long calls are measured.
const MEASURE: Duration = Duration::from_secs(1);

/// The least number of calls that are measured.
const MIN_CALLS: usize = 50;

/// Measure a module on this machine: load, compile, instantiate and call
#[derive(Args)]
#[command(after_help = "Example:\n  dunlin bench digits.wasm --json\n  \
                        (times in microseconds; inputs are pseudo-random numbers in the declared ranges)")]
pub(crate) struct Arguments {
    /// The module
    module: PathBuf,
    /// The samples of one call
    #[arg(long, value_name = "N", default_value_t = 1)]
    batch: u32,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Figures {
    /// Reading and checking the module.
    load_us: f64,
    /// Compiling it to native code.
    compile_us: f64,
    /// The first instance, its initialisation included.
    instantiate_us: f64,
    /// The median of a call.
    p50_us: f64,
    /// The 99th percentile of a call.
    p99_us: f64,
    /// Linear memory of the instance.
    guest_bytes: u64,
    /// How many calls were measured.
    calls: usize,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let bytes = on_file("read", &arguments.module, std::fs::read(&arguments.module))?;
    let figures = measure(bytes, arguments.batch)?;
    if arguments.json {
        return show::json(&figures);
    }
    let mut table = show::table(&["step", "time"]);
    table.add_row(["load and check".to_string(), show::micros(figures.load_us)]);
    table.add_row(["compile".to_string(), show::micros(figures.compile_us)]);
    table.add_row(["instantiate".to_string(), show::micros(figures.instantiate_us)]);
    table.add_row([format!("call, median of {}", figures.calls), show::micros(figures.p50_us)]);
    table.add_row(["call, 99th percentile".to_string(), show::micros(figures.p99_us)]);
    table.add_row(["guest memory".to_string(), show::bytes(figures.guest_bytes)]);
    println!("{table}");
    Ok(())
}

fn measure(bytes: Vec<u8>, batch: u32) -> Outcome<Figures> {
    let engine = Engine::new(EngineConfig::default())?;
    let start = Instant::now();
    let summary = dunlin_sandbox::inspect(&bytes)?;
    let admission =
        Admission { limits: local_limits(&summary), imports: summary.imports.clone(), card_digest: None };
    let admitted = dunlin_sandbox::admit(VerifiedArtifact::trust_local(bytes), &admission)?;
    let load_us = micros(start);
    let start = Instant::now();
    let model = engine.compile(admitted)?;
    let compile_us = micros(start);
    let start = Instant::now();
    let mut instance = model.instantiate()?;
    let instantiate_us = micros(start);
    let card = model.card();
    if !(1..=card.max_batch).contains(&batch) {
        return Err(Failure::usage(format!("--batch is {batch}, the module takes 1 to {}", card.max_batch)));
    }
    for (index, spec) in card.inputs.iter().enumerate() {
        fill(spec, instance.input_mut(index)?);
    }
    let mut times = calls(&mut instance, batch)?;
    times.sort_by(f64::total_cmp);
    let quantile = |q: f64| times[((times.len() - 1) as f64 * q).round() as usize];
    Ok(Figures {
        load_us,
        compile_us,
        instantiate_us,
        p50_us: quantile(0.5),
        p99_us: quantile(0.99),
        guest_bytes: instance.memory_bytes(),
        calls: times.len(),
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

fn micros(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e6
}

/// Pseudo-random numbers in the tensor's range, the same in every run: zeros would flatter some kernels.
fn fill(spec: &TensorSpec, bytes: &mut [u8]) {
    use dunlin_abi::DType;
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
