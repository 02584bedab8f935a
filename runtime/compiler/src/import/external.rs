//! Numbers in other files than the model's: PyTorch writes `model.onnx.data` beside `model.onnx`.
//!
//! The compiler reads no files. It asks the caller for parts of them, which it then holds as if they were in
//! the model. How much it asks for is known from the dims, and bounded, before it asks.

use std::collections::HashSet;

use super::onnx::tensor_proto::{DataLocation, DataType};
use super::onnx::{GraphProto, TensorProto};
use super::tensor;
use crate::error::CompileError;
use crate::{External, MAX_ONNX_BYTES};

/// Whether a tensor's numbers are in another file.
pub(super) fn is_external(tensor: &TensorProto) -> bool {
    tensor.data_location() == DataLocation::External || !tensor.external_data.is_empty()
}

/// Brings in the numbers of every tensor that anything uses: initialisers, and those in attributes of nodes.
/// Tensors of types that constants cannot have are left, to be refused by their type.
pub(super) fn resolve(
    graph: &mut GraphProto,
    used: &HashSet<String>,
    external: &dyn External,
) -> Result<(), CompileError> {
    let mut total = 0u64;
    each(graph, used, |tensor, name| {
        total = total.saturating_add(request(tensor, name)?.map_or(0, |request| request.length));
        Ok(())
    })?;
    if total > MAX_ONNX_BYTES {
        let what = "the data in other files that the model uses".to_string();
        return Err(CompileError::TooLarge { what, actual: total, limit: MAX_ONNX_BYTES, unit: "bytes" });
    }
    each(graph, used, |tensor, name| bring(tensor, name, external))
}

/// Does something with every tensor that is used and external, and the name by which people find it.
fn each(
    graph: &mut GraphProto,
    used: &HashSet<String>,
    mut work: impl FnMut(&mut TensorProto, &str) -> Result<(), CompileError>,
) -> Result<(), CompileError> {
    let initializers = graph.initializer.iter_mut().filter(|tensor| used.contains(tensor.name()));
    for tensor in initializers.filter(|tensor| is_external(tensor)) {
        let name = tensor.name().to_string();
        work(tensor, &name)?;
    }
    for node in &mut graph.node {
        let name = super::node_name(node).to_string();
        let tensors = node.attribute.iter_mut().filter_map(|attribute| attribute.t.as_mut());
        for tensor in tensors.filter(|tensor| is_external(tensor)) {
            work(tensor, &name)?;
        }
    }
    Ok(())
}

/// What is asked for of another file.
struct Request {
    file: String,
    offset: u64,
    length: u64,
    dims: Vec<u32>,
}

/// What a tensor needs of another file; `None` if constants cannot have its type.
fn request(tensor: &TensorProto, name: &str) -> Result<Option<Request>, CompileError> {
    let property = |key: &str| {
        let entry = tensor.external_data.iter().find(|entry| entry.key() == key);
        entry.map(|entry| entry.value().to_string())
    };
    let file = property("location").unwrap_or_default();
    let wrong =
        |reason: String| CompileError::ExternalData { tensor: name.to_string(), file: file.clone(), reason };
    if file.is_empty() {
        return Err(CompileError::Malformed(format!(
            "tensor {name:?} is in another file, and none is named"
        )));
    }
    let number = |key: &str| match property(key) {
        None => Ok(None),
        Some(text) => match text.parse::<u64>() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(wrong(format!("its {key} {text:?} is no number of bytes"))),
        },
    };
    let (offset, stated) = (number("offset")?.unwrap_or(0), number("length")?);
    let Some(size) = element_bytes(tensor) else { return Ok(None) };
    let (dims, elements) = tensor::shape(tensor, name)?;
    let length = (elements as u64).saturating_mul(size);
    if let Some(stated) = stated.filter(|stated| *stated != length) {
        return Err(wrong(format!("its length is {stated} bytes, its dims {dims:?} ask for {length}")));
    }
    Ok(Some(Request { file, offset, length, dims }))
}

fn bring(tensor: &mut TensorProto, name: &str, external: &dyn External) -> Result<(), CompileError> {
    let Some(Request { file, offset, length, dims }) = request(tensor, name)? else { return Ok(()) };
    let wrong =
        |reason: String| CompileError::ExternalData { tensor: name.to_string(), file: file.clone(), reason };
    let bytes = external.read(&file, offset, length).map_err(wrong)?;
    if bytes.len() as u64 != length {
        let came = bytes.len();
        return Err(wrong(format!("{came} bytes came of the {length} that its dims {dims:?} ask for")));
    }
    tensor.raw_data = Some(bytes);
    tensor.external_data = Vec::new();
    tensor.data_location = None;
    Ok(())
}

/// Bytes of an element in a file, for the types that constants can have.
fn element_bytes(tensor: &TensorProto) -> Option<u64> {
    match DataType::try_from(tensor.data_type()) {
        Ok(DataType::Float | DataType::Int32) => Some(4),
        Ok(DataType::Double | DataType::Int64) => Some(8),
        Ok(DataType::Bool) => Some(1),
        _ => None,
    }
}
