//! How much memory a file takes once it is decoded, found out before anything is.
//!
//! Protobuf is dense: two bytes are an empty node, which takes hundreds of bytes as a struct. This walks over
//! the encoding without keeping any of it, and adds up what the decoder would allocate besides copies of bytes
//! that are in the file: structs, vectors of strings, integers of one byte that take eight. No model comes near
//! the bound: the largest number of nodes that the compiler takes, with ten attributes each, stays below a
//! half of it.

use super::onnx::{
    AttributeProto, DeviceConfigurationProto, FunctionProto, GraphProto, IntIntListEntryProto, ModelProto,
    NodeDeviceConfigurationProto, NodeProto, OperatorSetIdProto, ShardedDimProto, ShardingSpecProto,
    SimpleShardedDimProto, SparseTensorProto, StringStringEntryProto, TensorAnnotation, TensorProto,
    TrainingInfoProto, TypeProto, ValueInfoProto, tensor_shape_proto::Dimension,
};
use crate::MAX_DECODED_BYTES;
use crate::error::CompileError;

/// Messages within messages, as deep as the decoder goes.
const MAX_DEPTH: u32 = 100;
/// What a string takes besides its bytes: its place in a vector, twice while that grows, and its allocation.
const STRING_BYTES: u64 = 2 * size_of::<String>() as u64 + 32;
/// What an integer takes, twice while its vector grows.
const INTEGER_BYTES: u64 = 2 * size_of::<i64>() as u64;

/// A kind of message whose fields matter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Sparse,
    Value,
    Type,
    TensorType,
    /// Of a sequence or an optional.
    ElementType,
    MapType,
    Shape,
    Dimension,
    Function,
    Training,
    Annotation,
    NodeDevice,
    Sharding,
    ShardedDim,
    IntegerList,
    /// Key and value, an operator set, a device: nothing in it but numbers and strings.
    Small,
}

/// What a field holds.
enum Field {
    Message(Kind),
    Strings,
    Integers,
    /// Numbers of fixed size, or bytes that are copied.
    Plain,
}

impl Kind {
    /// The bytes of the struct, twice while the vector that it is in grows.
    fn bytes(self) -> u64 {
        let size = match self {
            Kind::Model => size_of::<ModelProto>(),
            Kind::Graph => size_of::<GraphProto>(),
            Kind::Node => size_of::<NodeProto>(),
            Kind::Attribute => size_of::<AttributeProto>(),
            Kind::Tensor => size_of::<TensorProto>(),
            Kind::Sparse => size_of::<SparseTensorProto>(),
            Kind::Value => size_of::<ValueInfoProto>(),
            Kind::Type => size_of::<TypeProto>(),
            Kind::TensorType | Kind::ElementType | Kind::MapType | Kind::Shape => 0,
            Kind::Dimension => size_of::<Dimension>(),
            Kind::Function => size_of::<FunctionProto>(),
            Kind::Training => size_of::<TrainingInfoProto>(),
            Kind::Annotation => size_of::<TensorAnnotation>(),
            Kind::NodeDevice => size_of::<NodeDeviceConfigurationProto>(),
            Kind::Sharding => size_of::<ShardingSpecProto>(),
            Kind::ShardedDim => size_of::<ShardedDimProto>(),
            Kind::IntegerList => size_of::<IntIntListEntryProto>(),
            Kind::Small => {
                let device = size_of::<DeviceConfigurationProto>().max(size_of::<SimpleShardedDimProto>());
                device.max(size_of::<StringStringEntryProto>()).max(size_of::<OperatorSetIdProto>())
            }
        };
        2 * size as u64
    }

    /// The field with a tag of `onnx.proto`.
    fn field(self, tag: u64) -> Field {
        use Field::{Integers, Message, Plain, Strings};
        match (self, tag) {
            (Kind::Model, 7) => Message(Kind::Graph),
            (Kind::Model, 20) => Message(Kind::Training),
            (Kind::Model, 25) => Message(Kind::Function),
            (Kind::Model, 8 | 14 | 26) => Message(Kind::Small),
            (Kind::Graph, 1) | (Kind::Function, 7) => Message(Kind::Node),
            (Kind::Graph, 5) => Message(Kind::Tensor),
            (Kind::Graph, 15) => Message(Kind::Sparse),
            (Kind::Graph, 11..=13) | (Kind::Function, 12) => Message(Kind::Value),
            (Kind::Graph, 14) => Message(Kind::Annotation),
            (Kind::Graph, 16) => Message(Kind::Small),
            (Kind::Node, 1 | 2) | (Kind::Function, 4..=6) | (Kind::Attribute, 9) | (Kind::Tensor, 6) => {
                Strings
            }
            (Kind::Node, 5) | (Kind::Function, 11) => Message(Kind::Attribute),
            (Kind::Node, 9) | (Kind::Value, 4) => Message(Kind::Small),
            (Kind::Node, 10) => Message(Kind::NodeDevice),
            (Kind::NodeDevice, 2) => Message(Kind::Sharding),
            (Kind::Sharding, 3) => Message(Kind::IntegerList),
            (Kind::Sharding, 4) => Message(Kind::ShardedDim),
            (Kind::ShardedDim, 2) => Message(Kind::Small),
            (Kind::Attribute, 5 | 10) => Message(Kind::Tensor),
            (Kind::Attribute, 6 | 11) => Message(Kind::Graph),
            (Kind::Attribute, 22 | 23) => Message(Kind::Sparse),
            (Kind::Attribute, 14 | 15) | (Kind::Value, 2) => Message(Kind::Type),
            (Kind::Attribute, 8) | (Kind::Tensor, 1 | 5 | 7 | 11) | (Kind::Sparse, 3) => Integers,
            (Kind::Sharding | Kind::IntegerList, 2) => Integers,
            (Kind::Tensor, 13 | 16) => Message(Kind::Small),
            (Kind::Sparse, 1 | 2) => Message(Kind::Tensor),
            (Kind::Type, 1 | 8) => Message(Kind::TensorType),
            (Kind::Type, 4 | 9) => Message(Kind::ElementType),
            (Kind::Type, 5) => Message(Kind::MapType),
            (Kind::TensorType, 2) => Message(Kind::Shape),
            (Kind::ElementType, 1) | (Kind::MapType, 2) => Message(Kind::Type),
            (Kind::Shape, 1) => Message(Kind::Dimension),
            (Kind::Function, 9 | 14) => Message(Kind::Small),
            (Kind::Training, 1 | 2) => Message(Kind::Graph),
            (Kind::Training, 3 | 4) | (Kind::Annotation, 2) => Message(Kind::Small),
            (Kind::Small, _) => Strings,
            _ => Plain,
        }
    }
}

/// Refuses a file that would take more than [`MAX_DECODED_BYTES`].
pub(super) fn check(bytes: &[u8]) -> Result<(), CompileError> {
    Scan { bytes, total: 0 }.message(Kind::Model, 0, bytes.len(), 0)
}

struct Scan<'a> {
    bytes: &'a [u8],
    /// Bytes that decoding takes so far.
    total: u64,
}

impl Scan<'_> {
    /// The fields of a message that lies from `at` up to `end`.
    fn message(&mut self, kind: Kind, mut at: usize, end: usize, depth: u32) -> Result<(), CompileError> {
        self.add(kind.bytes())?;
        if depth > MAX_DEPTH {
            return Err(broken("its messages are nested too deep"));
        }
        while at < end {
            let key = self.varint(&mut at, end)?;
            let field = kind.field(key >> 3);
            match key & 7 {
                0 => {
                    self.varint(&mut at, end)?;
                    if let Field::Integers = field {
                        self.add(INTEGER_BYTES)?;
                    }
                }
                1 => at = advanced(at, 8, end)?,
                2 => {
                    let length = self.varint(&mut at, end)?;
                    let from = at;
                    at = advanced(at, length, end)?;
                    match field {
                        Field::Message(inner) => self.message(inner, from, at, depth + 1)?,
                        Field::Strings => self.add(STRING_BYTES)?,
                        Field::Integers => {
                            // The last byte of an integer has no bit to go on.
                            let ends = self.bytes[from..at].iter().filter(|byte| **byte < 0x80).count();
                            self.add(INTEGER_BYTES.saturating_mul(ends as u64))?;
                        }
                        Field::Plain => {}
                    }
                }
                // A group, which no field here is; the decoder skips it.
                3 | 4 => {}
                5 => at = advanced(at, 4, end)?,
                _ => return Err(broken("a field has an unknown wire type")),
            }
        }
        Ok(())
    }

    fn add(&mut self, bytes: u64) -> Result<(), CompileError> {
        self.total = self.total.saturating_add(bytes);
        if self.total <= MAX_DECODED_BYTES {
            return Ok(());
        }
        Err(CompileError::TooLarge {
            what: "the ONNX file, decoded and apart from weights,".to_string(),
            actual: self.total,
            limit: MAX_DECODED_BYTES,
            unit: "bytes or more",
        })
    }

    fn varint(&self, at: &mut usize, end: usize) -> Result<u64, CompileError> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let byte = self.bytes[..end].get(*at).ok_or_else(|| broken("it ends within a field"))?;
            *at += 1;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if *byte < 0x80 {
                return Ok(value);
            }
        }
        Err(broken("an integer has more than ten bytes"))
    }
}

/// `length` bytes on.
fn advanced(at: usize, length: u64, end: usize) -> Result<usize, CompileError> {
    let next = usize::try_from(length).ok().and_then(|length| at.checked_add(length));
    next.filter(|next| *next <= end).ok_or_else(|| broken("it ends within a field"))
}

fn broken(reason: &str) -> CompileError {
    CompileError::Malformed(format!("not the protobuf of a model ({reason})"))
}
