//! Counts: what a device saw, in the bins of a baseline. Those of many devices add up.

use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use super::Baseline;
use crate::code::{self, Code, Coded};

/// The counts of one tensor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorCounts {
    /// Per feature the count of each bin.
    pub features: Vec<Vec<u64>>,
    /// How often each class had the greatest value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<u64>,
}

/// What was seen, in the bins of a baseline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Samples.
    pub samples: u64,
    /// Per input.
    pub inputs: Vec<TensorCounts>,
    /// Per output.
    pub outputs: Vec<TensorCounts>,
}

/// Counts of other bins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the counts are those of another baseline")]
pub struct CountsError;

impl Coded for CountsError {
    fn code(&self) -> Code {
        code::transfer::BASELINE_MALFORMED
    }
}

impl Counts {
    /// Adds other counts of the same bins.
    ///
    /// # Errors
    /// They are of other bins; nothing was added.
    pub fn add(&mut self, other: &Counts) -> Result<(), CountsError> {
        if !self.has_shape_of(other) {
            return Err(CountsError);
        }
        self.samples = self.samples.saturating_add(other.samples);
        let tensors = self.inputs.iter_mut().chain(&mut self.outputs);
        for (to, from) in tensors.zip(other.inputs.iter().chain(&other.outputs)) {
            to.features.iter_mut().zip(&from.features).for_each(|(to, from)| add(to, from));
            add(&mut to.classes, &from.classes);
        }
        Ok(())
    }

    /// Whether these are counts in the bins of the baseline, as far as their number tells.
    pub fn fits(&self, baseline: &Baseline) -> bool {
        self.has_shape_of(&baseline.empty_counts())
    }

    fn has_shape_of(&self, other: &Counts) -> bool {
        let same = |a: &[TensorCounts], b: &[TensorCounts]| {
            a.len() == b.len()
                && a.iter().zip(b).all(|(a, b)| {
                    a.classes.len() == b.classes.len()
                        && a.features.len() == b.features.len()
                        && a.features.iter().zip(&b.features).all(|(a, b)| a.len() == b.len())
                })
        };
        same(&self.inputs, &other.inputs) && same(&self.outputs, &other.outputs)
    }
}

fn add(to: &mut [u64], from: &[u64]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = to.saturating_add(*from));
}
