//! Memory files that nobody can change any more.
//!
//! A sealed file has no path, and neither its content nor its length can change, whoever holds it. That
//! makes it safe to map machine code from one that was checked before.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};

const SEALS: SealFlags =
    SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);

/// An empty memory file, to be written and then [sealed](seal).
pub(crate) fn create(name: &str) -> io::Result<File> {
    Ok(File::from(memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?))
}

/// Ends all change of a file. Fails as long as somebody has it mapped for writing.
pub(crate) fn seal(file: &File) -> io::Result<()> {
    Ok(fcntl_add_seals(file, SEALS)?)
}

/// Ends all change of a file's length.
pub(super) fn fix_length(file: &File) -> io::Result<()> {
    Ok(fcntl_add_seals(file, SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW)?)
}

/// Whether nobody can change a file any more.
pub(super) fn is_sealed(file: &File) -> bool {
    fcntl_get_seals(file).is_ok_and(|seals| seals.contains(SEALS))
}

/// A sealed file with this content.
pub(crate) fn file(name: &str, content: &[u8]) -> io::Result<File> {
    let mut file = create(name)?;
    file.write_all(content)?;
    seal(&file)?;
    Ok(file)
}

/// The whole content, if it has at most `most` bytes. Where the file was read before does not matter.
pub(super) fn read(file: &File, most: u64) -> io::Result<Vec<u8>> {
    let mut file = file;
    let length = file.seek(SeekFrom::End(0))?;
    if length > most {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{length} bytes, {most} are the most"),
        ));
    }
    file.seek(SeekFrom::Start(0))?;
    let mut content = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    file.take(most).read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_file_can_be_read_and_never_changed() {
        let file = file("test", b"content").unwrap();
        assert!(is_sealed(&file));
        assert_eq!(read(&file, 7).unwrap(), b"content");
        assert_eq!(read(&file, 7).unwrap(), b"content", "wherever it was read to");
        assert!(read(&file, 6).is_err());
        assert!((&file).write_all(b"x").is_err());
        assert!(file.set_len(0).is_err() && file.set_len(100).is_err());
        let open = create("open").unwrap();
        assert!(!is_sealed(&open));
    }
}
