//! The data plane: models, behind messages. What runs in the worker.
//!
//! [`DataPlane`] is a handle that sends requests of plain data and awaits replies of plain data; what
//! stands behind it shares nothing with its callers and touches neither network nor disk. Inside, one
//! thread routes, one loads, and every instance has a thread of its own with a bounded queue:
//!
//! ```text
//! handle -> router -> instance thread (queue, validate, call, validate, reply, then observe drift)
//!                  -> load thread (map the machine code, instantiate, warm) -> router
//! ```
//!
//! A switch drops no request: the new instance takes what comes from then on, the old one answers what
//! it has, and ends. Loading never holds up inference. A failure of a model is an answer with a code,
//! never a failure of the thread.

mod golden;
mod input;
mod instance;
mod load;
mod message;
mod plane;
mod tally;

pub use input::InputError;
pub use message::{
    DataError, Description, DriftObservation, Infer, Inferred, Interval, Known, Load, MAX_REQUEST_SAMPLES,
    Observation, Phase, Prepared, Requests, Tensor,
};
pub use plane::{DataPlane, Policy};

pub(crate) use golden::prove;
