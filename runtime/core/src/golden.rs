//! Golden vectors: inputs with the outputs that a model must give on a device before it may serve.
//!
//! They come as an attachment of the signed release: one sample each, raw little-endian bytes in the
//! card's order, so that the sizes follow from the card and nothing needs a parser of its own:
//!
//! ```text
//! "dunlinGV"  u32 version  u32 outputs  f64 tolerance per output  u32 vectors   then every vector:
//!   every input: its bytes    [u8 status, in version 2]
//!   where the status is 0, every output: [u32 length in bytes, where an axis is data-dependent] its bytes
//! ```
//!
//! A status other than 0 is the model's own: it must refuse the sample with it. Vectors without any are written as
//! version 1, which every agent reads; version 2 has at least one.
//!
//! Floats agree when `|a - b| <= tolerance * max(1, |expected| at most)`: fused multiply-add makes the last
//! bits differ between hosts. Integers and truth values agree exactly.

#[cfg(test)]
mod tests;

use alloc::string::String;
use alloc::vec::Vec;
use dunlin_abi::{Card, DType, Dim, TensorSpec};

use crate::code::{self, Code, Coded};
use crate::drift::{class_count, values};
use crate::flat::{EndOfFile, Reader, put_count, put_f64s};

/// The tolerance unless the operator chose another.
pub const DEFAULT_TOLERANCE: f64 = 1e-4;

/// The most vectors of a file.
pub const MAX_VECTORS: usize = 1024;

const MAGIC: &[u8; 8] = b"dunlinGV";
/// Every vector has outputs.
const VERSION: u32 = 1;
/// Every vector has a status.
const VERSION_WITH_STATUS: u32 = 2;

/// One sample: raw bytes of every input and of every expected output, in the card's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GoldenVector {
    /// Of each input the bytes of one sample.
    pub inputs: Vec<Vec<u8>>,
    /// Of each output the bytes of one sample; shorter than its most where an axis is data-dependent.
    pub outputs: Vec<Vec<u8>>,
    /// The status with which the model must refuse the sample, and then there are no outputs; 0 for an answer.
    pub status: u8,
}

/// Golden vectors of one model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Golden {
    /// Of each output, 0 or more.
    pub tolerances: Vec<f64>,
    /// The samples, at least one.
    pub vectors: Vec<GoldenVector>,
}

impl Golden {
    /// Vectors with [`DEFAULT_TOLERANCE`] for every output.
    pub fn new(card: &Card, vectors: Vec<GoldenVector>) -> Golden {
        Golden { tolerances: alloc::vec![DEFAULT_TOLERANCE; card.outputs.len()], vectors }
    }

    /// The bytes of the file. The same vectors give the same bytes.
    ///
    /// # Errors
    /// They are not those of a model with this card.
    pub fn encode(&self, card: &Card) -> Result<Vec<u8>, GoldenError> {
        self.check(card)?;
        let mut bytes = MAGIC.to_vec();
        let has_status = self.vectors.iter().any(|vector| vector.status != 0);
        let version = if has_status { VERSION_WITH_STATUS } else { VERSION };
        bytes.extend_from_slice(&version.to_le_bytes());
        put_count(&mut bytes, self.tolerances.len());
        put_f64s(&mut bytes, &self.tolerances);
        put_count(&mut bytes, self.vectors.len());
        for vector in &self.vectors {
            vector.inputs.iter().for_each(|input| bytes.extend_from_slice(input));
            if has_status {
                bytes.push(vector.status);
            }
            for (spec, output) in card.outputs.iter().zip(&vector.outputs) {
                if is_dynamic(spec) {
                    put_count(&mut bytes, output.len());
                }
                bytes.extend_from_slice(output);
            }
        }
        Ok(bytes)
    }

    /// Reads a file for a model with this card.
    ///
    /// # Errors
    /// It is not of this format, not whole, longer than it says, or for another model.
    pub fn decode(bytes: &[u8], card: &Card) -> Result<Golden, GoldenError> {
        let mut reader = Reader(bytes);
        if reader.take(MAGIC.len())? != MAGIC {
            return Err(GoldenError::Format);
        }
        let has_status = match reader.u32()? {
            VERSION => false,
            VERSION_WITH_STATUS => true,
            _ => return Err(GoldenError::Format),
        };
        let outputs = reader.count(8)?;
        let tolerances = reader.f64s(outputs)?;
        let count = reader.u32()? as usize;
        if count > MAX_VECTORS {
            return Err(GoldenError::Count(count));
        }
        let mut golden = Golden { tolerances, vectors: Vec::new() };
        for _ in 0..count {
            golden.vectors.push(vector(&mut reader, card, has_status)?);
        }
        if has_status && golden.vectors.iter().all(|vector| vector.status == 0) {
            return Err(GoldenError::NoStatus);
        }
        golden.check(card)?;
        if reader.is_at_end() { Ok(golden) } else { Err(GoldenError::Trailing) }
    }

    /// Compares the status of a call with the one that a vector expects.
    ///
    /// # Errors
    /// They differ.
    pub fn compare_status(vector: &GoldenVector, actual: u8) -> Result<(), GoldenMismatch> {
        let expected = vector.status;
        if expected == actual { Ok(()) } else { Err(GoldenMismatch::Status { expected, actual }) }
    }

    /// Compares what the model answered with what it must. `output` is an index of the card's outputs.
    ///
    /// # Errors
    /// The first difference.
    pub fn compare(
        &self,
        card: &Card,
        output: usize,
        expected: &[u8],
        actual: &[u8],
    ) -> Result<(), GoldenMismatch> {
        match card.outputs.get(output).zip(self.tolerances.get(output)) {
            Some((spec, tolerance)) => compare(spec, *tolerance, expected, actual),
            None => Err(GoldenMismatch::NoOutput(output)),
        }
    }

    fn check(&self, card: &Card) -> Result<(), GoldenError> {
        if self.tolerances.len() != card.outputs.len() {
            let (expected, actual) = (card.outputs.len(), self.tolerances.len());
            return Err(GoldenError::Outputs { expected, actual });
        }
        if let Some(tolerance) = self.tolerances.iter().find(|t| !(t.is_finite() && **t >= 0.0)) {
            return Err(GoldenError::Tolerance(*tolerance));
        }
        if !(1..=MAX_VECTORS).contains(&self.vectors.len()) {
            return Err(GoldenError::Count(self.vectors.len()));
        }
        for vector in &self.vectors {
            check_sizes(&card.inputs, &vector.inputs)?;
            if vector.status == 0 {
                check_sizes(&card.outputs, &vector.outputs)?;
            } else if !vector.outputs.is_empty() {
                return Err(GoldenError::Tensors { expected: 0, actual: vector.outputs.len() });
            }
        }
        Ok(())
    }
}

fn vector(reader: &mut Reader<'_>, card: &Card, has_status: bool) -> Result<GoldenVector, GoldenError> {
    let mut vector = GoldenVector::default();
    for spec in &card.inputs {
        vector.inputs.push(reader.take(sample_bytes(spec))?.to_vec());
    }
    if has_status {
        vector.status = reader.take(1)?.first().copied().unwrap_or_default();
    }
    if vector.status != 0 {
        return Ok(vector);
    }
    for spec in &card.outputs {
        let length = if is_dynamic(spec) { reader.count(1)? } else { sample_bytes(spec) };
        vector.outputs.push(reader.take(length)?.to_vec());
    }
    Ok(vector)
}

fn check_sizes(specs: &[TensorSpec], tensors: &[Vec<u8>]) -> Result<(), GoldenError> {
    if specs.len() != tensors.len() {
        return Err(GoldenError::Tensors { expected: specs.len(), actual: tensors.len() });
    }
    for (spec, tensor) in specs.iter().zip(tensors) {
        let (expected, actual) = (sample_bytes(spec), tensor.len());
        let good = match is_dynamic(spec) {
            true => actual <= expected && actual % spec.dtype.size() as usize == 0,
            false => actual == expected,
        };
        if !good {
            return Err(GoldenError::Size { tensor: spec.name.clone(), expected, actual });
        }
    }
    Ok(())
}

/// A card was checked: its samples fit 32 bits.
fn sample_bytes(spec: &TensorSpec) -> usize {
    spec.sample_bytes().unwrap_or(u32::MAX) as usize
}

fn is_dynamic(spec: &TensorSpec) -> bool {
    spec.shape.iter().any(|dim| matches!(dim, Dim::AtMost(_)))
}

/// Compares one sample of an output with what it must be, both as raw bytes.
///
/// Where the output chooses among classes, the greatest value must be that of the same class too,
/// unless the expected margin before the second is within the tolerance.
///
/// # Errors
/// The first difference.
pub fn compare(
    output: &TensorSpec,
    tolerance: f64,
    expected: &[u8],
    actual: &[u8],
) -> Result<(), GoldenMismatch> {
    if expected.len() != actual.len() {
        return Err(GoldenMismatch::Size { expected: expected.len(), actual: actual.len() });
    }
    let (expected, actual) = match output.dtype {
        DType::F32 | DType::F64 => (floats(output.dtype, expected), floats(output.dtype, actual)),
        DType::I8
        | DType::U8
        | DType::I16
        | DType::U16
        | DType::I32
        | DType::U32
        | DType::I64
        | DType::U64
        | DType::Bool => return exact(output.dtype, expected, actual),
    };
    let greatest =
        expected.iter().filter(|value| value.is_finite()).fold(1.0, |most: f64, v| most.max(v.abs()));
    let allowed = tolerance * greatest;
    for (element, (expected, actual)) in expected.iter().copied().zip(actual.iter().copied()).enumerate() {
        let same = expected == actual || expected.is_nan() && actual.is_nan();
        // Written so that a difference of NaN fails.
        if !(same || (expected - actual).abs() <= allowed) {
            return Err(GoldenMismatch::Value { element, expected, actual, allowed });
        }
    }
    labels(output, allowed, &expected, &actual)
}

fn floats(dtype: DType, bytes: &[u8]) -> Vec<f64> {
    values(dtype, bytes).collect()
}

fn exact(dtype: DType, expected: &[u8], actual: &[u8]) -> Result<(), GoldenMismatch> {
    let size = dtype.size() as usize;
    let mut pairs = expected.chunks_exact(size).zip(actual.chunks_exact(size));
    match pairs.position(|(a, b)| a != b) {
        None => Ok(()),
        Some(element) => {
            let value = |bytes: &[u8]| values(dtype, bytes).nth(element).unwrap_or(f64::NAN);
            let (expected, actual) = (value(expected), value(actual));
            Err(GoldenMismatch::Value { element, expected, actual, allowed: 0.0 })
        }
    }
}

fn labels(output: &TensorSpec, allowed: f64, expected: &[f64], actual: &[f64]) -> Result<(), GoldenMismatch> {
    let classes = class_count(output);
    if classes == 0 {
        return Ok(());
    }
    for (row, (expected, actual)) in expected.chunks(classes).zip(actual.chunks(classes)).enumerate() {
        let (wanted, first, second) = greatest_two(expected);
        let (found, _, _) = greatest_two(actual);
        if wanted != found && first - second > allowed {
            return Err(GoldenMismatch::Label { row, expected: wanted, actual: found });
        }
    }
    Ok(())
}

/// The place of the greatest value, the value, and the second greatest.
fn greatest_two(values: &[f64]) -> (usize, f64, f64) {
    let start = (0, f64::NEG_INFINITY, f64::NEG_INFINITY);
    values.iter().copied().enumerate().fold(start, |(at, first, second), (index, value)| {
        if value > first { (index, value, first) } else { (at, first, second.max(value)) }
    })
}

/// Vectors that are none for a model.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GoldenError {
    /// Another format, or another version of it.
    #[error("the file does not start with dunlinGV and version 1 or 2")]
    Format,
    /// It ends before what it announces.
    #[error("the file of golden vectors ends too early")]
    EndOfFile,
    /// It goes on behind its end.
    #[error("bytes follow the end of the golden vectors")]
    Trailing,
    /// Version 2 without a use for it.
    #[error("the file is of version 2 and has no status: without one it must be of version 1")]
    NoStatus,
    /// None, or too many.
    #[error("there are {0} golden vectors, there must be 1 to {MAX_VECTORS}")]
    Count(usize),
    /// Tolerances for another number of outputs.
    #[error("there are tolerances for {actual} outputs, the card has {expected}")]
    Outputs {
        /// In the card.
        expected: usize,
        /// In the file.
        actual: usize,
    },
    /// A tolerance that is none.
    #[error("a tolerance is {0}, it must be a number of at least 0")]
    Tolerance(f64),
    /// A vector with another number of tensors.
    #[error("a golden vector has {actual} tensors of a kind, the card has {expected}")]
    Tensors {
        /// In the card.
        expected: usize,
        /// In the vector.
        actual: usize,
    },
    /// A tensor of another size.
    #[error("tensor {tensor:?} of a golden vector has {actual} bytes, the card says {expected}")]
    Size {
        /// The tensor.
        tensor: String,
        /// In the card, at most.
        expected: usize,
        /// In the vector.
        actual: usize,
    },
}

impl From<EndOfFile> for GoldenError {
    fn from(_: EndOfFile) -> GoldenError {
        GoldenError::EndOfFile
    }
}

impl Coded for GoldenError {
    fn code(&self) -> Code {
        code::transfer::GOLDEN_MALFORMED
    }
}

/// An answer that is not the golden one.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum GoldenMismatch {
    /// Another status.
    #[error("the model answered with status {actual}, the golden vector expects {}", expected_status(*.expected))]
    Status {
        /// The status of the golden vector, 0 for outputs.
        expected: u8,
        /// The model's.
        actual: u8,
    },
    /// The card has no such output.
    #[error("the model has no output {0}")]
    NoOutput(usize),
    /// Another size.
    #[error("the output has {actual} bytes, the golden one {expected}")]
    Size {
        /// Bytes of the golden output.
        expected: usize,
        /// Bytes of the answer.
        actual: usize,
    },
    /// Another value.
    #[error("element {element} is {actual}, the golden one is {expected} within {allowed}")]
    Value {
        /// Which, in row-major order.
        element: usize,
        /// The golden value.
        expected: f64,
        /// The answer.
        actual: f64,
        /// The most that they may differ.
        allowed: f64,
    },
    /// Another class.
    #[error("row {row} chooses class {actual}, the golden one {expected}")]
    Label {
        /// Which row of classes.
        row: usize,
        /// The golden class.
        expected: usize,
        /// The class that was chosen.
        actual: usize,
    },
}

fn expected_status(status: u8) -> String {
    match status {
        0 => "outputs".into(),
        status => alloc::format!("status {status}"),
    }
}

impl Coded for GoldenMismatch {
    fn code(&self) -> Code {
        code::transfer::GOLDEN_MISMATCH
    }
}
