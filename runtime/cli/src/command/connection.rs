//! `dunlin connection`: how commands reach the broker, kept in the fleet's folder.

use std::path::Path;

use clap::{Args, Subcommand};
use dunlin_fleet::connection::Settings;

use super::access::{BrokerArguments, FleetArgument, parse_url};
use crate::failure::{Failure, Outcome};
use crate::show;

/// Show or change how commands reach the broker
///
/// The settings are in connection.toml of the fleet's folder and count where neither a flag nor DUNLIN_BROKER
/// names the broker. They hold no password, only the name of a file with one.
#[derive(Args)]
#[command(after_help = "Examples:\n  dunlin connection show\n  \
                        dunlin connection set --broker mqtt://ann@10.0.0.5 --password-file broker.password\n  \
                        dunlin connection clear")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Show(Show),
    Set(Set),
    Clear(Clear),
}

/// Show the settings that the folder keeps
#[derive(Args)]
#[command(after_help = "Example:\n  dunlin connection show --fleet plant --json")]
struct Show {
    #[command(flatten)]
    fleet: FleetArgument,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Keep how to reach the broker, in place of what is kept
#[derive(Args)]
#[command(after_help = "Examples:\n  dunlin connection set --broker mqtt://10.0.0.5\n  \
                        dunlin connection set --broker mqtts://10.0.0.5:8884 --ca ca.pem --certificate operator.pem \\\n    \
                        --certificate-key operator.key --device-broker mqtts://10.0.0.5")]
#[command(mut_arg("broker", |flag| flag.long_help(super::access::KEPT_BROKER_HELP)))]
struct Set {
    #[command(flatten)]
    fleet: FleetArgument,
    #[command(flatten)]
    kept: KeptArguments,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Forget how to reach the broker
#[derive(Args)]
#[command(after_help = "Example:\n  dunlin connection clear --fleet plant")]
struct Clear {
    #[command(flatten)]
    fleet: FleetArgument,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What a folder keeps of a connection.
#[derive(Args)]
pub(crate) struct KeptArguments {
    #[command(flatten)]
    broker: BrokerArguments,
    /// The broker as devices reach it, where that is another listener: what `dunlin enroll` puts into bundles
    #[arg(long, value_name = "URL")]
    device_broker: Option<String>,
}

impl KeptArguments {
    /// The settings to keep; none where no flag was given.
    pub(crate) fn settings(&self) -> Outcome<Option<Settings>> {
        let device_url =
            self.device_broker.as_deref().map(|url| parse_url("--device-broker", url)).transpose()?;
        let settings = Settings { device_url, ..self.broker.flags()? };
        if settings == Settings::default() {
            return Ok(None);
        }
        if settings.url.is_none() {
            return Err(Failure::usage(
                "settings of a connection are kept with their broker: give --broker URL",
            ));
        }
        Ok(Some(settings))
    }
}

pub(crate) fn run(arguments: Arguments) -> Outcome {
    match arguments.verb {
        Verb::Show(Show { fleet, json }) => show(&fleet.folder()?, json),
        Verb::Set(Set { fleet, kept, json }) => {
            let folder = fleet.open()?.folder().to_path_buf();
            let settings = kept.settings()?.unwrap_or_default();
            settings.store(&folder)?;
            show(&folder, json)
        }
        Verb::Clear(Clear { fleet, json }) => {
            let folder = fleet.open()?.folder().to_path_buf();
            Settings::clear(&folder)?;
            show(&folder, json)
        }
    }
}

fn show(folder: &Path, json: bool) -> Outcome {
    let Settings { url, device_url, ca, certificate, username, password_file } = Settings::load(folder)?;
    let (certificate, certificate_key) = certificate.unzip();
    let url_text = |url: Option<dunlin_mqtt::BrokerUrl>| url.map(|url| url.to_string());
    let (url, device_url) = (url_text(url), url_text(device_url));
    if json {
        return show::json(&serde_json::json!({
            "url": url, "device_url": device_url, "ca_file": ca, "certificate_file": certificate,
            "certificate_key_file": certificate_key, "username": username, "password_file": password_file,
        }));
    }
    let Some(url) = url else {
        println!("{} keeps no connection", folder.display());
        return Ok(());
    };
    let mut table = show::table(&[]);
    let path = |path: Option<std::path::PathBuf>| path.map(|path| path.display().to_string());
    for (name, value) in [
        ("broker", Some(url)),
        ("broker of devices", device_url),
        ("authority", path(ca)),
        ("certificate", path(certificate)),
        ("its key", path(certificate_key)),
        ("user", username),
        ("password file", path(password_file)),
    ] {
        if let Some(value) = value {
            table.add_row([name.to_string(), value]);
        }
    }
    println!("{table}");
    Ok(())
}
