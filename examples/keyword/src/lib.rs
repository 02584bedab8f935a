//! Which of two words was spoken in the last second? A front end and a network in one module.
//!
//! ```text
//! 8000 samples at 8 kHz ─► MFCC, 13 x 61 ─► 3 convolutions ─► greatest of each channel ─► dense ─► softmax
//! ```
//!
//! The front end (`front.rs`) is the block `mel::Mfcc`; the network (`network.rs`) is made of `layer` blocks. Each clip
//! is judged alone: the application keeps the last second and asks as often as it likes.
#![cfg_attr(target_arch = "wasm32", no_std)]

mod front;
mod network;

use dunlin_guest::Failure;
pub use front::CLIP;
use network::LABELS;

/// The model: its weights are constants.
pub struct Keyword;

dunlin_guest::model! {
    Keyword;
    state: none;
    max_batch: 1;
    stack_bytes: 32_768;
    inputs {
        /// One second at 8 kHz, as a microphone of 16 bits gives it.
        audio: i16[n, CLIP];
    }
    outputs {
        /// The probability of each label.
        probabilities: f32[n, LABELS], range 0.0..=1.0,
            labels ["noise", "start", "stop", "other"], meaning probability;
    }
}

impl Keyword {
    /// Judges each clip.
    ///
    /// # Errors
    /// None: every 16 bits are a sample.
    pub fn infer(&self, inputs: Inputs<'_>, outputs: Outputs<'_>) -> Result<(), Failure> {
        for (clip, probabilities) in inputs.audio.iter().zip(outputs.probabilities) {
            *probabilities = network::probabilities(front::coefficients(clip));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn infer(clip: [i16; CLIP]) -> [f32; LABELS] {
        let mut probabilities = [[0.0; LABELS]];
        Keyword.infer(Inputs { audio: &[clip] }, Outputs { probabilities: &mut probabilities }).unwrap();
        probabilities[0]
    }

    #[test]
    fn any_samples_have_probabilities() {
        let mut state = 1u32;
        let random = core::array::from_fn(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as i16
        });
        for clip in [[0; CLIP], [i16::MAX; CLIP], [i16::MIN; CLIP], random] {
            let probabilities = infer(clip);
            assert!((probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{probabilities:?}");
            assert!(probabilities.iter().all(|p| (0.0..=1.0).contains(p)));
        }
    }

    #[test]
    fn loud_noise_is_no_word() {
        let mut state = 7u32;
        let noise = core::array::from_fn(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 16) as i16) / 16
        });
        assert!(infer(noise)[0] > 0.9);
    }
}
