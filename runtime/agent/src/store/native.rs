//! The compiled cache: machine code of releases, so that a start need not compile.
//!
//! Machine code is run as it is, so a file is believed only with a MAC by a key that this device made for
//! itself and that no other process holds. It covers what the code was made from and for, so that a file of
//! another release, another engine or other limits is none. The cache is disposable: whatever is wrong
//! with it means that a release is compiled again, and nothing of it is ever synced.
//!
//! ```text
//! native/key             32 random bytes
//! native/<sha256>        {length of the head: u32} head, code, HMAC-SHA256 of all before it
//!                        under the key; <sha256> is the release's
//! ```

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;

use dunlin_core::Digest;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::{Store, StoreError, TEMPORARY};

const FOLDER: &str = "native";
const KEY: &str = "key";
const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 32;

/// The longest head, in bytes.
const MAX_HEAD_BYTES: usize = 256 * 1024;

/// Files are read and written in pieces of this.
const PIECE_BYTES: usize = 256 * 1024;

/// What machine code was made from and for. Code for anything else is not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NativeKey {
    /// The release: its module, golden vectors, granted imports and limits.
    pub release: Digest,
    /// The engine, as [`dunlin_sandbox::Engine::fingerprint`] has it.
    pub engine: Digest,
    /// The limits that hold for it here.
    pub limits: Digest,
}

impl NativeKey {
    fn mac(&self, key: &[u8; KEY_BYTES]) -> Result<Hmac<Sha256>, StoreError> {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| {
            StoreError::io("use", std::path::Path::new(KEY), &io::ErrorKind::InvalidData.into())
        })?;
        mac.update(b"dunlin native code 1\0");
        for part in [self.release, self.engine, self.limits] {
            mac.update(part.as_bytes());
        }
        Ok(mac)
    }
}

impl Store {
    /// Writes the machine code for a key into `code`, and gives its head; `None` if there is none that can
    /// be trusted, and what was written is to be thrown away then.
    ///
    /// # Errors
    /// The disk, or `code` cannot be written.
    pub fn native(&self, key: &NativeKey, code: &mut impl Write) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path(FOLDER, &key.release.to_string());
        let (Some(file), Some(secret)) = (self.open_existing(&path)?, self.native_key()?) else {
            return Ok(None);
        };
        let failed = |error: io::Error| StoreError::io("read", &path, &error);
        let size_bytes = file.size_bytes().map_err(failed)?;
        let mut mac = key.mac(&secret)?;
        let mut length = [0; 4];
        if size_bytes < (length.len() + TAG_BYTES) as u64 {
            return Ok(None);
        }
        file.read_at(&mut length, 0).map_err(failed)?;
        mac.update(&length);
        let head_bytes = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        let code_end = size_bytes - TAG_BYTES as u64;
        let mut at = 4 + head_bytes as u64;
        if head_bytes > MAX_HEAD_BYTES || at > code_end {
            return Ok(None);
        }
        let mut head = vec![0; head_bytes];
        file.read_at(&mut head, 4).map_err(failed)?;
        mac.update(&head);
        let mut piece = vec![0; PIECE_BYTES];
        while at < code_end {
            let wanted = usize::try_from(code_end - at).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            let Some(part) = piece.get_mut(..wanted) else { break };
            file.read_at(part, at).map_err(failed)?;
            mac.update(part);
            code.write_all(part).map_err(failed)?;
            at += wanted as u64;
        }
        let mut tag = [0; TAG_BYTES];
        file.read_at(&mut tag, code_end).map_err(failed)?;
        // Compared in constant time.
        Ok(mac.verify_slice(&tag).is_ok().then_some(head))
    }

    /// Keeps machine code; what is kept for the release already is replaced. Not where it would take the
    /// room that documents and blobs need.
    ///
    /// # Errors
    /// The disk, or `code` cannot be read; nothing of it is kept then.
    pub fn keep_native(&self, key: &NativeKey, head: &[u8], code: &File) -> Result<(), StoreError> {
        let name = key.release.to_string();
        let (path, beside) = (self.path(FOLDER, &name), self.path(FOLDER, &format!("{name}{TEMPORARY}")));
        let failed = |error: io::Error| StoreError::io("write", &path, &error);
        let code_bytes = code.metadata().map_err(failed)?.len();
        let free = self.fs().free_bytes(&self.0.dir).map_err(failed)?;
        if free < code_bytes.saturating_add(self.reserve_bytes()) || head.len() > MAX_HEAD_BYTES {
            tracing::info!(
                code_bytes,
                free,
                "no room for machine code: it is compiled again at the next start"
            );
            return Ok(());
        }
        let secret = match self.native_key()? {
            Some(secret) => secret,
            None => self.make_native_key()?,
        };
        self.remove(&beside)?;
        let write = || -> Result<(), StoreError> {
            let mut mac = key.mac(&secret)?;
            let mut file = self.fs().open_write(&beside).map_err(failed)?;
            let mut at = 0;
            let mut put = |part: &[u8]| -> io::Result<()> {
                file.write_at(part, at)?;
                at += part.len() as u64;
                Ok(())
            };
            let length = u32::try_from(head.len()).unwrap_or(u32::MAX).to_le_bytes();
            for part in [length.as_slice(), head] {
                mac.update(part);
                put(part).map_err(failed)?;
            }
            let mut piece = vec![0; PIECE_BYTES];
            let mut from = 0;
            while from < code_bytes {
                let read = code.read_at(&mut piece, from).map_err(failed)?;
                let part = piece.get(..read).unwrap_or_default();
                if part.is_empty() {
                    return Err(failed(io::ErrorKind::UnexpectedEof.into()));
                }
                mac.update(part);
                put(part).map_err(failed)?;
                from += read as u64;
            }
            put(&mac.finalize().into_bytes()).map_err(failed)?;
            self.fs().rename(&beside, &path).map_err(failed)
        };
        let written = write();
        if written.is_err() {
            self.remove(&beside)?;
        }
        written
    }

    /// The key, if there is one.
    fn native_key(&self) -> Result<Option<[u8; KEY_BYTES]>, StoreError> {
        let path = self.path(FOLDER, KEY);
        let Some(file) = self.open_existing(&path)? else { return Ok(None) };
        let failed = |error: io::Error| StoreError::io("read", &path, &error);
        if file.size_bytes().map_err(failed)? != KEY_BYTES as u64 {
            self.note_damage(format!(
                "{FOLDER}/{KEY}: it has another length; what is compiled is compiled again"
            ));
            return Ok(None);
        }
        let mut key = [0; KEY_BYTES];
        file.read_at(&mut key, 0).map_err(failed)?;
        // What a power cut left of a file that was never synced.
        Ok((key != [0; KEY_BYTES]).then_some(key))
    }

    fn make_native_key(&self) -> Result<[u8; KEY_BYTES], StoreError> {
        let mut key = [0; KEY_BYTES];
        let path = self.path(FOLDER, KEY);
        getrandom::fill(&mut key).map_err(|error| StoreError::io("make", &path, &io::Error::other(error)))?;
        self.replace(FOLDER, KEY, &key)?;
        Ok(key)
    }

    /// Deletes the machine code of all other releases.
    pub(super) fn sweep_native(&self, releases: &[Digest]) -> Result<(), StoreError> {
        self.sweep(FOLDER, |name| name == KEY || super::kept(name, &[""], releases))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(release: &[u8]) -> NativeKey {
        NativeKey {
            release: Digest::of(release),
            engine: Digest::of(b"engine"),
            limits: Digest::of(b"limits"),
        }
    }

    fn file(content: &[u8]) -> File {
        crate::worker::sealed_file("code", content).unwrap()
    }

    fn read(store: &Store, key: &NativeKey) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut code = Vec::new();
        store.native(key, &mut code).unwrap().map(|head| (head, code))
    }

    #[test]
    fn what_was_kept_is_found_by_its_whole_key() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let code: Vec<u8> = (0..600_000u32).map(|index| index.to_le_bytes()[0]).collect();
        assert_eq!(read(&store, &key(b"a")), None);
        store.keep_native(&key(b"a"), b"head", &file(&code)).unwrap();
        assert_eq!(read(&store, &key(b"a")), Some((b"head".to_vec(), code.clone())));
        assert_eq!(read(&store, &NativeKey { engine: Digest::of(b"other"), ..key(b"a") }), None);
        assert_eq!(read(&store, &NativeKey { limits: Digest::of(b"other"), ..key(b"a") }), None);
        // The file of another release under this one's name.
        let name = |release: &[u8]| folder.path().join("native").join(key(release).release.to_string());
        std::fs::copy(name(b"a"), name(b"b")).unwrap();
        assert_eq!(read(&store, &key(b"b")), None);
        store.keep_native(&key(b"b"), b"", &file(b"")).unwrap();
        assert_eq!(read(&store, &key(b"b")), Some((vec![], vec![])), "it is replaced");
        store.sweep_native(&[key(b"b").release]).unwrap();
        assert!(read(&store, &key(b"a")).is_none() && read(&store, &key(b"b")).is_some());
        // Another device's key.
        std::fs::write(folder.path().join("native/key"), [7; 32]).unwrap();
        assert_eq!(read(&store, &key(b"b")), None);
    }

    #[test]
    fn a_flipped_byte_anywhere_means_that_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        store.keep_native(&key(b"a"), b"the head", &file(b"machine code")).unwrap();
        let path = folder.path().join("native").join(key(b"a").release.to_string());
        let sound = std::fs::read(&path).unwrap();
        for at in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[at] ^= 1;
            std::fs::write(&path, &damaged).unwrap();
            assert_eq!(read(&store, &key(b"a")), None, "byte {at}");
        }
        for length in 0..sound.len() {
            std::fs::write(&path, &sound[..length]).unwrap();
            assert_eq!(read(&store, &key(b"a")), None, "cut to {length}");
        }
        std::fs::write(&path, &sound).unwrap();
        assert!(read(&store, &key(b"a")).is_some());
    }
}
