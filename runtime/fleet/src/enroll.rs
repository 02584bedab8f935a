//! Enrolling a device: a bundle to put on it, and its line in the signed device list.
//!
//! The bundle is a folder: `agent.toml`, `device.key` (mode 0600), `root.json`, `enrolment.json` and, for a
//! broker with TLS, `broker-ca.pem`. A device is in the list only when its bundle is whole, and an enrolment that fails leaves no bundle. Where
//! the device made its key itself, a [`KeyRequest`] carries the public one here, and the bundle has none.

use std::path::{Path, PathBuf};

use dunlin_core::code::{self, Code, Coded};
use dunlin_core::document::{Audience, DeviceEntry, DeviceList, SCHEMA};
use dunlin_core::enrolment::{Enrolment, SeenSequence};
use dunlin_core::hex;
use dunlin_core::id::{ChannelId, DeviceId};
use dunlin_core::key::{PublicKey, SecretKey};
use dunlin_mqtt::BrokerUrl;
use serde::{Deserialize, Serialize};

use crate::attempt::Place;
use crate::file::{self, FileError, Readers};
use crate::folder::{Fleet, FolderError};
use crate::key::{self, KeyFileError};

/// The files of a bundle, and the client certificate that others put there; the agent looks for them under
/// these names.
const CONFIG: &str = "agent.toml";
const KEY: &str = "device.key";
const ROOT: &str = "root.json";
const ENROLMENT: &str = "enrolment.json";
const AUTHORITY: &str = "broker-ca.pem";
const CERTIFICATE: &str = "client.pem";
const CERTIFICATE_KEY: &str = "client.key";

/// What a device is enrolled with.
pub struct EnrollRequest {
    /// The device.
    pub device: DeviceId,
    /// Its channel.
    pub channel: ChannelId,
    /// The broker that it connects to.
    pub broker: BrokerUrl,
    /// With `mqtts://`: the authorities that the device trusts the broker by, in PEM.
    pub authority: Option<Vec<u8>>,
    /// Whether the device shows the broker a certificate: `client.pem` and `client.key` of the bundle, which
    /// somebody else issues and puts there.
    pub client_certificate: bool,
    /// The address of its local inference API, a loopback one.
    pub listen: std::net::SocketAddr,
    /// The folder to write the bundle into; it must not be there, or be empty.
    pub out: PathBuf,
    /// The device's public key, if it made its key itself.
    pub public: Option<PublicKey>,
    /// How long the first connection after a start may wait, in seconds, so that a fleet that
    /// comes back from a power cut does not connect in one second.
    pub first_connect_jitter_s: u32,
    /// Now, in seconds since 1970.
    pub now_unix_s: u64,
}

impl EnrollRequest {
    /// Refuses what the agent would refuse.
    fn check_tls(&self) -> Result<(), EnrollError> {
        match (self.broker.is_tls(), &self.authority) {
            (true, None) => Err(EnrollError::NoAuthority),
            (true, Some(authority)) => Ok(dunlin_mqtt::Tls::new(authority, None, None).map(|_| ())?),
            (false, None) if !self.client_certificate => Ok(()),
            (false, _) => Err(EnrollError::TlsUnused(self.broker.clone())),
        }
    }
}

/// What a device says that made its own key: the public key, and a signature that shows that it has the
/// secret one. Who brings the request vouches for the device; the signature does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    /// The version of the format: [`SCHEMA`].
    pub schema: u32,
    /// The device.
    pub device: DeviceId,
    /// Its public key.
    pub public: PublicKey,
    /// Over the pre-authentication encoding of [`KEY_REQUEST_TYPE`] and `<device> <public>`, 128 lower-case
    /// hexadecimal digits.
    pub proof: String,
}

/// The payload type of what a device signs in a [`KeyRequest`].
pub const KEY_REQUEST_TYPE: &str = "application/vnd.dunlin.key-request";

impl KeyRequest {
    /// Makes a key for a device, in a folder that will be its bundle, and the request for it.
    ///
    /// # Errors
    /// The folder has a key already, or files or randomness fail.
    pub fn make(device: &DeviceId, folder: &Path) -> Result<KeyRequest, EnrollError> {
        let path = folder.join(KEY);
        if path.exists() {
            return Err(EnrollError::OutputExists(path));
        }
        let secret = key::generate()?;
        key::write_device_key(&path, &secret)?;
        let public = secret.public();
        let proof = secret.sign(&KeyRequest::message(device, &public));
        let proof = hex::encode(&proof);
        Ok(KeyRequest { schema: SCHEMA, device: device.clone(), public, proof })
    }

    fn message(device: &DeviceId, public: &PublicKey) -> Vec<u8> {
        dunlin_core::envelope::pae(KEY_REQUEST_TYPE, format!("{device} {public}").as_bytes())
    }

    /// Reads a request and checks its proof.
    ///
    /// # Errors
    /// It is no request, or not signed by its own key.
    pub fn parse(bytes: &[u8]) -> Result<KeyRequest, EnrollError> {
        let request: KeyRequest =
            serde_json::from_slice(bytes).map_err(|error| EnrollError::Request(error.to_string()))?;
        if request.schema != SCHEMA {
            return Err(EnrollError::Request(format!("it has schema {}", request.schema)));
        }
        let message = KeyRequest::message(&request.device, &request.public);
        let proof = hex::decode(&request.proof);
        if !proof.is_some_and(|signature| request.public.verifies(&message, &signature)) {
            return Err(EnrollError::Request("its proof is not a signature of its key".to_string()));
        }
        Ok(request)
    }
}

/// The devices of a batch: a CSV file of `device,channel`, with these headings or without any.
///
/// # Errors
/// The file cannot be read, is empty, or a line has no valid names.
pub fn read_batch(path: &Path) -> Result<Vec<(DeviceId, ChannelId)>, EnrollError> {
    let wrong = |line: u64, error: String| EnrollError::Line { path: path.to_path_buf(), line, error };
    let bytes = file::read(path)?;
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).trim(csv::Trim::All).from_reader(&bytes[..]);
    let mut devices = Vec::new();
    for record in reader.records() {
        let record = record
            .map_err(|error| wrong(error.position().map_or(0, csv::Position::line), error.to_string()))?;
        let line = record.position().map_or(0, csv::Position::line);
        let [device, channel] = record.iter().collect::<Vec<_>>()[..] else {
            return Err(wrong(line, format!("it has {} fields, expected device,channel", record.len())));
        };
        if devices.is_empty() && (device, channel) == ("device", "channel") {
            continue;
        }
        let device = device.parse::<DeviceId>().map_err(|error| wrong(line, error.to_string()))?;
        devices.push((
            device,
            channel.parse().map_err(|error: dunlin_core::id::IdError| wrong(line, error.to_string()))?,
        ));
    }
    if devices.is_empty() { Err(wrong(1, "it names no device".to_string())) } else { Ok(devices) }
}

/// Why a device was not enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// The folder stands in the way.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A file cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A key cannot be made or written.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The id is taken.
    #[error("{0} is enrolled already; ids are never used again")]
    Exists(DeviceId),
    /// The place for the bundle is taken.
    #[error("{0} is there already and is not empty; choose another --output")]
    OutputExists(PathBuf),
    /// What should be a request of a device is none.
    #[error("not a key request of a device: {0}")]
    Request(String),
    /// A line of a batch that cannot be used.
    #[error("line {line} of {path}: {error}")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        error: String,
    },
    /// The authorities are no certificates.
    #[error(transparent)]
    Tls(#[from] dunlin_mqtt::TlsError),
    /// A device would not trust any broker.
    #[error("a broker at mqtts:// needs --ca FILE: the authority that signed its certificate")]
    NoAuthority,
    /// A device would have nothing to check.
    #[error("an authority or a client certificate is of use with mqtts:// alone; the broker is {0}")]
    TlsUnused(BrokerUrl),
    /// The agent would refuse its configuration.
    #[error("the inference API must listen on a loopback address such as 127.0.0.1:8500, not on {0}")]
    Listen(std::net::SocketAddr),
    /// The enrolment cannot be written as JSON.
    #[error("the enrolment cannot be written: {0}")]
    Json(#[from] serde_json::Error),
}

impl Coded for EnrollError {
    fn code(&self) -> Code {
        match self {
            EnrollError::Folder(error) => error.code(),
            EnrollError::File(_) | EnrollError::Json(_) => code::fleet::FILE,
            EnrollError::Key(error) => error.code(),
            EnrollError::Request(_) => code::fleet::KEY_REQUEST,
            EnrollError::Line { .. } => code::fleet::ARGUMENT,
            EnrollError::Exists(_) => code::fleet::DEVICE_EXISTS,
            EnrollError::Listen(_) | EnrollError::NoAuthority | EnrollError::TlsUnused(_) => {
                code::fleet::ARGUMENT
            }
            EnrollError::Tls(error) => error.code(),
            EnrollError::OutputExists(_) => code::fleet::OUTPUT_EXISTS,
        }
    }
}

impl Fleet {
    /// Makes a device's key and bundle and signs the device list anew.
    ///
    /// # Errors
    /// The id or the place is taken, or files fail; the list then stands as it was.
    pub fn enroll(&self, request: &EnrollRequest) -> Result<DeviceEntry, EnrollError> {
        let mut entries = self.enroll_all(std::slice::from_ref(request))?;
        entries.pop().ok_or_else(|| EnrollError::Exists(request.device.clone()))
    }

    /// Enrols several devices with one new device list: all of them, or none.
    ///
    /// # Errors
    /// As [`Fleet::enroll`].
    pub fn enroll_all(&self, requests: &[EnrollRequest]) -> Result<Vec<DeviceEntry>, EnrollError> {
        let now_unix_s = requests.first().map_or(0, |request| request.now_unix_s);
        let mut list = self.next_device_list(now_unix_s)?;
        let mut keys = Vec::new();
        for (index, request) in requests.iter().enumerate() {
            if !request.listen.ip().is_loopback() {
                return Err(EnrollError::Listen(request.listen));
            }
            request.check_tls()?;
            if list.devices.iter().any(|device| device.id == request.device) {
                return Err(EnrollError::Exists(request.device.clone()));
            }
            let twice = requests[..index].iter().any(|other| other.out == request.out);
            if twice || !file::list(&request.out)?.is_empty() {
                return Err(EnrollError::OutputExists(request.out.clone()));
            }
            let key = match &request.public {
                Some(public) => DeviceKey::Public(public.clone()),
                None => DeviceKey::Secret(key::generate()?),
            };
            list.devices.push(DeviceEntry {
                id: request.device.clone(),
                public: key.public(),
                channel: request.channel.clone(),
                revoked: false,
            });
            keys.push(key);
        }
        let entries = list.devices[list.devices.len() - requests.len()..].to_vec();
        let list = self.sign(&list)?;
        let mut written = Ok(());
        for (request, key) in requests.iter().zip(&keys) {
            written = written.and_then(|()| self.write_bundle(request, key));
        }
        match written.and_then(|()| Ok(self.store_device_list(&list)?)) {
            Ok(()) => Ok(entries),
            Err(error) => {
                requests.iter().for_each(|request| clear(&request.out));
                Err(error)
            }
        }
    }

    /// The device list as it stands, with the sequence of the next one.
    pub(crate) fn next_device_list(&self, now_unix_s: u64) -> Result<DeviceList, FolderError> {
        let (deploy_epoch, old) = (self.root().root().deploy_epoch, self.device_list()?);
        let newest = old.as_ref().map(|old| (old.deploy_epoch, old.sequence));
        let sequence = self.next_sequence::<DeviceList>(&Place::DeviceList, newest)?;
        Ok(DeviceList {
            schema: SCHEMA,
            fleet: self.name().clone(),
            deploy_epoch,
            sequence,
            issued_unix_s: now_unix_s,
            devices: old.map(|old| old.devices.clone()).unwrap_or_default(),
        })
    }

    fn write_bundle(&self, request: &EnrollRequest, key: &DeviceKey) -> Result<(), EnrollError> {
        let enrolment = self.enrolment(request, key.public())?;
        let write =
            |name: &str, content: &[u8]| file::replace(&request.out.join(name), content, Readers::Anyone);
        if let DeviceKey::Secret(secret) = key {
            key::write_device_key(&request.out.join(KEY), secret)?;
        }
        write(ENROLMENT, &serde_json::to_vec_pretty(&enrolment)?)?;
        write(ROOT, self.root().envelope())?;
        if let Some(authority) = &request.authority {
            write(AUTHORITY, authority)?;
        }
        Ok(write(CONFIG, self.agent_toml(request).as_bytes())?)
    }

    /// Where the device starts from: what its audiences have reached in this deploy epoch.
    fn enrolment(&self, request: &EnrollRequest, public: PublicKey) -> Result<Enrolment, EnrollError> {
        let deploy_epoch = self.root().root().deploy_epoch;
        let audiences =
            [Audience::Channel(request.channel.clone()), Audience::Device(request.device.clone())];
        let (mut sequences, mut floors) = (Vec::new(), Vec::new());
        for audience in audiences {
            let deployment = self.deployment(&audience)?;
            // Sequences and floors of another epoch mean nothing in this one.
            if let Some(deployment) = deployment.filter(|found| found.deploy_epoch == deploy_epoch) {
                sequences.push(SeenSequence { audience, sequence: deployment.sequence });
                floors.extend(deployment.floors.iter().cloned());
            }
        }
        Ok(Enrolment {
            schema: SCHEMA,
            fleet: self.name().clone(),
            device: request.device.clone(),
            public,
            channel: request.channel.clone(),
            deploy_epoch,
            sequences,
            floors,
            time_low_unix_s: request.now_unix_s,
        })
    }

    /// The configuration file of a device; `docs/config.md` tells every key.
    fn agent_toml(&self, request: &EnrollRequest) -> String {
        let EnrollRequest { device, broker, listen, first_connect_jitter_s, .. } = request;
        let fleet = self.name();
        // A user name may hold quotes; nothing else here can.
        let broker = toml::Value::String(broker.to_string());
        let mut tls = String::new();
        if request.authority.is_some() {
            tls += &format!("ca_file = \"{AUTHORITY}\"\n");
        }
        if request.client_certificate {
            tls += &format!(
                "certificate_file = \"{CERTIFICATE}\"\ncertificate_key_file = \"{CERTIFICATE_KEY}\"\n"
            );
        }
        format!(
            "# Dunlin agent of device {device}. Every key: docs/config.md; check with `dunlin agent check-config`.\n\
             fleet = \"{fleet}\"\n\
             device = \"{device}\"\n\
             state_dir = \"state\"\n\
             \n\
             [broker]\n\
             url = {broker}\n\
             {tls}first_connect_jitter_s = {first_connect_jitter_s}\n\
             \n\
             [api]\n\
             listen = \"{listen}\"\n"
        )
    }
}

/// A device's key as far as it is known here.
enum DeviceKey {
    Secret(SecretKey),
    Public(PublicKey),
}

impl DeviceKey {
    fn public(&self) -> PublicKey {
        match self {
            DeviceKey::Secret(secret) => secret.public(),
            DeviceKey::Public(public) => public.clone(),
        }
    }
}

/// Takes back what was written of a bundle, as far as that goes: no key is left lying about.
fn clear(bundle: &Path) {
    for name in [CONFIG, KEY, ROOT, ENROLMENT, AUTHORITY] {
        if let Err(error) = std::fs::remove_file(bundle.join(name))
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(file = name, %error, "a file of the unfinished bundle stays");
        }
    }
}

/// Where a bundle's configuration is.
pub fn config_path(bundle: &Path) -> PathBuf {
    bundle.join(CONFIG)
}

#[cfg(test)]
mod tests;
