//! The data plane: models, behind messages. What runs in the worker.
//!
//! [`DataPlane`] is a handle that sends requests of plain data and awaits replies of plain data; what
//! stands behind it touches neither network nor disk. Inside, one thread routes what changes, one loads, and
//! every release has a bounded queue with one thread or more behind it. Requests go to the queue of the
//! release that serves without a stop at the router, by a table that the router writes:
//!
//! ```text
//! handle -> router -> load thread (map the machine code, instantiate, warm) -> router -> table
//! handle -> table -> queue -> instance thread (validate, call, validate, reply, then observe drift)
//! ```
//!
//! A quick model with nothing in its queue is called on the caller's own thread; see `pace`.
//!
//! A model without state has as many threads as the policy says, each with an instance. A model of state
//! `stream` has one thread, and an instance for each stream that is open.
//!
//! A switch drops no request: the new release takes what comes from then on, the old one answers what
//! it has, and ends. Loading never holds up inference. A failure of a model is an answer with a code,
//! never a failure of the thread.

mod golden;
mod input;
mod instance;
mod instances;
mod load;
mod message;
mod pace;
mod plane;
mod queue;
mod running;
mod seats;
mod sequence;
mod streams;
mod table;
mod tally;

pub use input::InputError;
pub use message::{
    DataError, Description, DriftObservation, Infer, Inferred, Interval, Known, Load, MAX_REQUEST_SAMPLES,
    Observation, Phase, Prepared, Requests, Tensor,
};
pub use plane::{DataPlane, Policy};
pub use sequence::{MAX_SEQUENCE_ID_BYTES, Sequence, SequenceError, SequenceId, WhyLost};

pub(crate) use golden::prove;
pub(crate) use load::load_sealed;
pub(crate) use plane::STACK_BYTES;
pub(crate) use seats::API_THREADS;
