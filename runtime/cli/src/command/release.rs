//! `dunlin release`: sign a version of a model.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use dunlin_core::Digest;
use dunlin_core::document::Lineage;
use dunlin_core::id::ModelName;
use dunlin_fleet::release::difference::{self, Difference};
use dunlin_fleet::release::loss::Loss;
use dunlin_fleet::release::{ReleaseRequest, Released};
use dunlin_fleet::tensor::{self, Tensor};

use super::FleetArgument;
use crate::failure::{Failure, Outcome, on_file};
use crate::show;

/// Sign a module as a version of a model
#[derive(Args)]
#[command(
    after_help = "Examples:\n  dunlin release digits.wasm --fleet plant --name digits --version 1.0.0\n  \
                        dunlin release digits.wasm --fleet plant --name digits --version 1.1.0 \\\n    \
                        --baseline train.npy --golden golden.npz --commit 3f2c1ab --licence CC-BY-4.0\n  \
                        dunlin release digits.wasm --fleet plant --name digits --version 1.1.0 \\\n    \
                        --precompiled digits.aarch64-linux.native"
)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    release: Option<Release>,
}

#[derive(Subcommand)]
enum Verb {
    Resign(Resign),
}

/// Sign releases again whose keys the newest root no longer names
///
/// The bodies stay, so deployments that name them stay good.
#[derive(Args)]
#[command(after_help = "Examples:\n  dunlin release resign --fleet plant\n  \
                        dunlin release resign --fleet plant --name digits")]
struct Resign {
    #[command(flatten)]
    fleet: FleetArgument,
    /// Only releases of this model
    #[arg(long, value_name = "N")]
    name: Option<ModelName>,
    /// Print one JSON array
    #[arg(long)]
    json: bool,
}

// clap leaves a group of a struct with flattened parts empty; by this it knows that the struct is there.
#[derive(Args)]
#[group(arg = "module")]
struct Release {
    /// The module
    module: PathBuf,
    #[command(flatten)]
    fleet: FleetArgument,
    /// The model's name
    #[arg(long, value_name = "N")]
    name: ModelName,
    /// What people call this release
    #[arg(long = "version", value_name = "V")]
    release_version: String,
    /// Rows of training inputs to measure drift against; only counts are attached
    #[arg(long, value_name = "ROWS.npy|.csv")]
    baseline: Option<PathBuf>,
    /// Golden vectors that the device must reproduce: arrays input/<name>, output/<name>; status, where the model must
    /// refuse a sample
    #[arg(long, value_name = "FILE.npz")]
    golden: Option<PathBuf>,
    /// The time that a call may take, in microseconds
    #[arg(long, value_name = "US")]
    deadline_us: Option<u64>,
    /// The training run that made the model
    #[arg(long, value_name = "TEXT")]
    training_run: Option<String>,
    /// The sha256 of the training data
    #[arg(long, value_name = "SHA256")]
    data_digest: Option<Digest>,
    /// The commit of the training code
    #[arg(long, value_name = "TEXT")]
    commit: Option<String>,
    /// The release that it was made from, by its digest
    #[arg(long, value_name = "SHA256")]
    parent: Option<Digest>,
    /// The licence of the weights, as an SPDX expression
    #[arg(long, value_name = "SPDX")]
    licence: Option<String>,
    /// An in-toto statement about the module; it travels with the release
    #[arg(long, value_name = "FILE.json", conflicts_with = "provenance_digest")]
    provenance: Option<PathBuf>,
    /// The sha256 of an in-toto statement that is kept elsewhere
    #[arg(long, value_name = "SHA256")]
    provenance_digest: Option<Digest>,
    /// Machine code for devices without a compiler, from `dunlin compile --precompile`; once a target
    ///
    /// The release then needs signatures of the role `precompiled` too. A device runs the variant only where
    /// its site allows that.
    #[arg(long, value_name = "FILE.native")]
    precompiled: Vec<PathBuf>,
    /// Check everything and show what would be signed, and sign nothing
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: Arguments) -> Outcome {
    match (arguments.verb, arguments.release) {
        (Some(Verb::Resign(arguments)), _) => resign(&arguments),
        (None, Some(arguments)) => release(arguments),
        (None, None) => Err(Failure::usage("name the module to release")),
    }
}

fn resign(arguments: &Resign) -> Outcome {
    let fleet = arguments.fleet.open()?;
    let models = match &arguments.name {
        Some(name) => vec![name.clone()],
        None => fleet.models()?,
    };
    let mut resigned = Vec::new();
    for model in &models {
        resigned.extend(fleet.resign_releases(model)?);
    }
    if arguments.json {
        let digests: Vec<Digest> = resigned.iter().map(|release| release.digest()).collect();
        return show::json(&digests);
    }
    for release in &resigned {
        println!("{} {} is signed again, {}", release.model, release.version, release.digest());
    }
    println!("{} releases signed again; publish them, so that devices can fetch them anew", resigned.len());
    Ok(())
}

fn release(arguments: Release) -> Outcome {
    let fleet = arguments.fleet.open()?;
    let request = ReleaseRequest {
        module: on_file("read", &arguments.module, std::fs::read(&arguments.module))?,
        model: arguments.name,
        version: arguments.release_version,
        baseline: arguments.baseline.as_deref().map(Tensor::read).transpose()?,
        golden: arguments.golden.as_deref().map(tensor::read_npz).transpose()?,
        deadline_us: arguments.deadline_us,
        lineage: Lineage {
            training_run: arguments.training_run,
            data_digest: arguments.data_digest,
            commit: arguments.commit,
            parent: arguments.parent,
            licence: arguments.licence,
            provenance_digest: arguments.provenance_digest,
        },
        provenance: match &arguments.provenance {
            Some(path) => Some(on_file("read", path, std::fs::read(path))?),
            None => None,
        },
        precompiled: arguments
            .precompiled
            .iter()
            .map(|path| on_file("read", path, std::fs::read(path)))
            .collect::<Outcome<_>>()?,
        now_unix_s: show::now_unix_s(),
    };
    let draft = fleet.draft_release(request)?;
    let losses = draft.losses.clone();
    for Loss { code, message } in losses.iter().filter(|_| !arguments.json) {
        eprintln!("warning[{code}]: {}\n  to do: {}", show::plain(message), code.remedy);
    }
    let differences =
        draft.previous.as_ref().map(|previous| difference::differences(previous, &draft.release));
    if arguments.dry_run && arguments.json {
        return show::json(
            &serde_json::json!({ "release": draft.release, "differences": differences, "warnings": losses }),
        );
    }
    if !arguments.json {
        print_differences(
            draft.previous.as_ref().map(|previous| previous.version.as_str()),
            differences.as_deref(),
        );
    }
    if arguments.dry_run {
        println!("nothing was signed");
        return Ok(());
    }
    let released = fleet.sign_release(draft)?;
    if arguments.json {
        return show::json(&serde_json::json!({
            "digest": released.digest, "release": released.release, "differences": differences,
            "warnings": losses,
        }));
    }
    print(&released);
    Ok(())
}

/// What its signers should look at, before they sign.
fn print_differences(previous: Option<&str>, differences: Option<&[Difference]>) {
    let (Some(previous), Some(differences)) = (previous, differences) else {
        println!("the first release of this model");
        return;
    };
    if differences.is_empty() {
        println!("permissions, limits and contract are those of {}", show::plain(previous));
        return;
    }
    let mut table = show::table(&["differs", previous, "now"]);
    for Difference { what, before, after } in differences {
        let text = |value: &Option<String>| show::plain(value.as_deref().unwrap_or("nothing"));
        table.add_row([show::plain(what), text(before), text(after)]);
    }
    println!("{table}");
}

fn print(Released { release, digest, golden_vectors, baseline_rows }: &Released) {
    let mut table = show::table(&[]);
    table.add_row([
        "release".to_string(),
        format!("{} {} (counter {})", release.model, release.version, release.counter),
    ]);
    table.add_row(["digest".to_string(), digest.to_string()]);
    table.add_row([
        "module".to_string(),
        format!("{}, {}", release.artifact.digest, show::bytes(release.artifact.size_bytes)),
    ]);
    let limits = &release.limits;
    let (memory, deadline) = (show::bytes(limits.memory_bytes), show::micros(limits.deadline_us as f64));
    table.add_row(["limits".to_string(), format!("memory {memory}, {deadline} a call")]);
    let imports: Vec<&str> = release.imports.iter().map(|import| import.name()).collect();
    table.add_row([
        "imports granted".to_string(),
        if imports.is_empty() { "none".into() } else { imports.join(", ") },
    ]);
    let or_none = |count: u64, text: &str| if count == 0 { "none".into() } else { format!("{count}{text}") };
    table.add_row(["golden vectors".to_string(), or_none(*golden_vectors as u64, ", reproduced here")]);
    table.add_row(["baseline".to_string(), or_none(*baseline_rows, " rows, as counts")]);
    for (target, wasmtime, blob) in release.variants() {
        let code = format!("{} of machine code, wasmtime {wasmtime}", show::bytes(blob.size_bytes));
        table.add_row([show::plain(target), show::plain(&code)]);
    }
    println!("{table}");
}
