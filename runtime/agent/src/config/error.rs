//! What can be wrong with a configuration, and where.

use std::path::{Path, PathBuf};

use dunlin_core::code::{self, Code, Coded};

/// A configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: String,
    },
    /// A line is not what it should be.
    #[error("{}line {line}, {}{problem}", file_prefix(path.as_deref()), key_prefix(key))]
    Text {
        /// The file, where one was read.
        path: Option<PathBuf>,
        /// The line, from 1.
        line: usize,
        /// The key with its section: `broker.url`. Empty where the line has none.
        key: String,
        /// What was wanted, and what came where that is no secret.
        problem: String,
    },
    /// Others than the owner may read a secret file.
    #[error(
        "{key}: {0} has mode {mode:o}; it must be readable by its owner alone (0600): chmod 600 {0}",
        path.display()
    )]
    SecretMode {
        /// The key that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Somebody else can write the configuration.
    #[error(
        "{0} has mode {mode:o} and belongs to user {owner}; it must belong to root or to the user of the \
         agent, and others must not write it: chmod o-w {0}",
        path.display()
    )]
    Writable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The user id of its owner.
        owner: u32,
    },
    /// The files for TLS do not hold what it needs.
    #[error(transparent)]
    Tls(#[from] dunlin_mqtt::TlsError),
    /// The configuration cannot be written as TOML.
    #[error("the configuration cannot be written as TOML: {0}")]
    Render(String),
}

impl Coded for ConfigError {
    fn code(&self) -> Code {
        match self {
            ConfigError::File { .. } => code::agent::CONFIG_FILE,
            ConfigError::Text { .. } | ConfigError::Render(_) => code::agent::CONFIG_INVALID,
            ConfigError::SecretMode { .. } => code::agent::SECRET_MODE,
            ConfigError::Writable { .. } => code::agent::CONFIG_WRITABLE,
            ConfigError::Tls(error) => error.code(),
        }
    }
}

impl ConfigError {
    /// The same error, with the file that it is about.
    pub(super) fn in_file(self, file: &Path) -> ConfigError {
        match self {
            ConfigError::Text { line, key, problem, .. } => {
                ConfigError::Text { path: Some(file.to_path_buf()), line, key, problem }
            }
            other @ (ConfigError::File { .. }
            | ConfigError::SecretMode { .. }
            | ConfigError::Writable { .. }
            | ConfigError::Tls(_)
            | ConfigError::Render(_)) => other,
        }
    }
}

fn file_prefix(path: Option<&Path>) -> String {
    path.map(|path| format!("{}, ", path.display())).unwrap_or_default()
}

fn key_prefix(key: &str) -> String {
    if key.is_empty() { String::new() } else { format!("{key}: ") }
}

/// The parser's error with line and key. The parser's own rendering repeats the line, and so a
/// password that somebody wrote into it.
pub(super) fn locate(text: &str, error: &toml::de::Error) -> ConfigError {
    let start = error.span().map_or(0, |span| span.start.min(text.len()));
    let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
    let problem = error.message().replace('\n', "; ");
    ConfigError::Text { path: None, line, key: key_on(text, line), problem }
}

/// An error about a key that was read well and does not go with others.
pub(super) fn at_key(text: &str, key: &str, wanted: &str) -> ConfigError {
    let lines = 1..=text.lines().count();
    let line = lines.into_iter().find(|line| key_on(text, *line) == key).unwrap_or(1);
    ConfigError::Text { path: None, line, key: key.to_string(), problem: format!("wanted {wanted}") }
}

/// The key of a line, with the section that it stands in.
fn key_on(text: &str, line: usize) -> String {
    let mut section = "";
    let mut key = "";
    for content in text.lines().take(line) {
        let content = content.split('#').next().unwrap_or_default().trim();
        if let Some(name) = content.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.trim();
            key = "";
        } else {
            key = content.split_once('=').map_or("", |(key, _)| key.trim());
        }
    }
    match (section, key) {
        ("", key) => key.to_string(),
        (section, "") => section.to_string(),
        (section, key) => format!("{section}.{key}"),
    }
}
