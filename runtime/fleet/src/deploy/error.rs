//! Why nothing was deployed.

use dunlin_core::Digest;
use dunlin_core::code::{self, Code, Coded};
use dunlin_core::document::Audience;
use dunlin_core::id::{ChannelId, DeviceId, ModelName};
use dunlin_mqtt::LinkError;

use crate::devices::DevicesError;
use crate::folder::FolderError;
use crate::publish::PublishError;

/// Why nothing was deployed.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The folder stands in the way.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The broker does not answer.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The broker does not take or keep a message.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// No device would hear it.
    #[error(
        "no enrolled device is in channel {channel}; {}; give --new-channel if devices are to come",
        channels_text(channels)
    )]
    EmptyChannel {
        /// The channel.
        channel: ChannelId,
        /// Those that have devices.
        channels: Vec<ChannelId>,
    },
    /// The device refuses everything.
    #[error("the root revokes {0}: it refuses every deployment")]
    DeviceRevoked(DeviceId),
    /// Devices would refuse the release.
    #[error("the root revokes {model} release {}: every device would refuse it", release.short())]
    ReleaseRevoked {
        /// The model.
        model: ModelName,
        /// The release.
        release: Digest,
    },
    /// Devices would refuse the release.
    #[error(
        "the root's minimum counter of {model} is {minimum}, the release has {counter}: every device would refuse it"
    )]
    BelowMinimum {
        /// The model.
        model: ModelName,
        /// The least counter.
        minimum: u64,
        /// The counter of the release.
        counter: u64,
    },
    /// Devices would not find the release.
    #[error(
        "the broker does not hold {model} release {}{}: no device could fetch it",
        release.short(),
        if *outdated { " as it is signed now" } else { "" }
    )]
    Unpublished {
        /// The model.
        model: ModelName,
        /// The release.
        release: Digest,
        /// Whether the broker holds it under earlier signatures.
        outdated: bool,
    },
    /// The deployment would be over at once.
    #[error("a deployment must be valid for at least one day, 0 were given")]
    Validity,
    /// The audience is sent nothing.
    #[error("{audience} has no deployment; {known}")]
    NoDeployment {
        /// The audience.
        audience: Audience,
        /// Which have one.
        known: String,
    },
    /// Devices would refuse the release.
    #[error(
        "{model} has the floor {floor} for {audience}, the release has counter {counter}: every device would \
         refuse it; choose a newer release"
    )]
    BelowFloor {
        /// The audience.
        audience: Audience,
        /// The model.
        model: ModelName,
        /// The least counter.
        floor: u64,
        /// The counter of the release.
        counter: u64,
    },
    /// Another copy of the folder knows a newer root.
    #[error(
        "the broker's deployment for {audience} needs root {min_root_version} and deploy epoch {deploy_epoch}, \
         the newest root of this folder has version {version} and epoch {epoch}; bring the folder up to date"
    )]
    StaleFolder {
        /// The audience.
        audience: Audience,
        /// The least root of the broker's deployment.
        min_root_version: u64,
        /// Its deploy epoch.
        deploy_epoch: u64,
        /// The version of this folder's newest root.
        version: u64,
        /// Its deploy epoch.
        epoch: u64,
    },
    /// Who is asked about devices does not answer.
    #[error(transparent)]
    Devices(#[from] DevicesError),
    /// There is no nonce to echo.
    #[error("there is no nonce of {audience} to echo: {why}")]
    NoNonce {
        /// Who was asked.
        audience: Audience,
        /// Why there is none.
        why: &'static str,
    },
    /// The device is not in the list.
    #[error("{0} is not in the device list, or is decommissioned")]
    UnknownDevice(DeviceId),
    /// Two deployments with one sequence.
    #[error(
        "the broker holds sequence {sequence} for {audience} with another content than this folder signed; \
         another copy of the folder published it, or the deploy key is stolen"
    )]
    Conflict {
        /// The audience.
        audience: Audience,
        /// The sequence.
        sequence: u64,
    },
}

impl Coded for DeployError {
    fn code(&self) -> Code {
        match self {
            DeployError::Folder(error) => error.code(),
            DeployError::Link(error) => error.code(),
            DeployError::Publish(error) => error.code(),
            DeployError::EmptyChannel { .. } => code::fleet::CHANNEL_EMPTY,
            DeployError::DeviceRevoked(_) => code::update::DEVICE_REVOKED,
            DeployError::ReleaseRevoked { .. } => code::update::RELEASE_REVOKED,
            DeployError::Unpublished { .. } => code::fleet::RELEASE_UNPUBLISHED,
            DeployError::Validity => code::fleet::ARGUMENT,
            DeployError::NoDeployment { .. } => code::fleet::DEPLOYMENT_UNKNOWN,
            DeployError::Devices(error) => error.code(),
            DeployError::NoNonce { .. } => code::fleet::NO_NONCE,
            DeployError::UnknownDevice(_) => code::fleet::DEVICE_UNKNOWN,
            DeployError::BelowFloor { .. } | DeployError::BelowMinimum { .. } => code::update::BELOW_FLOOR,
            DeployError::StaleFolder { .. } | DeployError::Conflict { .. } => code::fleet::EQUIVOCATION,
        }
    }
}

fn channels_text(channels: &[ChannelId]) -> String {
    if channels.is_empty() {
        return String::from("no device is enrolled");
    }
    let names: Vec<&str> = channels.iter().map(ChannelId::as_str).collect();
    format!("devices are in {}", names.join(", "))
}
