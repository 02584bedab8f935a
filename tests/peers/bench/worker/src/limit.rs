//! What the machine allows: the multiply-accumulates of a model at the greatest rate of 128-bit fused
//! multiply-adds, and the reads of its weights at the greatest rate of 128-bit loads.
//!
//! 128 bits, because WebAssembly has no wider vectors; a native library may well use 512 and be faster
//! than this limit. The weights lie in whatever cache holds that many bytes, as they do for a model
//! that is called again and again. The limit is the greater of the two times: both can overlap.

use std::hint::black_box;
use std::time::Instant;

use crate::{Candidate, median};

/// Numbers in a vector.
const LANES: usize = 4;
/// Independent chains: two a cycle with a latency of four need eight, and 16 registers hold twelve.
const CHAINS: usize = 12;

pub(crate) struct Limit {
    steps: usize,
    weights: Vec<f32>,
    reads: usize,
}

impl Limit {
    pub(crate) fn new(macs: usize, weight_bytes: usize, read_bytes: usize) -> anyhow::Result<Limit> {
        anyhow::ensure!(kernels::available(), "this machine has no fused multiply-add of 128 bits");
        Ok(Limit {
            steps: macs.div_ceil(LANES * CHAINS),
            weights: vec![1.0; (weight_bytes / 4).next_multiple_of(LANES * 8)],
            reads: read_bytes.checked_div(weight_bytes).unwrap_or(0),
        })
    }
}

impl Candidate for Limit {
    fn call(&mut self) -> anyhow::Result<()> {
        black_box(kernels::multiply_accumulate(black_box(self.steps)));
        for _ in 0..self.reads {
            black_box(kernels::read(black_box(&self.weights)));
        }
        Ok(())
    }

    fn output(&mut self) -> anyhow::Result<Vec<f32>> {
        Ok(Vec::new())
    }

    fn measure(&mut self, calls: usize) -> anyhow::Result<f64> {
        let (mut arithmetic, mut memory) = (Vec::new(), Vec::new());
        for _ in 0..calls {
            let start = Instant::now();
            black_box(kernels::multiply_accumulate(black_box(self.steps)));
            let between = Instant::now();
            for _ in 0..self.reads {
                black_box(kernels::read(black_box(&self.weights)));
            }
            arithmetic.push((between - start).as_nanos() as f64);
            memory.push(between.elapsed().as_nanos() as f64);
        }
        Ok(median(arithmetic).max(median(memory)))
    }
}

#[cfg(target_arch = "x86_64")]
mod kernels {
    use std::arch::x86_64::{_mm_add_ps, _mm_cvtss_f32, _mm_fmadd_ps, _mm_loadu_ps, _mm_set1_ps};

    use super::{CHAINS, LANES};

    pub(super) fn available() -> bool {
        is_x86_feature_detected!("fma")
    }

    pub(super) fn multiply_accumulate(steps: usize) -> f32 {
        #[target_feature(enable = "fma")]
        fn chains(steps: usize) -> f32 {
            let (x, y) = (_mm_set1_ps(std::hint::black_box(0.5)), _mm_set1_ps(std::hint::black_box(0.25)));
            let mut sums = [_mm_set1_ps(1.0); CHAINS];
            for _ in 0..steps {
                for sum in &mut sums {
                    *sum = _mm_fmadd_ps(*sum, x, y);
                }
            }
            sums.into_iter().map(|sum| _mm_cvtss_f32(sum)).sum()
        }
        // SAFETY: `available` was asked before.
        unsafe { chains(steps) }
    }

    pub(super) fn read(numbers: &[f32]) -> f32 {
        #[target_feature(enable = "fma")]
        fn sums(numbers: &[f32]) -> f32 {
            let mut sums = [_mm_set1_ps(0.0); 8];
            for block in numbers.as_chunks::<{ LANES * 8 }>().0 {
                for (sum, vector) in sums.iter_mut().zip(block.as_chunks::<LANES>().0) {
                    // SAFETY: the vector has four numbers; unaligned loads are allowed.
                    *sum = _mm_add_ps(*sum, unsafe { _mm_loadu_ps(vector.as_ptr()) });
                }
            }
            sums.into_iter().map(|sum| _mm_cvtss_f32(sum)).sum()
        }
        // SAFETY: `available` was asked before.
        unsafe { sums(numbers) }
    }
}

#[cfg(target_arch = "aarch64")]
mod kernels {
    use std::arch::aarch64::{vaddq_f32, vaddvq_f32, vdupq_n_f32, vfmaq_f32, vld1q_f32};

    use super::{CHAINS, LANES};

    pub(super) fn available() -> bool {
        true
    }

    pub(super) fn multiply_accumulate(steps: usize) -> f32 {
        // SAFETY: every aarch64 has NEON.
        unsafe {
            let (x, y) = (vdupq_n_f32(std::hint::black_box(1e-9)), vdupq_n_f32(std::hint::black_box(0.25)));
            let mut sums = [vdupq_n_f32(1.0); CHAINS];
            for _ in 0..steps {
                for sum in &mut sums {
                    *sum = vfmaq_f32(*sum, x, y);
                }
            }
            sums.into_iter().map(|sum| vaddvq_f32(sum)).sum()
        }
    }

    pub(super) fn read(numbers: &[f32]) -> f32 {
        // SAFETY: every aarch64 has NEON, and each vector has four numbers.
        unsafe {
            let mut sums = [vdupq_n_f32(0.0); 8];
            for block in numbers.as_chunks::<{ LANES * 8 }>().0 {
                for (sum, vector) in sums.iter_mut().zip(block.as_chunks::<LANES>().0) {
                    *sum = vaddq_f32(*sum, vld1q_f32(vector.as_ptr()));
                }
            }
            sums.into_iter().map(|sum| vaddvq_f32(sum)).sum()
        }
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod kernels {
    pub(super) fn available() -> bool {
        false
    }

    pub(super) fn multiply_accumulate(_: usize) -> f32 {
        0.0
    }

    pub(super) fn read(_: &[f32]) -> f32 {
        0.0
    }
}
