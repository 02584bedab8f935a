//! Preparing a release: its blobs from the store, each hashed again, to the data plane.

use dunlin_core::Digest;
use dunlin_core::code::Coded;
use dunlin_core::document::{AttachmentKind, Blob, Release};
use dunlin_core::update::{Event, Fault};

use crate::data::{DataError, DataPlane, Prepare};
use crate::store::{Store, StoreError};

/// What stands against a release.
#[derive(Debug)]
struct Failure {
    fault: Fault,
    code: String,
    detail: String,
}

impl Failure {
    fn new(fault: Fault, error: &(impl Coded + std::fmt::Display)) -> Failure {
        Failure { fault, code: error.code().id.to_string(), detail: error.to_string() }
    }
}

/// Prepares a release and tells what came of it.
pub(super) async fn prepare(store: &Store, data: &DataPlane, release: Digest, document: Release) -> Event {
    match try_prepare(store, data, release, document).await {
        Ok(()) => Event::Prepared { release },
        Err(Failure { fault, code, detail }) => Event::PrepareFailed { release, fault, code, detail },
    }
}

async fn try_prepare(
    store: &Store,
    data: &DataPlane,
    release: Digest,
    document: Release,
) -> Result<(), Failure> {
    let model = document.model.clone();
    let store = store.clone();
    let read = move || read(&store, release, document).map_err(|error| of_store(&error));
    let prepare = tokio::task::spawn_blocking(read).await.map_err(|error| {
        Failure::new(Fault::Device, &DataError::Ended(format!("a thread that read a release died: {error}")))
    })??;
    let prepared = data.prepare(prepare).await.map_err(|error| of_data(&error))?;
    tracing::info!(
        %model,
        release = %release.short(),
        compile_ms = prepared.compile_us / 1000,
        golden_vectors = prepared.golden_vectors,
        memory_bytes = prepared.memory_bytes,
        "prepared: admitted, compiled, golden answers right, loaded beside"
    );
    Ok(())
}

fn read(store: &Store, release: Digest, document: Release) -> Result<Prepare, StoreError> {
    let attachment = |kind: &AttachmentKind| {
        let read = |blob: &Blob| Ok(store.blob(&blob.digest, blob.size_bytes)?.into_bytes());
        document.attachment(kind).map(read).transpose()
    };
    let (golden, baseline) = (attachment(&AttachmentKind::Golden)?, attachment(&AttachmentKind::Baseline)?);
    let artifact = store.blob(&document.artifact.digest, document.artifact.size_bytes)?;
    Ok(Prepare { model: document.model.clone(), release, artifact, golden, baseline, document })
}

fn of_store(error: &StoreError) -> Failure {
    let fault = match error {
        StoreError::BlobMissing(_) | StoreError::BlobDamaged { .. } => Fault::Blob,
        StoreError::AlreadyRunning { .. }
        | StoreError::Full { .. }
        | StoreError::NoRoom { .. }
        | StoreError::Disk { .. }
        | StoreError::StateLost { .. }
        | StoreError::StateFormat { .. }
        | StoreError::StateTooLarge { .. }
        | StoreError::ChunkMisplaced { .. } => Fault::Device,
    };
    Failure::new(fault, error)
}

fn of_data(error: &DataError) -> Failure {
    let fault = match error {
        DataError::Ended(_) => Fault::Device,
        DataError::UnknownModel(_)
        | DataError::NotReady(_)
        | DataError::Busy { .. }
        | DataError::NotPrepared { .. }
        | DataError::Contract(_)
        | DataError::Input(_)
        | DataError::Model { .. } => Fault::Release,
    };
    Failure::new(fault, error)
}
