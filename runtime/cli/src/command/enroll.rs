//! `dunlin enroll`: a new device.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use dunlin_core::id::{ChannelId, DeviceId};
use dunlin_fleet::enroll::{EnrollRequest, config_path};
use dunlin_mqtt::BrokerUrl;

use super::FleetArgument;
use crate::failure::Outcome;
use crate::show;

/// Enrol a device: a folder with its key, its configuration and the trust it starts from
#[derive(Args)]
#[command(
    after_help = "Example:\n  dunlin enroll press-3 --fleet plant --broker mqtt://10.0.0.5 --channel stable -o press-3\n  \
                        (then copy the folder to the device and run `dunlin agent --config press-3/agent.toml`)"
)]
pub(crate) struct Arguments {
    /// The device's id: a-z, 0-9 and '-'
    device: DeviceId,
    #[command(flatten)]
    fleet: FleetArgument,
    /// The broker that the device connects to: mqtt://HOST[:PORT]
    #[arg(long, value_name = "URL")]
    broker: BrokerUrl,
    /// The channel that the device starts in
    #[arg(long, value_name = "NAME")]
    channel: ChannelId,
    /// The folder to write; it must not be there yet
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// The address of the device's inference API; loopback only
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8500")]
    listen: SocketAddr,
    /// The device's first connection waits a random part of this, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    first_connect_jitter_s: u32,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: Arguments) -> Outcome {
    let fleet = arguments.fleet.open()?;
    let request = EnrollRequest {
        device: arguments.device,
        channel: arguments.channel,
        broker: arguments.broker,
        listen: arguments.listen,
        out: arguments.output,
        first_connect_jitter_s: arguments.first_connect_jitter_s,
        now_unix_s: show::now_unix_s(),
    };
    let entry = fleet.enroll(&request)?;
    let config = config_path(&request.out);
    if arguments.json {
        return show::json(&serde_json::json!({ "device": entry, "folder": request.out, "config": config }));
    }
    println!("device {} of channel {}: {}", entry.id, entry.channel, request.out.display());
    println!("  key {}", entry.public);
    println!("  run it with: dunlin agent --config {}", config.display());
    Ok(())
}
