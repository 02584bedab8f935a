//! A key that another program holds: a hardware module, a TPM, a signing service.
//!
//! The signer file names the public key and the command; the bytes to sign go to its standard input, and
//! it answers with the signature on standard output, as 64 bytes or 128 hexadecimal digits:
//!
//! ```toml
//! public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
//! command = ["pkcs11-sign", "--slot", "1", "--id", "07"]
//! timeout_s = 60
//! ```
//! The command is started as it stands, without a shell, and killed after its time; what it has started
//! itself is its own to end. What it answers is verified before anybody sees it. Its standard error is the
//! operator's, and so is the terminal, where it may ask for a PIN.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use dunlin_core::hex;
use dunlin_core::key::{PublicKey, SIGNATURE_BYTES};
use serde::Deserialize;

use super::KeyFileError;
use super::file::private_text;

/// The most that is read of an answer.
const MAX_ANSWER_BYTES: u64 = 1024;

/// How often a running command is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// How long the end of an answer may take after the command has ended: it is there, unless something that
/// the command started goes on writing.
const REST: Duration = Duration::from_secs(1);

/// A program that signs.
#[derive(Debug)]
pub struct CommandSigner {
    path: PathBuf,
    file: SignerFile,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignerFile {
    public: PublicKey,
    command: Vec<String>,
    #[serde(default = "a_minute")]
    timeout_s: u32,
}

fn a_minute() -> u32 {
    60
}

impl CommandSigner {
    /// Reads a signer file.
    ///
    /// # Errors
    /// It cannot be read, others may change it, or it is not as this module says.
    pub(super) fn read(path: &Path) -> Result<CommandSigner, KeyFileError> {
        let text = private_text(path)?;
        let wrong = |error: String| KeyFileError::Format { path: path.to_path_buf(), error };
        let file: SignerFile = toml::from_str(&text).map_err(|error| wrong(error.message().to_string()))?;
        if file.command.is_empty() {
            return Err(wrong("its command is empty".to_string()));
        }
        Ok(CommandSigner { path: path.to_path_buf(), file })
    }

    /// The public key that it signs with.
    pub fn public(&self) -> PublicKey {
        self.file.public.clone()
    }

    /// Runs the command.
    ///
    /// # Errors
    /// It cannot be started, fails, takes too long, or answers anything but a valid signature.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_BYTES], KeyFileError> {
        let failed = |reason: String| KeyFileError::Signer { path: self.path.clone(), reason };
        let answer = self.run(message).map_err(failed)?;
        let signature = signature(&answer)
            .ok_or_else(|| failed(format!("its answer of {} bytes is no signature", answer.len())))?;
        if !self.file.public.verifies(message, &signature) {
            return Err(failed("its answer is not a signature of the public key in the file".to_string()));
        }
        Ok(signature)
    }

    fn run(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        let (program, arguments) = self.file.command.split_first().ok_or("its command is empty")?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{program:?} cannot be started: {error}"))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let message = message.to_vec();
        // A command that does not read, or does not end its answer, must not hold us.
        std::thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(&message)));
        let (sender, answer) = mpsc::channel();
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let read = stdout.map(|stdout| stdout.take(MAX_ANSWER_BYTES).read_to_end(&mut bytes));
            let _ = sender.send(read.map(|read| read.map(|_| bytes)));
        });
        let patience = Duration::from_secs(self.file.timeout_s.into());
        let status = wait(&mut child, patience)?;
        if !status.success() {
            return Err(format!("{program:?} ended with {status}"));
        }
        match answer.recv_timeout(REST) {
            Ok(Some(Ok(bytes))) => Ok(bytes),
            Ok(Some(Err(error))) => Err(format!("its answer cannot be read: {error}")),
            Ok(None) | Err(_) => Err("it did not end its answer".to_string()),
        }
    }
}

/// Waits for the end of a command, and ends it itself after its time.
fn wait(child: &mut Child, patience: Duration) -> Result<std::process::ExitStatus, String> {
    let looks = patience.as_millis() / LOOK.as_millis();
    for _ in 0..=looks {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) => std::thread::sleep(LOOK),
            Err(error) => return Err(format!("it cannot be waited for: {error}")),
        }
    }
    let killed = child.kill().and_then(|()| child.wait());
    let and = killed.err().map(|error| format!(", and cannot be stopped: {error}"));
    Err(format!("it took more than {patience:?}{}", and.unwrap_or_default()))
}

/// 64 bytes, or 128 hexadecimal digits with white space around.
fn signature(answer: &[u8]) -> Option<[u8; SIGNATURE_BYTES]> {
    if let Ok(bytes) = answer.try_into() {
        return Some(bytes);
    }
    hex::decode(&std::str::from_utf8(answer).ok()?.trim().to_ascii_lowercase())
}
