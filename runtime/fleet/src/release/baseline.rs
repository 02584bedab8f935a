//! The baseline of a release: the model runs over rows of training inputs, and inputs and outputs are
//! counted. The rows themselves go nowhere.

use std::collections::BTreeMap;

use dunlin_abi::{DType, Dim, TensorSpec};
use dunlin_core::drift::{Baseline, DEFAULT_BINS};

use super::ReleaseError;
use crate::run::{RunError, Runner};
use crate::tensor::Tensor;

/// The attachment's bytes, and how many rows it counts. A row has the elements of one sample of every
/// input, side by side in the card's order; a `stream` model sees the rows as one stream.
pub(super) fn pack(runner: &mut Runner, rows: &Tensor) -> Result<(Vec<u8>, u64), ReleaseError> {
    let card = runner.card().clone();
    let Some((count, extents)) =
        rows.shape.split_first().filter(|(count, rest)| **count > 0 && !rest.is_empty())
    else {
        return Err(ReleaseError::NoRows);
    };
    let columns: u64 = extents.iter().product();
    let sizes: Vec<usize> =
        card.inputs.iter().map(|spec| spec.sample_elements().unwrap_or(0) as usize).collect();
    let expected: usize = sizes.iter().sum();
    if columns != expected as u64 {
        return Err(ReleaseError::Columns { columns, expected: expected as u64 });
    }
    let (mut given, mut answered) =
        (vec![Vec::new(); card.inputs.len()], vec![Vec::new(); card.outputs.len()]);
    runner.reset()?;
    for (row, values) in rows.to_f64().chunks_exact(expected).enumerate() {
        let (mut inputs, mut rest) = (BTreeMap::new(), values);
        for ((spec, size), column) in card.inputs.iter().zip(&sizes).zip(&mut given) {
            let (part, after) = rest.split_at(*size);
            rest = after;
            inputs.insert(spec.name.clone(), sample(spec, part));
            column.push(part.to_vec());
        }
        let outputs = answer(runner, &inputs).map_err(|error| ReleaseError::Row { row, error })?;
        for (tensor, column) in outputs.iter().zip(&mut answered) {
            column.push(tensor.to_f64());
        }
    }
    let baseline = Baseline::build(&card, &given, &answered, DEFAULT_BINS)?;
    Ok((baseline.encode(), *count))
}

fn answer(runner: &mut Runner, inputs: &BTreeMap<String, Tensor>) -> Result<Vec<Tensor>, RunError> {
    let rows = runner.fit(inputs)?;
    runner.call(&rows, 0, 1)
}

/// One sample of an input, as a tensor.
fn sample(spec: &TensorSpec, values: &[f64]) -> Tensor {
    let shape = spec.shape.iter().map(|dim| match dim {
        Dim::Batch => 1,
        Dim::Fixed(extent) | Dim::AtMost(extent) => u64::from(*extent),
    });
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor { dtype: DType::F64, shape: shape.collect(), bytes }
}
