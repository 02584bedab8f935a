//! An application that runs models in its own process: answers images, exchanges the model between two
//! calls, and says what a call costs.
//!
//! ```text
//! embedded-host [MODEL [NEXT]]    files .wasm or .onnx with the tensors of examples/digits
//! embedded-host bench             what a call costs above a call of Rust
//! ```

mod bench;
mod digits;
mod swap;

use std::error::Error;
use std::time::{Duration, Instant};

use dunlin_sandbox::{Engine, EngineConfig};

use crate::swap::Slot;

/// Calls before a new model is asked for, and calls after it has taken over.
const CALLS: usize = 20_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [verb] if verb == "bench" => bench::run(),
        [] => serve(digits::first()?, digits::second()?),
        [model] => serve(digits::read(model)?, digits::second()?),
        [model, next] => serve(digits::read(model)?, digits::read(next)?),
        _ => Err("usage: embedded-host [MODEL [NEXT]] | bench".into()),
    }
}

/// Answers images one by one, and exchanges the model on the way.
fn serve(first: Vec<u8>, next: Vec<u8>) -> Result<(), Box<dyn Error>> {
    let engine = Engine::new(EngineConfig::default())?;
    let mut slot = Slot::new(swap::prepare(&engine, first)?);
    describe("serving", &slot);

    let mut next = Some(next);
    let (mut calls, mut right, mut times) = (0, 0, Vec::new());
    let mut asked = None;
    for (image, label) in digits::images().cycle() {
        if calls == CALLS
            && let Some(next) = next.take()
        {
            slot.prepare(engine.clone(), next)?;
            asked = Some((Instant::now(), calls));
        }
        // Between two calls, and only if the new one is ready: nothing here waits.
        if slot.exchange()?
            && let Some((since, before)) = asked
        {
            let (took, meanwhile) = (since.elapsed(), calls - before);
            println!("exchanged after {took:.1?}, in which {meanwhile} calls were answered");
            describe("serving", &slot);
        }
        let start = Instant::now();
        let digit = digits::infer(slot.instance(), image)?;
        times.push(start.elapsed());
        right += usize::from(digit == label);
        calls += 1;
        if slot.exchanges() == 1 && calls >= 3 * CALLS {
            break;
        }
    }
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    println!("{calls} calls, {:.1} % right", 100.0 * right as f64 / calls as f64);
    let (p50, p99, most) = (micros(at(0.5)), micros(at(0.99)), micros(at(1.0)));
    println!("a call with its input and output: p50 {p50} µs, p99 {p99} µs, longest {most} µs");
    Ok(())
}

fn describe(what: &str, slot: &Slot) {
    let model = slot.model();
    let kept = if model.is_interruptible() { "checked in every loop" } else { "bounded" };
    println!("{what} {}, {kept}", &model.digest().to_string()[..12]);
}

fn micros(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1e6)
}
