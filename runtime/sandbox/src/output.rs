//! Whether the bytes of an output keep their contract.
//!
//! A model is code: it may compute NaN, or a probability of 7. Whether that is allowed is the signed
//! release's to say, and the host's to check, for every sample, before anybody acts on the numbers.

use dunlin_abi::{DType, TensorSpec};
use dunlin_core::code::{self, Code, Coded};

/// Checks every element of an output: a whole number of elements; bools are 0 or 1; with `finite`,
/// no NaN and no infinity; with `range`, nothing outside of it, NaN included. Bounds of a range are
/// compared after rounding them to `f32` for `f32` outputs, so that 0.1 is within `[0.1, 1]`; integers
/// are compared exactly, whatever their size.
///
/// # Errors
/// The first element that does not keep to it.
pub fn validate_output(
    spec: &TensorSpec,
    finite: bool,
    range: Option<[f64; 2]>,
    bytes: &[u8],
) -> Result<(), OutputError> {
    let check = Check { spec, finite, range };
    match spec.dtype {
        DType::F32 => {
            // Rounding the bounds is the purpose of these casts.
            let range = range.map(|bounds| bounds.map(|bound| f64::from(bound as f32)));
            Check { range, ..check }.floats(bytes, |b| f64::from(f32::from_le_bytes(b)))
        }
        DType::F64 => check.floats(bytes, f64::from_le_bytes),
        DType::I8 => check.integers(bytes, |b| i8::from_le_bytes(b).into()),
        DType::U8 => check.integers(bytes, |b| u8::from_le_bytes(b).into()),
        DType::I16 => check.integers(bytes, |b| i16::from_le_bytes(b).into()),
        DType::U16 => check.integers(bytes, |b| u16::from_le_bytes(b).into()),
        DType::I32 => check.integers(bytes, |b| i32::from_le_bytes(b).into()),
        DType::U32 => check.integers(bytes, |b| u32::from_le_bytes(b).into()),
        DType::I64 => check.integers(bytes, |b| i64::from_le_bytes(b).into()),
        DType::U64 => check.integers(bytes, |b| u64::from_le_bytes(b).into()),
        DType::Bool => {
            if let Some((element, byte)) = bytes.iter().enumerate().find(|(_, byte)| **byte > 1) {
                return Err(OutputError::Bool { output: spec.name.clone(), element, byte: *byte });
            }
            check.integers(bytes, |[b]| b.into())
        }
    }
}

struct Check<'a> {
    spec: &'a TensorSpec,
    finite: bool,
    range: Option<[f64; 2]>,
}

impl Check<'_> {
    fn floats<const N: usize>(&self, bytes: &[u8], value: fn([u8; N]) -> f64) -> Result<(), OutputError> {
        let elements = self.elements(bytes)?;
        if !self.finite && self.range.is_none() {
            return Ok(());
        }
        for (element, bytes) in elements.iter().enumerate() {
            let value = value(*bytes);
            if self.finite && !value.is_finite() {
                return Err(OutputError::NotFinite { output: self.spec.name.clone(), element, value });
            }
            if let Some([low, high]) = self.range
                && !(low..=high).contains(&value)
            {
                return Err(self.outside(element, value.to_string(), [low, high]));
            }
        }
        Ok(())
    }

    fn integers<const N: usize>(&self, bytes: &[u8], value: fn([u8; N]) -> i128) -> Result<(), OutputError> {
        let elements = self.elements(bytes)?;
        let Some([low, high]) = self.range else { return Ok(()) };
        // The whole numbers of the range; a bound beyond all integers becomes the last one.
        let whole = low.ceil() as i128..=high.floor() as i128;
        let found = elements.iter().map(|bytes| value(*bytes)).enumerate().find(|(_, x)| !whole.contains(x));
        match found {
            Some((element, value)) => Err(self.outside(element, value.to_string(), [low, high])),
            None => Ok(()),
        }
    }

    fn elements<'a, const N: usize>(&self, bytes: &'a [u8]) -> Result<&'a [[u8; N]], OutputError> {
        match bytes.as_chunks() {
            (elements, []) => Ok(elements),
            _ => Err(OutputError::Length {
                output: self.spec.name.clone(),
                bytes: bytes.len(),
                element_bytes: N,
            }),
        }
    }

    fn outside(&self, element: usize, value: String, [low, high]: [f64; 2]) -> OutputError {
        OutputError::Range { output: self.spec.name.clone(), element, value, low, high }
    }
}

/// An output that breaks its contract.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// NaN or an infinity.
    #[error("element {element} of output {output:?} is {value}, where only finite numbers are allowed")]
    NotFinite {
        /// The output.
        output: String,
        /// The first such element, counted through all samples from 0.
        element: usize,
        /// Its value.
        value: f64,
    },
    /// Outside of the range.
    #[error("element {element} of output {output:?} is {value}, the contract says {low} to {high}")]
    Range {
        /// The output.
        output: String,
        /// The first such element, counted through all samples from 0.
        element: usize,
        /// Its value, in decimal.
        value: String,
        /// The least value allowed.
        low: f64,
        /// The greatest value allowed.
        high: f64,
    },
    /// A bool that is neither 0 nor 1.
    #[error("element {element} of output {output:?} is {byte}, a bool is 0 or 1")]
    Bool {
        /// The output.
        output: String,
        /// The first such element, counted through all samples from 0.
        element: usize,
        /// Its byte.
        byte: u8,
    },
    /// Not a whole number of elements.
    #[error("output {output:?} has {bytes} bytes, which is no multiple of its element's {element_bytes}")]
    Length {
        /// The output.
        output: String,
        /// Its bytes.
        bytes: usize,
        /// Bytes of one element.
        element_bytes: usize,
    },
}

impl Coded for OutputError {
    fn code(&self) -> Code {
        match self {
            OutputError::NotFinite { .. } => code::model::OUTPUT_NOT_FINITE,
            OutputError::Range { .. } => code::model::OUTPUT_RANGE,
            OutputError::Bool { .. } | OutputError::Length { .. } => code::model::OUTPUT_MALFORMED,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(dtype: DType, finite: bool, range: Option<[f64; 2]>, bytes: &[u8]) -> Result<(), OutputError> {
        validate_output(&TensorSpec::new("y", dtype, []), finite, range, bytes)
    }

    fn floats(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn nan_and_infinities_are_found_where_they_matter() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let bytes = floats(&[1.0, bad]);
            assert!(matches!(
                check(DType::F32, true, None, &bytes),
                Err(OutputError::NotFinite { element: 1, .. })
            ));
            assert_eq!(check(DType::F32, false, None, &bytes), Ok(()));
            assert!(matches!(
                check(DType::F32, false, Some([0.0, 1.0]), &bytes),
                Err(OutputError::Range { element: 1, .. })
            ));
        }
        assert!(check(DType::F64, true, None, &f64::NAN.to_le_bytes()).is_err());
        assert_eq!(check(DType::F64, true, None, &1.0f64.to_le_bytes()), Ok(()));
    }

    #[test]
    fn both_ends_of_a_range_are_inside() {
        let range = Some([0.1, 0.9]);
        assert_eq!(check(DType::F32, true, range, &floats(&[0.1, 0.9])), Ok(()));
        assert!(check(DType::F32, true, range, &floats(&[0.9f32.next_up()])).is_err());
        assert!(check(DType::F32, true, range, &floats(&[0.1f32.next_down()])).is_err());
        assert!(check(DType::F64, true, range, &0.9f64.next_up().to_le_bytes()).is_err());
    }

    #[test]
    fn every_integer_type_is_read_with_its_sign_and_size() {
        type Case<'a> = (DType, &'a [u8], f64);
        let cases: [Case<'_>; 8] = [
            (DType::I8, &[0xfe], -2.0),
            (DType::U8, &[0xfe], 254.0),
            (DType::I16, &[0xfe, 0xff], -2.0),
            (DType::U16, &[0xfe, 0xff], 65534.0),
            (DType::I32, &[0xfe, 0xff, 0xff, 0xff], -2.0),
            (DType::U32, &[0xfe, 0xff, 0xff, 0xff], 4_294_967_294.0),
            (DType::I64, &(-2i64).to_le_bytes(), -2.0),
            (DType::U64, &(1u64 << 63).to_le_bytes(), 9_223_372_036_854_775_808.0),
        ];
        for (dtype, bytes, value) in cases {
            assert_eq!(check(dtype, true, Some([value, value]), bytes), Ok(()), "{dtype}");
            let outside = Some([value.next_up(), f64::MAX]);
            assert!(check(dtype, true, outside, bytes).is_err(), "{dtype}");
        }
    }

    #[test]
    fn integers_of_64_bits_are_compared_exactly() {
        // 2^53 + 1 is no f64: it would round to the bound.
        let most = (1i64 << 53) as f64;
        let check_i64 = |x: i64| check(DType::I64, true, Some([-most, most]), &x.to_le_bytes());
        assert_eq!((check_i64(1 << 53), check_i64(-(1 << 53))), (Ok(()), Ok(())));
        let error = check_i64((1 << 53) + 1).unwrap_err();
        assert!(error.to_string().contains("is 9007199254740993, the contract says"), "{error}");
        assert!(check_i64(-(1 << 53) - 1).is_err());
        let check_u64 = |x: u64| check(DType::U64, true, Some([0.5, 1e300]), &x.to_le_bytes());
        assert!(check_u64(0).is_err() && check_u64(1).is_ok() && check_u64(u64::MAX).is_ok());
    }

    #[test]
    fn malformed_bytes_are_found() {
        assert!(matches!(check(DType::F32, false, None, &[0; 5]), Err(OutputError::Length { .. })));
        assert_eq!(check(DType::Bool, true, None, &[0, 1]), Ok(()));
        let two = check(DType::Bool, true, None, &[0, 2]);
        assert!(matches!(two, Err(OutputError::Bool { element: 1, byte: 2, .. })));
    }
}
