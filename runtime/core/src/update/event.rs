//! What happens to a device, what it does about it, and what it tells.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::digest::Digest;
use crate::document::{Audience, Blob};
use crate::id::ModelName;

/// Who is to blame when a release could not be prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The release: not admitted, a wrong golden answer, a trap. It is not tried again.
    Release,
    /// The device: too little memory or disk at the moment. It is tried again later.
    Device,
    /// A blob is missing from the store or damaged. It is fetched again.
    Blob,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The device has booted, or its agent was started; once, before any other event.
    Started,
    /// The agent is about to end in an orderly way.
    Stopping,
    /// A message on the watched root topic.
    RootArrived {
        /// Its bytes.
        envelope: Vec<u8>,
    },
    /// A message on the deployment topic of an audience.
    DeploymentArrived {
        /// The audience of the topic.
        audience: Audience,
        /// Its bytes.
        envelope: Vec<u8>,
    },
    /// A message on a release's topic.
    ReleaseArrived {
        /// The digest of the topic.
        digest: Digest,
        /// Its bytes.
        envelope: Vec<u8>,
    },
    /// Every blob that `FetchBlobs` asked for is in the store, with the right digest.
    BlobsArrived {
        /// The release.
        release: Digest,
    },
    /// The blobs could not be fetched; what came is kept.
    TransferFailed {
        /// The release.
        release: Digest,
        /// The stable code of the reason.
        code: String,
        /// What happened, for people.
        detail: String,
    },
    /// Blobs do not come; the transfer goes on.
    TransferStalled {
        /// The release.
        release: Digest,
        /// The stable code of the reason.
        code: String,
        /// What is missing, for people.
        detail: String,
    },
    /// Blobs come again.
    TransferResumed {
        /// The release.
        release: Digest,
    },
    /// The release was admitted and compiled, gave its golden answers, and is loaded beside.
    Prepared {
        /// The release.
        release: Digest,
    },
    /// It was not; nothing of it is loaded.
    PrepareFailed {
        /// The release.
        release: Digest,
        /// Who is to blame.
        fault: Fault,
        /// The stable code of the reason.
        code: String,
        /// What happened, for people.
        detail: String,
    },
    /// What a release did since the last observation of it.
    Observed {
        /// The release.
        release: Digest,
        /// Inferences that gave a valid answer.
        served: u64,
        /// Inferences that failed by the model's own fault.
        failed: u64,
    },
    /// The worker died, and another one took its place. It has everything that the one before had, except
    /// the suspects.
    WorkerDied {
        /// Releases that were in a call, or that could not be loaded again. They are not loaded any more.
        suspects: Vec<Digest>,
        /// The stable code of the reason.
        code: String,
        /// What happened, for people.
        detail: String,
    },
    /// A release turned out not to be loaded. Nothing is held against it.
    Unloaded {
        /// The release.
        release: Digest,
    },
    /// A second passed.
    Ticked,
}

/// What the shell must do. The order within one step is part of the promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Store the envelope of a root under its version.
    StoreRoot {
        /// The version.
        version: u64,
        /// The envelope.
        envelope: Vec<u8>,
    },
    /// Store the envelope of a deployment or release under the digest of its body.
    StoreDocument {
        /// The digest.
        digest: Digest,
        /// The envelope.
        envelope: Vec<u8>,
    },
    /// Commit [`super::Device::state`]; when that fails, stop.
    Persist,
    /// Be subscribed to this version of the root, and to no other.
    WatchRoot {
        /// The version.
        version: u64,
    },
    /// Be subscribed to the deployments of these audiences, and of no others; subscribe anew even
    /// where a subscription stands.
    WatchDeployments {
        /// The audiences.
        audiences: Vec<Audience>,
    },
    /// Subscribe to a release's document, anew even where a subscription stands, until it arrives.
    FetchRelease {
        /// The digest of its body.
        digest: Digest,
    },
    /// Bring these blobs into the store.
    FetchBlobs {
        /// The release that they belong to.
        release: Digest,
        /// The blobs; those that the store has need no fetching.
        blobs: Vec<Blob>,
        /// How long to wait before the first request, in milliseconds.
        delay_ms: u64,
    },
    /// Stop fetching the document or the blobs of this release. What `FetchBlobs` before it led to is not
    /// reported any more.
    CancelFetch {
        /// The release.
        release: Digest,
    },
    /// Admit, compile, check the golden answers, and load beside what runs.
    Prepare {
        /// The release; [`super::Device::release`] has its document.
        release: Digest,
    },
    /// Let requests to the model go to this release, which is loaded. The one that served before
    /// answers what it has and is unloaded.
    Switch {
        /// The model.
        model: ModelName,
        /// The release.
        release: Digest,
    },
    /// Answer requests to the model with "unavailable". The release that served answers what it has
    /// and is unloaded.
    Stop {
        /// The model.
        model: ModelName,
    },
    /// Forget the model: requests to it are answered with "unknown", and all of it is unloaded.
    Forget {
        /// The model.
        model: ModelName,
    },
    /// Unload the release, which is loaded beside, or stop preparing it. What `Prepare` before it led to is
    /// not reported any more.
    Discard {
        /// The release.
        release: Digest,
    },
    /// Delete every stored document and blob but these.
    CleanUp {
        /// Digests of bodies.
        keep_documents: Vec<Digest>,
        /// Digests of blobs.
        keep_blobs: Vec<Digest>,
    },
    /// Put this into an `event` record.
    Report(Occurrence),
}

/// What a refusal is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A root.
    Root,
    /// A deployment for an audience.
    Deployment(Audience),
    /// A release, by its digest.
    Release(Digest),
    /// What a deployment wants of a model.
    Model(ModelName),
    /// The device's own state.
    Device,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Root => f.write_str("the root"),
            Subject::Deployment(audience) => write!(f, "the deployment for {audience}"),
            Subject::Release(digest) => write!(f, "release {}", digest.short()),
            Subject::Model(model) => write!(f, "model {model}"),
            Subject::Device => f.write_str("the device"),
        }
    }
}

/// What an event record of the telemetry tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Occurrence {
    /// A new root is trusted.
    RootAccepted {
        /// Its version.
        version: u64,
    },
    /// A new deployment is followed.
    DeploymentAccepted {
        /// Whom it is for.
        audience: Audience,
        /// Its sequence.
        sequence: u64,
        /// The digest of its body.
        digest: Digest,
    },
    /// Something was refused; told at most once an hour per code and subject.
    Refused {
        /// The stable code.
        code: String,
        /// What was wanted and what came.
        detail: String,
        /// What was refused.
        what: Subject,
        /// How often, since it was last told.
        count: u64,
    },
    /// A release passed its golden answers and begins its trial.
    Installed {
        /// The model.
        model: ModelName,
        /// The digest of the release's body.
        release: Digest,
        /// The release's counter.
        counter: u64,
        /// The release's version.
        version: String,
    },
    /// Requests go to another release.
    Switched {
        /// The model.
        model: ModelName,
        /// The release before, in this boot.
        from: Option<Digest>,
        /// The release now.
        to: Digest,
        /// Its version.
        version: String,
    },
    /// A release passed its trial.
    Proven {
        /// The model.
        model: ModelName,
        /// The release.
        release: Digest,
    },
    /// A release was given up for the one before, or for nothing.
    RolledBack {
        /// The model.
        model: ModelName,
        /// The release that was given up.
        from: Digest,
        /// The release that takes its place.
        to: Option<Digest>,
        /// The stable code of the reason.
        code: String,
        /// What happened.
        detail: String,
    },
    /// A model was removed by a deployment.
    Removed {
        /// The model.
        model: ModelName,
    },
    /// A person should look at this.
    Alarm {
        /// The stable code.
        code: String,
        /// What happened.
        detail: String,
        /// What it is about.
        what: Subject,
    },
}
