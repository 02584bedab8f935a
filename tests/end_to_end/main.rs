//! End to end: the real binary, real processes, a real broker, real files.
//!
//! One module a story. Each test has a folder, a broker and ports of its own, and stops what it
//! started by its own id.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub
)]

mod audiences;
mod bad_input;
mod brokers;
mod ceremony;
mod compile;
mod confirmation;
mod demo;
mod digits;
mod guest;
mod hostile;
mod keyword;
mod kills;
mod laptop;
mod main_job;
mod measure;
mod mosquitto;
mod onnx;
mod operator;
mod options;
mod output;
mod precompiled;
mod probation;
mod registry;
mod resume;
mod threshold;
#[allow(dead_code, reason = "shared with other tests, each of which uses a part of it")]
#[path = "../toolchain.rs"]
mod toolchain;
mod vibration;
mod world;
