//! Drift: how far the values that a model sees and gives are from those of its training.
//!
//! The host computes it from the inputs that it wrote and the outputs that it read; the guest is not
//! asked. A [`Baseline`] holds bin edges and counts of the training data, never rows, and travels with
//! the signed release. A device counts into the same bins ([`Counts`]); counts of many devices are added
//! and compared like those of one. The distance is the population stability index ([`psi`]), freed from
//! what so few samples would show by chance; a [`Monitor`] keeps the window and says a [`DriftVerdict`].

mod baseline;
mod counts;
mod format;
mod histogram;
mod monitor;
mod psi;
#[cfg(test)]
mod tests;
mod values;

pub(crate) use baseline::class_count;
pub use baseline::{
    Baseline, BaselineError, DEFAULT_BINS, FeatureBaseline, MAX_BINS, MAX_FEATURES, TensorBaseline,
};
pub use counts::{Counts, CountsError, TensorCounts};
pub use monitor::{
    CauseOf, DriftCause, DriftState, DriftVerdict, FeatureDrift, MAX_REPORTED_FEATURES, Monitor,
    MonitorConfig, judge,
};
pub use psi::{PSI_DRIFT, PSI_WARNING, SMOOTHING, chance_limit, expected_by_chance, psi};
pub use values::values;
