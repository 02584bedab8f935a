//! `dunlin compile`: ONNX to WebAssembly.

mod argument;
mod explain;

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use dunlin_compiler::{Compiled, Options, ProfileError, Report};
use dunlin_core::code;
use dunlin_fleet::file::{self, Readers};
use dunlin_fleet::golden::{self, Arrays, OutputCheck};
use dunlin_fleet::run::precompile;
use dunlin_fleet::tensor;
use dunlin_sandbox::Target;

use self::argument::{ConstantArgument, InputShape, SimdArgument, WeightsArgument, constant};
pub(crate) use self::explain::layers;
use crate::compiled::runner;
use crate::failure::{Failure, Outcome, on_file};
use crate::onnx::{self, Onnx};
use crate::show;

/// Compile an ONNX model to one WebAssembly module
#[derive(Args)]
#[command(after_help = "Examples:\n  dunlin compile digits.onnx -o digits.wasm\n  \
                        dunlin compile net.onnx -o net.wasm --input x=1,64 --const rate=16000\n  \
                        dunlin compile digits.onnx -o digits.wasm --explain --check golden.npz\n  \
                        dunlin compile digits.onnx -o new.wasm --like digits.wasm\n  \
                        dunlin compile digits.onnx -o digits.wasm --batch 16 --json | jq .macs\n  \
                        dunlin compile digits.onnx -o digits.wasm --precompile aarch64-unknown-linux-musl \\\n    \
                        --precompile pulley32")]
pub(crate) struct Arguments {
    /// The ONNX file; weights that it keeps in other files are read from its folder
    onnx: PathBuf,
    /// The module to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// The shape of an input whose dimensions are symbolic: NAME=D0,D1,…
    #[arg(long = "input", value_name = "NAME=SHAPE")]
    inputs: Vec<InputShape>,
    /// Turn an input into a constant: a number, or a .npy file
    #[arg(long = "const", value_name = "NAME=VALUE|FILE.npy")]
    constants: Vec<ConstantArgument>,
    /// The most samples of one call
    #[arg(long, value_name = "N", default_value_t = 1)]
    batch: u32,
    /// The SIMD instructions to use
    #[arg(long, value_enum, default_value = "relaxed")]
    simd: SimdArgument,
    /// The type in which weights are stored; f16 halves the module
    #[arg(long, value_enum, default_value = "f32")]
    weights: WeightsArgument,
    /// Pack weights as in an earlier module of this model, so that an update sends again only what changed
    #[arg(long, value_name = "OLD.wasm")]
    like: Option<PathBuf>,
    /// Write machine code for devices without a compiler, too, beside the module as MODEL.TARGET.native
    ///
    /// A target is a Rust triple of Linux, or x86_64-linux, aarch64-linux, pulley32 or pulley64: the last two
    /// are wasmtime's interpreter, for processors that Cranelift does not know. Code is for the least
    /// processor of its kind, and for the version of wasmtime that made it.
    #[arg(long, value_name = "TARGET")]
    precompile: Vec<Target>,
    /// Run the module and compare: arrays input/<name>, output/<name> and, if wanted, tolerance/<name>
    ///
    /// Nothing is written where an output differs by more than its tolerance, which is 1e-4 unless the
    /// file says otherwise, relative to the largest number of a sample or to 1.
    #[arg(long, value_name = "DATA.npz")]
    check: Option<PathBuf>,
    /// Print what the passes did, and every layer with its kernel
    #[arg(long)]
    explain: bool,
    /// Print one JSON object, layers and passes included
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(serde::Serialize)]
struct Printed<'a> {
    #[serde(flatten)]
    report: &'a Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<&'a [OutputCheck]>,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let Onnx { bytes: onnx, beside } = onnx::read(&arguments.onnx)?;
    let options = options(arguments)?;
    let data = arguments.check.as_deref().map(tensor::read_npz).transpose()?;
    let start = Instant::now();
    let what = format!("compiling {}", arguments.onnx.display());
    let Compiled { wasm, report } =
        show::waiting(&what, || dunlin_compiler::compile_with(&onnx, &options, &beside))?;
    let took = start.elapsed();
    for warning in &report.warnings {
        eprintln!("warning: {}", show::plain(warning));
    }
    let checks = data.map(|data| show::waiting("checking", || check(&wasm, &data))).transpose()?;
    let wrong = checks.iter().flatten().filter(|check| check.failure.is_some()).count();
    let mut written = Vec::new();
    if wrong == 0 {
        // What is beside the module is made from it: all of it is made before any of it is written.
        let variants = arguments.precompile.iter().map(|target| {
            let path = arguments.output.with_extension(format!("{target}.native"));
            let what = format!("compiling for {target}");
            let make = || precompile(wasm.clone(), *target);
            Ok((path, show::waiting(&what, make)?))
        });
        written = variants.collect::<Outcome<_>>()?;
        write(&arguments.output, &wasm)?;
        for (path, code) in &written {
            write(path, code)?;
        }
    }
    if arguments.json {
        show::json(&Printed { report: &report, check: checks.as_deref() })?;
    } else {
        println!("{}", explain::summary(&report, took));
        if arguments.explain {
            println!("{}\n{}", explain::passes(&report.passes), explain::layers(&report.layers));
        }
        if let Some(checks) = &checks {
            println!("{}", explain::checks(checks));
        }
    }
    if wrong > 0 {
        let outputs = if wrong == 1 { "output is" } else { "outputs are" };
        let message = format!("{wrong} {outputs} not as {} says", described(&arguments.check));
        return Err(Failure::new(code::fleet::CHECK_FAILED, message));
    }
    if !arguments.json {
        println!("wrote {}", arguments.output.display());
        for (path, code) in &written {
            println!("wrote {}, {}", path.display(), show::bytes(code.len() as u64));
        }
    }
    Ok(())
}

fn options(arguments: &Arguments) -> Outcome<Options> {
    let shape = |InputShape(name, shape): &InputShape| (name.clone(), shape.clone());
    let mut options = Options {
        inputs: arguments.inputs.iter().map(shape).collect(),
        max_batch: arguments.batch,
        simd: arguments.simd.into(),
        weights: arguments.weights.into(),
        ..Options::default()
    };
    if let Some(path) = &arguments.like {
        let old = on_file("read", path, std::fs::read(path))?;
        options.like = dunlin_compiler::layers(&old)?.ok_or(ProfileError::NoLayers)?;
    }
    for ConstantArgument(name, value) in &arguments.constants {
        options.constants.push((name.clone(), constant(value)?));
    }
    Ok(options)
}

/// The module in the device's own sandbox, against what it must give.
fn check(wasm: &[u8], data: &Arrays) -> Outcome<Vec<OutputCheck>> {
    let mut runner = runner(wasm.to_vec(), None)?;
    Ok(golden::check(&mut runner, data)?)
}

fn described(path: &Option<PathBuf>) -> String {
    path.as_deref().unwrap_or(Path::new("")).display().to_string()
}

/// Writes the module whole or not at all; what is no file, as /dev/stdout, is written to as it is.
fn write(path: &Path, wasm: &[u8]) -> Outcome {
    match std::fs::metadata(path) {
        Ok(there) if !there.is_file() => on_file("write", path, std::fs::write(path, wasm)),
        Ok(_) | Err(_) => {
            on_file("write", path, file::replace(path, wasm, Readers::Anyone).map_err(|e| e.error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_replaces_the_one_before_and_leaves_nothing_beside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wasm");
        for content in [b"one", b"two"] {
            write(&path, content).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), content);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(write(folder.path(), b"three").unwrap_err().code.id, "file");
        write(Path::new("/dev/null"), b"gone").unwrap();
        assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
    }
}
