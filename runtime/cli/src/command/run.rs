//! `dunlin run`: one inference, or many, on files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Instant;

use clap::Args;
use dunlin_fleet::run::Runner;
use dunlin_fleet::tensor::Tensor;

use crate::failure::{Failure, Outcome, on_file};
use crate::show;

/// Run a module on tensors from .npy files, in the sandbox
#[derive(Args)]
#[command(after_help = "Examples:\n  dunlin run digits.wasm --input pixels=images.npy --output-dir out\n  \
                        dunlin run digits.wasm --input pixels=images.npy --output-dir out --json | jq .outputs\n  \
                        (writes out/probabilities.npy; a batched input may have any number of samples)")]
pub(crate) struct Arguments {
    /// The module
    module: PathBuf,
    /// A tensor for an input; numbers are converted to its type where none changes
    #[arg(long = "input", value_name = "NAME=FILE.npy", required = true)]
    inputs: Vec<InputFile>,
    /// The folder for the outputs: one <output>.npy each, '/' in a name becomes '_'
    #[arg(long, value_name = "DIR")]
    output_dir: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// An output as `--json` tells it.
#[derive(serde::Serialize)]
struct Written {
    name: String,
    dtype: String,
    shape: Vec<u64>,
    file: PathBuf,
}

#[derive(Clone, Debug)]
struct InputFile(String, PathBuf);

impl FromStr for InputFile {
    type Err = String;

    fn from_str(text: &str) -> Result<InputFile, String> {
        match text.split_once('=') {
            Some((name, file)) if !name.is_empty() && !file.is_empty() => {
                Ok(InputFile(name.to_string(), PathBuf::from(file)))
            }
            _ => Err(format!("expected NAME=FILE.npy, got {text:?}")),
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let module = on_file("read", &arguments.module, std::fs::read(&arguments.module))?;
    let mut runner = Runner::load(module)?;
    let mut inputs = BTreeMap::new();
    for InputFile(name, path) in &arguments.inputs {
        if inputs.insert(name.clone(), Tensor::read(path)?).is_some() {
            return Err(Failure::usage(format!("--input {name} is given twice")));
        }
    }
    let start = Instant::now();
    let outputs = runner.run(&inputs)?;
    let latency_us = start.elapsed().as_secs_f64() * 1e6;
    let mut files = BTreeSet::new();
    if let Some((name, _)) = outputs.iter().find(|(name, _)| !files.insert(file_name(name))) {
        return Err(Failure::usage(format!("two outputs of the module would be {}", file_name(name))));
    }
    on_file("create", &arguments.output_dir, std::fs::create_dir_all(&arguments.output_dir))?;
    let mut written = Vec::with_capacity(outputs.len());
    for (name, tensor) in outputs {
        let file = arguments.output_dir.join(file_name(&name));
        tensor.write_npy(&file)?;
        written.push(Written { name, dtype: tensor.dtype.to_string(), shape: tensor.shape, file });
    }
    if arguments.json {
        return show::json(&serde_json::json!({ "outputs": written, "latency_us": latency_us }));
    }
    for Written { name, dtype, shape, file } in written {
        println!("{} {dtype} {shape:?} -> {}", show::plain(&name), file.display());
    }
    Ok(())
}

/// The file of an output. A name from a module is not a path: what could leave the folder is replaced.
fn file_name(output: &str) -> String {
    format!("{}.npy", output.replace(['/', '\\'], "_").replace("..", "__"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_stays_in_its_folder_whatever_its_name() {
        for (name, file) in
            [("p", "p.npy"), ("a/b", "a_b.npy"), ("/etc/x", "_etc_x.npy"), ("../../x", "______x.npy")]
        {
            assert_eq!(file_name(name), file, "{name}");
        }
    }

    #[test]
    fn an_input_is_a_name_and_a_file() {
        let InputFile(name, file) = "x=a=b.npy".parse().unwrap();
        assert_eq!((name.as_str(), file), ("x", PathBuf::from("a=b.npy")));
        for text in ["", "x", "x=", "=f.npy"] {
            assert!(text.parse::<InputFile>().is_err(), "{text}");
        }
    }
}
