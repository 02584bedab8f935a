//! The file of a precompiled variant: machine code of one module for one kind of machine, and what it is.
//!
//! ```text
//! "dunlin native 1\n"   16 bytes
//! {length: u32}         of the head, little-endian
//! head                  JSON
//! code                  as wasmtime writes it, up to the end
//! ```
//!
//! Nothing here is trusted by its form: machine code is believed because the role `precompiled` signed the
//! release that names the file's digest. The head says what the code is, so that one that does not fit is
//! refused with words.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::code::{self, Code, Coded};
use crate::digest::Digest;
use crate::document::{AttachmentKind, Blob, Release};

const MAGIC: &[u8; 16] = b"dunlin native 1\n";

/// The longest head, in bytes.
const MAX_HEAD_BYTES: usize = 4096;

/// The machine code that a device can run: the kind of machine, and the version of wasmtime, which both must
/// be the very ones that code was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The kind, by its name: `aarch64-linux`.
    pub target: String,
    /// The exact version of wasmtime.
    pub wasmtime: String,
}

impl Machine {
    /// The variant of a release that was made for this machine.
    pub fn variant<'r>(&self, release: &'r Release) -> Option<&'r Blob> {
        let kind =
            AttachmentKind::Precompiled { target: self.target.clone(), wasmtime: self.wasmtime.clone() };
        release.attachment(&kind)
    }
}

/// What machine code was made from and for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The sha256 of the module.
    pub artifact: Digest,
    /// The kind of machine.
    pub target: String,
    /// The exact version of wasmtime.
    pub wasmtime: String,
    /// Whether it has checks by which the clock stops it. Without them it must be proven that a call ends
    /// within its deadline.
    pub interruptible: bool,
}

impl Head {
    /// The whole file.
    ///
    /// # Errors
    /// A name is too long for a head.
    pub fn with_code(&self, code: &[u8]) -> Result<Vec<u8>, PrecompiledError> {
        let head = serde_json::to_vec(self).map_err(|error| PrecompiledError::Head(error.to_string()))?;
        if head.len() > MAX_HEAD_BYTES {
            return Err(PrecompiledError::Head(alloc::format!("it has {} bytes", head.len())));
        }
        let mut file = MAGIC.to_vec();
        file.extend_from_slice(&u32::try_from(head.len()).unwrap_or(u32::MAX).to_le_bytes());
        file.extend_from_slice(&head);
        file.extend_from_slice(code);
        Ok(file)
    }

    /// Parts a file into head and code.
    ///
    /// # Errors
    /// It is no such file, or cut.
    pub fn parse(file: &[u8]) -> Result<(Head, &[u8]), PrecompiledError> {
        let rest = file.strip_prefix(MAGIC).ok_or(PrecompiledError::Magic)?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or(PrecompiledError::Cut)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if length > MAX_HEAD_BYTES {
            return Err(PrecompiledError::Head(alloc::format!("it has {length} bytes")));
        }
        let (head, code) = rest.split_at_checked(length).ok_or(PrecompiledError::Cut)?;
        let head = serde_json::from_slice(head).map_err(|error| PrecompiledError::Head(error.to_string()))?;
        if code.is_empty() {
            return Err(PrecompiledError::Cut);
        }
        Ok((head, code))
    }

    /// Holds the code to what it shall be: of this module, for this machine, with checks or without.
    ///
    /// # Errors
    /// The first difference.
    pub fn expect(
        &self,
        artifact: Digest,
        machine: &Machine,
        interruptible: bool,
    ) -> Result<(), PrecompiledError> {
        if self.artifact != artifact {
            return Err(PrecompiledError::Artifact { expected: artifact, found: self.artifact });
        }
        for (expected, found) in [(&machine.target, &self.target), (&machine.wasmtime, &self.wasmtime)] {
            if expected != found {
                let (expected, found) = (expected.clone(), found.clone());
                return Err(PrecompiledError::Machine { expected, found });
            }
        }
        match (self.interruptible, interruptible) {
            (false, true) => Err(PrecompiledError::Unstoppable),
            (true, false) => Err(PrecompiledError::Stoppable),
            (true, true) | (false, false) => Ok(()),
        }
    }
}

/// Why machine code is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrecompiledError {
    /// Another kind of file.
    #[error("it is no precompiled variant: `dunlin compile --precompile` makes one")]
    Magic,
    /// It ends too soon.
    #[error("the precompiled variant is cut")]
    Cut,
    /// The head is none.
    #[error("the head of the precompiled variant: {0}")]
    Head(String),
    /// Of another module.
    #[error("the machine code was made from the module {found}, not from {expected}")]
    Artifact {
        /// The module's digest.
        expected: Digest,
        /// The head's.
        found: Digest,
    },
    /// For another machine or wasmtime.
    #[error("the machine code was made for {found:?}, not for {expected:?}")]
    Machine {
        /// What is asked for.
        expected: String,
        /// The head's.
        found: String,
    },
    /// It cannot be stopped by the clock, and must be.
    #[error(
        "the machine code has no checks by which the clock stops it, and what a call of the module does is not \
         bounded: precompile it again, with this version of Dunlin"
    )]
    Unstoppable,
    /// It has checks that it does not need.
    #[error(
        "the machine code has checks by which the clock stops it, and what a call of the module does is bounded: \
         precompile it again, with this version of Dunlin"
    )]
    Stoppable,
}

impl Coded for PrecompiledError {
    fn code(&self) -> Code {
        code::module::NATIVE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn head() -> Head {
        Head {
            artifact: Digest::of(b"module"),
            target: "aarch64-linux".into(),
            wasmtime: "48.0.8".into(),
            interruptible: false,
        }
    }

    fn machine() -> Machine {
        Machine { target: "aarch64-linux".into(), wasmtime: "48.0.8".into() }
    }

    #[test]
    fn a_file_gives_back_what_was_put_into_it_and_every_cut_is_found() {
        let file = head().with_code(b"code").unwrap();
        assert_eq!(Head::parse(&file), Ok((head(), &b"code"[..])));
        for length in 0..file.len() - 3 {
            assert!(Head::parse(&file[..length]).is_err(), "{length}");
        }
        let mut other = file.clone();
        other[14] = b'2';
        assert_eq!(Head::parse(&other), Err(PrecompiledError::Magic));
        let mut long = file;
        long[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(Head::parse(&long), Err(PrecompiledError::Head(_))));
        let wordy = Head { target: "x".repeat(MAX_HEAD_BYTES), ..head() };
        assert!(wordy.with_code(b"code").is_err());
    }

    #[test]
    fn every_field_of_the_head_decides() {
        let artifact = Digest::of(b"module");
        assert_eq!(head().expect(artifact, &machine(), false), Ok(()));
        let changed: [(Head, &str); 4] = [
            (Head { artifact: Digest::of(b"other"), ..head() }, "made from the module"),
            (Head { target: "x86_64-linux".into(), ..head() }, "made for \"x86_64-linux\""),
            (Head { wasmtime: "48.0.7".into(), ..head() }, "made for \"48.0.7\""),
            (Head { interruptible: true, ..head() }, "is bounded: precompile it again"),
        ];
        for (changed, words) in changed {
            let error = changed.expect(artifact, &machine(), false).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        let error = head().expect(artifact, &machine(), true);
        assert_eq!(error, Err(PrecompiledError::Unstoppable));
        assert_eq!(Head { interruptible: true, ..head() }.expect(artifact, &machine(), true), Ok(()));
    }

    #[test]
    fn a_machine_has_one_variant() {
        let mut release = crate::fixture::release("m", 1);
        let aarch64 = |wasmtime: &str| Machine {
            target: "aarch64-unknown-linux-gnu".into(),
            wasmtime: wasmtime.into(),
        };
        assert_eq!(aarch64("48.0.8").variant(&release).unwrap().digest, Digest::of(b"native"));
        assert_eq!(aarch64("48.0.9").variant(&release), None);
        assert_eq!(machine().variant(&release), None);
        release.attachments = vec![];
        assert_eq!(aarch64("48.0.8").variant(&release), None);
    }
}
