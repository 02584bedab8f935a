//! The processes that touch models, and control's side of them.
//!
//! Code that somebody signed may still be hostile. It runs where nothing is worth stealing:
//!
//! ```text
//! control ── socket ──► worker          serves: machine code, the local API's sockets, counters
//!   keys, network, disk  └ no key, no file, no new connection, few system calls
//!   │
//!   └─────── socket ──► compile child   admits, compiles and proves one release, and ends
//!                        └ the same, with bounds on memory and time
//! ```
//!
//! Both are the running program once more, with a hidden verb. They get what they need as open
//! descriptors: listening sockets, and memory files that are sealed so that nobody can change them any
//! more. What comes back is read as hostile input: bounded in length, and about releases that control
//! knows.
//!
//! A worker that dies is started again and gets the same memory files, while connections wait in the
//! system's queue. What it was doing when it died stands in the [flight record](Flight), which outlives
//! it: that is how a model is blamed.

mod build;
mod channel;
mod children;
mod code;
mod flight;
mod handle;
mod inherited;
mod isolation;
mod local;
mod message;
mod process;
mod restarts;
mod sealed;
mod seccomp;
mod supervisor;

pub use build::{Built, CompileBounds, Prepare, build_here};
pub use children::Program;
pub use flight::Flight;
pub use handle::{Died, Loadable, Settings, Worker};
pub use isolation::{Bounds, Layer, lock};
pub use local::{CompiledHere, compile_here};
pub use supervisor::GRACE;

pub(crate) use build::main as compile_child;
pub(crate) use flight::Place;
pub(crate) use inherited::close_inherited;
pub(crate) use process::main as worker;
pub(crate) use sealed::{create as memory_file, seal};

#[cfg(test)]
pub(crate) use sealed::file as sealed_file;
