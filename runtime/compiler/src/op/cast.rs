//! Cast: folded for constants, else computed on the device: from and to integers by `emit::integer`; truth
//! values are the numbers 1 and 0 there.

use dunlin_abi::DType;

use super::{Call, Refusal};
use crate::constant::{Constant, ConstantData};
use crate::graph::{ValueId, batch_factor, narrowed, widened};
use crate::import::dtype;
use crate::program::operand;

pub(super) fn lower(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let input = call.input(0)?;
    let code = call.read("to", |attribute| attribute.i)?.and_then(|code| i32::try_from(code).ok());
    let Some(to) = code.and_then(dtype) else {
        return Err(Refusal::unsupported(
            "it casts to a type that is not float32, float64, int32, int64 or bool",
            "export the model in float32",
        ));
    };
    self::to(call, input, to)
}

/// A value as elements of another type.
pub(super) fn to(call: &mut Call<'_>, input: ValueId, to: DType) -> Result<ValueId, Refusal> {
    let from = call.dtype(input);
    if from == to {
        return Ok(input);
    }
    let Some(constant) = call.graph.constant(input) else {
        return match (from, to) {
            (DType::F64, _) | (_, DType::F64) => {
                Err(Refusal::unsupported("it casts to float64 on the device", "export the model in float32"))
            }
            (DType::Bool, DType::F32) => call.pointwise(&operand(0), &[input]),
            (DType::F32, DType::Bool) => {
                call.pointwise_typed(DType::Bool, &operand(0).equal(0.0).equal(0.0), &[input])
            }
            _ => call.cast_integers(input, to),
        };
    };
    let data = cast(&constant.data, to, call.graph.marked.contains(&input)).ok_or_else(|| {
        Refusal::unsupported("it casts the batch size", "export the model with fixed shapes")
    })?;
    let shape = constant.shape.clone();
    call.add_constant(Constant { shape, data })
}

/// The numbers as another type, as `emit::integer` casts them: floats towards zero, to the nearest integer that
/// there is; integers lose their upper half.
/// `None` if the extent of the batch axis is among them and the target cannot hold its mark.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
fn cast(data: &ConstantData, to: DType, marks: bool) -> Option<ConstantData> {
    let integers = match data {
        ConstantData::I32(values) => values.iter().map(|value| widened(*value)).collect(),
        ConstantData::I64(values) => values.clone(),
        ConstantData::F32(_) | ConstantData::F64(_) | ConstantData::Bool(_) => Vec::new(),
    };
    if marks && integers.iter().any(|value| batch_factor(*value).is_some()) {
        return match to {
            DType::I64 => Some(ConstantData::I64(integers)),
            DType::I32 => Some(ConstantData::I32(integers.into_iter().map(narrowed).collect::<Option<_>>()?)),
            _ => None,
        };
    }
    let is_integer = matches!(data.dtype(), DType::I32 | DType::I64);
    // Every supported type but large int64 is exact in f64, and those are exact in i128.
    let wide: Vec<(f64, i128)> = match data {
        ConstantData::F32(values) => values.iter().map(|v| (f64::from(*v), *v as i128)).collect(),
        ConstantData::F64(values) => values.iter().map(|v| (*v, *v as i128)).collect(),
        ConstantData::I32(values) => values.iter().map(|v| (f64::from(*v), i128::from(*v))).collect(),
        ConstantData::I64(values) => values.iter().map(|v| (*v as f64, i128::from(*v))).collect(),
        ConstantData::Bool(values) => {
            values.iter().map(|v| (f64::from(u8::from(*v)), i128::from(*v))).collect()
        }
    };
    Some(match to {
        DType::F32 if is_integer => ConstantData::F32(wide.iter().map(|(_, int)| *int as f32).collect()),
        DType::F32 => ConstantData::F32(wide.iter().map(|(float, _)| *float as f32).collect()),
        DType::I32 if is_integer => ConstantData::I32(wide.iter().map(|(_, int)| *int as i32).collect()),
        DType::F64 => ConstantData::F64(wide.iter().map(|(float, _)| *float).collect()),
        DType::I32 => ConstantData::I32(
            wide.iter().map(|(_, int)| (*int).clamp(i32::MIN.into(), i32::MAX.into()) as i32).collect(),
        ),
        DType::I64 => ConstantData::I64(
            wide.iter().map(|(_, int)| (*int).clamp(i64::MIN.into(), i64::MAX.into()) as i64).collect(),
        ),
        DType::Bool => ConstantData::Bool(wide.iter().map(|(float, _)| *float != 0.0).collect()),
        DType::I8 | DType::U8 | DType::I16 | DType::U16 | DType::U32 | DType::U64 => return None,
    })
}
