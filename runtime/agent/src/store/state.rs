//! The two slots of the state, and which of them counts.
//!
//! A commit overwrites the slot that does not count: one write and one sync on bytes that are on disk
//! already, so that a full disk cannot block it and a torn write cannot hurt what counts. The very first
//! commit writes both slots, one after the other; so an empty slot beside a damaged one means that no
//! commit has ever returned, and two damaged slots mean that a state was lost.
//!
//! What is proven is worth a third copy, `state/proven`, in the form of a slot: it is put in place after each
//! commit that changed it. From it a lost state is put together again, as far as that goes. What the slot that
//! does not count and the copy name is kept by [`Store::clean_up`], since either may be what a start finds.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use dunlin_core::code::Coded as _;
use dunlin_core::update::{DeviceState, MAX_STATE_BYTES, STATE_FORMAT};
use serde::Deserialize;

use super::fs::{Fs, FsFile, RealFs};
use super::slot::{self, SLOT_BYTES, Slot};
use super::{Store, StoreError};

/// What is known of the slots.
#[derive(Debug)]
pub(super) struct Slots {
    folder: PathBuf,
    standing: Standing,
}

#[derive(Debug)]
enum Standing {
    /// No commit has returned.
    Empty,
    /// One slot counts.
    Committed {
        /// 0 or 1.
        index: usize,
        /// The greatest generation that may be on disk.
        generation: u64,
        /// The state.
        json: Vec<u8>,
        /// What the other slot may hold: of a commit that failed nobody knows whether it is on disk.
        other: Vec<Vec<u8>>,
    },
    /// What is there must not be overwritten.
    Closed(StoreError),
}

const NAMES: [&str; 2] = ["a", "b"];

/// How many commits may fail in a row before what they named is no longer kept.
const MAX_UNKNOWN: usize = 8;

/// The copy of what is proven.
const PROVEN: &str = "proven";

impl Slots {
    /// Reads the slots; makes and fills them with zeros where they are missing.
    pub(super) fn open(fs: &dyn Fs, folder: &Path, damage: &mut Vec<String>) -> Result<Slots, StoreError> {
        let [a, b] = NAMES.map(|name| open_slot(fs, &folder.join(name)));
        let (a, b) = (a?, b?);
        damage.extend(damaged(&a, &b));
        fs.sync_dir(folder).map_err(|error| StoreError::io("sync the folder", folder, &error))?;
        Ok(Slots { folder: folder.to_path_buf(), standing: standing(folder, a, b) })
    }

    fn load(&self) -> Result<Option<DeviceState>, StoreError> {
        match &self.standing {
            Standing::Empty => Ok(None),
            Standing::Committed { json, .. } => parse(&self.folder, json).map(Some),
            Standing::Closed(error) => Err(error.clone()),
        }
    }

    fn commit(&mut self, fs: &dyn Fs, json: Vec<u8>) -> Result<(), StoreError> {
        match &mut self.standing {
            Standing::Closed(error) => Err(error.clone()),
            Standing::Empty => {
                self.write(fs, 0, 1, &json)?;
                self.write(fs, 1, 2, &json)?;
                let other = vec![json.clone()];
                self.standing = Standing::Committed { index: 1, generation: 2, json, other };
                Ok(())
            }
            Standing::Committed { index, generation, other, .. } => {
                // Counted before the write: should it fail and yet be on disk, the next one is newer.
                *generation = generation.saturating_add(1);
                let (place, generation) = (1 - *index, *generation);
                if other.len() < MAX_UNKNOWN {
                    other.push(json.clone());
                }
                self.write(fs, place, generation, &json)?;
                let Standing::Committed { index, json: before, other, .. } = &mut self.standing else {
                    return Ok(());
                };
                *index = place;
                *other = vec![std::mem::replace(before, json)];
                Ok(())
            }
        }
    }

    /// There was a state: empty slots are lost ones.
    fn expect_a_state(&mut self) {
        if let Standing::Empty = self.standing {
            let detail = String::from("both slots are empty, and there is a copy of what was proven");
            self.standing = Standing::Closed(StoreError::StateLost { dir: self.folder.clone(), detail });
        }
    }

    /// Begins anew where a state was lost.
    fn forget_what_is_lost(&mut self) {
        if let Standing::Closed(StoreError::StateLost { .. }) = self.standing {
            self.standing = Standing::Empty;
        }
    }

    /// What the slot that does not count may hold.
    fn other(&self) -> &[Vec<u8>] {
        match &self.standing {
            Standing::Committed { other, .. } => other,
            Standing::Empty | Standing::Closed(_) => &[],
        }
    }

    /// One write, one sync, on a descriptor of its own: after a failure nobody syncs on it again.
    fn write(&self, fs: &dyn Fs, index: usize, generation: u64, json: &[u8]) -> Result<(), StoreError> {
        let bytes =
            slot::encode(generation, json).ok_or(StoreError::StateTooLarge { size_bytes: json.len() })?;
        let path = self.folder.join(NAMES.get(index).copied().unwrap_or_default());
        let write = || {
            let mut file = fs.open_write(&path)?;
            file.write_at(&bytes, 0)?;
            file.sync()
        };
        write().map_err(|error| StoreError::io("commit the state to", &path, &error))
    }
}

/// The state in a device's folder, which an agent may be using: reads and changes nothing. A commit that
/// is under way shows the state before it or after it.
///
/// # Errors
/// As [`Store::load_state`].
pub fn read_state(dir: &Path) -> Result<Option<DeviceState>, StoreError> {
    read_slots(&RealFs, &dir.join("state"))
}

/// How often the slots are read. Two commits in a row may tear a slot each while it is read, and then both look
/// damaged; each commit waits for the disk, and a state that is lost stays lost.
const READS: usize = 5;

fn read_slots(fs: &dyn Fs, folder: &Path) -> Result<Option<DeviceState>, StoreError> {
    let read = || {
        let [a, b] = NAMES.map(|name| read_slot(fs, &folder.join(name)));
        let standing = standing(folder, a?, b?);
        Slots { folder: folder.to_path_buf(), standing }.load()
    };
    let lost = |read: &Result<_, StoreError>| matches!(read, Err(StoreError::StateLost { .. }));
    (1..READS).map(|_| read()).find(|state| !lost(state)).unwrap_or_else(read)
}

fn read_slot(fs: &dyn Fs, path: &Path) -> Result<Slot, StoreError> {
    match fs.open(path) {
        Ok(file) => decode(&*file, path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Slot::Empty),
        Err(error) => Err(StoreError::io("open the slot", path, &error)),
    }
}

fn open_slot(fs: &dyn Fs, path: &Path) -> Result<Slot, StoreError> {
    let failed = |error: io::Error| StoreError::io("open the slot", path, &error);
    let mut file = match fs.open_write(path) {
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
            fs.remove(path).map_err(failed)?;
            // It was written before, and is not as good as new.
            let mut file = fs.open_write(path).map_err(failed)?;
            file.write_at(&[0xff; SLOT_BYTES], 0).map_err(failed)?;
            file.sync().map_err(failed)?;
            file
        }
        opened => opened.map_err(failed)?,
    };
    if file.size_bytes().map_err(failed)? == 0 {
        // Written zeros, not reserved space: to write there later needs no allocation at all.
        file.write_at(&[0; SLOT_BYTES], 0).map_err(failed)?;
        file.sync().map_err(failed)?;
    }
    decode(&*file, path)
}

/// A slot; what lies behind its length means nothing.
fn decode(file: &dyn FsFile, path: &Path) -> Result<Slot, StoreError> {
    let failed = |error: io::Error| StoreError::io("read the slot", path, &error);
    let size_bytes = usize::try_from(file.size_bytes().map_err(failed)?).unwrap_or(usize::MAX);
    let mut bytes = vec![0; size_bytes.min(SLOT_BYTES)];
    file.read_at(&mut bytes, 0).map_err(failed)?;
    Ok(slot::decode(&bytes))
}

/// What is wrong with one slot beside a sound one. A commit that the power cut short looks the same as one that
/// was damaged later, so both are reported.
fn damaged(a: &Slot, b: &Slot) -> Option<String> {
    let slot = match (a, b) {
        (Slot::Invalid | Slot::Empty, Slot::Valid { .. }) => "a",
        (Slot::Valid { .. }, Slot::Invalid) => "b",
        // Only the very first commit leaves the second slot empty.
        (Slot::Valid { generation, .. }, Slot::Empty) if *generation > 1 => "b",
        _ => return None,
    };
    Some(format!(
        "state/{slot}: the power went in a commit, or it was damaged later; the other slot is used, and what was \
         committed last may be missing"
    ))
}

fn standing(folder: &Path, a: Slot, b: Slot) -> Standing {
    let committed = |index: usize, generation: u64, json: Vec<u8>, other: Vec<Vec<u8>>| {
        if let Some(found) = newer_format(&json) {
            return Standing::Closed(StoreError::StateFormat { found });
        }
        Standing::Committed { index, generation, json, other }
    };
    match (a, b) {
        (Slot::Newer { format: found }, _) | (_, Slot::Newer { format: found }) => {
            Standing::Closed(StoreError::StateFormat { found })
        }
        (Slot::Valid { generation: a, json: newer }, Slot::Valid { generation: b, json: older }) if a > b => {
            committed(0, a, newer, vec![older])
        }
        (Slot::Valid { json: older, .. }, Slot::Valid { generation, json }) => {
            committed(1, generation, json, vec![older])
        }
        (Slot::Invalid | Slot::Empty, Slot::Valid { generation, json }) => {
            committed(1, generation, json, Vec::new())
        }
        (Slot::Valid { generation, json }, Slot::Invalid | Slot::Empty) => {
            committed(0, generation, json, Vec::new())
        }
        (Slot::Invalid | Slot::Empty, Slot::Empty) | (Slot::Empty, Slot::Invalid) => Standing::Empty,
        (Slot::Invalid, Slot::Invalid) => {
            let detail = String::from("both slots are damaged");
            Standing::Closed(StoreError::StateLost { dir: folder.to_path_buf(), detail })
        }
    }
}

/// The format of a state, if a newer version wrote it.
fn newer_format(json: &[u8]) -> Option<u32> {
    #[derive(Deserialize)]
    struct Probe {
        format: u32,
    }
    let probe: Probe = serde_json::from_slice(json).ok()?;
    (probe.format > STATE_FORMAT).then_some(probe.format)
}

/// A state with a good digest that we cannot read is not made up for by an older one.
fn parse(folder: &Path, json: &[u8]) -> Result<DeviceState, StoreError> {
    serde_json::from_slice(json).map_err(|error| {
        let detail = format!("it is whole, but not a state: {error}");
        StoreError::StateLost { dir: folder.to_path_buf(), detail }
    })
}

impl Store {
    /// The state whose commit returned last; or, where the power went during a commit, that one's.
    /// `None` if there never was a commit.
    ///
    /// # Errors
    /// [`StoreError::StateLost`], [`StoreError::StateFormat`].
    pub fn load_state(&self) -> Result<Option<DeviceState>, StoreError> {
        self.slots().load()
    }

    /// Makes this the state; durable when it returns. After an error either state may be found at the
    /// next start. The copy of what is proven follows it; where that fails it is tried again with the next
    /// commit.
    ///
    /// # Errors
    /// [`StoreError::StateTooLarge`]; the disk; and what [`Store::load_state`] said.
    pub fn commit(&self, state: &DeviceState) -> Result<(), StoreError> {
        let too_large = |size_bytes| StoreError::StateTooLarge { size_bytes };
        let json = serde_json::to_vec(state).map_err(|_| too_large(usize::MAX))?;
        if json.len() > MAX_STATE_BYTES {
            return Err(too_large(json.len()));
        }
        self.slots().commit(self.fs(), json)?;
        if let Err(error) = self.copy_proven(&state.proven()) {
            tracing::warn!(code = %error.code(), "the copy of what is proven is not up to date: {error}");
        }
        Ok(())
    }

    /// What was proven when the copy beside the slots was made; `None` where there is none, or one that
    /// cannot be read.
    ///
    /// # Errors
    /// The disk.
    pub fn proven(&self) -> Result<Option<DeviceState>, StoreError> {
        let path = self.path("state", PROVEN);
        let damaged = |reason: String| {
            self.note_damage(format!("state/{PROVEN}: {reason}; it is made again with the next commit"));
            Ok(None)
        };
        match read_slot(self.fs(), &path) {
            Ok(Slot::Valid { json, .. }) => Ok(serde_json::from_slice(&json).ok()),
            Ok(Slot::Newer { .. }) => Ok(None),
            Ok(Slot::Empty) if self.fs().open(&path).is_err() => Ok(None),
            Ok(Slot::Empty | Slot::Invalid) => damaged(String::from("the copy of what is proven is damaged")),
            Err(error) => damaged(error.to_string()),
        }
    }

    /// There was a state once: slots that are empty now were lost.
    pub(super) fn expect_a_state(&self) {
        self.slots().expect_a_state();
    }

    /// Makes this the state where the state was lost; see [`DeviceState::recovered`].
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn recover(&self, state: &DeviceState) -> Result<(), StoreError> {
        self.slots().forget_what_is_lost();
        self.commit(state)
    }

    /// Puts a copy of what is proven in place, if it says more than the one that is there.
    fn copy_proven(&self, proven: &DeviceState) -> Result<(), StoreError> {
        let guarded = |state: &DeviceState| (state.models.clone(), state.root_version, state.channel.clone());
        let mut copied = self.0.proven.lock().unwrap_or_else(PoisonError::into_inner);
        let nothing_yet = proven.models.iter().all(|model| model.active.is_none());
        if (nothing_yet && copied.is_none()) || copied.as_ref().map(guarded) == Some(guarded(proven)) {
            return Ok(());
        }
        let json =
            serde_json::to_vec(proven).map_err(|_| StoreError::StateTooLarge { size_bytes: usize::MAX })?;
        let bytes = slot::encode(0, &json).ok_or(StoreError::StateTooLarge { size_bytes: json.len() })?;
        self.replace("state", PROVEN, &bytes)?;
        *copied = Some(proven.clone());
        Ok(())
    }

    /// Every state that a start could find beside the one that counts.
    pub(crate) fn further_states(&self) -> Vec<DeviceState> {
        let other: Vec<DeviceState> =
            self.slots().other().iter().filter_map(|json| serde_json::from_slice(json).ok()).collect();
        let copy = self.0.proven.lock().unwrap_or_else(PoisonError::into_inner).clone();
        other.into_iter().chain(copy).collect()
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, Slots> {
        // Every change of the slots is whole before anything can panic.
        self.0.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::fs::FsFile;
    use super::*;

    /// Slots of which each of the first reads finds a torn one.
    struct Torn {
        left: AtomicUsize,
    }

    impl FsFile for Vec<u8> {
        fn size_bytes(&self) -> io::Result<u64> {
            Ok(self.len() as u64)
        }

        fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
            buffer.copy_from_slice(&self[offset as usize..][..buffer.len()]);
            Ok(())
        }

        fn allocate(&mut self, _size_bytes: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn write_at(&mut self, _bytes: &[u8], _offset: u64) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn sync(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    impl Fs for Torn {
        fn open(&self, _path: &Path) -> io::Result<Box<dyn FsFile>> {
            let torn =
                self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            Ok(Box::new(if torn.is_ok() { vec![7; SLOT_BYTES] } else { vec![0; SLOT_BYTES] }))
        }

        fn create_dir(&self, _path: &Path) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn list(&self, _dir: &Path) -> io::Result<Vec<OsString>> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn open_write(&self, _path: &Path) -> io::Result<Box<dyn FsFile>> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn remove(&self, _path: &Path) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn free_bytes(&self, _dir: &Path) -> io::Result<u64> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    #[test]
    fn two_torn_reads_are_no_lost_state() {
        let read = |torn| read_slots(&Torn { left: AtomicUsize::new(torn) }, Path::new("/state"));
        assert_eq!(read(2).unwrap(), None);
        let lost = read(2 * READS).unwrap_err();
        assert!(matches!(lost, StoreError::StateLost { .. }), "{lost}");
    }
}
