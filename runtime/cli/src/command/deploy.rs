//! `dunlin deploy`: say what an audience should run.

mod audience;
mod wait;

use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};
use dunlin_core::code::{self, Code};
use dunlin_core::document::{Audience, Want};
use dunlin_fleet::deploy::follow::Follow;
use dunlin_fleet::deploy::{self, DeployRequest, Deployed, Terms, Which};
use dunlin_fleet::{Fleet, FolderError};

use super::access::{self, BrokerArguments, FleetArgument};
use super::root::fleet_flag;
use super::{ReleaseName, block_on};
use crate::failure::{Failure, Outcome};
use crate::show;

/// Say to a channel or to a device which release to run
///
/// The deployment is signed, published and read back from the broker, and only then recorded in the folder: success
/// means that the broker holds it. With --wait success means that every device of the audience does what it says.
/// Exit code 3 if a device refused, 4 if one stayed silent.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  dunlin deploy digits@1.0.0 --fleet plant --broker mqtt://10.0.0.5 --to stable\n  \
                        dunlin deploy digits@1.1.0 --fleet plant --broker mqtt://10.0.0.5 --to @press-3 --retry\n  \
                        dunlin deploy digits@1.1.0 --fleet plant --broker mqtt://10.0.0.5 --to stable --wait 120\n  \
                        dunlin deploy digits@1.0.0 --fleet plant --broker mqtt://10.0.0.5 --to stable --remove\n  \
                        dunlin deploy list --fleet plant --broker mqtt://10.0.0.5"
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
    List(audience::List),
    Show(audience::Show),
    Delete(audience::Delete),
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
    /// The channel has no enrolled device yet
    #[arg(long)]
    new_channel: bool,
    /// Wait until every device serves or has refused, for at most this many seconds; 300 if none are given
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "300", conflicts_with = "dry_run")]
    wait: Option<u64>,
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
        (Some(Verb::List(arguments)), _) => audience::list(&arguments),
        (Some(Verb::Show(arguments)), _) => audience::show(&arguments),
        (Some(Verb::Delete(arguments)), _) => audience::delete(&arguments),
        (None, Some(arguments)) => deploy(&arguments),
        (None, None) => Err(Failure::usage("name the release to deploy, as NAME@VERSION")),
    }
}

fn renew(signing: &Signing, which: Which) -> Outcome {
    let fleet = signing.fleet.open()?;
    let renewal = block_on(async {
        let mut session = signing.broker.session(&fleet).await?;
        let renewal = deploy::renew(&fleet, &mut session, which, signing.terms()).await?;
        session.close().await;
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
    let request = arguments.request(&fleet)?;
    let (deployed, follow) = block_on(async {
        let Some(seconds) = arguments.wait else {
            return Ok((arguments.publish(&fleet, &request).await?, None));
        };
        // Listening begins before anything is published, so that no report is missed.
        let mut watch = wait::Watch::begin(&arguments.signing.broker, &fleet).await?;
        let deployed = arguments.publish(&fleet, &request).await?;
        let follow = Follow::new(&fleet, &deployed.deployment, &request.model)?;
        let follow = watch.follow(follow, &fleet, Duration::from_secs(seconds)).await;
        watch.end().await;
        Ok((deployed, Some(follow)))
    })?;
    arguments.print(&fleet, &deployed, follow.as_ref())?;
    match (&follow, arguments.wait) {
        (Some(follow), Some(seconds)) => wait::verdict(follow, &arguments.what(), seconds),
        _ => Ok(()),
    }
}

impl Deploy {
    fn request(&self, fleet: &Fleet) -> Outcome<DeployRequest> {
        let ReleaseName { model, version } = &self.release;
        let want = match fleet.find_release(model, version) {
            // What no device would take any more can still be removed.
            Err(FolderError::Outdated { .. }) if self.remove => Want::Remove,
            Err(error) => return Err(error.into()),
            Ok(_) if self.remove => Want::Remove,
            Ok(release) => Want::Release { stable: release.digest(), candidate: None },
        };
        Ok(DeployRequest {
            audience: self.to.0.clone(),
            model: model.clone(),
            want,
            retry: self.retry,
            report_interval_s: self.report_interval_s,
            pull_spread_s: self.pull_spread_s,
            new_channel: self.new_channel,
            echo: self.echo,
            terms: self.signing.terms(),
        })
    }

    async fn publish(&self, fleet: &Fleet, request: &DeployRequest) -> Outcome<Deployed> {
        let mut session = self.signing.broker.session(fleet).await?;
        let deployed = deploy::deploy(fleet, &mut session, request).await?;
        session.close().await;
        Ok(deployed)
    }

    /// `runs digits 1.0.0`.
    fn what(&self) -> String {
        let ReleaseName { model, version } = &self.release;
        if self.remove { format!("removes {model}") } else { format!("runs {model} {version}") }
    }

    fn print(&self, fleet: &Fleet, deployed: &Deployed, follow: Option<&Follow>) -> Outcome {
        let Deployed { deployment, digest, failed_before } = deployed;
        if self.signing.json {
            let mut object = serde_json::json!({
                "digest": digest, "deployment": deployment, "failed_before": failed_before,
            });
            if let Some(follow) = follow {
                object["devices"] = serde_json::json!(follow.devices().collect::<Vec<_>>());
            }
            return show::json(&object);
        }
        self.signing.say_if_dry();
        println!("{} {} (sequence {})", deployment.audience, self.what(), deployment.sequence);
        if !failed_before.is_empty() {
            let names: Vec<&str> = failed_before.iter().map(|device| device.as_str()).collect();
            let Code { id, remedy, .. } = code::update::RELEASE_BAD;
            eprintln!("warning[{id}]: it failed before on {}\n  to do: {remedy}", names.join(", "));
        }
        match follow {
            Some(follow) => wait::print(follow),
            None if self.signing.dry_run => {}
            None => {
                let devices = fleet.members(&deployment.audience)?.len();
                let (place, broker) = (fleet_flag(fleet), access::broker_flag(fleet.folder())?);
                println!(
                    "  the broker holds it for {devices} enrolled devices; what they make of it is not known"
                );
                println!(
                    "  to follow it: dunlin tail event{place}{broker}; to wait for it: deploy with --wait"
                );
            }
        }
        Ok(())
    }
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
