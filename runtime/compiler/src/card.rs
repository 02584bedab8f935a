//! The card of a compiled model.

use dunlin_abi::{ABI_VERSION, Card, Meaning, Simd, State, TensorSpec};
use dunlin_core::Digest;

use crate::graph::{Graph, Op, ValueId};
use crate::program::{Inst, Program, Unary};

/// What the module says of itself.
pub(crate) fn card(graph: &Graph, onnx: &[u8], max_batch: u32, simd: Simd, arena_bytes: u32) -> Card {
    let inputs = graph.inputs.iter().map(|id| {
        let value = graph.value(*id);
        TensorSpec::new(value.name.clone(), value.dtype, value.shape.dims())
    });
    let outputs = graph.outputs.iter().map(|output| {
        let mut spec =
            TensorSpec::new(output.name.clone(), graph.value(output.value).dtype, output.shape.dims());
        if is_probability(graph, output.value) {
            spec.meaning = Some(Meaning::Probability);
            spec.range = Some([0.0, 1.0]);
        }
        spec
    });
    Card {
        abi: ABI_VERSION,
        inputs: inputs.collect(),
        outputs: outputs.collect(),
        max_batch,
        state: State::None,
        simd,
        stack_bytes: 0,
        arena_bytes,
        producer: concat!("dunlin-compiler ", env!("CARGO_PKG_VERSION")).to_string(),
        source_sha256: Some(Digest::of(onnx).to_string()),
    }
}

/// Whether a value comes out of a softmax or a sigmoid.
fn is_probability(graph: &Graph, value: ValueId) -> bool {
    let sigmoid = |program: &Program| matches!(program.insts().last(), Some(Inst::Unary(Unary::Sigmoid, _)));
    graph.nodes.iter().filter(|node| node.output == value).any(|node| match &node.op {
        Op::Pointwise(program) => sigmoid(program),
        Op::MatMul(matmul) => sigmoid(&matmul.epilogue),
        Op::Conv(conv) => sigmoid(&conv.epilogue),
        Op::Kernel(kernel) => kernel.is_probability(),
        Op::Rearrange(_) | Op::Concat { .. } | Op::Pad { .. } => false,
    })
}
