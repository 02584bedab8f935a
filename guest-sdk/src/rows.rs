//! An output whose extent depends on the data: rows, as many as there are room for.

use core::ops::{Deref, DerefMut};

use crate::memory::Plain;

/// The view of an output with an axis `{MAX}`: 0 to `MAX` rows, empty at the start of a call.
///
/// The host sees the rows that are there after the call, and their number as the extent of the axis.
///
/// ```
/// use dunlin_guest::Rows;
///
/// let mut peaks = Rows::<f32, 2>::new();
/// assert_eq!(peaks.push(1.5), Ok(()));
/// assert_eq!(peaks.push(2.5), Ok(()));
/// assert_eq!(peaks.push(9.0), Err(9.0)); // full
/// peaks[0] = 0.5;
/// assert_eq!(peaks[..], [0.5, 2.5]);
/// peaks.clear();
/// assert!(peaks.is_empty());
/// ```
// The rows first: where they are is where the host reads.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Rows<T, const MAX: usize> {
    rows: [T; MAX],
    len: usize,
}

impl<T: Plain, const MAX: usize> Rows<T, MAX> {
    /// No rows.
    #[expect(clippy::new_without_default, reason = "natively in tests only, like an array of zeros")]
    pub const fn new() -> Self {
        Rows { rows: [T::ZERO; MAX], len: 0 }
    }

    /// Adds a row behind the others.
    ///
    /// # Errors
    /// Gives the row back where there are `MAX` already; whether that is a failure is the model's to say.
    pub fn push(&mut self, row: T) -> Result<(), T> {
        match self.rows.get_mut(self.len) {
            Some(place) => {
                *place = row;
                self.len += 1;
                Ok(())
            }
            None => Err(row),
        }
    }

    /// Removes all rows.
    pub fn clear(&mut self) {
        self.len = 0;
    }
}

impl<T, const MAX: usize> Deref for Rows<T, MAX> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        self.rows.get(..self.len).unwrap_or_default()
    }
}

impl<T, const MAX: usize> DerefMut for Rows<T, MAX> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.rows.get_mut(..self.len).unwrap_or_default()
    }
}
