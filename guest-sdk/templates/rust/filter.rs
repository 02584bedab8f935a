//! A low-pass filter of second order: what is above 5 Hz goes, from a signal with 100 samples a second.
//!
//! Direct form II transposed, for each sample:
//!
//! ```text
//! y  = b0 x + z1
//! z1 = b1 x - a1 y + z2
//! z2 = b2 x - a2 y
//! ```
//!
//! The coefficients are the low-pass of R. Bristow-Johnson's Audio EQ Cookbook for f0/Fs = 5/100 and Q = 1/sqrt(2),
//! over a0: w = 2 pi f0/Fs, alpha = sin w / (2 Q), a0 = 1 + alpha, b0 = b2 = (1 - cos w) / 2, b1 = 1 - cos w,
//! a1 = -2 cos w, a2 = 1 - alpha.
//!
//! Status 1: a sample is NaN or infinite, or too large; the filter goes on as if the frame had not come.
#![cfg_attr(target_arch = "wasm32", no_std)]

use dunlin_guest::Failure;

/// Samples of one call.
pub const FRAME: usize = 32;
/// Status 1: a sample is no finite number, or too large.
pub const NOT_FINITE: Failure = Failure::new(1);

const B: [f32; 3] = [0.020_083_366, 0.040_166_73, 0.020_083_366];
const A: [f32; 2] = [-1.561_018_1, 0.641_351_54];

/// What the filter remembers.
pub struct Model {
    z: [f32; 2],
}

impl Model {
    /// As after a reset.
    pub const NEW: Model = Model { z: [0.0; 2] };
}

dunlin_guest::model! {
    Model = Model::NEW;
    state: stream;
    max_batch: 1;
    inputs {
        raw: f32[FRAME], unit "m/s^2", range -160.0..=160.0;
    }
    outputs {
        smooth: f32[FRAME], unit "m/s^2", meaning value;
    }
}

impl Model {
    /// Filters the next 32 samples of the stream.
    ///
    /// # Errors
    /// [`NOT_FINITE`].
    pub fn infer(&mut self, inputs: Inputs<'_>, outputs: Outputs<'_>) -> Result<(), Failure> {
        let [mut z1, mut z2] = self.z;
        for (x, y) in inputs.raw.iter().zip(outputs.smooth) {
            *y = B[0] * x + z1;
            z1 = B[1] * x - A[0] * *y + z2;
            z2 = B[2] * x - A[1] * *y;
        }
        // What is once no number stays none.
        if !z1.is_finite() || !z2.is_finite() {
            return Err(NOT_FINITE);
        }
        self.z = [z1, z2];
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_guest::Recording;

    fn infer(model: &mut Model, raw: &[f32; FRAME]) -> Result<[f32; FRAME], Failure> {
        let mut smooth = [9.0; FRAME];
        model.infer(Inputs { raw }, Outputs { smooth: &mut smooth })?;
        Ok(smooth)
    }

    #[test]
    fn a_level_passes_and_a_flutter_does_not() {
        let (mut model, mut other) = (Model::NEW, Model::NEW);
        let flutter = core::array::from_fn(|i| if i % 2 == 0 { 1.0 } else { -1.0 });
        for _ in 0..4 {
            infer(&mut model, &[9.81; FRAME]).unwrap();
            infer(&mut other, &flutter).unwrap();
        }
        assert!((infer(&mut model, &[9.81; FRAME]).unwrap()[31] - 9.81).abs() < 1e-4);
        assert!(infer(&mut other, &flutter).unwrap().iter().all(|y| y.abs() < 1e-4));
    }

    #[test]
    fn the_first_samples_of_an_impulse_are_the_formula() {
        let mut impulse = [0.0; FRAME];
        impulse[0] = 1.0;
        let smooth = infer(&mut Model { z: [0.0; 2] }, &impulse).unwrap();
        assert_eq!(smooth[..2], [B[0], B[1] - A[0] * B[0]]);
    }

    #[test]
    fn a_frame_with_a_hole_is_as_if_it_had_not_come() {
        let (mut model, mut hole) = (Model::NEW, [1.0; FRAME]);
        hole[5] = f32::NAN;
        assert_eq!(infer(&mut model, &hole), Err(NOT_FINITE));
        assert_eq!(infer(&mut model, &[1.0; FRAME]), infer(&mut Model { z: [0.0; 2] }, &[1.0; FRAME]));
    }

    #[test]
    fn golden_vectors_are_reproduced() {
        let golden = Recording::new(include_bytes!("../golden.npz"));
        for (raw, smooth) in golden.rows("input/raw").zip(golden.rows("output/smooth")) {
            assert_eq!(infer(&mut Model { z: [0.0; 2] }, &raw), Ok(smooth), "each begins with a reset");
        }
    }
}
