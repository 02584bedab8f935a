//! What a call costs: write 20 floats, call, read one back.
//!
//! `cargo run --release -p dunlin-sandbox --example call_cost` prints nanoseconds, the median of 200
//! rounds of 10,000 calls each, and microseconds for a new instance.
#![allow(clippy::print_stdout, reason = "it is a measurement for people")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use dunlin_core::VerifiedArtifact;
use dunlin_sandbox::{Admission, Engine, EngineConfig, admit};

/// Twenty numbers in, one out; the model does as little as one can.
const MODEL: &str = r#"(module
    (@custom "dunlin.card" (before first) "{\"abi\":1,\"max_batch\":1,\"producer\":\"call_cost\","
        "\"inputs\":[{\"name\":\"x\",\"dtype\":\"f32\",\"shape\":[20]}],"
        "\"outputs\":[{\"name\":\"y\",\"dtype\":\"f32\",\"shape\":[1]}]}")
    (memory (export "memory") 1)
    (func (export "dunlin_input") (param i32) (result i32) (i32.const 1024))
    (func (export "dunlin_output") (param i32) (result i32) (i32.const 2048))
    (func (export "dunlin_infer") (param i32) (result i32)
        (f32.store (i32.const 2048) (f32.load (i32.const 1024))) (i32.const 0)))"#;

const ROUNDS: usize = 200;
const CALLS: u32 = 10_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::new(EngineConfig::default())?;
    let artifact = VerifiedArtifact::trust_local(wat::parse_str(MODEL)?);
    let model = engine.compile(admit(artifact, &Admission::default())?)?;

    let mut instance = model.instantiate()?;
    let input: Vec<u8> = (0..20u8).flat_map(|i| f32::from(i).to_le_bytes()).collect();
    let mut rounds = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..CALLS {
            instance.input_mut(0)?.copy_from_slice(black_box(&input));
            instance.infer(1)?;
            black_box(instance.output(0, 1)?.first_chunk::<4>().map(|b| f32::from_le_bytes(*b)));
        }
        rounds.push(start.elapsed() / CALLS);
    }
    println!("write 20 floats, call, read one: {} ns", median(rounds).as_nanos());

    let mut starts = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        black_box(model.instantiate()?);
        starts.push(start.elapsed());
    }
    println!("instantiate and drop: {:.1} µs", median(starts).as_secs_f64() * 1e6);
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
