//! The golden vectors of a release: arrays of a file, reproduced here before they are packed.
//!
//! They are run as a device runs them: one sample a call, each a stream of its own.

use std::collections::BTreeMap;

use dunlin_abi::{Card, TensorSpec};
use dunlin_core::golden::{DEFAULT_TOLERANCE, Golden, GoldenError, GoldenVector, MAX_VECTORS};

use super::ReleaseError;
use crate::run::Runner;
use crate::tensor::Tensor;

/// The arrays of a golden file, by name.
type Arrays = BTreeMap<String, Tensor>;

/// The attachment's bytes, and how many vectors it holds.
pub(super) fn pack(runner: &mut Runner, arrays: &Arrays) -> Result<(Vec<u8>, usize), ReleaseError> {
    let card = runner.card().clone();
    refuse_foreign(&card, arrays)?;
    let mut inputs = BTreeMap::new();
    for spec in &card.inputs {
        inputs.insert(spec.name.clone(), array(arrays, "input", spec)?.clone());
    }
    let (inputs, samples) = runner.fit(&inputs)?;
    let count = usize::try_from(samples).unwrap_or(usize::MAX);
    if count > MAX_VECTORS {
        return Err(GoldenError::Count(count).into());
    }
    let mut expected = Vec::new();
    for spec in &card.outputs {
        let cast = array(arrays, "output", spec)?.cast(spec.dtype);
        expected.push(cast.map_err(|error| bad(format!("has output {:?}: {error}", spec.name)))?);
    }
    let tolerances: Result<Vec<f64>, _> = card.outputs.iter().map(|spec| tolerance(arrays, spec)).collect();
    let mut golden = Golden { tolerances: tolerances?, vectors: Vec::new() };
    for index in 0..samples {
        runner.reset()?;
        let actual = runner.call(&inputs, index, 1)?;
        expect_shapes(&card, &expected, &actual, samples)?;
        let vector = GoldenVector {
            inputs: cut(&card.inputs, &inputs, index),
            outputs: cut(&card.outputs, &expected, index),
        };
        for (output, (wanted, found)) in vector.outputs.iter().zip(&actual).enumerate() {
            golden
                .compare(&card, output, wanted, &found.bytes)
                .map_err(|error| ReleaseError::GoldenFailed { vector: golden.vectors.len(), error })?;
        }
        golden.vectors.push(vector);
    }
    Ok((golden.encode(&card)?, count))
}

fn bad(what: String) -> ReleaseError {
    ReleaseError::GoldenFile(what)
}

fn refuse_foreign(card: &Card, arrays: &Arrays) -> Result<(), ReleaseError> {
    let known = |key: &str, kind: &str, specs: &[TensorSpec]| {
        key.strip_prefix(kind).is_some_and(|name| specs.iter().any(|spec| spec.name == name))
    };
    let foreign = arrays.keys().find(|key| {
        !(known(key, "input/", &card.inputs)
            || known(key, "output/", &card.outputs)
            || known(key, "tolerance/", &card.outputs))
    });
    match foreign {
        Some(key) => Err(bad(format!("has the array {key:?}, which belongs to no tensor"))),
        None => Ok(()),
    }
}

fn array<'a>(arrays: &'a Arrays, kind: &str, spec: &TensorSpec) -> Result<&'a Tensor, ReleaseError> {
    let key = format!("{kind}/{}", spec.name);
    arrays.get(&key).ok_or_else(|| bad(format!("has no array {key:?}")))
}

fn tolerance(arrays: &Arrays, spec: &TensorSpec) -> Result<f64, ReleaseError> {
    let key = format!("tolerance/{}", spec.name);
    let Some(tensor) = arrays.get(&key) else { return Ok(DEFAULT_TOLERANCE) };
    match tensor.to_f64()[..] {
        [value] if value.is_finite() && value >= 0.0 => Ok(value),
        _ => Err(bad(format!("has the array {key:?}, which is not one number of at least 0"))),
    }
}

/// Every expected output is as many samples of what the model gave.
fn expect_shapes(
    card: &Card,
    expected: &[Tensor],
    actual: &[Tensor],
    samples: u64,
) -> Result<(), ReleaseError> {
    for (spec, (given, actual)) in card.outputs.iter().zip(expected.iter().zip(actual)) {
        let mut wanted = actual.shape.clone();
        if let Some(rows) = wanted.first_mut().filter(|_| spec.is_batched()) {
            *rows = samples;
        }
        if given.shape != wanted {
            let (name, found) = (&spec.name, &given.shape);
            return Err(bad(format!("has output {name:?} of shape {found:?}, not {wanted:?}")));
        }
    }
    Ok(())
}

/// The bytes of one sample of each tensor; all of one without a batch axis.
fn cut(specs: &[TensorSpec], tensors: &[Tensor], index: u64) -> Vec<Vec<u8>> {
    let sample = |(spec, tensor): (&TensorSpec, &Tensor)| match spec.is_batched() {
        true => tensor.rows(index, index + 1).bytes,
        false => tensor.bytes.clone(),
    };
    specs.iter().zip(tensors).map(sample).collect()
}
