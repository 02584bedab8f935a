//! A model beside the numbers that it must give: `NAME.onnx` with `NAME.npz`.
//!
//! The archive has the arrays `input/<name>` and `output/<name>`, and where wanted `constant/<name>` (an
//! input that the compiler is told), `tolerance/<name>` (relative to the largest expected magnitude, or
//! to 1), or the scalars `rtol` and `atol` (for each element alone, as NumPy's `allclose` has them). The
//! rows of a symbolic batch are the first axis. A model without an archive must compile.
//!
//! The tests run the committed cases, the example `conformance` those that scripts generate.

mod archive;
mod compare;
mod judge;

pub use archive::Case;
pub use judge::{Verdict, engine, judge};
