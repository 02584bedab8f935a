//! The agent of a device: it pulls signed models over MQTT, verifies and runs them, and reports.

pub mod api;
mod command;
pub mod config;
mod control;
pub mod data;
mod error;
pub mod fetch;
pub mod outbox;
#[cfg(test)]
mod sim;
pub mod store;
pub mod telemetry;
pub mod worker;

pub use command::{Arguments, main, run, usage_message};
pub use error::AgentError;
