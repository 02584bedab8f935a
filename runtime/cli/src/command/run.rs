//! `dunlin run`: one inference, or many, on files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Instant;

use clap::Args;
use dunlin_fleet::golden;
use dunlin_fleet::run::{Replay, RunError, Runner};
use dunlin_fleet::tensor::{self, Tensor};
use dunlin_sandbox::{OutputError, inspect};

use super::device::DeviceArguments;
use crate::compiled::runner;
use crate::failure::{Failure, Outcome, on_file};
use crate::{show, trap};

/// Run a module on tensors from files, in the sandbox
///
/// A batched input may have any number of samples. Where no input has a batch axis, all may have one axis more
/// in front: of time. A model of state `stream` is reset, then sees the samples in their order. Every call must
/// write all of its outputs and none of its inputs. A sample that the model refuses with a status does not end the
/// run: its rows are NaN (0 for integers), and status.npy has the status of each sample. Numbers that a device would
/// refuse are a warning; with --limits or --deadline-us they, and whatever else that device would refuse, are errors.
#[derive(Args)]
#[command(after_help = "Examples:\n  dunlin run digits.wasm --input pixels=images.npy --output-dir out\n  \
                        dunlin run digits.wasm --input pixels=images.npy --output-dir out --json | jq .outputs\n  \
                        dunlin run filter.wasm --inputs recorded.npz --limits press-3/agent.toml\n  \
                        dunlin run digits.wasm --input pixels=few.npy --golden golden.npz --tolerance 1e-3\n  \
                        (the first writes out/probabilities.npy; the last what `dunlin release --golden` takes)")]
pub(crate) struct Arguments {
    /// The module
    module: PathBuf,
    /// A tensor for an input; numbers are converted to its type where none changes
    #[arg(long = "input", value_name = "NAME=FILE.npy", required_unless_present = "inputs")]
    input: Vec<InputFile>,
    /// All inputs: arrays input/<name>, or <name>; a golden file will do
    #[arg(long, value_name = "FILE.npz", conflicts_with = "input")]
    inputs: Option<PathBuf>,
    /// The folder for the outputs: one <output>.npy each, '/' in a name becomes '_'
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// Write golden vectors: each sample is a vector, and each of a stream begins with a reset, as on devices; of a
    /// refused sample, the status
    #[arg(long, value_name = "FILE.npz")]
    golden: Option<PathBuf>,
    /// With --golden: how far a device may be off, relative to the output's greatest number
    #[arg(long, value_name = "[OUTPUT=]T", requires = "golden")]
    tolerance: Vec<Tolerance>,
    #[command(flatten)]
    device: DeviceArguments,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
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

/// Of one output, or of all.
#[derive(Clone, Debug, PartialEq)]
struct Tolerance(Option<String>, f64);

impl FromStr for Tolerance {
    type Err = String;

    fn from_str(text: &str) -> Result<Tolerance, String> {
        let (name, number) = match text.rsplit_once('=') {
            Some((name, number)) => (Some(name.to_string()), number),
            None => (None, text),
        };
        match number.parse::<f64>() {
            Ok(tolerance) if tolerance.is_finite() && tolerance >= 0.0 => Ok(Tolerance(name, tolerance)),
            Ok(_) | Err(_) => Err(format!("expected a number of at least 0, or OUTPUT=NUMBER, got {text:?}")),
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let module = on_file("read", &arguments.module, std::fs::read(&arguments.module))?;
    let inputs = inputs(arguments)?;
    let explained = |error: RunError| trap::explained(&error, &module);
    let mut runner = match arguments.device.is_given() {
        true => {
            let terms = arguments.device.admission(&inspect(&module)?)?;
            runner(module.clone(), Some(&terms))?
        }
        false => runner(module.clone(), None)?,
    };
    let start = Instant::now();
    let outputs = runner.run_and_watch(&inputs);
    let latency_us = start.elapsed().as_secs_f64() * 1e6;
    let (logs, metrics) = runner.take_speech();
    for line in logs.lines {
        eprintln!("log, level {}: {}", line.level, show::plain(&line.text));
    }
    for metric in metrics.values {
        eprintln!("metric {}: {}", show::plain(&metric.name), metric.value);
    }
    let replay = outputs.map_err(explained)?;
    let refused = runner.keep_contract(&replay).err();
    let (summary, all) = (refusals(&replay), replay.statuses.len());
    let statuses = (replay.refused() > 0).then(|| replay.status_tensor());
    let written = write(replay.outputs, statuses, arguments.output_dir.as_deref())?;
    if let Some(path) = &arguments.golden {
        golden(&mut runner, &inputs, arguments, path)?;
    }
    if arguments.json {
        show::json(&serde_json::json!({
            "outputs": written, "latency_us": latency_us, "golden": arguments.golden, "statuses": summary,
            "refused": refused.as_ref().map(ToString::to_string),
        }))?;
    } else {
        for Written { name, dtype, shape, file } in written {
            let place = file.map(|file| format!(" -> {}", file.display())).unwrap_or_default();
            println!("{} {dtype} {shape:?}{place}", show::plain(&name));
        }
    }
    for Refusals { status, samples, first } in &summary {
        eprintln!(
            "warning: the model refused {samples} of {all} samples with status {status}, first sample {first}"
        );
    }
    judged(refused, arguments.device.is_given())
}

/// Samples that the model refused with one status.
#[derive(Debug, PartialEq, serde::Serialize)]
struct Refusals {
    status: u8,
    samples: usize,
    /// The first of them, from 0.
    first: usize,
}

fn refusals(replay: &Replay) -> Vec<Refusals> {
    let mut found = BTreeMap::new();
    for (sample, status) in replay.statuses.iter().enumerate().filter(|(_, status)| **status != 0) {
        found.entry(*status).or_insert(Refusals { status: *status, samples: 0, first: sample }).samples += 1;
    }
    found.into_values().collect()
}

/// Numbers that break the contract are an error under the terms of a device, else a warning.
fn judged(refused: Option<OutputError>, on_device: bool) -> Outcome {
    match refused {
        Some(error) if on_device => Err(error.into()),
        Some(error) => {
            eprintln!("warning: a device would refuse this answer: {}", show::plain(&error.to_string()));
            Ok(())
        }
        None => Ok(()),
    }
}

fn inputs(arguments: &Arguments) -> Outcome<BTreeMap<String, Tensor>> {
    let mut inputs = BTreeMap::new();
    for InputFile(name, path) in &arguments.input {
        if inputs.insert(name.clone(), Tensor::read(path)?).is_some() {
            return Err(Failure::usage(format!("--input {name} is given twice")));
        }
    }
    let Some(path) = &arguments.inputs else { return Ok(inputs) };
    let arrays = tensor::read_npz(path)?;
    let is_golden = arrays.keys().any(|key| key.starts_with("input/"));
    for (key, tensor) in arrays {
        if key.starts_with("output/") || key.starts_with("tolerance/") || is_golden && key == "status" {
            continue;
        }
        let name = key.strip_prefix("input/").unwrap_or(&key).to_string();
        if inputs.insert(name.clone(), tensor).is_some() {
            return Err(Failure::usage(format!("{} has {name:?} and \"input/{name}\"", path.display())));
        }
    }
    Ok(inputs)
}

fn write(
    outputs: Vec<(String, Tensor)>,
    statuses: Option<Tensor>,
    folder: Option<&Path>,
) -> Outcome<Vec<Written>> {
    let mut files: BTreeSet<String> = statuses.iter().map(|_| STATUS_FILE.to_string()).collect();
    if let Some((name, _)) = outputs.iter().find(|(name, _)| !files.insert(file_name(name))) {
        return Err(Failure::usage(format!("two outputs of the module would be {}", file_name(name))));
    }
    if let Some(folder) = folder {
        on_file("create", folder, std::fs::create_dir_all(folder))?;
        match statuses {
            Some(statuses) => statuses.write_npy(&folder.join(STATUS_FILE))?,
            None => forget_statuses(&folder.join(STATUS_FILE))?,
        }
    }
    let mut written = Vec::with_capacity(outputs.len());
    for (name, tensor) in outputs {
        let file = folder.map(|folder| folder.join(file_name(&name)));
        if let Some(file) = &file {
            tensor.write_npy(file)?;
        }
        written.push(Written { name, dtype: tensor.dtype.to_string(), shape: tensor.shape, file });
    }
    Ok(written)
}

/// The file of statuses, where a sample was refused.
const STATUS_FILE: &str = "status.npy";

/// Removes the statuses of an earlier run, unless an output has that name.
fn forget_statuses(path: &Path) -> Outcome {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => on_file("remove", path, Err(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn golden(
    runner: &mut Runner,
    inputs: &BTreeMap<String, Tensor>,
    arguments: &Arguments,
    path: &Path,
) -> Outcome {
    let mut tolerances = BTreeMap::new();
    for Tolerance(name, tolerance) in &arguments.tolerance {
        match name {
            Some(name) => drop(tolerances.insert(name.clone(), *tolerance)),
            None => {
                let outputs = runner.card().outputs.iter();
                tolerances.extend(outputs.map(|spec| (spec.name.clone(), *tolerance)));
            }
        }
    }
    let arrays = golden::record(runner, inputs, &tolerances)?;
    tensor::write_npz(path, &arrays)?;
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
    fn refusals_are_counted_by_status() {
        let replay = Replay { outputs: Vec::new(), statuses: vec![0, 7, 0, 1, 7] };
        let [one, seven] = &refusals(&replay)[..] else { panic!("two statuses") };
        assert_eq!((one.status, one.samples, one.first), (1, 1, 3));
        assert_eq!((seven.status, seven.samples, seven.first), (7, 2, 1));
    }

    #[test]
    fn an_input_is_a_name_and_a_file() {
        let InputFile(name, file) = "x=a=b.npy".parse().unwrap();
        assert_eq!((name.as_str(), file), ("x", PathBuf::from("a=b.npy")));
        for text in ["", "x", "x=", "=f.npy"] {
            assert!(text.parse::<InputFile>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_tolerance_is_for_all_outputs_or_for_one() {
        assert_eq!("1e-3".parse(), Ok(Tolerance(None, 1e-3)));
        assert_eq!("a=b=0".parse(), Ok(Tolerance(Some("a=b".to_string()), 0.0)));
        for text in ["", "y=", "-1", "nan", "y=inf"] {
            assert!(text.parse::<Tolerance>().is_err(), "{text}");
        }
    }
}
