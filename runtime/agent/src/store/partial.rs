//! A blob on its way: its bytes so far, and which of its chunks they are.
//!
//! The map file is
//! ```text
//! 8     magic     "DUNLMAP1"
//! 4     count     u32, little-endian: how many chunks
//! 32    sha256    of the list
//! 36*n  list      the chunks, as in `dunlin_core::chunk`
//! n/8   bits      one a chunk, as in `dunlin_core::transfer::Bitmap`
//! ```
//! It carries the list so that a list that was fetched need not be fetched again, and so that bits can
//! never be read as those of other cuts of the same blob. Bits are only ever added, so a torn write of
//! them is a set between the old and the new one, and both are true.
//!
//! A bit is written only after its chunk was synced. That is done every [`SYNC_BYTES`] or [`SYNC_MS`]:
//! a module of a few MiB that is interrupted anywhere then loses at most 256 KiB of its transfer (8
//! chunks of 32 KiB, about what is in flight anyway), at one sync of data and one page of map for each
//! 256 KiB: 1.6 % more bytes written to the flash. On a slow link a second's worth is lost at most.
//!
//! After an error of the disk both files are dropped: what a failed sync left behind is not to be
//! believed, and the next attempt starts with new ones.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use dunlin_core::chunk;
use dunlin_core::document::{Blob, ChunkRef, Chunks};
use dunlin_core::transfer::{Bitmap, Resume};
use dunlin_core::{ArtifactError, Digest, Hasher};

use super::fs::FsFile;
use super::{Store, StoreError, read_all};

/// Chunks are synced, and then noted in the map, when this many bytes are waiting.
const SYNC_BYTES: u64 = 256 * 1024;

/// Or when the first of them has waited this long, in milliseconds.
const SYNC_MS: u64 = 1000;

const MAGIC: &[u8; 8] = b"DUNLMAP1";
const HEADER_BYTES: usize = 44;

/// How much of the whole is hashed at a time.
const HASH_BYTES: usize = 64 * 1024;

/// A blob on its way.
pub struct Partial {
    store: Store,
    digest: Digest,
    size_bytes: u64,
    list: Vec<u8>,
    part: Box<dyn FsFile>,
    map: Box<dyn FsFile>,
    /// The chunks that were written.
    have: Bitmap,
    /// Whether an earlier attempt may have written more than its map says.
    resumed: bool,
    /// Written since the last sync, in bytes.
    waiting_bytes: u64,
    /// When the first of these was written.
    waiting_since_ms: Option<u64>,
}

impl std::fmt::Debug for Partial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Partial { digest, size_bytes, have, waiting_bytes, .. } = self;
        let chunks = (have.count(), have.length());
        write!(f, "Partial({}, {size_bytes} bytes, {chunks:?}, {waiting_bytes} waiting)", digest.short())
    }
}

impl Store {
    /// What an earlier attempt at this blob left, if its cuts are the ones that are signed now.
    ///
    /// # Errors
    /// The disk.
    pub fn partial(&self, blob: &Blob) -> Result<Option<Partial>, StoreError> {
        let (part_path, map_path) = self.partial_paths(&blob.digest);
        let Some(map) = self.open_existing(&map_path)? else { return Ok(None) };
        let Some(part) = self.open_existing(&part_path)? else { return Ok(None) };
        let found = read_map(&read_all(&*map, &map_path)?, blob);
        let size_bytes = part.size_bytes().map_err(|error| StoreError::io("measure", &part_path, &error))?;
        let Some((list, have)) = found.filter(|_| size_bytes == blob.size_bytes) else {
            tracing::warn!(blob = %blob.digest.short(), "what is there of a blob is not of use: it is fetched anew");
            return Ok(None);
        };
        self.opened(blob.digest, blob.size_bytes, list, have, true).map(Some)
    }

    /// Begins a blob that is cut into these chunks, in place of what is there of it. Its space on disk is
    /// reserved.
    ///
    /// # Errors
    /// The disk; [`StoreError::NoRoom`] or [`StoreError::Full`] before anything was fetched.
    pub fn create_partial(
        &self,
        digest: Digest,
        size_bytes: u64,
        chunks: &[ChunkRef],
    ) -> Result<Partial, StoreError> {
        let (part_path, map_path) = self.partial_paths(&digest);
        // The map first: what is left of it must not vouch for a new `.part`.
        self.remove(&map_path)?;
        self.sync_partial_dir()?;
        self.remove(&part_path)?;
        self.admit(digest, size_bytes)?;
        let list = chunk::encode_list(chunks);
        let mut partial = self.opened(digest, size_bytes, list, Bitmap::empty(chunks.len()), false)?;
        match partial.prepare() {
            Ok(()) => Ok(partial),
            Err(error) => Err(partial.dropped(error)),
        }
    }

    /// Whether a blob fits beside what must stay free. A file system that does not tell is found full later.
    fn admit(&self, digest: Digest, needed_bytes: u64) -> Result<(), StoreError> {
        let reserve_bytes = self.reserve_bytes();
        match self.fs().free_bytes(&self.0.dir) {
            Ok(free_bytes) if free_bytes < needed_bytes.saturating_add(reserve_bytes) => {
                Err(StoreError::NoRoom { digest, needed_bytes, free_bytes, reserve_bytes })
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn opened(
        &self,
        digest: Digest,
        size_bytes: u64,
        list: Vec<u8>,
        have: Bitmap,
        resumed: bool,
    ) -> Result<Partial, StoreError> {
        let (part_path, map_path) = self.partial_paths(&digest);
        let open =
            |path: &Path| self.fs().open_write(path).map_err(|error| StoreError::io("open", path, &error));
        Ok(Partial {
            store: self.clone(),
            digest,
            size_bytes,
            list,
            part: open(&part_path)?,
            map: open(&map_path)?,
            have,
            resumed,
            waiting_bytes: 0,
            waiting_since_ms: None,
        })
    }

    pub(super) fn partial_paths(&self, digest: &Digest) -> (PathBuf, PathBuf) {
        (self.path("partial", &format!("{digest}.part")), self.path("partial", &format!("{digest}.map")))
    }

    fn sync_partial_dir(&self) -> Result<(), StoreError> {
        let folder = self.0.dir.join("partial");
        self.fs().sync_dir(&folder).map_err(|error| StoreError::io("sync the folder", &folder, &error))
    }
}

impl Partial {
    /// What a transfer of this blob need not fetch.
    pub fn resume(&self) -> Resume {
        Resume { have: self.have.clone(), list: Some(self.list.clone()) }
    }

    /// When [`Partial::sync`] is due, on the clock of [`Partial::write`]; `None` if nothing waits for it.
    pub fn sync_due_ms(&self) -> Option<u64> {
        self.waiting_since_ms.map(|since| since.saturating_add(SYNC_MS))
    }

    /// Writes a chunk, which was verified, at its place; syncs when it is time for that.
    ///
    /// # Errors
    /// [`StoreError::ChunkMisplaced`], and nothing was written. The disk: this partial is gone, its files
    /// are removed, and it must not be used again.
    pub fn write(&mut self, now_ms: u64, index: usize, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let end = offset.checked_add(bytes.len() as u64);
        if index >= self.have.length() || end.is_none_or(|end| end > self.size_bytes) {
            return Err(StoreError::ChunkMisplaced { digest: self.digest, index, offset });
        }
        let written = self.part.write_at(bytes, offset);
        written.map_err(|error| self.broken("write", &error))?;
        self.have.set(index);
        self.waiting_bytes = self.waiting_bytes.saturating_add(bytes.len() as u64);
        self.waiting_since_ms.get_or_insert(now_ms);
        let due = self.sync_due_ms().is_some_and(|due| due <= now_ms);
        if due || self.waiting_bytes >= SYNC_BYTES { self.sync() } else { Ok(()) }
    }

    /// Makes the chunks durable, and then their bits.
    ///
    /// # Errors
    /// The disk, as [`Partial::write`].
    pub fn sync(&mut self) -> Result<(), StoreError> {
        if self.waiting_since_ms.is_none() {
            return Ok(());
        }
        let bits = u64::try_from(HEADER_BYTES + self.list.len()).unwrap_or(u64::MAX);
        let synced = self.part.sync();
        let synced = synced.and_then(|()| self.map.write_at(self.have.as_bytes(), bits));
        synced.and_then(|()| self.map.sync()).map_err(|error| self.broken("sync", &error))?;
        (self.waiting_bytes, self.waiting_since_ms) = (0, None);
        Ok(())
    }

    /// Reads the whole back, compares it with its digest, and puts it into its place among the blobs.
    ///
    /// # Errors
    /// [`StoreError::BlobDamaged`] if it is not what its chunks promised, or the disk; the files are
    /// removed.
    pub fn finish(mut self) -> Result<(), StoreError> {
        match self.place() {
            Ok(()) => Ok(()),
            Err(error) => Err(self.dropped(error)),
        }
    }

    fn place(&mut self) -> Result<(), StoreError> {
        let (part_path, map_path) = self.store.partial_paths(&self.digest);
        let actual = self.hash().map_err(|error| StoreError::io("read", &part_path, &error))?;
        if actual != self.digest {
            let error = ArtifactError::Digest { expected: self.digest, actual };
            return Err(StoreError::BlobDamaged { digest: self.digest, error });
        }
        let (fs, blobs) = (self.store.fs(), self.store.0.dir.join("blobs"));
        let failed = |error: io::Error| StoreError::io("put in place", &part_path, &error);
        self.part.sync().map_err(failed)?;
        fs.rename(&part_path, &blobs.join(self.digest.to_string())).map_err(failed)?;
        fs.sync_dir(&blobs).map_err(failed)?;
        // The map goes with it, for the blobs to come that share chunks; without it these are fetched.
        if let Err(error) = fs.rename(&map_path, &blobs.join(format!("{}.map", self.digest))) {
            tracing::warn!(%error, "a blob is there without its list of chunks");
        }
        Ok(())
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Index, place and digest of each chunk that is not there.
    pub(super) fn missing(&self) -> Vec<(usize, Range<u64>, Digest)> {
        // The list was read or written by us: it is one.
        let chunks = chunk::decode_list(&self.list, self.size_bytes).unwrap_or_default();
        let places = chunks.iter().zip(chunk::ranges(&chunks)).enumerate();
        places
            .filter(|(index, _)| !self.have.get(*index))
            .map(|(index, (reference, range))| (index, range, reference.digest))
            .collect()
    }

    /// Notes the chunks that are in the file and not in its map: what was written after the last sync before a
    /// process was killed, or what the disk had taken when the power went. They are on disk for certain with
    /// the next sync.
    pub(super) fn recognise(&mut self) -> BTreeSet<Digest> {
        let mut found = BTreeSet::new();
        if !std::mem::take(&mut self.resumed) {
            return found;
        }
        let mut buffer = vec![0; chunk::MAX_CHUNK_BYTES];
        for (index, range, digest) in self.missing() {
            let length = usize::try_from(range.end - range.start).ok();
            let Some(piece) = length.and_then(|length| buffer.get_mut(..length)) else { continue };
            // Where it cannot be read, it is fetched.
            if self.part.read_at(piece, range.start).is_ok() && Digest::of(piece) == digest {
                self.have.set(index);
                self.waiting_since_ms.get_or_insert(0);
                found.insert(digest);
            }
        }
        found
    }

    fn hash(&self) -> io::Result<Digest> {
        let (mut hasher, mut offset) = (Hasher::new(), 0);
        let mut buffer = vec![0; HASH_BYTES];
        while offset < self.size_bytes {
            let left = usize::try_from(self.size_bytes - offset).unwrap_or(usize::MAX);
            let piece = buffer.get_mut(..left.min(HASH_BYTES)).unwrap_or_default();
            self.part.read_at(piece, offset)?;
            hasher.update(piece);
            offset += piece.len() as u64;
        }
        Ok(hasher.finish())
    }

    fn prepare(&mut self) -> Result<(), StoreError> {
        let (part_path, map_path) = self.store.partial_paths(&self.digest);
        let allocated = self.part.allocate(self.size_bytes).and_then(|()| self.part.sync());
        allocated.map_err(|error| StoreError::io("reserve space for", &part_path, &error))?;
        let bytes = map_bytes(&self.list, &self.have);
        let written = self.map.write_at(&bytes, 0).and_then(|()| self.map.sync());
        written.map_err(|error| StoreError::io("write", &map_path, &error))?;
        self.store.sync_partial_dir()
    }

    fn broken(&self, action: &'static str, error: &io::Error) -> StoreError {
        let (part_path, _) = self.store.partial_paths(&self.digest);
        self.dropped(StoreError::io(action, &part_path, error))
    }

    /// Removes the files because of `error`; the map first, so that it never vouches for another `.part`.
    fn dropped(&self, error: StoreError) -> StoreError {
        let (part_path, map_path) = self.store.partial_paths(&self.digest);
        let removed = self.store.remove(&map_path).and_then(|()| self.store.sync_partial_dir());
        if let Err(error) = removed.and_then(|()| self.store.remove(&part_path)) {
            tracing::warn!(%error, "what is there of a blob cannot be removed");
        }
        error
    }
}

fn map_bytes(list: &[u8], have: &Bitmap) -> Vec<u8> {
    let count = u32::try_from(have.length()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(HEADER_BYTES + list.len() + have.as_bytes().len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.extend_from_slice(Digest::of(list).as_bytes());
    bytes.extend_from_slice(list);
    bytes.extend_from_slice(have.as_bytes());
    bytes
}

/// The chunks that a map lists.
pub(super) fn list_of_map(bytes: &[u8]) -> Option<Vec<ChunkRef>> {
    let (_, list, _) = parts_of_map(bytes)?;
    chunk::decode_whole_list(list).ok()
}

/// Digest of the list, list, and bits of a map.
fn parts_of_map(bytes: &[u8]) -> Option<(Digest, &[u8], &[u8])> {
    let (magic, rest) = bytes.split_first_chunk::<8>()?;
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let (digest, rest) = rest.split_first_chunk::<32>()?;
    let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
    let (list, bits) = rest.split_at_checked(count.checked_mul(chunk::ENTRY_BYTES)?)?;
    let found = Digest::of(list);
    (magic == MAGIC && found.as_bytes() == digest).then_some((found, list, bits))
}

/// The list and the bits of a map, if it is one of this blob.
fn read_map(bytes: &[u8], blob: &Blob) -> Option<(Vec<u8>, Bitmap)> {
    let (found, list, bits) = parts_of_map(bytes)?;
    let signed = match &blob.chunks {
        Chunks::Inline(chunks) => Digest::of(&chunk::encode_list(chunks)),
        Chunks::List(list) => list.digest,
    };
    let have = Bitmap::from_bytes(bits, list.len() / chunk::ENTRY_BYTES).filter(|_| found == signed)?;
    Some((list.to_vec(), have))
}
