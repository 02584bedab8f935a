//! Acts 3 and 9: delivery, and a device that is alone.

use dunlin_core::document::{Audience, Want};
use dunlin_core::{Digest, topic};
use dunlin_fleet::deploy::{self, DeployRequest, Deployed, Terms};
use dunlin_fleet::publish;

use super::Seen;
use super::setup::{CHANNEL, name};
use super::stage::{MODEL, Stage, failed};
use crate::failure::Outcome;
use crate::show;

/// Devices report each second, so that the demo is short.
const REPORT_INTERVAL_S: u32 = 1;

pub(super) fn deliver(stage: &mut Stage) -> Seen {
    let (bytes, messages) = publish(stage, "1.0.0")?;
    let fleet = stage.fleet()?;
    let release = fleet.find_release(&MODEL.parse().map_err(name)?, "1.0.0")?.digest();
    let deployed = deploy(stage, release)?;
    let audience = &deployed.deployment.audience;
    stage.first_deployment = fleet.deployment(audience)?.map(|d| d.envelope().to_vec()).unwrap_or_default();
    for device in &stage.devices {
        device.await_version("1.0.0")?;
    }
    Ok(format!("{messages} messages, {}; both devices serve 1.0.0", show::bytes(bytes)))
}

pub(super) fn offline(stage: &mut Stage) -> Seen {
    stage.stop_broker();
    let image = stage.images.first().cloned().unwrap_or_default();
    let Some(beta) = stage.devices.get_mut(1) else { return Err(failed("the demo has two devices")) };
    beta.kill();
    beta.start()?;
    beta.await_version("1.1.0")?;
    let class = beta.classify(&image)?;
    Ok(format!("beta serves 1.1.0 from its own disk and sees a {class}"))
}

/// Publishes a release; its bytes and messages.
pub(super) fn publish(stage: &mut Stage, version: &str) -> Outcome<(u64, usize)> {
    let fleet = stage.fleet()?;
    let release = fleet.find_release(&MODEL.parse().map_err(name)?, version)?;
    let messages = publish::messages(&fleet, &release)?;
    let (bytes, count) = (messages.iter().map(|message| message.payload.len() as u64).sum(), messages.len());
    stage.runtime.block_on(stage.session.publish(&messages, |_| {}))?;
    Ok((bytes, count))
}

/// Deploys a release to the channel.
pub(super) fn deploy(stage: &mut Stage, release: Digest) -> Outcome<Deployed> {
    let fleet = stage.fleet()?;
    let request = DeployRequest {
        audience: channel()?,
        model: MODEL.parse().map_err(name)?,
        want: Want::Release { stable: release, candidate: None },
        retry: false,
        report_interval_s: REPORT_INTERVAL_S,
        pull_spread_s: 0,
        new_channel: false,
        echo: false,
        terms: Terms { dry_run: false, validity_s: 86_400, now_unix_s: show::now_unix_s() },
    };
    Ok(stage.runtime.block_on(deploy::deploy(&fleet, &mut stage.session, &request))?)
}

/// The audience of the demo.
pub(super) fn channel() -> Outcome<Audience> {
    Ok(Audience::Channel(CHANNEL.parse().map_err(name)?))
}

/// Puts a payload on the broker, as whoever owns the broker can.
pub(super) fn put(stage: &Stage, topic: String, payload: Vec<u8>) -> Outcome {
    let message = dunlin_mqtt::Message { topic, payload: payload.into(), retain: true };
    Ok(stage.runtime.block_on(stage.link.publish(message))?)
}

/// The topic of the channel's deployment.
pub(super) fn deployment_topic(stage: &Stage) -> Outcome<String> {
    Ok(topic::deployment(stage.fleet()?.name(), &channel()?))
}
