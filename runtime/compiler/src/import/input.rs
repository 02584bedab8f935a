//! The model's inputs: which axis is the batch, and what the options bind.
//!
//! If the first axis of *every* input is symbolic under one name (or under none), it is the batch.
//! Every other axis must be a number in the file or in `Options::inputs`. A bound shape has either all
//! axes of the input, which makes the first one fixed, or all but the first, which keeps the batch.

use dunlin_abi::{DType, Dim};

use super::onnx::tensor_shape_proto::dimension::Value as DimValue;
use super::onnx::type_proto::Value as TypeValue;
use super::onnx::{ValueInfoProto, type_proto};
use super::tensor::type_name;
use crate::Options;
use crate::constant::Constant;
use crate::error::CompileError;
use crate::graph::{Shape, Value};
use crate::import::onnx::tensor_proto::DataType;

/// One axis in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Extent {
    Known(u32),
    Symbol(String),
}

impl Extent {
    fn text(&self) -> String {
        match self {
            Extent::Known(extent) => extent.to_string(),
            Extent::Symbol(name) if name.is_empty() => "?".to_string(),
            Extent::Symbol(name) => name.clone(),
        }
    }
}

fn text(extents: &[Extent]) -> String {
    format!("[{}]", extents.iter().map(Extent::text).collect::<Vec<_>>().join(", "))
}

/// The tensor type of an input or output.
fn tensor_type(info: &ValueInfoProto) -> Option<&type_proto::Tensor> {
    match info.r#type.as_ref()?.value.as_ref()? {
        TypeValue::TensorType(tensor) => Some(tensor),
        _ => None,
    }
}

/// The axes in the file; `None` if the file does not tell.
fn extents(info: &ValueInfoProto) -> Result<Option<Vec<Extent>>, CompileError> {
    let Some(shape) = tensor_type(info).and_then(|tensor| tensor.shape.as_ref()) else { return Ok(None) };
    let extent = |dim: &super::onnx::tensor_shape_proto::Dimension| match &dim.value {
        Some(DimValue::DimValue(value)) => match u32::try_from(*value) {
            Ok(extent) if extent > 0 => Ok(Extent::Known(extent)),
            // Some exporters write "unknown" as 0 or as -1.
            _ if matches!(value, 0 | -1) => Ok(Extent::Symbol(String::new())),
            _ => Err(CompileError::Malformed(format!(
                "{:?} has the dim {value}, which is no extent",
                info.name()
            ))),
        },
        Some(DimValue::DimParam(name)) => Ok(Extent::Symbol(name.clone())),
        None => Ok(Extent::Symbol(String::new())),
    };
    shape.dim.iter().map(extent).collect::<Result<_, _>>().map(Some)
}

/// Checks that every option names an input, and none twice.
pub(super) fn check_options(free: &[&ValueInfoProto], options: &Options) -> Result<(), CompileError> {
    let shapes = options.inputs.iter().map(|(name, _)| name);
    let names: Vec<&String> = shapes.chain(options.constants.iter().map(|(name, _)| name)).collect();
    for (index, name) in names.iter().enumerate() {
        if !free.iter().any(|input| input.name() == name.as_str()) {
            let known: Vec<&str> = free.iter().map(|input| input.name()).collect();
            return Err(CompileError::Option(format!(
                "the model has no input {name:?}; its inputs are {}",
                known.join(", ")
            )));
        }
        if names[..index].contains(name) {
            return Err(CompileError::Option(format!("the input {name:?} is bound twice")));
        }
    }
    Ok(())
}

/// The constant that an option puts in the place of an input, checked against the file.
pub(super) fn bind(input: &ValueInfoProto, constant: &Constant) -> Result<Constant, CompileError> {
    let name = input.name();
    if !constant.is_consistent() {
        let (shape, count) = (&constant.shape, constant.data.len());
        return Err(CompileError::Option(format!("the constant {name:?} has {count} numbers for {shape:?}")));
    }
    let declared = tensor_type(input).map(|tensor| tensor.elem_type()).and_then(dtype);
    let data = constant.data.cast(declared.unwrap_or(constant.data.dtype())).ok_or_else(|| {
        let type_name = tensor_type(input).map(|tensor| type_name(tensor.elem_type())).unwrap_or_default();
        CompileError::Option(format!(
            "the input {name:?} is {type_name}, the constant for it is {}, and a number would change",
            constant.data.dtype()
        ))
    })?;
    if let Some(extents) = extents(input)? {
        let fits = extents.len() == constant.shape.len()
            && extents.iter().zip(&constant.shape).all(|(extent, actual)| match extent {
                Extent::Known(extent) => extent == actual,
                Extent::Symbol(_) => true,
            });
        if !fits {
            let (declared, actual) = (text(&extents), &constant.shape);
            return Err(CompileError::Option(format!(
                "the input {name:?} has the shape {declared}, the constant for it {actual:?}"
            )));
        }
    }
    Ok(Constant { shape: constant.shape.clone(), data })
}

/// The element type, if it is one that a constant can have.
pub(crate) fn dtype(data_type: i32) -> Option<DType> {
    match DataType::try_from(data_type) {
        Ok(DataType::Float) => Some(DType::F32),
        Ok(DataType::Double) => Some(DType::F64),
        Ok(DataType::Int32) => Some(DType::I32),
        Ok(DataType::Int64) => Some(DType::I64),
        Ok(DataType::Bool) => Some(DType::Bool),
        _ => None,
    }
}

/// The element type, if it is one that the host can write.
fn device_dtype(data_type: i32) -> Option<DType> {
    dtype(data_type).filter(|dtype| *dtype != DType::F64)
}

/// The values for the inputs that the host writes.
pub(super) fn declare(inputs: &[&ValueInfoProto], options: &Options) -> Result<Vec<Value>, CompileError> {
    let mut declared = Vec::with_capacity(inputs.len());
    for input in inputs {
        declared.push((*input, declared_extents(input, options)?));
    }
    let batched = is_batched(&declared);
    if options.max_batch > 1 && !batched {
        return Err(CompileError::Option(format!(
            "max_batch is {}, but the inputs share no symbolic first axis: {}",
            options.max_batch,
            declared
                .iter()
                .map(|(input, axes)| format!("{} {}", input.name(), text(axes)))
                .collect::<Vec<_>>()
                .join(", ")
        )));
    }
    declared.iter().map(|(input, axes)| value(input, axes, batched)).collect()
}

/// Something that is no tensor where the host writes or reads.
fn no_tensor(info: &ValueInfoProto) -> CompileError {
    let kind = match info.r#type.as_ref().and_then(|t| t.value.as_ref()) {
        Some(TypeValue::SequenceType(_)) => "a sequence",
        Some(TypeValue::OptionalType(_)) => "an optional",
        Some(TypeValue::MapType(_)) => "a map",
        Some(TypeValue::SparseTensorType(_)) => "a sparse tensor",
        Some(TypeValue::OpaqueType(_)) => "opaque",
        Some(TypeValue::TensorType(_)) | None => {
            return CompileError::Malformed(format!("the input {:?} has no type", info.name()));
        }
    };
    let what = format!("the input {:?} is {kind}", info.name());
    CompileError::Form { what, remedy: "export the model with tensors as inputs" }
}

/// The axes of one input, with its option applied.
fn declared_extents(input: &ValueInfoProto, options: &Options) -> Result<Vec<Extent>, CompileError> {
    let name = input.name();
    match tensor_type(input).map(|tensor| tensor.elem_type()) {
        Some(elem_type) if device_dtype(elem_type).is_some() => {}
        Some(elem_type) => {
            let (tensor, dtype) = (name.to_string(), type_name(elem_type));
            return Err(CompileError::DType {
                tensor,
                dtype,
                wanted: "inputs are float32, int64, int32 or bool",
            });
        }
        None => return Err(no_tensor(input)),
    }
    let bound = options.inputs.iter().find(|(option, _)| option == name).map(|(_, shape)| shape);
    let extents = match (extents(input)?, bound) {
        (Some(extents), None) => extents,
        (Some(extents), Some(shape)) => merge(name, &extents, shape)?,
        (None, Some(shape)) => shape.iter().map(|extent| Extent::Known(*extent)).collect(),
        (None, None) => {
            return Err(CompileError::Option(format!(
                "the file does not tell the shape of the input {name:?}; give it: --input {name}=SHAPE"
            )));
        }
    };
    if extents.contains(&Extent::Known(0)) {
        return Err(CompileError::Option(format!("the input {name:?} has an axis of extent 0")));
    }
    Ok(extents)
}

/// Puts the numbers of an option in the places of symbols.
fn merge(name: &str, extents: &[Extent], shape: &[u32]) -> Result<Vec<Extent>, CompileError> {
    let kept = match extents.first() {
        Some(Extent::Symbol(_)) if shape.len() + 1 == extents.len() => 1,
        _ => 0,
    };
    let (head, tail) = extents.split_at(kept);
    let fits = tail.len() == shape.len()
        && tail.iter().zip(shape).all(|(extent, bound)| match extent {
            Extent::Known(extent) => extent == bound,
            Extent::Symbol(_) => true,
        });
    if !fits {
        let declared = text(extents);
        return Err(CompileError::Option(format!(
            "the input {name:?} has the shape {declared} in the file, which {shape:?} does not fit"
        )));
    }
    Ok(head.iter().cloned().chain(shape.iter().map(|extent| Extent::Known(*extent))).collect())
}

/// Whether the first axis of all inputs is one and the same symbol.
fn is_batched(inputs: &[(&ValueInfoProto, Vec<Extent>)]) -> bool {
    let mut first = inputs.iter().map(|(_, axes)| axes.first());
    let Some(Some(Extent::Symbol(batch))) = first.next() else { return false };
    first.all(|axis| axis == Some(&Extent::Symbol(batch.clone())))
}

/// One input as a value of the graph.
fn value(input: &ValueInfoProto, axes: &[Extent], batched: bool) -> Result<Value, CompileError> {
    let name = input.name();
    let mut sample = Vec::with_capacity(axes.len());
    for (axis, extent) in axes.iter().enumerate().skip(usize::from(batched)) {
        match extent {
            Extent::Known(extent) => sample.push(*extent),
            Extent::Symbol(symbol) => {
                let remedy = if axis == 0 {
                    format!(
                        "it is no batch axis, because not all inputs have it; bind it: --input {name}=SHAPE"
                    )
                } else {
                    format!("bind it: --input {name}=SHAPE, with or without the first axis")
                };
                let dim = if symbol.is_empty() { "unnamed".to_string() } else { format!("{symbol:?}") };
                let (input, shape) = (name.to_string(), text(axes));
                return Err(CompileError::DimensionUnbound { input, shape, axis, dim, remedy });
            }
        }
    }
    Ok(Value {
        name: name.to_string(),
        dtype: tensor_type(input).and_then(|tensor| device_dtype(tensor.elem_type())).unwrap_or(DType::F32),
        shape: Shape::new(batched.then_some(0), sample),
        constant: None,
    })
}

/// The declared shape of a tensor, if it contradicts the shape that the nodes make.
///
/// Symbols and missing extents fit everything. So do numbers in the place of the batch, which exporters
/// leave there where they traced with one batch size; and in a model with a batch, numbers where a tensor that
/// is the same for every sample has the extent 1.
pub(super) fn contradiction(info: &ValueInfoProto, shape: &Shape, batched: bool) -> Option<String> {
    let declared = extents(info).ok().flatten()?;
    let dims = shape.dims();
    // Exporters that do not know a shape write one without axes.
    if declared.is_empty() {
        return None;
    }
    let open = batched && !shape.is_batched();
    let fits = declared.len() == dims.len()
        && declared.iter().zip(&dims).all(|(extent, actual)| match (extent, actual) {
            (Extent::Symbol(_), _) | (_, Dim::Batch | Dim::AtMost(_)) => true,
            (Extent::Known(_), Dim::Fixed(1)) if open => true,
            (Extent::Known(extent), Dim::Fixed(actual)) => extent == actual,
        });
    (!fits).then(|| text(&declared))
}
