//! Following a deployment until each device of its audience serves, has refused, or stays silent.
//!
//! [`Follow`] judges by what devices report: events say at once what happened, health records say every interval what
//! serves, and presence says who is connected. What devices report is not signed.

use std::collections::BTreeMap;
use std::time::Duration;

use dunlin_core::Digest;
use dunlin_core::code::update;
use dunlin_core::document::{Audience, Deployment, Want};
use dunlin_core::id::{DeviceId, FleetId, ModelName};
use dunlin_core::telemetry::{EventRecord, Health, Presence, PresenceState, Record as _};
use dunlin_core::topic::{self, TelemetryClass};
use dunlin_mqtt::{Event, Events, Link, LinkError, Message, Subscription};
use serde::Serialize;

use crate::devices::MAX_PRESENCE_BYTES;
use crate::folder::{Fleet, FolderError};
use crate::tail;

/// Refusals of a deployment as a whole that a later message does not heal.
const FINAL: [&str; 6] = [
    update::WRONG_AUDIENCE.id,
    update::DEVICE_REVOKED.id,
    update::REPLAYED.id,
    update::EQUIVOCATION.id,
    update::SEQUENCE_JUMP.id,
    update::EXPIRED.id,
];

/// How far a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Nothing that decides has come.
    Silent,
    /// It does what the deployment says.
    Serves,
    /// It refused, or went back.
    Refused,
    /// Its own deployment says otherwise, and wins.
    Overruled,
}

/// A device of the audience.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceStanding {
    /// The device.
    pub device: DeviceId,
    /// How far it is.
    pub standing: Standing,
    /// Whether it is connected, if it was ever heard of.
    pub online: Option<bool>,
    /// Why it refused: a code of `docs/errors.md`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// More, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What the devices of a deployment's audience make of it, as far as it is known.
#[derive(Clone, Debug)]
pub struct Follow {
    model: ModelName,
    /// The release that should serve; `None` if the model should go.
    wanted: Option<Digest>,
    devices: BTreeMap<DeviceId, DeviceStanding>,
}

impl Follow {
    /// Follows what a deployment says of a model.
    ///
    /// # Errors
    /// A file of the folder cannot be read or verified.
    pub fn new(fleet: &Fleet, deployment: &Deployment, model: &ModelName) -> Result<Follow, FolderError> {
        let want = deployment.entry(model).map(|entry| &entry.want);
        let wanted = match want {
            Some(Want::Release { stable, .. }) => Some(*stable),
            Some(Want::Remove) | None => None,
        };
        let mut devices = BTreeMap::new();
        for device in fleet.members(&deployment.audience)? {
            let own = match &deployment.audience {
                Audience::Channel(_) => fleet.deployment(&Audience::Device(device.clone()))?,
                Audience::Device(_) => None,
            };
            let overruled = own
                .and_then(|own| own.entry(model).map(|entry| Some(&entry.want) != want))
                .is_some_and(|differs| differs);
            let standing = if overruled { Standing::Overruled } else { Standing::Silent };
            let row =
                DeviceStanding { device: device.clone(), standing, online: None, code: None, detail: None };
            devices.insert(device, row);
        }
        Ok(Follow { model: model.clone(), wanted, devices })
    }

    /// Every device, by id.
    pub fn devices(&self) -> impl Iterator<Item = &DeviceStanding> {
        self.devices.values()
    }

    /// The devices of a standing.
    pub fn of(&self, standing: Standing) -> Vec<&DeviceStanding> {
        self.devices.values().filter(|row| row.standing == standing).collect()
    }

    /// Whether no device is silent any more.
    pub fn is_settled(&self) -> bool {
        self.of(Standing::Silent).is_empty()
    }

    /// Takes a message of the fleet's devices; whether it changed anything.
    pub fn hear(&mut self, fleet: &FleetId, message: &Message) -> bool {
        if let Some(device) = topic::parse_presence(fleet, &message.topic) {
            let presence = Presence::from_json(&message.payload).ok();
            return self.change(&device, |row| {
                row.online = presence.map(|presence| presence.state == PresenceState::Online).or(row.online);
            });
        }
        let Some(record) = tail::record(fleet, &message.topic, &message.payload) else { return false };
        match record.class {
            TelemetryClass::Health => match serde_json::from_value::<Health>(record.json) {
                Ok(health) => self.health(&record.device, &health),
                Err(_) => false,
            },
            TelemetryClass::Event => match serde_json::from_value::<EventRecord>(record.json) {
                Ok(event) => self.event(&record.device, event),
                Err(_) => false,
            },
            TelemetryClass::Drift => false,
        }
    }

    fn health(&mut self, device: &DeviceId, health: &Health) -> bool {
        let of_model = health.models.iter().filter(|model| model.model == self.model);
        let serving: Vec<Digest> = of_model.filter(|model| model.ready).map(|model| model.release).collect();
        let does = match self.wanted {
            Some(wanted) => serving.contains(&wanted),
            None => serving.is_empty(),
        };
        does && self.serves(device)
    }

    fn event(&mut self, device: &DeviceId, event: EventRecord) -> bool {
        let of_model = event.model.as_ref() == Some(&self.model);
        let of_release = event.release.is_some() && event.release == self.wanted;
        let of_another = event.release.is_some() && !of_release;
        match event.event.as_str() {
            "switched" if of_release => self.serves(device),
            "removed" if of_model && self.wanted.is_none() => self.serves(device),
            "refused" | "rolled-back" if (of_model || of_release) && !of_another => {
                self.refused(device, event)
            }
            "refused" if event.model.is_none() && event.release.is_none() && is_final(&event) => {
                self.refused(device, event)
            }
            _ => false,
        }
    }

    fn serves(&mut self, device: &DeviceId) -> bool {
        self.change(device, |row| {
            row.standing = Standing::Serves;
            (row.code, row.detail) = (None, None);
        })
    }

    fn refused(&mut self, device: &DeviceId, event: EventRecord) -> bool {
        self.change(device, |row| {
            row.standing = Standing::Refused;
            (row.code, row.detail) = (event.code, event.detail);
        })
    }

    fn change(&mut self, device: &DeviceId, change: impl FnOnce(&mut DeviceStanding)) -> bool {
        let Some(row) = self.devices.get_mut(device) else { return false };
        if row.standing == Standing::Overruled {
            return false;
        }
        let before = row.clone();
        change(row);
        *row != before
    }
}

fn is_final(event: &EventRecord) -> bool {
    event.code.as_deref().is_some_and(|code| FINAL.contains(&code))
}

/// Subscribes to what devices report: before the deployment is published, so that nothing is missed.
///
/// # Errors
/// The broker does not grant it.
pub async fn subscribe(link: &Link, fleet: &FleetId) -> Result<(), LinkError> {
    tail::subscribe(link, fleet, None).await?;
    link.subscribe(&[Subscription::new(topic::every_presence(fleet), MAX_PRESENCE_BYTES)]).await
}

/// Listens until no device is silent, or the time is over. The callback gets every change.
pub async fn follow(
    follow: &mut Follow,
    events: &mut Events,
    fleet: &FleetId,
    wait: Duration,
    mut changed: impl FnMut(&Follow),
) {
    changed(follow);
    let listen = async {
        while !follow.is_settled() {
            let Some(event) = events.recv().await else { return };
            if let Event::Received(message) = event
                && follow.hear(fleet, &message)
            {
                changed(follow);
            }
        }
    };
    if tokio::time::timeout(wait, listen).await.is_err() {
        tracing::debug!("some devices stayed silent");
    }
}

#[cfg(test)]
mod tests;
