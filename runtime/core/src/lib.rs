//! Dunlin's decisions: documents, trust, transfer, update, health and drift.
//!
//! Nothing here knows a clock, a file, a socket, a thread or luck: time and randomness are arguments,
//! and what must happen comes back as values for a shell to do. `no_std` makes that a fact of the
//! compiler. Device and operator share this crate, so that they cannot disagree about a byte.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod artifact;
pub mod chunk;
pub mod code;
mod digest;
pub mod document;
pub mod drift;
pub mod enrolment;
pub mod envelope;
#[cfg(test)]
mod fixture;
mod flat;
pub mod golden;
pub mod health;
pub mod hex;
pub mod id;
mod json;
pub mod key;
pub mod precompiled;
pub mod telemetry;
mod text;
pub mod topic;
pub mod transfer;
pub mod trust;
pub mod update;

pub use artifact::{ArtifactError, VerifiedArtifact};
pub use digest::{Digest, DigestError, Hasher};
