//! `dunlin import`: signed documents come back into the fleet's folder.

use std::path::PathBuf;

use clap::Args;
use dunlin_core::code;
use dunlin_fleet::Fleet;
use dunlin_fleet::signing::Imported;

use super::FleetArgument;
use crate::failure::{Failure, Outcome, on_file};
use crate::show;

/// Take a document that others signed into the fleet's folder
///
/// Its signatures are joined with those that wait there over the same document. With enough of them it takes
/// its place; with fewer it waits on, and the exit code is 3.
#[derive(Args)]
#[command(after_help = "Example:\n  dunlin import root-signed-by-bob.json --fleet plant")]
pub(crate) struct Arguments {
    /// The signed document
    document: PathBuf,
    #[command(flatten)]
    fleet: FleetArgument,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let bytes = on_file("read", &arguments.document, std::fs::read(&arguments.document))?;
    let folder = arguments.fleet.folder()?;
    // A fleet whose first root still waits for signatures has not begun.
    if !folder.join("root/1.json").exists() {
        let fleet = Fleet::import_first(&folder, &bytes)?;
        let root = fleet.root();
        if arguments.json {
            return show::json(&serde_json::json!({ "version": root.version(), "digest": root.digest() }));
        }
        println!("fleet {} begins with root {}, {}", fleet.name(), root.version(), root.digest());
        return Ok(());
    }
    let fleet = arguments.fleet.open()?;
    match fleet.import(&bytes)? {
        Imported::Root(proposal) => {
            super::root::report(&fleet, &proposal, arguments.json)?;
            if proposal.trusted {
                return Ok(());
            }
            let message =
                format!("root {} still waits in {}", proposal.root.version, proposal.path.display());
            Err(Failure::new(code::fleet::SIGNATURES_MISSING, message))
        }
        Imported::Document(document) => {
            if arguments.json {
                return show::json(&serde_json::json!({ "document": document.title() }));
            }
            println!("{} is signed by enough, and in its place", document.title());
            println!(
                "  the broker gets it with the next `dunlin publish`; with --repair all that is deployed"
            );
            Ok(())
        }
    }
}
