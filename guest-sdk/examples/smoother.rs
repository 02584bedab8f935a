//! A stream model with all three imports: four temperatures, smoothed.
//!
//! `cd guest-sdk && cargo build --example smoother --release --target wasm32-unknown-unknown` makes
//! the module; its release must grant `log`, `metric` and `clock`. A channel above 3 is beyond the
//! table and panics: the host reports the message with this file and the line.
#![cfg_attr(target_arch = "wasm32", no_std)]

use dunlin_guest::{Failure, Level};

/// A first-order low-pass filter for each channel.
pub struct Smoother {
    mean: [f32; 4],
    seen: [u32; 4],
}

dunlin_guest::model! {
    Smoother = Smoother { mean: [0.0; 4], seen: [0; 4] };
    state: stream;
    max_batch: 1;
    inputs {
        channel: u8[], range 0..=3;
        temperature: f32[], unit "degC", range -40.0..=125.0;
    }
    outputs {
        smooth: f32[], unit "degC", range -40.0..=125.0, meaning value;
    }
}

impl Smoother {
    /// Moves the channel's mean a sixteenth of the way; the first value of a channel is its mean.
    ///
    /// # Errors
    /// None: every number has a mean.
    pub fn infer(&mut self, inputs: Inputs<'_>, outputs: Outputs<'_>) -> Result<(), Failure> {
        let channel = usize::from(*inputs.channel);
        let (mean, seen) = (&mut self.mean[channel], &mut self.seen[channel]);
        if *seen == 0 {
            dunlin_guest::log!(Level::Info, "channel {channel} begins at {} ms", dunlin_guest::clock());
            *mean = *inputs.temperature;
        }
        *mean += (inputs.temperature - *mean) / 16.0;
        *seen = seen.saturating_add(1);
        dunlin_guest::metric("seen", f64::from(*seen));
        *outputs.smooth = *mean;
        Ok(())
    }
}
