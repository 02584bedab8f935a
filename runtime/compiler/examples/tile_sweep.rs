//! Measures the compiler's choice of tiles against everything that it could have chosen.
//!
//! `cargo run --release -p dunlin-compiler --example tile_sweep [--seed=N] [--all] [--table] [--interruptible] [WORD]`:
//! a seed draws forty shapes that the model was not fitted to, `--all` also
//! varies what candidates have in common, `--table` prints all of them, a word selects shapes by name.
//! `--interruptible` compiles with checks for deadlines in every loop, which modules without a bound need.
//! Candidates of a shape take turns, and each keeps its shortest run, so that other load on the machine
//! matters little. The limit is measured by the same engine in the same run: fused multiply-adds of 128
//! bits from registers to registers. A dense layer of one row is bound by reading its weights instead.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::time::{Duration, Instant};

use dunlin_abi::Simd;
use dunlin_compiler::sweep::{Layer, Tile, limit};
use wasmtime::{Config, Engine, Instance, Module, Store, TypedFunc};

/// Convolutions (height, width, channels in and out, window, stride), dense layers (rows, k, n) and
/// products of matrices (how many, m, k, n).
fn layers(convolutions: &[[u32; 6]], dense: &[[u32; 3]], products: &[[u32; 4]]) -> Vec<Layer> {
    let conv = |[h, w, ci, co, window, stride]: [u32; 6]| Layer::conv([h, w], ci, co, window, stride);
    let all = convolutions.iter().map(|shape| conv(*shape));
    all.chain(dense.iter().map(|[rows, k, n]| Layer::dense(*rows, *k, *n)))
        .chain(products.iter().map(|[batch, m, k, n]| Layer::matmul(*batch, *m, *k, *n)))
        .collect()
}

/// Shapes that the constants of the model were fitted to.
#[rustfmt::skip]
fn tuned() -> Vec<Layer> {
    layers(
        &[
            [32, 32, 3, 16, 3, 1], [32, 32, 16, 16, 3, 1], [16, 16, 32, 32, 3, 1], [8, 8, 64, 64, 3, 1],
            [16, 16, 16, 32, 1, 2], [4, 4, 64, 64, 3, 1], [48, 48, 8, 16, 1, 1], [25, 5, 64, 64, 1, 1],
            [6, 6, 64, 128, 1, 1], [3, 3, 128, 256, 1, 1], [30, 30, 3, 8, 3, 1], [24, 24, 8, 24, 3, 2],
            [28, 28, 1, 32, 3, 1], [14, 14, 32, 64, 3, 2], [7, 7, 64, 64, 3, 1], [20, 20, 16, 16, 3, 1],
            [10, 10, 24, 40, 3, 1], [5, 5, 48, 48, 3, 1], [13, 13, 12, 20, 5, 1], [49, 10, 1, 64, 3, 1],
            [24, 24, 8, 16, 1, 1], [24, 24, 16, 64, 1, 1], [12, 12, 32, 64, 1, 1], [12, 12, 96, 24, 1, 1],
            [6, 6, 128, 128, 1, 1], [3, 3, 256, 256, 1, 1], [7, 7, 160, 96, 1, 1], [2, 2, 192, 64, 1, 1],
            [1, 100, 16, 32, 1, 1], [9, 9, 40, 10, 1, 1], [40, 40, 3, 12, 3, 2], [26, 26, 6, 16, 3, 1],
            [32, 32, 8, 8, 3, 1], [16, 16, 12, 24, 3, 2], [12, 12, 20, 44, 3, 1], [11, 11, 32, 32, 3, 1],
            [9, 9, 16, 28, 5, 1], [6, 6, 48, 64, 3, 1], [4, 4, 32, 64, 3, 2], [3, 3, 64, 64, 3, 1],
            [1, 61, 13, 32, 3, 1], [20, 13, 1, 16, 3, 1], [28, 28, 4, 6, 5, 1], [32, 32, 8, 48, 1, 1],
            [16, 16, 24, 32, 1, 1], [14, 14, 48, 16, 1, 1], [10, 10, 64, 64, 1, 1], [7, 7, 96, 160, 1, 1],
            [5, 5, 192, 32, 1, 1], [2, 2, 256, 256, 1, 1], [8, 8, 32, 21, 1, 1],
        ],
        &[
            [1, 640, 128], [1, 128, 128], [1, 64, 10], [64, 256, 256], [4, 64, 64], [2, 128, 96],
            [1, 256, 64], [1, 64, 64], [1, 490, 144], [1, 128, 640], [1, 100, 3], [1, 320, 50],
            [2, 200, 100], [3, 96, 128], [5, 64, 32], [6, 128, 64], [10, 80, 80], [16, 128, 512],
            [32, 300, 30], [100, 64, 192], [1, 96, 48], [1, 200, 100], [1, 512, 64], [1, 30, 200],
            [1, 144, 4], [1, 1024, 20], [2, 64, 256], [3, 160, 64], [4, 128, 40], [7, 96, 96],
            [9, 50, 64], [13, 256, 32], [20, 64, 128], [49, 10, 144], [128, 40, 120],
        ],
        &[
            [8, 32, 32, 32], [4, 64, 16, 64], [4, 32, 64, 32], [4, 64, 64, 64], [2, 50, 50, 50],
            [6, 20, 48, 20], [1, 48, 96, 40], [3, 7, 33, 9], [8, 16, 32, 16], [3, 40, 40, 64],
            [2, 61, 48, 61], [12, 8, 24, 24],
        ],
    )
}

/// Shapes that were looked at when single constants were corrected.
#[rustfmt::skip]
fn seen() -> Vec<Layer> {
    layers(
        &[
            [34, 34, 3, 8, 3, 2], [22, 22, 4, 12, 3, 1], [18, 18, 24, 16, 3, 1], [15, 15, 8, 36, 3, 1],
            [12, 12, 64, 32, 3, 1], [9, 9, 32, 48, 3, 2], [5, 5, 64, 96, 3, 1], [7, 7, 24, 24, 5, 1],
            [6, 11, 40, 40, 3, 1], [1, 80, 8, 24, 5, 1], [30, 4, 2, 32, 3, 1], [4, 4, 96, 96, 3, 1],
            [3, 7, 20, 28, 3, 1], [40, 40, 12, 12, 1, 1], [20, 20, 32, 24, 1, 1], [18, 18, 6, 36, 1, 1],
            [13, 13, 64, 48, 1, 1], [9, 9, 72, 72, 1, 1], [7, 7, 48, 288, 1, 1], [4, 4, 128, 64, 1, 1],
            [3, 3, 96, 320, 1, 1],
        ],
        &[
            [1, 72, 36], [1, 400, 120], [1, 784, 32], [1, 48, 12], [1, 256, 7], [1, 64, 300], [2, 96, 60],
            [3, 256, 32], [5, 100, 48], [6, 72, 72], [8, 200, 64], [11, 64, 80], [14, 40, 24],
            [24, 128, 100], [60, 32, 96],
        ],
        &[
            [2, 32, 32, 48], [5, 24, 64, 24], [8, 10, 20, 40], [1, 96, 24, 96],
        ],
    )
}

/// Forty shapes that nobody chose.
fn drawn(seed: u64) -> Vec<Layer> {
    let mut state = seed;
    // SplitMix64, <https://prng.di.unimi.it/splitmix64.c>.
    let mut up_to = |most: u32| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        1 + ((z ^ (z >> 31)) % u64::from(most)) as u32
    };
    let mut convolutions = Vec::new();
    while convolutions.len() < 20 {
        let shape = [up_to(40), up_to(40), up_to(96), up_to(128), 2 * up_to(3) - 1, up_to(2)];
        let [height, width, ci, co, window, _] = shape.map(u64::from);
        // From what takes a microsecond to what takes half a millisecond.
        if (20_000..10_000_000).contains(&(height * width * ci * co * window * window)) {
            convolutions.push(shape);
        }
    }
    let dense: Vec<[u32; 3]> = (0..14)
        .map(|index| [if index < 7 { 1 } else { up_to(64) }, 8 + up_to(632), 2 + up_to(318)])
        .collect();
    let products: Vec<[u32; 4]> =
        (0..6).map(|_| [up_to(8), up_to(64), 3 + up_to(61), 3 + up_to(93)]).collect();
    layers(&convolutions, &dense, &products)
}

/// A module that is measured.
struct Runner {
    run: TypedFunc<i32, ()>,
    /// Repetitions of one run.
    times: i32,
    best: f64,
}

fn runner(engine: &Engine, store: &mut Store<()>, wasm: &[u8]) -> Runner {
    let module = Module::new(engine, wasm).unwrap();
    let instance = Instance::new(&mut *store, &module, &[]).unwrap();
    let run = instance.get_typed_func(&mut *store, "run").unwrap();
    let mut runner = Runner { run, times: 1, best: f64::MAX };
    runner.measure(store);
    runner.measure(store);
    // Runs of 30 us are far longer than the call, and most of them are not interrupted.
    runner.times = (30e-6 / runner.best).ceil().clamp(1.0, 1000.0) as i32;
    runner.best = f64::MAX;
    runner
}

impl Runner {
    fn measure(&mut self, store: &mut Store<()>) {
        let start = Instant::now();
        self.run.call(store, self.times).unwrap();
        self.best = self.best.min(start.elapsed().as_secs_f64() / f64::from(self.times));
    }
}

fn name(tile: &Tile) -> String {
    let Tile { rows, across, vectors, sums, unroll, group, outside } = tile;
    format!("{across}*{rows}x{vectors} sums {sums} unroll {unroll} group {group} outside {outside}")
}

/// What is measured: the candidates and, with `all`, variants of the choice.
fn candidates(layer: &Layer, all: bool) -> Vec<Tile> {
    let chosen = layer.chosen(Simd::Relaxed);
    let mut tiles = layer.candidates(Simd::Relaxed);
    if all {
        for (unroll, group) in [(8, 2), (8, 4), (12, 2), (12, 3), (12, 4), (16, 4), (24, 3), (4, 1)] {
            tiles.push(Tile { unroll, group, ..chosen });
        }
        tiles.extend((0..=2).map(|outside| Tile { outside, ..chosen }));
    }
    tiles.push(chosen);
    tiles.sort_unstable();
    tiles.dedup();
    tiles
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let all = arguments.iter().any(|argument| argument == "--all");
    let verbose = arguments.iter().any(|argument| argument == "--table");
    let word = arguments.iter().find(|argument| !argument.starts_with("--"));
    let interruptible = arguments.iter().any(|argument| argument == "--interruptible");
    let engine = Engine::new(Config::new().epoch_interruption(interruptible)).unwrap();
    let mut store = Store::new(&engine, ());
    store.set_epoch_deadline(1);
    let mut fma = runner(&engine, &mut store, &limit::multiply_adds());
    let seed = arguments.iter().find_map(|argument| argument.strip_prefix("--seed=")?.parse().ok());
    let groups = match seed {
        Some(seed) => vec![(format!("drawn with seed {seed}"), drawn(seed))],
        None => vec![("tuned".to_string(), tuned()), ("seen".to_string(), seen())],
    };
    for (title, layers) in groups {
        println!("{title}\n{:<36} {:>8} {:>8} {:>6}  chosen / best", "", "GFLOP/s", "of limit", "ratio");
        let mut ratios = Vec::new();
        for layer in layers.iter().filter(|layer| word.is_none_or(|word| layer.name.contains(word))) {
            let chosen = layer.chosen(Simd::Relaxed);
            let tiles = candidates(layer, all);
            let module = |tile: &Tile| layer.module(Simd::Relaxed, Some(*tile));
            let mut runners: Vec<Runner> =
                tiles.iter().map(|tile| runner(&engine, &mut store, &module(tile))).collect();
            let own = tiles.iter().position(|tile| *tile == chosen).unwrap();
            let mut order: Vec<usize> = (0..tiles.len()).collect();
            // Where the choice seems to be worse, it and the best are measured for longer.
            for _ in 0..4 {
                let start = Instant::now();
                let mut rounds = 0;
                while rounds < 20 || (rounds < 300 && start.elapsed() < Duration::from_millis(1500)) {
                    order.iter().for_each(|index| runners[*index].measure(&mut store));
                    fma.measure(&mut store);
                    rounds += 1;
                }
                order.sort_by(|a, b| runners[*a].best.total_cmp(&runners[*b].best));
                if runners[own].best < runners[order[0]].best * 1.03 {
                    break;
                }
                order.truncate(6);
                order.extend((!order.contains(&own)).then_some(own));
            }
            let flops = |runner: &Runner| 2.0 * layer.macs() as f64 / runner.best / 1e9;
            let ratio = runners[own].best / runners[order[0]].best;
            ratios.push(ratio);
            println!(
                "{:<36} {:>8.1} {:>7.0}% {:>6.3}  {} / {}",
                layer.name,
                flops(&runners[own]),
                100.0 * flops(&runners[own]) / (limit::FLOPS / fma.best / 1e9),
                ratio,
                name(&chosen),
                name(&tiles[order[0]])
            );
            if verbose {
                for index in order {
                    println!("    {:>8.1} {}", flops(&runners[index]), name(&tiles[index]));
                }
            }
        }
        let within = ratios.iter().filter(|ratio| **ratio <= 1.05).count();
        let mean = ratios.iter().sum::<f64>() / ratios.len().max(1) as f64;
        let worst = ratios.iter().copied().fold(1.0, f64::max);
        println!("{within} of {} within 5 % of the best, mean {mean:.3}, worst {worst:.3}", ratios.len());
        println!("limit {:.1} GFLOP/s\n", limit::FLOPS / fma.best / 1e9);
    }
}
