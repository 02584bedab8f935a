//! `dunlin doctor`: whether a broker does what Dunlin needs.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use dunlin_core::code;
use dunlin_core::id::FleetId;
use dunlin_fleet::doctor::{self, Dial, Finding, Verdict};
use dunlin_mqtt::{Events, Link, LinkConfig, LinkError};

use super::{BrokerArguments, block_on};
use crate::failure::{Failure, Outcome};
use crate::show;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Probe a broker for what Dunlin needs, and say what to change
///
/// Publishes, subscribes and deletes messages of its own below dunlin/v1/FLEET/. With --device it also tries
/// what the broker lets that device do, with the device's own access; its agent must not run meanwhile. Exit
/// code 1 if Dunlin does not work with the broker, or is not safe.
#[derive(Args)]
#[command(after_help = "Examples:\n  dunlin doctor --broker mqtt://10.0.0.5\n  \
                        dunlin doctor --broker mqtts://10.0.0.5:8884 --ca ca.pem --certificate operator.pem \\\n    \
                        --certificate-key operator.key --name plant --device press-3/agent.toml")]
pub(crate) struct Arguments {
    #[command(flatten)]
    broker: BrokerArguments,
    /// The fleet below whose topics it probes
    #[arg(long, value_name = "FLEET", default_value = "dunlin-doctor")]
    name: FleetId,
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
    let Arguments { broker, name, device, json } = arguments;
    // The first error of the settings is told as it is.
    broker.config()?;
    let broker = broker.clone();
    let operator = Dialer(Box::new(move || broker.config()));
    let tell = |finding: &Finding| {
        if !json {
            print(finding);
        }
    };
    let findings = block_on(async {
        let mut findings = doctor::probe(&operator, name, tell).await?;
        if let Some(path) = device {
            let config = dunlin_agent::config::Config::load(path).map_err(dunlin_agent::AgentError::from)?;
            if config.fleet != *name {
                let text = format!("{} is of fleet {}: give --name {0}", path.display(), config.fleet);
                return Err(Failure::usage(&text));
            }
            let id = config.device.clone();
            let link = move || {
                let floor = dunlin_mqtt::TimeFloor::new(show::now_unix_s());
                let link = config.link(config.device.as_str(), floor);
                Ok(LinkConfig {
                    first_connect_jitter: Duration::ZERO,
                    ..link.map_err(dunlin_agent::AgentError::from)?
                })
            };
            let device = Dialer(Box::new(link));
            findings.extend(doctor::probe_device(&operator, &device, name, &id, tell).await?);
        }
        Ok(findings)
    })?;
    let worst = findings.iter().map(|finding| finding.verdict).max().unwrap_or(Verdict::Good);
    if *json {
        show::json(&serde_json::json!({ "verdict": worst, "findings": findings }))?;
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
