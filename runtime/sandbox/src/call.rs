//! What can go wrong once a model runs, and how wasmtime's errors become it.

use core::time::Duration;

use dunlin_core::code::{self, Code, Coded};
use wasmtime::{FrameInfo, Trap, WasmBacktrace};

use crate::host::OutsideMemory;
use crate::names;

/// Why an instance could not be made, or a call did not give an output.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// A status of the model's own.
    #[error("the model returned status {status}: it refused, for a reason that its documentation tells")]
    Model {
        /// 1 to 255.
        status: u8,
    },
    /// A status that no model may return.
    #[error("the model returned status {status}, it may return 0 to 255")]
    ReservedStatus {
        /// What it returned.
        status: i32,
    },
    /// Stopped at its deadline.
    #[error("the model was stopped after its deadline of {deadline:?}")]
    Deadline {
        /// The deadline of every call.
        deadline: Duration,
    },
    /// Denied more memory, and trapped in the same call.
    #[error(
        "the model asked for {wanted} bytes of memory, the limit is {limit}, and then trapped{place}: \
         {kind}{}", says(.message)
    )]
    OutOfMemory {
        /// What it asked for in all, in bytes.
        wanted: u64,
        /// The limit, in bytes.
        limit: u64,
        /// The trap that followed, in the engine's words.
        kind: String,
        /// Where, as ` in function 7 ("name")`; empty if unknown.
        place: String,
        /// What the model says about it through `dunlin_error`, cleaned for printing.
        message: Option<String>,
        /// The active functions, the innermost first, as far as they are known.
        frames: Box<[Frame]>,
    },
    /// Its stack is used up.
    #[error("the model used up its stack of {stack_bytes} bytes{place}")]
    Stack {
        /// The stack, in bytes.
        stack_bytes: u32,
        /// Where, as ` in function 7 ("name")`; empty if unknown.
        place: String,
    },
    /// Any other trap.
    #[error("the model trapped{place}: {kind}{}", says(.message))]
    Trap {
        /// What happened, in the engine's words.
        kind: String,
        /// Where, as ` in function 7 ("name")`; empty if unknown.
        place: String,
        /// What the model says about it through `dunlin_error`, cleaned for printing.
        message: Option<String>,
        /// The active functions, the innermost first, as far as they are known.
        frames: Box<[Frame]>,
    },
    /// A call to an instance that trapped before.
    #[error("an earlier call of this instance trapped: instantiate the model again")]
    Poisoned,
    /// The engine failed outside of the model's code, most often for lack of memory.
    #[error("the engine cannot run the model: {0}")]
    Engine(String),
    /// A tensor's address is bad.
    #[error("{tensor} lies at {address:#x} of {memory_bytes} bytes of memory, which {what}")]
    Pointer {
        /// The tensor, as `input "x"`.
        tensor: String,
        /// The address that the model gave.
        address: u32,
        /// The size of its memory, in bytes.
        memory_bytes: usize,
        /// What is bad about it.
        what: &'static str,
    },
    /// Two tensors share memory.
    #[error(
        "{first} and {second} overlap in memory: by the card the first has {bytes} bytes, and the second begins \
         {apart} bytes behind it; `dunlin_input` and `dunlin_output` must give each tensor a place of its own, as \
         large as the card says for `max_batch` samples"
    )]
    Overlap {
        /// The bytes of the first.
        bytes: usize,
        /// How far behind the first the second begins, in bytes.
        apart: usize,
        /// The one that starts first, as `input "x"`.
        first: String,
        /// The other one, likewise.
        second: String,
    },
    /// A data-dependent extent is above the card's maximum.
    #[error("axis {axis} of output {output:?} has extent {extent}, the card's maximum is {max}")]
    Dim {
        /// The output.
        output: String,
        /// The axis, from 0.
        axis: u32,
        /// What `dunlin_dim` returned.
        extent: i32,
        /// The card's maximum.
        max: u32,
    },
    /// Not a number of samples that can be.
    #[error("{samples} samples are asked for, possible are 1 to {most}")]
    Batch {
        /// What was asked for.
        samples: u32,
        /// The model's `max_batch`, or the samples of the last call that succeeded.
        most: u32,
    },
    /// No such tensor.
    #[error("{kind} {index} is asked for, the model has {count}")]
    TensorIndex {
        /// `input` or `output`.
        kind: &'static str,
        /// What was asked for, from 0.
        index: usize,
        /// How many there are.
        count: usize,
    },
}

/// A function that was active when a model trapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its index.
    pub function: u32,
    /// Where it was, as a position in the file that was compiled; `position_in_module` gives the one in the module.
    pub position: Option<usize>,
}

impl CallError {
    /// The functions that were active when the model trapped, the innermost first; none for other errors.
    pub fn frames(&self) -> &[Frame] {
        match self {
            CallError::Trap { frames, .. } | CallError::OutOfMemory { frames, .. } => frames,
            _ => &[],
        }
    }

    /// Whether the instance is of no more use, and a new one is needed.
    pub fn poisons(&self) -> bool {
        match self {
            CallError::Deadline { .. }
            | CallError::OutOfMemory { .. }
            | CallError::Stack { .. }
            | CallError::Trap { .. }
            | CallError::Engine(_)
            | CallError::Poisoned => true,
            CallError::Model { .. }
            | CallError::ReservedStatus { .. }
            | CallError::Pointer { .. }
            | CallError::Overlap { .. }
            | CallError::Dim { .. }
            | CallError::Batch { .. }
            | CallError::TensorIndex { .. } => false,
        }
    }
}

impl Coded for CallError {
    fn code(&self) -> Code {
        match self {
            CallError::Model { .. } => code::model::STATUS,
            CallError::ReservedStatus { .. } => code::model::STATUS_RESERVED,
            CallError::Deadline { .. } => code::model::DEADLINE,
            CallError::OutOfMemory { .. } => code::model::MEMORY,
            CallError::Stack { .. } => code::model::STACK,
            CallError::Trap { .. } => code::model::TRAP,
            CallError::Poisoned => code::model::POISONED,
            CallError::Engine(_) => code::model::ENGINE,
            CallError::Pointer { .. } | CallError::Overlap { .. } => code::model::POINTER,
            CallError::Dim { .. } => code::model::DIM,
            CallError::Batch { .. } => code::model::BATCH,
            CallError::TensorIndex { .. } => code::model::TENSOR_INDEX,
        }
    }
}

/// The end of a message about a trap: the model's own words.
fn says(message: &Option<String>) -> String {
    message.as_deref().map(|words| format!("; the model says: {words}")).unwrap_or_default()
}

/// What stopped a guest.
pub(crate) enum Stop {
    /// The epoch passed the deadline.
    Deadline,
    /// The stack is used up, at this place.
    Stack { place: String },
    /// Any other trap, of this kind, at this place.
    Trap { kind: String, place: String, frames: Box<[Frame]> },
    /// No trap: wasmtime itself failed.
    Host(String),
}

impl Stop {
    /// Tells traps apart by what wasmtime attached to them.
    pub(crate) fn of(error: &wasmtime::Error) -> Stop {
        let place = place(error);
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => Stop::Deadline,
            Some(Trap::StackOverflow) => Stop::Stack { place },
            Some(trap) => Stop::Trap { kind: trap.to_string(), place, frames: frames(error) },
            None => match error.downcast_ref::<OutsideMemory>() {
                Some(outside) => Stop::Trap { kind: outside.to_string(), place, frames: frames(error) },
                None => Stop::Host(format!("{error:#}")),
            },
        }
    }
}

/// The guest functions that were active.
fn frames(error: &wasmtime::Error) -> Box<[Frame]> {
    let trace = error.downcast_ref::<WasmBacktrace>().map_or(&[][..], WasmBacktrace::frames);
    trace
        .iter()
        .map(|frame| Frame { function: frame.func_index(), position: frame.module_offset() })
        .collect()
}

/// The innermost function of the module's own.
fn place(error: &wasmtime::Error) -> String {
    let frames = error.downcast_ref::<WasmBacktrace>().map(WasmBacktrace::frames).unwrap_or_default();
    let own = |frame: &&FrameInfo| !frame.func_name().is_some_and(names::is_helper);
    let Some(frame) = frames.iter().find(own) else { return String::new() };
    let name = frame.func_name().map(|name| format!(" ({})", names::function(name))).unwrap_or_default();
    format!(" in function {}{name}", frame.func_index())
}
