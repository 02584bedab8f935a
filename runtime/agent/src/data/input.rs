//! Checks a request against the signed contract before the model sees it.
//!
//! Whatever is wrong here is the caller's fault and says nothing against the model. The answer is a
//! [`Batch`]: the inputs in the card's order, every length and value checked.

use dunlin_abi::{Card, DType, Dim, State, TensorSpec};
use dunlin_core::code::{self, Code, Coded};
use dunlin_core::document::{Contract, TensorContract};
use dunlin_sandbox::{OutputError, validate_output};

use super::message::{MAX_REQUEST_SAMPLES, Tensor};

/// Inputs that the model may be called with.
#[derive(Debug)]
pub(super) struct Batch {
    /// One tensor an input, in the card's order.
    pub inputs: Vec<Tensor>,
    /// Samples, at least 1.
    pub samples: u32,
}

/// The most samples of one request: `max_batch`, or more where they can run in slices, which needs
/// calls that do not depend on each other, a batch axis on every tensor, and outputs whose shape does
/// not depend on the data (those of two slices could not be put together).
pub(super) fn max_samples(card: &Card) -> u32 {
    let mut tensors = card.inputs.iter().chain(&card.outputs);
    let fits = |tensor: &TensorSpec| {
        tensor.is_batched() && !tensor.shape.iter().any(|dim| matches!(dim, Dim::AtMost(_)))
    };
    let sliceable = card.state == State::None && tensors.all(fits);
    if sliceable { card.max_batch.max(MAX_REQUEST_SAMPLES) } else { card.max_batch }
}

/// Checks the inputs of a request: names, types, shapes, lengths, number of samples, values.
///
/// # Errors
/// The first thing that is wrong.
pub(super) fn check(contract: &Contract, most: u32, mut given: Vec<Tensor>) -> Result<Batch, InputError> {
    if let Some(unknown) =
        given.iter().find(|tensor| contract.inputs.iter().all(|wanted| wanted.name != tensor.name))
    {
        return Err(InputError::Unknown { name: cut(&unknown.name), known: names(&contract.inputs) });
    }
    let mut samples = None;
    let mut inputs = Vec::with_capacity(contract.inputs.len());
    for wanted in &contract.inputs {
        let tensor = take(&mut given, &wanted.name)?;
        if let Some(count) = check_shape(wanted, &tensor)? {
            check_samples(&mut samples, count, most, &wanted.name)?;
        }
        check_values(wanted, &tensor)?;
        inputs.push(tensor);
    }
    Ok(Batch { inputs, samples: samples.unwrap_or(1) })
}

/// Takes the one tensor of a name.
fn take(given: &mut Vec<Tensor>, name: &str) -> Result<Tensor, InputError> {
    let missing = || InputError::Missing(name.to_string());
    let index = given.iter().position(|tensor| tensor.name == name).ok_or_else(missing)?;
    let tensor = given.swap_remove(index);
    if given.iter().any(|tensor| tensor.name == name) {
        return Err(InputError::Twice(name.to_string()));
    }
    Ok(tensor)
}

/// Checks type, shape and length; the number of samples where there is a batch axis.
fn check_shape(wanted: &TensorContract, tensor: &Tensor) -> Result<Option<u32>, InputError> {
    if tensor.dtype != wanted.dtype {
        let name = wanted.name.clone();
        return Err(InputError::DType { name, wanted: wanted.dtype, got: tensor.dtype });
    }
    let mut samples = None;
    let fits = tensor.shape.len() == wanted.shape.len()
        && wanted.shape.iter().zip(&tensor.shape).all(|(dim, extent)| match dim {
            Dim::Batch => {
                samples = Some(*extent);
                true
            }
            Dim::Fixed(fixed) => extent == fixed,
            Dim::AtMost(_) => false,
        });
    if !fits {
        return Err(InputError::Shape {
            name: wanted.name.clone(),
            wanted: shape_text(&wanted.shape),
            got: format!("{:?}", tensor.shape),
        });
    }
    let bytes = tensor
        .shape
        .iter()
        .try_fold(u64::from(wanted.dtype.size()), |product, extent| product.checked_mul(u64::from(*extent)));
    let got = u64::try_from(tensor.bytes.len()).unwrap_or(u64::MAX);
    if bytes != Some(got) {
        return Err(InputError::Length {
            name: wanted.name.clone(),
            shape: format!("{:?}", tensor.shape),
            got,
        });
    }
    Ok(samples)
}

fn check_samples(samples: &mut Option<u32>, count: u32, most: u32, name: &str) -> Result<(), InputError> {
    if !(1..=most).contains(&count) {
        return Err(InputError::Samples { name: name.to_string(), count, most });
    }
    match *samples {
        Some(earlier) if earlier != count => {
            Err(InputError::Differ { name: name.to_string(), count, earlier })
        }
        Some(_) | None => {
            *samples = Some(count);
            Ok(())
        }
    }
}

/// The rule for values is the one for outputs, so that a model's output is a good input for the next.
fn check_values(wanted: &TensorContract, tensor: &Tensor) -> Result<(), InputError> {
    let name = || wanted.name.clone();
    let spec = TensorSpec::new(name(), wanted.dtype, wanted.shape.clone());
    validate_output(&spec, wanted.finite, wanted.range, &tensor.bytes).map_err(|error| match error {
        OutputError::NotFinite { element, .. } => InputError::NotFinite { name: name(), element },
        OutputError::Range { element, value, low, high, .. } => {
            InputError::Range { name: name(), element, value, low, high }
        }
        OutputError::Bool { element, .. } => InputError::Bool { name: name(), element },
        error => InputError::Malformed { name: name(), problem: error.to_string() },
    })
}

fn names(tensors: &[TensorContract]) -> String {
    tensors.iter().map(|tensor| tensor.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// `[n, 64]`: what people write.
fn shape_text(shape: &[Dim]) -> String {
    let axes: Vec<String> = shape
        .iter()
        .map(|dim| match dim {
            Dim::Batch => "n".to_string(),
            Dim::Fixed(extent) => extent.to_string(),
            Dim::AtMost(most) => format!("at most {most}"),
        })
        .collect();
    format!("[{}]", axes.join(", "))
}

/// A name that came from outside, short enough to be repeated.
fn cut(name: &str) -> String {
    name.chars().take(80).collect()
}

/// A request that does not fit the model.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum InputError {
    /// A name that the model does not have.
    #[error("the model has no input {name:?}; its inputs are: {known}")]
    Unknown {
        /// The name, cut to 80 characters.
        name: String,
        /// The model's names.
        known: String,
    },
    /// An input is not there.
    #[error("input {0:?} is missing")]
    Missing(String),
    /// An input is there twice.
    #[error("input {0:?} is given twice")]
    Twice(String),
    /// Another element type.
    #[error("input {name:?} has elements of {got}, wanted {wanted}")]
    DType {
        /// The input.
        name: String,
        /// The model's type.
        wanted: DType,
        /// The request's type.
        got: DType,
    },
    /// Another shape.
    #[error("input {name:?} has the shape {got}, wanted {wanted}")]
    Shape {
        /// The input.
        name: String,
        /// The model's shape.
        wanted: String,
        /// The request's shape.
        got: String,
    },
    /// The bytes are not the elements of the shape.
    #[error("input {name:?} has {got} bytes, which are not the elements of the shape {shape}")]
    Length {
        /// The input.
        name: String,
        /// The request's shape.
        shape: String,
        /// The request's bytes.
        got: u64,
    },
    /// No samples, or too many.
    #[error("input {name:?} has {count} samples, wanted 1 to {most}; send the rest in another request")]
    Samples {
        /// The input.
        name: String,
        /// The request's samples.
        count: u32,
        /// The most.
        most: u32,
    },
    /// Two inputs have different numbers of samples.
    #[error("input {name:?} has {count} samples, the inputs before it have {earlier}")]
    Differ {
        /// The input.
        name: String,
        /// Its samples.
        count: u32,
        /// The samples of the inputs before.
        earlier: u32,
    },
    /// A byte of a bool that is neither 0 nor 1.
    #[error("element {element} of input {name:?} is not a bool: wanted 0 or 1")]
    Bool {
        /// The input.
        name: String,
        /// The element, from 0.
        element: usize,
    },
    /// A value outside of the signed range.
    #[error("element {element} of input {name:?} is {value}, wanted {low} to {high}")]
    Range {
        /// The input.
        name: String,
        /// The element, from 0.
        element: usize,
        /// The value, in decimal.
        value: String,
        /// The least.
        low: f64,
        /// The greatest.
        high: f64,
    },
    /// Bytes that are no elements in another way.
    #[error("input {name:?} is malformed: {problem}")]
    Malformed {
        /// The input.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// NaN or an infinity.
    #[error("element {element} of input {name:?} is NaN or infinite, wanted finite numbers")]
    NotFinite {
        /// The input.
        name: String,
        /// The element, from 0.
        element: usize,
    },
}

impl Coded for InputError {
    fn code(&self) -> Code {
        match self {
            InputError::Unknown { .. } => code::request::INPUT_UNKNOWN,
            InputError::Missing(_) => code::request::INPUT_MISSING,
            InputError::Twice(_) => code::request::INPUT_TWICE,
            InputError::DType { .. } => code::request::INPUT_DTYPE,
            InputError::Shape { .. } => code::request::INPUT_SHAPE,
            InputError::Length { .. } | InputError::Bool { .. } | InputError::Malformed { .. } => {
                code::request::INPUT_DATA
            }
            InputError::Samples { .. } | InputError::Differ { .. } => code::request::INPUT_BATCH,
            InputError::Range { .. } => code::request::INPUT_RANGE,
            InputError::NotFinite { .. } => code::request::INPUT_NOT_FINITE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contract(tensors: &[(&str, DType, &[Dim])]) -> Contract {
        let inputs = tensors
            .iter()
            .map(|(name, dtype, shape)| TensorContract {
                name: name.to_string(),
                dtype: *dtype,
                shape: shape.to_vec(),
                range: Some([-10.0, 10.0]),
                finite: true,
            })
            .collect();
        Contract { inputs, outputs: Vec::new() }
    }

    fn f32s(name: &str, shape: &[u32], values: &[f32]) -> Tensor {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Tensor { name: name.into(), dtype: DType::F32, shape: shape.to_vec(), bytes }
    }

    #[test]
    fn each_fault_of_a_request_has_its_own_code() {
        let wanted = contract(&[("x", DType::F32, &[Dim::Batch, Dim::Fixed(2)])]);
        let code_of = |given| check(&wanted, 4, given).unwrap_err().code().id;
        let good = || f32s("x", &[1, 2], &[1.0, 2.0]);
        assert_eq!(code_of(vec![good(), f32s("y", &[1], &[1.0])]), "input-unknown");
        assert_eq!(code_of(vec![]), "input-missing");
        assert_eq!(code_of(vec![good(), good()]), "input-twice");
        assert_eq!(code_of(vec![Tensor { dtype: DType::I32, ..good() }]), "input-dtype");
        assert_eq!(code_of(vec![f32s("x", &[2], &[1.0, 2.0])]), "input-shape");
        assert_eq!(code_of(vec![f32s("x", &[1, 3], &[1.0; 3])]), "input-shape");
        assert_eq!(code_of(vec![f32s("x", &[2, 2], &[1.0; 3])]), "input-data");
        assert_eq!(code_of(vec![f32s("x", &[0, 2], &[])]), "input-batch");
        assert_eq!(code_of(vec![f32s("x", &[5, 2], &[1.0; 10])]), "input-batch");
        assert_eq!(code_of(vec![f32s("x", &[1, 2], &[1.0, 10.5])]), "input-range");
        assert_eq!(code_of(vec![f32s("x", &[1, 2], &[1.0, f32::NAN])]), "input-not-finite");
        assert_eq!(code_of(vec![f32s("x", &[u32::MAX, 2], &[1.0])]), "input-data");
    }

    #[test]
    fn inputs_come_out_in_the_order_of_the_card() {
        let batched: &[Dim] = &[Dim::Batch];
        let wanted = contract(&[("a", DType::F32, batched), ("b", DType::F32, batched)]);
        let given = vec![f32s("b", &[2], &[1.0, 2.0]), f32s("a", &[2], &[3.0, 4.0])];
        let batch = check(&wanted, 4, given).unwrap();
        assert_eq!(batch.samples, 2);
        assert_eq!(batch.inputs.iter().map(|tensor| tensor.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let given = vec![f32s("b", &[2], &[1.0, 2.0]), f32s("a", &[1], &[3.0])];
        assert_eq!(check(&wanted, 4, given).unwrap_err().code().id, "input-batch");
    }

    #[test]
    fn a_bool_is_zero_or_one() {
        let wanted = contract(&[("x", DType::Bool, &[Dim::Fixed(2)])]);
        let bools = |bytes: &[u8]| Tensor {
            name: "x".into(),
            dtype: DType::Bool,
            shape: vec![2],
            bytes: bytes.to_vec(),
        };
        assert_eq!(check(&wanted, 1, vec![bools(&[0, 1])]).unwrap().samples, 1);
        assert_eq!(check(&wanted, 1, vec![bools(&[0, 2])]).unwrap_err().code().id, "input-data");
    }

    #[test]
    fn only_stateless_batched_models_run_in_slices() {
        let tensor = |name, shape: &[Dim]| dunlin_abi::TensorSpec::new(name, DType::F32, shape.to_vec());
        let mut card = Card {
            abi: dunlin_abi::ABI_VERSION,
            inputs: vec![tensor("x", &[Dim::Batch])],
            outputs: vec![tensor("y", &[Dim::Batch])],
            max_batch: 8,
            state: State::None,
            simd: dunlin_abi::Simd::None,
            stack_bytes: 0,
            arena_bytes: 0,
            producer: "test".into(),
            source_sha256: None,
        };
        assert_eq!(max_samples(&card), MAX_REQUEST_SAMPLES);
        card.max_batch = 4096;
        assert_eq!(max_samples(&card), 4096);
        card.max_batch = 1;
        card.state = State::Stream;
        assert_eq!(max_samples(&card), 1);
        card.state = State::None;
        card.outputs = vec![tensor("y", &[Dim::Fixed(1)])];
        assert_eq!(max_samples(&card), 1);
    }
}
