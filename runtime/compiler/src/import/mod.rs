//! ONNX in, [`Graph`] out: the bytes are decoded, checked and translated node by node.
//!
//! Nothing here trusts the file. Sizes are checked before anything of that size is allocated, names
//! must be unique, and every tensor must have been made before it is read, which rules out cycles.
//! Nodes that cannot be translated are collected, so that one run tells all of them.

// Generated: see the header of the file.
#[rustfmt::skip]
#[allow(missing_docs)]
pub(crate) mod onnx;
mod external;
mod input;
mod layer;
mod opset;
mod scan;
mod tensor;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use dunlin_abi::DType;
use prost::Message as _;

use crate::constant::Constant;
use crate::emit::convert::{Conversion, Convert};
use crate::error::{CompileError, Unsupported};
use crate::graph::{Graph, Op, Origin, Output, Shape, ValueId};
use crate::op::{self, Refusal, Results};
use crate::{External, MAX_ONNX_BYTES, Options};
use onnx::attribute_proto::AttributeType;
use onnx::{GraphProto, ModelProto, NodeProto, ValueInfoProto};

pub(crate) use input::dtype;
pub(crate) use tensor::constant as tensor_constant;

/// The most nodes: passes and the plan of the arena take time by the square of their number.
const MAX_NODES: u64 = 1 << 13;

/// What an import gives.
pub(crate) struct Imported {
    /// The model.
    pub(crate) graph: Graph,
    /// How often each operator occurs in the file.
    pub(crate) operators: BTreeMap<String, u32>,
    /// What a person should know about the file.
    pub(crate) warnings: Vec<String>,
}

/// Whether the domain is ONNX's own, which has two spellings.
pub(crate) fn is_onnx_domain(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

/// Reads an ONNX file.
pub(crate) fn import(
    bytes: &[u8],
    options: &Options,
    external: &dyn External,
) -> Result<Imported, CompileError> {
    let (actual, limit) = (bytes.len() as u64, MAX_ONNX_BYTES);
    if actual > limit {
        return Err(CompileError::TooLarge {
            what: "the ONNX file".to_string(),
            actual,
            limit,
            unit: "bytes",
        });
    }
    scan::check(bytes)?;
    let mut model = ModelProto::decode(bytes)
        .map_err(|error| CompileError::Malformed(format!("not the protobuf of a model ({error})")))?;
    let opset = opset::version(&model)?;
    let Some(graph) = &mut model.graph else {
        return Err(CompileError::Malformed("the file has no graph".to_string()));
    };
    let (actual, limit) = (graph.node.len() as u64, MAX_NODES);
    if actual > limit {
        return Err(CompileError::TooLarge { what: "the graph".to_string(), actual, limit, unit: "nodes" });
    }
    graph.node.iter_mut().for_each(with_zeros);
    let used = used_names(graph);
    external::resolve(graph, &used, external)?;
    let mut importer = Importer::new(graph, opset);
    importer.options_given = !options.inputs.is_empty() || !options.constants.is_empty();
    importer.functions =
        model.functions.iter().map(|function| (function.domain(), function.name())).collect();
    importer.initializers(&used)?;
    importer.graph.file_elements = importer.graph.constant_elements;
    importer.inputs(options)?;
    importer.nodes()?;
    importer.outputs()
}

/// Puts the zeros into attributes that encoders of proto3 leave out, ML.NET's for one.
fn with_zeros(node: &mut NodeProto) {
    for attribute in &mut node.attribute {
        match attribute.r#type() {
            AttributeType::Int => attribute.i = attribute.i.or(Some(0)),
            AttributeType::Float => attribute.f = attribute.f.or(Some(0.0)),
            AttributeType::String => attribute.s = attribute.s.take().or(Some(Vec::new())),
            _ => {}
        }
    }
}

/// The names that a node or the host reads.
fn used_names(graph: &GraphProto) -> HashSet<String> {
    let node_inputs = graph.node.iter().flat_map(|node| &node.input);
    let outputs = graph.output.iter().filter_map(|output| output.name.as_ref());
    node_inputs.chain(outputs).cloned().collect()
}

/// The name by which people find a node again.
pub(crate) fn node_name(node: &NodeProto) -> &str {
    match node.name() {
        "" => node.output.first().map_or("", String::as_str),
        name => name,
    }
}

/// The state of one import.
struct Importer<'a> {
    proto: &'a GraphProto,
    opset: i64,
    graph: Graph,
    /// What each name means so far; `None` for what a refused node would have made.
    names: HashMap<&'a str, Option<ValueId>>,
    refused: Vec<Unsupported>,
    operators: BTreeMap<String, u32>,
    warnings: Vec<String>,
    /// What the file declares of tensors between the nodes.
    declared: HashMap<&'a str, &'a ValueInfoProto>,
    /// Domains and names of the functions that the file defines.
    functions: HashSet<(&'a str, &'a str)>,
    /// Whether shapes or constants were given as options.
    options_given: bool,
}

impl<'a> Importer<'a> {
    fn new(proto: &'a GraphProto, opset: i64) -> Self {
        Importer {
            proto,
            opset,
            graph: Graph::default(),
            names: HashMap::new(),
            refused: Vec::new(),
            operators: BTreeMap::new(),
            warnings: Vec::new(),
            declared: proto.value_info.iter().map(|info| (info.name(), info)).collect(),
            functions: HashSet::new(),
            options_given: false,
        }
    }

    /// Gives a name its meaning; a name has one.
    fn define(&mut self, name: &'a str, value: Option<ValueId>) -> Result<(), CompileError> {
        match self.names.insert(name, value) {
            None => Ok(()),
            Some(_) => Err(CompileError::Malformed(format!("two tensors are named {name:?}"))),
        }
    }

    /// Reads the initialisers that anything uses.
    fn initializers(&mut self, used: &HashSet<String>) -> Result<(), CompileError> {
        if let Some(sparse) = self.proto.sparse_initializer.first() {
            let name = sparse.values.as_ref().map_or("", |values| values.name());
            let what = format!("tensor {name:?} is a sparse initialiser");
            return Err(CompileError::Form { what, remedy: "store its numbers as a dense tensor" });
        }
        for tensor in &self.proto.initializer {
            let name = tensor.name();
            if name.is_empty() {
                return Err(CompileError::Malformed("an initialiser has no name".to_string()));
            }
            let value = if used.contains(name) {
                let constant = tensor_constant(tensor, name)?;
                Some(self.graph.add_constant(name, constant))
            } else {
                None
            };
            self.define(name, value)?;
        }
        Ok(())
    }

    /// Declares what the host writes. An input with an initialiser of its name is that constant.
    fn inputs(&mut self, options: &Options) -> Result<(), CompileError> {
        let mut seen = HashSet::new();
        for input in &self.proto.input {
            if !seen.insert(input.name()) {
                return Err(CompileError::Malformed(format!("two inputs are named {:?}", input.name())));
            }
        }
        let free: Vec<_> =
            self.proto.input.iter().filter(|input| !self.names.contains_key(input.name())).collect();
        input::check_options(&free, options)?;
        let constant_of = |name: &str| options.constants.iter().find(|(option, _)| option == name);
        let (bound, free): (Vec<_>, Vec<_>) =
            free.into_iter().partition(|input| constant_of(input.name()).is_some());
        for input in bound {
            if let Some((_, constant)) = constant_of(input.name()) {
                let constant: Constant = input::bind(input, constant)?;
                let id = self.graph.add_constant(input.name(), constant);
                self.define(input.name(), Some(id))?;
            }
        }
        for (input, value) in free.iter().zip(input::declare(&free, options)?) {
            let (dtype, shape) = (value.dtype, value.shape.clone());
            let id = self.graph.add_value(value);
            self.graph.inputs.push(id);
            // Truth values of the host are bytes, and numbers before everything else.
            let id = if dtype == DType::Bool {
                let len = u32::try_from(shape.elements()).unwrap_or(u32::MAX);
                let op = Op::Kernel(Rc::new(Convert { conversion: Conversion::FromHost, len }));
                self.graph.add_node(input.name(), dtype, op, vec![id], shape)
            } else {
                id
            };
            self.define(input.name(), Some(id))?;
        }
        Ok(())
    }

    /// Translates every node, in order.
    fn nodes(&mut self) -> Result<(), CompileError> {
        let proto = self.proto;
        // A node without named results changes nothing.
        let made = |node: &&NodeProto| node.output.iter().any(|name| !name.is_empty());
        for node in proto.node.iter().filter(made) {
            *self.operators.entry(node.op_type().to_string()).or_default() += 1;
            let results = self.node(node)?;
            let outputs = node.output.iter().enumerate().filter(|(_, name)| !name.is_empty());
            for (place, name) in outputs {
                let value = results.as_ref().and_then(|results| results.at(place));
                self.define(name, value)?;
                if let (Some(value), Some(info)) = (value, self.declared.get(name.as_str()).copied()) {
                    let shape = self.graph.value(value).shape.clone();
                    self.check_declared(info, &shape)?;
                }
            }
        }
        if self.refused.is_empty() { Ok(()) } else { Err(CompileError::Unsupported(self.refused.clone())) }
    }

    /// Translates one node; `None` if it, or one that it depends on, was refused.
    fn node(&mut self, node: &'a NodeProto) -> Result<Option<Results>, CompileError> {
        let (name, operator) = (node_name(node).to_string(), node.op_type().to_string());
        self.graph.origins.push(Origin { name, operator });
        let mut inputs = Vec::with_capacity(node.input.len());
        let mut complete = true;
        for name in &node.input {
            inputs.push(match (name.as_str(), self.names.get(name.as_str())) {
                ("", _) => None,
                (_, Some(Some(id))) => Some(*id),
                (_, Some(None)) if self.refused.is_empty() => return Err(self.further_output(name)),
                (_, Some(None)) => {
                    complete = false;
                    None
                }
                (_, None) => return Err(self.undefined(node, name)),
            });
        }
        let function = self.functions.contains(&(node.domain(), node.op_type()));
        let result = match op::find(node) {
            _ if function => Err(Refusal::unsupported(
                "it is a function that the file defines",
                "put the functions in the place of their calls: `onnx.inliner.inline_local_functions(model)`",
            )),
            Ok(operator) if complete => {
                op::lower(operator, node, inputs, &mut self.graph, self.opset).map(Some)
            }
            Ok(_) => Ok(None),
            Err(refusal) => Err(refusal),
        };
        result.or_else(|refusal| match refusal {
            Refusal::Unsupported { reason, remedy } => {
                self.refused.push(unsupported(node, reason, remedy));
                Ok(None)
            }
            // A valid file gets here whose shapes go together for one batch size only, or not for those given.
            Refusal::Shapes(reason) if self.options_given => {
                let remedy = "give shapes that fit: `--input NAME=SHAPE`".to_string();
                self.refused.push(unsupported(node, reason, remedy));
                Ok(None)
            }
            Refusal::Shapes(reason) if self.is_batched() => {
                let remedy = "if the model is for one batch size, fix it: `--input NAME=1,...`".to_string();
                self.refused.push(unsupported(node, format!("{reason} for every batch size n"), remedy));
                Ok(None)
            }
            Refusal::Malformed(reason) | Refusal::Shapes(reason) => Err(CompileError::Malformed(format!(
                "node {:?} ({}): {reason}",
                node_name(node),
                node.op_type().escape_debug()
            ))),
            Refusal::Compile(error) => Err(error),
        })
    }

    /// Whether the model's inputs have a batch axis.
    fn is_batched(&self) -> bool {
        self.graph.inputs.iter().any(|id| self.graph.value(*id).shape.is_batched())
    }

    /// Refuses a shape that the file contradicts: one of the two is wrong. Where shapes or constants were given
    /// as options, the file may tell of those that its exporter traced with, and it is a warning.
    fn check_declared(&mut self, info: &ValueInfoProto, shape: &Shape) -> Result<(), CompileError> {
        let Some(declared) = input::contradiction(info, shape, self.is_batched()) else { return Ok(()) };
        let (tensor, made) = (info.name().to_string(), shape.to_string());
        if self.options_given {
            self.warnings.push(format!(
                "tensor {tensor:?} is declared as {declared}, but the nodes make {made} of the shapes given"
            ));
            return Ok(());
        }
        let maker = self.proto.node.iter().find(|node| node.output.contains(&tensor));
        let (node, operator) = maker.map_or(("", ""), |node| (node_name(node), node.op_type()));
        let (node, operator) = (node.to_string(), operator.to_string());
        Err(CompileError::DeclaredShape { tensor, declared, made, node, operator })
    }

    /// A node reads a name that nothing made before: a typing error, a wrong order or a cycle.
    fn undefined(&self, node: &NodeProto, name: &str) -> CompileError {
        let maker = self.proto.node.iter().find(|other| other.output.iter().any(|output| output == name));
        let node = node_name(node);
        CompileError::Malformed(match maker {
            Some(maker) => format!(
                "node {node:?} reads {name:?}, which only node {:?} makes, at the same place or later: \
                 the nodes are not sorted, or form a cycle",
                node_name(maker)
            ),
            None => format!("node {node:?} reads {name:?}, which no input, initialiser or node defines"),
        })
    }

    /// Something reads `name`, which is a second output of a node; no operator here computes those.
    fn further_output(&self, name: &str) -> CompileError {
        let maker = self.proto.node.iter().find(|node| node.output.iter().any(|output| output == name));
        let reason = format!("its output {name:?} is read, which is not computed");
        let remedy = "export the model for inference, where such outputs are not read".to_string();
        CompileError::Unsupported(maker.map(|node| unsupported(node, reason, remedy)).into_iter().collect())
    }

    /// Declares what the host reads.
    fn outputs(mut self) -> Result<Imported, CompileError> {
        if self.proto.output.is_empty() {
            let what = "the graph has no outputs".to_string();
            return Err(CompileError::Form { what, remedy: "name what the model computes as its outputs" });
        }
        for output in &self.proto.output {
            let name = output.name();
            let value = match self.names.get(name).copied() {
                Some(Some(value)) => value,
                Some(None) => return Err(self.further_output(name)),
                None => return Err(CompileError::Malformed(format!("nothing makes the output {name:?}"))),
            };
            let (dtype, shape) = (self.graph.value(value).dtype, self.graph.value(value).shape.clone());
            if shape.batch.is_some_and(|batch| batch != 0) || shape.joined[0] > 0 {
                let what =
                    format!("the output {name:?} has the shape {shape}, whose batch axis is not the first");
                let remedy = "transpose it in the model, or fix the batch: `--input NAME=1,...`";
                return Err(CompileError::Form { what, remedy });
            }
            // The same numbers, with a batch axis that the card can tell of.
            let shape = if shape.is_joined() {
                let apart = Shape { joined: [0, 0], ..shape.clone() };
                self.warnings.push(format!("output {name:?} is {shape}, which the card calls {apart}"));
                apart
            } else {
                shape
            };
            if self.graph.marked.contains(&value) {
                let what = format!("the output {name:?} is computed from the batch size, which is not known");
                return Err(CompileError::Form { what, remedy: "fix the batch: `--input NAME=1,...`" });
            }
            if dtype == DType::F64 {
                let wanted = "outputs are float32, int64, int32 or bool";
                return Err(CompileError::DType {
                    tensor: name.to_string(),
                    dtype: dtype.to_string(),
                    wanted,
                });
            }
            self.check_declared(output, &shape)?;
            self.graph.outputs.push(Output { name: name.to_string(), shape, value });
        }
        Ok(Imported { graph: self.graph, operators: self.operators, warnings: self.warnings })
    }
}

/// A line of the report about a node.
fn unsupported(node: &NodeProto, reason: String, remedy: String) -> Unsupported {
    let operator = match node.domain() {
        domain if is_onnx_domain(domain) => node.op_type().to_string(),
        domain => format!("{domain}.{}", node.op_type()),
    };
    Unsupported { operator, node: node_name(node).to_string(), layer: layer::of(node), reason, remedy }
}
