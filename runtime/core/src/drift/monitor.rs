//! The monitor: a window over the latest samples, and what it says.
//!
//! The window is a row of panes of a fixed number of samples; when the newest is full, the oldest goes.
//! Counted in samples and not in time, because the noise of the index depends on their number alone: a
//! quiet hour neither alarms nor blinds. Panes and not exponential forgetting, because whole counts add
//! up over devices and have a known distribution under no change. Memory and work per sample are fixed.
//!
//! An index alarms only when it is over its threshold *after* what chance gives on average was taken
//! off, and over what chance gives hardly ever. A state is left only well below the threshold that it
//! was entered at, so that it does not flap.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use serde::{Deserialize, Serialize};

use super::psi::{PSI_DRIFT, PSI_WARNING, chance_limit, expected_by_chance, psi};
use super::{Baseline, Counts, TensorBaseline, TensorCounts};

/// The most features that a verdict names.
pub const MAX_REPORTED_FEATURES: usize = 8;

/// A state is left when the index falls below this share of what it was entered at.
const LEAVE: f64 = 0.8;

/// How a monitor judges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MonitorConfig {
    /// Samples of a pane, at least 1.
    pub pane_samples: u64,
    /// Panes of the window, at least 1.
    pub panes: usize,
    /// With fewer samples the state is [`DriftState::Warming`].
    pub min_samples: u64,
    /// The index of [`DriftState::Warning`].
    pub warning: f64,
    /// The index of [`DriftState::Drift`].
    pub drift: f64,
    /// How unlikely an index must be under no change before it counts, in standard deviations of a normal
    /// value. 4.5 is once in 300,000, so that hundreds of features can be tested at once.
    pub deviations: f64,
}

impl Default for MonitorConfig {
    /// A window of 200 samples in 4 panes, judged from 100 samples on, with the thresholds of the field.
    fn default() -> MonitorConfig {
        MonitorConfig {
            pane_samples: 50,
            panes: 4,
            min_samples: 100,
            warning: PSI_WARNING,
            drift: PSI_DRIFT,
            deviations: 4.5,
        }
    }
}

/// How far the latest samples are from the baseline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DriftState {
    /// Too few samples to say.
    #[default]
    Warming,
    /// As in training.
    Stable,
    /// Changed a little.
    Warning,
    /// Changed.
    Drift,
}

/// One feature that changed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureDrift {
    /// Which input, in the contract's order.
    pub tensor: u32,
    /// Which element of a sample, in row-major order.
    pub element: u32,
    /// Its index.
    pub psi: f64,
}

/// What made a verdict a warning or a drift: the index that is furthest over the threshold of its state.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DriftCause {
    /// What the index is of.
    pub of: CauseOf,
    /// Which input or output, in the contract's order; none for a mean over all inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tensor: Option<u32>,
    /// Which element of a sample, in row-major order; none for a mean and for classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub element: Option<u32>,
    /// The index.
    pub psi: f64,
}

/// What an index is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CauseOf {
    /// One element of an input.
    InputFeature,
    /// The mean of all elements of all inputs.
    InputMean,
    /// One element of an output.
    OutputFeature,
    /// The mean of the elements of an output that has classes.
    OutputMean,
    /// How often each class of an output is the greatest.
    OutputClasses,
}

impl fmt::Display for DriftCause {
    /// `input 0, element 36`, `the classes of output 0`, `the mean of the inputs`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tensor, element) = (self.tensor.unwrap_or_default(), self.element.unwrap_or_default());
        match self.of {
            CauseOf::InputFeature => write!(f, "input {tensor}, element {element}"),
            CauseOf::InputMean => write!(f, "the mean of the inputs"),
            CauseOf::OutputFeature => write!(f, "output {tensor}, element {element}"),
            CauseOf::OutputMean => write!(f, "the mean of output {tensor}"),
            CauseOf::OutputClasses => write!(f, "the classes of output {tensor}"),
        }
    }
}

/// What the window says. Every index is that of [`psi`] less what chance gives on average, at least 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DriftVerdict {
    /// The state.
    pub state: DriftState,
    /// Samples in the window.
    pub samples: u64,
    /// The greatest index of an input feature.
    pub psi_input_max: f64,
    /// The mean index of the input features.
    pub psi_input_mean: f64,
    /// The greatest index of an output: of its classes, or of its elements in the mean; of an output
    /// without classes, of any of its elements.
    pub psi_output: f64,
    /// What the state comes from; none while it is `warming` or `stable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<DriftCause>,
    /// How many input features have reached the warning.
    pub features_over: u32,
    /// The furthest of them, furthest first, at most [`MAX_REPORTED_FEATURES`].
    pub features: Vec<FeatureDrift>,
}

/// Watches the inputs and outputs of one model.
#[derive(Clone, Debug)]
pub struct Monitor {
    baseline: Baseline,
    config: MonitorConfig,
    /// The newest last; never empty.
    panes: VecDeque<Counts>,
    /// Samples of each input, then of each output, in the newest pane.
    filled: Vec<u64>,
    /// What was counted since [`Monitor::take_counts`].
    unreported: Counts,
    unreported_filled: Vec<u64>,
    state: DriftState,
}

/// One index with what chance does to it.
#[derive(Clone, Copy, Debug, Default)]
struct Index {
    /// As computed.
    raw: f64,
    /// Less what chance gives on average, at least 0.
    corrected: f64,
    /// What chance hardly ever exceeds.
    limit: f64,
}

impl Monitor {
    /// A monitor that has seen nothing. Whether the baseline is that of the model is for
    /// [`Baseline::check_card`] to say before.
    pub fn new(baseline: Baseline, config: MonitorConfig) -> Monitor {
        let empty = baseline.empty_counts();
        let filled = alloc::vec![0; baseline.inputs.len() + baseline.outputs.len()];
        Monitor {
            baseline,
            config,
            panes: VecDeque::from([empty.clone()]),
            filled: filled.clone(),
            unreported: empty,
            unreported_filled: filled,
            state: DriftState::Warming,
        }
    }

    /// Counts one sample of an input: its elements in row-major order. [`super::values`] reads them from
    /// raw bytes. A tensor that the baseline does not know is ignored.
    pub fn observe_input(&mut self, tensor: usize, values: impl IntoIterator<Item = f64>) {
        if tensor < self.baseline.inputs.len() {
            self.make_room(tensor);
            let known = &self.baseline.inputs[tensor];
            let newest = self.panes.back_mut().and_then(|pane| pane.inputs.get_mut(tensor));
            count(known, values, newest, self.unreported.inputs.get_mut(tensor));
        }
    }

    /// Counts one sample of an output, likewise.
    pub fn observe_output(&mut self, tensor: usize, values: impl IntoIterator<Item = f64>) {
        if tensor < self.baseline.outputs.len() {
            self.make_room(self.baseline.inputs.len() + tensor);
            let known = &self.baseline.outputs[tensor];
            let newest = self.panes.back_mut().and_then(|pane| pane.outputs.get_mut(tensor));
            count(known, values, newest, self.unreported.outputs.get_mut(tensor));
        }
    }

    /// What was counted since the last call, to be sent away: the fleet's view is the sum of these.
    pub fn take_counts(&mut self) -> Counts {
        self.unreported_filled.fill(0);
        core::mem::replace(&mut self.unreported, self.baseline.empty_counts())
    }

    /// Judges the window.
    pub fn verdict(&mut self) -> DriftVerdict {
        let verdict = judge(&self.baseline, &self.window(), &self.config, self.state);
        self.state = verdict.state;
        verdict
    }

    /// The baseline that it holds the samples against.
    pub fn baseline(&self) -> &Baseline {
        &self.baseline
    }

    fn window(&self) -> Counts {
        let mut window = self.baseline.empty_counts();
        for pane in &self.panes {
            // All panes have the shape of the baseline: there is nothing to refuse.
            let _ = window.add(pane);
        }
        window
    }

    /// Before a sample of the tensor is counted: opens a new pane if the newest is full of it.
    fn make_room(&mut self, slot: usize) {
        if self.filled.get(slot).is_some_and(|filled| *filled >= self.config.pane_samples.max(1)) {
            self.panes.push_back(self.baseline.empty_counts());
            while self.panes.len() > self.config.panes.max(1) {
                self.panes.pop_front();
            }
            self.filled.fill(0);
        }
        let newest = self.panes.back_mut().map(|pane| &mut pane.samples);
        advance(&mut self.filled, slot, newest);
        advance(&mut self.unreported_filled, slot, Some(&mut self.unreported.samples));
    }
}

/// Counts a sample of one tensor; the samples of all are those of the most frequent tensor.
fn advance(filled: &mut [u64], slot: usize, samples: Option<&mut u64>) {
    if let Some((filled, samples)) = filled.get_mut(slot).zip(samples) {
        *filled += 1;
        *samples = (*samples).max(*filled);
    }
}

fn count(
    tensor: &TensorBaseline,
    values: impl IntoIterator<Item = f64>,
    newest: Option<&mut TensorCounts>,
    unreported: Option<&mut TensorCounts>,
) {
    let (Some(newest), Some(unreported)) = (newest, unreported) else { return };
    tensor.count(values.into_iter(), &mut [newest, unreported]);
}

/// Judges counts in the bins of the baseline, of one device or the sum of many, coming from a state.
pub fn judge(baseline: &Baseline, seen: &Counts, config: &MonitorConfig, from: DriftState) -> DriftVerdict {
    let mut verdict = DriftVerdict { samples: seen.samples, ..DriftVerdict::default() };
    let mut evidence = Vec::new();
    let mut inputs = Vec::new();
    for (tensor, (known, seen)) in baseline.inputs.iter().zip(&seen.inputs).enumerate() {
        for (feature, index) in features(known, seen, config).enumerate() {
            if index.reaches(config.warning, 1.0) {
                let element = number(feature).saturating_mul(known.stride);
                verdict.features.push(FeatureDrift { tensor: number(tensor), element, psi: index.corrected });
            }
            let element = number(feature).saturating_mul(known.stride);
            evidence.push(Evidence::of(CauseOf::InputFeature, Some(number(tensor)), Some(element), index));
            inputs.push(index);
        }
    }
    let mean_input = mean(&inputs);
    verdict.psi_input_mean = mean_input.corrected;
    verdict.psi_input_max = greatest(&inputs);
    verdict.features_over = number(verdict.features.len());
    verdict.features.sort_by(|a, b| b.psi.total_cmp(&a.psi));
    verdict.features.truncate(MAX_REPORTED_FEATURES);
    evidence.push(Evidence::of(CauseOf::InputMean, None, None, mean_input));
    let outputs: Vec<Evidence> = (baseline.outputs.iter().zip(&seen.outputs).enumerate())
        .flat_map(|(tensor, (known, seen))| output(number(tensor), known, seen, config))
        .collect();
    verdict.psi_output = outputs.iter().map(|it| it.index.corrected).fold(0.0, f64::max);
    evidence.extend(outputs);
    (verdict.state, verdict.cause) = state(&evidence, seen.samples, config, from);
    verdict
}

/// Tensors and features are few.
fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// What counts about an output: its classes and its elements in the mean, or each element.
fn output(tensor: u32, known: &TensorBaseline, seen: &TensorCounts, config: &MonitorConfig) -> Vec<Evidence> {
    let elements: Vec<Index> = features(known, seen, config).collect();
    if !known.classes.is_empty() {
        let classes = Index::of(&known.classes, &seen.classes, config);
        return alloc::vec![
            Evidence::of(CauseOf::OutputClasses, Some(tensor), None, classes),
            Evidence::of(CauseOf::OutputMean, Some(tensor), None, mean(&elements)),
        ];
    }
    let of_element = |(feature, index): (usize, Index)| {
        let element = number(feature).saturating_mul(known.stride);
        Evidence::of(CauseOf::OutputFeature, Some(tensor), Some(element), index)
    };
    elements.into_iter().enumerate().map(of_element).collect()
}

fn features(
    known: &TensorBaseline,
    seen: &TensorCounts,
    config: &MonitorConfig,
) -> impl Iterator<Item = Index> {
    known.features.iter().zip(&seen.features).map(|(known, seen)| Index::of(&known.counts, seen, config))
}

/// The state, and the furthest of what it comes from.
fn state(
    evidence: &[Evidence],
    samples: u64,
    config: &MonitorConfig,
    from: DriftState,
) -> (DriftState, Option<DriftCause>) {
    if samples < config.min_samples {
        return (DriftState::Warming, None);
    }
    let furthest = |state: DriftState, threshold: f64| {
        let share = if from >= state { LEAVE } else { 1.0 };
        let reached = evidence.iter().filter(|it| it.index.reaches(threshold, share));
        let furthest = reached.max_by(|a, b| a.index.corrected.total_cmp(&b.index.corrected));
        furthest.map(|it| (state, Some(it.cause)))
    };
    furthest(DriftState::Drift, config.drift)
        .or_else(|| furthest(DriftState::Warning, config.warning))
        .unwrap_or((DriftState::Stable, None))
}

/// An index, and what it is of.
#[derive(Clone, Copy, Debug)]
struct Evidence {
    index: Index,
    cause: DriftCause,
}

impl Evidence {
    fn of(of: CauseOf, tensor: Option<u32>, element: Option<u32>, index: Index) -> Evidence {
        Evidence { index, cause: DriftCause { of, tensor, element, psi: index.corrected } }
    }
}

impl Index {
    fn of(expected: &[u64], actual: &[u64], config: &MonitorConfig) -> Index {
        let sum = |counts: &[u64]| counts.iter().fold(0u64, |sum, count| sum.saturating_add(*count));
        let (n, m) = (sum(expected), sum(actual));
        if n == 0 || m == 0 {
            return Index::default();
        }
        let raw = psi(expected, actual);
        let bins = expected.len();
        let corrected = (raw - expected_by_chance(bins, n, m)).max(0.0);
        Index { raw, corrected, limit: chance_limit(bins, n, m, config.deviations) }
    }

    /// Whether it is over the threshold, and not by chance.
    fn reaches(&self, threshold: f64, share: f64) -> bool {
        self.corrected >= threshold * share && self.raw > self.limit * share
    }
}

/// The mean of several. Its limit is the mean limit: right if they all move together, and too careful
/// otherwise.
fn mean(indices: &[Index]) -> Index {
    let count = indices.len().max(1) as f64;
    let sum = |of: fn(&Index) -> f64| indices.iter().map(of).sum::<f64>() / count;
    Index { raw: sum(|i| i.raw), corrected: sum(|i| i.corrected), limit: sum(|i| i.limit) }
}

fn greatest(indices: &[Index]) -> f64 {
    indices.iter().map(|index| index.corrected).fold(0.0, f64::max)
}
