//! Tests of the compiler from outside: models are built here, compiled, run in wasmtime, and compared
//! with an evaluator that shares no code with the compiler.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]
#![allow(unreachable_pub)]

mod agree;
mod attention;
mod builder;
mod cases;
mod choices;
mod conformance;
mod corpus;
mod differential;
mod evaluator;
mod external;
mod forms;
mod graphs;
mod indices;
mod integers;
mod math;
mod module;
#[rustfmt::skip]
#[path = "../../src/import/onnx.rs"]
mod onnx;
mod operators;
mod profile;
mod recurrent;
mod refusal;
mod run;
mod sequences;
mod shapes;
mod weights;

/// A file per family of operators: random shapes, attributes and numbers.
mod families {
    mod activation;
    mod compare;
    mod conv;
    mod conv_transpose;
    mod elementwise;
    mod gather;
    mod generate;
    mod matmul;
    mod movement;
    mod normalize;
    mod pad;
    mod pool;
    mod recurrent;
    mod reduce;
    mod reshape;
    mod resize;
    mod softmax;
    mod windows;
}
