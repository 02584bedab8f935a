//! Constant: a tensor that stands in the node itself.

use super::{Call, Refusal};
use crate::constant::{Constant, ConstantData};
use crate::graph::ValueId;
use crate::import::{node_name, tensor_constant};

pub(super) fn lower(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    if call.node.attribute.len() != 1 {
        return Err(Refusal::malformed("it must have exactly one value"));
    }
    let name = node_name(call.node);
    let tensor =
        call.read("value", |attribute| attribute.t.as_ref().map(|tensor| tensor_constant(tensor, name)))?;
    let data = if let Some(constant) = tensor {
        return call.add_constant(constant?);
    } else if let Some(value) = call.read("value_float", |attribute| attribute.f)? {
        (vec![], ConstantData::F32(vec![value]))
    } else if let Some(value) = call.read("value_int", |attribute| attribute.i)? {
        (vec![], ConstantData::I64(vec![value]))
    } else if let Some(values) = call.read("value_floats", |attribute| Some(attribute.floats.clone()))? {
        (vec![extent(values.len())?], ConstantData::F32(values))
    } else {
        let values = call.read("value_ints", |attribute| Some(attribute.ints.clone()))?.unwrap_or_default();
        (vec![extent(values.len())?], ConstantData::I64(values))
    };
    call.add_constant(Constant { shape: data.0, data: data.1 })
}

fn extent(len: usize) -> Result<u32, Refusal> {
    u32::try_from(len).map_err(|_| Refusal::malformed("it has too many values"))
}
