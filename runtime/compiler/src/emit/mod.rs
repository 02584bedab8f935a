//! From the plan to WebAssembly: a file a family of kernels, and one that puts the module together.
//!
//! [`code`] has the few things that every kernel is written with: expressions over vectors, counted
//! loops and nothing else that repeats. A kernel is a function of addresses only, so layers of one
//! geometry share one function.

pub(crate) mod code;
pub(crate) mod contract;
pub(crate) mod convert;
pub(crate) mod expr;
pub(crate) mod extreme;
pub(crate) mod fill;
pub(crate) mod gather;
mod infer;
pub(crate) mod integer;
pub(crate) mod integer_fold;
mod math;
pub(crate) mod module;
pub(crate) mod pointwise;
mod program;
pub(crate) mod recurrent;
pub(crate) mod remainder;
pub(crate) mod resample;
pub(crate) mod slide;
pub(crate) mod sweep;
mod widen;
