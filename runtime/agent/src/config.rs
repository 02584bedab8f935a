//! The configuration file of a device, `agent.toml`: strict, with units in the names of its keys.
//!
//! Unknown keys are errors, and an error names the file, the line, the key and what was wanted; it
//! never repeats a value, which might hold a password. Relative paths start at the folder of the
//! file. Key and password files must be readable by their owner alone. Every key is enforced by the
//! agent; `docs/config.md` describes each, and a test holds the two together.

mod error;
mod file;
mod value;

pub use error::ConfigError;

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dunlin_core::Digest;
use dunlin_core::id::{DeviceId, FleetId};
use dunlin_core::transfer::TransferConfig;
use dunlin_core::update::SitePolicy;
use dunlin_mqtt::{BrokerUrl, ClientCertificate, LinkConfig, Login, Renewal, Secret, TimeFloor, Tls};
use serde::{Deserialize, Serialize};

use crate::worker::CompileBounds;
use value::{bounded, bounded_option, loopback, serialize_loopback, serialize_url, url};

/// The configuration of an agent, checked.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The fleet.
    pub fleet: FleetId,
    /// This device.
    pub device: DeviceId,
    /// The folder of the device's state; made where it is missing. After loading an absolute path.
    #[serde(default = "default_state_dir")]
    pub state_dir: PathBuf,
    /// The root of trust that the device was enrolled with. After loading an absolute path.
    #[serde(default = "default_root_file")]
    pub root_file: PathBuf,
    /// Where the device's state starts from, its channel included. After loading an absolute path.
    #[serde(default = "default_enrolment_file")]
    pub enrolment_file: PathBuf,
    /// The device's secret key, mode 0600. After loading an absolute path.
    #[serde(default = "default_key_file")]
    pub key_file: PathBuf,
    /// The broker.
    pub broker: Broker,
    /// The local inference API.
    #[serde(default)]
    pub api: Api,
    /// The device's own bounds.
    #[serde(default)]
    pub limits: Limits,
    /// What the owner of the site allows, whatever the fleet signs.
    #[serde(default)]
    pub site: SitePolicy,
    /// The process that runs models.
    #[serde(default)]
    pub worker: WorkerProcess,
    /// Pulling of artifacts.
    #[serde(default)]
    pub pull: Pull,
    /// Reports.
    #[serde(default)]
    pub telemetry: Telemetry,
}

/// How the broker is reached.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    /// `mqtts://[user@]host[:port]`, or `mqtt://` without TLS.
    #[serde(deserialize_with = "url", serialize_with = "serialize_url")]
    pub url: BrokerUrl,
    /// With `mqtts://`: the authorities that the broker is trusted by, in PEM. After loading an absolute
    /// path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The certificate by which the broker knows the device, in PEM, with its chain. After loading an
    /// absolute path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    /// The key of that certificate in PEM, mode 0600. After loading an absolute path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_key_file: Option<PathBuf>,
    /// The file with the password of the URL's user, mode 0600. After loading an absolute path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// The interval of pings; a dead broker is noticed after two.
    #[serde(default = "default_keep_alive_s", deserialize_with = "bounded::<_, u16, 1, 65_535>")]
    pub keep_alive_s: u16,
    /// The first connection is made after a random share of this.
    #[serde(default = "default_first_connect_jitter_s", deserialize_with = "bounded::<_, u32, 0, 86_400>")]
    pub first_connect_jitter_s: u32,
}

/// The local inference API.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Api {
    /// Where it listens on TCP: a loopback address, or `off`.
    #[serde(deserialize_with = "loopback", serialize_with = "serialize_loopback")]
    pub listen: Option<SocketAddr>,
    /// Where it listens on a Unix socket of mode 0660. After loading an absolute path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket_file: Option<PathBuf>,
    /// The users, by number, that may connect there, beside root and the agent's own; all that the mode
    /// lets, if none are named.
    pub socket_users: Vec<u32>,
    /// Connections at a time.
    #[serde(deserialize_with = "bounded::<_, u32, 1, 65_535>")]
    pub max_connections: u32,
    /// The longest body of a request, whatever the model's contract would allow.
    #[serde(deserialize_with = "bounded::<_, u64, 4_096, 1_073_741_824>")]
    pub max_body_bytes: u64,
    /// The file with the token that callers must show, mode 0600. After loading an absolute path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
}

impl Default for Api {
    fn default() -> Self {
        Api {
            listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 8500))),
            socket_file: None,
            socket_users: Vec::new(),
            max_connections: 256,
            max_body_bytes: 16 * 1024 * 1024,
            token_file: None,
        }
    }
}

/// The device's own bounds on every model; the lower of these and the signed release wins.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Linear memory of one instance; a whole number of pages of 64 KiB is reached at most.
    #[serde(deserialize_with = "bounded::<_, u64, 65_536, 4_294_967_296>")]
    pub memory_bytes: u64,
    /// Time of one call.
    #[serde(deserialize_with = "bounded::<_, u64, 1, 60_000_000>")]
    pub deadline_us: u64,
    /// Requests that may wait for one model; more are answered with 503.
    #[serde(deserialize_with = "bounded::<_, u32, 1, 65_536>")]
    pub queue_requests: u32,
    /// Instances of a model without state: as many calls of it run at the same time.
    #[serde(deserialize_with = "bounded::<_, u32, 1, 64>")]
    pub instances: u32,
    /// Streams of a model of state `stream` that may be open at a time, each with an instance.
    #[serde(deserialize_with = "bounded::<_, u32, 1, 4_096>")]
    pub streams: u32,
    /// A stream that nothing came for in this time is given up.
    #[serde(deserialize_with = "bounded::<_, u32, 1, 86_400>")]
    pub stream_idle_s: u32,
    /// Memory to compile one release, beside what its own limits grant it.
    #[serde(deserialize_with = "bounded::<_, u64, 67_108_864, 68_719_476_736>")]
    pub compile_memory_bytes: u64,
    /// Time to compile one release and to run its golden vectors.
    #[serde(deserialize_with = "bounded::<_, u32, 1, 3_600>")]
    pub compile_s: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory_bytes: 1 << 32,
            deadline_us: 60_000_000,
            queue_requests: 64,
            instances: 1,
            streams: 16,
            stream_idle_s: 300,
            compile_memory_bytes: CompileBounds::DEFAULT.memory_bytes,
            compile_s: CompileBounds::DEFAULT.time.as_secs().try_into().unwrap_or(u32::MAX),
        }
    }
}

/// The process that runs models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerProcess {
    /// Whether the agent refuses to start where the kernel lacks a layer of its isolation.
    pub require_isolation: bool,
}

/// Pulling of artifacts.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pull {
    /// Chunks that are asked for at a time.
    #[serde(deserialize_with = "bounded::<_, u32, 1, 64>")]
    pub window_chunks: u32,
    /// A chunk that has not come after this is asked for again.
    #[serde(deserialize_with = "bounded::<_, u32, 1, 3_600>")]
    pub chunk_timeout_s: u32,
    /// The most that is asked for, on average.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounded_option::<_, NonZeroU64, 1_024, 9_000_000_000_000_000_000>"
    )]
    pub max_bytes_per_s: Option<NonZeroU64>,
}

impl Default for Pull {
    fn default() -> Self {
        Pull { window_chunks: 8, chunk_timeout_s: 10, max_bytes_per_s: None }
    }
}

/// Reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// The interval of health and drift reports, instead of the one in the signed deployment.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounded_option::<_, u32, 1, 86_400>"
    )]
    pub report_interval_s: Option<u32>,
}

/// A token that is shorter can be guessed.
const MIN_TOKEN_BYTES: usize = 16;

/// What may wait to be looked at, from the broker: some windows of chunks, and documents.
const MAX_QUEUED_BYTES: usize = 4 * 1024 * 1024;

fn default_state_dir() -> PathBuf {
    PathBuf::from("state")
}

fn default_root_file() -> PathBuf {
    PathBuf::from("root.json")
}

fn default_enrolment_file() -> PathBuf {
    PathBuf::from("enrolment.json")
}

fn default_key_file() -> PathBuf {
    PathBuf::from("device.key")
}

const fn default_keep_alive_s() -> u16 {
    30
}

const fn default_first_connect_jitter_s() -> u32 {
    30
}

impl Api {
    /// The first key that does not go with the others, and what it wants.
    fn misfit(&self) -> Option<(&'static str, &'static str)> {
        if self.listen.is_none() && self.socket_file.is_none() {
            Some((
                "api.listen",
                "an address, or api.socket_file: applications must reach the models somewhere",
            ))
        } else if self.socket_file.is_none() && !self.socket_users.is_empty() {
            Some(("api.socket_users", "api.socket_file: there is nothing that they could connect to"))
        } else {
            None
        }
    }
}

impl Broker {
    /// The first key that does not go with the others, and what it wants.
    fn misfit(&self) -> Option<(&'static str, &'static str)> {
        let tls = self.url.is_tls();
        if self.password_file.is_some() && self.url.user().is_none() {
            let wanted = "a user in broker.url, as in mqtts://user@host: a password belongs to a user";
            Some(("broker.password_file", wanted))
        } else if tls && self.ca_file.is_none() {
            Some((
                "broker.url",
                "broker.ca_file with mqtts://: the authority that signed the broker's certificate",
            ))
        } else if !tls && self.ca_file.is_some() {
            Some(("broker.ca_file", "mqtts:// in broker.url: without TLS there is nothing to check"))
        } else if !tls && self.certificate_file.is_some() {
            Some((
                "broker.certificate_file",
                "mqtts:// in broker.url: without TLS there is nobody to show it to",
            ))
        } else if self.certificate_file.is_some() && self.certificate_key_file.is_none() {
            Some(("broker.certificate_file", "broker.certificate_key_file with it: the certificate's key"))
        } else if self.certificate_file.is_none() && self.certificate_key_file.is_some() {
            Some(("broker.certificate_key_file", "broker.certificate_file with it: the key's certificate"))
        } else {
            None
        }
    }
}

impl Config {
    /// Reads a file, checks it, makes its paths absolute and checks the modes of the secret files.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        file::check_unwritable(path)?;
        let mut config = Config::read(path)?;
        let folder = file::folder_of(path)?;
        let Config { state_dir, root_file, enrolment_file, key_file, broker, api, .. } = &mut config;
        let places = [state_dir, root_file, enrolment_file, key_file];
        let Broker { ca_file, certificate_file, certificate_key_file, password_file, .. } = broker;
        let Api { token_file, socket_file, .. } = api;
        let files = [ca_file, certificate_file, certificate_key_file, password_file, token_file, socket_file];
        for place in places.into_iter().chain(files.into_iter().flatten()) {
            *place = folder.join(&*place);
        }
        let trusted = [&config.root_file, &config.enrolment_file, &config.state_dir];
        let certificates = [&config.broker.ca_file, &config.broker.certificate_file].into_iter().flatten();
        for path in trusted.into_iter().chain(certificates) {
            file::check_unwritable(path)?;
        }
        file::check_secret(&config.key_file, "key_file")?;
        for (secret, key) in [
            (&config.broker.password_file, "broker.password_file"),
            (&config.broker.certificate_key_file, "broker.certificate_key_file"),
            (&config.api.token_file, "api.token_file"),
        ] {
            if let Some(path) = secret {
                file::check_secret(path, key)?;
            }
        }
        Ok(config)
    }

    /// Reads and checks a file as it is, without looking at any other file: for somebody who only wants to
    /// know what it says.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn read(path: &Path) -> Result<Config, ConfigError> {
        Config::parse(&file::read_text(path)?).map_err(|error| error.in_file(path))
    }

    /// Parses and checks the text of a file, without looking at any other file.
    ///
    /// # Errors
    /// [`ConfigError::Text`] with line, key and what was wanted.
    pub fn parse(text: &str) -> Result<Config, ConfigError> {
        let config: Config = toml::from_str(text).map_err(|error| error::locate(text, &error))?;
        match config.broker.misfit().or_else(|| config.api.misfit()).or_else(|| config.precompiled_misfit()) {
            Some((key, wanted)) => Err(error::at_key(text, key, wanted)),
            None => Ok(config),
        }
    }

    /// Code that others compiled is run only where nothing of the isolation is missing.
    fn precompiled_misfit(&self) -> Option<(&'static str, &'static str)> {
        let misfit = self.site.allow_precompiled && !self.worker.require_isolation;
        misfit.then_some((
            "site.allow_precompiled",
            "worker.require_isolation = true with it: nobody checks what such code does, so it runs fully isolated or not at all",
        ))
    }

    /// The effective configuration as a file: every key with its value, defaults included.
    ///
    /// # Errors
    /// A path is not UTF-8.
    pub fn to_toml(&self) -> Result<String, ConfigError> {
        toml::to_string(self).map_err(|error| ConfigError::Render(error.to_string()))
    }

    /// The broker's password, read anew, without the newline at its end.
    ///
    /// # Errors
    /// The file cannot be read, others may read it, or it is empty.
    pub fn password(&self) -> Result<Option<Secret>, ConfigError> {
        let read = |path: &Path| file::read_line(path, "broker.password_file", 1);
        self.broker.password_file.as_deref().map(read).transpose()
    }

    /// How the broker is trusted, if the link has TLS; reads the files anew. `floor` says what the time is
    /// at least.
    ///
    /// # Errors
    /// A file cannot be read, others may read the key, or they do not hold what TLS needs.
    fn tls(&self, floor: TimeFloor) -> Result<Option<Tls>, ConfigError> {
        let Broker { ca_file: Some(ca_file), certificate_file, certificate_key_file, .. } = &self.broker
        else {
            return Ok(None);
        };
        let authorities = file::read_text(ca_file)?;
        let chain = certificate_file.as_deref().map(file::read_text).transpose()?;
        let key = certificate_key_file.as_deref().map(file::read_key).transpose()?;
        let certificate = chain
            .as_deref()
            .zip(key.as_ref())
            .map(|(chain, key)| ClientCertificate { chain: chain.as_bytes(), key: key.expose().as_bytes() });
        Ok(Some(Tls::new(authorities.as_bytes(), certificate, Some(floor))?))
    }

    /// How the device logs in at the broker, and how the broker is trusted; reads the files again.
    fn login(&self, floor: TimeFloor) -> Result<Login, ConfigError> {
        let user = self.broker.url.user().map(str::to_string);
        Ok(Login { credentials: user.zip(self.password()?), tls: self.tls(floor)? })
    }

    /// How the link to the broker is set up; the will is the caller's to add. Reads the password and what
    /// TLS needs anew; `floor` is the latest time that is known, kept up to date by the caller.
    ///
    /// # Errors
    /// One of the files cannot be used.
    pub fn link(&self, client_id: impl Into<String>, floor: TimeFloor) -> Result<LinkConfig, ConfigError> {
        let broker = &self.broker;
        let Login { credentials, tls } = self.login(floor.clone())?;
        let again = self.clone();
        let renewal = Renewal::new(move || again.login(floor.clone()).map_err(|error| error.to_string()));
        Ok(LinkConfig {
            credentials,
            tls,
            renewal: Some(renewal),
            max_queued_bytes: MAX_QUEUED_BYTES,
            keep_alive: Duration::from_secs(broker.keep_alive_s.into()),
            first_connect_jitter: Duration::from_secs(broker.first_connect_jitter_s.into()),
            ..LinkConfig::new(broker.url.clone(), client_id)
        })
    }

    /// How artifacts are pulled.
    pub fn transfer(&self) -> TransferConfig {
        TransferConfig {
            window: usize::try_from(self.pull.window_chunks).unwrap_or(usize::MAX),
            chunk_timeout_ms: u64::from(self.pull.chunk_timeout_s) * 1000,
            max_bytes_per_s: self.pull.max_bytes_per_s,
            ..TransferConfig::default()
        }
    }

    /// What the data plane shall hold every model to.
    pub fn policy(&self) -> crate::data::Policy {
        crate::data::Policy {
            memory_bytes: self.limits.memory_bytes,
            deadline_us: self.limits.deadline_us,
            queue_requests: usize::try_from(self.limits.queue_requests).unwrap_or(usize::MAX),
            instances: usize::try_from(self.limits.instances).unwrap_or(usize::MAX),
            streams: usize::try_from(self.limits.streams).unwrap_or(usize::MAX),
            stream_idle_ms: u64::from(self.limits.stream_idle_s) * 1000,
        }
    }

    /// What compiling a release may take.
    pub fn compile_bounds(&self) -> CompileBounds {
        CompileBounds {
            memory_bytes: self.limits.compile_memory_bytes,
            time: Duration::from_secs(self.limits.compile_s.into()),
        }
    }

    /// What the local inference API may take. Reads the token.
    ///
    /// # Errors
    /// The file of the token cannot be read, others may read it, or it holds less than 16 characters.
    pub fn api(&self) -> Result<crate::api::ApiBounds, ConfigError> {
        let read = |path: &Path| file::read_line(path, "api.token_file", MIN_TOKEN_BYTES);
        let token = self.api.token_file.as_deref().map(read).transpose()?;
        Ok(crate::api::ApiBounds {
            token: token.map(|token| Digest::of(token.expose().as_bytes())),
            max_connections: usize::try_from(self.api.max_connections).unwrap_or(usize::MAX),
            max_body_bytes: usize::try_from(self.api.max_body_bytes).unwrap_or(usize::MAX),
            patience: crate::api::Patience::DEFAULT,
        })
    }
}

#[cfg(test)]
mod tests;
