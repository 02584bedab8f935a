//! The file of a baseline: flat, little-endian, without a gap.
//!
//! ```text
//! "dunlinBL"  u32 version = 1  u64 samples  u32 inputs  u32 outputs   then every input, every output:
//!   u32 elements  u32 stride  u32 classes  u64 count per class  u32 features   then every feature:
//!     u32 edges k  f64 edge * k, strictly increasing  u64 count * (k + 1)
//! ```

use alloc::vec::Vec;
use dunlin_abi::MAX_TENSORS;

use super::baseline::{Baseline, BaselineError, FeatureBaseline, MAX_BINS, MAX_FEATURES, TensorBaseline};
use crate::flat::{EndOfFile, Reader, put_count, put_f64s, put_u64s};

const MAGIC: &[u8; 8] = b"dunlinBL";
const VERSION: u32 = 1;

/// The least bytes of a feature: no edges, one bin.
const FEATURE_BYTES: usize = 12;

/// The least bytes of a tensor: no classes, no features.
const TENSOR_BYTES: usize = 16;

impl From<EndOfFile> for BaselineError {
    fn from(_: EndOfFile) -> BaselineError {
        BaselineError::Format("it ends too early")
    }
}

impl Baseline {
    /// The bytes of the file. The same baseline gives the same bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        put_u64s(&mut bytes, &[self.samples]);
        put_count(&mut bytes, self.inputs.len());
        put_count(&mut bytes, self.outputs.len());
        for tensor in self.inputs.iter().chain(&self.outputs) {
            bytes.extend_from_slice(&tensor.elements.to_le_bytes());
            bytes.extend_from_slice(&tensor.stride.to_le_bytes());
            put_count(&mut bytes, tensor.classes.len());
            put_u64s(&mut bytes, &tensor.classes);
            put_count(&mut bytes, tensor.features.len());
            for feature in &tensor.features {
                put_count(&mut bytes, feature.edges.len());
                put_f64s(&mut bytes, &feature.edges);
                put_u64s(&mut bytes, &feature.counts);
            }
        }
        bytes
    }

    /// Reads a file; [`Baseline::check_card`] tells whether it is for a model.
    ///
    /// # Errors
    /// It is not of this format, not whole, or longer than it says.
    pub fn decode(bytes: &[u8]) -> Result<Baseline, BaselineError> {
        let mut reader = Reader(bytes);
        ensure(reader.take(MAGIC.len())? == MAGIC, "it does not start with dunlinBL")?;
        ensure(reader.u32()? == VERSION, "its version is not 1")?;
        let samples = reader.u64()?;
        let (inputs, outputs) = (reader.count(TENSOR_BYTES)?, reader.count(TENSOR_BYTES)?);
        ensure(inputs.max(outputs) <= MAX_TENSORS, "it has more tensors than a model may have")?;
        let mut tensors = |count| (0..count).map(|_| tensor(&mut reader)).collect::<Result<Vec<_>, _>>();
        let baseline = Baseline { samples, inputs: tensors(inputs)?, outputs: tensors(outputs)? };
        ensure(reader.is_at_end(), "bytes follow its end")?;
        Ok(baseline)
    }
}

fn tensor(reader: &mut Reader<'_>) -> Result<TensorBaseline, BaselineError> {
    let (elements, stride) = (reader.u32()?, reader.u32()?);
    ensure(stride >= 1, "a stride is 0")?;
    let classes = reader.count(8)?;
    let classes = reader.u64s(classes)?;
    let count = reader.count(FEATURE_BYTES)?;
    ensure(count <= MAX_FEATURES, "a tensor has too many features")?;
    let features = (0..count).map(|_| feature(reader)).collect::<Result<_, _>>()?;
    Ok(TensorBaseline { elements, stride, features, classes })
}

fn feature(reader: &mut Reader<'_>) -> Result<FeatureBaseline, BaselineError> {
    let count = reader.count(16)?;
    ensure(count < MAX_BINS, "a feature has too many bins")?;
    let edges = reader.f64s(count)?;
    ensure(edges.iter().all(|edge| edge.is_finite()), "an edge is not finite")?;
    ensure(edges.is_sorted_by(|a, b| a < b), "edges do not increase")?;
    let counts = reader.u64s(count + 1)?;
    Ok(FeatureBaseline { edges, counts })
}

fn ensure(condition: bool, rule: &'static str) -> Result<(), BaselineError> {
    if condition { Ok(()) } else { Err(BaselineError::Format(rule)) }
}
