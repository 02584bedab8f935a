//! `dunlin move` and `dunlin decommission`: devices that change their channel, or leave.

use clap::Args;
use dunlin_core::id::{ChannelId, DeviceId};
use dunlin_fleet::deploy::{self, Terms};

use super::access::{BrokerArguments, FleetArgument};
use super::block_on;
use super::deploy::Signing;
use crate::failure::Outcome;
use crate::show;

/// Assign a device to another channel
///
/// The device's own deployment says so, and the device list. The device follows the new channel from then
/// on; models that only the old channel named stay until they are removed.
#[derive(Args)]
#[command(after_help = "Example:\n  dunlin move press-3 canary --fleet plant --broker mqtt://10.0.0.5")]
pub(crate) struct Move {
    /// The device
    device: DeviceId,
    /// Its new channel
    channel: ChannelId,
    /// The channel has neither a device nor a deployment yet
    #[arg(long)]
    new_channel: bool,
    #[command(flatten)]
    signing: Signing,
}

/// Mark a device as no longer of the fleet
///
/// Collectors stop believing it, and its own deployment and presence are deleted from the broker. What it runs goes
/// on; `dunlin root revoke --device` makes it refuse all that comes. Take its access to the broker first: a device
/// that is still connected leaves its presence there again. Run the command again to delete it.
#[derive(Args)]
#[command(after_help = "Example:\n  dunlin decommission press-3 --fleet plant --broker mqtt://10.0.0.5")]
pub(crate) struct Decommission {
    /// The device
    device: DeviceId,
    #[command(flatten)]
    fleet: FleetArgument,
    #[command(flatten)]
    broker: BrokerArguments,
    /// Sign, keep and publish nothing, and say what would be
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn move_device(arguments: &Move) -> Outcome {
    let Move { device, channel, new_channel, signing } = arguments;
    let fleet = signing.fleet.open()?;
    let deployed = block_on(async {
        let mut session = signing.broker.session(&fleet).await?;
        let terms = signing.terms();
        let deployed =
            deploy::move_device(&fleet, &mut session, device, channel, *new_channel, terms).await?;
        session.close().await;
        Ok(deployed)
    })?;
    if signing.json {
        return show::json(
            &serde_json::json!({ "digest": deployed.digest, "deployment": deployed.deployment }),
        );
    }
    signing.say_if_dry();
    println!("{device} belongs to channel {channel} (sequence {})", deployed.deployment.sequence);
    Ok(())
}

pub(crate) fn decommission(arguments: &Decommission) -> Outcome {
    let fleet = arguments.fleet.open()?;
    let terms = Terms { dry_run: arguments.dry_run, validity_s: 0, now_unix_s: show::now_unix_s() };
    let list = block_on(async {
        let mut session = arguments.broker.session(&fleet).await?;
        let list = deploy::decommission(&fleet, &mut session, &arguments.device, terms).await?;
        session.close().await;
        Ok(list)
    })?;
    if arguments.json {
        return show::json(&serde_json::json!({ "device_list": list }));
    }
    let device = &arguments.device;
    if arguments.dry_run {
        println!("dry run: {device} would be marked in device list {}", list.sequence);
        return Ok(());
    }
    println!("{device} is no longer of the fleet; its deployment and presence are deleted from the broker");
    println!(
        "  it goes on with what it runs; to make it refuse all that comes: dunlin root revoke --device {device}"
    );
    println!("  take its access to the broker, too; if it was connected, run this again afterwards");
    Ok(())
}
