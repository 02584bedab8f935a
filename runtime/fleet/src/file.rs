//! Files of the operator: written whole or not at all, secret ones readable by their owner only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Everyone that the umask lets; only the owner and the group may write, whatever it says.
    Anyone,
    /// The owner alone: mode 0600.
    Owner,
}

/// A file operation that failed, with the path that it was about.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {path}: {error}")]
pub struct FileError {
    /// The operation: `read`, `write`, `create`.
    pub what: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What the system says.
    #[source]
    pub error: io::Error,
}

impl dunlin_core::code::Coded for FileError {
    fn code(&self) -> dunlin_core::code::Code {
        dunlin_core::code::fleet::FILE
    }
}

impl FileError {
    pub(crate) fn new(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
        let path = path.to_path_buf();
        move |error| FileError { what, path, error }
    }
}

/// The whole content of a file.
///
/// # Errors
/// The file cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(FileError::new("read", path))
}

/// The content of a file, or nothing where there is no such file.
///
/// # Errors
/// The file is there and cannot be read.
pub fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::new("read", path)(error)),
    }
}

/// Removes a file that may be there.
///
/// # Errors
/// The system refuses.
pub fn remove_if_there(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::new("remove", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes a folder and those above it.
///
/// # Errors
/// The system refuses.
pub fn create_dir(path: &Path) -> Result<(), FileError> {
    // Others must not replace what is in it, whatever the umask says.
    fs::DirBuilder::new().recursive(true).mode(0o775).create(path).map_err(FileError::new("create", path))
}

/// The entries of a folder by name, in order; none where there is no such folder.
///
/// # Errors
/// The folder is there and cannot be read.
pub fn list(path: &Path) -> Result<Vec<String>, FileError> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(FileError::new("read", path)(error)),
    };
    let names: Result<Vec<String>, io::Error> =
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect();
    let mut names = names.map_err(FileError::new("read", path))?;
    names.sort_unstable();
    Ok(names)
}

/// Replaces a file: written beside it, synced, renamed into place, and the folder synced.
///
/// # Errors
/// Any step that fails; the old file then stands as it was.
pub fn replace(path: &Path, content: &[u8], readers: Readers) -> Result<(), FileError> {
    // The parent of a bare name is the empty path, which cannot be opened.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    create_dir(folder)?;
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    let beside = folder.join(name);
    let written = write_new(&beside, content, readers).map_err(FileError::new("write", &beside));
    let renamed = written.and_then(|()| fs::rename(&beside, path).map_err(FileError::new("write", path)));
    if renamed.is_err() {
        // Nothing half written stays, least of all of a key; the first error is the one that counts.
        let _ = fs::remove_file(&beside);
    }
    renamed?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(FileError::new("write", folder))
}

fn write_new(path: &Path, content: &[u8], readers: Readers) -> io::Result<()> {
    // What an interrupted run left behind may have another mode.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mode = match readers {
        Readers::Anyone => 0o664,
        Readers::Owner => 0o600,
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// The permission bits of a file.
///
/// # Errors
/// The file cannot be examined.
pub fn mode(path: &Path) -> Result<u32, FileError> {
    let metadata = fs::metadata(path).map_err(FileError::new("read", path))?;
    Ok(metadata.permissions().mode() & 0o777)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/a");
        for content in ["one", "two"] {
            replace(&path, content.as_bytes(), Readers::Anyone).unwrap();
            assert_eq!(read(&path).unwrap(), content.as_bytes());
        }
        assert_eq!(list(path.parent().unwrap()).unwrap(), ["a"]);
        // A folder stands where the new content would be written.
        fs::create_dir(path.with_extension("new")).unwrap();
        let error = replace(&path, b"three", Readers::Anyone).unwrap_err();
        assert!(error.to_string().starts_with("cannot write"), "{error}");
        assert_eq!(read(&path).unwrap(), b"two");
    }

    #[test]
    fn what_an_interrupted_run_left_lends_its_mode_to_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(folder.path().join("a.new"), "left behind, readable by all").unwrap();
        replace(&path, b"secret", Readers::Owner).unwrap();
        assert_eq!((read(&path).unwrap(), mode(&path).unwrap()), (b"secret".to_vec(), 0o600));
    }

    #[test]
    fn what_is_not_there_is_nothing_and_what_cannot_be_read_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        assert_eq!(read_if_there(&path).unwrap(), None);
        assert_eq!(list(&path).unwrap(), Vec::<String>::new());
        assert!(read(&path).unwrap_err().to_string().contains(path.to_str().unwrap()));
        assert!(read_if_there(folder.path()).is_err());
        fs::write(&path, "").unwrap();
        assert!(list(&path).is_err());
    }
}
