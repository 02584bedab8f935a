//! Hand-written guests, from source to answers: built as their READMEs say, then admitted, compiled and called
//! by the sandbox that devices use.
//!
//! `toolchain` adds the WebAssembly target where it is missing, and says what is not tested without clang or npm.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub
)]

mod api;
mod assemblyscript;
mod builds;
mod c;
mod contract;
mod fixed;
mod mistakes;
mod new;
mod numbers;
mod rust;
mod sandbox;
#[path = "../toolchain.rs"]
mod toolchain;
