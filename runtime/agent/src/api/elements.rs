//! The elements of a tensor in JSON, flat or nested, read straight into little-endian bytes.
//!
//! The number of elements is bounded by the shape before anything is stored, so that memory follows
//! what was announced and not what is sent. Nested data must have the shape exactly.

use std::fmt;

use dunlin_abi::DType;
use serde::de::{DeserializeSeed, Deserializer, Error, SeqAccess, Visitor};

/// Reads `json`, an array of `shape` elements of a type.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn read(json: &str, dtype: DType, shape: &[u32]) -> Result<Vec<u8>, String> {
    let elements = shape
        .iter()
        .try_fold(1usize, |product, extent| product.checked_mul(usize::try_from(*extent).ok()?))
        .filter(|elements| *elements <= json.len())
        .ok_or_else(|| format!("data has fewer elements than the shape {shape:?}"))?;
    let size = usize::try_from(dtype.size()).map_err(|error| error.to_string())?;
    let mut sink =
        Sink { dtype, shape, elements, depth: None, count: 0, bytes: Vec::with_capacity(elements * size) };
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let node = Node { sink: &mut sink, level: 0 };
    node.deserialize(&mut deserializer).and_then(|()| deserializer.end()).map_err(|error| {
        // Line and column count from the start of this array, which helps nobody.
        let text = error.to_string();
        text.split(" at line ").next().unwrap_or_default().to_string()
    })?;
    if sink.count != elements {
        return Err(format!("data has {} elements, the shape {shape:?} has {elements}", sink.count));
    }
    Ok(sink.bytes)
}

/// Takes elements as they are: little-endian, row-major, without gaps.
///
/// # Errors
/// They are not those of the shape, or a truth value is neither 0 nor 1.
pub(super) fn check(bytes: &[u8], dtype: DType, shape: &[u32]) -> Result<Vec<u8>, String> {
    let elements = shape.iter().try_fold(1u64, |product, extent| product.checked_mul(u64::from(*extent)));
    let wanted = elements.and_then(|elements| elements.checked_mul(u64::from(dtype.size())));
    if wanted != Some(bytes.len() as u64) {
        let name = super::datatype::name(dtype);
        return Err(format!("{} bytes are not the elements of {name} of the shape {shape:?}", bytes.len()));
    }
    if dtype == DType::Bool
        && let Some(odd) = bytes.iter().find(|byte| **byte > 1)
    {
        return Err(format!("data has {odd}, which is no BOOL"));
    }
    Ok(bytes.to_vec())
}

struct Sink<'a> {
    dtype: DType,
    shape: &'a [u32],
    elements: usize,
    /// How many arrays are open around an element: the same for all.
    depth: Option<usize>,
    count: usize,
    bytes: Vec<u8>,
}

impl Sink<'_> {
    /// Checks the place of an element at this depth, before it is stored.
    fn place<E: Error>(&mut self, depth: usize) -> Result<(), E> {
        let fits = depth >= 1 && (depth == 1 || depth == self.shape.len());
        if !fits || self.depth.is_some_and(|first| first != depth) {
            return Err(E::custom(format!(
                "data must be one flat array, or nested exactly like the shape {:?}",
                self.shape
            )));
        }
        if self.count == self.elements {
            return Err(E::custom(format!("data has more elements than the shape {:?}", self.shape)));
        }
        self.depth = Some(depth);
        self.count += 1;
        Ok(())
    }

    /// Checks the length of an array that ends; `level` arrays are open around it.
    fn close<E: Error>(&self, level: usize, length: usize) -> Result<(), E> {
        let nested = level >= 1 || self.depth.is_some_and(|depth| depth > 1);
        let wanted = self.shape.get(level).and_then(|extent| usize::try_from(*extent).ok());
        if nested && wanted != Some(length) {
            return Err(E::custom(format!(
                "data has an array of {length} where the shape {:?} says otherwise",
                self.shape
            )));
        }
        Ok(())
    }

    fn wrong<E: Error>(&self, what: impl fmt::Display) -> E {
        E::custom(format!("data has {what}, which is no {}", super::datatype::name(self.dtype)))
    }

    fn integer<E: Error>(&mut self, value: i128) -> Result<(), E> {
        macro_rules! store {
            ($type:ty) => {
                match <$type>::try_from(value) {
                    Ok(value) => self.bytes.extend_from_slice(&value.to_le_bytes()),
                    Err(_) => return Err(self.wrong(value)),
                }
            };
        }
        match self.dtype {
            DType::I8 => store!(i8),
            DType::U8 => store!(u8),
            DType::I16 => store!(i16),
            DType::U16 => store!(u16),
            DType::I32 => store!(i32),
            DType::U32 => store!(u32),
            DType::I64 => store!(i64),
            DType::U64 => store!(u64),
            DType::F32 | DType::F64 => return self.float(to_float(value)),
            DType::Bool => return Err(self.wrong(value)),
        }
        Ok(())
    }

    /// `as` rounds to the model's precision; a number beyond f32 becomes infinite, which the contract judges.
    fn float<E: Error>(&mut self, value: f64) -> Result<(), E> {
        match self.dtype {
            DType::F32 => self.bytes.extend_from_slice(&(value as f32).to_le_bytes()),
            DType::F64 => self.bytes.extend_from_slice(&value.to_le_bytes()),
            DType::I8
            | DType::U8
            | DType::I16
            | DType::U16
            | DType::I32
            | DType::U32
            | DType::I64
            | DType::U64
            | DType::Bool => return Err(self.wrong(value)),
        }
        Ok(())
    }
}

/// An integer that is sent for a float is rounded like any decimal.
fn to_float(value: i128) -> f64 {
    value as f64
}

/// A value inside of `level` arrays.
struct Node<'a, 'b> {
    sink: &'a mut Sink<'b>,
    level: usize,
}

impl<'de> DeserializeSeed<'de> for Node<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "elements of {} or arrays of them", super::datatype::name(self.sink.dtype))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.sink.place::<E>(self.level)?;
        self.sink.integer(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.sink.place::<E>(self.level)?;
        self.sink.integer(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.sink.place::<E>(self.level)?;
        self.sink.float(value)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.sink.place::<E>(self.level)?;
        if self.sink.dtype != DType::Bool {
            return Err(self.sink.wrong(value));
        }
        self.sink.bytes.push(value.into());
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        let Node { sink, level } = self;
        let mut length = 0usize;
        while array.next_element_seed(Node { sink: &mut *sink, level: level + 1 })?.is_some() {
            length += 1;
        }
        sink.close(level, length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn f32s(json: &str, shape: &[u32]) -> Result<Vec<f32>, String> {
        let bytes = read(json, DType::F32, shape)?;
        Ok(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    #[test]
    fn flat_and_nested_data_are_the_same() {
        let wanted = Ok(vec![1.0, 2.5, -3.0, 4.0]);
        assert_eq!(f32s("[1, 2.5, -3, 4]", &[2, 2]), wanted);
        assert_eq!(f32s("[[1, 2.5], [-3, 4]]", &[2, 2]), wanted);
        assert_eq!(f32s("[[[1],[2.5]],[[-3],[4]]]", &[2, 2, 1]), wanted);
        assert_eq!(f32s("[7]", &[]), Ok(vec![7.0]));
        assert_eq!(f32s("[7]", &[1]), Ok(vec![7.0]));
    }

    #[test]
    fn data_of_another_shape_is_refused() {
        for bad in [
            "[1,2,3]",
            "[1,2,3,4,5]",
            "[[1,2],[3]]",
            "[[1,2],[3,4],[5,6]]",
            "[[1,2,3],[4]]",
            "[[1,2],3,4]",
            "[1,2,[3,4]]",
            "[[[1,2],[3,4]]]",
            "[[1,2,3,4]]",
            "[[],[]]",
            "[]",
            "4",
            "{}",
            "null",
            "\"1234\"",
            "[null,1,2,3]",
            "[\"NaN\",1,2,3]",
        ] {
            assert!(f32s(bad, &[2, 2]).is_err(), "{bad}");
        }
        assert!(
            f32s("[1]", &[u32::MAX, u32::MAX]).is_err(),
            "a shape reserves no memory that data does not fill"
        );
    }

    #[test]
    fn values_outside_of_the_type_are_refused_and_not_wrapped() {
        for (dtype, bad) in [
            (DType::U8, "[256]"),
            (DType::U8, "[-1]"),
            (DType::I8, "[128]"),
            (DType::I64, "[9223372036854775808]"),
            (DType::I32, "[1.5]"),
            (DType::Bool, "[1]"),
            (DType::F32, "[true]"),
            (DType::U64, "[18446744073709551616]"),
        ] {
            assert!(read(bad, dtype, &[1]).is_err(), "{bad} as {dtype}");
        }
        assert_eq!(read("[true,false]", DType::Bool, &[2]), Ok(vec![1, 0]));
        assert_eq!(read("[18446744073709551615]", DType::U64, &[1]), Ok(u64::MAX.to_le_bytes().to_vec()));
    }

    proptest! {
        #[test]
        fn floats_survive_json_bit_by_bit(value in any::<f32>().prop_filter("finite", |v| v.is_finite())) {
            let json = format!("[{}]", serde_json::to_string(&value).unwrap());
            prop_assert_eq!(f32s(&json, &[1]).unwrap()[0].to_bits(), value.to_bits());
        }

        #[test]
        fn no_text_panics(json in "[\\[\\]0-9,.eE+ -]{0,40}") {
            let _ = f32s(&json, &[2, 2]);
        }
    }
}
