//! The front end: one second of sound to 13 mel-frequency cepstral coefficients of 61 frames.
//!
//! A frame has 256 samples (32 ms at 8 kHz) and begins 128 after the one before. librosa's `feature.mfcc` with
//! `n_fft=256, hop_length=128, n_mels=24, fmin=20, center=False`, but for `top_db`.

use dunlin_blocks::mel::{Bank, Convention, Mfcc};
use dunlin_blocks::window::{Sliding, Symmetry, hann};

/// Samples of a clip.
pub const CLIP: usize = 8000;
/// Coefficients of a frame.
pub const COEFFICIENTS: usize = 13;
/// Frames of a clip.
pub const FRAMES: usize = (CLIP - FRAME) / HOP + 1;

const FRAME: usize = 256;
const HOP: usize = 128;

static MFCC: Mfcc<FRAME, { FRAME / 2 + 1 }, 24, COEFFICIENTS> =
    Mfcc::new(hann(Symmetry::Periodic), Bank::new(8000.0, [20.0, 4000.0], Convention::Slaney));

/// A row for each coefficient, a column for each frame.
pub fn coefficients(clip: &[i16; CLIP]) -> [[f32; FRAMES]; COEFFICIENTS] {
    let mut sliding = Sliding::<FRAME, HOP>::new();
    let frames = clip.iter().filter_map(|sample| sliding.push(f32::from(*sample) / 32_768.0));
    let mut coefficients = [[0.0; FRAMES]; COEFFICIENTS];
    for (n, frame) in frames.enumerate() {
        for (row, coefficient) in coefficients.iter_mut().zip(MFCC.coefficients(&frame)) {
            if let Some(place) = row.get_mut(n) {
                *place = coefficient;
            }
        }
    }
    coefficients
}
