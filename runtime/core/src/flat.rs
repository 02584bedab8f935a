//! Flat binary formats: fixed-width little-endian numbers in a row, read from front to back.
//!
//! A reader never reads behind the end and never allocates for what is not there, so the memory that a
//! hostile file can claim is bounded by its own length.

use alloc::vec::Vec;

/// The file ends before what was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndOfFile;

/// What is left to read.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], EndOfFile> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(EndOfFile)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], EndOfFile> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(EndOfFile)?;
        self.0 = rest;
        Ok(*taken)
    }

    /// The next 4 bytes as a number.
    pub(crate) fn u32(&mut self) -> Result<u32, EndOfFile> {
        self.array().map(u32::from_le_bytes)
    }

    /// The next 4 bytes as a count of things that `bytes_each` of what is left can hold.
    pub(crate) fn count(&mut self, bytes_each: usize) -> Result<usize, EndOfFile> {
        let count = usize::try_from(self.u32()?).map_err(|_| EndOfFile)?;
        let bytes = count.checked_mul(bytes_each).ok_or(EndOfFile)?;
        if bytes <= self.0.len() { Ok(count) } else { Err(EndOfFile) }
    }

    /// The next 8 bytes as a number.
    pub(crate) fn u64(&mut self) -> Result<u64, EndOfFile> {
        self.array().map(u64::from_le_bytes)
    }

    /// The next `count` numbers of 8 bytes.
    pub(crate) fn u64s(&mut self, count: usize) -> Result<Vec<u64>, EndOfFile> {
        let bytes = self.take(count.checked_mul(8).ok_or(EndOfFile)?)?;
        Ok(bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)).collect())
    }

    /// The next `count` numbers of 8 bytes with a fraction.
    pub(crate) fn f64s(&mut self, count: usize) -> Result<Vec<f64>, EndOfFile> {
        Ok(self.u64s(count)?.into_iter().map(f64::from_bits).collect())
    }

    /// Whether nothing is left.
    pub(crate) fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }
}

/// Appends the length of a list; a list longer than 32 bits, which memory does not hold, is cut.
pub(crate) fn put_count(bytes: &mut Vec<u8>, count: usize) {
    bytes.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

/// Appends numbers of 8 bytes.
pub(crate) fn put_u64s(bytes: &mut Vec<u8>, numbers: &[u64]) {
    numbers.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
}

/// Appends numbers of 8 bytes with a fraction.
pub(crate) fn put_f64s(bytes: &mut Vec<u8>, numbers: &[f64]) {
    numbers.iter().for_each(|number| bytes.extend_from_slice(&number.to_le_bytes()));
}
