//! `dunlin compile`: ONNX to WebAssembly.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, ValueEnum};
use dunlin_abi::{DType, Simd};
use dunlin_compiler::{Compiled, Constant, ConstantData, Options, Report};
use dunlin_fleet::file::{self, Readers};
use dunlin_fleet::run::shape_text;
use dunlin_fleet::tensor::Tensor;

use crate::failure::{Failure, Outcome, on_file};
use crate::show;

/// Compile an ONNX model to one WebAssembly module
#[derive(Args)]
#[command(after_help = "Examples:\n  dunlin compile digits.onnx -o digits.wasm\n  \
                        dunlin compile net.onnx -o net.wasm --input x=1,64 --const rate=16000\n  \
                        dunlin compile digits.onnx -o digits.wasm --batch 16 --json")]
pub(crate) struct Arguments {
    /// The ONNX file
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
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum SimdArgument {
    /// Fused multiply-add where the machine has it: the fastest
    Relaxed,
    /// The same bits on every machine
    Deterministic,
    /// No SIMD
    None,
}

#[derive(Clone, Debug)]
struct InputShape(String, Vec<u32>);

impl FromStr for InputShape {
    type Err = String;

    fn from_str(text: &str) -> Result<InputShape, String> {
        let expected = || format!("expected NAME=D0,D1,… with positive numbers, got {text:?}");
        let (name, shape) = text.rsplit_once('=').ok_or_else(expected)?;
        let shape: Result<Vec<u32>, _> = shape.split([',', 'x']).map(|d| d.trim().parse::<u32>()).collect();
        let shape = shape.map_err(|_| expected())?;
        if name.is_empty() || shape.contains(&0) {
            return Err(expected());
        }
        Ok(InputShape(name.to_string(), shape))
    }
}

#[derive(Clone)]
struct ConstantArgument(String, String);

impl FromStr for ConstantArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<ConstantArgument, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() && !value.is_empty() => {
                Ok(ConstantArgument(name.to_string(), value.to_string()))
            }
            _ => Err(format!("expected NAME=VALUE or NAME=FILE.npy, got {text:?}")),
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let onnx = on_file("read", &arguments.onnx, std::fs::read(&arguments.onnx))?;
    let mut options = Options {
        inputs: arguments
            .inputs
            .iter()
            .map(|InputShape(name, shape)| (name.clone(), shape.clone()))
            .collect(),
        max_batch: arguments.batch,
        simd: match arguments.simd {
            SimdArgument::Relaxed => Simd::Relaxed,
            SimdArgument::Deterministic => Simd::Deterministic,
            SimdArgument::None => Simd::None,
        },
        ..Options::default()
    };
    for ConstantArgument(name, value) in &arguments.constants {
        options.constants.push((name.clone(), constant(value)?));
    }
    let start = std::time::Instant::now();
    let Compiled { wasm, report } = dunlin_compiler::compile(&onnx, &options)?;
    let took = start.elapsed();
    write(&arguments.output, &wasm)?;
    for warning in &report.warnings {
        eprintln!("warning: {warning}");
    }
    if arguments.json {
        return show::json(&report);
    }
    print(&report, took);
    println!("wrote {}", arguments.output.display());
    Ok(())
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

/// A number, or the content of a file.
fn constant(value: &str) -> Outcome<Constant> {
    if let Ok(integer) = value.parse::<i64>() {
        return Ok(Constant { shape: Vec::new(), data: ConstantData::I64(vec![integer]) });
    }
    if let Ok(number) = value.parse::<f32>() {
        // A number too great becomes infinite without a word.
        if !number.is_finite() {
            return Err(Failure::usage(format!("the constant {value} is no finite number of 32 bits")));
        }
        return Ok(Constant { shape: Vec::new(), data: ConstantData::F32(vec![number]) });
    }
    let tensor = Tensor::read(value.as_ref())?;
    let shape: Result<Vec<u32>, _> = tensor.shape.iter().map(|extent| u32::try_from(*extent)).collect();
    let shape = shape.map_err(|_| Failure::usage(format!("{value} has an axis of more than 2^32")))?;
    let data = match tensor.dtype {
        DType::F32 | DType::F64 => {
            let single = tensor.cast(DType::F32)?;
            ConstantData::F32(single.to_f64().into_iter().map(|number| number as f32).collect())
        }
        DType::I8
        | DType::U8
        | DType::I16
        | DType::U16
        | DType::I32
        | DType::U32
        | DType::I64
        | DType::U64
        | DType::Bool => {
            let wide = tensor.cast(DType::I64)?;
            ConstantData::I64(
                wide.bytes.as_chunks::<8>().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect(),
            )
        }
    };
    Ok(Constant { shape, data })
}

fn print(report: &Report, took: std::time::Duration) {
    let mut table = show::table(&[]);
    for (kind, tensors) in [("input", &report.card.inputs), ("output", &report.card.outputs)] {
        for tensor in tensors {
            table.add_row([
                kind.to_string(),
                format!("{} {} {}", tensor.name, tensor.dtype, shape_text(tensor)),
            ]);
        }
    }
    let operators: Vec<String> =
        report.operators.iter().map(|(name, count)| format!("{count} {name}")).collect();
    table.add_row(["operators".to_string(), operators.join(", ")]);
    table.add_row(["multiply-adds a sample".to_string(), report.macs.to_string()]);
    table.add_row(["parameters".to_string(), report.parameters.to_string()]);
    table.add_row(["weights".to_string(), show::bytes(report.weight_bytes)]);
    table.add_row(["arena".to_string(), show::bytes(report.arena_bytes)]);
    table.add_row(["code".to_string(), show::bytes(report.code_bytes)]);
    table.add_row(["module".to_string(), show::bytes(report.module_bytes)]);
    table.add_row(["compiled in".to_string(), show::micros(took.as_secs_f64() * 1e6)]);
    println!("{table}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_positive_numbers_behind_the_last_equals_sign() {
        for (text, name, shape) in
            [("x=1,64", "x", vec![1, 64]), ("a=b=3x4", "a=b", vec![3, 4]), ("x=7", "x", vec![7])]
        {
            let InputShape(got_name, got_shape) = text.parse().unwrap();
            assert_eq!((got_name.as_str(), got_shape), (name, shape));
        }
        for text in ["", "x", "=1", "x=", "x=0", "x=1,", "x=-1", "x=1.5", "x=4294967296"] {
            assert!(text.parse::<InputShape>().unwrap_err().contains("NAME=D0,D1"), "{text}");
        }
    }

    #[test]
    fn a_constant_is_an_integer_or_a_finite_number_or_a_file() {
        assert!(matches!(constant("16000").unwrap().data, ConstantData::I64(v) if v == [16_000]));
        assert!(matches!(constant("-0.5").unwrap().data, ConstantData::F32(v) if v == [-0.5]));
        for value in ["1e40", "inf", "nan"] {
            assert_eq!(constant(value).unwrap_err().code.id, "argument", "{value}");
        }
        assert_eq!(constant("/nowhere.npy").unwrap_err().code.id, "tensor-file");
    }

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
