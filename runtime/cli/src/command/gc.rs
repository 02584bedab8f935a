//! `dunlin gc`: delete what the broker retains and nothing leads a device to.

use std::time::Duration;

use clap::Args;
use dunlin_fleet::retention::{self, Plan, ReleaseRow};

use super::access::{BrokerArguments, FleetArgument};
use super::block_on;
use crate::failure::Outcome;
use crate::show;

/// The longest that it listens unless it is said, in seconds.
const MOST_LISTENING_S: u64 = 120;

/// Find releases and chunks on the broker that no device needs; with --delete, delete them
///
/// A release stays if a deployment names it, if it is what an audience ran before, if a device reports that it
/// holds it, if a device that did not report was ever sent it, or if it is one of the three newest of its model.
/// Listens until every connected device has reported. Everything is still in the folder: `dunlin publish` brings a
/// release back. Downloads what the broker retains of the fleet's chunks, and with --delete what is left once more.
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
    /// How long to listen to devices at most; their longest report interval if nothing is said, up to 120
    #[arg(long, value_name = "SECONDS")]
    listen_s: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let fleet = arguments.fleet.open()?;
    let listening = match arguments.listen_s {
        Some(seconds) => Duration::from_secs(seconds),
        None => retention::listening(&fleet, Duration::from_secs(MOST_LISTENING_S))?,
    };
    let plan = block_on(async {
        let mut session = arguments.broker.session(&fleet).await?;
        let bar = show::spinner("listening to devices");
        let heard = retention::hear(&fleet, &mut session, listening).await?;
        bar.finish_and_clear();
        let plan = retention::plan(&fleet, &mut session, &heard).await?;
        if arguments.delete {
            let topics: Vec<String> = plan.topics.keys().cloned().collect();
            retention::delete(&fleet, &mut session, &topics).await?;
        }
        session.close().await;
        Ok(plan)
    })?;
    if arguments.json {
        let bytes: u64 = plan.topics.values().sum();
        return show::json(&serde_json::json!({
            "releases": plan.releases, "unreferenced": plan.topics.keys().collect::<Vec<_>>(), "bytes": bytes,
            "kept": plan.kept, "devices_without_report": plan.unheard, "deleted": arguments.delete,
        }));
    }
    print(&plan, arguments.delete);
    Ok(())
}

fn print(plan: &Plan, deleted: bool) {
    let mut table = show::table(&["release", "", "on the broker"]);
    for ReleaseRow { release, model, version, kept } in &plan.releases {
        let name = match (model, version) {
            (Some(model), Some(version)) => format!("{model} {version}"),
            _ => String::from("not in this folder"),
        };
        let reasons: Vec<String> = kept.iter().map(ToString::to_string).collect();
        let fate = match (reasons.as_slice(), deleted) {
            ([], true) => String::from("deleted"),
            ([], false) => String::from("not needed"),
            (reasons, _) => format!("stays: {}", reasons.join("; ")),
        };
        table.add_row([name, release.short().to_string(), fate]);
    }
    if !plan.releases.is_empty() {
        println!("{table}");
    }
    if !plan.unheard.is_empty() {
        let names: Vec<&str> = plan.unheard.iter().map(|device| device.as_str()).collect();
        println!("no report came from {}: what was ever sent there stays", names.join(", "));
    }
    let chunks = plan.topics.keys().filter(|topic| topic.contains("/chunk/")).count();
    let done = if deleted { "deleted" } else { "to delete, with --delete" };
    println!(
        "{} releases and {chunks} chunks {done}, {}; {} messages stay",
        plan.topics.len() - chunks,
        show::bytes(plan.topics.values().sum()),
        plan.kept
    );
}
