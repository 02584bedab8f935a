//! The versions of the file format and of ONNX's own operators.

use super::onnx::{ModelProto, OperatorSetIdProto};
use super::{is_onnx_domain, node_name};
use crate::error::CompileError;

/// The opset versions whose operators are known.
const OPSETS: (i64, i64) = (7, 28);
/// The file format's versions that are known.
const IR_VERSIONS: (i64, i64) = (3, 14);

/// The version of ONNX's own operators. Where a file imports them more than once, as `""` and as `"ai.onnx"`,
/// the highest version counts (`ModelProto.opset_import` in `onnx.proto`).
pub(super) fn version(model: &ModelProto) -> Result<i64, CompileError> {
    let check = |what, actual, (least, most): (i64, i64)| {
        if (least..=most).contains(&actual) {
            Ok(actual)
        } else {
            Err(CompileError::Version { what, actual, least, most })
        }
    };
    check("ONNX IR version", model.ir_version(), IR_VERSIONS)?;
    let own = model.opset_import.iter().filter(|entry| is_onnx_domain(entry.domain()));
    if let Some(version) = own.map(OperatorSetIdProto::version).max() {
        return check("opset", version, OPSETS);
    }
    // Without ONNX's own operators no version of them is needed: the nodes are refused by their own domains.
    let nodes = model.graph.iter().flat_map(|graph| &graph.node);
    match nodes.clone().find(|node| is_onnx_domain(node.domain())) {
        Some(node) => Err(CompileError::Malformed(format!(
            "the file imports no opset of ONNX's own domain, of which node {:?} ({}) is",
            node_name(node),
            node.op_type().escape_debug()
        ))),
        None if nodes.clone().next().is_none() => {
            Err(CompileError::Malformed("the file has no nodes and imports no opset".to_string()))
        }
        None => Ok(OPSETS.1),
    }
}
