//! Admits, compiles, limits and calls one model.
//!
//! The way has one direction, and each type can be made only from the one before:
//!
//! ```text
//! VerifiedArtifact --admit--> AdmittedModel --Engine::compile--> CompiledModel --instantiate--> Instance
//!   (dunlin-core)             checked, not run                   machine code, shared            one memory
//! ```
//!
//! Nothing here touches a disk, a network or the wall clock. What a guest may do is decided before any
//! of its code runs; what it does is bounded in time (by the clock, which code looks at as often as its
//! [`Work`] asks for), memory, table, stack and words. A model that misbehaves costs an error value,
//! never the process, as long as two things hold that this crate cannot check:
//!
//! - calls come from threads with at least [`NATIVE_STACK_BYTES`] of native stack, because exhausting
//!   that aborts the process, while exhausting the guest's [`MAX_STACK_BYTES`] is an error;
//! - where even the *compiler* must not be trusted with hostile input, compilation happens in a
//!   child process under resource limits: admission bounds what the compiler sees, not what it does.
//!
//! A build without the feature `compiler` has no `Engine::compile`: it loads what another build compiled for
//! the same [`Target`] by the same [`WASMTIME_VERSION`], with [`Engine::load`].
//!
#![cfg_attr(feature = "compiler", doc = "```")]
#![cfg_attr(not(feature = "compiler"), doc = "```ignore")]
//! use dunlin_core::VerifiedArtifact;
//! use dunlin_sandbox::{Admission, Engine, EngineConfig, admit};
//!
//! fn first_output(wasm: Vec<u8>, input: &[u8]) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
//!     let engine = Engine::new(EngineConfig::default())?;
//!     let model = engine.compile(admit(VerifiedArtifact::trust_local(wasm), &Admission::default())?)?;
//!     let mut instance = model.instantiate()?;
//!     instance.input_mut(0)?[..input.len()].copy_from_slice(input);
//!     instance.infer(1)?;
//!     Ok(instance.output(0, 1)?.to_vec())
//! }
//! ```

mod admission;
mod bounds;
mod call;
#[cfg(feature = "compiler")]
mod compile;
mod compiled;
mod constructors;
mod engine;
mod host;
mod inspect;
mod instance;
mod limits;
mod names;
mod native;
mod output;
#[cfg(feature = "compiler")]
mod polls;
mod region;
mod shape;
mod simd;
mod speech;
mod stack;
mod surface;
mod target;
mod ticker;
mod work;

pub use admission::{AdmissionError, AdmittedModel, admit};
pub use call::{CallError, Frame};
#[cfg(feature = "compiler")]
pub use compile::precompile;
pub use compiled::CompiledModel;
pub use engine::{CompileError, Engine, EngineConfig, WASMTIME_VERSION};
pub use inspect::{SEGMENT_BYTES, Summary, inspect};
pub use instance::Instance;
pub use limits::{Admission, Limits, MAX_STACK_BYTES, NATIVE_STACK_BYTES};
pub use native::Facts;
pub use output::{OutputError, validate_output};
#[cfg(feature = "compiler")]
pub use polls::position_in_module;
pub use speech::{LogLine, Logs, Metric, Metrics};
pub use stack::ShadowStack;
pub use target::{Target, UnknownTarget};
pub use work::Work;
