//! The protocol's names of element types.

use dunlin_abi::DType;

/// `FP32`, `INT64`, `BOOL`, …
pub(super) const fn name(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "FP32",
        DType::F64 => "FP64",
        DType::I8 => "INT8",
        DType::U8 => "UINT8",
        DType::I16 => "INT16",
        DType::U16 => "UINT16",
        DType::I32 => "INT32",
        DType::U32 => "UINT32",
        DType::I64 => "INT64",
        DType::U64 => "UINT64",
        DType::Bool => "BOOL",
    }
}

/// Every type, in the order of the protocol's table.
const ALL: [DType; 11] = [
    DType::Bool,
    DType::U8,
    DType::U16,
    DType::U32,
    DType::U64,
    DType::I8,
    DType::I16,
    DType::I32,
    DType::I64,
    DType::F32,
    DType::F64,
];

/// The type of this name.
pub(super) fn parse(text: &str) -> Option<DType> {
    ALL.into_iter().find(|dtype| name(*dtype) == text)
}

/// The most bytes that one element takes in a JSON array, with separator, blank and brackets.
///
/// A 64-bit float written in full has 24 characters, a 64-bit integer 20; JSON of 32-bit floats is often
/// written as if they were 64-bit ones. 8- and 16-bit integers have at most 6, bools 5.
pub(super) const fn json_bytes(dtype: DType) -> usize {
    match dtype {
        DType::F32 | DType::F64 | DType::I32 | DType::U32 | DType::I64 | DType::U64 => 32,
        DType::I8 | DType::U8 | DType::I16 | DType::U16 | DType::Bool => 16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_name_that_is_read_back() {
        for dtype in ALL {
            assert_eq!(parse(name(dtype)), Some(dtype));
        }
        for bad in ["", "fp32", "F32", "BYTES", "FP16", "BF16"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
