//! `dunlin key`: keys of the operator.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use dunlin_core::code;
use dunlin_core::id::KeyName;
use dunlin_fleet::key;

use super::FleetArgument;
use crate::failure::{Failure, Outcome};
use crate::passphrase::PassphraseArguments;
use crate::show;

/// Make keys, list those of a fleet, change a passphrase
#[derive(Args)]
#[command(after_help = "Examples:\n  dunlin key generate alice -o alice.key\n  \
                        dunlin key list --fleet plant\n  \
                        dunlin key change-passphrase plant/keys/root.key")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Generate(Generate),
    List(List),
    ChangePassphrase(ChangePassphrase),
}

/// Make a key: PKCS#8, encrypted with a passphrase, mode 0600
#[derive(Args)]
#[command(after_help = "Example:\n  dunlin key generate alice -o alice.key\n  \
                        (then send the public key to whoever keeps the root, and keep the file)")]
struct Generate {
    /// What people call the key: a-z, 0-9 and '-'
    name: KeyName,
    /// The file to write; NAME.key if nothing is said
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Do not encrypt the file: whoever reads it has the key
    #[arg(long, conflicts_with = "passphrase_file")]
    no_passphrase: bool,
    #[command(flatten)]
    passphrase: PassphraseArguments,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// List the keys of a fleet's root, and which of them are in the folder
#[derive(Args)]
#[command(after_help = "Example:\n  dunlin key list --fleet plant --json")]
struct List {
    #[command(flatten)]
    fleet: FleetArgument,
    /// Print one JSON array
    #[arg(long)]
    json: bool,
}

/// Give a key file another passphrase, or its first one
///
/// The old one is asked for, or taken from --passphrase-file or DUNLIN_PASSPHRASE.
#[derive(Args)]
#[command(
    after_help = "Example:\n  dunlin key change-passphrase plant/keys/root.key --new-passphrase-file new.txt"
)]
struct ChangePassphrase {
    /// The key file
    file: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseArguments,
    /// A file that holds the new passphrase and nothing else; asked for if nothing is said
    #[arg(long, value_name = "FILE")]
    new_passphrase_file: Option<PathBuf>,
    /// Do not encrypt the file any more: whoever reads it has the key
    #[arg(long, conflicts_with = "new_passphrase_file")]
    no_passphrase: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: Arguments) -> Outcome {
    match arguments.verb {
        Verb::Generate(arguments) => generate(arguments),
        Verb::List(arguments) => list(&arguments),
        Verb::ChangePassphrase(arguments) => change_passphrase(&arguments),
    }
}

fn generate(arguments: Generate) -> Outcome {
    let path = arguments.output.unwrap_or_else(|| PathBuf::from(format!("{}.key", arguments.name)));
    if path.exists() {
        let message = format!("{} is there already; a key is never overwritten", path.display());
        return Err(Failure::new(code::fleet::OUTPUT_EXISTS, message));
    }
    let passphrase = arguments.passphrase.for_new(&path, arguments.no_passphrase)?;
    let secret = key::generate()?;
    key::write(&path, &secret, passphrase.as_deref().map(String::as_str))?;
    if arguments.json {
        return show::json(&serde_json::json!({
            "name": arguments.name, "file": path, "public": secret.public(), "encrypted": passphrase.is_some(),
        }));
    }
    println!("{} is in {}", arguments.name, path.display());
    println!("  public key {}", secret.public());
    Ok(())
}

#[derive(serde::Serialize)]
struct Row {
    name: KeyName,
    role: String,
    public: String,
    file: Option<PathBuf>,
    kind: &'static str,
}

fn list(arguments: &List) -> Outcome {
    let fleet = arguments.fleet.open()?;
    let root = fleet.root().root();
    let mut rows = Vec::new();
    for key in &root.keys {
        let file = fleet.key_file(&key.name);
        let kind = match &file {
            None => "elsewhere",
            Some(path) if path.extension().is_some_and(|extension| extension == "toml") => "a command",
            Some(path) if key::is_encrypted(path)? => "encrypted",
            Some(_) => "not encrypted",
        };
        let role = super::root::role_of(root, &key.name);
        rows.push(Row { name: key.name.clone(), role, public: key.public.to_string(), file, kind });
    }
    if arguments.json {
        return show::json(&rows);
    }
    let mut table = show::table(&["key", "role", "public key", "here"]);
    for row in rows {
        table.add_row([row.name.to_string(), row.role, row.public, row.kind.to_string()]);
    }
    println!("{table}");
    Ok(())
}

fn change_passphrase(arguments: &ChangePassphrase) -> Outcome {
    let secret = key::read(&arguments.file, &*arguments.passphrase.known()?)?;
    let fresh = PassphraseArguments::only_file(arguments.new_passphrase_file.clone());
    let passphrase = fresh.for_new(&arguments.file, arguments.no_passphrase)?;
    key::write(&arguments.file, &secret, passphrase.as_deref().map(String::as_str))?;
    if arguments.json {
        return show::json(&serde_json::json!({ "file": arguments.file, "encrypted": passphrase.is_some() }));
    }
    let has = if passphrase.is_some() { "a new passphrase" } else { "no passphrase any more" };
    println!("{} has {has}; copies elsewhere are as they were", arguments.file.display());
    Ok(())
}
