//! `dunlin verify`: what a device with a root thinks of a document.

use std::path::PathBuf;

use clap::Args;
use dunlin_core::trust::TrustedRoot;
use dunlin_fleet::signing;

use crate::failure::{Failure, Outcome, on_file};
use crate::show;

/// Check a document offline against a root, and tell what was checked
///
/// Exit code 0 if a device with this root accepts it, 3 if not. What depends on the device (its channel, the
/// sequences and floors that it has seen) is not asked.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  dunlin verify plant/releases/digits/3.json --root plant/root/2.json\n  \
                        dunlin verify plant/pending/root-3f2c1ab9.json --root plant/root/1.json --json"
)]
pub(crate) struct Arguments {
    /// The document
    document: PathBuf,
    /// The root that is trusted
    #[arg(long, value_name = "FILE")]
    root: PathBuf,
    /// The moment to judge expiry by, in seconds since 1970; now if nothing is said
    #[arg(long, value_name = "SECONDS")]
    at: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let root = on_file("read", &arguments.root, std::fs::read(&arguments.root))?;
    let root = TrustedRoot::enrolled(&root)?;
    let bytes = on_file("read", &arguments.document, std::fs::read(&arguments.document))?;
    let account = signing::account(&bytes, &root, arguments.at.unwrap_or_else(show::now_unix_s))?;
    if arguments.json {
        show::json(&serde_json::json!({
            "document": account.document.title(),
            "digest": account.digest,
            "accepted": account.fault.is_none(),
            "fault": account.fault.map(|code| code.id),
            "checks": account.checks,
        }))?;
    } else {
        println!("{}\n  {}", account.document.title(), account.digest);
        let mut table = show::table(&["check", "", "found"]);
        for check in &account.checks {
            let mark = if check.holds { "holds" } else { "fails" };
            table.add_row([check.what.to_string(), mark.to_string(), show::plain(&check.found)]);
        }
        println!("{table}");
    }
    match account.fault {
        None => Ok(()),
        Some(code) => {
            let failed = account.checks.iter().filter(|check| !check.holds).map(|check| check.what);
            let failed: Vec<&str> = failed.collect();
            Err(Failure::new(code, format!("{} is refused: {}", account.document.title(), failed.join(", "))))
        }
    }
}
