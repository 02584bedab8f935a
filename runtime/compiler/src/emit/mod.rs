//! From the graph to WebAssembly: a file a family of kernels, and one that puts the module together.
//!
//! [`code`] has the few things that every kernel is written with: expressions over vectors, counted
//! loops and nothing else that repeats. A kernel is a function of addresses only, so layers of one
//! geometry share one function.

pub(crate) mod code;
pub(crate) mod dense;
mod elementwise;
mod expr;
mod infer;
mod math;
pub(crate) mod module;
mod softmax;
