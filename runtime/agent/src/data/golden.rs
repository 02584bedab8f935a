//! Runs golden vectors in an instance of its own, which is thrown away afterwards.

use dunlin_core::code::Coded;
use dunlin_core::golden::{Golden, GoldenVector};
use dunlin_sandbox::{CallError, CompiledModel, Instance};

use super::message::DataError;

/// Runs every vector and returns how many there were.
///
/// # Errors
/// The file is not for this model, a call fails, or an answer is not the golden one; the message says
/// in which vector.
pub(crate) fn prove(model: &CompiledModel, bytes: &[u8]) -> Result<u32, DataError> {
    let golden = Golden::decode(bytes, model.card()).map_err(|error| DataError::model(&error))?;
    let mut instance = model.instantiate().map_err(|error| DataError::model(&error))?;
    let mut count = 0;
    for vector in &golden.vectors {
        run(&mut instance, &golden, vector, count)?;
        count += 1;
    }
    Ok(count)
}

fn run(
    instance: &mut Instance,
    golden: &Golden,
    vector: &GoldenVector,
    number: u32,
) -> Result<(), DataError> {
    // A vector is one stream of one sample: what a model remembers of the one before is not its input.
    instance.reset().map_err(|error| in_vector(number, &error))?;
    for (index, input) in vector.inputs.iter().enumerate() {
        let place = instance.input_mut(index).map_err(|error| in_vector(number, &error))?;
        if let Some(place) = place.get_mut(..input.len()) {
            place.copy_from_slice(input);
        }
    }
    let status = match instance.infer(1) {
        Ok(()) => 0,
        Err(CallError::Model { status }) => status,
        Err(error) => return Err(in_vector(number, &error)),
    };
    Golden::compare_status(vector, status).map_err(|error| in_vector(number, &error))?;
    for (index, expected) in vector.outputs.iter().enumerate() {
        let actual = instance.output(index, 1).map_err(|error| in_vector(number, &error))?;
        let compared = golden.compare(instance.card(), index, expected, actual);
        compared.map_err(|error| in_vector(number, &error))?;
    }
    Ok(())
}

fn in_vector(number: u32, error: &(impl Coded + std::fmt::Display)) -> DataError {
    DataError::Model { code: error.code(), message: format!("golden vector {number}: {error}") }
}
