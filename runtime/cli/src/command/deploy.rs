//! `dunlin deploy`: say what an audience should run.

use std::str::FromStr;

use clap::{Args, Subcommand};
use dunlin_core::document::{Audience, Want};
use dunlin_fleet::deploy::{self, DeployRequest, Terms, Which};

use super::{BrokerArguments, FleetArgument, ReleaseName, block_on};
use crate::failure::{Failure, Outcome};
use crate::show;

/// Say to a channel or to a device which release to run
#[derive(Args)]
#[command(
    after_help = "Examples:\n  dunlin deploy digits@1.0.0 --fleet plant --broker mqtt://10.0.0.5 --to stable\n  \
                        dunlin deploy digits@1.1.0 --fleet plant --broker mqtt://10.0.0.5 --to @press-3 --retry\n  \
                        dunlin deploy digits@1.0.0 --fleet plant --broker mqtt://10.0.0.5 --to stable --remove"
)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    deploy: Option<Deploy>,
}

#[derive(Subcommand)]
enum Verb {
    Renew(Renew),
    Resign(Resign),
}

/// Sign deployments again that expire soon, or that devices would refuse
///
/// They say what they said, with a new end. A device goes on with what it runs when a deployment expires, but
/// installs nothing by it any more: a deployment that nobody renews for 90 days is one that nobody looks after.
#[derive(Args)]
#[command(
    after_help = "Example:\n  dunlin deploy renew --fleet plant --broker mqtt://10.0.0.5 --within-days 30\n  \
                        (from a timer, once a week)"
)]
struct Renew {
    /// Those that end within this many days
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    within_days: u32,
    #[command(flatten)]
    signing: Signing,
}

/// Sign every deployment and the device list again: after a rotation of the deploy key
#[derive(Args)]
#[command(after_help = "Example:\n  dunlin deploy resign --all --fleet plant --broker mqtt://10.0.0.5")]
struct Resign {
    /// All of them
    #[arg(long, required = true)]
    all: bool,
    #[command(flatten)]
    signing: Signing,
}

// clap leaves a group of a struct with flattened parts empty; by this it knows that the struct is there.
#[derive(Args)]
#[group(arg = "release")]
struct Deploy {
    /// The release
    #[arg(value_name = "N@V")]
    release: ReleaseName,
    #[command(flatten)]
    signing: Signing,
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
    /// Echo the nonce that the device said last: it then knows that this is fresh, and the time; for @DEVICE
    #[arg(long)]
    echo: bool,
}

/// Whose deployments are signed, where they go, and for how long.
#[derive(Args)]
pub(super) struct Signing {
    #[command(flatten)]
    pub(super) fleet: FleetArgument,
    #[command(flatten)]
    pub(super) broker: BrokerArguments,
    /// How many days a deployment may be installed; what runs is never stopped by it
    #[arg(long, value_name = "DAYS", default_value_t = 90)]
    valid_days: u32,
    /// Sign, keep and publish nothing, and say what would be
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

impl Signing {
    pub(super) fn terms(&self) -> Terms {
        let (validity_s, now_unix_s) = (seconds(self.valid_days), show::now_unix_s());
        Terms { dry_run: self.dry_run, validity_s, now_unix_s }
    }

    /// What follows is what would be.
    pub(super) fn say_if_dry(&self) {
        if self.dry_run {
            println!("dry run, nothing is signed or published; this is what would be:");
        }
    }
}

fn seconds(days: u32) -> u64 {
    u64::from(days) * 86_400
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

pub(crate) fn run(arguments: Arguments) -> Outcome {
    match (arguments.verb, arguments.deploy) {
        (Some(Verb::Renew(Renew { within_days, signing })), _) => {
            renew(&signing, Which::Within(seconds(within_days)))
        }
        (Some(Verb::Resign(Resign { signing, all: _ })), _) => renew(&signing, Which::All),
        (None, Some(arguments)) => deploy(&arguments),
        (None, None) => Err(Failure::usage("name the release to deploy, as NAME@VERSION")),
    }
}

fn renew(signing: &Signing, which: Which) -> Outcome {
    let fleet = signing.fleet.open()?;
    let renewal = block_on(async {
        let (link, mut events) = signing.broker.connect(&fleet).await?;
        let renewal = deploy::renew(&fleet, &link, &mut events, which, signing.terms()).await?;
        link.close().await;
        Ok(renewal)
    })?;
    if signing.json {
        let deployments: Vec<serde_json::Value> = renewal
            .deployments
            .iter()
            .map(|deployed| serde_json::json!({ "digest": deployed.digest, "deployment": deployed.deployment }))
            .collect();
        let untouched: Vec<String> = renewal.untouched.iter().map(ToString::to_string).collect();
        return show::json(&serde_json::json!({
            "device_list": renewal.device_list, "deployments": deployments, "untouched": untouched,
        }));
    }
    signing.say_if_dry();
    if let Some(sequence) = renewal.device_list {
        println!("device list signed again (sequence {sequence})");
    }
    for deployed in &renewal.deployments {
        println!("{} signed again (sequence {})", deployed.deployment.audience, deployed.deployment.sequence);
    }
    println!("{} signed again, {} good as they are", renewal.deployments.len(), renewal.untouched.len());
    Ok(())
}

fn deploy(arguments: &Deploy) -> Outcome {
    let fleet = arguments.signing.fleet.open()?;
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
        echo: arguments.echo,
        terms: arguments.signing.terms(),
    };
    let deployed = block_on(async {
        let (link, mut events) = arguments.signing.broker.connect(&fleet).await?;
        let deployed = deploy::deploy(&fleet, &link, &mut events, &request).await?;
        link.close().await;
        Ok(deployed)
    })?;
    let deployment = &deployed.deployment;
    if arguments.signing.json {
        return show::json(&serde_json::json!({ "digest": deployed.digest, "deployment": deployment }));
    }
    let (model, version) = (&release.model, &release.version);
    arguments.signing.say_if_dry();
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
