//! A model that prepares itself once and gives as many answers as there are: the peaks of a window.
//!
//! `cd guest-sdk && cargo build --example peaks --release --target wasm32-unknown-unknown` makes the module. The
//! window is weighted by a raised cosine, whose table is computed when the model starts and takes no room in
//! the file. Status 1: more than 8 peaks.
#![cfg_attr(target_arch = "wasm32", no_std)]

use dunlin_guest::Failure;

/// Samples of a window.
const WINDOW: usize = 32;
/// The most peaks of a window.
const MOST: usize = 8;
/// Status 1: there are more peaks than the output holds.
const TOO_MANY: Failure = Failure::new(1);

/// The weights.
pub struct Peaks {
    weights: [f32; WINDOW],
}

dunlin_guest::model! {
    Peaks = Peaks { weights: [0.0; WINDOW] };
    state: none;
    max_batch: 1;
    init: prepare;
    inputs {
        level: f32[WINDOW], unit "V", range -10.0..=10.0;
    }
    outputs {
        /// Position and height of each, in order.
        peaks: f32[{MOST}, 2], labels ["position", "height"], meaning value;
        count: u32[], meaning value;
    }
}

impl Peaks {
    /// `w[i] = x (2 - x)` with `x = i / 16` kept within 0..=2: a parabola, 0 at the ends and 1 in the middle.
    ///
    /// # Errors
    /// None: the table has a fixed size.
    pub fn prepare(&mut self) -> Result<(), Failure> {
        for (i, weight) in self.weights.iter_mut().enumerate() {
            let x = i as f32 / (WINDOW / 2) as f32;
            *weight = x * (2.0 - x);
        }
        Ok(())
    }

    /// Samples whose weighted level is above both neighbours and above 1 V.
    ///
    /// # Errors
    /// [`TOO_MANY`].
    pub fn infer(&self, inputs: Inputs<'_>, outputs: Outputs<'_>) -> Result<(), Failure> {
        let at = |i: usize| inputs.level[i] * self.weights[i];
        for i in 1..WINDOW - 1 {
            if at(i) > 1.0 && at(i) > at(i - 1) && at(i) > at(i + 1) {
                outputs.peaks.push([i as f32, at(i)]).map_err(|_| TOO_MANY)?;
            }
        }
        *outputs.count = outputs.peaks.len() as u32;
        Ok(())
    }
}
