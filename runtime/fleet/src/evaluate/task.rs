//! What is asked of a model, as its output and the labels tell it.

use dunlin_abi::{DType, Meaning, TensorSpec};

use super::EvaluateError;
use crate::tensor::Tensor;

/// At and above this a single score means the class 1.
pub(super) const THRESHOLD: f64 = 0.5;

/// Class numbers are below this: a table of classes fits the memory.
const MAX_CLASSES: f64 = 65_536.0;

/// What to compare.
pub(super) enum Task {
    /// One score a class; the greatest is the choice.
    Scores {
        /// How many.
        classes: usize,
        /// The class of each sample.
        labels: Vec<usize>,
    },
    /// One score; the choice is 0 or 1.
    Threshold {
        /// The class of each sample.
        labels: Vec<usize>,
    },
    /// The number of the class itself.
    Index {
        /// The class of each sample.
        labels: Vec<usize>,
    },
    /// Numbers.
    Values(Vec<f64>),
}

impl Task {
    /// Decides by the labels, and by an output of `width` elements a sample.
    pub(super) fn of(
        output: &TensorSpec,
        labels: &Tensor,
        samples: u64,
        width: usize,
    ) -> Result<Task, EvaluateError> {
        let values = labels.to_f64();
        let floats = |dtype: DType| matches!(dtype, DType::F32 | DType::F64);
        let single = values.len() as u64 == samples && labels.shape.first() == Some(&samples);
        let whole = values.iter().all(|value| value.fract() == 0.0 && (0.0..MAX_CLASSES).contains(value));
        let truth = values.iter().all(|value| *value == 0.0 || *value == 1.0);
        let probability = output.meaning == Some(Meaning::Probability);
        let classes: Vec<usize> = values.iter().map(|value| *value as usize).collect();
        if single && !floats(labels.dtype) && !whole {
            return Err(misfit("are no class numbers: each must be a whole number from 0 on".to_string()));
        }
        match width {
            2.. if single && whole => match classes.iter().position(|class| *class >= width) {
                None => Ok(Task::Scores { classes: width, labels: classes }),
                Some(sample) => {
                    let class = classes[sample];
                    Err(misfit(format!("have the class {class} for sample {sample}, the output has {width}")))
                }
            },
            1 if single && whole && !floats(output.dtype) => Ok(Task::Index { labels: classes }),
            1 if single && truth && (probability || !floats(labels.dtype)) => {
                Ok(Task::Threshold { labels: classes })
            }
            1 if single && !floats(labels.dtype) => Err(misfit(
                "are other classes than 0 and 1, but the output has one score; save numbers as floats".into(),
            )),
            1.. if floats(labels.dtype) && values.len() as u64 == samples.saturating_mul(width as u64) => {
                Ok(Task::Values(values))
            }
            _ => {
                let (shape, dtype) = (&labels.shape, labels.dtype);
                Err(misfit(format!(
                    "have the shape {shape:?} and the type {dtype}; wanted are {samples} class numbers, \
                     or floats, {width} for each of {samples} samples"
                )))
            }
        }
    }

    /// The label of each sample, where they are classes.
    pub(super) fn labels(&self) -> &[usize] {
        match self {
            Task::Scores { labels, .. } | Task::Threshold { labels } | Task::Index { labels } => labels,
            Task::Values(_) => &[],
        }
    }

    /// The class of each sample as the model says it; none where there are none.
    pub(super) fn choices(&self, answers: &[f64]) -> Vec<usize> {
        match self {
            Task::Scores { classes, .. } => answers.chunks(*classes).map(greatest).collect(),
            Task::Threshold { .. } => answers.iter().map(|score| usize::from(*score >= THRESHOLD)).collect(),
            // Out of range becomes the nearest number that there is.
            Task::Index { .. } => {
                answers.iter().map(|class| class.clamp(0.0, MAX_CLASSES) as usize).collect()
            }
            Task::Values(_) => Vec::new(),
        }
    }
}

fn misfit(what: String) -> EvaluateError {
    EvaluateError::Labels(what)
}

/// The first of the greatest scores; NaN is never the greatest.
fn greatest(scores: &[f64]) -> usize {
    let start = (0, f64::NEG_INFINITY);
    let (place, _) = scores
        .iter()
        .enumerate()
        .fold(start, |best, (place, score)| if *score > best.1 { (place, *score) } else { best });
    place
}
