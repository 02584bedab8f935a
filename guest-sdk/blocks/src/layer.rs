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
/// y[o][t] = bias[o] + sum over i, k of weights[o][i][k] x[i][STRIDE·t + k]
/// ```
///
/// PyTorch's `nn.Conv1d(IN, OUT, KERNEL, STRIDE)`, and channels before time, as there.
///
/// ```
/// use dunlin_blocks::layer::Conv1d;
///
/// static DIFFERENCE: Conv1d<1, 1, 2, 1> = Conv1d { weights: [[[-1.0, 1.0]]], bias: [0.0] };
/// assert_eq!(DIFFERENCE.apply(&[[1.0, 4.0, 9.0, 16.0]]), [[3.0, 5.0, 7.0]]);
/// ```
#[derive(Clone, Debug)]
pub struct Conv1d<const IN: usize, const OUT: usize, const KERNEL: usize, const STRIDE: usize> {
    /// A kernel for each output and input.
    pub weights: [[[f32; KERNEL]; IN]; OUT],
    /// One number for each output.
    pub bias: [f32; OUT],
}

impl<const IN: usize, const OUT: usize, const KERNEL: usize, const STRIDE: usize>
    Conv1d<IN, OUT, KERNEL, STRIDE>
{
    /// The outputs; `AFTER` is (`BEFORE` - `KERNEL`) / `STRIDE` + 1, rounded down.
    #[inline]
    pub fn apply<const BEFORE: usize, const AFTER: usize>(
        &self,
        x: &[[f32; BEFORE]; IN],
    ) -> [[f32; AFTER]; OUT] {
        const {
            assert!(STRIDE > 0 && KERNEL > 0 && KERNEL <= BEFORE, "0 < stride, 0 < kernel <= input");
            assert!(
                AFTER == (BEFORE - KERNEL) / STRIDE + 1,
                "the output has (input - kernel) / stride + 1 steps"
            );
        }
        core::array::from_fn(|o| {
            let mut row = [self.bias[o]; AFTER];
            for (x, kernel) in x.iter().zip(&self.weights[o]) {
                for (weight, x) in kernel.iter().zip(x.windows(BEFORE - KERNEL + 1)) {
                    add_scaled::<STRIDE>(&mut row, *weight, x);
                }
            }
            row
        })
    }
}

/// `row[t] += weight x[STRIDE·t]`.
#[inline(always)]
fn add_scaled<const STRIDE: usize>(row: &mut [f32], weight: f32, x: &[f32]) {
    if STRIDE == 1 {
        let ((fours, rest), (x4, x)) = (row.as_chunks_mut::<4>(), x.as_chunks::<4>());
        let factor = F32x4::splat(weight);
        for (y, x) in fours.iter_mut().zip(x4) {
            *y = (F32x4::from_array(*y) + factor * F32x4::from_array(*x)).to_array();
        }
        rest.iter_mut().zip(x).for_each(|(y, x)| *y += weight * x);
    } else {
        row.iter_mut().zip(x.iter().step_by(STRIDE)).for_each(|(y, x)| *y += weight * x);
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
        *four = F32x4::ZERO.greatest(F32x4::from_array(*four)).to_array();
    }
    for x in rest {
        *x = if *x > 0.0 { *x } else { 0.0 };
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
        let layer = Conv1d::<2, 2, 3, 2> { weights, bias: [10.0, -10.0] };
        let x: [[f32; 8]; 2] = core::array::from_fn(|i| core::array::from_fn(|t| (t * t + 3 * i) as f32));
        let found: [[f32; 3]; 2] = layer.apply(&x);
        for (o, row) in found.iter().enumerate() {
            for (t, y) in row.iter().enumerate() {
                let terms = (0..6).map(|n| weights[o][n / 3][n % 3] * x[n / 3][2 * t + n % 3]);
                assert_eq!(*y, layer.bias[o] + terms.sum::<f32>());
            }
        }
    }

    #[test]
    fn activations_take_what_is_no_number() {
        let mut x = [f32::NAN, -0.0, f32::NEG_INFINITY, f32::INFINITY, f32::NAN];
        relu(&mut x);
        assert_eq!(x, [0.0, 0.0, 0.0, f32::INFINITY, 0.0]);
        assert_eq!([f32::NEG_INFINITY, f32::INFINITY].map(sigmoid), [0.0, 1.0]);
        for broken in [f32::NAN, f32::INFINITY] {
            let mut x = [0.0, broken];
            softmax(&mut x);
            assert!(x[1].is_nan());
        }
        softmax(&mut []);
    }

    proptest! {
        #[test]
        fn a_convolution_with_stride_1_is_the_same_by_fours(x in prop::array::uniform20(-1.0f32..1.0)) {
            let layer = Conv1d::<1, 1, 3, 1> { weights: [[[0.25, -0.5, 1.0]]], bias: [0.125] };
            let [found]: [[f32; 18]; 1] = layer.apply(&[x]);
            for (t, y) in found.iter().enumerate() {
                prop_assert_eq!(*y, ((0.125 + 0.25 * x[t]) + -0.5 * x[t + 1]) + x[t + 2]);
            }
        }

        #[test]
        fn probabilities_add_up_to_one(mut x in prop::collection::vec(-90.0f32..90.0, 1..30)) {
            softmax(&mut x);
            prop_assert!((x.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        }
    }
}
