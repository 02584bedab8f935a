//! Where passphrases come from: a file, the environment, or the person at the terminal.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use dunlin_core::code;
use dunlin_fleet::key::{KeyFileError, Passphrases};
use zeroize::Zeroizing;

use crate::failure::{Failure, Outcome, on_file};

/// The variable that holds a passphrase, for scripts.
const VARIABLE: &str = "DUNLIN_PASSPHRASE";

/// Passphrases of key files.
#[derive(Args, Clone)]
pub(crate) struct PassphraseArguments {
    /// A file that holds the passphrase of the key files and nothing else
    ///
    /// Without it the variable DUNLIN_PASSPHRASE is looked at, then the terminal is asked.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Whether the variable counts.
    #[arg(skip = true)]
    variable: bool,
}

impl PassphraseArguments {
    /// A file or the terminal: for the second of two passphrases.
    pub(crate) fn only_file(passphrase_file: Option<PathBuf>) -> PassphraseArguments {
        PassphraseArguments { passphrase_file, variable: false }
    }

    /// For keys that are there.
    pub(crate) fn known(&self) -> Outcome<Arc<dyn Passphrases>> {
        Ok(match self.given()? {
            Some(passphrase) => Arc::new(passphrase),
            None => Arc::new(Asking),
        })
    }

    /// For keys that are made: asked for twice where nothing is given; `None` for those that shall not be
    /// encrypted, which is said aloud of `path`.
    pub(crate) fn for_new(&self, path: &Path, no_passphrase: bool) -> Outcome<Option<Zeroizing<String>>> {
        if no_passphrase {
            eprintln!("warning: {} is not encrypted: whoever reads it has the key", path.display());
            return Ok(None);
        }
        if let Some(passphrase) = self.given()? {
            return Ok(Some(passphrase));
        }
        let Some(passphrase) = ask("Passphrase for the new keys: ")? else {
            let message = format!(
                "new keys are encrypted, and there is no terminal to ask for a passphrase: give \
                 --passphrase-file FILE, set {VARIABLE}, or say --no-passphrase"
            );
            return Err(Failure::new(code::fleet::PASSPHRASE, message));
        };
        if ask("Again: ")?.as_ref() != Some(&passphrase) {
            return Err(Failure::new(
                code::fleet::PASSPHRASE,
                "the two passphrases differ; nothing was made",
            ));
        }
        Ok(Some(passphrase))
    }

    fn given(&self) -> Outcome<Option<Zeroizing<String>>> {
        if let Some(path) = &self.passphrase_file {
            let text = Zeroizing::new(on_file("read", path, std::fs::read_to_string(path))?);
            return Ok(Some(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_string())));
        }
        Ok(std::env::var(VARIABLE).ok().filter(|_| self.variable).map(Zeroizing::new))
    }
}

/// Asks at the terminal, without an echo; nothing where there is no terminal.
pub(crate) fn ask(prompt: &str) -> Outcome<Option<Zeroizing<String>>> {
    if !std::io::stdin().is_terminal() {
        return Ok(None);
    }
    let answer = rpassword::prompt_password(prompt).map(Zeroizing::new);
    answer.map(Some).map_err(|error| {
        Failure::new(code::fleet::PASSPHRASE, format!("the terminal cannot be asked: {error}"))
    })
}

/// Asks at the terminal, once for each key file.
struct Asking;

impl Passphrases for Asking {
    fn passphrase(&self, key: &Path) -> Result<Zeroizing<String>, KeyFileError> {
        let missing = |what| KeyFileError::Passphrase { path: key.to_path_buf(), what };
        if !std::io::stdin().is_terminal() {
            return Err(missing("is encrypted, and there is no terminal to ask for its passphrase"));
        }
        rpassword::prompt_password(format!("Passphrase of {}: ", key.display()))
            .map(Zeroizing::new)
            .map_err(|_| missing("is encrypted, and the terminal cannot be asked for its passphrase"))
    }
}
