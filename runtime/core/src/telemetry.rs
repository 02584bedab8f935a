//! Telemetry: the records that a device publishes, plain JSON, one object a message.
//!
//! Every record starts with the same [`Header`], so that `(device, boot, seq)` names it: consumers find
//! gaps by the sequence and drop what came twice. Records hold counts and verdicts, never inputs or
//! outputs. Readers ignore fields that they do not know, since devices are updated at different times;
//! a field never changes its meaning or its unit. `docs/telemetry.md` shows one of each.

mod boot;
mod record;
#[cfg(test)]
mod tests;

pub use boot::{BootId, BootIdError};
pub use record::{
    Clock, Drift, Dropped, EventRecord, Header, Health, MAX_METRICS, ModelHealth, Presence, PresenceState,
    Record, SCHEMA, TelemetryError,
};
