//! Enrolling a device: a bundle to put on it, and its line in the signed device list.
//!
//! The bundle is a folder: `agent.toml`, `device.key` (mode 0600), `root.json` and `enrolment.json`. A
//! device is in the list only when its bundle is whole, and an enrolment that fails leaves no bundle.

use std::path::{Path, PathBuf};

use dunlin_core::code::{self, Code, Coded};
use dunlin_core::document::{Audience, DeviceEntry, DeviceList, SCHEMA};
use dunlin_core::enrolment::{Enrolment, SeenSequence};
use dunlin_core::id::{ChannelId, DeviceId};
use dunlin_core::key::SecretKey;
use dunlin_mqtt::BrokerUrl;

use crate::file::{self, FileError, Readers};
use crate::folder::{Fleet, FolderError};
use crate::key::{self, KeyFileError};

/// The files of a bundle; the agent looks for them under these names.
const CONFIG: &str = "agent.toml";
const KEY: &str = "device.key";
const ROOT: &str = "root.json";
const ENROLMENT: &str = "enrolment.json";

/// What a device is enrolled with.
pub struct EnrollRequest {
    /// The device.
    pub device: DeviceId,
    /// Its channel.
    pub channel: ChannelId,
    /// The broker that it connects to.
    pub broker: BrokerUrl,
    /// The address of its local inference API, a loopback one.
    pub listen: std::net::SocketAddr,
    /// The folder to write the bundle into; it must not be there, or be empty.
    pub out: PathBuf,
    /// How long the first connection after a start may wait, in seconds, so that a fleet that
    /// comes back from a power cut does not connect in one second.
    pub first_connect_jitter_s: u32,
    /// Now, in seconds since 1970.
    pub now_unix_s: u64,
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
            EnrollError::Exists(_) => code::fleet::DEVICE_EXISTS,
            EnrollError::Listen(_) => code::fleet::ARGUMENT,
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
        if !request.listen.ip().is_loopback() {
            return Err(EnrollError::Listen(request.listen));
        }
        let mut list = self.next_device_list(request.now_unix_s)?;
        if list.devices.iter().any(|device| device.id == request.device) {
            return Err(EnrollError::Exists(request.device.clone()));
        }
        if !file::list(&request.out)?.is_empty() {
            return Err(EnrollError::OutputExists(request.out.clone()));
        }
        let secret = key::generate()?;
        let entry = DeviceEntry {
            id: request.device.clone(),
            public: secret.public(),
            channel: request.channel.clone(),
            revoked: false,
        };
        list.devices.push(entry.clone());
        let list = self.sign(&list)?;
        let written = self.write_bundle(request, &secret);
        match written.and_then(|()| Ok(self.store_device_list(&list)?)) {
            Ok(()) => Ok(entry),
            Err(error) => {
                clear(&request.out);
                Err(error)
            }
        }
    }

    /// The device list as it stands, with the sequence of the next one.
    fn next_device_list(&self, now_unix_s: u64) -> Result<DeviceList, EnrollError> {
        let (deploy_epoch, old) = (self.root().root().deploy_epoch, self.device_list()?);
        let sequence = match &old {
            Some(old) => self.sequence_after::<DeviceList>(old.deploy_epoch, old.sequence)?,
            None => 1,
        };
        Ok(DeviceList {
            schema: SCHEMA,
            fleet: self.name().clone(),
            deploy_epoch,
            sequence,
            issued_unix_s: now_unix_s,
            devices: old.map(|old| old.devices.clone()).unwrap_or_default(),
        })
    }

    fn write_bundle(&self, request: &EnrollRequest, secret: &SecretKey) -> Result<(), EnrollError> {
        let enrolment = self.enrolment(request, secret)?;
        let write =
            |name: &str, content: &[u8]| file::replace(&request.out.join(name), content, Readers::Anyone);
        key::write(&request.out.join(KEY), secret)?;
        write(ENROLMENT, &serde_json::to_vec_pretty(&enrolment)?)?;
        write(ROOT, self.root().envelope())?;
        Ok(write(CONFIG, self.agent_toml(request).as_bytes())?)
    }

    /// Where the device starts from: what its audiences have reached in this deploy epoch.
    fn enrolment(&self, request: &EnrollRequest, secret: &SecretKey) -> Result<Enrolment, EnrollError> {
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
            public: secret.public(),
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
        format!(
            "# Dunlin agent of device {device}. Every key: docs/config.md; check with `dunlin agent check-config`.\n\
             fleet = \"{fleet}\"\n\
             device = \"{device}\"\n\
             state_dir = \"state\"\n\
             \n\
             [broker]\n\
             url = {broker}\n\
             first_connect_jitter_s = {first_connect_jitter_s}\n\
             \n\
             [api]\n\
             listen = \"{listen}\"\n"
        )
    }
}

/// Takes back what was written of a bundle, as far as that goes: no key is left lying about.
fn clear(bundle: &Path) {
    for name in [CONFIG, KEY, ROOT, ENROLMENT] {
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
