//! `dunlin sign`: one more signature on a document, on any machine.

use std::path::PathBuf;

use clap::Args;
use dunlin_core::id::KeyName;
use dunlin_fleet::file::{self, Readers};
use dunlin_fleet::key::Signer;
use dunlin_fleet::signing;

use crate::failure::{Failure, Outcome, on_file};
use crate::passphrase::PassphraseArguments;
use crate::show;

/// Add a signature to a document that others signed or will sign
///
/// Needs no fleet's folder and no network: the file may come and go on a stick. What is signed is parsed and
/// shown first.
#[derive(Args)]
#[command(after_help = "Examples:\n  dunlin sign root-3f2c1ab9.json --key alice.key\n  \
                        dunlin sign root-3f2c1ab9.json --key hsm.toml --as carol -o signed.json\n  \
                        dunlin sign root-3f2c1ab9.json --key alice.key --dry-run")]
pub(crate) struct Arguments {
    /// The document, a file from `pending/` of a fleet's folder
    document: PathBuf,
    /// The key file, or the signer file of a command that signs
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// What the root calls the key; the name of the key file if nothing is said
    #[arg(long = "as", value_name = "NAME")]
    name: Option<KeyName>,
    /// The file to write; the document itself if nothing is said
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArguments,
    /// Show what would be signed, and sign nothing
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: Arguments) -> Outcome {
    let bytes = on_file("read", &arguments.document, std::fs::read(&arguments.document))?;
    let envelope = dunlin_core::envelope::Envelope::parse(&bytes)?;
    let document = signing::AnyDocument::of(&envelope)?;
    let digest = dunlin_core::Digest::of(envelope.body());
    if arguments.dry_run {
        if arguments.json {
            return show::json(&serde_json::json!({ "document": document.title(), "digest": digest }));
        }
        println!("{}\n  {digest}", document.title());
        println!("{}", show::plain(&String::from_utf8_lossy(envelope.body())));
        return Ok(());
    }
    let name = match arguments.name {
        Some(name) => name,
        None => {
            let stem = arguments.key.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            stem.and_then(|stem| stem.parse().ok())
                .ok_or_else(|| Failure::usage("the key file's name is no name for a key: give --as NAME"))?
        }
    };
    let signer = Signer::open(&arguments.key, &*arguments.passphrase.known()?)?;
    let (document, signed) = signing::sign(&bytes, &name, &signer)?;
    let output = arguments.output.unwrap_or(arguments.document);
    file::replace(&output, &signed, Readers::Anyone)?;
    if arguments.json {
        return show::json(&serde_json::json!({
            "document": document.title(), "digest": digest, "file": output, "signer": name, "public": signer.public(),
        }));
    }
    println!("{name} signed {}", document.title());
    println!("  {digest}\n  {}", output.display());
    Ok(())
}
