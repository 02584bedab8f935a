//! Reads a case from its two files.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use dunlin_abi::DType;
use npyz::npz::NpzArchive;
use npyz::{NpyFile, Order};

/// An array of an archive: row-major, little-endian.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub dtype: DType,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl Tensor {
    /// The elements, as `read` takes each from its bytes.
    pub fn elements<T, const N: usize>(&self, read: fn([u8; N]) -> T) -> Vec<T> {
        self.bytes.as_chunks().0.iter().map(|chunk| read(*chunk)).collect()
    }
}

/// A model, what goes in and what must come out.
pub struct Case {
    pub onnx: Vec<u8>,
    pub inputs: BTreeMap<String, Tensor>,
    pub constants: BTreeMap<String, Tensor>,
    pub outputs: BTreeMap<String, Tensor>,
    pub tolerances: BTreeMap<String, f64>,
    /// `rtol` and `atol`, if elements are judged alone.
    pub each: Option<(f64, f64)>,
    /// Whether there is an archive; without one there is nothing to compare.
    pub has_numbers: bool,
}

impl Case {
    /// Reads `NAME.onnx` and `NAME.npz`, where `stem` is the path without the extension.
    pub fn read(stem: &Path) -> Result<Case, String> {
        let file = |extension: &str| {
            let mut name = stem.as_os_str().to_owned();
            name.push(extension);
            name
        };
        let onnx = std::fs::read(file(".onnx")).map_err(|error| format!("{:?}: {error}", file(".onnx")))?;
        let mut case = Case {
            onnx,
            inputs: BTreeMap::new(),
            constants: BTreeMap::new(),
            outputs: BTreeMap::new(),
            tolerances: BTreeMap::new(),
            each: None,
            has_numbers: Path::new(&file(".npz")).exists(),
        };
        if case.has_numbers {
            let wrong = |error: String| format!("{:?}: {error}", file(".npz"));
            let archive = NpzArchive::open(file(".npz")).map_err(|error| wrong(error.to_string()))?;
            case.fill(archive).map_err(wrong)?;
        }
        Ok(case)
    }

    fn fill(&mut self, mut archive: NpzArchive<impl Read + std::io::Seek>) -> Result<(), String> {
        let names: Vec<String> = archive.array_names().map(str::to_string).collect();
        for name in names {
            let array = archive.by_name(&name).map_err(|error| format!("{name}: {error}"))?;
            let array = array.ok_or_else(|| format!("the array {name} is missing"))?;
            let tensor = read(array).map_err(|error| format!("{name}: {error}"))?;
            match name.split_once('/') {
                Some(("input", key)) => _ = self.inputs.insert(key.to_string(), tensor),
                Some(("constant", key)) => _ = self.constants.insert(key.to_string(), tensor),
                Some(("output", key)) => _ = self.outputs.insert(key.to_string(), tensor),
                Some(("tolerance", key)) => {
                    _ = self.tolerances.insert(key.to_string(), number(&name, &tensor)?);
                }
                None if name == "rtol" => self.each.get_or_insert_default().0 = number(&name, &tensor)?,
                None if name == "atol" => self.each.get_or_insert_default().1 = number(&name, &tensor)?,
                _ => {
                    return Err(format!(
                        "the array {name} is none of input/…, constant/…, output/…, tolerance/…, rtol and atol"
                    ));
                }
            }
        }
        Ok(())
    }
}

/// The only element of an array.
fn number(name: &str, tensor: &Tensor) -> Result<f64, String> {
    match (tensor.dtype, tensor.bytes.len()) {
        (DType::F32, 4) => Ok(tensor.elements(f32::from_le_bytes)[0].into()),
        (DType::F64, 8) => Ok(tensor.elements(f64::from_le_bytes)[0]),
        _ => Err(format!("{name} is a {} of shape {:?}, expected one float", tensor.dtype, tensor.shape)),
    }
}

fn read<R: Read>(file: NpyFile<R>) -> Result<Tensor, String> {
    if file.order() != Order::C && file.shape().len() > 1 {
        return Err("the array is in Fortran order; save numpy.ascontiguousarray(a)".to_string());
    }
    let shape = file.shape().iter().map(|extent| *extent as usize).collect();
    let (dtype, bytes) = elements(file)?;
    Ok(Tensor { dtype, shape, bytes })
}

fn elements<R: Read>(mut file: NpyFile<R>) -> Result<(DType, Vec<u8>), String> {
    macro_rules! attempt {
        ($($type:ty => $dtype:expr),*) => {
            $(file = match file.try_data::<$type>() {
                Ok(data) => {
                    let mut bytes = Vec::new();
                    for element in data {
                        bytes.extend(element.map_err(|error| error.to_string())?.to_le_bytes());
                    }
                    return Ok(($dtype, bytes));
                }
                Err(other) => other,
            };)*
        };
    }
    attempt!(f32 => DType::F32, f64 => DType::F64, i32 => DType::I32, i64 => DType::I64, u8 => DType::U8);
    match file.try_data::<bool>() {
        Ok(data) => {
            let bytes: Result<Vec<u8>, _> = data.map(|element| element.map(u8::from)).collect();
            Ok((DType::Bool, bytes.map_err(|error| error.to_string())?))
        }
        Err(file) => Err(format!("the element type {} is none that a model can have", file.dtype().descr())),
    }
}
