//! Signal blocks for models that are written by hand: from samples to features, scores and decisions.
//!
//! | module | what is in it |
//! |---|---|
//! | [`window`] | sliding windows with a hop; Hann, Hamming and Blackman |
//! | [`fft`] | the spectrum of real samples, its power, the energy of bands |
//! | [`mel`] | mel filters, decibels, DCT-II, MFCC |
//! | [`filter`] | biquads of Bristow-Johnson's cookbook, Butterworth cascades, FIR |
//! | [`stats`] | moments, extremes and quantiles, of a slice, of the last samples, of all since the start |
//! | [`scale`] | features to a common scale: standard, robust, between limits |
//! | [`detect`] | control charts: EWMA and CUSUM |
//! | [`layer`] | dense and convolutional layers, ReLU, sigmoid, softmax |
//! | [`cluster`] | the nearest of k centroids |
//! | [`tree`] | decision trees and forests as flat arrays |
//! | [`lanes`] | four numbers at a time, for kernels of your own |
//!
//! What all of them keep to:
//!
//! - **No allocation, no `std`, no dependency but `libm`.** Sizes are constants of the types; a size that
//!   does not fit another is a compile error.
//! - **Constants.** Every block is made by a `const fn`, tables included, so it can be the initial value
//!   of a `stream` model, and its tables are data of the module.
//! - **The same bits everywhere.** Kernels are written once over [`lanes::F32x4`], which is 128-bit SIMD
//!   in WebAssembly and four floats elsewhere; sums keep one order, and nothing is fused or relaxed.
//!   Only the payload of a NaN may differ.
//! - **Nothing panics on data.** Formulas take NaN and infinities as IEEE 754 has it, and each block says
//!   what comes out. What remembers for ever ([`stats::Running`], [`stats::P2`], [`detect`]) leaves out
//!   samples that are not finite: one broken sample must not blind a detector. Parameters of a design, for
//!   example a cutoff above half the sample rate, are asserted: in a constant that is a compile error.
//!
//! ```
//! use dunlin_blocks::{fft::{Bands, Fft}, window::{self, Sliding, Symmetry}};
//!
//! // 256 samples, a new window every 128, at 1 kHz; the energy below and above 100 Hz.
//! static FFT: Fft<256> = Fft::new();
//! static HANN: [f32; 256] = window::hann(Symmetry::Periodic);
//! static BANDS: Bands<2, 129> = Bands::new(1000.0, [[0.0, 100.0], [100.0, 500.0]]);
//!
//! let mut samples = Sliding::<256, 128>::new();
//! let mut windows = 0;
//! for i in 0..512 {
//!     let sine = libm::sinf(i as f32 * 50.0 * core::f32::consts::TAU / 1000.0);
//!     if let Some(mut frame) = samples.push(sine) {
//!         window::apply(&mut frame, &HANN);
//!         let [low, high] = BANDS.energies(&FFT.power(&frame));
//!         assert!(low > 1000.0 * high, "50 Hz is below 100 Hz");
//!         windows += 1;
//!     }
//! }
//! assert_eq!(windows, 3);
//! ```
//!
//! Neither of these compiles:
//!
//! ```compile_fail,E0080
//! // The spectrum of 32 samples has 17 bins.
//! let power: [f32; 16] = dunlin_blocks::fft::Fft::<32>::new().power(&[0.0; 32]);
//! ```
//!
//! ```compile_fail,E0080
//! // 60 Hz is above half the rate.
//! const LOW_PASS: dunlin_blocks::filter::Biquad = dunlin_blocks::filter::Biquad::low_pass(100.0, 60.0, 0.7);
//! ```
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod cluster;
pub mod detect;
pub mod fft;
pub mod filter;
pub mod fixed;
pub mod lanes;
pub mod layer;
pub mod mel;
pub mod scale;
mod series;
pub mod stats;
pub mod tree;
pub mod window;
