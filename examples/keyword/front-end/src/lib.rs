//! The front end of the keyword example as a module of its own: its output is the input of the compiled network.
//!
//! The other way to put the two together; the README of the example measures both.
#![cfg_attr(target_arch = "wasm32", no_std)]

#[path = "../../src/front.rs"]
mod front;

use dunlin_guest::Failure;
use front::{CLIP, COEFFICIENTS, FRAMES};

/// Without weights.
pub struct FrontEnd;

dunlin_guest::model! {
    FrontEnd;
    state: none;
    max_batch: 1;
    stack_bytes: 32_768;
    inputs {
        /// One second at 8 kHz.
        audio: i16[n, CLIP];
    }
    outputs {
        /// Mel-frequency cepstral coefficients.
        coefficients: f32[n, COEFFICIENTS, FRAMES], meaning value;
    }
}

impl FrontEnd {
    /// The coefficients of each clip.
    ///
    /// # Errors
    /// None: every 16 bits are a sample.
    pub fn infer(&self, inputs: Inputs<'_>, outputs: Outputs<'_>) -> Result<(), Failure> {
        for (clip, coefficients) in inputs.audio.iter().zip(outputs.coefficients) {
            *coefficients = front::coefficients(clip);
        }
        Ok(())
    }
}
