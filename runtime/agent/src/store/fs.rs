//! The disk, as little of it as the store needs: so that a test can cut the power at every call.
//!
//! Nothing here promises durability by itself: a file's bytes are safe after [`FsFile::sync`], a name
//! is safe after [`Fs::sync_dir`] on its folder. When a sync failed, the bytes since the last one are
//! lost whatever a later sync says; drop the handle.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{FallocateFlags, OFlags};

/// A file system.
pub(crate) trait Fs: Send + Sync {
    /// Makes a folder that its owner alone may enter; one that is there stays as it is.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// The names in a folder.
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>>;
    /// Opens a file for reading. What has the name of a file and is none is an error, [`io::ErrorKind::IsADirectory`]
    /// for a folder.
    fn open(&self, path: &Path) -> io::Result<Box<dyn FsFile>>;
    /// Opens a file for reading and writing, and makes it where it is missing. What is there stays.
    fn open_write(&self, path: &Path) -> io::Result<Box<dyn FsFile>>;
    /// Moves a file, in place of what is there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Deletes a file; or a folder that has its name, with what is in it.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// How many bytes may still be written below a folder.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;
}

/// An open file.
pub(crate) trait FsFile: Send + Sync {
    /// Its length in bytes.
    fn size_bytes(&self) -> io::Result<u64>;
    /// Gives it exactly this length, with its space on disk reserved.
    fn allocate(&mut self, size_bytes: u64) -> io::Result<()>;
    /// Fills the buffer from this place.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of it at this place.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes bytes and length durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// The real one.
pub(crate) struct RealFs;

impl Fs for RealFs {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        std::fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        // A pipe under the name of a file must not hold a start for ever.
        let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(nonblocking).open(path)?;
        let kind = file.metadata()?.file_type();
        if kind.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if !kind.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
        }
        Ok(Box::new(file))
    }

    fn open_write(&self, path: &Path) -> io::Result<Box<dyn FsFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        Ok(Box::new(options.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => std::fs::remove_dir_all(path),
            result => result,
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

impl FsFile for File {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn allocate(&mut self, size_bytes: u64) -> io::Result<()> {
        self.set_len(size_bytes)?;
        match rustix::fs::fallocate(&*self, FallocateFlags::empty(), 0, size_bytes) {
            Ok(()) => Ok(()),
            // Some file systems cannot reserve; a full disk is found at the first write then.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        // fdatasync: also the length, where it is needed to read the bytes back; not the times.
        self.sync_data()
    }
}
