//! Identity and Dropout, which in inference is the identity.

use super::{Call, Refusal};
use crate::constant::ConstantData;
use crate::graph::ValueId;

pub(super) fn identity(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    call.input(0)
}

/// `Dropout(x, ratio, training_mode)`: the ratio does not matter as long as nobody trains.
pub(super) fn dropout(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    if call.optional(2).is_some() {
        let training = call.constant(2, "training_mode")?;
        if training.data != ConstantData::Bool(vec![false]) {
            return Err(Refusal::unsupported("it is in training mode", "export the model for inference"));
        }
    }
    identity(call)
}
