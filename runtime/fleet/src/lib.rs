//! The operator's side of Dunlin: a fleet's folder, its releases and deployments, and what its
//! devices report.
//!
//! Everything that is signed is made here from a folder of plain files and published through
//! [`dunlin_mqtt`]. The rules of the documents are [`dunlin_core`]'s, so that a device cannot see them
//! otherwise. Nothing here prints: callers get values, and progress by callback.

mod attempt;
pub mod ceremony;
pub mod connection;
pub mod consumer;
pub mod deploy;
pub mod devices;
pub mod doctor;
pub mod enroll;
pub mod evaluate;
pub mod file;
pub mod folder;
pub mod golden;
pub mod key;
pub mod publish;
pub mod registry;
pub mod release;
mod remedy;
pub mod retention;
pub mod run;
pub mod session;
pub mod signing;
pub mod tail;
pub mod tensor;

#[cfg(test)]
mod fixture;

pub use folder::{Fleet, FolderError};
pub use session::Session;
