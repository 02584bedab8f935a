//! A node with its operands, and its attributes by name.

use super::array::Array;
use crate::onnx::{AttributeProto, NodeProto};

pub struct Node<'a> {
    pub proto: &'a NodeProto,
    pub inputs: Vec<Option<&'a Array>>,
    pub opset: i64,
}

impl Node<'_> {
    pub fn op(&self) -> &str {
        self.proto.op_type()
    }

    /// An operand that must be there.
    pub fn x(&self, index: usize) -> &Array {
        self.optional(index).unwrap_or_else(|| panic!("{} has no operand {index}", self.op()))
    }

    pub fn optional(&self, index: usize) -> Option<&Array> {
        self.inputs.get(index).copied().flatten()
    }

    pub fn all(&self) -> Vec<&Array> {
        self.inputs.iter().map(|x| x.unwrap()).collect()
    }

    pub fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.proto.attribute.iter().find(|a| a.name() == name)
    }

    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).map_or(default, |a| a.i())
    }

    pub fn float(&self, name: &str, default: f32) -> f64 {
        f64::from(self.attribute(name).map_or(default, |a| a.f()))
    }

    pub fn string(&self, name: &str, default: &str) -> String {
        self.attribute(name).map_or(default.into(), |a| String::from_utf8(a.s().to_vec()).unwrap())
    }

    pub fn ints(&self, name: &str) -> Option<Vec<i64>> {
        self.attribute(name).map(|a| a.ints.clone())
    }

    pub fn floats(&self, name: &str) -> Vec<f64> {
        self.attribute(name).map_or(vec![], |a| a.floats.iter().map(|v| f64::from(*v)).collect())
    }

    /// The integers of an attribute or, in newer opsets, of an operand.
    pub fn ints_or_operand(&self, name: &str, index: usize) -> Option<Vec<i64>> {
        self.ints(name).or_else(|| self.optional(index).map(Array::ints))
    }
}
