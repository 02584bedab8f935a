//! `dunlin devices`: who is in the fleet, and who is connected.

use std::time::Duration;

use clap::Args;
use dunlin_core::telemetry::PresenceState;
use dunlin_fleet::consumer;
use dunlin_fleet::devices::{self, DeviceRow};

use super::access::{BrokerArguments, Source, SourceArguments};
use super::block_on;
use crate::failure::Outcome;
use crate::show;

/// List the devices of a fleet and whether they are connected
#[derive(Args)]
#[command(
    after_help = "Examples:\n  dunlin devices\n  dunlin devices --fleet plant --broker mqtt://10.0.0.5 --json\n  \
                        dunlin devices --root root.json --broker mqtt://10.0.0.5     (without the fleet's folder)"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    source: SourceArguments,
    #[command(flatten)]
    broker: BrokerArguments,
    /// Stop when no device has been heard of for this long, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 700)]
    quiet_ms: u64,
    /// Print one JSON array
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let source = arguments.source.open()?;
    let access = arguments.broker.resolve(source.folder())?;
    let rows = block_on(async {
        let (link, mut events) = access.connect().await?;
        let quiet = Duration::from_millis(arguments.quiet_ms);
        let rows = match &source {
            Source::Folder(fleet) => devices::devices(fleet, &link, &mut events, quiet).await?,
            Source::Root(root) => {
                let list = consumer::device_list(root.clone(), &link, &mut events).await?;
                devices::listed(root.fleet(), list.as_deref(), &link, &mut events, quiet).await?
            }
        };
        link.close().await;
        Ok(rows)
    })?;
    if arguments.json {
        return show::json(&rows);
    }
    print(&rows);
    Ok(())
}

fn print(rows: &[DeviceRow]) {
    let mut table = show::table(&["device", "channel", "state", "runtime"]);
    for row in rows {
        let channel = match &row.enrolled {
            Some(entry) if entry.revoked => format!("{} (revoked)", entry.channel),
            Some(entry) => entry.channel.to_string(),
            None => "not enrolled here".to_string(),
        };
        let (state, runtime) = match &row.presence {
            Some(presence) => (state_text(presence.state), presence.runtime.clone()),
            None => ("never seen", String::new()),
        };
        table.add_row([row.id.to_string(), channel, state.to_string(), runtime]);
    }
    println!("{table}");
}

fn state_text(state: PresenceState) -> &'static str {
    match state {
        PresenceState::Online => "online",
        PresenceState::Offline => "offline",
    }
}
