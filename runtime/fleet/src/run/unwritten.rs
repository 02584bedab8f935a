//! Outputs that a call does not write, which would be whatever is in memory: the answer of an earlier call, most
//! often, so that a model looks right on a bench and is wrong in the field.
//!
//! Before the call every byte of the outputs is set to one value. An element that still has it was not written,
//! or is really that number: a second call over another value tells which.

use dunlin_abi::State;
use dunlin_sandbox::CallError;

use super::{Rows, RunError, Runner, call};
use crate::tensor::Tensor;

/// What is in every byte before the first call; as a float a number that few models give.
const FIRST: u8 = 0xa5;
/// What is there before the second.
const SECOND: u8 = 0x5a;

impl Runner {
    /// As [`Runner::call`], and an error for an element that the call does not write.
    pub(super) fn call_and_watch(
        &mut self,
        rows: &Rows,
        from: u64,
        count: u64,
    ) -> Result<Vec<Tensor>, RunError> {
        self.instance.fill_outputs(FIRST)?;
        let outputs = self.call(rows, from, count)?;
        if outputs.iter().all(|output| unchanged(output, FIRST).next().is_none()) {
            return Ok(outputs);
        }
        let again = self.call_again(rows, from, count)?;
        for ((first, second), spec) in outputs.iter().zip(&again).zip(&self.card().outputs) {
            let kept: Vec<usize> = unchanged(second, SECOND).collect();
            let found = unchanged(first, FIRST).find(|element| kept.binary_search(element).is_ok());
            if let Some(element) = found {
                let (name, to) = (spec.name.clone(), from + count - 1);
                return Err(RunError::Unwritten { name, element, from, to });
            }
        }
        Ok(outputs)
    }

    /// The same call over outputs with other bytes. A stream is lived through again in a new instance.
    fn call_again(&mut self, rows: &Rows, from: u64, count: u64) -> Result<Vec<Tensor>, RunError> {
        if self.card().state == State::None {
            self.instance.fill_outputs(SECOND)?;
            return self.call(rows, from, count);
        }
        let mut instance = self.model.instantiate()?;
        for earlier in 0..from {
            match call(&mut instance, rows, earlier, 1) {
                // Refused before too, and the stream went on.
                Ok(_) | Err(RunError::Call(CallError::Model { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        instance.fill_outputs(SECOND)?;
        call(&mut instance, rows, from, count)
    }
}

/// The elements of which every byte is `byte`.
fn unchanged(tensor: &Tensor, byte: u8) -> impl Iterator<Item = usize> {
    let elements = tensor.bytes.chunks_exact(tensor.dtype.size() as usize).enumerate();
    elements.filter(move |(_, bytes)| bytes.iter().all(|found| *found == byte)).map(|(element, _)| element)
}
