//! Enrolling a device: a bundle to put on it, and its line in the signed device list.
//!
//! The bundle is a folder: `agent.toml`, `device.key` (mode 0600), `root.json` and `enrolment.json`.

use std::path::{Path, PathBuf};

use dunlin_core::code::{self, Code, Coded};
use dunlin_core::document::{Audience, DeviceEntry, DeviceList, SCHEMA};
use dunlin_core::enrolment::{Enrolment, SeenSequence};
use dunlin_core::id::{ChannelId, DeviceId};
use dunlin_mqtt::BrokerUrl;

use crate::file::{self, FileError, Readers};
use crate::folder::{Fleet, FolderError};
use crate::key::{self, KeyFileError};

/// What a device is enrolled with.
pub struct EnrollRequest {
    /// The device.
    pub device: DeviceId,
    /// Its channel.
    pub channel: ChannelId,
    /// The broker that it connects to.
    pub broker: BrokerUrl,
    /// The address of its local inference API.
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
        let mut list = match self.device_list()? {
            Some(list) => DeviceList::clone(&list),
            None => DeviceList {
                schema: SCHEMA,
                fleet: self.name().clone(),
                deploy_epoch: self.root().root().deploy_epoch,
                sequence: 0,
                issued_unix_s: 0,
                devices: Vec::new(),
            },
        };
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
        key::write(&request.out.join("device.key"), &secret)?;
        self.write_bundle(request, &entry)?;
        list.devices.push(entry.clone());
        list.sequence += 1;
        list.issued_unix_s = request.now_unix_s;
        list.deploy_epoch = self.root().root().deploy_epoch;
        self.store_device_list(&list)?;
        Ok(entry)
    }

    fn write_bundle(&self, request: &EnrollRequest, entry: &DeviceEntry) -> Result<(), EnrollError> {
        let audiences =
            [Audience::Channel(request.channel.clone()), Audience::Device(request.device.clone())];
        let (mut sequences, mut floors) = (Vec::new(), Vec::new());
        for audience in audiences {
            if let Some(deployment) = self.deployment(&audience)? {
                sequences.push(SeenSequence { audience, sequence: deployment.sequence });
                floors.extend(deployment.floors.iter().cloned());
            }
        }
        let enrolment = Enrolment {
            schema: SCHEMA,
            fleet: self.name().clone(),
            device: request.device.clone(),
            public: entry.public.clone(),
            channel: request.channel.clone(),
            deploy_epoch: self.root().root().deploy_epoch,
            sequences,
            floors,
            time_low_unix_s: request.now_unix_s,
        };
        let write =
            |name: &str, content: &[u8]| file::replace(&request.out.join(name), content, Readers::Anyone);
        write("enrolment.json", &serde_json::to_vec_pretty(&enrolment)?)?;
        let roots = self.root_envelopes()?;
        if let Some((_, newest)) = roots.last() {
            write("root.json", newest)?;
        }
        Ok(write("agent.toml", self.agent_toml(request).as_bytes())?)
    }

    /// The configuration file of a device; `docs/config.md` tells every key.
    fn agent_toml(&self, request: &EnrollRequest) -> String {
        let EnrollRequest { device, broker, listen, first_connect_jitter_s, .. } = request;
        let fleet = self.name();
        format!(
            "# Dunlin agent of device {device}. Every key: docs/config.md; check with `dunlin agent check-config`.\n\
             fleet = \"{fleet}\"\n\
             device = \"{device}\"\n\
             state_dir = \"state\"\n\
             \n\
             [broker]\n\
             url = \"{broker}\"\n\
             first_connect_jitter_s = {first_connect_jitter_s}\n\
             \n\
             [api]\n\
             listen = \"{listen}\"\n"
        )
    }
}

/// Where a bundle's configuration is.
pub fn config_path(bundle: &Path) -> PathBuf {
    bundle.join("agent.toml")
}
