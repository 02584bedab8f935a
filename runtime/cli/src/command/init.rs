//! `dunlin init`: a new fleet.

use std::path::PathBuf;

use clap::Args;
use dunlin_core::id::FleetId;
use dunlin_fleet::Fleet;

use super::connection::KeptArguments;
use crate::failure::Outcome;
use crate::passphrase::PassphraseArguments;
use crate::show;

/// Make a fleet: a folder with its keys and its root of trust
#[derive(Args)]
#[command(after_help = "Examples:\n  dunlin init plant --fleet plant-7\n  \
                        dunlin init plant --fleet plant-7 --passphrase-file secret.txt\n  \
                        dunlin init plant --fleet plant-7 --broker mqtts://ann@10.0.0.5 --ca ca.pem\n  \
                        (the broker is kept in plant/connection.toml; `dunlin connection` changes it)\n  \
                        (several people, each with a key: dunlin root init --help)")]
#[command(mut_arg("broker", |flag| flag.long_help(super::access::KEPT_BROKER_HELP)))]
pub(crate) struct Arguments {
    /// The folder to make
    folder: PathBuf,
    /// The fleet's name: a-z, 0-9 and '-'
    #[arg(long, value_name = "NAME")]
    fleet: FleetId,
    /// Do not encrypt the key files: whoever reads them commands the fleet
    #[arg(long, conflicts_with = "passphrase_file")]
    no_passphrase: bool,
    #[command(flatten)]
    passphrase: PassphraseArguments,
    #[command(flatten)]
    connection: KeptArguments,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let connection = arguments.connection.settings()?;
    let keys = arguments.folder.join("keys");
    let passphrase = arguments.passphrase.for_new(&keys, arguments.no_passphrase)?;
    let encrypted = passphrase.is_some();
    let fleet = Fleet::init(&arguments.folder, arguments.fleet.clone(), passphrase, show::now_unix_s())?;
    if let Some(connection) = &connection {
        connection.store(fleet.folder())?;
    }
    let root = fleet.root();
    let broker = connection.and_then(|connection| connection.url).map(|url| url.to_string());
    if arguments.json {
        return show::json(&serde_json::json!({
            "fleet": fleet.name(), "folder": arguments.folder, "root_version": root.version(), "root": root.digest(),
            "encrypted": encrypted, "broker": broker,
        }));
    }
    println!("fleet {} is in {}", fleet.name(), arguments.folder.display());
    println!("root of trust: version {}, {}", root.version(), root.digest());
    for key in &root.root().keys {
        println!("  key {:<8} {}", key.name.as_str(), key.public);
    }
    if let Some(broker) = broker {
        println!("broker: {broker}");
    }
    println!(
        "Back up {0}/keys, and move root.key off this machine: who has these keys commands the fleet.",
        arguments.folder.display()
    );
    Ok(())
}
