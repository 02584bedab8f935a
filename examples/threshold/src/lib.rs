//! An alarm on the vibration of a machine, from windows of 64 samples of acceleration.
//!
//! With x the window less its mean (gravity is no vibration):
//!
//! ```text
//! rms   = sqrt(sum(x[i]^2) / 64)                      how strong the vibration is
//! peak  = max(|x[i]|)                                 the hardest knock
//! crest = peak / rms, 0 where rms is 0                1 for a square wave, 1.41 for a sine; knocks raise it
//! alarm = max(ramp(rms, 4, 12), ramp(crest, 4, 8))    ramp(v, a, b) = (v - a) / (b - a), kept within 0..=1
//! ```
//!
//! A worn bearing first knocks (the crest factor rises), then shakes (the rms rises and the crest
//! factor falls again), so the alarm is the worse of the two. It says nothing about machines whose
//! limits are others: they are the constants below.
//!
//! A window with a NaN, an infinity or numbers whose squares overflow is refused with status 1.
#![cfg_attr(target_arch = "wasm32", no_std)]

use dunlin_guest::Failure;

/// Samples of one window.
pub const WINDOW: usize = 64;

/// Status 1: the rms is no finite number, because a sample is none or is too large.
pub const NOT_FINITE: Failure = Failure::new(1);

/// The rms where the alarm begins and where it is full, in m/s².
const RMS_LIMITS: [f32; 2] = [4.0, 12.0];

/// The crest factor where the alarm begins and where it is full.
const CREST_LIMITS: [f32; 2] = [4.0, 8.0];

/// The model: no weights, no memory.
pub struct Threshold;

dunlin_guest::model! {
    Threshold;
    state: none;
    max_batch: 16;
    stack_bytes: 16_384;
    inputs {
        /// Windows of one axis of an accelerometer with a range of 16 g.
        acceleration: f32[n, WINDOW], unit "m/s^2", range -160.0..=160.0;
    }
    outputs {
        /// How strong the vibration is.
        rms: f32[n], unit "m/s^2", meaning value;
        /// The hardest knock.
        peak: f32[n], unit "m/s^2", meaning value;
        /// Peak over rms.
        crest: f32[n], meaning value;
        /// 0 is quiet, 1 is the full alarm.
        alarm: f32[n], range 0.0..=1.0, meaning score;
    }
}

impl Threshold {
    /// Fills one place of each output for each window.
    ///
    /// # Errors
    /// [`NOT_FINITE`]: a sample is NaN, infinite or too large to square.
    pub fn infer(&self, inputs: Inputs<'_>, outputs: Outputs<'_>) -> Result<(), Failure> {
        let places = outputs.rms.iter_mut().zip(outputs.peak).zip(outputs.crest).zip(outputs.alarm);
        for (window, (((rms, peak), crest), alarm)) in inputs.acceleration.iter().zip(places) {
            (*rms, *peak) = rms_and_peak(window);
            if !rms.is_finite() {
                return Err(NOT_FINITE);
            }
            *crest = if *rms > 0.0 { *peak / *rms } else { 0.0 };
            *alarm = ramp(*rms, RMS_LIMITS).max(ramp(*crest, CREST_LIMITS));
        }
        Ok(())
    }
}

/// The root of the mean square and the greatest magnitude of a window less its mean.
fn rms_and_peak(window: &[f32; WINDOW]) -> (f32, f32) {
    let mean = window.iter().sum::<f32>() / WINDOW as f32;
    let (mut squares, mut peak) = (0.0, 0.0f32);
    for sample in window {
        let x = sample - mean;
        squares += x * x;
        peak = peak.max(x.abs());
    }
    (libm::sqrtf(squares / WINDOW as f32), peak)
}

/// 0 up to `begin`, 1 from `full`, a straight line between.
fn ramp(value: f32, [begin, full]: [f32; 2]) -> f32 {
    ((value - begin) / (full - begin)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// rms, peak, crest and alarm of one window.
    fn infer(window: [f32; WINDOW]) -> Result<[f32; 4], Failure> {
        let [mut rms, mut peak, mut crest, mut alarm] = [[0.0]; 4];
        let outputs = Outputs { rms: &mut rms, peak: &mut peak, crest: &mut crest, alarm: &mut alarm };
        Threshold.infer(Inputs { acceleration: &[window] }, outputs)?;
        Ok([rms[0], peak[0], crest[0], alarm[0]])
    }

    #[test]
    fn gravity_alone_is_no_vibration() {
        assert_eq!(infer([9.75; WINDOW]), Ok([0.0; 4]));
    }

    #[test]
    fn a_strong_square_wave_is_half_an_alarm() {
        // x = +-8 around gravity: rms 8, peak 8, crest 1; ramp(8, 4, 12) = 0.5.
        let window = core::array::from_fn(|i| if i % 2 == 0 { 17.75 } else { 1.75 });
        assert_eq!(infer(window), Ok([8.0, 8.0, 1.0, 0.5]));
    }

    #[test]
    fn a_single_knock_is_seen_by_the_crest_factor() {
        // One pair of +-16 in silence: squares 512, rms sqrt(8), crest 16/sqrt(8) = 5.657; (5.657 - 4)/4 = 0.414.
        let window = core::array::from_fn(|i| [16.0, -16.0].get(i).copied().unwrap_or(0.0));
        let expected = [2.828_427, 16.0, 5.656_854, 0.414_213_56];
        for (got, wanted) in infer(window).unwrap().into_iter().zip(expected) {
            assert!((got - wanted).abs() < 1e-6, "{got} is not {wanted}");
        }
    }

    #[test]
    fn beyond_the_limits_the_alarm_stays_1() {
        let window = core::array::from_fn(|i| if i % 2 == 0 { 100.0 } else { -100.0 });
        assert_eq!(infer(window), Ok([100.0, 100.0, 1.0, 1.0]));
    }

    #[test]
    fn a_window_with_a_hole_is_refused() {
        for hole in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
            let mut window = [0.0; WINDOW];
            window[63] = hole;
            assert_eq!(infer(window), Err(NOT_FINITE));
        }
    }
}
