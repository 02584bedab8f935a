//! BatchNormalization in inference: `y = (x - mean) / sqrt(var + epsilon) * scale + bias`, with numbers
//! that belong to channels. It is one multiplication and one addition, which go into the weights of a
//! convolution before it.

use super::{Call, Refusal};
use crate::graph::ValueId;
use crate::program::operand;

pub(super) fn lower(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let x = call.f32(0)?;
    if call.flag("training_mode")? {
        return Err(Refusal::unsupported("it is in training mode", "export the model for inference"));
    }
    let shape = call.shape(x);
    let epsilon = call.float("epsilon", 1e-5)?;
    let axis = if shape.rank() < 2 { 0 } else { call.sample_axis(&shape, 1, "normalises")? };
    let behind = shape.sample.len() - axis - 1;
    let channels = shape.sample[axis];
    let mut columns = Vec::with_capacity(4);
    for (index, what) in [(1, "scale"), (2, "bias"), (3, "mean"), (4, "variance")] {
        let numbers = call.f32s(index, what)?;
        if numbers.len() != channels as usize {
            return Err(Refusal::malformed(format!(
                "its {what} has {} numbers, not {channels}",
                numbers.len()
            )));
        }
        columns.push(numbers);
    }
    let factor = |c: usize| columns[0][c] / libm::sqrtf(columns[3][c] + epsilon);
    let factors: Vec<f32> = (0..channels as usize).map(factor).collect();
    let shifts = (0..channels as usize).map(|c| columns[1][c] - columns[2][c] * factors[c]).collect();
    let extents = [&[channels][..], &vec![1; behind]].concat();
    let factors = call.add_f32s(&extents, factors)?;
    let shifts = call.add_f32s(&extents, shifts)?;
    call.pointwise(&(operand(0) * operand(1) + operand(2)), &[x, factors, shifts])
}
