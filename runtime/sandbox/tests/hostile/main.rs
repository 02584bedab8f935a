//! What the sandbox does with models that are wrong, careless or hostile.
//!
//! `corpus` walks the modules in `wat/`, one file a trick, and `smith` lets wasm-smith make up a thousand more. `guest` writes modules as WebAssembly text for
//! what takes more than one module or more than an error: `admission` holds what never runs, `calls` what
//! runs and must not matter, `speech` what a model says.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod admission;
mod calls;
mod corpus;
mod guest;
mod smith;
mod speech;
