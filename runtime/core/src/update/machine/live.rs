//! What a device knows of a model in this boot only: what is loaded, fetched or waiting.

use alloc::collections::BTreeMap;
use alloc::string::String;

use super::deaths::MAX_CRASHES;
use crate::code::Code;
use crate::digest::Digest;
use crate::document::{AttachmentKind, Blob, Release};

/// How far a release of the state is in this boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    /// Its blobs are being fetched.
    Fetching,
    /// It is being prepared.
    Preparing,
    /// It is loaded.
    Ready,
    /// To be fetched again at this moment, in monotonic milliseconds.
    FetchAt(u64),
    /// To be prepared again at this moment, in monotonic milliseconds.
    PrepareAt(u64),
}

/// A release of the state, in this boot. A release without an entry is idle.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    pub(super) load: Load,
    /// Failed attempts in a row.
    pub(super) attempts: u32,
    /// What keeps it from going on; an alarm for as long as it lasts.
    pub(super) trouble: Option<Trouble>,
}

/// What keeps a release from going on.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) code: Code,
    pub(super) detail: String,
}

/// A trial, as far as this boot has seen it.
#[derive(Clone, Copy, Debug)]
pub(super) struct TrialRun {
    pub(super) since_ms: u64,
    pub(super) served: u64,
    pub(super) failed: u64,
}

/// A model, in this boot.
#[derive(Clone, Debug, Default)]
pub(super) struct Live {
    /// The release that requests go to.
    pub(super) running: Option<Digest>,
    pub(super) progress: BTreeMap<Digest, Progress>,
    pub(super) trial: Option<TrialRun>,
    /// Deaths of the active release's worker, in this boot.
    pub(super) crashes: u32,
    /// Until when the release on its way is held back, in monotonic milliseconds.
    pub(super) held_until_ms: u64,
}

impl Live {
    pub(super) fn load(&self, release: &Digest) -> Option<Load> {
        self.progress.get(release).map(|progress| progress.load)
    }

    pub(super) fn is_ready(&self, release: &Digest) -> bool {
        self.load(release) == Some(Load::Ready)
    }

    /// Moves a release on; its failed attempts stay counted, and its trouble stands, until it is ready.
    pub(super) fn set(&mut self, release: Digest, load: Load) {
        let progress = self.progress.entry(release).or_insert(Progress { load, attempts: 0, trouble: None });
        progress.load = load;
        if load == Load::Ready {
            (progress.attempts, progress.trouble) = (0, None);
        }
    }

    pub(super) fn set_trouble(&mut self, release: &Digest, trouble: Option<Trouble>) {
        if let Some(progress) = self.progress.get_mut(release) {
            progress.trouble = trouble;
        }
    }

    /// How long to wait before the next attempt, the more of them failed, or the more workers died of the
    /// active release: 5 s doubled with each failure up to an hour, of
    /// which a random half, so that a fleet does not come back as one.
    pub(super) fn back_off_ms(&mut self, release: Digest, random: u64) -> u64 {
        let fresh = Progress {
            load: Load::Preparing,
            attempts: self.crashes.saturating_sub(MAX_CRASHES),
            trouble: None,
        };
        let progress = self.progress.entry(release).or_insert(fresh);
        progress.attempts = progress.attempts.saturating_add(1);
        let full = 5_000u64.saturating_mul(1 << progress.attempts.min(16).saturating_sub(1)).min(3_600_000);
        full / 2 + random % (full / 2)
    }
}

/// The blobs of a release that a device fetches: the module, what judges it, and the variant that the
/// device runs, if it runs one. The model card and the provenance are for people.
pub fn device_blobs<'r>(release: &'r Release, variant: Option<&'r Blob>) -> impl Iterator<Item = &'r Blob> {
    let wanted = |kind: &AttachmentKind| match kind {
        AttachmentKind::Golden | AttachmentKind::Baseline => true,
        AttachmentKind::ModelCard | AttachmentKind::Provenance | AttachmentKind::Precompiled { .. } => false,
    };
    let attachments = release.attachments.iter().filter(move |attachment| wanted(&attachment.kind));
    core::iter::once(&release.artifact).chain(attachments.map(|attachment| &attachment.blob)).chain(variant)
}

/// The blobs of a release that may be on a device, which a clean-up leaves alone: those that it fetches, and
/// whichever variant it took.
pub fn kept_blobs(release: &Release) -> impl Iterator<Item = &Blob> {
    device_blobs(release, None).chain(release.variants().map(|(_, _, blob)| blob))
}
