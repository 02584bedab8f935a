//! Preparing a release: its machine code from the compiled cache, or else from its blobs, each hashed
//! again, through the process that compiles and proves; then to the worker.

use std::time::Instant;

use dunlin_core::Digest;
use dunlin_core::code::Coded;
use dunlin_core::document::{AttachmentKind, Blob, Release};
use dunlin_core::update::{Event, Fault, Refusal, device_blobs};
use dunlin_sandbox::{Engine, EngineConfig};

use crate::data::{DataError, Policy};
use crate::store::{NativeKey, Store, StoreError};
use crate::worker::{self, Built, Loadable, Prepare, Worker};

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

/// Stands for the engine of this program in the compiled cache; `None` where nothing is compiled.
///
/// # Errors
/// The engine does not start on this machine.
pub(super) fn fingerprint() -> Result<Option<Digest>, DataError> {
    let engine = Engine::new(EngineConfig::default()).map_err(|error| DataError::model(&error))?;
    #[cfg(feature = "compiler")]
    let fingerprint = Some(engine.fingerprint());
    #[cfg(not(feature = "compiler"))]
    let fingerprint = (drop(engine), None).1;
    Ok(fingerprint)
}

/// Where releases are prepared.
pub(super) struct Workshop {
    pub(super) store: Store,
    pub(super) worker: Worker,
    pub(super) policy: Policy,
    pub(super) engine: Option<Digest>,
    /// The variant of the release that is run, where this device does not compile, or why there is none.
    pub(super) variant: Result<Option<Blob>, Refusal>,
}

impl Workshop {
    /// Prepares a release and tells what came of it.
    pub(super) async fn prepare(self, release: Digest, document: Release) -> Event {
        match self.try_prepare(release, document).await {
            Ok(()) => Event::Prepared { release },
            Err(Failure { fault, code, detail }) => Event::PrepareFailed { release, fault, code, detail },
        }
    }

    async fn try_prepare(&self, release: Digest, document: Release) -> Result<(), Failure> {
        if self.worker.loaded(release).await.map_err(|error| of_data(&error))?.is_some() {
            return Ok(());
        }
        let started = Instant::now();
        let model = document.model.clone();
        // Which code others have compiled may be run is decided anew at every start: it is not cached.
        let key = self.engine.map(|engine| NativeKey { release, engine, limits: limits(self.policy) });
        let recalled = match &key {
            Some(key) => self.recall(key, document.clone()).await?,
            None => None,
        };
        let (load, cached) = match recalled {
            Some(load) => (load, true),
            None => (self.make(release, key, document).await?, false),
        };
        let artifact = load.document.artifact.clone();
        let prepared = self.worker.load(load).await.map_err(|error| of_data(&error))?;
        if cached {
            self.look_after(artifact);
        }
        tracing::info!(
            %model,
            release = %release.short(),
            cached,
            took_us = started.elapsed().as_micros(),
            compile_ms = prepared.compile_us / 1000,
            load_us = prepared.instantiate_us,
            golden_vectors = prepared.golden_vectors,
            memory_bytes = prepared.memory_bytes,
            "prepared: admitted, compiled, golden answers right, loaded beside"
        );
        Ok(())
    }

    /// From the compiled cache, where it has the release.
    async fn recall(&self, key: &NativeKey, document: Release) -> Result<Option<Loadable>, Failure> {
        let (store, key) = (self.store.clone(), *key);
        let recall = move || -> Result<Option<Loadable>, StoreError> {
            // A release of which a file is gone is fetched again, though its code is here.
            for blob in device_blobs(&document, None) {
                if !store.has_blob(&blob.digest, blob.size_bytes)? {
                    return Ok(None);
                }
            }
            let no_memory = |error| StoreError::io("map", store.dir(), &error);
            let mut code = worker::memory_file("dunlin-code").map_err(no_memory)?;
            let head = match store.native(&key, &mut code) {
                Ok(Some(head)) => head,
                Ok(None) => return Ok(None),
                // The cache is disposable, whatever is wrong with it.
                Err(error) => {
                    tracing::warn!(code = %error.code(), "machine code is made again: {error}");
                    return Ok(None);
                }
            };
            worker::seal(&code).map_err(no_memory)?;
            // A head that a MAC vouches for and that does not parse is of another version.
            let Ok(built) = serde_json::from_slice::<Built>(&head) else { return Ok(None) };
            let baseline = attachment(&store, &document, &AttachmentKind::Baseline)?;
            let model = document.model.clone();
            Ok(Some(Loadable { model, release: key.release, document, built, code, baseline }))
        };
        tokio::task::spawn_blocking(recall).await.map_err(lost_thread)?.map_err(|error| of_store(&error))
    }

    /// Hashes a module that was not needed, beside what serves: one that has rotted is removed, so that it
    /// is fetched again at the next start and not missed on the day on which the code must be made anew.
    fn look_after(&self, artifact: Blob) {
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = store.blob(&artifact.digest, artifact.size_bytes) {
                tracing::warn!(code = %error.code(), "a module that serves from the compiled cache: {error}");
            }
        });
    }

    /// From the module, compiled and proven, and kept for the next start; or from the variant, proven.
    async fn make(
        &self,
        release: Digest,
        key: Option<NativeKey>,
        document: Release,
    ) -> Result<Loadable, Failure> {
        let store = self.store.clone();
        // It is no fault of the release: another root, or the site's word, may heal it.
        let variant = self.variant.clone().map_err(|refusal| Failure::new(Fault::Device, &refusal))?;
        let read = move || read(&store, release, document, variant).map_err(|error| of_store(&error));
        let prepare = tokio::task::spawn_blocking(read).await.map_err(lost_thread)??;
        let (model, document) = (prepare.model.clone(), prepare.document.clone());
        let baseline = prepare.baseline.clone();
        let (built, code) = self.worker.build(prepare).await.map_err(|error| of_data(&error))?;
        let store = self.store.clone();
        let load = Loadable { model, release, document, built, code, baseline };
        let Some(key) = key else { return Ok(load) };
        let keep = move || {
            let kept = serde_json::to_vec(&load.built)
                .map_err(|error| StoreError::io("write", store.dir(), &error.into()))
                .and_then(|head| store.keep_native(&key, &head, &load.code));
            if let Err(error) = kept {
                tracing::warn!(code = %error.code(), "machine code is not kept: {error}");
            }
            load
        };
        tokio::task::spawn_blocking(keep).await.map_err(lost_thread)
    }
}

#[allow(clippy::needless_pass_by_value, reason = "it is what a join gives")]
fn lost_thread(error: tokio::task::JoinError) -> Failure {
    Failure::new(Fault::Device, &DataError::Ended(format!("a thread that read a release died: {error}")))
}

/// Stands for the device's own bounds in the compiled cache.
fn limits(policy: Policy) -> Digest {
    let Policy { memory_bytes, deadline_us, .. } = policy;
    let mut bytes = memory_bytes.to_le_bytes().to_vec();
    bytes.extend_from_slice(&deadline_us.to_le_bytes());
    Digest::of(&bytes)
}

fn attachment(
    store: &Store,
    document: &Release,
    kind: &AttachmentKind,
) -> Result<Option<Vec<u8>>, StoreError> {
    let read = |blob: &Blob| Ok(store.blob(&blob.digest, blob.size_bytes)?.into_bytes());
    document.attachment(kind).map(read).transpose()
}

fn read(
    store: &Store,
    release: Digest,
    document: Release,
    variant: Option<Blob>,
) -> Result<Prepare, StoreError> {
    let golden = attachment(store, &document, &AttachmentKind::Golden)?;
    let baseline = attachment(store, &document, &AttachmentKind::Baseline)?;
    let artifact = store.blob(&document.artifact.digest, document.artifact.size_bytes)?;
    let variant = variant.map(|blob| store.blob(&blob.digest, blob.size_bytes)).transpose()?;
    Ok(Prepare { model: document.model.clone(), release, artifact, variant, golden, baseline, document })
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
        | DataError::Sequence(_)
        | DataError::Model { .. } => Fault::Release,
    };
    Failure::new(fault, error)
}
