//! Signing with the keys of the folder: as many as a role needs, and no others than the root names.
//!
//! What the keys here are too few for waits under `pending/`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use dunlin_core::Digest;
use dunlin_core::document::{self, Document, RoleName, Root};
use dunlin_core::envelope::Envelope;
use dunlin_core::id::KeyName;
use dunlin_core::trust::{TrustError, Verified};

use super::{Fleet, FolderError, key_path, pending_path};
use crate::file::{self, Readers};
use crate::key::Signer;

impl Fleet {
    /// Signs a document with the folder's keys of its role, as many as are needed, and verifies it as a
    /// device will.
    ///
    /// # Errors
    /// A key cannot be used or is not the one that the root names, or the document breaks a rule. With
    /// fewer keys than are needed, the document waits under `pending/` for the others.
    pub fn sign<T: Document>(&self, document: &T) -> Result<Verified<T>, FolderError> {
        let (body, _) = document::to_body(document)?;
        self.complete::<T>(Envelope::of::<T>(&body))
    }

    /// Adds the signatures that an envelope still needs, and verifies it.
    ///
    /// # Errors
    /// As [`Fleet::sign`].
    pub(crate) fn complete<T: Document>(&self, mut envelope: Envelope) -> Result<Verified<T>, FolderError> {
        let second = self.second_role(&document::parse::<T>(envelope.body())?);
        if self.add_missing(&mut envelope, T::ROLE)? == 0 {
            let names = self.root.root().role(T::ROLE).map_or(&[][..], |role| &role.keys);
            let names: Vec<&str> = names.iter().map(KeyName::as_str).collect();
            let (keys, names) = (self.folder.join("keys"), names.join(", "));
            return Err(FolderError::NoKey { kind: T::KIND, keys, role: T::ROLE, names });
        }
        if let Some(second) = second {
            self.add_missing(&mut envelope, second)?;
        }
        let (digest, bytes) = (Digest::of(envelope.body()), envelope.to_bytes());
        let path = pending_path(&self.folder, T::KIND, &digest);
        match self.verify_whole(&bytes) {
            Ok(document) => {
                file::remove_if_there(&path)?;
                Ok(document)
            }
            Err(TrustError::Threshold { kind, role, found, needed }) => {
                file::replace(&path, &bytes, Readers::Anyone)?;
                Err(FolderError::Unfinished { kind, path, role, found, needed })
            }
            Err(error) => Err(FolderError::Trust { path, error }),
        }
    }

    /// The role that must sign a document beside its own, as far as the root uses it.
    fn second_role<T: Document>(&self, document: &T) -> Option<RoleName> {
        document.second_role().filter(|role| self.root.root().role(*role).is_some())
    }

    /// Verifies a document with all signatures that any device asks for.
    ///
    /// # Errors
    /// It is not trusted, or the role that must sign it beside its own did not.
    pub(crate) fn verify_whole<T: Document>(&self, envelope: &[u8]) -> Result<Verified<T>, TrustError> {
        let document = self.root.verify::<T>(envelope)?;
        if let Some(role) = self.second_role::<T>(&document) {
            self.root.countersigned(&document, role)?;
        }
        Ok(document)
    }

    /// Adds what an envelope still needs of a role's signatures; gives how many there were or are added.
    fn add_missing(&self, envelope: &mut Envelope, role: RoleName) -> Result<usize, FolderError> {
        let root = self.root.root();
        let needed = root.role(role).map_or(1, |role| usize::from(role.threshold));
        let before = envelope.count_signers(root.role_keys(role), needed);
        let added = if before < needed { self.add_signatures(envelope, root, role, needed)? } else { 0 };
        Ok(before + added)
    }

    /// Signs with the folder's keys of a role of some root, with `most` of them; gives how many signed.
    ///
    /// # Errors
    /// A key cannot be used, or is not the one that the root names so.
    pub(crate) fn add_signatures(
        &self,
        envelope: &mut Envelope,
        root: &Root,
        role: RoleName,
        most: usize,
    ) -> Result<usize, FolderError> {
        let names = root.role(role).map_or(&[][..], |role| &role.keys);
        let (message, mut signed) = (envelope.message(), 0);
        for key in root.keys.iter().filter(|key| names.contains(&key.name)) {
            if signed == most {
                break;
            }
            let Some(path) = self.key_file(&key.name) else { continue };
            let signer = self.signer(&path)?;
            if signer.public() != key.public {
                let (name, expected, found) =
                    (key.name.clone(), key.public.to_string(), signer.public().to_string());
                return Err(FolderError::WrongKey { path, name, expected, found });
            }
            envelope.push(&key.name, signer.sign(&message)?);
            signed += 1;
        }
        Ok(signed)
    }

    /// The file of a key of this name, if the folder has one.
    pub fn key_file(&self, name: &KeyName) -> Option<PathBuf> {
        let key = key_path(&self.folder, name);
        let command = key.with_extension("toml");
        [key, command].into_iter().find(|path| path.exists())
    }

    /// The signer of a file, opened once.
    fn signer(&self, path: &Path) -> Result<Arc<Signer>, FolderError> {
        let mut signers = self.signers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signer) = signers.get(path) {
            return Ok(Arc::clone(signer));
        }
        let signer = Arc::new(Signer::open(path, &*self.passphrases)?);
        signers.insert(path.to_path_buf(), Arc::clone(&signer));
        Ok(signer)
    }
}
