//! Tensors whose numbers are known when the model is compiled.
//!
//! Row-major; `shape` is empty for a scalar. The number of elements always equals the product of
//! `shape`: [`Constant::new`] is the only way in for data from outside, and it checks.

use dunlin_abi::DType;

/// The numbers of a [`Constant`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ConstantData {
    /// binary32.
    F32(Vec<f32>),
    /// binary64; only for folding.
    F64(Vec<f64>),
    /// 32-bit integers.
    I32(Vec<i32>),
    /// 64-bit integers.
    I64(Vec<i64>),
    /// Truth values.
    Bool(Vec<bool>),
}

impl ConstantData {
    /// How many elements there are.
    pub fn len(&self) -> usize {
        match self {
            ConstantData::F32(values) => values.len(),
            ConstantData::F64(values) => values.len(),
            ConstantData::I32(values) => values.len(),
            ConstantData::I64(values) => values.len(),
            ConstantData::Bool(values) => values.len(),
        }
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        match self {
            ConstantData::F32(_) => DType::F32,
            ConstantData::F64(_) => DType::F64,
            ConstantData::I32(_) => DType::I32,
            ConstantData::I64(_) => DType::I64,
            ConstantData::Bool(_) => DType::Bool,
        }
    }

    /// The same numbers in another type. `None` if one of them would change, or the type is none that a
    /// constant can have.
    pub(crate) fn cast(&self, dtype: DType) -> Option<ConstantData> {
        /// Integers up to this magnitude are exact in a double.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let wide: Vec<f64> = match self {
            _ if self.dtype() == dtype => return Some(self.clone()),
            ConstantData::F32(values) => values.iter().map(|value| f64::from(*value)).collect(),
            ConstantData::F64(values) => values.clone(),
            ConstantData::I32(values) => values.iter().map(|value| f64::from(*value)).collect(),
            ConstantData::I64(values) => values.iter().map(|value| *value as f64).collect(),
            ConstantData::Bool(values) => values.iter().map(|value| f64::from(u8::from(*value))).collect(),
        };
        let whole = |value: &f64, most: f64| value.fract() == 0.0 && value.abs() <= most;
        let from_integers = matches!(self, ConstantData::I64(_));
        if from_integers && !wide.iter().all(|value| value.abs() < EXACT) {
            return None;
        }
        match dtype {
            DType::F32 => {
                let same = |value: &f64| value.is_nan() || f64::from(*value as f32) == *value;
                wide.iter().all(same).then(|| ConstantData::F32(wide.iter().map(|v| *v as f32).collect()))
            }
            DType::F64 => Some(ConstantData::F64(wide)),
            DType::I32 => {
                let fits = wide.iter().all(|value| whole(value, f64::from(i32::MAX)));
                fits.then(|| ConstantData::I32(wide.iter().map(|value| *value as i32).collect()))
            }
            DType::I64 => {
                let fits = wide.iter().all(|value| whole(value, EXACT));
                fits.then(|| ConstantData::I64(wide.iter().map(|value| *value as i64).collect()))
            }
            DType::Bool => {
                let fits = wide.iter().all(|value| *value == 0.0 || *value == 1.0);
                fits.then(|| ConstantData::Bool(wide.iter().map(|value| *value == 1.0).collect()))
            }
            DType::I8 | DType::U8 | DType::I16 | DType::U16 | DType::U32 | DType::U64 => None,
        }
    }

    /// The elements at `indices`, in that order. `None` if one is out of range.
    pub(crate) fn select(&self, indices: &[usize]) -> Option<ConstantData> {
        fn pick<T: Copy>(values: &[T], indices: &[usize]) -> Option<Vec<T>> {
            indices.iter().map(|index| values.get(*index).copied()).collect()
        }
        Some(match self {
            ConstantData::F32(values) => ConstantData::F32(pick(values, indices)?),
            ConstantData::F64(values) => ConstantData::F64(pick(values, indices)?),
            ConstantData::I32(values) => ConstantData::I32(pick(values, indices)?),
            ConstantData::I64(values) => ConstantData::I64(pick(values, indices)?),
            ConstantData::Bool(values) => ConstantData::Bool(pick(values, indices)?),
        })
    }

    /// Appends elements of the same type. `None` if the types differ.
    pub(crate) fn append(&mut self, other: &ConstantData) -> Option<()> {
        match (self, other) {
            (ConstantData::F32(to), ConstantData::F32(from)) => to.extend_from_slice(from),
            (ConstantData::F64(to), ConstantData::F64(from)) => to.extend_from_slice(from),
            (ConstantData::I32(to), ConstantData::I32(from)) => to.extend_from_slice(from),
            (ConstantData::I64(to), ConstantData::I64(from)) => to.extend_from_slice(from),
            (ConstantData::Bool(to), ConstantData::Bool(from)) => to.extend_from_slice(from),
            (
                ConstantData::F32(_)
                | ConstantData::F64(_)
                | ConstantData::I32(_)
                | ConstantData::I64(_)
                | ConstantData::Bool(_),
                _,
            ) => return None,
        }
        Some(())
    }
}

/// A tensor that is known when the model is compiled.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    /// The axes, outermost first.
    pub shape: Vec<u32>,
    /// The numbers, row-major.
    pub data: ConstantData,
}

impl Constant {
    /// A constant whose shape fits its data; `None` if it does not.
    pub fn new(shape: Vec<u32>, data: ConstantData) -> Option<Constant> {
        let constant = Constant { shape, data };
        constant.is_consistent().then_some(constant)
    }

    /// Whether the product of the shape is the number of elements.
    pub(crate) fn is_consistent(&self) -> bool {
        let product = self.shape.iter().try_fold(1usize, |product, extent| {
            usize::try_from(*extent).ok().and_then(|extent| product.checked_mul(extent))
        });
        product == Some(self.data.len())
    }

    /// The numbers, if they are binary32.
    pub(crate) fn f32s(&self) -> Option<&[f32]> {
        match &self.data {
            ConstantData::F32(values) => Some(values),
            ConstantData::F64(_) | ConstantData::I32(_) | ConstantData::I64(_) | ConstantData::Bool(_) => {
                None
            }
        }
    }

    /// The numbers that formulas work on: binary32, or truth values as 1 and 0.
    pub(crate) fn numbers(&self) -> Option<Vec<f32>> {
        match &self.data {
            ConstantData::F32(values) => Some(values.clone()),
            ConstantData::Bool(values) => {
                Some(values.iter().map(|value| f32::from(u8::from(*value))).collect())
            }
            ConstantData::F64(_) | ConstantData::I32(_) | ConstantData::I64(_) => None,
        }
    }

    /// The elements as the device computes with them, in words: float32 by their bits, truth values as the
    /// numbers 1 and 0, integers, of which those of 64 bits are two words with the lower half first. `None`
    /// for float64.
    pub(crate) fn words(&self) -> Option<Vec<u32>> {
        let halves = |value: &i64| [*value as u32, (*value >> 32) as u32];
        match &self.data {
            ConstantData::F32(values) => Some(values.iter().map(|value| value.to_bits()).collect()),
            ConstantData::Bool(values) => {
                Some(values.iter().map(|value| f32::from(u8::from(*value)).to_bits()).collect())
            }
            ConstantData::I32(values) => Some(values.iter().map(|value| value.cast_unsigned()).collect()),
            ConstantData::I64(values) => Some(values.iter().flat_map(halves).collect()),
            ConstantData::F64(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_change_their_type_and_never_their_value() {
        let integer = |value| ConstantData::I64(vec![value]);
        let float = |value| ConstantData::F32(vec![value]);
        assert_eq!(integer(16_000).cast(DType::F32), Some(float(16_000.0)));
        assert_eq!(float(-3.0).cast(DType::I64), Some(integer(-3)));
        assert_eq!(integer(1).cast(DType::Bool), Some(ConstantData::Bool(vec![true])));
        assert_eq!(float(0.5).cast(DType::F64), Some(ConstantData::F64(vec![0.5])));
        for (data, dtype) in [
            (integer(16_777_217), DType::F32),
            (integer(i64::MAX), DType::F64),
            (integer(1 << 40), DType::I32),
            (integer(2), DType::Bool),
            (float(0.5), DType::I64),
            (float(f32::NAN), DType::I32),
            (float(f32::INFINITY), DType::I64),
            (integer(1), DType::U8),
        ] {
            assert_eq!(data.cast(dtype), None, "{data:?} as {dtype}");
        }
    }
}
