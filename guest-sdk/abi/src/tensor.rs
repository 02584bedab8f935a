//! The description of one tensor: name, element type, shape and what its numbers mean.
//!
//! Tensors are little-endian and row-major, without gaps. A shape tells the batch axis by the
//! word `"n"` in front: `["n", 64]` is a batch of vectors, `[50, 3]` a matrix without batch.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The most axes that a tensor may have.
pub const MAX_RANK: usize = 8;

/// The longest name, unit or label, in bytes.
const MAX_TEXT_BYTES: usize = 256;

/// The type of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64.
    F64,
    /// Two's complement, 8 bits.
    I8,
    /// Unsigned, 8 bits.
    U8,
    /// Two's complement, 16 bits.
    I16,
    /// Unsigned, 16 bits.
    U16,
    /// Two's complement, 32 bits.
    I32,
    /// Unsigned, 32 bits.
    U32,
    /// Two's complement, 64 bits.
    I64,
    /// Unsigned, 64 bits.
    U64,
    /// One byte, 0 or 1.
    Bool,
}

impl DType {
    /// Bytes of one element.
    pub const fn size(self) -> u32 {
        match self {
            DType::I8 | DType::U8 | DType::Bool => 1,
            DType::I16 | DType::U16 => 2,
            DType::F32 | DType::I32 | DType::U32 => 4,
            DType::F64 | DType::I64 | DType::U64 => 8,
        }
    }

    /// The name that cards, documents and messages use: `f32`, `bool`, …
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::I8 => "i8",
            DType::U8 => "u8",
            DType::I16 => "i16",
            DType::U16 => "u16",
            DType::I32 => "i32",
            DType::U32 => "u32",
            DType::I64 => "i64",
            DType::U64 => "u64",
            DType::Bool => "bool",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The extent of one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dim {
    /// The batch axis, written `"n"`: always the first, between 1 and the card's `max_batch`.
    Batch,
    /// A constant extent, at least 1.
    Fixed(u32),
    /// An extent that depends on the data, written `{"max": m}`: `dunlin_dim` tells it.
    AtMost(u32),
}

impl Serialize for Dim {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Dim::Batch => serializer.serialize_str("n"),
            Dim::Fixed(extent) => serializer.serialize_u32(*extent),
            Dim::AtMost(max) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("max", max)?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Dim {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DimVisitor;
        impl<'de> Visitor<'de> for DimVisitor {
            type Value = Dim;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"n\", a positive integer or {\"max\": m}")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Dim, E> {
                match text {
                    "n" => Ok(Dim::Batch),
                    other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
                }
            }

            fn visit_u64<E: serde::de::Error>(self, extent: u64) -> Result<Dim, E> {
                let unexpected = serde::de::Unexpected::Unsigned(extent);
                match u32::try_from(extent) {
                    Ok(extent) if extent > 0 => Ok(Dim::Fixed(extent)),
                    _ => Err(E::invalid_value(unexpected, &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Dim, A::Error> {
                let max = match map.next_entry::<String, u32>()? {
                    Some((key, max)) if key == "max" && max > 0 => max,
                    _ => return Err(A::Error::custom("expected {\"max\": m} with m at least 1")),
                };
                match map.next_entry::<String, u32>()? {
                    None => Ok(Dim::AtMost(max)),
                    Some(_) => Err(A::Error::custom("expected nothing but \"max\"")),
                }
            }
        }
        deserializer.deserialize_any(DimVisitor)
    }
}

/// What the numbers of an output mean, so that consumers can compare, calibrate and alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Meaning {
    /// Unnormalised log-odds, one a class.
    Logit,
    /// Probabilities; along the last axis they sum to 1 where `labels` has more than one entry.
    Probability,
    /// A number without calibration, for example an anomaly score.
    Score,
    /// A quantity with a unit.
    Value,
    /// The index of a class.
    Label,
}

/// One input or output of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorSpec {
    /// Unique among the inputs, and among the outputs; 1 to 256 bytes without control characters.
    pub name: String,
    /// The type of every element.
    pub dtype: DType,
    /// The axes, outermost first; an empty shape is a scalar.
    pub shape: Vec<Dim>,
    /// The unit of every element, for people: `"m/s^2"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// The least and the greatest value that make sense, both included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<[f64; 2]>,
    /// The names of the classes along the last axis; empty where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// What the numbers mean.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meaning: Option<Meaning>,
}

impl TensorSpec {
    /// A tensor with a name, an element type and a shape, and nothing more said about it.
    pub fn new(name: impl Into<String>, dtype: DType, shape: impl Into<Vec<Dim>>) -> Self {
        let (name, shape) = (name.into(), shape.into());
        TensorSpec { name, dtype, shape, unit: None, range: None, labels: Vec::new(), meaning: None }
    }

    /// Whether the first axis is the batch.
    pub fn is_batched(&self) -> bool {
        self.shape.first() == Some(&Dim::Batch)
    }

    /// The most elements that one sample can have: the product of all axes but the batch.
    /// `None` if the product does not fit 32 bits.
    pub fn sample_elements(&self) -> Option<u32> {
        self.shape.iter().try_fold(1u32, |product, dim| match dim {
            Dim::Batch => Some(product),
            Dim::Fixed(extent) | Dim::AtMost(extent) => product.checked_mul(*extent),
        })
    }

    /// The most bytes that one sample can have; `None` if they do not fit 32 bits.
    pub fn sample_bytes(&self) -> Option<u32> {
        self.sample_elements()?.checked_mul(self.dtype.size())
    }

    /// Checks what the type system does not: names, axes, range and labels.
    pub fn check(&self) -> Result<(), TensorError> {
        let name = || self.name.clone();
        if !is_text(&self.name) {
            return Err(TensorError::Name(name()));
        }
        if self.shape.len() > MAX_RANK {
            return Err(TensorError::Rank { name: name(), rank: self.shape.len() });
        }
        if self.shape.iter().skip(1).any(|dim| *dim == Dim::Batch) {
            return Err(TensorError::BatchAxis(name()));
        }
        if self.shape.iter().any(|dim| matches!(dim, Dim::Fixed(0) | Dim::AtMost(0))) {
            return Err(TensorError::EmptyAxis(name()));
        }
        if self.sample_bytes().is_none() {
            return Err(TensorError::TooLarge(name()));
        }
        if let Some([low, high]) = self.range
            && !(low.is_finite() && high.is_finite() && low <= high)
        {
            return Err(TensorError::Range { name: name(), low, high });
        }
        if self.unit.as_deref().is_some_and(|unit| !is_text(unit)) {
            return Err(TensorError::Unit(name()));
        }
        let classes = match self.shape.last() {
            Some(Dim::Fixed(extent) | Dim::AtMost(extent)) => *extent as usize,
            Some(Dim::Batch) | None => 1,
        };
        // A label is an index into names that are not an axis of the tensor.
        let counted =
            self.labels.is_empty() || self.labels.len() == classes || self.meaning == Some(Meaning::Label);
        if !counted || !self.labels.iter().all(|label| is_text(label)) {
            return Err(TensorError::Labels { name: name(), labels: self.labels.len(), classes });
        }
        Ok(())
    }
}

/// Text that is safe to print: 1 to 256 bytes without control characters.
fn is_text(text: &str) -> bool {
    (1..=MAX_TEXT_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// What is wrong with the description of a tensor.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
    /// The name is empty, too long or holds control characters.
    #[error("a tensor's name must be 1 to 256 bytes without control characters, not {0:?}")]
    Name(String),
    /// More axes than [`MAX_RANK`].
    #[error("tensor {name:?} has {rank} axes, the most is {MAX_RANK}")]
    Rank {
        /// The tensor.
        name: String,
        /// Its number of axes.
        rank: usize,
    },
    /// `"n"` stands behind the first axis.
    #[error("tensor {0:?} has the batch axis \"n\" behind the first place")]
    BatchAxis(String),
    /// An axis has extent 0.
    #[error("tensor {0:?} has an axis of extent 0")]
    EmptyAxis(String),
    /// One sample has 4 GiB or more.
    #[error("one sample of tensor {0:?} does not fit 32-bit memory")]
    TooLarge(String),
    /// The range is not an interval of finite numbers.
    #[error("tensor {name:?} has the range [{low}, {high}], which is no interval of finite numbers")]
    Range {
        /// The tensor.
        name: String,
        /// The lower end.
        low: f64,
        /// The upper end.
        high: f64,
    },
    /// The unit is empty, too long or holds control characters.
    #[error("the unit of tensor {0:?} must be 1 to 256 bytes without control characters")]
    Unit(String),
    /// The labels do not name the classes along the last axis.
    #[error(
        "tensor {name:?} has {labels} labels for {classes} classes, or one of them is not 1 to 256 printable bytes"
    )]
    Labels {
        /// The tensor.
        name: String,
        /// How many labels there are.
        labels: usize,
        /// The extent of the last axis.
        classes: usize,
    },
}
