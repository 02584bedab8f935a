//! `dunlin doctor`: whether a broker does what Dunlin needs.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use dunlin_agent::AgentError;
use dunlin_agent::config::Config;
use dunlin_core::code;
use dunlin_core::id::{FleetId, IdError};
use dunlin_fleet::Fleet;
use dunlin_fleet::doctor::{self, Dial, Finding, Verdict};
use dunlin_mqtt::{Events, Link, LinkConfig, LinkError};

use super::access::{BrokerArguments, fleet_folder};
use super::block_on;
use crate::failure::{Failure, Outcome};
use crate::show;

/// The fleet whose topics are probed where none is known.
const DEFAULT_NAME: &str = "dunlin-doctor";

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Probe a broker for what Dunlin needs, and say what to change
///
/// Publishes, subscribes and deletes messages of its own below dunlin/v1/FLEET/. With --device it also tries
/// what the broker lets that device do, with the device's own access; its agent must not run meanwhile. Ends
/// within a minute. Exit code 1 if Dunlin does not work with the broker, or is not safe.
#[derive(Args)]
#[command(after_help = "Examples:\n  dunlin doctor\n  dunlin doctor --broker mqtt://10.0.0.5\n  \
                        dunlin doctor --broker mqtts://10.0.0.5:8884 --ca ca.pem --certificate operator.pem \\\n    \
                        --certificate-key operator.key --name plant --device press-3/agent.toml")]
pub(crate) struct Arguments {
    /// The fleet's folder; its name and its connection count where nothing else is said
    #[arg(long, value_name = "DIR")]
    fleet: Option<PathBuf>,
    #[command(flatten)]
    broker: BrokerArguments,
    /// The fleet below whose topics it probes: by default that of --device or of the fleet's folder, else
    /// dunlin-doctor
    #[arg(long, value_name = "FLEET")]
    name: Option<FleetId>,
    /// Also try what this device may do: its agent.toml
    #[arg(long, value_name = "FILE")]
    device: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Each connection is made anew from the same settings.
struct Dialer(Box<dyn Fn() -> Outcome<LinkConfig>>);

impl Dial for Dialer {
    async fn dial(&self) -> Result<(Link, Events), LinkError> {
        // The settings were good a moment ago.
        let config = (self.0)().map_err(|_| LinkError::Closed)?;
        dunlin_mqtt::connect_once(config, CONNECT_TIMEOUT).await
    }
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let Arguments { fleet, broker, name, device, json } = arguments;
    let fleet = fleet_folder(fleet.as_deref())?.map(|folder| Fleet::open(&folder)).transpose()?;
    let access = broker.resolve(fleet.as_ref().map(Fleet::folder))?;
    let operator = Dialer(Box::new(move || access.config()));
    let config = device.as_deref().map(Config::load).transpose().map_err(AgentError::from)?;
    let name = match (name, &config, &fleet) {
        (Some(name), Some(config), _) if config.fleet != *name => {
            return Err(Failure::usage(format!(
                "the device is of fleet {}, --name says {name}",
                config.fleet
            )));
        }
        (Some(name), ..) => name.clone(),
        (None, Some(config), _) => config.fleet.clone(),
        (None, None, Some(fleet)) => fleet.name().clone(),
        (None, None, None) => {
            DEFAULT_NAME.parse().map_err(|error: IdError| Failure::usage(error.to_string()))?
        }
    };
    let report = |finding: &Finding| {
        if !json {
            print(finding);
        }
    };
    let findings = block_on(async {
        let mut findings = doctor::probe(&operator, &name, report).await?;
        let works = findings.iter().all(|finding| finding.verdict != Verdict::Bad);
        // What a device may do is seen through the operator's eyes.
        if let Some(config) = config.filter(|_| works) {
            let id = config.device.clone();
            let link = move || {
                let floor = dunlin_mqtt::TimeFloor::new(show::now_unix_s());
                let link = config.link(config.device.as_str(), floor);
                Ok(LinkConfig { first_connect_jitter: Duration::ZERO, ..link.map_err(AgentError::from)? })
            };
            let device = Dialer(Box::new(link));
            findings.extend(doctor::probe_device(&operator, &device, &name, &id, report).await?);
        }
        Ok(findings)
    })?;
    let worst = findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Good);
    if *json {
        show::json(&serde_json::json!({ "fleet": name, "verdict": worst, "findings": findings }))?;
    }
    match worst {
        Verdict::Good => {
            if !json {
                println!("this broker does all that Dunlin needs");
            }
            Ok(())
        }
        Verdict::Poor => Ok(()),
        Verdict::Bad => {
            let bad = findings.iter().filter(|finding| finding.verdict == Verdict::Bad).count();
            Err(Failure::new(code::fleet::BROKER_UNFIT, format!("{bad} probes of the broker failed")))
        }
    }
}

fn print(finding: &Finding) {
    let mark = match finding.verdict {
        Verdict::Good => "ok  ",
        Verdict::Poor => "poor",
        Verdict::Bad => "BAD ",
    };
    println!("{mark}  {}: {}", finding.probe, finding.seen);
    if let Some(remedy) = finding.remedy {
        println!("        to do: {remedy}");
    }
}
