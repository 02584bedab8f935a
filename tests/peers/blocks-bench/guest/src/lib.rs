//! One block a call, chosen by number, on a signal of 1024 samples: what the benchmark times.
#![cfg_attr(target_arch = "wasm32", no_std)]

use dunlin_blocks::cluster::Centroids;
use dunlin_blocks::fft::Fft;
use dunlin_blocks::filter::{Biquad, Cascade, Fir};
use dunlin_blocks::lanes::F32x4;
use dunlin_blocks::layer::{Conv1d, Dense};
use dunlin_blocks::mel::{Bank, Convention, Mfcc};
use dunlin_blocks::stats::{self, Moments};
use dunlin_blocks::window::{self, Symmetry};
use dunlin_guest::Failure;

/// Samples of the signal, and of the largest result.
pub const N: usize = 1024;

/// What call number n does.
pub const CASES: [&str; 13] = [
    "nothing: the call alone",
    "Hann's window, 1024 samples",
    "FFT and power, 256 samples",
    "FFT and power, 1024 samples",
    "MFCC, 512 samples, 40 mels, 13 coefficients",
    "Butterworth of order 6, 1024 samples",
    "the same, 4 channels of 256 samples",
    "FIR of 63 taps, 1024 samples",
    "four moments, 1024 samples",
    "median, 1024 samples",
    "dense 256 to 64",
    "conv1d 16 to 16, kernel 3, 64 steps",
    "nearest of 16 centroids of 32 features",
];

/// Status 1: there is no such case.
pub const NO_CASE: Failure = Failure::new(1);

static HANN: [f32; N] = window::hann(Symmetry::Periodic);
static FFT_256: Fft<256> = Fft::new();
static FFT_1024: Fft<N> = Fft::new();
static MFCC: Mfcc<512, 257, 40, 13> =
    Mfcc::new(window::hann(Symmetry::Periodic), Bank::new(16_000.0, [20.0, 8000.0], Convention::Slaney));
static FIR: Fir<63> = Fir::low_pass(16_000.0, 1000.0);
const BUTTERWORTH: [Biquad; 3] = Biquad::butterworth_low_pass(16_000.0, 900.0);

/// Weights do not matter for the time, as long as they are numbers of ordinary size.
const fn weights<const N: usize>(seed: u32) -> [f32; N] {
    let (mut weights, mut state, mut n) = ([0.0; N], seed, 0);
    while n < N {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        weights[n] = (state >> 16) as f32 / 65_536.0 - 0.5;
        n += 1;
    }
    weights
}

const fn rows<const N: usize, const ROWS: usize>(seed: u32) -> [[f32; N]; ROWS] {
    let (mut rows, mut row) = ([[0.0; N]; ROWS], 0);
    while row < ROWS {
        rows[row] = weights(seed + row as u32);
        row += 1;
    }
    rows
}

static DENSE: Dense<256, 64> = Dense { weights: rows(1), bias: weights(99) };
static CONV: Conv1d<16, 16, 3, 1> = {
    let mut weights = [[[0.0; 3]; 16]; 16];
    let mut o = 0;
    while o < 16 {
        weights[o] = rows(200 + 16 * o as u32);
        o += 1;
    }
    Conv1d::new(weights, self::weights(98))
};
static CENTROIDS: Centroids<16, 32> = Centroids { centres: rows(500) };

/// Stateless: filters begin at rest in each call.
pub struct Bench;

dunlin_guest::model! {
    Bench;
    state: none;
    max_batch: 1;
    inputs {
        case: u8[];
        signal: f32[N];
    }
    outputs {
        result: f32[N];
    }
}

impl Bench {
    /// Runs the case on the signal.
    ///
    /// # Errors
    /// [`NO_CASE`]: the number is none of [`CASES`].
    pub fn infer(&self, inputs: Inputs<'_>, outputs: Outputs<'_>) -> Result<(), Failure> {
        let (signal, result) = (inputs.signal, outputs.result);
        match inputs.case {
            0 => {}
            1 => {
                *result = *signal;
                window::apply(result, &HANN);
            }
            2 => put(result, &FFT_256.power::<129>(first(signal))),
            3 => put(result, &FFT_1024.power::<513>(signal)),
            4 => put(result, &MFCC.coefficients(first(signal))),
            5 => {
                *result = *signal;
                Cascade::<3>::new(BUTTERWORTH).run(result);
            }
            6 => {
                let mut filter = Cascade::<3, F32x4>::new(BUTTERWORTH);
                let fours = signal.as_chunks::<4>().0.iter().zip(result.as_chunks_mut::<4>().0);
                fours.for_each(|(x, y)| *y = filter.step(F32x4::from_array(*x)).to_array());
            }
            7 => {
                *result = *signal;
                FIR.clone().run(result);
            }
            8 => {
                let moments = Moments::of(signal);
                put(result, &[moments.mean, moments.variance, moments.skewness, moments.kurtosis]);
            }
            9 => {
                *result = *signal;
                result[0] = stats::quantile(result, 0.5);
            }
            10 => put(result, &DENSE.apply(first(signal))),
            11 => {
                let mut x = [[0.0; 66]; 16];
                x.iter_mut()
                    .zip(signal.as_chunks::<64>().0)
                    .for_each(|(x, part)| x[..64].copy_from_slice(part));
                put(result, CONV.apply::<66, 64>(&x).as_flattened());
            }
            12 => {
                let nearest = CENTROIDS.nearest(first(signal));
                put(result, &[nearest.index as f32, nearest.distance]);
            }
            _ => return Err(NO_CASE),
        }
        Ok(())
    }
}

/// The first samples; all cases take at most `N`.
fn first<const FEWER: usize>(signal: &[f32; N]) -> &[f32; FEWER] {
    const { assert!(FEWER <= N) };
    signal.first_chunk().unwrap_or(&[0.0; FEWER])
}

fn put(result: &mut [f32; N], values: &[f32]) {
    result.iter_mut().zip(values).for_each(|(result, value)| *result = *value);
}
