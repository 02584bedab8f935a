//! `dunlin inspect`: what a module says of itself, read without running it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use dunlin_core::Digest;
use dunlin_fleet::run::shape_text;
use dunlin_sandbox::Work;

use crate::failure::{Outcome, on_file};
use crate::show;

/// The table lists this many data segments; `--json` lists all.
const MAX_SEGMENTS: usize = 12;

/// Show what a module says of itself, without running it
#[derive(Args)]
#[command(
    after_help = "Examples:\n  dunlin inspect digits.wasm\n  dunlin inspect digits.wasm --json | jq .card.inputs"
)]
pub(crate) struct Arguments {
    /// The module
    module: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let bytes = on_file("read", &arguments.module, std::fs::read(&arguments.module))?;
    let summary = dunlin_sandbox::inspect(&bytes)?;
    let layers = dunlin_compiler::layers(&bytes)?;
    let digest = Digest::of(&bytes);
    if arguments.json {
        let work = match &summary.work {
            Work::Bounded { operators } => serde_json::json!({ "operators_max": operators }),
            Work::Unbounded { reason } => serde_json::json!({ "unbounded": reason }),
        };
        let section = |(name, bytes): &(String, u64)| serde_json::json!({ "name": name, "bytes": bytes });
        let sections: Vec<serde_json::Value> = summary.custom_sections.iter().map(section).collect();
        return show::json(&serde_json::json!({
            "sha256": digest,
            "bytes": bytes.len(),
            "card": summary.card,
            "card_sha256": summary.card_digest,
            "imports": summary.imports,
            "exports": summary.exports,
            "memory_min_bytes": summary.memory_min_bytes,
            "memory_max_bytes": summary.memory_max_bytes,
            "functions": summary.functions,
            "work": work,
            "code_bytes": summary.code_bytes,
            "data_bytes": summary.data_bytes,
            "segment_bytes": summary.segment_bytes,
            "custom_sections": sections,
            "layers": layers,
        }));
    }
    let card = &summary.card;
    let mut table = show::table(&[]);
    table.add_row(["sha256".to_string(), digest.to_string()]);
    table.add_row(["made by".to_string(), show::plain(&card.producer)]);
    for (kind, tensors) in [("input", &card.inputs), ("output", &card.outputs)] {
        for tensor in tensors {
            let mut text = format!("{} {} {}", tensor.name, tensor.dtype, shape_text(tensor));
            if let Some(unit) = &tensor.unit {
                text += &format!(" in {unit}");
            }
            if let Some([low, high]) = tensor.range {
                text += &format!(", {low} to {high}");
            }
            table.add_row([kind.to_string(), show::plain(&text)]);
        }
    }
    let imports: Vec<&str> = summary.imports.iter().map(|import| import.name()).collect();
    table.add_row([
        "imports".to_string(),
        if imports.is_empty() { "none".into() } else { imports.join(", ") },
    ]);
    table.add_row(["batch".to_string(), format!("up to {}", card.max_batch)]);
    table.add_row(["state, SIMD".to_string(), format!("{:?}, {:?}", card.state, card.simd).to_lowercase()]);
    table.add_row(["memory".to_string(), show::bytes(summary.memory_min_bytes)]);
    table.add_row([
        "code, data".to_string(),
        format!("{}, {}", show::bytes(summary.code_bytes), show::bytes(summary.data_bytes)),
    ]);
    table.add_row(["work of a call".to_string(), work(&summary.work)]);
    if !summary.segment_bytes.is_empty() {
        table.add_row(["data segments".to_string(), segments(&summary.segment_bytes)]);
    }
    let sections = summary.custom_sections.iter();
    let sections: Vec<String> =
        sections.map(|(name, size)| format!("{} {}", show::plain(name), show::bytes(*size))).collect();
    table.add_row(["custom sections".to_string(), sections.join(", ")]);
    table.add_row(["module".to_string(), show::bytes(bytes.len() as u64)]);
    println!("{table}");
    if let Some(layers) = layers {
        println!("{}", super::compile::layers(&layers));
    }
    Ok(())
}

/// What is proven of the time that a call takes.
fn work(work: &Work) -> String {
    match work {
        Work::Bounded { operators } => {
            let deadline = work.least_deadline().unwrap_or(Duration::MAX);
            format!(
                "at most {} operators, {} on a slow device: no checks in its loops",
                show::count(*operators),
                show::micros(deadline.as_secs_f64() * 1e6)
            )
        }
        Work::Unbounded { reason } => format!("not bounded, so it runs with checks: {}", show::plain(reason)),
    }
}

/// How many, and the first of them.
fn segments(sizes: &[u64]) -> String {
    let mut listed: Vec<String> = sizes.iter().take(MAX_SEGMENTS).map(|size| show::bytes(*size)).collect();
    if sizes.len() > MAX_SEGMENTS {
        listed.push(format!("{} more", sizes.len() - MAX_SEGMENTS));
    }
    format!("{}: {}", sizes.len(), listed.join(", "))
}
