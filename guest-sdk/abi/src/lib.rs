//! What a Dunlin host and a guest must agree on, and nothing else: ABI 1.
//!
//! A model is one core WebAssembly module. Its custom section [`CARD_SECTION`] holds a [`Card`]
//! in JSON, which alone carries the ABI version and can be read without running any code. The
//! exports are named in [`export`], the imports that a release may grant in [`Import`].
//! `docs/abi.md` tells the whole contract in prose; this crate is its source of truth for names,
//! numbers and rules. It has no clock, no I/O and no `unsafe`, and builds for `wasm32v1-none`.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod card;
mod tensor;

pub use card::{Card, CardError, MAX_BATCH, MAX_CARD_BYTES, MAX_TENSORS, Simd, State};
pub use tensor::{DType, Dim, MAX_RANK, Meaning, TensorError, TensorSpec};

/// The version of the ABI that this crate describes.
pub const ABI_VERSION: u32 = 1;

/// The name of the custom section that holds the card.
pub const CARD_SECTION: &str = "dunlin.card";

/// Every tensor starts at a multiple of this many bytes in guest memory.
pub const TENSOR_ALIGN: u32 = 16;

/// The longest message, in bytes of UTF-8, that `dunlin_error` may point at.
pub const MAX_ERROR_BYTES: u32 = 256;

/// The names that a module exports.
pub mod export {
    /// The one linear memory.
    pub const MEMORY: &str = "memory";
    /// `() -> status`, optional: called once, before anything else.
    pub const INIT: &str = "dunlin_init";
    /// `()`, optional: what a toolchain's runtime wants called first; never a start section.
    pub const INITIALIZE: &str = "_initialize";
    /// `(index: i32) -> ptr: i32`: where input `index` of the card lives; constant after init.
    pub const INPUT: &str = "dunlin_input";
    /// `(index: i32) -> ptr: i32`: where output `index` of the card lives; constant after init.
    pub const OUTPUT: &str = "dunlin_output";
    /// `(n: i32) -> status: i32`: computes the outputs of `n` samples, `1 <= n <= max_batch`.
    pub const INFER: &str = "dunlin_infer";
    /// `(output: i32, axis: i32) -> i32`: the extent of a data-dependent axis after a call.
    pub const DIM: &str = "dunlin_dim";
    /// `()`: forgets all state of a `stream` model.
    pub const RESET: &str = "dunlin_reset";
    /// `() -> ptr: i32`, optional: the address of `{len: u32, [u8; len]}`, read after a trap.
    pub const ERROR: &str = "dunlin_error";
}

/// The module name that every import comes from.
pub const IMPORT_MODULE: &str = "dunlin";

/// What `dunlin_init` and `dunlin_infer` return for "done".
pub const STATUS_OK: i32 = 0;

/// The highest status that belongs to the model; negative ones are reserved.
pub const STATUS_MODEL_MAX: i32 = 255;

/// A function that the host offers, if the signed release grants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Import {
    /// `log(level: i32, ptr: i32, len: i32)`: a line of UTF-8 for the device's log.
    Log,
    /// `metric(ptr: i32, len: i32, value: f64)`: a named number for the device's telemetry.
    Metric,
    /// `clock() -> i64`: milliseconds, constant within a call.
    Clock,
}

impl Import {
    /// All imports of this ABI.
    pub const ALL: [Import; 3] = [Import::Log, Import::Metric, Import::Clock];

    /// The import's field name.
    pub const fn name(self) -> &'static str {
        match self {
            Import::Log => "log",
            Import::Metric => "metric",
            Import::Clock => "clock",
        }
    }

    /// The import with this field name.
    pub fn from_name(name: &str) -> Option<Import> {
        Import::ALL.into_iter().find(|import| import.name() == name)
    }
}
