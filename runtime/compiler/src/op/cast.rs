//! Cast: folded for constants, nothing at all from float32 to float32.

use dunlin_abi::DType;

use super::{Call, Refusal};
use crate::constant::{Constant, ConstantData};
use crate::graph::{BATCH_EXTENT, ValueId};
use crate::import::dtype;

pub(super) fn lower(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let input = call.input(0)?;
    let code = call.read("to", |attribute| attribute.i)?.and_then(|code| i32::try_from(code).ok());
    let Some(to) = code.and_then(dtype) else {
        return Err(Refusal::unsupported(
            "it casts to a type that is not float32, float64, int32, int64 or bool",
            "export the model in float32",
        ));
    };
    if call.graph.value(input).dtype == to {
        let shape = call.shape(input);
        return call.add_alias(input, shape);
    }
    let constant = call.constant(0, "a tensor that is cast to another type")?;
    let data = cast(&constant.data, to).ok_or_else(|| {
        Refusal::unsupported("it casts the batch size", "export the model with fixed shapes")
    })?;
    let shape = constant.shape.clone();
    call.add_constant(Constant { shape, data })
}

/// The numbers as another type: towards zero from floats to integers, saturating.
/// `None` if the extent of the batch axis is among them and the target cannot hold its mark.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
fn cast(data: &ConstantData, to: DType) -> Option<ConstantData> {
    let marked = matches!(data, ConstantData::I64(values) if values.contains(&BATCH_EXTENT));
    if marked {
        return None;
    }
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
        DType::F32 => ConstantData::F32(wide.iter().map(|(float, _)| *float as f32).collect()),
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
