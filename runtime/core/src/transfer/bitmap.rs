//! Which chunks of a blob are on disk: one bit each, the lowest bit of the first byte first.

use alloc::vec;
use alloc::vec::Vec;

/// A set of chunk indices below a fixed length. Bits behind the length are 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bitmap {
    bytes: Vec<u8>,
    length: usize,
}

impl Bitmap {
    /// No chunk of `length`.
    pub fn empty(length: usize) -> Bitmap {
        Bitmap { bytes: vec![0; length.div_ceil(8)], length }
    }

    /// The bitmap that [`Bitmap::as_bytes`] wrote; `None` if the bytes are not one of this length.
    pub fn from_bytes(bytes: &[u8], length: usize) -> Option<Bitmap> {
        let unused = match length % 8 {
            0 => 0,
            used => u8::MAX << used,
        };
        let good = bytes.len() == length.div_ceil(8) && bytes.last().is_none_or(|last| last & unused == 0);
        good.then(|| Bitmap { bytes: bytes.to_vec(), length })
    }

    /// The bytes, for a file.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many chunks there are, had and missing.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Whether chunk `index` is there; false outside of the length.
    pub fn get(&self, index: usize) -> bool {
        self.bytes.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1)
    }

    /// Notes that chunk `index` is there; outside of the length it does nothing.
    pub fn set(&mut self, index: usize) {
        if index < self.length
            && let Some(byte) = self.bytes.get_mut(index / 8)
        {
            *byte |= 1 << (index % 8);
        }
    }

    /// How many chunks are there.
    pub fn count(&self) -> usize {
        self.bytes.iter().map(|byte| byte.count_ones() as usize).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_bitmap_survives_its_bytes(length in 0usize..70, indices in prop::collection::vec(0usize..80, 0..40)) {
            let mut bitmap = Bitmap::empty(length);
            indices.iter().for_each(|index| bitmap.set(*index));
            for index in 0..90 {
                prop_assert_eq!(bitmap.get(index), index < length && indices.contains(&index));
            }
            prop_assert_eq!(bitmap.count(), (0..length).filter(|index| bitmap.get(*index)).count());
            prop_assert_eq!(Bitmap::from_bytes(bitmap.as_bytes(), length), Some(bitmap));
        }
    }

    #[test]
    fn bytes_of_another_length_are_no_bitmap() {
        assert!(Bitmap::from_bytes(&[0b0000_0111], 3).is_some());
        assert!(Bitmap::from_bytes(&[0b0000_1000], 3).is_none());
        assert!(Bitmap::from_bytes(&[0, 0], 8).is_none());
        assert!(Bitmap::from_bytes(&[], 1).is_none());
    }
}
