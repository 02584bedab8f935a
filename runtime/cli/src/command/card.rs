//! `dunlin card`: what a module says of itself, shown and written.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use dunlin_abi::Card;
use dunlin_compiler::{read_card, with_card};
use dunlin_core::Digest;
use dunlin_fleet::file::{self, Readers};

use crate::failure::{Failure, Outcome, on_file};
use crate::show;

/// Show or write the card of a module: its tensors, batch, state, SIMD level, stack and producer
#[derive(Args)]
#[command(after_help = "Examples:\n  dunlin card show model.wasm > card.json\n  \
                        dunlin card set model.wasm card.json -o model.wasm\n  \
                        (docs/abi.md describes every key; Rust, C and `dunlin compile` write the card themselves)")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Show(Show),
    Set(Set),
}

/// Print the card as JSON, in the form that `set` takes
#[derive(Args)]
#[command(after_help = "Examples:\n  dunlin card show model.wasm\n  \
                        dunlin card show model.wasm --json | jq .inputs")]
struct Show {
    /// The module; it may lack exports
    module: PathBuf,
    /// Print one JSON object, on one line
    #[arg(long)]
    json: bool,
}

/// Put a card into a module, for toolchains that cannot write custom sections
///
/// A card that is there is replaced, and nothing else changes. The card must keep the rules of the ABI, and the
/// module with it must be one that a device would admit: else nothing is written, and the exit code is 3.
#[derive(Args)]
#[command(after_help = "Examples:\n  dunlin card set build/model.wasm card.json -o model.wasm\n  \
                        dunlin card set model.wasm card.json --json   (changes the file itself)")]
struct Set {
    /// The module
    module: PathBuf,
    /// The card, as docs/abi.md describes it
    #[arg(value_name = "CARD.json")]
    card: PathBuf,
    /// The file to write; the module itself if nothing is said
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    match &arguments.verb {
        Verb::Show(arguments) => show(arguments),
        Verb::Set(arguments) => set(arguments),
    }
}

fn show(arguments: &Show) -> Outcome {
    let wasm = on_file("read", &arguments.module, std::fs::read(&arguments.module))?;
    let card = read_card(&wasm)?;
    if arguments.json {
        return show::json(&card);
    }
    let text = serde_json::to_string_pretty(&card).map_err(|error| {
        Failure::new(dunlin_core::code::fleet::FILE, format!("cannot write JSON: {error}"))
    })?;
    println!("{}", crate::terminal::json_escaped(&text));
    Ok(())
}

fn set(arguments: &Set) -> Outcome {
    let wasm = on_file("read", &arguments.module, std::fs::read(&arguments.module))?;
    let json = on_file("read", &arguments.card, std::fs::read(&arguments.card))?;
    let card = Card::parse(&json)
        .map_err(|error| Failure::from(dunlin_compiler::CardSectionError::from(error)))
        .map_err(|failure| Failure {
            message: format!("{}: {}", arguments.card.display(), failure.message),
            ..failure
        })?;
    let wasm = with_card(&wasm, &card)?;
    let summary = dunlin_sandbox::inspect(&wasm)?;
    let output = arguments.output.as_ref().unwrap_or(&arguments.module);
    on_file("write", output, file::replace(output, &wasm, Readers::Anyone).map_err(|error| error.error))?;
    let digest = Digest::of(&wasm);
    if arguments.json {
        return show::json(&serde_json::json!({
            "file": output, "sha256": digest, "bytes": wasm.len(), "card_sha256": summary.card_digest,
        }));
    }
    println!("wrote {}, {}, sha256 {digest}", output.display(), show::bytes(wasm.len() as u64));
    Ok(())
}
