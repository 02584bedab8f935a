//! Words for the records: headers, presence and events.

use dunlin_abi::ABI_VERSION;
use dunlin_core::Digest;
use dunlin_core::code::Code;
use dunlin_core::telemetry::{BootId, Clock, EventRecord, Header, Presence, PresenceState, SCHEMA};
use dunlin_core::update::{self, Device, Now, Occurrence, Standing, Subject};

use crate::api::{Alarm, DeviceStatus};

/// The most failed releases of a presence record, which has at most 4096 bytes.
const MAX_FAILED: usize = 8;

/// What every record starts with; the outbox gives the sequence.
pub(super) fn header(device: &Device, boot: BootId, now: Now, seq: u64) -> Header {
    Header {
        schema: SCHEMA,
        fleet: Some(device.identity().fleet.clone()),
        device: device.identity().device.clone(),
        boot,
        seq,
        time_unix_s: now.wall_unix_s,
        clock: clock(device, now),
    }
}

fn clock(device: &Device, now: Now) -> Clock {
    match device.clock(now) {
        update::Clock::Unset => Clock::Unset,
        update::Clock::Bounded => Clock::Bounded,
        update::Clock::Attested => Clock::Attested,
    }
}

/// What the local API tells of the device.
pub(super) fn status(device: &Device, connected: bool, now: Now) -> DeviceStatus {
    let (identity, freshness) = (device.identity(), device.freshness(now));
    let alarm = |standing: Standing| Alarm {
        code: standing.code.id,
        about: standing.what.to_string(),
        detail: standing.detail,
    };
    DeviceStatus {
        fleet: identity.fleet.to_string(),
        device: identity.device.to_string(),
        channel: device.state().channel.to_string(),
        runtime: super::RUNTIME_VERSION,
        connected,
        clock: clock(device, now),
        root_version: device.root().version(),
        deployment_age_s: freshness.deployment_age_s,
        proven_age_s: freshness.proven_age_s,
        alarms: device.standing(now).into_iter().map(alarm).collect(),
    }
}

/// Whether the device is connected, and what it is.
pub(super) fn presence(device: &Device, header: Header, state: PresenceState) -> Presence {
    Presence {
        header,
        state,
        // The start counter is committed before the first connection of a start.
        connection: device.state().boots,
        runtime: super::RUNTIME_VERSION.to_string(),
        abi: ABI_VERSION,
        target: None,
        channel: Some(device.state().channel.clone()),
        root_version: device.root().version(),
        failed: failed(device).to_vec(),
        nonce: Some(device.identity().boot_id.clone()),
    }
}

/// The newest releases that failed, as many as presence has room for.
pub(super) fn failed(device: &Device) -> &[Digest] {
    let bad = &device.state().bad;
    bad.get(bad.len().saturating_sub(MAX_FAILED)..).unwrap_or_default()
}

/// An event that says only what happened.
fn event(header: Header, name: &str) -> EventRecord {
    EventRecord {
        header,
        event: name.to_string(),
        model: None,
        release: None,
        version: None,
        code: None,
        detail: None,
    }
}

/// A refusal or alarm about a release that fetching tells of.
pub(super) fn about_release(
    device: &Device,
    header: Header,
    name: &str,
    release: Digest,
    code: Code,
    detail: String,
) -> EventRecord {
    let (code, detail) = (Some(code.id.to_string()), Some(detail));
    let record = EventRecord { release: Some(release), code, detail, ..event(header, name) };
    named(device, record)
}

/// Adds model and version of the release that a record is about, if they are known.
fn named(device: &Device, mut record: EventRecord) -> EventRecord {
    if let Some(document) = record.release.and_then(|release| device.release(&release)) {
        record.model.get_or_insert_with(|| document.model.clone());
        record.version.get_or_insert_with(|| document.version.clone());
    }
    record
}

/// The record of what happened.
pub(super) fn of_occurrence(device: &Device, header: Header, occurrence: Occurrence) -> EventRecord {
    let record = match occurrence {
        Occurrence::RootAccepted { version } => {
            EventRecord { detail: Some(format!("root {version}")), ..event(header, "root-accepted") }
        }
        Occurrence::DeploymentAccepted { audience, sequence, digest } => EventRecord {
            detail: Some(format!("sequence {sequence} for {audience}, {digest}")),
            ..event(header, "deployment-accepted")
        },
        Occurrence::Refused { code, detail, what, count } => {
            let times = if count > 1 { format!(" ({count} times)") } else { String::new() };
            about(EventRecord { code: Some(code), ..event(header, "refused") }, what, detail + &times)
        }
        Occurrence::Installed { model, release, counter, version } => EventRecord {
            model: Some(model),
            release: Some(release),
            version: Some(version),
            detail: Some(format!("counter {counter}")),
            ..event(header, "installed")
        },
        Occurrence::Switched { model, from, to, version } => EventRecord {
            model: Some(model),
            release: Some(to),
            version: Some(version),
            detail: from.map(|from| format!("from release {}", from.short())),
            ..event(header, "switched")
        },
        Occurrence::Proven { model, release } => {
            EventRecord { model: Some(model), release: Some(release), ..event(header, "proven") }
        }
        Occurrence::RolledBack { model, from, to, code, detail } => {
            let place = to.map_or_else(|| String::from("nothing"), |to| format!("release {}", to.short()));
            EventRecord {
                model: Some(model),
                release: Some(from),
                code: Some(code),
                detail: Some(format!("{detail}; {place} takes its place")),
                ..event(header, "rolled-back")
            }
        }
        Occurrence::Removed { model } => EventRecord { model: Some(model), ..event(header, "removed") },
        Occurrence::Alarm { code, detail, what } => {
            about(EventRecord { code: Some(code), ..event(header, "alarm") }, what, detail)
        }
    };
    named(device, record)
}

fn about(record: EventRecord, what: Subject, detail: String) -> EventRecord {
    let detail = Some(detail);
    match what {
        Subject::Release(release) => EventRecord { release: Some(release), detail, ..record },
        Subject::Model(model) => EventRecord { model: Some(model), detail, ..record },
        Subject::Root | Subject::Deployment(_) | Subject::Device => EventRecord { detail, ..record },
    }
}

/// The event in the agent's own log.
pub(super) fn log(record: &EventRecord) {
    let text = words(record);
    match &record.code {
        Some(code) => tracing::warn!(%code, "{text}"),
        None => tracing::info!("{text}"),
    }
}

/// `switched: digits 1.2.0 (2c26b46b68ff): from release fcde2b2edba5`, as far as it is known.
fn words(record: &EventRecord) -> String {
    let mut text = record.event.clone();
    if let Some(model) = &record.model {
        text += &format!(": {model}");
    }
    if let Some(version) = &record.version {
        text += &format!(" {version}");
    }
    if let Some(release) = &record.release {
        text += &format!(" ({})", release.short());
    }
    if let Some(detail) = &record.detail {
        text += &format!(": {detail}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use dunlin_core::code::update;
    use dunlin_core::document::Audience;

    /// Every occurrence as the record says it: name, code, and what the detail must hold.
    #[test]
    fn every_occurrence_has_its_name_and_its_words() {
        let device = crate::control::boot::tests::device();
        let now = Now { wall_unix_s: 1_600_000_000, monotonic_ms: 0, random: 0 };
        let release = Digest::of(b"r");
        let model = || "m".parse::<dunlin_core::id::ModelName>().unwrap();
        let text = String::from;
        let cases = [
            (Occurrence::RootAccepted { version: 7 }, "root-accepted", "root 7"),
            (
                Occurrence::DeploymentAccepted {
                    audience: Audience::Channel("c".parse().unwrap()),
                    sequence: 3,
                    digest: release,
                },
                "deployment-accepted",
                "sequence 3 for channel c",
            ),
            (
                Occurrence::Refused {
                    code: text("x"),
                    detail: text("because"),
                    what: Subject::Model(model()),
                    count: 5,
                },
                "refused",
                "because (5 times)",
            ),
            (
                Occurrence::Installed { model: model(), release, counter: 4, version: text("1.0") },
                "installed",
                "counter 4",
            ),
            (
                Occurrence::Switched {
                    model: model(),
                    from: Some(release),
                    to: release,
                    version: text("1.0"),
                },
                "switched",
                "from release",
            ),
            (Occurrence::Proven { model: model(), release }, "proven", ""),
            (
                Occurrence::RolledBack {
                    model: model(),
                    from: release,
                    to: None,
                    code: update::TRIAL_FAILED.id.to_string(),
                    detail: text("3 failed"),
                },
                "rolled-back",
                "3 failed; nothing takes its place",
            ),
            (Occurrence::Removed { model: model() }, "removed", ""),
            (
                Occurrence::Alarm { code: text("x"), detail: text("look"), what: Subject::Release(release) },
                "alarm",
                "look",
            ),
        ];
        for (seq, (occurrence, name, words)) in (1..).zip(cases) {
            let header = header(&device, BootId::from_bytes([7; 16]), now, seq);
            let record = of_occurrence(&device, header, occurrence);
            assert_eq!((record.event.as_str(), record.header.seq), (name, seq));
            assert!(record.detail.clone().unwrap_or_default().contains(words), "{record:?}");
            let coded = ["refused", "rolled-back", "alarm"].contains(&name);
            assert_eq!(record.code.is_some(), coded, "{record:?}");
            let line = self::words(&record);
            assert!(
                line.starts_with(name) && line.ends_with(record.detail.as_deref().unwrap_or("")),
                "{line}"
            );
        }
    }

    #[test]
    fn presence_carries_the_number_of_the_start_and_the_nonce() {
        let mut device = crate::control::boot::tests::device();
        let now = Now { wall_unix_s: 1_600_000_000, monotonic_ms: 0, random: 0 };
        device.step(now, dunlin_core::update::Event::Started);
        let header = header(&device, BootId::from_bytes([7; 16]), now, 1);
        assert_eq!(header.clock, Clock::Bounded);
        let presence = presence(&device, header, PresenceState::Online);
        assert_eq!((presence.connection, presence.root_version), (1, 1));
        assert_eq!(presence.nonce.as_deref(), Some(device.identity().boot_id.as_str()));
    }
}
