//! Recorded tensors for a model's own tests: the arrays of a `.npz` file, read where the file lies.
//!
//! Natively only, and for tests: whatever is wrong with a file is a panic that says it. Arrays must be stored as
//! they are, which `numpy.savez` and `dunlin run --golden` do, little-endian and in C order. The formats:
//! PKWARE's APPNOTE.TXT 4.3.7 and 4.3.12 for the archive, NumPy's NEP 1 for the arrays.
#![allow(clippy::panic)] // A test that cannot read its data has failed.

use crate::memory::{Plain, read};

/// The arrays of a `.npz` file.
///
/// ```no_run
/// # const FILE: &[u8] = b"";
/// use dunlin_guest::Recording;
///
/// // In a test: Recording::new(include_bytes!("../golden.npz"))
/// let recorded = Recording::new(FILE);
/// let windows = recorded.rows::<[f32; 64]>("input/acceleration");
/// let alarms = recorded.rows::<f32>("output/alarm");
/// for (window, alarm) in windows.zip(alarms) {
///     // call the model on the window, and compare
/// #   let _ = (window, alarm);
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Recording<'a> {
    file: &'a [u8],
}

impl<'a> Recording<'a> {
    /// The arrays of this file.
    pub const fn new(file: &'a [u8]) -> Recording<'a> {
        Recording { file }
    }

    /// The rows of an array, one a sample: `f32` for an array of one axis, `[f32; 64]` for `[n, 64]`. An array
    /// without an axis has one row.
    ///
    /// # Panics
    /// There is no such array, it has another type of elements or another number in a row, or the file is
    /// no `.npz` file that can be read.
    #[track_caller]
    pub fn rows<T: Plain>(&self, name: &str) -> impl ExactSizeIterator<Item = T> + use<'a, T> {
        let (header, elements) = header(self.array(name));
        let has = |word: &str| header.contains(word);
        const { assert!(cfg!(target_endian = "little"), "the files are little-endian, this machine is not") };
        let wanted = T::DESCRIPTIONS.iter().any(|descr| has(descr));
        assert!(wanted, "{name} is {header}, wanted are elements {:?}", T::DESCRIPTIONS);
        assert!(has("'fortran_order': False"), "{name} is in Fortran order: save numpy.ascontiguousarray(a)");
        let row = shape(header).skip(1).product::<usize>();
        let size = size_of::<T>() / T::ELEMENTS;
        assert!(row == T::ELEMENTS, "{name} has {row} elements in a row, wanted are {}", T::ELEMENTS);
        let bytes = shape(header).product::<usize>() * size;
        let elements = elements.get(..bytes).unwrap_or_else(|| panic!("{name} is cut off"));
        elements.chunks_exact(size_of::<T>()).map(read::<T>)
    }

    /// The bytes of an array: the content of its file in the archive.
    #[track_caller]
    fn array(&self, name: &str) -> &'a [u8] {
        let file = self.file;
        // The directory is found from its end: a record of 22 bytes, and a comment behind it.
        let end = file.windows(4).rposition(|window| window == b"PK\x05\x06");
        let end = end.and_then(|end| file.get(end..)).unwrap_or_else(|| panic!("this is no .npz file"));
        let mut entry = file.get(number(end, 16, 4)..).unwrap_or_default();
        for _ in 0..number(end, 10, 2) {
            assert!(entry.starts_with(b"PK\x01\x02"), "the .npz file is damaged");
            let (length, extra, comment) = (number(entry, 28, 2), number(entry, 30, 2), number(entry, 32, 2));
            let found = entry.get(46..46 + length).unwrap_or_default();
            if found.strip_suffix(b".npy") == Some(name.as_bytes()) {
                return self.content(entry, name);
            }
            entry = entry.get(46 + length + extra + comment..).unwrap_or_default();
        }
        panic!("there is no array {name} in the .npz file")
    }

    #[track_caller]
    fn content(&self, entry: &[u8], name: &str) -> &'a [u8] {
        let (method, size) = (number(entry, 10, 2), number(entry, 24, 4));
        assert!(method == 0, "{name} is compressed: save it with numpy.savez, not savez_compressed");
        let local = self.file.get(number(entry, 42, 4)..).unwrap_or_default();
        let start = 30 + number(local, 26, 2) + number(local, 28, 2);
        local.get(start..start + size).unwrap_or_else(|| panic!("{name} is cut off"))
    }
}

/// A number of up to 4 bytes, little-endian.
#[track_caller]
fn number(bytes: &[u8], at: usize, size: usize) -> usize {
    let bytes = bytes.get(at..at + size).unwrap_or_else(|| panic!("the .npz file is cut off"));
    bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// The dictionary of an array, and its elements.
#[track_caller]
fn header(array: &[u8]) -> (&str, &[u8]) {
    assert!(array.starts_with(b"\x93NUMPY"), "an array does not start as .npy files do");
    let (start, size) = if array.get(6) == Some(&1) { (10, 2) } else { (12, 4) };
    let end = start + number(array, 8, size);
    let header = array.get(start..end).and_then(|header| core::str::from_utf8(header).ok());
    let header = header.unwrap_or_else(|| panic!("an array has no header"));
    (header, array.get(end..).unwrap_or_default())
}

/// The extents in a header's `'shape': (2, 3)`.
fn shape(header: &str) -> impl Iterator<Item = usize> {
    let (_, shape) = header.split_once("'shape': (").unwrap_or_default();
    let (shape, _) = shape.split_once(')').unwrap_or_default();
    shape.split(',').filter_map(|extent| extent.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec::Vec;

    /// What `numpy.savez(f, **{"input/x": [[1, 2], [3, 4]] as f4, "n": 7 as u1})` writes, and a compressed one.
    const FILE: &[u8] = include_bytes!("../tests/recording.npz");

    #[test]
    fn arrays_are_read_row_by_row() {
        let recording = Recording::new(FILE);
        let rows: Vec<[f32; 2]> = recording.rows("input/x").collect();
        assert_eq!(rows, [[1.0, 2.0], [3.0, 4.0]]);
        assert_eq!(recording.rows::<u8>("n").collect::<Vec<_>>(), [7]);
    }

    fn refusal(read: impl FnOnce() + std::panic::UnwindSafe) -> std::string::String {
        let panic = std::panic::catch_unwind(read).unwrap_err();
        match panic.downcast::<std::string::String>() {
            Ok(text) => *text,
            Err(panic) => (*panic.downcast_ref::<&str>().unwrap()).into(),
        }
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let recording = Recording::new(FILE);
        let cases = [
            (refusal(move || drop(recording.rows::<f32>("input/y"))), "no array input/y"),
            (refusal(move || drop(recording.rows::<f64>("n"))), "wanted are elements [\"'<f8'\"]"),
            (refusal(move || drop(recording.rows::<f32>("input/x"))), "2 elements in a row, wanted are 1"),
            (refusal(move || drop(recording.rows::<f32>("fortran"))), "ascontiguousarray"),
            (refusal(move || drop(recording.rows::<f32>("packed"))), "numpy.savez"),
            (refusal(|| drop(Recording::new(b"PK").rows::<f32>("x"))), "no .npz file"),
        ];
        for (text, part) in cases {
            assert!(text.contains(part), "{text:?} does not contain {part:?}");
        }
    }
}
