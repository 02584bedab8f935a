//! `dunlin deploy list`, `show` and `delete`: what each audience is sent.

use clap::Args;
use dunlin_fleet::deploy::overview::{self, AudienceRow, Held, ModelRow};
use dunlin_fleet::deploy::{self, DeployError, Withdrawn};

use super::{AudienceArgument, Signing};
use crate::command::access::{BrokerArguments, FleetArgument};
use crate::command::block_on;
use crate::failure::Outcome;
use crate::show;

/// List what each audience is sent, by this folder and by the broker
#[derive(Args)]
#[command(after_help = "Example:\n  dunlin deploy list --fleet plant --broker mqtt://10.0.0.5")]
pub(super) struct List {
    #[command(flatten)]
    fleet: FleetArgument,
    #[command(flatten)]
    broker: BrokerArguments,
    /// Print one JSON array
    #[arg(long)]
    json: bool,
}

/// Show what one audience is sent
#[derive(Args)]
#[command(after_help = "Example:\n  dunlin deploy show stable --fleet plant --broker mqtt://10.0.0.5\n  \
                        dunlin deploy show @press-3 --fleet plant --broker mqtt://10.0.0.5 --json")]
pub(super) struct Show {
    /// A channel's name, or @ and a device's id
    #[arg(value_name = "CHANNEL|@DEVICE")]
    audience: AudienceArgument,
    #[command(flatten)]
    fleet: FleetArgument,
    #[command(flatten)]
    broker: BrokerArguments,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Send an audience nothing any more: for a mistyped channel, or a device that should follow its channel again
///
/// A deployment that names no model is signed and published. Devices go on with what they run (to stop a model,
/// deploy with --remove), and follow their channel for models that their own deployment named. Where no device is in
/// the audience, the deployment is deleted from the broker.
#[derive(Args)]
#[command(after_help = "Example:\n  dunlin deploy delete stabel --fleet plant --broker mqtt://10.0.0.5")]
pub(super) struct Delete {
    /// A channel's name, or @ and a device's id
    #[arg(value_name = "CHANNEL|@DEVICE")]
    audience: AudienceArgument,
    #[command(flatten)]
    signing: Signing,
}

pub(super) fn list(arguments: &List) -> Outcome {
    let rows = rows(&arguments.fleet, &arguments.broker)?;
    if arguments.json {
        return show::json(&rows);
    }
    if rows.is_empty() {
        println!("nothing is deployed");
        return Ok(());
    }
    let mut table = show::table(&["audience", "devices", "sequence", "is sent", "the broker"]);
    for row in &rows {
        let models: Vec<String> = row.models.iter().map(model).collect();
        table.add_row([
            row.audience.to_string(),
            row.devices.len().to_string(),
            sequence(row),
            if models.is_empty() { String::from("nothing") } else { models.join(", ") },
            held(row.broker),
        ]);
    }
    println!("{table}");
    Ok(())
}

pub(super) fn show(arguments: &Show) -> Outcome {
    let audience = &arguments.audience.0;
    let rows = rows(&arguments.fleet, &arguments.broker)?;
    let Some(row) = rows.iter().find(|row| row.audience == *audience) else {
        let names: Vec<String> = rows.iter().map(|row| row.audience.to_string()).collect();
        let known = match names.as_slice() {
            [] => String::from("no audience has one"),
            names => format!("these have one: {}", names.join(", ")),
        };
        return Err(DeployError::NoDeployment { audience: audience.clone(), known }.into());
    };
    if arguments.json {
        return show::json(row);
    }
    let mut table = show::table(&[]);
    table.add_row(["audience".to_string(), row.audience.to_string()]);
    table.add_lines("devices", &row.devices);
    table.add_row(["sequence".to_string(), sequence(row)]);
    if let Some(end) = row.not_after_unix_s {
        let days = end.saturating_sub(show::now_unix_s()) / 86_400;
        table.add_row([
            "may be installed".to_string(),
            format!("for {days} more days, until {end} (unix time)"),
        ]);
    }
    if let Some(channel) = &row.channel {
        table.add_row(["assigns the channel".to_string(), channel.to_string()]);
    }
    table.add_lines("models", row.models.iter().map(model));
    table.add_row(["the broker".to_string(), held(row.broker)]);
    println!("{table}");
    Ok(())
}

pub(super) fn delete(arguments: &Delete) -> Outcome {
    let Delete { audience, signing } = arguments;
    let fleet = signing.fleet.open()?;
    let Withdrawn { deployed, devices } = block_on(async {
        let mut session = signing.broker.session(&fleet).await?;
        let withdrawn = deploy::withdraw(&fleet, &mut session, &audience.0, signing.terms()).await?;
        session.close().await;
        Ok(withdrawn)
    })?;
    if signing.json {
        return show::json(&serde_json::json!({
            "digest": deployed.digest, "deployment": deployed.deployment, "devices": devices,
            "deleted": devices.is_empty(),
        }));
    }
    signing.say_if_dry();
    println!("{} is sent nothing any more (sequence {})", audience.0, deployed.deployment.sequence);
    if devices.is_empty() {
        println!("  no device is in it; its deployment is deleted from the broker");
    } else {
        println!(
            "  {} devices go on with what they run; to stop a model: dunlin deploy --remove",
            devices.len()
        );
    }
    Ok(())
}

fn rows(fleet: &FleetArgument, broker: &BrokerArguments) -> Outcome<Vec<AudienceRow>> {
    let fleet = fleet.open()?;
    block_on(async {
        let mut session = broker.session(&fleet).await?;
        let rows = overview::overview(&fleet, &mut session).await?;
        session.close().await;
        Ok(rows)
    })
}

fn sequence(row: &AudienceRow) -> String {
    row.sequence.map_or_else(|| String::from("none"), |sequence| sequence.to_string())
}

/// `digits 1.0.0`, or what is known of it.
fn model(row: &ModelRow) -> String {
    let ModelRow { model, release, version, candidate } = row;
    let text = match (release, version) {
        (None, _) => format!("{model} removed"),
        (Some(_), Some(version)) => format!("{model} {version}"),
        (Some(release), None) => format!("{model} release {}", release.short()),
    };
    match candidate {
        Some(candidate) => format!("{text}, candidate {}", candidate.short()),
        None => text,
    }
}

fn held(held: Held) -> String {
    match held {
        Held::Same => String::from("holds it"),
        Held::Missing => String::from("holds nothing"),
        Held::Older { sequence } => format!("holds sequence {sequence}, an older one"),
        Held::Newer { sequence } => format!("holds sequence {sequence}, which is not recorded here"),
        Held::Conflict => String::from("holds another one of this sequence"),
        Held::Invalid => String::from("holds what devices refuse"),
    }
}
