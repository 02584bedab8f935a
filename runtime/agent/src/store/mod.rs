//! The store: everything that a device keeps on disk.
//!
//! ```text
//! lock                       flock: one agent a folder
//! trust/<n>.json             roots, as they came
//! docs/<sha256>.json         releases and deployments, as they came, by the digest of their body
//! state/a  state/b           two preallocated slots: the only mutable truth
//! state/proven               a copy of what is proven, for the day on which both are damaged
//! blobs/<sha256>             artifacts and attachments; immutable
//! blobs/<sha256>.map         the chunks that they were pulled in
//! partial/<sha256>.part      a blob on its way, preallocated
//! partial/<sha256>.map       its chunks, and a bit for each that is in `.part`
//! native/…                   machine code of releases, a cache
//! ballast                    1 MiB that goes when the disk is full, so that documents can be stored
//! ```
//!
//! Whenever the power goes: a state whose commit returned is never lost, and no older one comes in its
//! place; a file under `blobs/` has the digest that it is named by; a bit in a map never precedes its
//! chunk. File names are made of numbers and [`Digest`]s alone, never of text from outside.
//!
//! Every method may wait for the disk: on an async thread, call it through `spawn_blocking`.

mod error;
#[cfg(test)]
pub(crate) mod faulty;
mod fs;
mod native;
mod partial;
mod preview;
mod reuse;
mod slot;
mod state;
#[cfg(test)]
mod tests;

pub use error::StoreError;
pub use native::NativeKey;
pub use partial::Partial;
pub use state::read_state;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use dunlin_core::document::Release;
use dunlin_core::envelope::MAX_ENVELOPE_BYTES;
use dunlin_core::trust::{TrustedRoot, Verified};
use dunlin_core::update::{DeviceState, ModelState, kept_blobs};
use dunlin_core::{Digest, VerifiedArtifact};
use rustix::fs::{FlockOperation, flock};

use fs::{Fs, FsFile, RealFs};
use state::Slots;

const FOLDERS: [&str; 6] = ["trust", "docs", "state", "blobs", "partial", "native"];

/// A device's folder. Clones are handles of the same one.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    fs: Box<dyn Fs>,
    dir: PathBuf,
    slots: Mutex<Slots>,
    /// The copy of what is proven, as it was put in place last.
    proven: Mutex<Option<DeviceState>>,
    /// Held open as long as the store lives; the system frees the lock with it.
    _lock: Option<File>,
    ballast_bytes: u64,
    /// What was found damaged and has not been taken by [`Store::take_damage`].
    damage: Mutex<Vec<String>>,
}

/// The most findings that are kept until they are taken.
const MAX_DAMAGE: usize = 64;

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Store").field(&self.0.dir).finish()
    }
}

impl Store {
    /// Opens a device's folder, or makes one, and locks it until the last handle is dropped.
    ///
    /// # Errors
    /// [`StoreError::AlreadyRunning`] if another agent has it open; the disk.
    pub fn open(dir: &Path) -> Result<Store, StoreError> {
        RealFs.create_dir(dir).map_err(|error| StoreError::io("make the folder", dir, &error))?;
        let lock = lock(dir)?;
        Store::with(Box::new(RealFs), dir, Some(lock), BALLAST_BYTES)
    }

    /// Opens the folder as it is, also beside an agent that runs in it; what is written to it stays in memory.
    ///
    /// # Errors
    /// As [`Store::open`], where a start could not make or read what it needs.
    pub(crate) fn preview(dir: &Path) -> Result<Store, StoreError> {
        let fs = preview::PreviewFs::default();
        fs.create_dir(dir).map_err(|error| StoreError::io("make the folder", dir, &error))?;
        Store::with(Box::new(fs), dir, None, BALLAST_BYTES)
    }

    /// Whether an agent runs in the folder.
    pub(crate) fn is_in_use(dir: &Path) -> bool {
        let Ok(file) = File::open(dir.join("lock")) else { return false };
        matches!(flock(&file, FlockOperation::NonBlockingLockShared), Err(rustix::io::Errno::WOULDBLOCK))
    }

    pub(crate) fn with(
        fs: Box<dyn Fs>,
        dir: &Path,
        lock: Option<File>,
        ballast_bytes: u64,
    ) -> Result<Store, StoreError> {
        let mut damage = Vec::new();
        for folder in FOLDERS {
            make_folder(&*fs, dir, folder, &mut damage)?;
        }
        fs.sync_dir(dir).map_err(|error| StoreError::io("sync the folder", dir, &error))?;
        let slots = Mutex::new(Slots::open(&*fs, &dir.join("state"), &mut damage)?);
        let inner = Inner {
            fs,
            dir: dir.to_path_buf(),
            slots,
            proven: Mutex::default(),
            _lock: lock,
            ballast_bytes,
            damage: Mutex::new(damage),
        };
        let store = Store(Arc::new(inner));
        let copy = store.proven()?;
        if copy.is_some() {
            store.expect_a_state();
        }
        *store.0.proven.lock().unwrap_or_else(PoisonError::into_inner) = copy;
        store.take_ballast();
        Ok(store)
    }

    /// Keeps a finding until it is taken.
    fn note_damage(&self, finding: String) {
        let mut damage = self.0.damage.lock().unwrap_or_else(PoisonError::into_inner);
        if damage.len() < MAX_DAMAGE && !damage.contains(&finding) {
            damage.push(finding);
        }
    }

    /// What was found damaged since this was asked last, for people: each names a file.
    pub fn take_damage(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.damage.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    fn fs(&self) -> &dyn Fs {
        &*self.0.fs
    }

    fn path(&self, folder: &str, name: &str) -> PathBuf {
        self.0.dir.join(folder).join(name)
    }

    /// Stores the envelope of a root; durable when it returns.
    ///
    /// # Errors
    /// The disk.
    pub fn store_root(&self, version: u64, envelope: &[u8]) -> Result<(), StoreError> {
        self.replace("trust", &format!("{version}.json"), envelope)
    }

    /// The envelope of a root.
    ///
    /// # Errors
    /// The disk.
    pub fn root(&self, version: u64) -> Result<Option<Vec<u8>>, StoreError> {
        self.read_envelope(&self.path("trust", &format!("{version}.json")))
    }

    /// Every stored root that can be read and that is the one of its file's name, the oldest first.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn roots(&self) -> Result<Vec<TrustedRoot>, StoreError> {
        let names = self.names("trust")?;
        let mut versions: Vec<u64> =
            names.iter().filter_map(|name| name.strip_suffix(".json")?.parse().ok()).collect();
        versions.sort_unstable();
        Ok(versions.into_iter().filter_map(|version| self.sound_root(version)).collect())
    }

    fn sound_root(&self, version: u64) -> Option<TrustedRoot> {
        let damaged = |reason: String| self.note_damage(format!("trust/{version}.json: {reason}"));
        match self.root(version) {
            Ok(Some(envelope)) => match TrustedRoot::enrolled(&envelope) {
                Ok(root) if root.version() == version => return Some(root),
                Ok(root) => damaged(format!("it holds root {}", root.version())),
                Err(error) => damaged(error.to_string()),
            },
            Ok(None) => {}
            Err(error) => damaged(error.to_string()),
        }
        None
    }

    /// Stores the envelope of a document under the digest of its body; durable when it returns.
    ///
    /// # Errors
    /// The disk.
    pub fn store_document(&self, digest: &Digest, envelope: &[u8]) -> Result<(), StoreError> {
        self.replace("docs", &format!("{digest}.json"), envelope)
    }

    /// The envelope of a document.
    ///
    /// # Errors
    /// The disk.
    pub fn document(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        self.read_envelope(&self.path("docs", &format!("{digest}.json")))
    }

    /// Whether there is a blob of this name and length. [`Store::blob`] tells whether it is sound.
    ///
    /// # Errors
    /// The disk.
    pub fn has_blob(&self, digest: &Digest, size_bytes: u64) -> Result<bool, StoreError> {
        let path = self.path("blobs", &digest.to_string());
        let Some(file) = self.open_existing(&path)? else { return Ok(false) };
        let found = file.size_bytes().map_err(|error| StoreError::io("measure", &path, &error))?;
        Ok(found == size_bytes)
    }

    /// Reads a blob and hashes it again. A file that is not what its name says is removed, so that the
    /// blob can be fetched again.
    ///
    /// # Errors
    /// [`StoreError::BlobMissing`], [`StoreError::BlobDamaged`], or the disk.
    pub fn blob(&self, digest: &Digest, size_bytes: u64) -> Result<VerifiedArtifact, StoreError> {
        let path = self.path("blobs", &digest.to_string());
        let file = self.open_existing(&path)?.ok_or(StoreError::BlobMissing(*digest))?;
        let found = file.size_bytes().map_err(|error| StoreError::io("measure", &path, &error))?;
        if found != size_bytes {
            let error = dunlin_core::ArtifactError::Size { expected: size_bytes, actual: found };
            return Err(self.damaged(*digest, &path, error));
        }
        let bytes = read_all(&*file, &path)?;
        VerifiedArtifact::rehash(bytes, *digest, size_bytes)
            .map_err(|error| self.damaged(*digest, &path, error))
    }

    fn damaged(&self, digest: Digest, path: &Path, error: dunlin_core::ArtifactError) -> StoreError {
        if let Err(error) = self.fs().remove(path) {
            tracing::warn!(path = %path.display(), %error, "a damaged blob cannot be removed");
        }
        self.note_damage(format!("blobs/{digest}: {error}"));
        StoreError::BlobDamaged { digest, error }
    }

    /// Deletes every document and blob but these and those that another copy of the state names, what is
    /// partial of any other blob, and the machine code of any other release. Everything that can be deleted is, also after an error. Takes its ballast
    /// again where there is room.
    ///
    /// # Errors
    /// The first one of the disk.
    pub fn clean_up(&self, keep_documents: &[Digest], keep_blobs: &[Digest]) -> Result<(), StoreError> {
        let (mut documents, mut blobs) = (keep_documents.to_vec(), keep_blobs.to_vec());
        for state in self.further_states() {
            documents.extend(state.documents());
            blobs.extend(self.named_blobs(&state)?);
        }
        let trust = self.sweep("trust", |name| !name.ends_with(TEMPORARY));
        let docs = self.sweep("docs", |name| kept(name, &[".json"], &documents));
        let whole = self.sweep("blobs", |name| kept(name, &["", ".map"], &blobs));
        let partial = self.sweep("partial", |name| kept(name, &[".part", ".map"], &blobs));
        let native = self.sweep_native(&documents);
        self.take_ballast();
        trust.and(docs).and(whole).and(partial).and(native)
    }

    /// The blobs of every release that a state names.
    fn named_blobs(&self, state: &DeviceState) -> Result<Vec<Digest>, StoreError> {
        let mut blobs = Vec::new();
        for installed in state.models.iter().flat_map(ModelState::installed) {
            blobs.push(installed.artifact);
            let Some(envelope) = self.document(&installed.release)? else { continue };
            if let Ok(release) = Verified::<Release>::recalled(&envelope, installed.release) {
                blobs.extend(kept_blobs(&release).map(|blob| blob.digest));
            }
        }
        Ok(blobs)
    }

    /// Reserves the ballast, if it is not there and there is room for more than it.
    fn take_ballast(&self) {
        let path = self.0.dir.join(BALLAST);
        let take = || -> io::Result<()> {
            if let Ok(file) = self.fs().open(&path)
                && file.size_bytes()? == self.0.ballast_bytes
            {
                return Ok(());
            }
            if self.fs().free_bytes(&self.0.dir)? < self.reserve_bytes() {
                return Ok(());
            }
            let mut file = self.fs().open_write(&path)?;
            file.allocate(self.0.ballast_bytes)
        };
        // Without it a full disk is met a little earlier.
        if let Err(error) = take() {
            tracing::debug!(%error, "no ballast is taken");
        }
    }

    /// What must stay free beside a blob that is to be fetched: the ballast, and as much for documents.
    fn reserve_bytes(&self) -> u64 {
        self.0.ballast_bytes.saturating_mul(2)
    }

    /// Gives up the ballast; whether there was one.
    fn drop_ballast(&self) -> bool {
        let dropped = self.fs().remove(&self.0.dir.join(BALLAST)).is_ok();
        if dropped {
            tracing::warn!("the disk is full: the reserve is given up, so that documents can be stored");
        }
        dropped
    }

    fn sweep(&self, folder: &str, keep: impl Fn(&str) -> bool) -> Result<(), StoreError> {
        let mut result = Ok(());
        for name in self.names(folder)?.iter().filter(|name| !keep(name)) {
            result = result.and(self.remove(&self.path(folder, name)));
        }
        // Not synced: a name that comes back after a power cut is swept the next time.
        result
    }

    fn remove(&self, path: &Path) -> Result<(), StoreError> {
        match self.fs().remove(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io("remove", path, &error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The names in a folder; one that is not UTF-8 is not ours and left alone.
    fn names(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let path = self.0.dir.join(folder);
        let names = self.fs().list(&path).map_err(|error| StoreError::io("list", &path, &error))?;
        Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect())
    }

    /// Puts a small file in place as a whole; where the disk is full, in the room of the ballast.
    fn replace(&self, folder: &str, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        match self.try_replace(folder, name, bytes) {
            Err(StoreError::Full { .. }) if self.drop_ballast() => self.try_replace(folder, name, bytes),
            result => result,
        }
    }

    /// Written beside, synced, renamed, and the name synced.
    fn try_replace(&self, folder: &str, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let (path, beside) = (self.path(folder, name), self.path(folder, &format!("{name}{TEMPORARY}")));
        // What an earlier failure left there may be longer, or hold pages whose sync failed.
        self.remove(&beside)?;
        let failed = |error: io::Error| StoreError::io("write", &path, &error);
        let mut file = self.fs().open_write(&beside).map_err(failed)?;
        file.write_at(bytes, 0).map_err(failed)?;
        file.sync().map_err(failed)?;
        match self.fs().rename(&beside, &path) {
            // A folder that has the name of the file.
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                self.remove(&path)?;
                self.fs().rename(&beside, &path)
            }
            renamed => renamed,
        }
        .map_err(failed)?;
        self.fs().sync_dir(&self.0.dir.join(folder)).map_err(failed)
    }

    fn open_existing(&self, path: &Path) -> Result<Option<Box<dyn FsFile>>, StoreError> {
        match self.fs().open(path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            // Everything that is opened here is fetched or made again, and needs its name for that.
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                self.remove(path)?;
                self.note_damage(format!("{}: a folder had its name", self.short_name(path)));
                Ok(None)
            }
            Err(error) => Err(StoreError::io("open", path, &error)),
        }
    }

    /// A file's name below the device's folder.
    fn short_name(&self, path: &Path) -> String {
        path.strip_prefix(&self.0.dir).unwrap_or(path).display().to_string()
    }

    /// An envelope; one that is too long for any document counts as absent and is fetched again.
    fn read_envelope(&self, path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(file) = self.open_existing(path)? else { return Ok(None) };
        let size_bytes = file.size_bytes().map_err(|error| StoreError::io("measure", path, &error))?;
        if size_bytes > MAX_ENVELOPE_BYTES as u64 {
            tracing::warn!(path = %path.display(), size_bytes, "a stored document is too long, it is ignored");
            return Ok(None);
        }
        read_all(&*file, path).map(Some)
    }
}

/// Makes one of the folders. A file that has its name gives way, but for the state's: what was there is not known.
fn make_folder(fs: &dyn Fs, dir: &Path, folder: &str, damage: &mut Vec<String>) -> Result<(), StoreError> {
    let path = dir.join(folder);
    let make = || fs.create_dir(&path).map_err(|error| StoreError::io("make the folder", &path, &error));
    match make() {
        Err(_) if folder != "state" && fs.open(&path).is_ok() => {
            fs.remove(&path).map_err(|error| StoreError::io("remove", &path, &error))?;
            damage.push(format!(
                "{folder}: it was a file and no folder; what it held is fetched or made again"
            ));
            make()
        }
        made => made,
    }
}

/// What goes first when the disk is full.
const BALLAST: &str = "ballast";
const BALLAST_BYTES: u64 = 1024 * 1024;

/// The end of the name of a file that is not in its place yet.
const TEMPORARY: &str = ".new";

/// Whether a file is named by one of these digests and one of these endings.
fn kept(name: &str, endings: &[&str], keep: &[Digest]) -> bool {
    let digest = |ending: &&str| name.strip_suffix(*ending)?.parse::<Digest>().ok();
    endings.iter().filter_map(digest).any(|digest| keep.contains(&digest))
}

fn read_all(file: &dyn FsFile, path: &Path) -> Result<Vec<u8>, StoreError> {
    let failed = |error: io::Error| StoreError::io("read", path, &error);
    let size_bytes = file.size_bytes().map_err(failed)?;
    let size_bytes = usize::try_from(size_bytes).map_err(|_| failed(io::ErrorKind::FileTooLarge.into()))?;
    let mut bytes = vec![0; size_bytes];
    file.read_at(&mut bytes, 0).map_err(failed)?;
    Ok(bytes)
}

fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("lock");
    let failed = |error: io::Error| StoreError::io("lock", &path, &error);
    let file =
        File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::AlreadyRunning { dir: dir.to_path_buf() }),
        Err(error) => Err(failed(error.into())),
    }
}
