//! How much a model may take, and what it may call: the part of a signed release that the sandbox
//! enforces. Both are values without behaviour; defaults are for a developer's own machine.

use core::time::Duration;

use dunlin_abi::Import;
use dunlin_core::Digest;

/// The stack of guest code, in bytes, the same for every model of an engine.
///
/// wasmtime fixes it for an engine, not for an instance. A limit above it is refused at admission;
/// one below it is granted more than it asks for.
pub const MAX_STACK_BYTES: u32 = 256 * 1024;

/// The native stack, in bytes, that a thread needs to call a model: the guest's, and far more than
/// what the host's own functions need on top. The default of Rust's threads.
pub const NATIVE_STACK_BYTES: usize = 2 * 1024 * 1024;

/// What one instance of a model may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory, in bytes. `memory.grow` beyond it fails inside the guest.
    pub memory_bytes: u64,
    /// Entries of its function table.
    pub table_elements: u32,
    /// Stack, in bytes; at most [`MAX_STACK_BYTES`], which is what it gets.
    pub stack_bytes: u32,
    /// Time for instantiation, for initialisation and for each call. A model is stopped between this and one
    /// tick of the engine later; one without checks in its loops after at most 10 ms of what it is expected to
    /// take.
    pub deadline: Duration,
    /// Log lines a second; more are counted, not kept.
    pub log_lines_per_s: u32,
    /// Metric values a second; more are counted, not kept.
    pub metrics_per_s: u32,
}

impl Default for Limits {
    /// For a developer's machine: 1 GiB of memory, 10,000 table entries, the whole stack, 10 s a
    /// call, 10 log lines and 10 metrics a second. A release for devices states its own.
    fn default() -> Self {
        Limits {
            memory_bytes: 1 << 30,
            table_elements: 10_000,
            stack_bytes: MAX_STACK_BYTES,
            deadline: Duration::from_secs(10),
            log_lines_per_s: 10,
            metrics_per_s: 10,
        }
    }
}

/// On what terms a module is admitted. The default grants no imports and takes any card.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// What one instance may take.
    pub limits: Limits,
    /// The host functions that the module may import.
    pub imports: Vec<Import>,
    /// The sha256 that the card's bytes must have, where a signed release states one.
    pub card_digest: Option<Digest>,
}
