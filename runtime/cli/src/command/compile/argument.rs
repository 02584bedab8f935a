//! The arguments of `dunlin compile` that have a syntax of their own.

use std::str::FromStr;

use clap::ValueEnum;
use dunlin_abi::{DType, Simd};
use dunlin_compiler::{Constant, ConstantData, WeightFormat};
use dunlin_fleet::tensor::Tensor;

use crate::failure::{Failure, Outcome};

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum SimdArgument {
    /// Fused multiply-add where the machine has it: the fastest
    Relaxed,
    /// The same bits on every machine
    Deterministic,
    /// No SIMD
    None,
}

impl From<SimdArgument> for Simd {
    fn from(simd: SimdArgument) -> Simd {
        match simd {
            SimdArgument::Relaxed => Simd::Relaxed,
            SimdArgument::Deterministic => Simd::Deterministic,
            SimdArgument::None => Simd::None,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum WeightsArgument {
    /// As they are in the file
    F32,
    /// Rounded to 16 bits
    F16,
}

impl From<WeightsArgument> for WeightFormat {
    fn from(weights: WeightsArgument) -> WeightFormat {
        match weights {
            WeightsArgument::F32 => WeightFormat::F32,
            WeightsArgument::F16 => WeightFormat::F16,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct InputShape(pub(super) String, pub(super) Vec<u32>);

impl FromStr for InputShape {
    type Err = String;

    fn from_str(text: &str) -> Result<InputShape, String> {
        let expected = || format!("expected NAME=D0,D1,… with positive numbers, got {text:?}");
        let (name, shape) = text.rsplit_once('=').ok_or_else(expected)?;
        let shape: Result<Vec<u32>, _> = shape.split([',', 'x']).map(|d| d.trim().parse::<u32>()).collect();
        let shape = shape.map_err(|_| expected())?;
        if name.is_empty() || shape.contains(&0) {
            return Err(expected());
        }
        Ok(InputShape(name.to_string(), shape))
    }
}

#[derive(Clone)]
pub(super) struct ConstantArgument(pub(super) String, pub(super) String);

impl FromStr for ConstantArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<ConstantArgument, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() && !value.is_empty() => {
                Ok(ConstantArgument(name.to_string(), value.to_string()))
            }
            _ => Err(format!("expected NAME=VALUE or NAME=FILE.npy, got {text:?}")),
        }
    }
}

/// A number, or the content of a file.
pub(super) fn constant(value: &str) -> Outcome<Constant> {
    if let Ok(integer) = value.parse::<i64>() {
        return Ok(Constant { shape: Vec::new(), data: ConstantData::I64(vec![integer]) });
    }
    if let Ok(number) = value.parse::<f32>() {
        // A number too great becomes infinite without a word.
        if !number.is_finite() {
            return Err(Failure::usage(format!("the constant {value} is no finite number of 32 bits")));
        }
        return Ok(Constant { shape: Vec::new(), data: ConstantData::F32(vec![number]) });
    }
    let tensor = Tensor::read(value.as_ref())?;
    let shape: Result<Vec<u32>, _> = tensor.shape.iter().map(|extent| u32::try_from(*extent)).collect();
    let shape = shape.map_err(|_| Failure::usage(format!("{value} has an axis of more than 2^32")))?;
    let data = match tensor.dtype {
        DType::F32 | DType::F64 => {
            let single = tensor.cast(DType::F32)?;
            ConstantData::F32(single.to_f64().into_iter().map(|number| number as f32).collect())
        }
        DType::I8
        | DType::U8
        | DType::I16
        | DType::U16
        | DType::I32
        | DType::U32
        | DType::I64
        | DType::U64
        | DType::Bool => {
            let wide = tensor.cast(DType::I64)?;
            ConstantData::I64(
                wide.bytes.as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect(),
            )
        }
    };
    Ok(Constant { shape, data })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_positive_numbers_behind_the_last_equals_sign() {
        for (text, name, shape) in
            [("x=1,64", "x", vec![1, 64]), ("a=b=3x4", "a=b", vec![3, 4]), ("x=7", "x", vec![7])]
        {
            let InputShape(got_name, got_shape) = text.parse().unwrap();
            assert_eq!((got_name.as_str(), got_shape), (name, shape));
        }
        for text in ["", "x", "=1", "x=", "x=0", "x=1,", "x=-1", "x=1.5", "x=4294967296"] {
            assert!(text.parse::<InputShape>().unwrap_err().contains("NAME=D0,D1"), "{text}");
        }
    }

    #[test]
    fn a_constant_is_an_integer_or_a_finite_number_or_a_file() {
        assert!(matches!(constant("16000").unwrap().data, ConstantData::I64(v) if v == [16_000]));
        assert!(matches!(constant("-0.5").unwrap().data, ConstantData::F32(v) if v == [-0.5]));
        for value in ["1e40", "inf", "nan"] {
            assert_eq!(constant(value).unwrap_err().code.id, "argument", "{value}");
        }
        assert_eq!(constant("/nowhere.npy").unwrap_err().code.id, "tensor-file");
    }
}
