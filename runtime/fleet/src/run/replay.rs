//! Outputs of many calls, some of which the model refused, as one tensor for each output.

use std::borrow::Cow;

use dunlin_abi::{Card, DType, Dim, TensorSpec};

use super::{RunError, join};
use crate::tensor::Tensor;

/// What a model gave for a sequence of samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    /// Every output, in the card's order. The rows of a refused sample are NaN, or 0 where the type has no NaN.
    pub outputs: Vec<(String, Tensor)>,
    /// Of each sample, the status: 0 for an answer, 1 to 255 where the model refused it.
    pub statuses: Vec<u8>,
}

impl Replay {
    /// How many samples were refused.
    pub fn refused(&self) -> usize {
        self.statuses.iter().filter(|status| **status != 0).count()
    }

    /// The bytes of an output without the rows of refused samples.
    pub(crate) fn answered<'a>(&self, output: &'a Tensor) -> Cow<'a, [u8]> {
        if self.refused() == 0 {
            return Cow::Borrowed(&output.bytes);
        }
        let row = output.bytes.len() / self.statuses.len().max(1);
        let rows = output.bytes.chunks_exact(row.max(1)).zip(&self.statuses);
        Cow::Owned(rows.filter(|(_, status)| **status == 0).flat_map(|(row, _)| row).copied().collect())
    }

    /// The statuses as a tensor.
    pub fn status_tensor(&self) -> Tensor {
        Tensor { dtype: DType::U8, shape: vec![self.statuses.len() as u64], bytes: self.statuses.clone() }
    }
}

/// What one call gave for its samples: outputs, or the status with which all of them were refused.
pub(crate) enum Answer {
    /// Every output, with an axis of samples in front.
    Outputs(Vec<Tensor>),
    /// Refused.
    Status(u8),
}

impl Answer {
    /// 0 for outputs.
    pub(crate) fn status(&self) -> u8 {
        if let Answer::Status(status) = self { *status } else { 0 }
    }

    /// The outputs; none where the samples were refused.
    pub(crate) fn outputs(&self) -> &[Tensor] {
        if let Answer::Outputs(outputs) = self { outputs } else { &[] }
    }
}

/// Joins the answers of calls, each with the number of its samples.
pub(crate) fn joined(card: &Card, stacked: bool, answers: Vec<(u64, Answer)>) -> Result<Replay, RunError> {
    let rows_in_front = stacked || answers.iter().map(|(count, _)| count).sum::<u64>() > 1;
    let first = answers.iter().find_map(|(_, answer)| match answer {
        Answer::Outputs(outputs) => Some(outputs.clone()),
        Answer::Status(_) => None,
    });
    let statuses = answers.iter().flat_map(|(count, answer)| {
        std::iter::repeat_n(answer.status(), usize::try_from(*count).unwrap_or_default())
    });
    let statuses = statuses.collect();
    let mut wholes: Vec<Option<Tensor>> = card.outputs.iter().map(|_| None).collect();
    for (count, answer) in answers {
        let parts = match answer {
            Answer::Outputs(parts) => parts,
            Answer::Status(_) => {
                let like = |(index, spec)| {
                    blank(spec, count, first.as_ref().and_then(|outputs: &Vec<Tensor>| outputs.get(index)))
                };
                card.outputs.iter().enumerate().map(like).collect()
            }
        };
        for ((whole, mut part), spec) in wholes.iter_mut().zip(parts).zip(&card.outputs) {
            if !spec.is_batched() && rows_in_front {
                part.shape.insert(0, 1);
            }
            match whole {
                None => *whole = Some(part),
                Some(whole) => join(spec, whole, part)?,
            }
        }
    }
    let outputs = card.outputs.iter().zip(wholes);
    let outputs = outputs.filter_map(|(spec, whole)| Some((spec.name.clone(), whole?))).collect();
    Ok(Replay { outputs, statuses })
}

/// Rows for `count` samples that were refused, in the shape of an answer; without one, of the longest.
fn blank(spec: &TensorSpec, count: u64, like: Option<&Tensor>) -> Tensor {
    let longest = spec.shape.iter().map(|dim| match dim {
        Dim::Batch => count,
        Dim::Fixed(extent) | Dim::AtMost(extent) => u64::from(*extent),
    });
    let mut shape = like.map_or_else(|| longest.collect(), |tensor| tensor.shape.clone());
    if let (true, Some(rows)) = (spec.is_batched(), shape.first_mut()) {
        *rows = count;
    }
    let element = match spec.dtype {
        DType::F32 => f32::NAN.to_le_bytes().to_vec(),
        DType::F64 => f64::NAN.to_le_bytes().to_vec(),
        other => vec![0; other.size() as usize],
    };
    let elements = usize::try_from(shape.iter().product::<u64>()).unwrap_or_default();
    Tensor { dtype: spec.dtype, shape, bytes: element.repeat(elements) }
}
