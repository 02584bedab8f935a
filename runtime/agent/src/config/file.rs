//! Reading of the configuration's files: bounded, and secret ones only where nobody else can read them.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use dunlin_mqtt::Secret;

use super::ConfigError;

/// A configuration or password file is shorter than this.
const MAX_FILE_BYTES: u64 = 64 * 1024;

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> ConfigError {
    let path = path.to_path_buf();
    move |error| ConfigError::File { path, error: error.to_string() }
}

/// The text of a file of at most 64 KiB.
pub(super) fn read_text(path: &Path) -> Result<String, ConfigError> {
    let mut text = String::new();
    let file = File::open(path).map_err(failed(path))?;
    let read = file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(failed(path))?;
    if u64::try_from(read).is_ok_and(|read| read <= MAX_FILE_BYTES) {
        Ok(text)
    } else {
        Err(ConfigError::File {
            path: path.to_path_buf(),
            error: format!("it is longer than {MAX_FILE_BYTES} bytes"),
        })
    }
}

/// The absolute folder of a file.
pub(super) fn folder_of(path: &Path) -> Result<PathBuf, ConfigError> {
    let path = std::path::absolute(path).map_err(failed(path))?;
    Ok(path.parent().unwrap_or(Path::new("/")).to_path_buf())
}

/// Refuses a file that others than its owner may read or write.
pub(super) fn check_secret(path: &Path, key: &'static str) -> Result<(), ConfigError> {
    let metadata = fs::metadata(path).map_err(failed(path))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(ConfigError::SecretMode { key, path: path.to_path_buf(), mode });
    }
    Ok(())
}

/// A private key in PEM.
pub(super) fn read_key(path: &Path) -> Result<Secret, ConfigError> {
    check_secret(path, "broker.certificate_key_file")?;
    Ok(Secret::new(read_text(path)?))
}

/// Refuses a file that others can write, or replace in its folder: who writes the configuration, the root
/// of trust or the state decides what the device runs. A file that is not there is looked for where it is read.
pub(super) fn check_unwritable(path: &Path) -> Result<(), ConfigError> {
    check_mode(path, 0o002)?;
    let folder = std::path::absolute(path).map_err(failed(path))?;
    match folder.parent() {
        // In a folder like /tmp only the owner of a file can replace it.
        Some(folder) => check_mode(folder, 0o1002),
        None => Ok(()),
    }
}

/// Refuses what others can write. With the sticky bit in `bits`, a folder that has it is taken, whatever its owner.
fn check_mode(path: &Path, bits: u32) -> Result<(), ConfigError> {
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(failed(path))?,
    };
    let mode = metadata.permissions().mode() & 0o7777;
    if bits & mode & 0o1000 != 0 {
        return Ok(());
    }
    let (owner, me) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if mode & 0o002 != 0 || (owner != me && owner != 0) {
        return Err(ConfigError::Writable { path: path.to_path_buf(), mode: mode & 0o777, owner });
    }
    Ok(())
}

/// A password or token: the file's text without the newline at its end, of so many bytes at least.
pub(super) fn read_line(path: &Path, key: &'static str, least: usize) -> Result<Secret, ConfigError> {
    check_secret(path, key)?;
    let text = read_text(path)?;
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.len() < least {
        let error = format!("{key} wants a line of at least {least} characters in it");
        return Err(ConfigError::File { path: path.to_path_buf(), error });
    }
    Ok(Secret::new(secret))
}
