//! Reading ONNX files, with the files beside them that hold their weights.
//!
//! A model comes from anywhere, and so do the names in it. Only regular files in the model's own folder, or in
//! folders within it, are opened: no absolute names, no `..`, no links that lead out. Sizes are compared before
//! anything is read.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use dunlin_compiler::{CompileError, External, MAX_ONNX_BYTES};

use crate::failure::{Failure, Outcome, on_file};

/// An ONNX file.
pub(crate) struct Onnx {
    /// The file's bytes.
    pub(crate) bytes: Vec<u8>,
    /// The files beside it.
    pub(crate) beside: Beside,
}

/// The files in the folder of a model.
pub(crate) struct Beside {
    folder: PathBuf,
}

/// Reads a model, unless it is larger than the compiler takes.
pub(crate) fn read(path: &Path) -> Outcome<Onnx> {
    let too_large = |actual| {
        let (what, limit, unit) = ("the ONNX file".to_string(), MAX_ONNX_BYTES, "bytes");
        Failure::from(CompileError::TooLarge { what, actual, limit, unit })
    };
    let file = on_file("read", path, File::open(path))?;
    let size = on_file("read", path, file.metadata())?.len();
    if size > MAX_ONNX_BYTES {
        return Err(too_large(size));
    }
    let mut bytes = Vec::new();
    // A pipe, for example, has no size until it has been read.
    on_file("read", path, file.take(MAX_ONNX_BYTES + 1).read_to_end(&mut bytes))?;
    if bytes.len() as u64 > MAX_ONNX_BYTES {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(Onnx { bytes, beside: Beside::of(path) })
}

impl Beside {
    fn of(model: &Path) -> Beside {
        let folder = model.parent().filter(|folder| !folder.as_os_str().is_empty());
        Beside { folder: folder.unwrap_or(Path::new(".")).to_path_buf() }
    }

    /// The path of a file within the folder.
    fn path(&self, location: &str) -> Result<PathBuf, String> {
        let named = Path::new(location);
        let plain = named.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if location.is_empty() || !plain {
            return Err("only files in the folder of the model are read, by names without `..`".to_string());
        }
        let cannot = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                format!("there is no such file in {}", self.folder.display())
            }
            _ => error.to_string(),
        };
        let folder = self.folder.canonicalize().map_err(cannot)?;
        let path = folder.join(named).canonicalize().map_err(cannot)?;
        if !path.starts_with(&folder) {
            let target = path.display();
            return Err(format!("it is a link to {target}, out of the folder of the model; copy it there"));
        }
        Ok(path)
    }
}

impl External for Beside {
    fn read(&self, location: &str, offset: u64, length: u64) -> Result<Vec<u8>, String> {
        let path = self.path(location)?;
        let text = |error: std::io::Error| error.to_string();
        let about = std::fs::metadata(&path).map_err(text)?;
        if !about.is_file() {
            return Err("it is no regular file".to_string());
        }
        let size = about.len();
        if offset.checked_add(length).is_none_or(|end| end > size) {
            return Err(format!(
                "it has {size} bytes, but {length} from byte {offset} on are asked for; is it of another export?"
            ));
        }
        let length = usize::try_from(length).map_err(|error| error.to_string())?;
        let mut file = File::open(&path).map_err(text)?;
        file.seek(SeekFrom::Start(offset)).map_err(text)?;
        let mut bytes = vec![0; length];
        file.read_exact(&mut bytes).map_err(text)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with a model, and a file beside that folder.
    fn folder() -> (tempfile::TempDir, Beside) {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("model");
        std::fs::create_dir_all(inner.join("parts")).unwrap();
        std::fs::write(outer.path().join("secret"), b"secret").unwrap();
        std::fs::write(inner.join("m.onnx.data"), b"0123456789").unwrap();
        std::fs::write(inner.join("parts/w"), b"part").unwrap();
        let beside = Beside::of(&inner.join("m.onnx"));
        (outer, beside)
    }

    #[test]
    fn reads_parts_of_files_in_the_folder() {
        let (_outer, beside) = folder();
        assert_eq!(beside.read("m.onnx.data", 2, 3).unwrap(), b"234");
        assert_eq!(beside.read("./m.onnx.data", 10, 0).unwrap(), b"");
        assert_eq!(beside.read("parts/w", 0, 4).unwrap(), b"part");
    }

    #[test]
    fn opens_nothing_outside_the_folder() {
        let (outer, beside) = folder();
        let inner = outer.path().join("model");
        std::os::unix::fs::symlink("../secret", inner.join("link")).unwrap();
        std::os::unix::fs::symlink("..", inner.join("up")).unwrap();
        std::os::unix::fs::symlink("m.onnx.data", inner.join("within")).unwrap();
        let absolute = outer.path().join("secret");
        for location in
            ["../secret", "parts/../../secret", "", "link", "up/secret", absolute.to_str().unwrap()]
        {
            let error = beside.read(location, 0, 1).unwrap_err();
            assert!(error.contains("folder of the model"), "{location}: {error}");
        }
        assert_eq!(beside.read("within", 0, 1).unwrap(), b"0");
        for location in ["none", "parts", "none/../none"] {
            assert!(beside.read(location, 0, 1).is_err(), "{location}");
        }
    }

    #[test]
    fn compares_sizes_before_it_reads() {
        let (_outer, beside) = folder();
        for (offset, length) in [(0, 11), (10, 1), (u64::MAX, 2), (0, u64::MAX)] {
            let error = beside.read("m.onnx.data", offset, length).unwrap_err();
            assert!(error.contains("10 bytes"), "{error}");
        }
    }

    #[test]
    fn a_model_without_a_folder_is_in_the_current_one() {
        assert_eq!(Beside::of(Path::new("m.onnx")).folder, Path::new("."));
        assert_eq!(Beside::of(Path::new("/a/m.onnx")).folder, Path::new("/a"));
    }
}
