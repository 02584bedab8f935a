//! The card: what a module says of itself, readable without running it.
//!
//! JSON, at most [`MAX_CARD_BYTES`], unknown fields refused. A card that parses and passes
//! [`Card::check`] is well-formed; whether the code keeps its word is for admission and for every
//! call to find out.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

use crate::tensor::{Dim, TensorError, TensorSpec};
use crate::{ABI_VERSION, TENSOR_ALIGN};

/// The longest card, in bytes of JSON.
pub const MAX_CARD_BYTES: usize = 64 * 1024;

/// The most inputs, and the most outputs.
pub const MAX_TENSORS: usize = 64;

/// The greatest `max_batch`.
pub const MAX_BATCH: u32 = 4096;

/// Whether calls depend on earlier calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Equal inputs give equal outputs.
    #[default]
    None,
    /// One instance a stream, never batched, forgotten by `dunlin_reset`.
    Stream,
}

/// The SIMD instructions that a module uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Simd {
    /// Scalar code only.
    #[default]
    None,
    /// 128-bit SIMD with the same result on every host.
    Deterministic,
    /// Relaxed SIMD: fused multiply-add where the host has it, so the last bits differ.
    Relaxed,
}

/// What a module says of itself, in its custom section `dunlin.card`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// The version of the ABI: 1.
    pub abi: u32,
    /// The inputs, in the order of `dunlin_input`.
    pub inputs: Vec<TensorSpec>,
    /// The outputs, in the order of `dunlin_output`.
    pub outputs: Vec<TensorSpec>,
    /// The most samples of one call, at least 1.
    pub max_batch: u32,
    /// Whether calls depend on earlier calls.
    #[serde(default)]
    pub state: State,
    /// The SIMD instructions that the code uses.
    #[serde(default)]
    pub simd: Simd,
    /// Bytes of the shadow stack in linear memory; 0 where the code has none.
    #[serde(default)]
    pub stack_bytes: u32,
    /// Bytes of linear memory for inputs, outputs and what lies between.
    #[serde(default)]
    pub arena_bytes: u32,
    /// The program that made the module, with its version: `dunlin-compiler 0.1.0`.
    pub producer: String,
    /// The sha256 of what the module was made from (the ONNX file), 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_sha256: Option<String>,
}

/// The one field that cards of all versions share.
#[derive(Deserialize)]
struct Version {
    abi: u32,
}

impl Card {
    /// Reads and checks the bytes of the custom section.
    pub fn parse(bytes: &[u8]) -> Result<Card, CardError> {
        if bytes.len() > MAX_CARD_BYTES {
            return Err(CardError::TooLong(bytes.len()));
        }
        // A later ABI may have other fields: its number is read first, alone.
        let Version { abi } =
            serde_json::from_slice(bytes).map_err(|error| CardError::Json(error.to_string()))?;
        if abi != ABI_VERSION {
            return Err(CardError::Version(abi));
        }
        let card: Card = serde_json::from_slice(bytes).map_err(|error| CardError::Json(error.to_string()))?;
        card.check()?;
        Ok(card)
    }

    /// The bytes for the custom section. The same card gives the same bytes.
    ///
    /// # Errors
    /// What [`Card::check`] finds, so that no tool can write a card that no host would read.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CardError> {
        self.check()?;
        let bytes = serde_json::to_vec(self).map_err(|error| CardError::Json(error.to_string()))?;
        if bytes.len() > MAX_CARD_BYTES {
            return Err(CardError::TooLong(bytes.len()));
        }
        Ok(bytes)
    }

    /// Checks what the type system does not.
    pub fn check(&self) -> Result<(), CardError> {
        if self.abi != ABI_VERSION {
            return Err(CardError::Version(self.abi));
        }
        if !(1..=MAX_BATCH).contains(&self.max_batch) {
            return Err(CardError::MaxBatch(self.max_batch));
        }
        if self.state == State::Stream && self.max_batch != 1 {
            return Err(CardError::StreamBatch(self.max_batch));
        }
        for (kind, tensors) in [("inputs", &self.inputs), ("outputs", &self.outputs)] {
            if !(1..=MAX_TENSORS).contains(&tensors.len()) {
                return Err(CardError::Count { kind, count: tensors.len() });
            }
            for (index, tensor) in tensors.iter().enumerate() {
                tensor.check()?;
                if tensors.iter().take(index).any(|earlier| earlier.name == tensor.name) {
                    return Err(CardError::Duplicate { kind, name: tensor.name.clone() });
                }
                if self.max_batch > 1 && !tensor.is_batched() {
                    return Err(CardError::Unbatched(tensor.name.clone()));
                }
                let bytes = tensor.sample_bytes().and_then(|sample| sample.checked_mul(self.max_batch));
                if bytes.and_then(|bytes| bytes.checked_next_multiple_of(TENSOR_ALIGN)).is_none() {
                    return Err(TensorError::TooLarge(tensor.name.clone()).into());
                }
            }
        }
        if let Some(input) =
            self.inputs.iter().find(|input| input.shape.iter().any(|dim| matches!(dim, Dim::AtMost(_))))
        {
            return Err(CardError::DynamicInput(input.name.clone()));
        }
        if let Some(source) = &self.source_sha256 {
            let good = source.len() == 64 && source.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            if !good {
                return Err(CardError::Source(source.clone()));
            }
        }
        if self.producer.is_empty()
            || self.producer.len() > 256
            || self.producer.chars().any(char::is_control)
        {
            return Err(CardError::Producer);
        }
        Ok(())
    }
}

/// What is wrong with a card.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CardError {
    /// Longer than [`MAX_CARD_BYTES`].
    #[error("the card has {0} bytes, the most is {MAX_CARD_BYTES}")]
    TooLong(usize),
    /// Not the JSON of a card.
    #[error("the card is not valid: {0}")]
    Json(String),
    /// Another ABI.
    #[error("the card asks for ABI {0}, this host speaks ABI {ABI_VERSION}")]
    Version(u32),
    /// `max_batch` is out of bounds.
    #[error("max_batch is {0}, it must be 1 to {MAX_BATCH}")]
    MaxBatch(u32),
    /// A stream model has a batch.
    #[error("a stream model has max_batch 1, not {0}")]
    StreamBatch(u32),
    /// No tensors, or too many.
    #[error("the card has {count} {kind}, it must have 1 to {MAX_TENSORS}")]
    Count {
        /// `inputs` or `outputs`.
        kind: &'static str,
        /// How many there are.
        count: usize,
    },
    /// Two tensors of one kind share a name.
    #[error("two {kind} are named {name:?}")]
    Duplicate {
        /// `inputs` or `outputs`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// A tensor of a batched model has no batch axis.
    #[error("tensor {0:?} has no leading batch axis \"n\", which max_batch above 1 needs")]
    Unbatched(String),
    /// An input's shape depends on data.
    #[error("input {0:?} has a data-dependent axis; only outputs may")]
    DynamicInput(String),
    /// The digest of the source is malformed.
    #[error("source_sha256 must be 64 lower-case hexadecimal digits, not {0:?}")]
    Source(String),
    /// The producer is empty or too long.
    #[error("producer must be 1 to 256 bytes without control characters")]
    Producer,
    /// A tensor is not well described.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Meaning};
    use alloc::vec;

    fn card() -> Card {
        let mut output = TensorSpec::new("p", DType::F32, [Dim::Batch, Dim::Fixed(2)]);
        output.meaning = Some(Meaning::Probability);
        output.labels = vec!["no".to_string(), "yes".to_string()];
        output.range = Some([0.0, 1.0]);
        Card {
            abi: 1,
            inputs: vec![TensorSpec::new("x", DType::F32, [Dim::Batch, Dim::Fixed(3)])],
            outputs: vec![output],
            max_batch: 4,
            state: State::None,
            simd: Simd::Relaxed,
            stack_bytes: 0,
            arena_bytes: 128,
            producer: "test 1".to_string(),
            source_sha256: None,
        }
    }

    #[test]
    fn a_card_survives_its_own_bytes() {
        let bytes = card().to_bytes().unwrap();
        assert_eq!(Card::parse(&bytes).unwrap(), card());
        assert!(core::str::from_utf8(&bytes).unwrap().contains(r#""shape":["n",3]"#));
    }

    #[test]
    fn every_field_is_enforced() {
        type Change = fn(&mut Card);
        let cases: [(Change, &str); 17] = [
            (|c| c.abi = 2, "ABI 2"),
            (|c| c.max_batch = 0, "max_batch is 0"),
            (|c| c.max_batch = 5000, "max_batch is 5000"),
            (|c| c.state = State::Stream, "stream model"),
            (|c| c.inputs.clear(), "0 inputs"),
            (|c| c.outputs.clear(), "0 outputs"),
            (|c| c.outputs.push(c.outputs[0].clone()), "two outputs"),
            (|c| c.inputs[0].name.clear(), "name must be"),
            (|c| c.inputs[0].shape = vec![Dim::Fixed(3)], "no leading batch axis"),
            (|c| c.inputs[0].shape = vec![Dim::Batch, Dim::AtMost(3)], "data-dependent"),
            (|c| c.inputs[0].shape = vec![Dim::Batch, Dim::Batch], "behind the first place"),
            (|c| c.inputs[0].shape = vec![Dim::Batch; 9], "9 axes"),
            (|c| c.inputs[0].shape = vec![Dim::Batch, Dim::Fixed(u32::MAX)], "32-bit memory"),
            (|c| c.inputs[0].range = Some([2.0, 1.0]), "range"),
            (|c| c.outputs[0].labels.truncate(1), "1 labels for 2 classes"),
            (|c| c.source_sha256 = Some("AB".to_string()), "source_sha256"),
            (|c| c.producer.clear(), "producer"),
        ];
        for (change, expected) in cases {
            let mut changed = card();
            change(&mut changed);
            let error = changed.check().unwrap_err().to_string();
            assert!(error.contains(expected), "{error:?} should contain {expected:?}");
            assert!(changed.to_bytes().is_err(), "a bad card must not be written");
        }
    }

    #[test]
    fn unknown_and_duplicate_fields_are_refused() {
        let text = alloc::string::String::from_utf8(card().to_bytes().unwrap()).unwrap();
        for bad in [text.replacen('{', r#"{"colour":1,"#, 1), text.replacen('{', r#"{"abi":1,"#, 1)] {
            assert!(matches!(Card::parse(bad.as_bytes()), Err(CardError::Json(_))), "{bad}");
        }
    }

    #[test]
    fn a_later_abi_is_refused_by_its_number() {
        assert_eq!(Card::parse(br#"{"abi":2,"colour":"red"}"#), Err(CardError::Version(2)));
    }

    #[test]
    fn a_long_card_is_refused_unread() {
        assert_eq!(Card::parse(&vec![b' '; MAX_CARD_BYTES + 1]), Err(CardError::TooLong(MAX_CARD_BYTES + 1)));
    }

    #[test]
    fn dims_have_three_spellings_and_no_more() {
        for (text, dim) in [("\"n\"", Dim::Batch), ("7", Dim::Fixed(7)), ("{\"max\":9}", Dim::AtMost(9))] {
            assert_eq!(serde_json::from_str::<Dim>(text).unwrap(), dim);
            assert_eq!(serde_json::to_string(&dim).unwrap(), text);
        }
        for bad in [
            "\"m\"",
            "0",
            "-1",
            "1.5",
            "{}",
            "{\"max\":0}",
            "{\"max\":1,\"max\":1}",
            "{\"min\":1}",
            "4294967296",
        ] {
            assert!(serde_json::from_str::<Dim>(bad).is_err(), "{bad}");
        }
    }
}
