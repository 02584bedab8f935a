//! How an operator reaches the broker: `connection.toml` in the fleet's folder, and the order in which
//! settings of several sources count.
//!
//! ```toml
//! url = "mqtts://ann@broker.example:8884"
//! ca_file = "ca.pem"
//! ```
//! The file holds no password, only the name of a file with one. Relative paths start at the folder. It is not
//! signed and says nothing that devices believe, so that each copy of the folder may have its own.

use std::path::{Path, PathBuf};

use dunlin_core::code::{self, Code, Coded};
use dunlin_mqtt::{BrokerUrl, UrlError};
use serde::{Deserialize, Serialize};

use crate::file::{self, FileError, Readers};

/// The file in the fleet's folder.
const FILE: &str = "connection.toml";

/// Settings of a connection, from one source or from several.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The broker, as operators reach it.
    pub url: Option<BrokerUrl>,
    /// The broker, as devices reach it, where that is another listener.
    pub device_url: Option<BrokerUrl>,
    /// With `mqtts://`: the authorities that the broker is trusted by, in PEM.
    pub ca: Option<PathBuf>,
    /// The client certificate with its chain and the file of its key, both in PEM.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The name to log in with, where it cannot stand in the URL.
    pub username: Option<String>,
    /// The file with the password.
    pub password_file: Option<PathBuf>,
}

/// The content of `connection.toml`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ca_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate_key_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    password_file: Option<PathBuf>,
}

impl Settings {
    /// Joins settings of several sources, the strongest first. The search ends at the first source that names
    /// the broker: what belongs to one broker never goes to another.
    #[must_use]
    pub fn joined(sources: impl IntoIterator<Item = Settings>) -> Settings {
        let mut joined = Settings::default();
        for source in sources {
            joined = Settings {
                url: source.url,
                device_url: joined.device_url.or(source.device_url),
                ca: joined.ca.or(source.ca),
                certificate: joined.certificate.or(source.certificate),
                username: joined.username.or(source.username),
                password_file: joined.password_file.or(source.password_file),
            };
            if joined.url.is_some() {
                break;
            }
        }
        joined
    }

    /// Reads the settings of a folder; none are set where it has no `connection.toml`. Paths are complete.
    ///
    /// # Errors
    /// The file cannot be read, or is not valid. The error repeats no value, which might be a password.
    pub fn load(folder: &Path) -> Result<Settings, ConnectionError> {
        let path = folder.join(FILE);
        let Some(bytes) = file::read_if_there(&path)? else { return Ok(Settings::default()) };
        let wrong =
            |line: usize, problem: String| ConnectionError::Content { path: path.clone(), line, problem };
        let text =
            String::from_utf8(bytes).map_err(|_| wrong(1, String::from("the file is not UTF-8 text")))?;
        let line_of = |at: usize| 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
        let content: Content = toml::from_str(&text).map_err(|error| {
            let keys = "expected url, device_url, ca_file, certificate_file, certificate_key_file, username and \
                        password_file, each once and with a text, and url at least";
            wrong(line_of(error.span().map_or(0, |span| span.start)), keys.to_string())
        })?;
        let line_of_key = |key: &str| {
            1 + text.lines().position(|line| line.trim_start().starts_with(key)).unwrap_or_default()
        };
        let url = |key: &str, url: &str| {
            url.parse().map_err(|error: UrlError| wrong(line_of_key(key), error.to_string()))
        };
        let whole = |path: PathBuf| folder.join(path);
        Ok(Settings {
            url: Some(url("url", &content.url)?),
            device_url: content.device_url.as_deref().map(|text| url("device_url", text)).transpose()?,
            ca: content.ca_file.map(whole),
            certificate: match (content.certificate_file, content.certificate_key_file) {
                (Some(certificate), Some(key)) => Some((whole(certificate), whole(key))),
                (None, None) => None,
                (Some(_), None) | (None, Some(_)) => {
                    let problem = "certificate_file and certificate_key_file go together";
                    return Err(wrong(line_of_key("certificate"), problem.to_string()));
                }
            },
            username: content.username,
            password_file: content.password_file.map(whole),
        })
    }

    /// Keeps the settings in a folder, in place of those that it has. Paths below the folder are kept relative
    /// to it, so that it can be moved.
    ///
    /// # Errors
    /// No broker is named, or the file cannot be written.
    pub fn store(&self, folder: &Path) -> Result<PathBuf, ConnectionError> {
        let url = self.url.as_ref().ok_or(ConnectionError::NoBroker)?;
        let base = std::path::absolute(folder).map_err(FileError::new("read", folder))?;
        let kept = |path: &PathBuf| -> Result<PathBuf, ConnectionError> {
            let path = std::path::absolute(path).map_err(FileError::new("read", path))?;
            Ok(path.strip_prefix(&base).map(Path::to_path_buf).unwrap_or(path))
        };
        let content = Content {
            url: url.to_string(),
            device_url: self.device_url.as_ref().map(ToString::to_string),
            ca_file: self.ca.as_ref().map(kept).transpose()?,
            certificate_file: self.certificate.as_ref().map(|(chain, _)| kept(chain)).transpose()?,
            certificate_key_file: self.certificate.as_ref().map(|(_, key)| kept(key)).transpose()?,
            username: self.username.clone(),
            password_file: self.password_file.as_ref().map(kept).transpose()?,
        };
        let text = toml::to_string(&content).map_err(|error| ConnectionError::Write(error.to_string()))?;
        let text = format!("# How `dunlin` reaches the broker; `dunlin connection set` writes it.\n{text}");
        let path = folder.join(FILE);
        file::replace(&path, text.as_bytes(), Readers::Anyone)?;
        Ok(path)
    }

    /// Forgets the settings of a folder.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub fn clear(folder: &Path) -> Result<(), ConnectionError> {
        Ok(file::remove_if_there(&folder.join(FILE))?)
    }
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// `connection.toml` is not valid.
    #[error("{path}, line {line}: {problem}")]
    Content {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong; never a value.
        problem: String,
    },
    /// Settings without a URL.
    #[error("no broker is named")]
    NoBroker,
    /// The settings cannot be written as TOML.
    #[error("the settings cannot be written: {0}")]
    Write(String),
}

impl Coded for ConnectionError {
    fn code(&self) -> Code {
        match self {
            ConnectionError::File(_) | ConnectionError::Write(_) => code::fleet::FILE,
            ConnectionError::Content { .. } => code::fleet::CONNECTION,
            ConnectionError::NoBroker => code::fleet::BROKER_MISSING,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: Option<&str>, ca: Option<&str>, username: Option<&str>) -> Settings {
        Settings {
            url: url.map(|url| url.parse().unwrap()),
            ca: ca.map(PathBuf::from),
            username: username.map(str::to_string),
            ..Settings::default()
        }
    }

    #[test]
    fn stronger_sources_win_setting_by_setting() {
        let (flags, folder) =
            (settings(None, Some("a"), None), settings(Some("mqtts://f"), Some("b"), Some("ann")));
        let joined = Settings::joined([flags, Settings::default(), folder]);
        assert_eq!(joined, settings(Some("mqtts://f"), Some("a"), Some("ann")));
    }

    #[test]
    fn credentials_stay_with_their_broker() {
        let folder = settings(Some("mqtts://home"), Some("ca"), Some("ann"));
        let flags = settings(Some("mqtt://elsewhere"), None, None);
        assert_eq!(Settings::joined([flags.clone(), folder]), flags);
    }

    #[test]
    fn stored_settings_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let plant = folder.path().join("plant");
        assert_eq!(Settings::load(&plant).unwrap(), Settings::default());
        let stored = Settings {
            device_url: Some("mqtts://b".parse().unwrap()),
            certificate: Some((plant.join("me.pem"), folder.path().join("me.key"))),
            password_file: Some(plant.join("secrets/password")),
            ..settings(Some("mqtts://ann@b:8884"), plant.join("ca.pem").to_str(), None)
        };
        stored.store(&plant).unwrap();
        assert_eq!(Settings::load(&plant).unwrap(), stored);
        // What lies in the folder moves with it.
        let moved = folder.path().join("moved");
        std::fs::rename(&plant, &moved).unwrap();
        let found = Settings::load(&moved).unwrap();
        assert_eq!(found.ca, Some(moved.join("ca.pem")));
        assert_eq!(found.certificate, Some((moved.join("me.pem"), folder.path().join("me.key"))));
        Settings::clear(&moved).unwrap();
        assert_eq!(Settings::load(&moved).unwrap(), Settings::default());
        assert!(matches!(Settings::default().store(&moved), Err(ConnectionError::NoBroker)));
    }

    #[test]
    fn errors_name_the_line_without_values() {
        let folder = tempfile::tempdir().unwrap();
        for (text, line) in [
            ("url = \"mqtt://ann:hunter2@b\"\n", 1),
            ("# a\nurl = \"mqtt://b\"\npassword = \"hunter2\"\n", 3),
            ("url = \"mqtt://b\"\nusername = [\"hunter2\"]\n", 2),
            ("url = \"mqtt://b\"\ndevice_url = \"hunter2\"\n", 2),
            ("url = \"mqtt://b\"\ncertificate_file = \"hunter2\"\n", 2),
            ("url = \"hunter2\n", 1),
        ] {
            std::fs::write(folder.path().join(FILE), text).unwrap();
            let error = Settings::load(folder.path()).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(
                shown.contains(&format!("line {line}:")) && !shown.contains("hunter2"),
                "{text}: {shown}"
            );
        }
    }
}
