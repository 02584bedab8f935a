//! `dunlin new`: a project for a hand-written model, from files that are part of this program.

mod files;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use dunlin_core::code;
use dunlin_core::id::ModelName;

use crate::failure::{Failure, Outcome, on_file};
use crate::show;

/// Make a project for a model written by hand: source, tests, golden vectors, and the SDK
///
/// Needs no network, and the project needs none to build: the SDK is copied into it. Its README.md has every
/// command from the first test to the release, and works as it is. With --blocks, a project in Rust depends on the
/// crate libm, which cargo fetches once (`cargo fetch`).
#[derive(Args)]
#[command(after_help = "Examples:\n  dunlin new press-alarm --lang rust --template anomaly\n  \
                        dunlin new hum --lang rust --template filter --blocks\n  \
                        dunlin new filters/press --lang c --template filter --name press-filter")]
pub(crate) struct Arguments {
    /// The folder to make; it may be there, if it is empty
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The language of the model
    #[arg(long)]
    lang: Language,
    /// What it computes at first
    #[arg(long)]
    template: Template,
    /// The model's name: a letter, then a-z, 0-9 and '-'; the folder's name if nothing is said
    #[arg(long, value_name = "N")]
    name: Option<String>,
    /// Copy the signal blocks too: windows, spectra, filters, detectors and layers; for C, those in fixed point
    #[arg(long)]
    blocks: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Language {
    /// With cargo, for wasm32-unknown-unknown
    Rust,
    /// With clang and wasm-ld, without a C library
    C,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Template {
    /// Labels and probabilities from features: the nearest of several centres
    Classifier,
    /// A score of a signal that leaves its level: a stream with a reset
    Anomaly,
    /// A signal without what is above a frequency: a stream with a reset
    Filter,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let (folder, name) = (&arguments.folder, name(arguments)?);
    let files = files::project(arguments.lang, arguments.template, &name, arguments.blocks);
    refuse_what_is_there(folder)?;
    for (path, content) in &files {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            on_file("create", parent, std::fs::create_dir_all(parent))?;
        }
        on_file("write", &path, std::fs::write(&path, content))?;
    }
    if arguments.json {
        let files: Vec<&String> = files.iter().map(|(path, _)| path).collect();
        return show::json(&serde_json::json!({ "folder": folder, "name": name, "files": files }));
    }
    println!("made {} with the model {name}; next: {}", folder.display(), folder.join("README.md").display());
    Ok(())
}

/// A name that is good for the model, for a package of cargo, and as an identifier.
fn name(arguments: &Arguments) -> Outcome<String> {
    let name = match &arguments.name {
        Some(name) => name.clone(),
        None => {
            arguments.folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
        }
    };
    let refused = |why: &str| {
        let message = format!("{name:?} cannot be the name of a model: {why}; give another with --name");
        Failure::new(code::fleet::NAME, message)
    };
    if let Err(error) = name.parse::<ModelName>() {
        return Err(refused(&error.to_string()));
    }
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Err(refused("it must start with a letter"));
    }
    if RESERVED.contains(&name.as_str()) {
        return Err(refused("it means something else to cargo or to Rust"));
    }
    Ok(name)
}

/// What a package cannot be called: words of Rust, crates that are always there, and the SDK.
const RESERVED: [&str; 52] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dunlin-guest",
    "dyn",
    "else",
    "enum",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "unsafe",
    "use",
    "where",
];

fn refuse_what_is_there(folder: &Path) -> Outcome {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => on_file("read", folder, entries)?,
    };
    if entries.count() > 0 {
        let message = format!("{} is there and is not empty", folder.display());
        return Err(Failure::new(code::fleet::OUTPUT_EXISTS, message));
    }
    Ok(())
}
