//! Where a compilation gets the numbers from that are not in the ONNX file itself.

/// Reads parts of the files that an ONNX file names.
///
/// The names come out of the file: an implementation decides which of them it opens. `dunlin compile` opens only
/// files in the model's own folder.
pub trait External {
    /// `length` bytes of the file `location` from `offset` on. `length` is bounded by
    /// [`crate::MAX_ONNX_BYTES`] for all calls of a compilation together.
    ///
    /// # Errors
    /// A text for people: why these bytes cannot be had.
    fn read(&self, location: &str, offset: u64, length: u64) -> Result<Vec<u8>, String>;
}

/// There are no other files.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoExternal;

impl External for NoExternal {
    fn read(&self, _: &str, _: u64, _: u64) -> Result<Vec<u8>, String> {
        Err("only the ONNX file itself was given".to_string())
    }
}
