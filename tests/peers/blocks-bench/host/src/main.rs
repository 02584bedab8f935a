//! Times each block in the sandbox with SIMD and without, natively, and beside realfft.
//!
//! `blocks-bench SIMD.wasm SCALAR.wasm` prints a table of microseconds a call. All candidates take turns in rounds of
//! about a millisecond, so that a busy machine slows them all; a figure is the median over the rounds. A
//! candidate whose answer differs from the native one is an error.

use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use blocks_bench_guest::{Bench, CASES, Inputs, N, Outputs};
use dunlin_core::VerifiedArtifact;
use dunlin_sandbox::{Admission, Engine, EngineConfig, Instance, admit};
use realfft::RealFftPlanner;

const ROUNDS: usize = 301;
const ROUND_US: f64 = 1000.0;

type Work<'a> = Box<dyn FnMut() -> Result<(), Box<dyn Error>> + 'a>;

fn main() -> Result<(), Box<dyn Error>> {
    let paths: Vec<String> = std::env::args().skip(1).collect();
    let [simd, scalar] = &paths[..] else {
        return Err("usage: blocks-bench SIMD.wasm SCALAR.wasm".into());
    };
    let engine = Engine::new(EngineConfig::default())?;
    let mut simd = instance(&engine, simd)?;
    let mut scalar = instance(&engine, scalar)?;
    let signal: [f32; N] = std::array::from_fn(|n| (n as f32 * 0.37).sin() + ((n * n) as f32 * 0.011).cos());
    println!("| block | wasm, SIMD | wasm, scalar | native | realfft |\n|---|---:|---:|---:|---:|");
    for (case, name) in (0u8..).zip(CASES) {
        let mut result = [0.0; N];
        Bench.infer(Inputs { case: &case, signal: &signal }, Outputs { result: &mut result })?;
        for instance in [&mut simd, &mut scalar] {
            instance.input_mut(0)?[0] = case;
            let bytes: Vec<u8> = signal.iter().flat_map(|x| x.to_le_bytes()).collect();
            instance.input_mut(1)?.copy_from_slice(&bytes);
            instance.infer(1)?;
            let wanted: Vec<u8> = result.iter().flat_map(|x| x.to_le_bytes()).collect();
            if instance.output(0, 1)? != wanted {
                return Err(format!("{name}: the module's answer is not the native one").into());
            }
        }
        let peer = match case {
            2 => Some(256),
            3 => Some(1024),
            _ => None,
        };
        let mut candidates: Vec<Work<'_>> = vec![
            Box::new(|| Ok(simd.infer(1)?)),
            Box::new(|| Ok(scalar.infer(1)?)),
            Box::new(|| {
                let outputs = Outputs { result: black_box(&mut result) };
                Ok(Bench.infer(Inputs { case: black_box(&case), signal: black_box(&signal) }, outputs)?)
            }),
        ];
        if let Some(length) = peer {
            candidates.push(power_by_realfft(&signal[..length])?);
        }
        let figures = medians(&mut candidates)?;
        let column = |n: usize| figures.get(n).map_or("".to_string(), |figure| format!("{figure:.2}"));
        println!("| {name} | {} | {} | {} | {} |", column(0), column(1), column(2), column(3));
    }
    Ok(())
}

fn instance(engine: &Engine, path: &str) -> Result<Instance, Box<dyn Error>> {
    let module = VerifiedArtifact::trust_local(std::fs::read(path)?);
    Ok(engine.compile(admit(module, &Admission::default())?)?.instantiate()?)
}

/// The same power spectrum by realfft, with buffers that it keeps.
fn power_by_realfft(signal: &[f32]) -> Result<Work<'_>, Box<dyn Error>> {
    let plan = RealFftPlanner::<f32>::new().plan_fft_forward(signal.len());
    let (mut samples, mut bins, mut scratch) =
        (plan.make_input_vec(), plan.make_output_vec(), plan.make_scratch_vec());
    let mut power = vec![0.0; bins.len()];
    Ok(Box::new(move || {
        // It overwrites its input.
        samples.copy_from_slice(black_box(signal));
        plan.process_with_scratch(&mut samples, &mut bins, &mut scratch)?;
        power.iter_mut().zip(&bins).for_each(|(power, bin)| *power = bin.norm_sqr());
        black_box(&mut power);
        Ok(())
    }))
}

/// Microseconds a call of each, the median over rounds in which they take turns.
fn medians(candidates: &mut [Work<'_>]) -> Result<Vec<f64>, Box<dyn Error>> {
    let mut calls = Vec::new();
    for work in candidates.iter_mut() {
        let start = Instant::now();
        (0..100).try_for_each(|_| work())?;
        let call_us = start.elapsed().as_secs_f64() * 1e4;
        calls.push((ROUND_US / call_us).clamp(10.0, 1e5) as u32);
    }
    let mut figures = vec![Vec::with_capacity(ROUNDS); candidates.len()];
    for _ in 0..ROUNDS {
        for ((work, calls), figures) in candidates.iter_mut().zip(&calls).zip(&mut figures) {
            let start = Instant::now();
            (0..*calls).try_for_each(|_| work())?;
            figures.push(start.elapsed().as_secs_f64() * 1e6 / f64::from(*calls));
        }
    }
    Ok(figures
        .into_iter()
        .map(|mut figures| {
            figures.sort_unstable_by(f64::total_cmp);
            figures[figures.len() / 2]
        })
        .collect())
}
