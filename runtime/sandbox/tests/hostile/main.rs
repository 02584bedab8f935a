//! What the sandbox does with models that are wrong, careless or hostile.
//!
//! `guest` writes modules as WebAssembly text; `admission` holds what never runs, `calls` what runs and
//! must not matter, `speech` what a model says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod admission;
mod calls;
mod guest;
mod speech;
