//! A disk in memory that fails at a chosen call, and forgets at a power cut what was not synced.
//!
//! Written bytes are pending until their file is synced: at a power cut each pending write is kept,
//! dropped, or torn at sectors of 512 bytes. Names are pending until a folder of theirs is synced: at a
//! power cut they are kept up to some point, in order, as journals keep them. A sync that fails forgets
//! the pending writes for good, and a later sync says nothing about it: as Linux does.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::fs::{Fs, FsFile};

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The power goes; no later call succeeds before [`FaultyFs::restart`].
    PowerCut,
    /// No space is left.
    Full,
    /// The medium fails, this once.
    Broken,
}

#[derive(Clone, Debug)]
enum Change {
    Resize(usize),
    Write(usize, Vec<u8>),
}

#[derive(Clone, Debug, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Naming {
    Link(PathBuf, usize),
    Unlink(PathBuf),
    Rename(PathBuf, PathBuf),
}

#[derive(Debug, Default)]
struct Disk {
    contents: Vec<Content>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    pending: Vec<Naming>,
    calls: u64,
    fault: Option<(u64, Fault)>,
    off: bool,
    failed: bool,
    luck: u64,
    /// What it holds at most, in bytes; 0 is without end.
    capacity: usize,
}

/// The disk; clones are the same one.
#[derive(Clone, Debug, Default)]
pub(crate) struct FaultyFs(Arc<Mutex<Disk>>);

impl FaultyFs {
    /// A disk whose `nth` call from 1 fails; `luck` decides what a power cut leaves.
    pub(crate) fn failing(nth: u64, fault: Fault, luck: u64) -> FaultyFs {
        let disk = Disk { fault: Some((nth, fault)), luck, ..Disk::default() };
        FaultyFs(Arc::new(Mutex::new(disk)))
    }

    /// A disk that holds so many bytes.
    pub(crate) fn of_capacity(bytes: usize) -> FaultyFs {
        FaultyFs(Arc::new(Mutex::new(Disk { capacity: bytes, ..Disk::default() })))
    }

    /// From now on it holds so many bytes.
    pub(crate) fn set_capacity(&self, bytes: usize) {
        self.disk().capacity = bytes;
    }

    /// Does something that no fault meets, and that does not bring the next one nearer.
    pub(crate) fn undisturbed<T>(&self, look: impl FnOnce() -> T) -> T {
        let before = {
            let mut disk = self.disk();
            (disk.fault.take(), disk.calls)
        };
        let seen = look();
        let mut disk = self.disk();
        (disk.fault, disk.calls) = before;
        seen
    }

    /// The fault that was to come does not.
    pub(crate) fn no_more_faults(&self) {
        self.disk().fault = None;
    }

    /// Whether the power is off.
    pub(crate) fn is_off(&self) -> bool {
        self.disk().off
    }

    /// The `nth` call from now on, from 1, fails.
    pub(crate) fn fail_again(&self, nth: u64, fault: Fault, luck: u64) {
        let mut disk = self.disk();
        disk.fault = Some((disk.calls + nth, fault));
        disk.luck = luck;
    }

    /// What its files take up.
    pub(crate) fn disk_used(&self) -> usize {
        self.disk().used()
    }

    /// Whether the fault came.
    pub(crate) fn failed(&self) -> bool {
        self.disk().failed
    }

    /// Cuts the power if it is still on, and switches on again.
    pub(crate) fn restart(&self) {
        let mut disk = self.disk();
        let disk = &mut *disk;
        disk.off = false;
        disk.fault = None;
        let kept = usize::try_from(roll(&mut disk.luck)).unwrap() % (disk.pending.len() + 1);
        let pending: Vec<Naming> = std::mem::take(&mut disk.pending);
        pending.into_iter().take(kept).for_each(|naming| apply_name(&mut disk.durable_names, naming));
        disk.names = disk.durable_names.clone();
        for content in &mut disk.contents {
            for change in std::mem::take(&mut content.pending) {
                match roll(&mut disk.luck) % 3 {
                    0 => {}
                    1 => apply(&mut content.durable, &change),
                    _ => tear(&mut content.durable, &change, &mut disk.luck),
                }
            }
            content.now = content.durable.clone();
        }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap()
    }
}

fn roll(luck: &mut u64) -> u64 {
    // Steele, Lea, Flood: SplitMix64.
    *luck = luck.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *luck;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) >> 33
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Resize(size) => bytes.resize(*size, 0),
        Change::Write(offset, written) => {
            let end = offset + written.len();
            bytes.resize(bytes.len().max(end), 0);
            bytes[*offset..end].copy_from_slice(written);
        }
    }
}

fn tear(bytes: &mut Vec<u8>, change: &Change, luck: &mut u64) {
    let Change::Write(offset, written) = change else { return };
    for (index, sector) in written.chunks(512).enumerate() {
        if roll(luck).is_multiple_of(2) {
            apply(bytes, &Change::Write(offset + index * 512, sector.to_vec()));
        }
    }
}

fn apply_name(names: &mut BTreeMap<PathBuf, usize>, naming: Naming) {
    match naming {
        Naming::Link(path, content) => {
            names.insert(path, content);
        }
        Naming::Unlink(path) => {
            names.remove(&path);
        }
        Naming::Rename(from, to) => {
            if let Some(content) = names.remove(&from) {
                names.insert(to, content);
            }
        }
    }
}

fn touches(naming: &Naming, dir: &Path) -> bool {
    let (a, b) = match naming {
        Naming::Link(path, _) | Naming::Unlink(path) => (path, path),
        Naming::Rename(from, to) => (from, to),
    };
    a.parent() == Some(dir) || b.parent() == Some(dir)
}

impl Disk {
    /// Counts a call; the fault, if it is this one's turn.
    fn call(&mut self) -> io::Result<Option<Fault>> {
        if self.off {
            return Err(io::Error::other("the power is off"));
        }
        self.calls += 1;
        let fault = self.fault.filter(|(nth, _)| *nth == self.calls).map(|(_, fault)| fault);
        self.failed |= fault.is_some();
        self.off = fault == Some(Fault::PowerCut);
        Ok(fault)
    }

    /// For calls that change nothing when they fail.
    fn simple_call(&mut self) -> io::Result<()> {
        self.call()?.map_or(Ok(()), |fault| Err(error(fault)))
    }

    fn rename_or_link(&mut self, naming: Naming) -> io::Result<()> {
        let fault = self.call()?;
        // What a power cut interrupts may have happened.
        if fault.is_none_or(|fault| fault == Fault::PowerCut) {
            apply_name(&mut self.names, naming.clone());
            self.pending.push(naming);
        }
        fault.map_or(Ok(()), |fault| Err(error(fault)))
    }

    /// What the files that have a name take up.
    fn used(&self) -> usize {
        self.names.values().map(|content| self.contents[*content].now.len()).sum()
    }

    /// Whether a change needs room that is not there.
    fn overflows(&self, content: usize, change: &Change) -> bool {
        let end = match change {
            Change::Resize(size) => *size,
            Change::Write(offset, written) => offset + written.len(),
        };
        let grows = end.saturating_sub(self.contents[content].now.len());
        self.capacity > 0 && grows > 0 && self.used() + grows > self.capacity
    }

    fn change(&mut self, content: usize, change: Change) -> io::Result<()> {
        let fault = self.call()?;
        if fault.is_none() && self.overflows(content, &change) {
            return Err(error(Fault::Full));
        }
        if fault.is_none_or(|fault| fault == Fault::PowerCut) {
            apply(&mut self.contents[content].now, &change);
            self.contents[content].pending.push(change);
        }
        fault.map_or(Ok(()), |fault| Err(error(fault)))
    }
}

fn error(fault: Fault) -> io::Error {
    match fault {
        Fault::PowerCut => io::Error::other("the power went"),
        Fault::Full => io::ErrorKind::StorageFull.into(),
        Fault::Broken => io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()),
    }
}

struct FaultyFile {
    fs: FaultyFs,
    content: usize,
}

impl Fs for FaultyFs {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        self.disk().simple_call()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let mut disk = self.disk();
        disk.simple_call()?;
        let inside = disk.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| path.file_name()).map(OsString::from).collect())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        let mut disk = self.disk();
        disk.simple_call()?;
        let content = *disk.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(FaultyFile { fs: self.clone(), content }))
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        let mut disk = self.disk();
        let content = match disk.names.get(path).copied() {
            Some(content) => {
                disk.simple_call()?;
                content
            }
            None => {
                disk.contents.push(Content::default());
                let content = disk.contents.len() - 1;
                disk.rename_or_link(Naming::Link(path.to_path_buf(), content))?;
                content
            }
        };
        Ok(Box::new(FaultyFile { fs: self.clone(), content }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        if !disk.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        disk.rename_or_link(Naming::Rename(from.to_path_buf(), to.to_path_buf()))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        if !disk.names.contains_key(path) {
            disk.simple_call()?;
            return Err(io::ErrorKind::NotFound.into());
        }
        disk.rename_or_link(Naming::Unlink(path.to_path_buf()))
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        let mut disk = self.disk();
        disk.simple_call()?;
        let used = disk.used();
        Ok(if disk.capacity == 0 { u64::MAX } else { disk.capacity.saturating_sub(used) as u64 })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.simple_call()?;
        let count = disk.pending.iter().rposition(|naming| touches(naming, dir)).map_or(0, |last| last + 1);
        let namings: Vec<Naming> = disk.pending.drain(..count).collect();
        namings.into_iter().for_each(|naming| apply_name(&mut disk.durable_names, naming));
        Ok(())
    }
}

impl FsFile for FaultyFile {
    fn size_bytes(&self) -> io::Result<u64> {
        let mut disk = self.fs.disk();
        disk.simple_call()?;
        Ok(disk.contents[self.content].now.len() as u64)
    }

    fn allocate(&mut self, size_bytes: u64) -> io::Result<()> {
        self.fs.disk().change(self.content, Change::Resize(usize::try_from(size_bytes).unwrap()))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut disk = self.fs.disk();
        disk.simple_call()?;
        let start = usize::try_from(offset).unwrap();
        let bytes = disk.contents[self.content].now.get(start..start + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let change = Change::Write(usize::try_from(offset).unwrap(), bytes.to_vec());
        self.fs.disk().change(self.content, change)
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.fs.disk();
        let fault = disk.call()?;
        let content = &mut disk.contents[self.content];
        match fault {
            Some(Fault::PowerCut) => {}
            Some(Fault::Full | Fault::Broken) => content.pending.clear(),
            None => {
                for change in std::mem::take(&mut content.pending) {
                    apply(&mut content.durable, &change);
                }
            }
        }
        fault.map_or(Ok(()), |fault| Err(error(fault)))
    }
}
