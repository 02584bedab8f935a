//! The elements of a raw tensor as numbers.

use dunlin_abi::DType;

/// The elements of little-endian bytes, in order, each as the nearest `f64`; bytes that do not make up a
/// whole element at the end are left out.
pub fn values(dtype: DType, bytes: &[u8]) -> impl Iterator<Item = f64> {
    let size = dtype.size() as usize;
    bytes.chunks_exact(size).map(move |element| value(dtype, element))
}

/// Precision is lost only for 64-bit integers beyond 2^53, far below the width of a bin.
fn value(dtype: DType, element: &[u8]) -> f64 {
    let mut low = [0u8; 8];
    for (to, from) in low.iter_mut().zip(element) {
        *to = *from;
    }
    let bits = u64::from_le_bytes(low);
    match dtype {
        DType::F32 => f64::from(f32::from_bits(bits as u32)),
        DType::F64 => f64::from_bits(bits),
        DType::I8 => f64::from(bits as u8 as i8),
        DType::U8 | DType::Bool => f64::from(bits as u8),
        DType::I16 => f64::from(bits as u16 as i16),
        DType::U16 => f64::from(bits as u16),
        DType::I32 => f64::from(bits as u32 as i32),
        DType::U32 => f64::from(bits as u32),
        DType::I64 => bits as i64 as f64,
        DType::U64 => bits as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn every_dtype_is_read() {
        let cases: [(DType, Vec<u8>, f64); 11] = [
            (DType::F32, (-1.5f32).to_le_bytes().to_vec(), -1.5),
            (DType::F64, 0.1f64.to_le_bytes().to_vec(), 0.1),
            (DType::I8, (-7i8).to_le_bytes().to_vec(), -7.0),
            (DType::U8, 250u8.to_le_bytes().to_vec(), 250.0),
            (DType::I16, (-300i16).to_le_bytes().to_vec(), -300.0),
            (DType::U16, 60_000u16.to_le_bytes().to_vec(), 60_000.0),
            (DType::I32, i32::MIN.to_le_bytes().to_vec(), -2_147_483_648.0),
            (DType::U32, u32::MAX.to_le_bytes().to_vec(), 4_294_967_295.0),
            (DType::I64, (-1i64 << 53).to_le_bytes().to_vec(), -9_007_199_254_740_992.0),
            (DType::U64, (1u64 << 63).to_le_bytes().to_vec(), 9_223_372_036_854_775_808.0),
            (DType::Bool, alloc::vec![1], 1.0),
        ];
        for (dtype, mut bytes, expected) in cases {
            assert_eq!(bytes.len(), dtype.size() as usize);
            bytes.extend(bytes.clone());
            assert_eq!(values(dtype, &bytes).collect::<Vec<_>>(), [expected; 2], "{dtype}");
        }
        assert_eq!(values(DType::F32, &[0; 7]).count(), 1);
    }
}
