//! A view of the disk whose writes stay in memory: what a start would find and do, and nothing done.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::Access;

use super::fs::{Fs, FsFile, RealFs};

/// The bytes of a file that was written here.
type Bytes = Arc<Mutex<Vec<u8>>>;

/// What stands in place of what the disk has.
enum Entry {
    Folder,
    File(Bytes),
    Removed,
}

/// The real disk below what was written here. What could not be written there cannot be written here.
#[derive(Default)]
pub(crate) struct PreviewFs(Mutex<BTreeMap<PathBuf, Entry>>);

impl PreviewFs {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a name could be made in this folder, or in the nearest one above it that is there.
fn takes_names(dir: &Path) -> io::Result<()> {
    // The folder of a name alone is "", the current one.
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    match std::fs::metadata(dir) {
        Ok(data) if data.is_dir() => Ok(rustix::fs::access(dir, Access::WRITE_OK | Access::EXEC_OK)?),
        Ok(_) => Err(io::ErrorKind::NotADirectory.into()),
        Err(error) => match (error.kind(), dir.parent()) {
            (io::ErrorKind::NotFound, Some(above)) => takes_names(above),
            _ => Err(error),
        },
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = RealFs.open(path)?;
    let size = usize::try_from(file.size_bytes()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; size];
    file.read_at(&mut bytes, 0)?;
    Ok(bytes)
}

impl Fs for PreviewFs {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        match std::fs::metadata(path) {
            Ok(data) if data.is_dir() => Ok(()),
            Ok(_) if !matches!(self.entries().get(path), Some(Entry::Removed)) => {
                Err(io::ErrorKind::AlreadyExists.into())
            }
            Ok(_) | Err(_) => {
                takes_names(path.parent().unwrap_or(Path::new("/")))?;
                self.entries().insert(path.to_path_buf(), Entry::Folder);
                Ok(())
            }
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let entries = self.entries();
        let mut names = match RealFs.list(dir) {
            Ok(names) => names,
            Err(_) if matches!(entries.get(dir), Some(Entry::Folder)) => Vec::new(),
            Err(error) => return Err(error),
        };
        names.retain(|name| !entries.contains_key(&dir.join(name)));
        let written = entries
            .iter()
            .filter(|(path, entry)| path.parent() == Some(dir) && !matches!(entry, Entry::Removed));
        names.extend(written.filter_map(|(path, _)| path.file_name()).map(OsString::from));
        Ok(names)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        match self.entries().get(path) {
            Some(Entry::File(bytes)) => Ok(Box::new(PreviewFile(bytes.clone()))),
            Some(Entry::Folder) => Err(io::ErrorKind::IsADirectory.into()),
            Some(Entry::Removed) => Err(io::ErrorKind::NotFound.into()),
            None => RealFs.open(path),
        }
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        let mut entries = self.entries();
        let bytes = match entries.get(path) {
            Some(Entry::File(bytes)) => bytes.clone(),
            Some(Entry::Folder) => return Err(io::ErrorKind::IsADirectory.into()),
            Some(Entry::Removed) => Bytes::default(),
            None => match read(path) {
                Ok(bytes) => {
                    rustix::fs::access(path, Access::READ_OK | Access::WRITE_OK)?;
                    Arc::new(Mutex::new(bytes))
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    takes_names(path.parent().unwrap_or(Path::new("/")))?;
                    Bytes::default()
                }
                Err(error) => return Err(error),
            },
        };
        entries.insert(path.to_path_buf(), Entry::File(bytes.clone()));
        Ok(Box::new(PreviewFile(bytes)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut entries = self.entries();
        let bytes = match entries.get(from) {
            Some(Entry::File(bytes)) => bytes.clone(),
            Some(Entry::Folder) => return Err(io::ErrorKind::IsADirectory.into()),
            Some(Entry::Removed) => return Err(io::ErrorKind::NotFound.into()),
            None => Arc::new(Mutex::new(read(from)?)),
        };
        takes_names(to.parent().unwrap_or(Path::new("/")))?;
        entries.insert(from.to_path_buf(), Entry::Removed);
        entries.insert(to.to_path_buf(), Entry::File(bytes));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut entries = self.entries();
        let is_there = match entries.get(path) {
            Some(entry) => !matches!(entry, Entry::Removed),
            None => std::fs::symlink_metadata(path).map(|_| true)?,
        };
        if !is_there {
            return Err(io::ErrorKind::NotFound.into());
        }
        takes_names(path.parent().unwrap_or(Path::new("/")))?;
        entries.insert(path.to_path_buf(), Entry::Removed);
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let there = dir.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("."));
        RealFs.free_bytes(there)
    }
}

/// A file that was written here.
struct PreviewFile(Bytes);

impl PreviewFile {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes from a place on, as addresses in memory.
fn range(offset: u64, length: usize) -> io::Result<std::ops::Range<usize>> {
    let start = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
    Ok(start..start.checked_add(length).ok_or(io::ErrorKind::FileTooLarge)?)
}

impl FsFile for PreviewFile {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }

    fn allocate(&mut self, size_bytes: u64) -> io::Result<()> {
        let size = usize::try_from(size_bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.bytes().resize(size, 0);
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let range = range(offset, buffer.len())?;
        buffer.copy_from_slice(self.bytes().get(range).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let range = range(offset, bytes.len())?;
        let mut written = self.bytes();
        if written.len() < range.end {
            written.resize(range.end, 0);
        }
        written[range].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_stay_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("there"), b"old").unwrap();
        let fs = PreviewFs::default();
        fs.create_dir(&path("made")).unwrap();
        fs.open_write(&path("made/new")).unwrap().write_at(b"abc", 1).unwrap();
        fs.open_write(&path("there")).unwrap().write_at(b"n", 0).unwrap();
        fs.rename(&path("made/new"), &path("moved")).unwrap();
        let read = |name: &str| {
            let file = fs.open(&path(name)).unwrap();
            let mut bytes = vec![0; usize::try_from(file.size_bytes().unwrap()).unwrap()];
            file.read_at(&mut bytes, 0).unwrap();
            bytes
        };
        assert_eq!((read("moved"), read("there")), (b"\0abc".to_vec(), b"nld".to_vec()));
        assert_eq!(fs.list(&path("made")).unwrap(), [""; 0]);
        fs.remove(&path("there")).unwrap();
        assert!(fs.open(&path("there")).is_err() && fs.remove(&path("there")).is_err());
        let mut names = fs.list(folder.path()).unwrap();
        names.sort();
        assert_eq!(names, ["made", "moved"]);
        assert_eq!(std::fs::read(path("there")).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_made_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), b"").unwrap();
        let fs = PreviewFs::default();
        let below = folder.path().join("file").join("state");
        assert!(fs.create_dir(&below).is_err() && fs.open_write(&below.join("a")).is_err());
        assert!(fs.create_dir(&folder.path().join("file")).is_err());
    }
}
