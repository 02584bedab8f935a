//! Write a Dunlin model by hand: one declaration makes the exports and the card.
//!
//! [`model!`] names the tensors; the model itself is one plain method over typed views of the memory
//! that the host writes and reads, so it also runs and is tested natively. Nothing is copied,
//! nothing is allocated, and there is no dependency. Everything that ABI 1 (`docs/abi.md`) asks of a
//! module comes from the macro, and only where the target is wasm32:
//!
//! ```
//! /// A first-order low-pass filter.
//! pub struct Smoother {
//!     mean: f32,
//! }
//!
//! dunlin_guest::model! {
//!     Smoother = Smoother { mean: 0.0 };
//!     state: stream;
//!     max_batch: 1;
//!     inputs {
//!         temperature: f32[], unit "degC", range -40.0..=125.0;
//!     }
//!     outputs {
//!         smooth: f32[], unit "degC", meaning value;
//!     }
//! }
//!
//! impl Smoother {
//!     fn infer(&mut self, inputs: Inputs<'_>, outputs: Outputs<'_>) -> Result<(), dunlin_guest::Failure> {
//!         self.mean += (inputs.temperature - self.mean) / 16.0;
//!         *outputs.smooth = self.mean;
//!         Ok(())
//!     }
//! }
//! # fn main() {
//! # let (mut model, mut smooth) = (Smoother { mean: 0.0 }, 0.0);
//! # model.infer(Inputs { temperature: &16.0 }, Outputs { smooth: &mut smooth }).unwrap();
//! # assert_eq!(smooth, 1.0);
//! # }
//! ```
//!
//! A panic becomes a trap whose message the host reads through `dunlin_error`; the panic handler
//! comes with this crate, so a guest is `#![cfg_attr(target_arch = "wasm32", no_std)]`.
//! [`log!`], [`metric`] and [`clock`] are imports of the module only if the model calls them, and
//! then the signed release must grant them.
#![no_std]

mod card;
mod failure;
mod host;
mod json;
mod memory;
mod message;
mod model;
#[cfg(target_arch = "wasm32")]
mod panic;
#[cfg(not(target_arch = "wasm32"))]
mod recording;
mod rows;

pub use failure::Failure;
pub use host::{Level, clock, metric};
#[cfg(not(target_arch = "wasm32"))]
pub use recording::Recording;
pub use rows::Rows;

/// What the expansion of [`model!`] needs. Not for people: it may change with any version.
#[doc(hidden)]
pub mod rt {
    pub use crate::card::{Card, DType, Range, STACK_BYTES, Simd, State, Tensor};
    pub use crate::failure::{prepared_again, status};
    pub use crate::host::log;
    pub use crate::memory::{Cell, Plain, Region, samples, samples_mut};
    pub use crate::message::Message;
    #[cfg(target_arch = "wasm32")]
    pub use crate::panic::message_address;
}
