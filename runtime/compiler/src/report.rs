//! What a compilation has to say, and the custom section that keeps a part of it in the module.
//!
//! `dunlin.layers` is a JSON array of [`Layer`], one for each call in `dunlin_infer`, in their order.
//! It says nothing that a host relies on: tools show it, and `profiled` finds the calls by it.

use std::collections::HashMap;

use dunlin_abi::Card;

use crate::error::CompileError;
use crate::graph::Graph;
use crate::layout::{Base, Plan};

/// The custom section with a module's [`Layer`]s.
pub const LAYERS_SECTION: &str = "dunlin.layers";

/// How weights are stored in the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightFormat {
    /// As they are computed with.
    #[default]
    F32,
    /// Tensors of 32 KiB or more as IEEE 754 halves, which are widened when an instance starts.
    F16,
}

/// One call of a kernel.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Layer {
    /// The names of the ONNX nodes that it computes, joined by "+".
    pub node: String,
    /// Their operators.
    pub operator: String,
    /// What runs, with its geometry.
    pub kernel: String,
    /// Multiply-accumulates of one sample.
    #[serde(default)]
    pub macs: u64,
    /// Bytes of constant operands.
    #[serde(default)]
    pub weight_bytes: u64,
    /// Columns of a block of packed weights, where there are several ways to pack them: what
    /// [`Options::like`](crate::Options::like) keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block: Option<u32>,
    /// The compiler's guess of its time for one sample, 0 where a module was read: `dunlin bench --profile`
    /// measures it.
    #[serde(default)]
    pub estimated_ns: u64,
}

/// What a compilation has to say.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Report {
    /// The card in the module.
    pub card: Card,
    /// The operators of the ONNX file, by name, and how often each occurs.
    pub operators: Vec<(String, u32)>,
    /// The passes in order, and how many changes each made.
    pub passes: Vec<(String, u32)>,
    /// The calls of kernels for one sample, in order.
    pub layers: Vec<Layer>,
    /// Multiply-accumulates of one sample.
    pub macs: u64,
    /// Numbers in the weights, without padding.
    pub parameters: u64,
    /// How the weights are stored.
    pub weights: WeightFormat,
    /// Bytes of the data segments.
    pub weight_bytes: u64,
    /// Bytes of inputs, outputs and intermediates.
    pub arena_bytes: u64,
    /// Bytes of the functions.
    pub code_bytes: u64,
    /// Bytes of the module.
    pub module_bytes: u64,
    /// The compiler's guess of the time for one sample; `dunlin bench` measures it.
    pub estimated_ns: u64,
    /// What a person should know about the model.
    pub warnings: Vec<String>,
}

/// A layer for each step of the plan.
pub(crate) fn layers(graph: &Graph, plan: &Plan) -> Vec<Layer> {
    let joined = |origins: &[usize], read: fn(&crate::graph::Origin) -> &str| {
        let mut texts: Vec<&str> = Vec::new();
        for text in origins.iter().filter_map(|origin| graph.origins.get(*origin)).map(read) {
            if texts.last() != Some(&text) {
                texts.push(text);
            }
        }
        texts.join("+")
    };
    let layer = |step: &crate::layout::Step| {
        let weights = step.operands.iter().filter_map(|place| match place.base {
            Base::Weight(weight) => Some(plan.weights[weight].words.len() as u64 * 4),
            Base::Buffer(_) => None,
        });
        let (macs, weight_bytes) = (step.kernel.macs(step.y.layout.elements()), weights.sum());
        Layer {
            node: joined(&step.origins, |origin| &origin.name),
            operator: joined(&step.origins, |origin| &origin.operator),
            kernel: step.kernel.title(),
            macs,
            weight_bytes,
            block: step.kernel.block(),
            estimated_ns: estimated_ns(macs, weight_bytes, step.y.layout.elements()),
        }
    };
    plan.steps.iter().map(layer).collect()
}

/// The blocks of an earlier module's weights, by the names of its nodes.
pub(crate) fn blocks(like: &[Layer]) -> HashMap<&str, u32> {
    let blocks = like.iter().filter_map(|layer| Some((layer, layer.block.filter(|block| *block > 0)?)));
    blocks.flat_map(|(layer, block)| layer.node.split('+').map(move |name| (name, block))).collect()
}

/// Multiply-accumulates that a core of a current x86-64 server does in a nanosecond with 128-bit vectors.
const MACS_PER_NS: u64 = 20;
/// Bytes of weights that it streams in a nanosecond.
const WEIGHT_BYTES_PER_NS: u64 = 40;
/// Numbers that it reads, changes and writes in a nanosecond.
const ELEMENTS_PER_NS: u64 = 3;
/// What a call of a kernel costs.
const CALL_NS: u64 = 5;

/// A guess: what bounds a layer is its arithmetic, its weights or its result.
fn estimated_ns(macs: u64, weight_bytes: u64, elements: u64) -> u64 {
    let bound = (macs / MACS_PER_NS).max(weight_bytes / WEIGHT_BYTES_PER_NS).max(elements / ELEMENTS_PER_NS);
    bound + CALL_NS
}

/// The layers as the module carries them: every byte travels, so zeros and guesses are left out.
pub(crate) fn section(layers: &[Layer]) -> Result<Vec<u8>, CompileError> {
    let fault = |error: serde_json::Error| CompileError::Fault(error.to_string());
    let mut list = serde_json::to_value(layers).map_err(fault)?;
    for layer in list.as_array_mut().into_iter().flatten().filter_map(|layer| layer.as_object_mut()) {
        layer.retain(|key, value| *value != 0 && key != "estimated_ns");
    }
    serde_json::to_vec(&list).map_err(fault)
}
