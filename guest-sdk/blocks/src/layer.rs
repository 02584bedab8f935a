//! Layers of small networks, with PyTorch's order of weights: what a front end and its network need to be
//! one module.
//!
//! For a network alone, the compiler (`dunlin compile`) is faster and reads ONNX; these are for the few
//! layers behind a hand-written front end. NaN and infinities go through the arithmetic.

use crate::lanes::{self, F32x4};

/// A dense layer: `y[o] = bias[o] + sum over i of weights[o][i] x[i]`. PyTorch's `nn.Linear`.
///
/// ```
/// use dunlin_blocks::layer::Dense;
///
/// static LAYER: Dense<3, 2> = Dense { weights: [[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]], bias: [0.5, 0.0] };
/// assert_eq!(LAYER.apply(&[1.0, 2.0, 3.0]), [7.5, 2.0]);
/// ```
#[derive(Clone, Debug)]
pub struct Dense<const IN: usize, const OUT: usize> {
    /// A row for each output.
    pub weights: [[f32; IN]; OUT],
    /// One number for each output.
    pub bias: [f32; OUT],
}

impl<const IN: usize, const OUT: usize> Dense<IN, OUT> {
    /// The outputs.
    #[inline]
    pub fn apply(&self, x: &[f32; IN]) -> [f32; OUT] {
        core::array::from_fn(|o| self.bias[o] + lanes::dot(&self.weights[o], x))
    }
}

/// A convolution along time, without padding:
///
/// ```text
/// y[o][t] = bias[o] + sum over i, then k, of weights[o][i][k] x[i][STRIDE·t + k]
/// ```
///
/// PyTorch's `nn.Conv1d(IN, OUT, KERNEL, STRIDE)`, and channels before time, as there. Fastest where `OUT`
/// is a multiple of 8: eight outputs of four steps are computed together.
///
/// ```
/// use dunlin_blocks::layer::Conv1d;
///
/// static DIFFERENCE: Conv1d<1, 1, 2, 1> = Conv1d::new([[[-1.0, 1.0]]], [0.0]);
/// assert_eq!(DIFFERENCE.apply(&[[1.0, 4.0, 9.0, 16.0]]), [[3.0, 5.0, 7.0]]);
/// ```
#[derive(Clone, Debug)]
pub struct Conv1d<const IN: usize, const OUT: usize, const KERNEL: usize, const STRIDE: usize> {
    /// `weights[i][k][o]`: what outputs do with one number lies side by side.
    weights: [[[f32; OUT]; KERNEL]; IN],
    bias: [f32; OUT],
}

impl<const IN: usize, const OUT: usize, const KERNEL: usize, const STRIDE: usize>
    Conv1d<IN, OUT, KERNEL, STRIDE>
{
    /// The layer with PyTorch's `weight` and `bias`.
    pub const fn new(weights: [[[f32; KERNEL]; IN]; OUT], bias: [f32; OUT]) -> Self {
        const { assert!(STRIDE > 0 && KERNEL > 0, "a kernel and its stride have at least one step") };
        let (mut turned, mut n) = ([[[0.0; OUT]; KERNEL]; IN], 0);
        while n < IN * KERNEL * OUT {
            let (o, i, k) = (n % OUT, n / OUT / KERNEL, n / OUT % KERNEL);
            turned[i][k][o] = weights[o][i][k];
            n += 1;
        }
        Conv1d { weights: turned, bias }
    }

    /// The outputs; `AFTER` is (`BEFORE` - `KERNEL`) / `STRIDE` + 1, rounded down.
    #[inline]
    pub fn apply<const BEFORE: usize, const AFTER: usize>(
        &self,
        x: &[[f32; BEFORE]; IN],
    ) -> [[f32; AFTER]; OUT] {
        const {
            assert!(KERNEL <= BEFORE, "a kernel is no longer than its input");
            assert!(
                AFTER == (BEFORE - KERNEL) / STRIDE + 1,
                "the output has (input - kernel) / stride + 1 steps"
            );
        }
        let mut y = [[0.0; AFTER]; OUT];
        let (eights, rest) = y.as_chunks_mut::<8>();
        for (n, rows) in eights.iter_mut().enumerate() {
            let mut t = 0;
            while t + 4 <= AFTER {
                self.tile::<BEFORE, AFTER, 4>(x, 8 * n, t, rows);
                t += 4;
            }
            while t < AFTER {
                self.tile::<BEFORE, AFTER, 1>(x, 8 * n, t, rows);
                t += 1;
            }
        }
        for (row, o) in rest.iter_mut().zip(OUT - OUT % 8..) {
            row.iter_mut().enumerate().for_each(|(t, y)| *y = self.one(x, o, t));
        }
        y
    }

    /// Outputs `o` to `o + 7` at `STEPS` steps from `t` on.
    #[inline(always)]
    fn tile<const BEFORE: usize, const AFTER: usize, const STEPS: usize>(
        &self,
        x: &[[f32; BEFORE]; IN],
        o: usize,
        t: usize,
        rows: &mut [[f32; AFTER]; 8],
    ) {
        let eight = |row: &[f32; OUT]| {
            let floats = row.get(o..).and_then(|row| row.first_chunk::<8>()).unwrap_or(&[0.0; 8]);
            let (fours, _) = floats.as_chunks::<4>();
            [F32x4::from_array(fours[0]), F32x4::from_array(fours[1])]
        };
        let mut sums = [eight(&self.bias); STEPS];
        for (x, kernel) in x.iter().zip(&self.weights) {
            let Some(x) = x.get(STRIDE * t..STRIDE * (t + STEPS - 1) + KERNEL) else { return };
            for (k, weights) in kernel.iter().enumerate() {
                let [low, high] = eight(weights);
                for (step, sum) in sums.iter_mut().enumerate() {
                    let x = F32x4::splat(x[STRIDE * step + k]);
                    *sum = [sum[0] + low * x, sum[1] + high * x];
                }
            }
        }
        for (step, [low, high]) in sums.into_iter().enumerate() {
            let values = low.to_array().into_iter().chain(high.to_array());
            rows.iter_mut().zip(values).for_each(|(row, value)| row[t + step] = value);
        }
    }

    /// Output `o` at step `t`, with its sum in the order of [`Conv1d::tile`].
    #[inline(always)]
    fn one<const BEFORE: usize>(&self, x: &[[f32; BEFORE]; IN], o: usize, t: usize) -> f32 {
        let mut sum = self.bias[o];
        for (x, kernel) in x.iter().zip(&self.weights) {
            let x = x.get(STRIDE * t..).unwrap_or(&[]);
            sum = kernel.iter().zip(x).fold(sum, |sum, (weights, x)| sum + weights[o] * x);
        }
        sum
    }
}

/// `max(x, 0)`, in place; 0 for NaN.
///
/// ```
/// let mut x = [-1.0, 2.0];
/// dunlin_blocks::layer::relu(&mut x);
/// assert_eq!(x, [0.0, 2.0]);
/// ```
#[inline]
pub fn relu(x: &mut [f32]) {
    let (fours, rest) = x.as_chunks_mut::<4>();
    for four in fours {
        *four = F32x4::from_array(*four).greatest(F32x4::ZERO).to_array();
    }
    for x in rest {
        *x = if *x < 0.0 { 0.0 } else { *x };
    }
}

/// `1 / (1 + e^-x)`; NaN for NaN.
///
/// ```
/// assert_eq!(dunlin_blocks::layer::sigmoid(0.0), 0.5);
/// ```
#[inline]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + libm::expf(-x))
}

/// `e^x[i] / sum of e^x`, in place: probabilities from logits. The greatest is taken off first, so that
/// nothing overflows. NaN, and infinity, make all of them NaN.
///
/// ```
/// let mut logits = [1000.0, 1000.0];
/// dunlin_blocks::layer::softmax(&mut logits);
/// assert_eq!(logits, [0.5, 0.5]);
/// ```
#[inline]
pub fn softmax(logits: &mut [f32]) {
    let [_, greatest] = crate::stats::extremes(logits);
    let mut sum = 0.0;
    for logit in logits.iter_mut() {
        *logit = libm::expf(*logit - greatest);
        sum += *logit;
    }
    logits.iter_mut().for_each(|x| *x /= sum);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_convolution_with_strides_and_channels_follows_its_formula() {
        let weights = [[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], [[0.5, 0.0, -1.0], [1.0, 1.0, 1.0]]];
        let bias = [10.0, -10.0];
        let layer = Conv1d::<2, 2, 3, 2>::new(weights, bias);
        let x: [[f32; 8]; 2] = core::array::from_fn(|i| core::array::from_fn(|t| (t * t + 3 * i) as f32));
        let found: [[f32; 3]; 2] = layer.apply(&x);
        for (o, row) in found.iter().enumerate() {
            for (t, y) in row.iter().enumerate() {
                let terms = (0..6).map(|n| weights[o][n / 3][n % 3] * x[n / 3][2 * t + n % 3]);
                assert_eq!(*y, bias[o] + terms.sum::<f32>());
            }
        }
    }

    #[test]
    fn activations_take_what_is_no_number() {
        let mut x = [f32::NAN, -0.0, f32::NEG_INFINITY, f32::INFINITY, f32::NAN];
        relu(&mut x);
        assert!(x[0].is_nan() && x[4].is_nan(), "{x:?}");
        assert_eq!(x[1..4], [0.0, 0.0, f32::INFINITY]);
        assert_eq!([f32::NEG_INFINITY, f32::INFINITY].map(sigmoid), [0.0, 1.0]);
        for broken in [f32::NAN, f32::INFINITY] {
            let mut x = [0.0, 1.0, 2.0, 3.0, 4.0, broken];
            softmax(&mut x);
            assert!(x.iter().all(|x| x.is_nan()) || broken == f32::INFINITY && x[5].is_nan(), "{x:?}");
        }
        softmax(&mut []);
    }

    proptest! {
        /// 11 outputs are a tile of 8 and 3 alone, 7 steps a tile of 4 and 3 alone.
        #[test]
        fn every_output_is_the_same_in_a_tile_and_alone(
            weights in prop::array::uniform11(prop::array::uniform2(prop::array::uniform3(-1.0f32..1.0))),
            bias in prop::array::uniform11(-1.0f32..1.0),
            x in prop::array::uniform2(prop::array::uniform16(-1.0f32..1.0)),
        ) {
            let layer = Conv1d::<2, 11, 3, 2>::new(weights, bias);
            let found: [[f32; 7]; 11] = layer.apply(&x);
            for (o, row) in found.iter().enumerate() {
                for (t, y) in row.iter().enumerate() {
                    let terms = (0..6).map(|n| weights[o][n / 3][n % 3] * x[n / 3][2 * t + n % 3]);
                    prop_assert_eq!(*y, terms.fold(bias[o], |sum, term| sum + term));
                }
            }
        }

        #[test]
        fn probabilities_add_up_to_one(mut x in prop::collection::vec(-90.0f32..90.0, 1..30)) {
            softmax(&mut x);
            prop_assert!((x.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        }
    }
}
