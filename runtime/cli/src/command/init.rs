//! `dunlin init`: a new fleet.

use std::path::PathBuf;

use clap::Args;
use dunlin_core::id::FleetId;
use dunlin_fleet::Fleet;

use crate::failure::Outcome;
use crate::show;

/// Make a fleet: a folder with its keys and its root of trust
#[derive(Args)]
#[command(after_help = "Example:\n  dunlin init plant --fleet plant-7")]
pub(crate) struct Arguments {
    /// The folder to make
    folder: PathBuf,
    /// The fleet's name: a-z, 0-9 and '-'
    #[arg(long, value_name = "NAME")]
    fleet: FleetId,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let fleet = Fleet::init(&arguments.folder, arguments.fleet.clone(), show::now_unix_s())?;
    let root = fleet.root();
    if arguments.json {
        return show::json(&serde_json::json!({
            "fleet": fleet.name(), "folder": arguments.folder, "root_version": root.version(), "root": root.digest(),
        }));
    }
    println!("fleet {} is in {}", fleet.name(), arguments.folder.display());
    println!("root of trust: version {}, {}", root.version(), root.digest());
    for key in &root.root().keys {
        println!("  key {:<8} {}", key.name.as_str(), key.public);
    }
    println!("Back up {}/keys: who has these keys commands the fleet.", arguments.folder.display());
    Ok(())
}
