//! One candidate of the benchmark with one model, as a process that is told when to run.
//!
//! `bench-worker CANDIDATE ARGUMENTS…` loads the model, runs it once and prints one line of JSON:
//! `{"output": […], "load_ms": …}` with the first numbers of its answer, or `{"refused": "…"}`. Then
//! each line on standard input is a number of calls to make, answered by a line with the median of
//! their times in nanoseconds. Each call is timed by itself; a tenth of the calls go before, untimed.

mod dunlin;
mod limit;
mod tract;
mod wasm;

use std::io::{BufRead, Write};
use std::time::Instant;

use anyhow::{Context, bail};

/// How many numbers of an answer are shown to be compared.
const SHOWN: usize = 64;

/// A model that is ready to run.
trait Candidate {
    /// One inference on the input that was filled in at the start.
    fn call(&mut self) -> anyhow::Result<()>;
    /// The first output of the last call.
    fn output(&mut self) -> anyhow::Result<Vec<f32>>;
    /// The median of `calls` calls, in nanoseconds.
    fn measure(&mut self, calls: usize) -> anyhow::Result<f64> {
        for _ in 0..calls / 10 {
            self.call()?;
        }
        let mut times = Vec::with_capacity(calls);
        for _ in 0..calls {
            let start = Instant::now();
            self.call()?;
            times.push(start.elapsed().as_nanos() as f64);
        }
        Ok(median(times))
    }
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // More stack than a main thread has: tract in WebAssembly needs it while it optimises.
    std::thread::Builder::new().stack_size(64 << 20).spawn(move || serve(&arguments))?.join().unwrap_or_else(
        |_| {
            println!("{}", serde_json::json!({ "refused": "it panicked, see standard error" }));
            Ok(())
        },
    )
}

fn serve(arguments: &[String]) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut candidate = match load(arguments) {
        Ok(candidate) => candidate,
        Err(error) => {
            println!("{}", serde_json::json!({ "refused": format!("{error:#}") }));
            return Ok(());
        }
    };
    let load_ms = start.elapsed().as_secs_f64() * 1e3;
    candidate.call()?;
    let mut output = candidate.output()?;
    output.truncate(SHOWN);
    println!("{}", serde_json::json!({ "output": output, "load_ms": load_ms }));
    for line in std::io::stdin().lock().lines() {
        let calls = line?.trim().parse().context("a number of calls was expected")?;
        println!("{}", candidate.measure(calls)?);
        std::io::stdout().flush()?;
    }
    Ok(())
}

fn load(arguments: &[String]) -> anyhow::Result<Box<dyn Candidate>> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Ok(match *arguments {
        ["dunlin", model] => Box::new(dunlin::Sandboxed::load(model)?),
        ["dunlin-checked", model] => Box::new(dunlin::Checked::load(model)?),
        ["tract", model] => Box::new(tract::Tract::load(model)?),
        ["tract-wasm", guest, model] => Box::new(wasm::TractGuest::load(guest, model)?),
        ["limit", macs, weight_bytes, read_bytes] => {
            Box::new(limit::Limit::new(macs.parse()?, weight_bytes.parse()?, read_bytes.parse()?)?)
        }
        _ => bail!("no such candidate: {}", arguments.join(" ")),
    })
}

/// Number `place` of every input: between -1 and 1, scattered.
fn number(place: usize) -> f32 {
    ((place as u32).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|number| f32::from_le_bytes(*number)).collect()
}
