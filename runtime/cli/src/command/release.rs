//! `dunlin release`: sign a version of a model.

use std::path::PathBuf;

use clap::Args;
use dunlin_core::Digest;
use dunlin_core::document::Lineage;
use dunlin_core::id::ModelName;
use dunlin_fleet::release::{ReleaseRequest, Released};
use dunlin_fleet::tensor::{self, Tensor};

use super::FleetArgument;
use crate::failure::{Outcome, on_file};
use crate::show;

/// Sign a module as a version of a model
#[derive(Args)]
#[command(
    after_help = "Examples:\n  dunlin release digits.wasm --fleet plant --name digits --version 1.0.0\n  \
                        dunlin release digits.wasm --fleet plant --name digits --version 1.1.0 \\\n    \
                        --baseline train.npy --golden golden.npz --commit 3f2c1ab --licence CC-BY-4.0"
)]
pub(crate) struct Arguments {
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
    /// Golden vectors that the device must reproduce: arrays input/<name>, output/<name>
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
    /// The sha256 of an in-toto statement
    #[arg(long, value_name = "SHA256")]
    provenance_digest: Option<Digest>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: Arguments) -> Outcome {
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
        now_unix_s: show::now_unix_s(),
    };
    let released = fleet.release(request)?;
    if arguments.json {
        return show::json(&serde_json::json!({ "digest": released.digest, "release": released.release }));
    }
    print(&released);
    Ok(())
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
    println!("{table}");
}
