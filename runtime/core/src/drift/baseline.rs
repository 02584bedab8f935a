//! The baseline: how the values of the training data are distributed, in counts.

use alloc::string::String;
use alloc::vec::Vec;
use dunlin_abi::{Card, Dim, Meaning, TensorSpec};

use super::histogram::{bin, quantile_edges};
use super::{Counts, TensorCounts};
use crate::code::{self, Code, Coded};

/// How many bins a feature gets at most, unless the operator chose otherwise.
pub const DEFAULT_BINS: usize = 10;

/// The most bins of a feature.
pub const MAX_BINS: usize = 64;

/// The most features of a tensor. Of a larger tensor every second, third, … element is watched.
pub const MAX_FEATURES: usize = 1024;

/// One element of a tensor: its bins and the training data in them.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureBaseline {
    pub(super) edges: Vec<f64>,
    pub(super) counts: Vec<u64>,
}

impl FeatureBaseline {
    /// The edges, strictly increasing: `k` of them make `k + 1` bins, the two at the ends open.
    pub fn edges(&self) -> &[f64] {
        &self.edges
    }

    /// The training data in each bin.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    fn build(values: &[f64], bins: usize) -> FeatureBaseline {
        let edges = quantile_edges(values, bins);
        let mut counts = alloc::vec![0; edges.len() + 1];
        for value in values {
            if let Some(count) = bin(&edges, *value).and_then(|bin| counts.get_mut(bin)) {
                *count += 1;
            }
        }
        FeatureBaseline { edges, counts }
    }
}

/// One tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorBaseline {
    /// Elements of one sample, at most.
    pub(super) elements: u32,
    /// The features are the elements 0, `stride`, 2 `stride`, …
    pub(super) stride: u32,
    pub(super) features: Vec<FeatureBaseline>,
    /// How often each class had the greatest value; empty for tensors without classes.
    pub(super) classes: Vec<u64>,
}

impl TensorBaseline {
    /// The features that are watched.
    pub fn features(&self) -> &[FeatureBaseline] {
        &self.features
    }

    /// How many elements lie from one feature to the next.
    pub fn stride(&self) -> u32 {
        self.stride
    }

    /// How often each class had the greatest value; empty for tensors without classes.
    pub fn classes(&self) -> &[u64] {
        &self.classes
    }

    fn build(spec: &TensorSpec, rows: &[Vec<f64>], bins: usize) -> Result<TensorBaseline, BaselineError> {
        let elements = elements(spec);
        let dynamic = spec.shape.iter().any(|dim| matches!(dim, Dim::AtMost(_)));
        for (sample, row) in rows.iter().enumerate() {
            let actual = row.len();
            if actual > elements as usize || !dynamic && actual != elements as usize {
                let tensor = spec.name.clone();
                return Err(BaselineError::Row { tensor, sample, expected: elements, actual });
            }
        }
        let stride = stride(elements);
        let feature = |element: u32| {
            let values: Vec<f64> = rows.iter().filter_map(|row| row.get(element as usize).copied()).collect();
            FeatureBaseline::build(&values, bins)
        };
        let features = (0..elements).step_by(stride as usize).map(feature).collect();
        let classes = alloc::vec![0; class_count(spec)];
        let mut tensor = TensorBaseline { elements, stride, features, classes };
        let mut counts = tensor.empty_counts();
        rows.iter().for_each(|row| tensor.count(row.iter().copied(), &mut [&mut counts]));
        tensor.classes = counts.classes;
        Ok(tensor)
    }

    pub(super) fn empty_counts(&self) -> TensorCounts {
        TensorCounts {
            features: self.features.iter().map(|feature| alloc::vec![0; feature.counts.len()]).collect(),
            classes: alloc::vec![0; self.classes.len()],
        }
    }

    /// Adds one sample to each of the counts.
    pub(super) fn count(&self, values: impl Iterator<Item = f64>, counts: &mut [&mut TensorCounts]) {
        let (stride, classes) = (self.stride.max(1) as usize, self.classes.len());
        let mut best: Option<(usize, f64)> = None;
        for (element, value) in values.take(self.elements as usize).enumerate() {
            if element % stride == 0
                && let Some(feature) = self.features.get(element / stride)
                && let Some(bin) = bin(&feature.edges, value)
            {
                counts.iter_mut().for_each(|to| increment(to.features.get_mut(element / stride), bin));
            }
            if classes == 0 {
                continue;
            }
            let class = element % classes;
            if class == 0 {
                best = None;
            }
            if !value.is_nan() && best.is_none_or(|(_, greatest)| value > greatest) {
                best = Some((class, value));
            }
            if class + 1 == classes
                && let Some((class, _)) = best
            {
                counts.iter_mut().for_each(|to| increment(Some(&mut to.classes), class));
            }
        }
    }

    fn fits(&self, spec: &TensorSpec) -> bool {
        let elements = elements(spec);
        self.elements == elements
            && self.stride == stride(elements)
            && self.features.len() == elements.div_ceil(self.stride.max(1)) as usize
            && self.classes.len() == class_count(spec)
    }
}

fn increment(counts: Option<&mut Vec<u64>>, index: usize) {
    if let Some(count) = counts.and_then(|counts| counts.get_mut(index)) {
        *count = count.saturating_add(1);
    }
}

fn elements(spec: &TensorSpec) -> u32 {
    spec.sample_elements().unwrap_or(u32::MAX)
}

fn stride(elements: u32) -> u32 {
    elements.div_ceil(MAX_FEATURES as u32).max(1)
}

/// How many classes a tensor chooses among: those of the last axis, where its numbers mean that.
pub(crate) fn class_count(spec: &TensorSpec) -> usize {
    match (spec.meaning, spec.labels.len()) {
        (Some(Meaning::Probability | Meaning::Logit), labels @ 2..) => labels,
        (
            Some(Meaning::Probability | Meaning::Logit | Meaning::Score | Meaning::Value | Meaning::Label)
            | None,
            _,
        ) => 0,
    }
}

/// How the values of the training data are distributed, per input and output of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Baseline {
    pub(super) samples: u64,
    pub(super) inputs: Vec<TensorBaseline>,
    pub(super) outputs: Vec<TensorBaseline>,
}

impl Baseline {
    /// Counts samples: `inputs[tensor][sample][element]` as the model was given them, `outputs` likewise as
    /// it answered; tensors in the card's order, elements in row-major order. A row of an output with a
    /// data-dependent axis may be shorter than the others. `bins` is brought into 2 to [`MAX_BINS`].
    ///
    /// # Errors
    /// The samples are none, or not those of this card.
    pub fn build(
        card: &Card,
        inputs: &[Vec<Vec<f64>>],
        outputs: &[Vec<Vec<f64>>],
        bins: usize,
    ) -> Result<Baseline, BaselineError> {
        let samples = inputs.first().map_or(0, Vec::len);
        if samples == 0 {
            return Err(BaselineError::NoSamples);
        }
        let bins = bins.clamp(2, MAX_BINS);
        let tensors = |kind, specs: &[TensorSpec], rows: &[Vec<Vec<f64>>]| {
            if specs.len() != rows.len() {
                return Err(BaselineError::Tensors { kind, expected: specs.len(), actual: rows.len() });
            }
            let tensor = |(spec, rows): (&TensorSpec, &Vec<Vec<f64>>)| match rows.len() == samples {
                true => TensorBaseline::build(spec, rows, bins),
                false => {
                    let (tensor, actual) = (spec.name.clone(), rows.len());
                    Err(BaselineError::Samples { tensor, expected: samples, actual })
                }
            };
            specs.iter().zip(rows).map(tensor).collect::<Result<Vec<_>, _>>()
        };
        Ok(Baseline {
            samples: samples as u64,
            inputs: tensors("inputs", &card.inputs, inputs)?,
            outputs: tensors("outputs", &card.outputs, outputs)?,
        })
    }

    /// Checks that this is a baseline for a model with this card.
    ///
    /// # Errors
    /// A tensor is missing, or has another number of elements or classes.
    pub fn check_card(&self, card: &Card) -> Result<(), BaselineError> {
        for (kind, tensors, specs) in
            [("inputs", &self.inputs, &card.inputs), ("outputs", &self.outputs, &card.outputs)]
        {
            if tensors.len() != specs.len() {
                return Err(BaselineError::Tensors { kind, expected: specs.len(), actual: tensors.len() });
            }
            if let Some((_, spec)) = tensors.iter().zip(specs).find(|(tensor, spec)| !tensor.fits(spec)) {
                return Err(BaselineError::OtherTensor(spec.name.clone()));
            }
        }
        Ok(())
    }

    /// How many samples were counted.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// The inputs, in the card's order.
    pub fn inputs(&self) -> &[TensorBaseline] {
        &self.inputs
    }

    /// The outputs, in the card's order.
    pub fn outputs(&self) -> &[TensorBaseline] {
        &self.outputs
    }

    /// Counts of nothing yet, in these bins.
    pub fn empty_counts(&self) -> Counts {
        let empty = |tensors: &[TensorBaseline]| tensors.iter().map(TensorBaseline::empty_counts).collect();
        Counts { samples: 0, inputs: empty(&self.inputs), outputs: empty(&self.outputs) }
    }
}

/// Samples that make no baseline, or a file that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BaselineError {
    /// Nothing to count.
    #[error("a baseline needs at least one sample, there are none")]
    NoSamples,
    /// Another number of tensors than the card.
    #[error("the card has {expected} {kind}, the baseline has {actual}")]
    Tensors {
        /// `inputs` or `outputs`.
        kind: &'static str,
        /// In the card.
        expected: usize,
        /// What came.
        actual: usize,
    },
    /// Another number of samples than the first input.
    #[error("tensor {tensor:?} has {actual} samples, the first input has {expected}")]
    Samples {
        /// The tensor.
        tensor: String,
        /// Samples of the first input.
        expected: usize,
        /// Its samples.
        actual: usize,
    },
    /// A sample of another length.
    #[error("sample {sample} of tensor {tensor:?} has {actual} elements, the card says {expected}")]
    Row {
        /// The tensor.
        tensor: String,
        /// The sample.
        sample: usize,
        /// Elements in the card.
        expected: u32,
        /// Its elements.
        actual: usize,
    },
    /// The baseline is that of another tensor.
    #[error("the baseline of tensor {0:?} does not have the elements and classes of the card")]
    OtherTensor(String),
    /// The bytes are not a baseline of this format.
    #[error("the file is not a baseline of this format: {0}")]
    Format(&'static str),
}

impl Coded for BaselineError {
    fn code(&self) -> Code {
        code::transfer::BASELINE_MALFORMED
    }
}
