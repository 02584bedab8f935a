//! `dunlin bench`: how fast a module is on this machine, as a whole and layer by layer.

mod measure;
mod profile;

use std::path::PathBuf;

use clap::Args;

use self::measure::{Figures, measure};
use self::profile::Profile;
use super::device::DeviceArguments;
use crate::failure::{Outcome, on_file};
use crate::show;

/// Measure a module on this machine: load, compile, instantiate, call, and its layers
#[derive(Args)]
#[command(
    after_help = "Examples:\n  dunlin bench digits.wasm --json\n  dunlin bench digits.wasm --profile\n  \
                        dunlin bench digits.wasm --limits press-3/agent.toml\n  \
                        (times in microseconds; inputs are pseudo-random numbers in the declared ranges)"
)]
pub(crate) struct Arguments {
    /// The module
    module: PathBuf,
    /// The samples of one call
    #[arg(long, value_name = "N", default_value_t = 1)]
    batch: u32,
    #[command(flatten)]
    device: DeviceArguments,
    /// Measure every layer too, each on one sample; for modules that `dunlin compile` made
    #[arg(long)]
    profile: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(serde::Serialize)]
struct Printed {
    #[serde(flatten)]
    figures: Figures,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<Profile>,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let bytes = on_file("read", &arguments.module, std::fs::read(&arguments.module))?;
    // What cannot be taken apart is said before a second of measuring.
    let parts = arguments.profile.then(|| dunlin_compiler::profiled(&bytes)).transpose()?;
    let figures = show::waiting("measuring", || measure(bytes, arguments.batch, &arguments.device))?;
    let profile = parts.map(|parts| show::waiting("measuring layers", || profile::profile(parts)));
    let profile = profile.transpose()?;
    if arguments.json {
        return show::json(&Printed { figures, profile });
    }
    let mut table = show::table(&["step", "time"]);
    table.add_row(["load and check".to_string(), show::micros(figures.load_us)]);
    table.add_row(["compile".to_string(), show::micros(figures.compile_us)]);
    table.add_row(["instantiate".to_string(), show::micros(figures.instantiate_us)]);
    table.add_row([format!("call, median of {}", figures.calls), show::micros(figures.p50_us)]);
    table.add_row(["call, 99th percentile".to_string(), show::micros(figures.p99_us)]);
    table.add_row(["guest memory".to_string(), show::bytes(figures.guest_bytes)]);
    if let Some(resident) = figures.resident_bytes {
        table.add_row(["resident memory of all this".to_string(), show::bytes(resident)]);
    }
    let watched =
        if figures.interruptible { "checks in every loop" } else { "work is bounded, no checks in loops" };
    table.add_row(["deadline", watched]);
    println!("{table}");
    if let Some(profile) = profile {
        println!("{}", profile.table());
        let samples =
            if arguments.batch == 1 { "1 sample".into() } else { format!("{} samples", arguments.batch) };
        let (sum, call) = (show::micros(profile.sum_us), show::micros(figures.p50_us));
        println!("layers together {sum}; a call of {samples} with the entry into the sandbox {call}");
    }
    Ok(())
}
