//! What a call costs above a call of Rust that does as little: write 20 numbers, infer, read one.
//!
//! All are measured in turn, in rounds of some thousand calls, so that a busy machine slows them all; the
//! figures are medians over the rounds.

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use dunlin_core::VerifiedArtifact;
use dunlin_sandbox::{Admission, CallError, Engine, EngineConfig, Instance, Limits, Work, admit, inspect};

use crate::digits;

const ROUNDS: usize = 300;
const CALLS: u32 = 2_000;

/// The smallest model; with a function in `extra` that is never called, one about which nothing is proven.
fn smallest(extra: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    Ok(wat::parse_str(format!(
        r#"(module
        (@custom "dunlin.card" (before first) "{{\"abi\":1,\"max_batch\":1,\"producer\":\"embedded-host\","
            "\"inputs\":[{{\"name\":\"x\",\"dtype\":\"f32\",\"shape\":[20]}}],"
            "\"outputs\":[{{\"name\":\"y\",\"dtype\":\"f32\",\"shape\":[1]}}]}}")
        (memory (export "memory") 1)
        (func (export "dunlin_input") (param i32) (result i32) (i32.const 1024))
        (func (export "dunlin_output") (param i32) (result i32) (i32.const 2048))
        (func (export "dunlin_infer") (param i32) (result i32)
            (f32.store (i32.const 2048) (f32.load (i32.const 1024))) (i32.const 0))
        {extra})"#
    ))?)
}

/// As much as the smallest model does.
#[inline(never)]
fn native(input: &[u8; 80], output: &mut [u8; 4]) {
    output.copy_from_slice(&input[..4]);
}

pub fn run() -> Result<(), Box<dyn Error>> {
    let engine = Engine::new(EngineConfig::default())?;
    let seconds = Duration::from_secs(1);
    let mut bounded = instance(&engine, smallest("")?, seconds)?;
    let mut watched = instance(&engine, smallest("(func (loop (br 0)))")?, seconds)?;
    let module = digits::first()?;
    let Work::Bounded { operators } = inspect(&module)?.work else {
        return Err("the work of digits is not bounded".into());
    };
    let mut digits = instance(&engine, module, seconds)?;
    for (model, interruptible) in [(&bounded, false), (&watched, true), (&digits, false)] {
        assert_eq!(model.model().is_interruptible(), interruptible);
    }

    let input: [u8; 80] = std::array::from_fn(|i| i as u8);
    let (image, _) = digits::images().next().ok_or("no images")?;
    let mut times: [Vec<f64>; 4] = Default::default();
    for _ in 0..ROUNDS {
        times[0].push(round(CALLS, || {
            let (mut place, mut output) = ([0; 80], [0; 4]);
            place.copy_from_slice(black_box(&input));
            black_box(native as fn(&[u8; 80], &mut [u8; 4]))(black_box(&place), &mut output);
            black_box(f32::from_le_bytes(output));
            Ok(())
        })?);
        for (model, times) in [&mut bounded, &mut watched].into_iter().zip(&mut times[1..3]) {
            times.push(round(CALLS, || {
                model.input_mut(0)?.copy_from_slice(black_box(&input));
                model.infer(1)?;
                black_box(model.output(0, 1)?.first_chunk().map(|bytes| f32::from_le_bytes(*bytes)));
                Ok(())
            })?);
        }
        times[3].push(round(CALLS / 50, || {
            black_box(digits::infer(&mut digits, black_box(image))?);
            Ok(())
        })?);
    }
    let [native, bounded, watched, digits] = times.map(median);
    println!("nanoseconds a call, the median of {ROUNDS} rounds");
    println!("{native:>8.1}  a call of Rust");
    println!("{bounded:>8.1}  the smallest model, its work bounded: {:.1} above Rust", bounded - native);
    println!("{watched:>8.1}  the same, watched by the clock: {:.2} times the bounded", watched / bounded);
    println!("{digits:>8.0}  digits (at most {operators} operators)");
    Ok(())
}

fn instance(engine: &Engine, wasm: Vec<u8>, deadline: Duration) -> Result<Instance, Box<dyn Error>> {
    let limits = Limits { deadline, ..Limits::default() };
    let admitted = admit(VerifiedArtifact::trust_local(wasm), &Admission { limits, ..Admission::default() })?;
    Ok(engine.compile(admitted)?.instantiate()?)
}

/// Nanoseconds of each of so many calls.
fn round(calls: u32, mut call: impl FnMut() -> Result<(), CallError>) -> Result<f64, CallError> {
    let start = Instant::now();
    for _ in 0..calls {
        call()?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e9 / f64::from(calls))
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[times.len() / 2]
}
