//! Acts 6 to 8: what an attacker would try, and why the devices refuse.

use dunlin_core::document::{self, Release};
use dunlin_core::{envelope, topic};
use dunlin_fleet::{key, publish};
use serde_json::Value;

use super::Seen;
use super::deliver::{deploy, deployment_topic, publish as publish_release, put};
use super::setup::{name, sign};
use super::stage::{MODEL, Stage, failed};
use crate::failure::Outcome;

pub(super) fn forge(stage: &mut Stage) -> Seen {
    let fleet = stage.fleet()?;
    let release = fleet.find_release(&MODEL.parse().map_err(name)?, "1.0.0")?;
    let forged = Release { version: "6.6.6".to_string(), counter: 666, ..Release::clone(&release) };
    let (body, digest) = document::to_body(&forged)?;
    let thief = key::generate()?;
    let envelope = envelope::seal::<Release>(&body, &[(&"release".parse().map_err(name)?, &thief)]);
    put(stage, topic::release(fleet.name(), &digest), envelope)?;
    deploy(stage, digest)?;
    let refusal = refusal(stage, "signature-threshold")?;
    still(stage, "1.0.0")?;
    Ok(refusal)
}

pub(super) fn alter(stage: &mut Stage) -> Seen {
    let digest = sign(stage, "1.1.0", 16)?.digest;
    let fleet = stage.fleet()?;
    let release = fleet.find_release(&MODEL.parse().map_err(name)?, "1.1.0")?;
    let mut messages = publish::messages(&fleet, &release)?;
    // The module's own chunks come first; one of them differs from those of 1.0.0.
    let chunk = messages.iter_mut().find(|message| message.topic.contains("/chunk/"));
    let chunk = chunk.ok_or_else(|| failed("a release has chunks"))?;
    let mut payload = chunk.payload.to_vec();
    *payload.last_mut().ok_or_else(|| failed("a chunk has bytes"))? ^= 1;
    chunk.payload = payload.into();
    stage.runtime.block_on(publish::send(&stage.link, messages, |_| {}))?;
    deploy(stage, digest)?;
    let refusal = refusal(stage, "chunk-digest")?;
    still(stage, "1.0.0")?;
    publish_release(stage, "1.1.0")?;
    for device in &stage.devices {
        device.await_version("1.1.0")?;
    }
    Ok(format!("{refusal}; with the true chunk both serve 1.1.0"))
}

pub(super) fn replay(stage: &mut Stage) -> Seen {
    put(stage, deployment_topic(stage)?, stage.first_deployment.clone())?;
    let refusal = refusal(stage, "deployment-replayed")?;
    still(stage, "1.1.0")?;
    Ok(refusal)
}

/// Waits until a device says that it refused something for this reason.
fn refusal(stage: &Stage, code: &str) -> Outcome<String> {
    let record = stage.hear(&format!("a refusal: {code}"), |record| record["code"] == code)?;
    let text = |key: &str| record[key].as_str().unwrap_or_default().to_string();
    println!("   {} refuses [{code}]: {}", text("device"), text("detail"));
    Ok(format!("refused: {code}"))
}

/// Every device still serves this version.
fn still(stage: &Stage, version: &str) -> Outcome {
    for device in &stage.devices {
        let body = device.get(&format!("/v2/models/{MODEL}"))?;
        let serves =
            body["versions"].as_array().is_some_and(|all| all.iter().any(|found: &Value| found == version));
        if !serves {
            return Err(failed(format!("{} should still serve {version}: {body}", device.id)));
        }
    }
    Ok(())
}
