//! `dunlin run`: one inference, or many, on files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use dunlin_fleet::run::Runner;
use dunlin_fleet::tensor::Tensor;

use crate::failure::{Outcome, on_file};

/// Run a module on tensors from .npy files, in the sandbox
#[derive(Args)]
#[command(after_help = "Example:\n  dunlin run digits.wasm --input pixels=images.npy --output-dir out\n  \
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
}

#[derive(Clone)]
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
        inputs.insert(name.clone(), Tensor::read(path)?);
    }
    let outputs = runner.run(&inputs)?;
    on_file("create", &arguments.output_dir, std::fs::create_dir_all(&arguments.output_dir))?;
    for (name, tensor) in outputs {
        // A name from a module is not a path: what could leave the folder is replaced.
        let file = name.replace(['/', '\\'], "_").replace("..", "__");
        let path = arguments.output_dir.join(format!("{file}.npy"));
        tensor.write_npy(&path)?;
        println!("{name} {} {:?} -> {}", tensor.dtype, tensor.shape, path.display());
    }
    Ok(())
}
