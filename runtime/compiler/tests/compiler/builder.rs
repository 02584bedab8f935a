//! Builds ONNX files in memory.

use prost::Message as _;

use crate::onnx::tensor_proto::DataType;
use crate::onnx::tensor_shape_proto::{Dimension, dimension::Value as DimValue};
use crate::onnx::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, attribute_proto::AttributeType, type_proto,
};

/// A model; every method adds one thing and returns it.
#[derive(Clone)]
pub struct Model {
    pub proto: ModelProto,
}

/// An axis of an input or output.
#[derive(Clone, Debug)]
pub enum D {
    Fixed(i64),
    Symbol(&'static str),
}

pub fn value_info(name: &str, dims: &[D], elem_type: DataType) -> ValueInfoProto {
    let dim = |d: &D| Dimension {
        denotation: None,
        value: Some(match d {
            D::Fixed(extent) => DimValue::DimValue(*extent),
            D::Symbol(symbol) => DimValue::DimParam((*symbol).into()),
        }),
    };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor = type_proto::Tensor { elem_type: Some(elem_type as i32), shape };
    let value = Some(type_proto::Value::TensorType(tensor));
    ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto { value, ..Default::default() }),
        ..Default::default()
    }
}

pub fn f32_tensor(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: dims.to_vec(),
        data_type: Some(DataType::Float as i32),
        raw_data: Some(values.iter().flat_map(|v| v.to_le_bytes()).collect()),
        ..Default::default()
    }
}

pub fn i64_tensor(name: &str, dims: &[i64], values: &[i64]) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: dims.to_vec(),
        data_type: Some(DataType::Int64 as i32),
        int64_data: values.to_vec(),
        ..Default::default()
    }
}

pub fn i32_tensor(name: &str, dims: &[i64], values: &[i32]) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: dims.to_vec(),
        data_type: Some(DataType::Int32 as i32),
        int32_data: values.to_vec(),
        ..Default::default()
    }
}

pub fn int(name: &str, value: i64) -> AttributeProto {
    let r#type = Some(AttributeType::Int as i32);
    AttributeProto { name: Some(name.into()), r#type, i: Some(value), ..Default::default() }
}

pub fn float(name: &str, value: f32) -> AttributeProto {
    let r#type = Some(AttributeType::Float as i32);
    AttributeProto { name: Some(name.into()), r#type, f: Some(value), ..Default::default() }
}

fn attribute(name: &str, r#type: AttributeType) -> AttributeProto {
    AttributeProto { name: Some(name.into()), r#type: Some(r#type as i32), ..Default::default() }
}

pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, AttributeType::Ints) }
}

pub fn floats(name: &str, values: &[f32]) -> AttributeProto {
    AttributeProto { floats: values.to_vec(), ..attribute(name, AttributeType::Floats) }
}

pub fn string(name: &str, value: &str) -> AttributeProto {
    AttributeProto { s: Some(value.into()), ..attribute(name, AttributeType::String) }
}

pub fn strings(name: &str, values: &[&str]) -> AttributeProto {
    let strings = values.iter().map(|value| (*value).into()).collect();
    AttributeProto { strings, ..attribute(name, AttributeType::Strings) }
}

pub fn tensor(name: &str, value: TensorProto) -> AttributeProto {
    AttributeProto { t: Some(value), ..attribute(name, AttributeType::Tensor) }
}

impl Model {
    pub fn new(opset: i64) -> Model {
        let graph = GraphProto { name: Some("test".into()), ..Default::default() };
        let opset = OperatorSetIdProto { domain: None, version: Some(opset) };
        Model {
            proto: ModelProto {
                ir_version: Some(8),
                opset_import: vec![opset],
                graph: Some(graph),
                ..Default::default()
            },
        }
    }

    pub fn graph(&mut self) -> &mut GraphProto {
        self.proto.graph.as_mut().unwrap()
    }

    pub fn input(self, name: &str, dims: &[D]) -> Model {
        self.typed_input(name, dims, DataType::Float)
    }

    pub fn typed_input(mut self, name: &str, dims: &[D], elem_type: DataType) -> Model {
        self.graph().input.push(value_info(name, dims, elem_type));
        self
    }

    pub fn output(mut self, name: &str) -> Model {
        let info = ValueInfoProto { name: Some(name.into()), ..Default::default() };
        self.graph().output.push(info);
        self
    }

    pub fn f32(mut self, name: &str, dims: &[i64], values: &[f32]) -> Model {
        self.graph().initializer.push(f32_tensor(name, dims, values));
        self
    }

    pub fn i64(mut self, name: &str, dims: &[i64], values: &[i64]) -> Model {
        self.graph().initializer.push(i64_tensor(name, dims, values));
        self
    }

    pub fn constant(mut self, tensor: TensorProto) -> Model {
        self.graph().initializer.push(tensor);
        self
    }

    pub fn node(self, op: &str, inputs: &[&str], output: &str, attributes: &[AttributeProto]) -> Model {
        self.nodes(op, inputs, &[output], attributes)
    }

    /// A node with several outputs; an empty name leaves an operand or an output out.
    pub fn nodes(
        mut self,
        op: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: &[AttributeProto],
    ) -> Model {
        self.graph().node.push(NodeProto {
            op_type: Some(op.into()),
            input: inputs.iter().map(|name| (*name).into()).collect(),
            output: outputs.iter().map(|name| (*name).into()).collect(),
            attribute: attributes.to_vec(),
            ..Default::default()
        });
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.proto.encode_to_vec()
    }
}

/// Numbers that are the same in every run, between -1 and 1.
pub fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}
