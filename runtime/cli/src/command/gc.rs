//! `dunlin gc`: delete what the broker retains and no device can be led to.

use clap::Args;
use dunlin_core::code;
use dunlin_fleet::registry::{self, KEPT_RELEASES};

use super::{BrokerArguments, FleetArgument, block_on};
use crate::failure::{Failure, Outcome};
use crate::show;

/// Find releases and chunks on the broker that nobody needs; with --delete, delete them
///
/// Needed is what a deployment of this folder names, and the three newest releases of each model, which a
/// device may go back to. Everything is still in the folder: `dunlin publish` brings a release back. Downloads
/// what the broker retains of the fleet's chunks.
#[derive(Args)]
#[command(after_help = "Examples:\n  dunlin gc --fleet plant --broker mqtt://10.0.0.5\n  \
                        dunlin gc --fleet plant --broker mqtt://10.0.0.5 --delete")]
pub(crate) struct Arguments {
    #[command(flatten)]
    fleet: FleetArgument,
    #[command(flatten)]
    broker: BrokerArguments,
    /// Delete them; without this nothing is changed
    #[arg(long)]
    delete: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let fleet = arguments.fleet.open()?;
    let found = block_on(async {
        let (link, mut events) = arguments.broker.connect(&fleet).await?;
        let found = registry::unreferenced(&fleet, &link, &mut events).await?;
        if arguments.delete && found.unknown.is_empty() {
            registry::delete(&link, found.topics.keys().cloned()).await?;
        }
        link.close().await;
        Ok(found)
    })?;
    if let Some((audience, release)) = found.unknown.first() {
        let message = format!(
            "the deployment for {audience} names release {}, which this folder does not have: what it needs is not \
             known",
            release.short()
        );
        return Err(Failure::new(code::fleet::RELEASE_UNKNOWN, message));
    }
    let bytes: u64 = found.topics.values().sum();
    if arguments.json {
        return show::json(&serde_json::json!({
            "unreferenced": found.topics.keys().collect::<Vec<_>>(), "bytes": bytes, "kept": found.kept,
            "deleted": arguments.delete,
        }));
    }
    for (topic, bytes) in found.topics.iter().filter(|(topic, _)| topic.contains("/release/")) {
        println!("{topic} ({})", show::bytes(*bytes));
    }
    let chunks = found.topics.keys().filter(|topic| topic.contains("/chunk/")).count();
    let done = if arguments.delete { "deleted" } else { "to delete, with --delete" };
    println!(
        "{} releases and {chunks} chunks {done}, {}; {} messages stay: what deployments name, and the newest \
         {KEPT_RELEASES} of each model",
        found.topics.len() - chunks,
        show::bytes(bytes),
        found.kept
    );
    Ok(())
}
