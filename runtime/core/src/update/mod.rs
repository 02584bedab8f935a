//! Choosing what a device runs: acceptance of documents, and the machine of installs and rollbacks.
//!
//! [`Device`] is a pure state machine. A shell gives it [`Event`]s with the time and luck of the
//! moment ([`Now`]) and does the [`Action`]s that come back, in order: first `StoreRoot` and
//! `StoreDocument`, then `Persist` (of [`Device::state`]), and only then whatever anybody else can
//! see. A power cut between any two of them leaves a state that [`Device::restore`] continues from.
//!
//! ```text
//! shell                                            Device
//!   restore(identity, state, root, documents)  ->
//!   step(now, Started)                         ->  Persist, WatchRoot, WatchDeployments, Prepare…
//!   step(now, DeploymentArrived{…})            ->  StoreDocument, Persist, FetchRelease, Report
//!   step(now, ReleaseArrived{…})               ->  StoreDocument, Persist, FetchBlobs
//!   step(now, BlobsArrived{release})           ->  Persist, Prepare
//!   step(now, Prepared{release})               ->  Persist, Switch, Report
//!   step(now, Observed{release, …})            ->  (probation passed) Persist, Discard, CleanUp, Report
//!                                                  (probation failed) Persist, Switch, Discard, Report
//!   step(now, Ticked), once a second           ->  retries and probation by time
//! ```
//!
//! Per model a release goes `Fetching -> Preparing -> Trial -> active`; the one before stays installed
//! as `previous`. During a trial the active one is loaded again beside it, so that the way back needs
//! nothing but a switch.
//! [`acceptance`] holds the pure judgements, `machine` what follows from them.

pub mod acceptance;
mod attempts;
mod clock;
mod cohort;
mod event;
mod machine;
mod refusal;
mod refusals;
mod roster;
mod site;
mod state;

pub use attempts::{Attempt, Attempts};
pub use clock::{Clock, Now};
pub use cohort::{bucket, in_cohort};
pub use event::{Action, Event, Fault, Occurrence, Subject};
pub use machine::{Device, Freshness, Identity, RestoreError, Standing, device_blobs, kept_blobs};
pub use refusal::{NoPrecompiled, Refusal};
pub use refusals::Refusals;
pub use roster::Roster;
pub use site::SitePolicy;
pub use state::{
    AcceptedSequence, DeviceState, Installed, MAX_AUDIENCES, MAX_BAD, MAX_DEVICE_MODELS,
    MAX_MACHINE_BOOT_BYTES, MAX_STATE_BYTES, MAX_TRIAL_REBOOTS, MAX_TRIAL_STARTS, MAX_VERSION_BYTES,
    ModelState, Next, STATE_FORMAT, Stage,
};
