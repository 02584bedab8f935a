//! How good a model is on data with labels: what `dunlin eval` computes.
//!
//! What the labels are decides what is computed: class numbers give accuracy, numbers of the output's
//! shape give the mean error. Two modules can be compared on the same data.

mod classes;
mod error;
mod task;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use dunlin_abi::{Card, Dim, State, TensorSpec};
use serde::Serialize;

pub use classes::{ClassScore, Classes, MAX_CONFUSION_CLASSES};
pub use error::EvaluateError;
use task::Task;

use crate::golden::difference;
use crate::run::Runner;
use crate::tensor::Tensor;

/// What to evaluate on.
pub struct Question<'a> {
    /// One sample a row.
    pub data: &'a Tensor,
    /// One label a sample, or the numbers that the output must give.
    pub labels: &'a Tensor,
    /// The input for the data; the first if nothing is said.
    pub input: Option<&'a str>,
    /// The output that is judged; the first if nothing is said.
    pub output: Option<&'a str>,
    /// A label among this many best classes counts too; 5 where there are more classes.
    pub top: Option<u32>,
}

/// How good a model is.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// The output that was judged.
    pub output: String,
    /// How many samples.
    pub samples: u64,
    /// The result.
    #[serde(flatten)]
    pub quality: Quality,
    /// The output's elements, sample by sample.
    #[serde(skip)]
    answers: Vec<f64>,
    /// The class of each sample; empty where there are none.
    #[serde(skip)]
    choices: Vec<usize>,
}

/// The result.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Quality {
    /// The labels are classes.
    Classes(Classes),
    /// The labels are numbers.
    Values(Values),
}

/// How far numbers are from the labels.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Values {
    /// The mean of the absolute differences.
    pub mean_absolute_error: f64,
    /// The root of the mean of their squares.
    pub root_mean_square_error: f64,
    /// The largest.
    pub largest_error: f64,
}

/// How alike two models answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The share of samples for which both choose the same class, where there are classes.
    pub agreement: Option<f64>,
    /// The largest difference of two elements of the output.
    pub largest_difference: f64,
}

/// Runs a model on all data and judges its answers; `progress` hears of the samples that are done.
///
/// # Errors
/// The data or the labels do not fit the model or each other, or a call fails.
pub fn evaluate(
    runner: &mut Runner,
    question: &Question<'_>,
    mut progress: impl FnMut(u64),
) -> Result<Evaluation, EvaluateError> {
    let card = runner.card().clone();
    let (_, input) = choose("input", &card.inputs, question.input)?;
    let (place, output) = choose("output", &card.outputs, question.output)?;
    let samples = question.data.shape.first().copied().unwrap_or(0);
    if samples == 0 || question.data.bytes.is_empty() {
        return Err(EvaluateError::NoSamples(question.data.shape.clone()));
    }
    let (step, mut done) = (samples_a_call(&card, input), 0);
    let (mut answers, mut width) = (Vec::new(), None);
    while done < samples {
        let next = samples.min(done + step);
        if card.state == State::Stream {
            runner.reset()?;
        }
        let inputs = BTreeMap::from([(input.name.clone(), slice(input, question.data, done, next))]);
        let outputs = runner.run(&inputs)?;
        let values = outputs.get(place).map(|(_, tensor)| tensor.to_f64()).unwrap_or_default();
        let count = usize::try_from(next - done).unwrap_or(usize::MAX);
        if *width.get_or_insert(values.len() / count) * count != values.len() {
            return Err(EvaluateError::Ragged(output.name.clone()));
        }
        answers.extend(values);
        done = next;
        progress(done);
    }
    let task = Task::of(output, question.labels, samples, width.unwrap_or(0))?;
    let choices = task.choices(&answers);
    let quality = match &task {
        Task::Values(labels) => Quality::Values(judge(&answers, labels)),
        Task::Scores { .. } | Task::Threshold { .. } | Task::Index { .. } => {
            Quality::Classes(classes::judge(&task, &answers, &choices, &output.labels, question.top)?)
        }
    };
    Ok(Evaluation { output: output.name.clone(), samples, quality, answers, choices })
}

/// How alike two models answered the same question.
///
/// # Errors
/// Their outputs have different shapes.
pub fn compare(one: &Evaluation, other: &Evaluation) -> Result<Comparison, EvaluateError> {
    if (one.answers.len(), one.choices.len()) != (other.answers.len(), other.choices.len()) {
        return Err(EvaluateError::Incomparable);
    }
    let same = one.choices.iter().zip(&other.choices).filter(|(a, b)| a == b).count();
    let pairs = one.answers.iter().zip(&other.answers);
    Ok(Comparison {
        agreement: (!one.choices.is_empty()).then(|| same as f64 / one.choices.len() as f64),
        largest_difference: pairs.map(|(a, b)| difference(*a, *b)).fold(0.0, f64::max),
    })
}

fn choose<'a>(
    kind: &'static str,
    specs: &'a [TensorSpec],
    name: Option<&str>,
) -> Result<(usize, &'a TensorSpec), EvaluateError> {
    let found = specs.iter().enumerate().find(|(_, spec)| name.is_none_or(|name| spec.name == name));
    found.ok_or_else(|| EvaluateError::Unknown {
        kind,
        name: name.unwrap_or_default().to_string(),
        known: specs.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>().join(", "),
    })
}

/// Streams remember, so that each of their samples is run alone.
fn samples_a_call(card: &Card, input: &TensorSpec) -> u64 {
    match input.is_batched() && card.state != State::Stream {
        true => card.max_batch.into(),
        false => 1,
    }
}

/// Samples of the data; where the input has no batch axis, one sample in the input's own shape.
fn slice(input: &TensorSpec, data: &Tensor, from: u64, to: u64) -> Tensor {
    let mut rows = data.rows(from, to);
    let fixed = input.shape.iter().map(|dim| match dim {
        Dim::Fixed(extent) => Some(u64::from(*extent)),
        Dim::Batch | Dim::AtMost(_) => None,
    });
    if let Some(shape) = fixed.collect::<Option<Vec<u64>>>()
        && shape.iter().product::<u64>() == rows.elements() as u64
    {
        rows.shape = shape;
    }
    rows
}

fn judge(answers: &[f64], labels: &[f64]) -> Values {
    let (mut sum, mut squares, mut largest) = (0.0, 0.0, 0.0f64);
    for (answer, label) in answers.iter().zip(labels) {
        let error = difference(*answer, *label);
        (sum, squares, largest) = (sum + error, squares + error * error, largest.max(error));
    }
    let count = labels.len().max(1) as f64;
    Values {
        mean_absolute_error: sum / count,
        root_mean_square_error: (squares / count).sqrt(),
        largest_error: largest,
    }
}
