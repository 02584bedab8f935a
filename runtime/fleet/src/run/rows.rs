//! Inputs as rows: one for each sample, in the card's order and types, whatever shape they came in.

use std::collections::BTreeMap;

use dunlin_abi::{Card, Dim, TensorSpec};

use super::{RunError, Runner, shape_text};
use crate::tensor::Tensor;

/// Inputs that fit a model.
pub(crate) struct Rows {
    /// One tensor for each input, with an axis of samples in front.
    columns: Vec<Tensor>,
    /// How many samples there are.
    pub(crate) samples: u64,
    /// Tensors without a batch axis came with an axis of time.
    pub(crate) stacked: bool,
}

impl Rows {
    /// The bytes of `count` samples of every input; one that came once is the same for all of them.
    pub(crate) fn bytes(&self, from: u64, count: u64) -> impl Iterator<Item = Vec<u8>> {
        self.columns.iter().map(move |column| match column.shape.first() {
            Some(rows) if *rows == self.samples => column.rows(from, from + count).bytes,
            _ => column.bytes.clone(),
        })
    }

    /// The inputs by name, in the shape in which they came, in the types of the model.
    pub(crate) fn named(&self, card: &Card) -> BTreeMap<String, Tensor> {
        let named = card.inputs.iter().zip(&self.columns).map(|(spec, column)| {
            let mut tensor = column.clone();
            if !spec.is_batched() && !self.stacked {
                tensor.shape.remove(0);
            }
            (spec.name.clone(), tensor)
        });
        named.collect()
    }
}

impl Runner {
    /// The inputs in the card's order and types, and how many samples they hold.
    ///
    /// # Errors
    /// An input is missing, unknown, of another shape, or has a number that does not fit.
    pub(crate) fn fit(&self, inputs: &BTreeMap<String, Tensor>) -> Result<Rows, RunError> {
        let card = self.card();
        let known = || card.inputs.iter().map(|input| input.name.as_str()).collect::<Vec<_>>().join(", ");
        for given in inputs.keys() {
            if !card.inputs.iter().any(|input| input.name == *given) {
                return Err(RunError::Unknown { given: given.clone(), known: known() });
            }
        }
        let missing = |spec: &TensorSpec| RunError::Missing { wanted: spec.name.clone(), known: known() };
        // Time is an axis of all inputs, or of none.
        let stacked = card.inputs.iter().all(|spec| {
            let rank = inputs.get(&spec.name).map_or(0, |tensor| tensor.shape.len());
            !spec.is_batched() && rank == spec.shape.len() + 1
        });
        let (mut columns, mut samples) = (Vec::with_capacity(card.inputs.len()), None);
        for spec in &card.inputs {
            let tensor = inputs.get(&spec.name).ok_or_else(|| missing(spec))?;
            let column = column(spec, tensor, stacked)?;
            if spec.is_batched() || stacked {
                let rows = column.shape.first().copied().unwrap_or(1);
                let expected = *samples.get_or_insert(rows);
                if rows != expected {
                    return Err(RunError::Rows { name: spec.name.clone(), rows, expected });
                }
            }
            columns.push(column);
        }
        let samples = samples.unwrap_or(1);
        Ok(Rows { columns, samples, stacked })
    }
}

/// One input with an axis of samples in front.
fn column(spec: &TensorSpec, tensor: &Tensor, stacked: bool) -> Result<Tensor, RunError> {
    let (rows, extents) = match stacked {
        true => (tensor.shape.first().copied().unwrap_or(0), tensor.shape.get(1..).unwrap_or_default()),
        false => (1, &tensor.shape[..]),
    };
    let fits = rows >= 1
        && extents.len() == spec.shape.len()
        && extents.iter().zip(&spec.shape).all(|(extent, dim)| match dim {
            Dim::Batch => *extent >= 1,
            Dim::Fixed(fixed) => *extent == u64::from(*fixed),
            Dim::AtMost(most) => *extent <= u64::from(*most),
        });
    if !fits {
        let (mut wanted, given) = (shape_text(spec), tensor.shape.clone());
        if !spec.is_batched() {
            let extents = wanted.trim_start_matches('[').trim_end_matches(']');
            let separator = if extents.is_empty() { "" } else { ", " };
            wanted = format!("{wanted}, or [t{separator}{extents}] for t samples one after the other");
        }
        return Err(RunError::Shape { name: spec.name.clone(), wanted, given });
    }
    let cast = tensor.cast(spec.dtype);
    let mut column = cast.map_err(|error| RunError::Value { name: spec.name.clone(), error })?;
    if !spec.is_batched() && !stacked {
        column.shape.insert(0, 1);
    }
    Ok(column)
}
