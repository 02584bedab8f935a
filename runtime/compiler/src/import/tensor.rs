//! ONNX's `TensorProto` becomes a [`Constant`].
//!
//! The numbers lie either in `raw_data`, little-endian, or in the field of their type; in both cases
//! their count must be the product of the dims. Numbers in other files have been brought in by [`super::external`].

use super::onnx::TensorProto;
use super::onnx::tensor_proto::DataType;
use crate::MAX_TENSOR_BYTES;
use crate::constant::{Constant, ConstantData};
use crate::error::CompileError;
use crate::graph::MAX_AXES;

/// What is said about an element type that constants cannot have.
fn wanted(data_type: i32) -> &'static str {
    match DataType::try_from(data_type) {
        Ok(DataType::Float16 | DataType::Bfloat16) => {
            "constants are float32, float64, int32, int64 or bool; export the model in float32 \
             (`model.float()`), and halve the module with `--weights f16`"
        }
        Ok(DataType::String) => {
            "constants are float32, float64, int32, int64 or bool; do the work on text in the application"
        }
        Ok(DataType::Int8 | DataType::Uint8 | DataType::Int4 | DataType::Uint4) => {
            "constants are float32, float64, int32, int64 or bool; compile the model from before its quantization"
        }
        _ => "constants are float32, float64, int32, int64 or bool",
    }
}

/// The ONNX name of an element type, for people.
pub(super) fn type_name(data_type: i32) -> String {
    DataType::try_from(data_type)
        .map_or_else(|_| format!("number {data_type}"), |known| known.as_str_name().to_ascii_lowercase())
}

/// Reads a tensor; `name` is for messages.
pub(crate) fn constant(tensor: &TensorProto, name: &str) -> Result<Constant, CompileError> {
    if tensor.segment.is_some() {
        let what = format!("tensor {name:?} is cut into segments");
        return Err(CompileError::Form { what, remedy: "store it whole" });
    }
    let (shape, elements) = shape(tensor, name)?;
    let numbers = Numbers { tensor, name, elements };
    let data = match DataType::try_from(tensor.data_type()) {
        Ok(DataType::Float) => ConstantData::F32(numbers.read(&tensor.float_data, f32::from_le_bytes)?),
        Ok(DataType::Double) => ConstantData::F64(numbers.read(&tensor.double_data, f64::from_le_bytes)?),
        Ok(DataType::Int32) => ConstantData::I32(numbers.read(&tensor.int32_data, i32::from_le_bytes)?),
        Ok(DataType::Int64) => ConstantData::I64(numbers.read(&tensor.int64_data, i64::from_le_bytes)?),
        Ok(DataType::Bool) => {
            let typed: Vec<bool> = tensor.int32_data.iter().map(|word| *word != 0).collect();
            ConstantData::Bool(numbers.read(&typed, |[byte]: [u8; 1]| byte != 0)?)
        }
        _ => {
            let dtype = type_name(tensor.data_type());
            let wanted = wanted(tensor.data_type());
            return Err(CompileError::DType { tensor: name.to_string(), dtype, wanted });
        }
    };
    Constant::new(shape, data)
        .ok_or_else(|| CompileError::Malformed(format!("tensor {name:?} has another size than its dims say")))
}

/// The dims and their product, within the bound.
pub(super) fn shape(tensor: &TensorProto, name: &str) -> Result<(Vec<u32>, usize), CompileError> {
    if tensor.dims.len() > MAX_AXES {
        let axes = tensor.dims.len();
        return Err(CompileError::TooLarge {
            what: format!("tensor {name:?}"),
            actual: axes as u64,
            limit: MAX_AXES as u64,
            unit: "axes",
        });
    }
    let mut shape = Vec::with_capacity(tensor.dims.len());
    let mut elements = 1u64;
    for dim in &tensor.dims {
        let extent = u32::try_from(*dim).map_err(|_| {
            CompileError::Malformed(format!("tensor {name:?} has the dim {dim}, which is no extent"))
        })?;
        elements = elements.saturating_mul(u64::from(extent));
        shape.push(extent);
    }
    match usize::try_from(elements) {
        Ok(count) if elements <= MAX_TENSOR_BYTES => Ok((shape, count)),
        _ => Err(CompileError::TooLarge {
            what: format!("tensor {name:?}"),
            actual: elements,
            limit: MAX_TENSOR_BYTES,
            unit: "elements",
        }),
    }
}

/// Where the numbers of one tensor are.
struct Numbers<'a> {
    tensor: &'a TensorProto,
    name: &'a str,
    elements: usize,
}

impl Numbers<'_> {
    /// Takes the numbers from `raw_data` if there is any, else from the field of their type.
    fn read<T: Copy, const SIZE: usize>(
        &self,
        typed: &[T],
        decode: fn([u8; SIZE]) -> T,
    ) -> Result<Vec<T>, CompileError> {
        let Some(raw) = self.tensor.raw_data.as_deref().filter(|raw| !raw.is_empty()) else {
            return if typed.len() == self.elements {
                Ok(typed.to_vec())
            } else {
                Err(self.wrong_length(typed.len(), "numbers", self.elements))
            };
        };
        let expected = self.elements.saturating_mul(SIZE);
        if raw.len() != expected {
            return Err(self.wrong_length(raw.len(), "bytes of raw_data", expected));
        }
        if !typed.is_empty() {
            let name = self.name;
            return Err(CompileError::Malformed(format!("tensor {name:?} has its numbers twice")));
        }
        let (words, _) = raw.as_chunks::<SIZE>();
        Ok(words.iter().map(|word| decode(*word)).collect())
    }

    fn wrong_length(&self, actual: usize, unit: &str, expected: usize) -> CompileError {
        let (name, dims) = (self.name, &self.tensor.dims);
        CompileError::Malformed(format!(
            "tensor {name:?} has {actual} {unit}, its dims {dims:?} ask for {expected}"
        ))
    }
}
