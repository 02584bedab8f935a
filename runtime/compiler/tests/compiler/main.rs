//! Tests of the compiler from outside: models are built here, compiled, run in wasmtime, and compared
//! with an evaluator that shares no code with the compiler.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]
#![allow(unreachable_pub)]

mod builder;
mod differential;
mod evaluator;
mod math;
mod module;
#[rustfmt::skip]
#[path = "../../src/import/onnx.rs"]
mod onnx;
mod operators;
mod refusal;
mod run;
mod shapes;
