//! Is the bearing of a machine still healthy? From one axis of an accelerometer, without a label of any damage.
//!
//! ```text
//! 512 samples, every 256 ─► Hann ─► FFT ─► energy of 8 bands in dB ─► (x - median) / IQR
//!                                            ─► distance to the nearest of 4 healthy centroids ─► EWMA chart
//! ```
//!
//! A call takes the next 512 samples of the stream at 12 kHz (43 ms) and answers with means over the windows
//! that end in them: one in the first call, two in later ones. The state is `worn` while the moving average of the
//! distance is above its limit. What is healthy is in `healthy.rs`, which `train.py` fits to healthy
//! recordings; it holds for the machine that they are of.
//!
//! A call with a sample that is not finite is refused with status 1, and forgotten.
#![cfg_attr(target_arch = "wasm32", no_std)]

mod healthy;

use dunlin_blocks::detect::{Ewma, Shift};
use dunlin_blocks::fft::{Bands, Fft};
use dunlin_blocks::window::{self, Sliding, Symmetry};
use dunlin_guest::Failure;

/// Samples of a call, and of a window.
pub const WINDOW: usize = 512;
/// Samples from window to window.
const HOP: usize = WINDOW / 2;
/// Bins of a spectrum.
const BINS: usize = WINDOW / 2 + 1;
/// Bands of frequencies.
pub const BANDS: usize = 8;
/// Samples a second.
const RATE_HZ: f64 = 12_000.0;

/// Status 1: a sample is NaN or infinite.
pub const NOT_FINITE: Failure = Failure::new(1);

static HANN: [f32; WINDOW] = window::hann(Symmetry::Periodic);
static FFT: Fft<WINDOW> = Fft::new();
static ENERGIES: Bands<BANDS, BINS> = Bands::new(RATE_HZ, healthy::BANDS_HZ);

/// What lives from call to call: the last samples, and where the chart stands.
pub struct Vibration {
    samples: Sliding<WINDOW, HOP>,
    chart: Ewma,
}

dunlin_guest::model! {
    Vibration = Vibration::new();
    state: stream;
    max_batch: 1;
    stack_bytes: 32_768;
    inputs {
        /// The next samples of one axis, at 12 kHz.
        acceleration: f32[n, WINDOW], unit "m/s^2", range -160.0..=160.0;
    }
    outputs {
        /// The mean square of each band, less 4.3 dB that Hann's window takes.
        levels: f32[n, BANDS], unit "dB", meaning value;
        /// How far the scaled levels are from the nearest of healthy bearings.
        distance: f32[n], meaning score;
        /// The moving average of the distance.
        average: f32[n], meaning score;
        /// Whether the average is above its limit.
        state: u8[n], labels ["healthy", "worn"], meaning label;
    }
}

impl Vibration {
    /// At the beginning of a stream.
    pub const fn new() -> Self {
        let [mean, deviation] = healthy::DISTANCE;
        Vibration {
            samples: Sliding::new(),
            chart: Ewma::new(mean, deviation, healthy::LAMBDA, healthy::LIMIT),
        }
    }

    /// Takes the next samples of the stream.
    ///
    /// # Errors
    /// [`NOT_FINITE`]: a sample is NaN or infinite. None of them is kept.
    pub fn infer(&mut self, inputs: Inputs<'_>, outputs: Outputs<'_>) -> Result<(), Failure> {
        let places = outputs.levels.iter_mut().zip(outputs.distance).zip(outputs.average).zip(outputs.state);
        for (samples, (((levels, distance), average), state)) in inputs.acceleration.iter().zip(places) {
            if samples.iter().any(|sample| !sample.is_finite()) {
                return Err(NOT_FINITE);
            }
            let mut windows = 0.0;
            for window in samples.iter().filter_map(|sample| self.samples.push(*sample)) {
                windows += 1.0;
                levels.iter_mut().zip(band_levels(window)).for_each(|(sum, level)| *sum += level);
            }
            // A call is as long as a window, so at least one has ended.
            levels.iter_mut().for_each(|level| *level /= windows);
            let mut scaled = *levels;
            healthy::SCALER.apply(&mut scaled);
            *distance = healthy::CENTROIDS.nearest(&scaled).distance;
            let shift = self.chart.push(*distance);
            *average = self.chart.value();
            *state = u8::from(shift == Shift::Up);
        }
        Ok(())
    }
}

impl Default for Vibration {
    fn default() -> Self {
        Vibration::new()
    }
}

/// The mean square of each band, in dB; -100 dB for silence.
fn band_levels(mut window: [f32; WINDOW]) -> [f32; BANDS] {
    window::apply(&mut window, &HANN);
    let mut levels = ENERGIES.energies(&FFT.power(&window)).map(|energy| energy / WINDOW as f32);
    dunlin_blocks::mel::decibels(&mut levels);
    levels
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answers to one call.
    fn infer(model: &mut Vibration, samples: [f32; WINDOW]) -> Result<([f32; BANDS], f32, u8), Failure> {
        let (mut levels, mut distance, mut average, mut state) = ([[0.0; BANDS]], [0.0], [0.0], [0]);
        let outputs = Outputs {
            levels: &mut levels,
            distance: &mut distance,
            average: &mut average,
            state: &mut state,
        };
        model.infer(Inputs { acceleration: &[samples] }, outputs)?;
        Ok((levels[0], distance[0], state[0]))
    }

    fn sine(hz: f32, amplitude: f32) -> [f32; WINDOW] {
        core::array::from_fn(|n| {
            9.81 + amplitude * (core::f32::consts::TAU * hz * n as f32 / RATE_HZ as f32).sin()
        })
    }

    #[test]
    fn a_tone_is_in_its_band_and_gravity_in_none() {
        // 1125 Hz is bin 48: a mean square of 2, of which Hann's window leaves 3/8, is -1.25 dB.
        let (levels, ..) = infer(&mut Vibration::new(), sine(1125.0, 2.0)).unwrap();
        assert!((levels[2] + 1.249).abs() < 0.01, "{levels:?}");
        assert!(levels.iter().enumerate().all(|(band, level)| band == 2 || *level < -60.0), "{levels:?}");
    }

    #[test]
    fn what_is_far_from_healthy_is_worn_after_some_calls() {
        let mut model = Vibration::new();
        let states: Vec<u8> = (0..20).map(|_| infer(&mut model, sine(3200.0, 5.0)).unwrap().2).collect();
        assert!(states.is_sorted() && states[19] == 1, "{states:?}");
    }

    #[test]
    fn a_broken_sample_is_refused_and_forgotten() {
        let (mut model, mut other) = (Vibration::new(), Vibration::new());
        for call in 0..4 {
            let mut broken = sine(100.0, 1.0);
            broken[WINDOW - 1 - call] = [f32::NAN, f32::INFINITY][call % 2];
            assert_eq!(infer(&mut model, broken), Err(NOT_FINITE));
            let good = sine(400.0 * call as f32, 1.0);
            assert_eq!(infer(&mut model, good), infer(&mut other, good));
        }
    }
}
