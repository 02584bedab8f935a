//! The network: three convolutions along time, the greatest value of each channel, one dense layer.
//!
//! `train.py` writes the weights; the compiler of Rust reads them into the constants below.

use dunlin_blocks::layer::{Conv1d, Dense, relu, softmax};
use dunlin_blocks::stats::extremes;

use crate::front::{COEFFICIENTS, FRAMES};

/// What a clip may be.
pub const LABELS: usize = 4;

static WEIGHTS: &[u8] = include_bytes!("../weights.bin");

/// `N` weights behind the first `at`.
const fn floats<const N: usize>(at: usize) -> [f32; N] {
    let (words, rest) = WEIGHTS.as_chunks::<4>();
    assert!(rest.is_empty(), "weights.bin holds f32");
    let (mut floats, mut n) = ([0.0; N], 0);
    while n < N {
        floats[n] = f32::from_le_bytes(words[at + n]);
        n += 1;
    }
    floats
}

/// A convolution whose weights begin behind the first `at`, and whose bias follows them.
const fn conv<const IN: usize, const OUT: usize, const KERNEL: usize, const STRIDE: usize>(
    at: usize,
) -> Conv1d<IN, OUT, KERNEL, STRIDE> {
    let (mut weights, mut n) = ([[[0.0; KERNEL]; IN]; OUT], 0);
    while n < OUT * IN {
        weights[n / IN][n % IN] = floats(at + n * KERNEL);
        n += 1;
    }
    Conv1d::new(weights, floats(at + OUT * IN * KERNEL))
}

const fn dense<const IN: usize, const OUT: usize>(at: usize) -> Dense<IN, OUT> {
    let (mut weights, mut n) = ([[0.0; IN]; OUT], 0);
    while n < OUT {
        weights[n] = floats(at + n * IN);
        n += 1;
    }
    Dense { weights, bias: floats(at + OUT * IN) }
}

const FIRST_AT: usize = 2 * COEFFICIENTS;
const SECOND_AT: usize = FIRST_AT + 24 * (COEFFICIENTS * 5 + 1);
const THIRD_AT: usize = SECOND_AT + 32 * (24 * 5 + 1);
const DENSE_AT: usize = THIRD_AT + 32 * (32 * 3 + 1);
const _: () = assert!(WEIGHTS.len() == 4 * (DENSE_AT + LABELS * (32 + 1)), "weights.bin is of this network");

/// Mean and standard deviation of each coefficient.
static MEAN: [f32; COEFFICIENTS] = floats(0);
static DEVIATION: [f32; COEFFICIENTS] = floats(COEFFICIENTS);
static FIRST: Conv1d<COEFFICIENTS, 24, 5, 2> = conv(FIRST_AT);
static SECOND: Conv1d<24, 32, 5, 2> = conv(SECOND_AT);
static THIRD: Conv1d<32, 32, 3, 2> = conv(THIRD_AT);
static DENSE: Dense<32, LABELS> = dense(DENSE_AT);

/// The probability of each label.
pub fn probabilities(mut x: [[f32; FRAMES]; COEFFICIENTS]) -> [f32; LABELS] {
    for ((row, mean), deviation) in x.iter_mut().zip(&MEAN).zip(&DEVIATION) {
        let factor = 1.0 / deviation;
        row.iter_mut().for_each(|x| *x = (*x - mean) * factor);
    }
    let mut x: [[f32; 29]; 24] = FIRST.apply(&x);
    relu(x.as_flattened_mut());
    let mut x: [[f32; 13]; 32] = SECOND.apply(&x);
    relu(x.as_flattened_mut());
    let mut x: [[f32; 6]; 32] = THIRD.apply(&x);
    relu(x.as_flattened_mut());
    let greatest = x.map(|channel| extremes(&channel)[1]);
    let mut probabilities = DENSE.apply(&greatest);
    softmax(&mut probabilities);
    probabilities
}
