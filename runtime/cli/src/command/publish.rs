//! `dunlin publish`: put a release on the broker.

use clap::Args;
use dunlin_fleet::publish::{self, Progress};
use dunlin_fleet::registry;

use super::access::{BrokerArguments, FleetArgument};
use super::{ReleaseName, block_on};
use crate::failure::Outcome;
use crate::show;

/// Put a release on the broker, where devices find it
///
/// What the broker has already is not sent again. What is sent is read back on a second connection, which costs
/// the download of it: success means that the broker holds all of it. With --repair everything that deployments of this folder
/// need is looked for on the broker, and sent where it is missing or altered.
#[derive(Args)]
#[command(after_help = "Examples:\n  dunlin publish digits@1.0.0 --fleet plant --broker mqtt://10.0.0.5\n  \
                        dunlin publish digits@1.0.0 --fleet plant --broker mqtt://10.0.0.5 --dry-run\n  \
                        dunlin publish --repair --fleet plant --broker mqtt://10.0.0.5")]
pub(crate) struct Arguments {
    /// The release
    #[arg(value_name = "N@V", required_unless_present = "repair")]
    release: Option<ReleaseName>,
    /// Restore what the broker lost of everything that is deployed
    #[arg(long, conflicts_with = "release")]
    repair: bool,
    #[command(flatten)]
    fleet: FleetArgument,
    #[command(flatten)]
    broker: BrokerArguments,
    /// Send nothing, and say what would be sent
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let fleet = arguments.fleet.open()?;
    let release =
        arguments.release.as_ref().map(|name| fleet.find_release(&name.model, &name.version)).transpose()?;
    let messages = || match &release {
        Some(release) => publish::messages(&fleet, release),
        None => registry::everything(&fleet),
    };
    let survey = block_on(async {
        let mut session = arguments.broker.session(&fleet).await?;
        let survey = if arguments.dry_run {
            registry::survey(&fleet, &mut session, messages()?).await?
        } else {
            let bar = show::progress("publishing and reading back", 0);
            let survey = publish::publish(&fleet, &mut session, messages, |progress| match progress {
                Progress::Missing(bytes) => bar.set_length(bytes),
                Progress::Kept(bytes) => bar.inc(bytes),
            })
            .await?;
            bar.finish_and_clear();
            survey
        };
        session.close().await;
        Ok(survey)
    })?;
    let (sent, there) = (survey.missing.len(), survey.present.len());
    if arguments.json {
        return show::json(&serde_json::json!({
            "release": release.map(|release| release.digest()), "sent": sent,
            "sent_bytes": survey.missing_bytes(), "present": there, "present_bytes": survey.present_bytes(),
            "dry_run": arguments.dry_run,
        }));
    }
    let what = release.map_or_else(
        || String::from("what is deployed"),
        |release| format!("{} {}", release.model, release.version),
    );
    let done = if arguments.dry_run { "would be sent" } else { "sent and read back" };
    println!(
        "{what}: {sent} messages {done}, {}; {there} were there, {}",
        show::bytes(survey.missing_bytes()),
        show::bytes(survey.present_bytes())
    );
    Ok(())
}
