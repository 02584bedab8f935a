//! Accuracy, and what is taken for what.

use serde::Serialize;

use super::EvaluateError;
use super::task::Task;

/// Up to this many classes are told one against the other.
pub const MAX_CONFUSION_CLASSES: usize = 20;

/// The best classes that count where nothing is said.
const DEFAULT_TOP: usize = 5;

/// How well classes are told.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Classes {
    /// The share of samples whose label is the model's choice.
    pub accuracy: f64,
    /// How many best classes `top_accuracy` counts.
    pub top: Option<usize>,
    /// The share of samples whose label is among the best `top` classes.
    pub top_accuracy: Option<f64>,
    /// Every class, in order.
    pub classes: Vec<ClassScore>,
    /// Samples by label (row) and choice (column); empty for more than 20 classes.
    pub confusion: Vec<Vec<u64>>,
}

/// One class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassScore {
    /// The card's label, or the number.
    pub class: String,
    /// Samples with this label.
    pub samples: u64,
    /// The share of them that was chosen so.
    pub recall: Option<f64>,
    /// The share of the samples that were chosen so which have this label.
    pub precision: Option<f64>,
}

/// Compares choices with labels.
pub(super) fn judge(
    task: &Task,
    answers: &[f64],
    choices: &[usize],
    names: &[String],
    top: Option<u32>,
) -> Result<Classes, EvaluateError> {
    let labels = task.labels();
    let count = match task {
        Task::Scores { classes, .. } => *classes,
        Task::Threshold { .. } => 2,
        Task::Index { .. } | Task::Values(_) => labels.iter().chain(choices).max().map_or(0, |most| most + 1),
    };
    let top = top_of(task, count, top)?;
    let within = top.map(|top| {
        let best = answers.chunks(count).zip(labels).filter(|(scores, label)| rank(scores, **label) < top);
        share(best.count() as u64, labels.len() as u64).unwrap_or(0.0)
    });
    let (mut correct, mut of_label, mut of_choice) = (0, vec![0; count], vec![0; count]);
    let mut right = vec![0; count];
    let shown = if count <= MAX_CONFUSION_CLASSES { count } else { 0 };
    let mut confusion = vec![vec![0; shown]; shown];
    for (label, choice) in labels.iter().zip(choices) {
        of_label[*label] += 1;
        of_choice[*choice] += 1;
        if label == choice {
            correct += 1;
            right[*label] += 1;
        }
        if let Some(cell) = confusion.get_mut(*label).and_then(|row: &mut Vec<u64>| row.get_mut(*choice)) {
            *cell += 1;
        }
    }
    let class = |class: usize| ClassScore {
        class: names.get(class).cloned().unwrap_or_else(|| class.to_string()),
        samples: of_label[class],
        recall: share(right[class], of_label[class]),
        precision: share(right[class], of_choice[class]),
    };
    Ok(Classes {
        accuracy: share(correct, labels.len() as u64).unwrap_or(0.0),
        top,
        top_accuracy: within,
        classes: (0..count).map(class).collect(),
        confusion,
    })
}

/// How many best classes count; nothing where one of two is chosen.
fn top_of(task: &Task, classes: usize, asked: Option<u32>) -> Result<Option<usize>, EvaluateError> {
    let ranked = matches!(task, Task::Scores { .. });
    match asked {
        None => Ok((ranked && classes > DEFAULT_TOP).then_some(DEFAULT_TOP)),
        Some(top) => match usize::try_from(top) {
            Ok(most) if ranked && (1..=classes).contains(&most) => Ok(Some(most)),
            _ => Err(EvaluateError::Top { top, classes: if ranked { classes } else { 1 } }),
        },
    }
}

/// How many classes come before one: the greater ones, and the equal ones with a lower number.
fn rank(scores: &[f64], class: usize) -> usize {
    let Some(own) = scores.get(class).filter(|score| !score.is_nan()) else { return scores.len() };
    let before = |(place, score): &(usize, &f64)| *score > own || *score == own && *place < class;
    scores.iter().enumerate().filter(before).count()
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
