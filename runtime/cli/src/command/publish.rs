//! `dunlin publish`: put a release on the broker.

use clap::Args;
use dunlin_fleet::publish;

use super::{BrokerArguments, FleetArgument, ReleaseName, block_on};
use crate::failure::Outcome;
use crate::show;

/// Put a release on the broker, where devices find it; twice is as good as once
#[derive(Args)]
#[command(after_help = "Example:\n  dunlin publish digits@1.0.0 --fleet plant --broker mqtt://10.0.0.5")]
pub(crate) struct Arguments {
    /// The release
    #[arg(value_name = "N@V")]
    release: ReleaseName,
    #[command(flatten)]
    fleet: FleetArgument,
    #[command(flatten)]
    broker: BrokerArguments,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let fleet = arguments.fleet.open()?;
    let release = fleet.find_release(&arguments.release.model, &arguments.release.version)?;
    let messages = publish::messages(&fleet, &release)?;
    let (count, bytes) = (messages.len(), messages.iter().map(|m| m.payload.len() as u64).sum());
    block_on(async {
        let (link, _events) = arguments.broker.connect().await?;
        let bar = show::progress("publishing", bytes);
        publish::send(&link, messages, |sent| bar.inc(sent)).await?;
        bar.finish_and_clear();
        link.close().await;
        Ok(())
    })?;
    if arguments.json {
        return show::json(&serde_json::json!({
            "release": release.digest(), "messages": count, "bytes": bytes,
        }));
    }
    println!(
        "{} {} is on the broker: {count} messages, {}",
        release.model,
        release.version,
        show::bytes(bytes)
    );
    Ok(())
}
