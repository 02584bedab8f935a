//! The time of every layer, by calling its kernel alone.
//!
//! Layers are measured in turn, round after round, so that what slows the machine for a while slows
//! all of them. A short layer is called several times in a row, the entry into the sandbox is measured
//! by calling it no time at all, and taken off. Layers that write over their operand see it change.

use std::time::{Duration, Instant};

use dunlin_compiler::{Layer, MAX_TIMES, Profiled};
use dunlin_sandbox::Instance;

use super::measure::{Loaded, MEASURE, quantile};
use crate::failure::Outcome;
use crate::show::{self, Table};

/// How long the calls of one layer in one round should take.
const TURN: Duration = Duration::from_micros(20);

/// The least number of rounds.
const MIN_ROUNDS: usize = 15;

/// All layers.
#[derive(serde::Serialize)]
pub(super) struct Profile {
    /// The times of all layers together.
    pub(super) sum_us: f64,
    /// In how many rounds each was measured.
    rounds: usize,
    /// The layers in their order.
    layers: Vec<LayerFigures>,
}

/// One layer.
#[derive(serde::Serialize)]
struct LayerFigures {
    #[serde(flatten)]
    layer: Layer,
    /// The median for one sample.
    median_us: f64,
    /// The part of all layers together.
    share: f64,
    /// Thousand million multiply-adds a second; nothing where it has none.
    gmacs_per_s: Option<f64>,
}

/// Measures every layer.
pub(super) fn profile(parts: Profiled) -> Outcome<Profile> {
    // With as much time as it takes to call a layer that often, it is compiled as the whole is.
    let mut loaded = Loaded::patiently(parts.wasm, MAX_TIMES)?;
    let instance = &mut loaded.instance;
    // Every layer finds in the arena what the one before it left.
    instance.infer(1)?;
    let mut repeats = Vec::with_capacity(parts.exports.len());
    for export in &parts.exports {
        let first = instance.time(export, 1)?.min(instance.time(export, 1)?);
        let fitting = TURN.as_nanos() / first.as_nanos().max(1);
        repeats.push(u32::try_from(fitting).unwrap_or(MAX_TIMES).clamp(1, MAX_TIMES));
    }
    let entry_us = entry_us(instance, parts.exports.first())?;
    let (begin, mut rounds) = (Instant::now(), 0);
    let mut times = vec![Vec::new(); parts.exports.len()];
    while rounds < MIN_ROUNDS || begin.elapsed() < MEASURE {
        for ((export, repeats), times) in parts.exports.iter().zip(&repeats).zip(&mut times) {
            let took_us = instance.time(export, *repeats)?.as_secs_f64() * 1e6;
            times.push((took_us - entry_us).max(0.0) / f64::from(*repeats));
        }
        rounds += 1;
    }
    let medians: Vec<f64> = times.iter_mut().map(|times| median(times)).collect();
    let sum_us = medians.iter().sum::<f64>();
    let figures = |(layer, median_us): (Layer, f64)| LayerFigures {
        gmacs_per_s: (layer.macs > 0 && median_us > 0.0).then(|| layer.macs as f64 / median_us / 1e3),
        layer,
        median_us,
        share: if sum_us > 0.0 { median_us / sum_us } else { 0.0 },
    };
    let layers = parts.layers.into_iter().zip(medians).map(figures).collect();
    Ok(Profile { sum_us, rounds, layers })
}

/// What a call costs that does nothing.
fn entry_us(instance: &mut Instance, export: Option<&String>) -> Outcome<f64> {
    let Some(export) = export else { return Ok(0.0) };
    let mut times = Vec::with_capacity(101);
    for _ in 0..101 {
        times.push(instance.time(export, 0)?.as_secs_f64() * 1e6);
    }
    Ok(median(&mut times))
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    quantile(times, 0.5)
}

impl Profile {
    /// For people.
    pub(super) fn table(&self) -> Table {
        let heading = ["", "layer", "kernel", "multiply-adds", "median", "share", "GMAC/s"];
        let mut table = show::table(&heading);
        for (place, figures) in self.layers.iter().enumerate() {
            table.add_row([
                place.to_string(),
                show::plain(&figures.layer.node),
                show::plain(&figures.layer.kernel),
                show::count(figures.layer.macs),
                show::micros(figures.median_us),
                show::percent(figures.share),
                figures.gmacs_per_s.map(|speed| format!("{speed:.1}")).unwrap_or_default(),
            ]);
        }
        show::right(&mut table, &[0, 3, 4, 5, 6]);
        table
    }
}
