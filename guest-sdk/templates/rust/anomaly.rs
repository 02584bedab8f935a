//! Whether a signal has left the level that it began with: a two-sided CUSUM (Page, 1954).
//!
//! The first 32 samples after a reset are taken for normal. With their mean m and s = 1.25 times their mean
//! distance from it (the standard deviation, where they are normally distributed), for each later sample:
//!
//! ```text
//! z    = (x - m) / s
//! high = max(0, high + z - 0.5)      grows where the signal stays above the mean
//! low  = max(0, low - z - 0.5)       likewise below
//! score = the greatest high or low of the frame, over 8; the alarm is on from 1
//! ```
//!
//! Status 1: a sample is NaN or infinite, or too large; what was learned stays.
#![cfg_attr(target_arch = "wasm32", no_std)]

use dunlin_guest::Failure;

/// Samples of one call.
pub const FRAME: usize = 64;
/// Status 1: a sample is no finite number, or too large to sum.
pub const NOT_FINITE: Failure = Failure::new(1);

/// Samples that are taken for normal.
const LEARN: usize = 32;
/// The drift that is let pass, in standard deviations.
const SLACK: f32 = 0.5;
/// The sum at which the alarm is on, in standard deviations.
const LIMIT: f32 = 8.0;
/// The sums grow no further: a long alarm must not take as long to end.
const MOST: f32 = 2.0 * LIMIT;
/// A signal that does not move at first is taken to move by this much.
const LEAST_SPREAD: f32 = 1e-6;

/// What is known of the signal.
#[derive(Clone, Copy)]
pub struct Model {
    /// Mean and spread, once learned.
    normal: Option<(f32, f32)>,
    high: f32,
    low: f32,
}

impl Model {
    /// As after a reset.
    pub const NEW: Model = Model { normal: None, high: 0.0, low: 0.0 };
}

dunlin_guest::model! {
    Model = Model::NEW;
    state: stream;
    max_batch: 1;
    inputs {
        level: f32[FRAME];
    }
    outputs {
        score: f32[], range 0.0..=2.0, meaning score;
        alarm: bool[];
    }
}

impl Model {
    /// Judges the next 64 samples of the stream.
    ///
    /// # Errors
    /// [`NOT_FINITE`].
    pub fn infer(&mut self, inputs: Inputs<'_>, outputs: Outputs<'_>) -> Result<(), Failure> {
        let (mean, spread, first) = match self.normal {
            Some((mean, spread)) => (mean, spread, 0),
            None => {
                let (mean, spread) = learn(&inputs.level[..LEARN]);
                (mean, spread, LEARN)
            }
        };
        let mut next = Model { normal: Some((mean, spread)), ..*self };
        let mut greatest = 0.0f32;
        for x in &inputs.level[first..] {
            let z = (x - mean) / spread;
            if !z.is_finite() {
                return Err(NOT_FINITE);
            }
            next.high = (next.high + z - SLACK).clamp(0.0, MOST);
            next.low = (next.low - z - SLACK).clamp(0.0, MOST);
            greatest = greatest.max(next.high).max(next.low);
        }
        *self = next;
        *outputs.score = greatest / LIMIT;
        *outputs.alarm = u8::from(greatest >= LIMIT);
        Ok(())
    }
}

/// Mean and standard deviation of normal samples.
fn learn(samples: &[f32]) -> (f32, f32) {
    let (mut sum, mut distances) = (0.0, 0.0);
    for x in samples {
        sum += x;
    }
    let mean = sum / LEARN as f32;
    for x in samples {
        distances += (x - mean).abs();
    }
    (mean, (1.25 * distances / LEARN as f32).max(LEAST_SPREAD))
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_guest::Recording;

    fn infer(model: &mut Model, level: &[f32; FRAME]) -> Result<(f32, u8), Failure> {
        let (mut score, mut alarm) = (0.0, 9);
        model.infer(Inputs { level }, Outputs { score: &mut score, alarm: &mut alarm })?;
        Ok((score, alarm))
    }

    /// A signal that swings around `middle`; mean distance 0.8, so that the spread is 1.
    fn swing(middle: f32) -> [f32; FRAME] {
        core::array::from_fn(|i| if i % 2 == 0 { middle + 0.8 } else { middle - 0.8 })
    }

    #[test]
    fn a_signal_that_stays_is_quiet_and_one_that_moves_is_not() {
        let mut model = Model::NEW;
        for _ in 0..10 {
            let (score, alarm) = infer(&mut model, &swing(20.0)).unwrap();
            assert!(score < 0.1 && alarm == 0, "{score}");
        }
        // A step of 1 spread: each pair adds 2 * (1 - 0.5), so the limit is reached within 16 samples.
        assert_eq!(infer(&mut model, &swing(21.0)).unwrap(), (2.0, 1));
        let mut model = Model::NEW;
        infer(&mut model, &swing(20.0)).unwrap();
        assert_eq!(infer(&mut model, &swing(19.0)).unwrap().1, 1, "likewise below");
    }

    #[test]
    fn a_hole_is_refused_and_nothing_is_forgotten() {
        let mut model = Model::NEW;
        infer(&mut model, &swing(20.0)).unwrap();
        let mut hole = swing(20.0);
        hole[63] = f32::NAN;
        assert_eq!(infer(&mut model, &hole), Err(NOT_FINITE));
        assert_eq!(infer(&mut model, &swing(21.0)).unwrap().1, 1);
        let mut new = Model::NEW;
        hole[3] = f32::INFINITY;
        assert_eq!(infer(&mut new, &hole), Err(NOT_FINITE), "also among the first samples");
        assert!(new.normal.is_none());
    }

    #[test]
    fn golden_vectors_are_reproduced() {
        let golden = Recording::new(include_bytes!("../golden.npz"));
        let expected = golden.rows("output/score").zip(golden.rows("output/alarm"));
        for (level, answer) in golden.rows("input/level").zip(expected) {
            assert_eq!(infer(&mut { Model::NEW }, &level), Ok(answer), "each begins with a reset");
        }
    }
}
