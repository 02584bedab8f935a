//! The two slots of the state, and which of them counts.
//!
//! A commit overwrites the slot that does not count: one write and one sync on bytes that are on disk
//! already, so that a full disk cannot block it and a torn write cannot hurt what counts. The very first
//! commit writes both slots, one after the other; so an empty slot beside a damaged one means that no
//! commit has ever returned, and two damaged slots mean that a state was lost.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use dunlin_core::update::{DeviceState, MAX_STATE_BYTES, STATE_FORMAT};
use serde::Deserialize;

use super::fs::{Fs, RealFs};
use super::slot::{self, SLOT_BYTES, Slot};
use super::{Store, StoreError, read_all};

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
    },
    /// What is there must not be overwritten.
    Closed(StoreError),
}

const NAMES: [&str; 2] = ["a", "b"];

impl Slots {
    /// Reads the slots; makes and fills them with zeros where they are missing.
    pub(super) fn open(fs: &dyn Fs, folder: &Path) -> Result<Slots, StoreError> {
        let [a, b] = NAMES.map(|name| open_slot(fs, &folder.join(name)));
        let (a, b) = (a?, b?);
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
                self.standing = Standing::Committed { index: 1, generation: 2, json };
                Ok(())
            }
            Standing::Committed { index, generation, .. } => {
                // Counted before the write: should it fail and yet be on disk, the next one is newer.
                *generation = generation.saturating_add(1);
                let (other, generation) = (1 - *index, *generation);
                self.write(fs, other, generation, &json)?;
                self.standing = Standing::Committed { index: other, generation, json };
                Ok(())
            }
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
    let folder = dir.join("state");
    let [a, b] = NAMES.map(|name| read_slot(&RealFs, &folder.join(name)));
    let standing = standing(&folder, a?, b?);
    Slots { folder, standing }.load()
}

fn read_slot(fs: &dyn Fs, path: &Path) -> Result<Slot, StoreError> {
    match fs.open(path) {
        Ok(file) => Ok(slot::decode(&read_all(&*file, path)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Slot::Empty),
        Err(error) => Err(StoreError::io("open the slot", path, &error)),
    }
}

fn open_slot(fs: &dyn Fs, path: &Path) -> Result<Slot, StoreError> {
    let failed = |error: io::Error| StoreError::io("open the slot", path, &error);
    let mut file = fs.open_write(path).map_err(failed)?;
    if file.size_bytes().map_err(failed)? == 0 {
        // Written zeros, not reserved space: to write there later needs no allocation at all.
        file.write_at(&[0; SLOT_BYTES], 0).map_err(failed)?;
        file.sync().map_err(failed)?;
    }
    Ok(slot::decode(&read_all(&*file, path)?))
}

fn standing(folder: &Path, a: Slot, b: Slot) -> Standing {
    let committed = |index: usize, generation: u64, json: Vec<u8>| {
        if let Some(found) = newer_format(&json) {
            return Standing::Closed(StoreError::StateFormat { found });
        }
        Standing::Committed { index, generation, json }
    };
    match (a, b) {
        (Slot::Newer { format: found }, _) | (_, Slot::Newer { format: found }) => {
            Standing::Closed(StoreError::StateFormat { found })
        }
        (Slot::Valid { generation: a, json }, Slot::Valid { generation: b, .. }) if a > b => {
            committed(0, a, json)
        }
        (Slot::Valid { .. } | Slot::Invalid | Slot::Empty, Slot::Valid { generation, json }) => {
            committed(1, generation, json)
        }
        (Slot::Valid { generation, json }, Slot::Invalid | Slot::Empty) => committed(0, generation, json),
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
    /// next start.
    ///
    /// # Errors
    /// [`StoreError::StateTooLarge`]; the disk; and what [`Store::load_state`] said.
    pub fn commit(&self, state: &DeviceState) -> Result<(), StoreError> {
        let too_large = |size_bytes| StoreError::StateTooLarge { size_bytes };
        let json = serde_json::to_vec(state).map_err(|_| too_large(usize::MAX))?;
        if json.len() > MAX_STATE_BYTES {
            return Err(too_large(json.len()));
        }
        self.slots().commit(self.fs(), json)
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, Slots> {
        // Every change of the slots is whole before anything can panic.
        self.0.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
