//! `dunlin deploy`: say what an audience should run.

use std::str::FromStr;

use clap::Args;
use dunlin_core::document::{Audience, Want};
use dunlin_fleet::deploy::{self, DeployRequest};

use super::{BrokerArguments, FleetArgument, ReleaseName, block_on};
use crate::failure::Outcome;
use crate::show;

/// Say to a channel or to a device which release to run
#[derive(Args)]
#[command(
    after_help = "Examples:\n  dunlin deploy digits@1.0.0 --fleet plant --broker mqtt://10.0.0.5 --to stable\n  \
                        dunlin deploy digits@1.1.0 --fleet plant --broker mqtt://10.0.0.5 --to @press-3 --retry\n  \
                        dunlin deploy digits@1.0.0 --fleet plant --broker mqtt://10.0.0.5 --to stable --remove"
)]
pub(crate) struct Arguments {
    /// The release
    #[arg(value_name = "N@V")]
    release: ReleaseName,
    #[command(flatten)]
    fleet: FleetArgument,
    #[command(flatten)]
    broker: BrokerArguments,
    /// Whom: a channel's name, or @ and a device's id
    #[arg(long, value_name = "CHANNEL|@DEVICE")]
    to: AudienceArgument,
    /// Stop and delete the model instead
    #[arg(long)]
    remove: bool,
    /// Try a release again that failed on a device before
    #[arg(long, conflicts_with = "remove")]
    retry: bool,
    /// How often devices report, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    report_interval_s: u32,
    /// Devices start pulling at a random moment within this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pull_spread_s: u32,
    /// How many days the deployment may be installed; what runs is never stopped by it
    #[arg(long, value_name = "DAYS", default_value_t = 90)]
    valid_days: u32,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Debug)]
struct AudienceArgument(Audience);

impl FromStr for AudienceArgument {
    type Err = dunlin_core::id::IdError;

    fn from_str(text: &str) -> Result<AudienceArgument, Self::Err> {
        Ok(AudienceArgument(match text.strip_prefix('@') {
            Some(device) => Audience::Device(device.parse()?),
            None => Audience::Channel(text.parse()?),
        }))
    }
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let fleet = arguments.fleet.open()?;
    let release = fleet.find_release(&arguments.release.model, &arguments.release.version)?;
    let want = if arguments.remove {
        Want::Remove
    } else {
        Want::Release { stable: release.digest(), candidate: None }
    };
    let request = DeployRequest {
        audience: arguments.to.0.clone(),
        model: arguments.release.model.clone(),
        want,
        retry: arguments.retry,
        report_interval_s: arguments.report_interval_s,
        pull_spread_s: arguments.pull_spread_s,
        validity_s: u64::from(arguments.valid_days) * 86_400,
        now_unix_s: show::now_unix_s(),
    };
    let deployed = block_on(async {
        let (link, mut events) = arguments.broker.connect().await?;
        let deployed = deploy::deploy(&fleet, &link, &mut events, &request).await?;
        link.close().await;
        Ok(deployed)
    })?;
    let deployment = &deployed.deployment;
    if arguments.json {
        return show::json(&serde_json::json!({ "digest": deployed.digest, "deployment": deployment }));
    }
    let (model, version) = (&release.model, &release.version);
    let what = if arguments.remove { format!("removes {model}") } else { format!("runs {model} {version}") };
    println!("{} {what} (sequence {})", deployment.audience, deployment.sequence);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audience_is_a_channel_or_an_at_sign_and_a_device() {
        let audience = |text: &str| text.parse::<AudienceArgument>().map(|audience| audience.0);
        assert!(matches!(audience("stable").unwrap(), Audience::Channel(name) if name.as_str() == "stable"));
        assert!(matches!(audience("@press-3").unwrap(), Audience::Device(id) if id.as_str() == "press-3"));
        for text in ["", "@", "@@a", "a@b", "a/b", "+", "#"] {
            assert!(audience(text).is_err(), "{text}");
        }
    }
}
