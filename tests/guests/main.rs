//! Hand-written guests, from source to answers: built as their READMEs say, then admitted, compiled and called
//! by the sandbox that devices use.
//!
//! A toolchain that is not installed skips its tests and says so; with `DUNLIN_REQUIRE_TOOLCHAINS` set, as in
//! CI, it fails them.
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
mod c;
mod mistakes;
mod new;
mod rust;
mod sandbox;
