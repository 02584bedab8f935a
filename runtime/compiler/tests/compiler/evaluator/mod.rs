//! A slow and simple evaluator of ONNX models, written apart from the compiler: it walks the nodes of the
//! file, knows shapes only at run time and finds every number by its coordinates.
//!
//! It calculates in f64 and rounds what a node makes to the type of the tensor, as the file declares it.
//! A file per family of operators; each gives `None` for what it does not know.

mod activation;
mod array;
mod attribute;
mod compare;
mod conv;
mod elementwise;
mod generate;
mod matmul;
mod movement;
mod normalize;
mod pad;
mod pool;
mod recurrent;
mod reduce;
mod reshape;
mod resize;
mod softmax;
mod window;

use std::collections::HashMap;

pub use array::{Array, Kind, coordinates};
use attribute::Node;

use crate::onnx::ModelProto;

type Family = fn(&Node<'_>) -> Option<Vec<Array>>;

/// Every family, in no order that matters.
const FAMILIES: [Family; 15] = [
    activation::apply,
    compare::apply,
    conv::apply,
    elementwise::apply,
    generate::apply,
    matmul::apply,
    movement::apply,
    normalize::apply,
    pad::apply,
    pool::apply,
    recurrent::apply,
    reduce::apply,
    reshape::apply,
    resize::apply,
    softmax::apply,
];

/// Evaluates a model on its inputs and gives its outputs.
pub fn evaluate(model: &ModelProto, inputs: &[(&str, Array)]) -> Vec<Array> {
    let graph = model.graph.as_ref().unwrap();
    let opset = model.opset_import[0].version();
    let mut values: HashMap<String, Array> = HashMap::new();
    values.extend(graph.initializer.iter().map(|tensor| (tensor.name().into(), Array::from_proto(tensor))));
    values.extend(inputs.iter().map(|(name, array)| ((*name).to_string(), array.clone())));
    for proto in &graph.node {
        let inputs = proto.input.iter().map(|name| (!name.is_empty()).then(|| &values[name])).collect();
        let node = Node { proto, inputs, opset };
        let results = FAMILIES.iter().find_map(|family| family(&node));
        let results = results.unwrap_or_else(|| panic!("the evaluator does not know {}", proto.op_type()));
        for (name, result) in proto.output.iter().zip(results) {
            values.insert(name.clone(), result.rounded());
        }
    }
    graph.output.iter().map(|output| values[output.name()].clone()).collect()
}
