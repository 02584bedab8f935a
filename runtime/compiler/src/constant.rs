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
    /// 32-bit integers; only for folding.
    I32(Vec<i32>),
    /// 64-bit integers: shapes, axes and indices.
    I64(Vec<i64>),
    /// Truth values; only for folding.
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

    /// The numbers, if they are 64-bit integers, as shapes and axes are.
    pub(crate) fn i64s(&self) -> Option<&[i64]> {
        match &self.data {
            ConstantData::I64(values) => Some(values),
            ConstantData::F32(_) | ConstantData::F64(_) | ConstantData::I32(_) | ConstantData::Bool(_) => {
                None
            }
        }
    }
}
