//! Tensors in files: `.npy`, `.npz` and `.csv`, as data scientists save them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Write as _};
use std::path::{Path, PathBuf};

use dunlin_abi::DType;
use dunlin_core::code::{self, Code, Coded};
use npyz::{Order, WriterBuilder as _};

/// Up to this magnitude, 2^53 - 1, no two integers become one double.
const EXACT: f64 = 9_007_199_254_740_991.0;

/// The longest header of a `.npy` file, in bytes; numpy writes 128 as a rule.
const MAX_HEADER_BYTES: u64 = 64 * 1024;

/// What the arrays of an archive may take in memory, in bytes: this, and so many times the file.
const ARCHIVE_ALLOWANCE_BYTES: u64 = 256 << 20;
const ARCHIVE_RATIO: u64 = 32;

/// A tensor in memory: row-major, little-endian.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// The type of every element.
    pub dtype: DType,
    /// The extents, outermost first.
    pub shape: Vec<u64>,
    /// The elements.
    pub bytes: Vec<u8>,
}

/// A file of tensors that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TensorFileError {
    /// It cannot be opened, or is not of its format.
    #[error("cannot read {path}: {reason}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// It cannot be written.
    #[error("cannot write {path}: {error}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// A value does not fit the type that the model wants.
    #[error("the value {value} does not fit the type {dtype}")]
    Value {
        /// The value.
        value: f64,
        /// The type.
        dtype: DType,
    },
}

impl Coded for TensorFileError {
    fn code(&self) -> Code {
        match self {
            TensorFileError::Read { .. } => code::fleet::TENSOR_FILE,
            TensorFileError::Write { .. } => code::fleet::FILE,
            TensorFileError::Value { .. } => code::fleet::TENSOR_SHAPE,
        }
    }
}

fn unreadable<E: ToString>(path: &Path) -> impl Fn(E) -> TensorFileError {
    move |error| TensorFileError::Read { path: path.to_path_buf(), reason: error.to_string() }
}

impl Tensor {
    /// A tensor of 32-bit floats.
    pub fn from_f32(shape: &[u64], values: &[f32]) -> Tensor {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        Tensor { dtype: DType::F32, shape: shape.to_vec(), bytes }
    }

    /// How many elements it has.
    pub fn elements(&self) -> usize {
        self.bytes.len() / self.dtype.size() as usize
    }

    /// The elements as doubles; integers beyond 2^53 are rounded.
    pub fn to_f64(&self) -> Vec<f64> {
        dunlin_core::drift::values(self.dtype, &self.bytes).collect()
    }

    /// The same numbers in another type; floats are rounded to the nearest.
    ///
    /// # Errors
    /// A number does not fit: out of range, or a fraction where an integer is wanted.
    pub fn cast(&self, dtype: DType) -> Result<Tensor, TensorFileError> {
        if dtype == self.dtype {
            return Ok(self.clone());
        }
        let mut bytes = Vec::with_capacity(self.elements() * dtype.size() as usize);
        for value in self.to_f64() {
            encode(dtype, value, &mut bytes)?;
        }
        Ok(Tensor { dtype, shape: self.shape.clone(), bytes })
    }

    /// Rows `from..to` of the outermost axis.
    pub fn rows(&self, from: u64, to: u64) -> Tensor {
        let rows = self.shape.first().copied().unwrap_or(1).max(1) as usize;
        let stride = self.bytes.len() / rows;
        let mut shape = self.shape.clone();
        if let Some(first) = shape.first_mut() {
            *first = to - from;
        }
        Tensor {
            dtype: self.dtype,
            shape,
            bytes: self.bytes[from as usize * stride..to as usize * stride].to_vec(),
        }
    }

    /// Reads a `.npy` file, or rows of numbers from a `.csv` file.
    ///
    /// # Errors
    /// The file cannot be read, or is of neither format.
    pub fn read(path: &Path) -> Result<Tensor, TensorFileError> {
        let file = File::open(path).map_err(unreadable(path))?;
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("csv") => read_csv(path, file),
            Some("npy") => {
                let mut bytes = Vec::new();
                BufReader::new(file).read_to_end(&mut bytes).map_err(unreadable(path))?;
                from_npy(&bytes).map_err(unreadable(path))
            }
            _ => Err(unreadable(path)("expected a name that ends in .npy or .csv")),
        }
    }

    /// Writes a `.npy` file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_npy(&self, path: &Path) -> Result<(), TensorFileError> {
        let failed = |error| TensorFileError::Write { path: path.to_path_buf(), error };
        let bytes = self.to_npy().map_err(failed)?;
        std::fs::write(path, bytes).map_err(failed)
    }

    fn to_npy(&self) -> std::io::Result<Vec<u8>> {
        let letter = match self.dtype {
            DType::F32 | DType::F64 => 'f',
            DType::I8 | DType::I16 | DType::I32 | DType::I64 => 'i',
            DType::U8 | DType::U16 | DType::U32 | DType::U64 => 'u',
            DType::Bool => 'b',
        };
        let order = if self.dtype.size() == 1 { '|' } else { '<' };
        let descr = format!("{order}{letter}{}", self.dtype.size());
        let dtype = npyz::DType::new_scalar(descr.parse().map_err(std::io::Error::other)?);
        let mut file = Vec::new();
        macro_rules! write {
            ($type:ty) => {{
                let options = npyz::WriteOptions::new().dtype(dtype).shape(&self.shape);
                let mut writer = options.writer(&mut file).begin_nd()?;
                for element in self.bytes.chunks_exact(size_of::<$type>()) {
                    writer
                        .push(&<$type>::from_le_bytes(element.try_into().map_err(std::io::Error::other)?))?;
                }
                writer.finish()?;
            }};
        }
        match self.dtype {
            DType::F32 => write!(f32),
            DType::F64 => write!(f64),
            DType::I8 => write!(i8),
            DType::U8 => write!(u8),
            DType::I16 => write!(i16),
            DType::U16 => write!(u16),
            DType::I32 => write!(i32),
            DType::U32 => write!(u32),
            DType::I64 => write!(i64),
            DType::U64 => write!(u64),
            DType::Bool => {
                let options = npyz::WriteOptions::new().dtype(dtype).shape(&self.shape);
                let mut writer = options.writer(&mut file).begin_nd()?;
                self.bytes.iter().try_for_each(|byte| writer.push(&(*byte != 0)))?;
                writer.finish()?;
            }
        }
        Ok(file)
    }
}

/// Writes arrays, by name, to a `.npz` file, as they are: the same arrays give the same bytes.
///
/// # Errors
/// The file cannot be written.
pub fn write_npz(path: &Path, arrays: &BTreeMap<String, Tensor>) -> Result<(), TensorFileError> {
    let failed = |error| TensorFileError::Write { path: path.to_path_buf(), error };
    let bytes = to_npz(arrays).map_err(failed)?;
    std::fs::write(path, bytes).map_err(failed)
}

fn to_npz(arrays: &BTreeMap<String, Tensor>) -> std::io::Result<Vec<u8>> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = zip::write::FileOptions::default()
        .compression_method(zip::CompressionMethod::Stored)
        .last_modified_time(zip::DateTime::default());
    for (name, tensor) in arrays {
        zip.start_file(npyz::npz::file_name_from_array_name(name), options)?;
        zip.write_all(&tensor.to_npy()?)?;
    }
    Ok(zip.finish()?.into_inner())
}

/// Reads every array of a `.npz` file, by name.
///
/// # Errors
/// The file cannot be read, or is not of this format.
pub fn read_npz(path: &Path) -> Result<BTreeMap<String, Tensor>, TensorFileError> {
    let file = File::open(path).map_err(unreadable(path))?;
    let file_bytes = file.metadata().map_err(unreadable(path))?.len();
    let mut archive = zip::ZipArchive::new(BufReader::new(file)).map_err(unreadable(path))?;
    let most = ARCHIVE_ALLOWANCE_BYTES.saturating_add(file_bytes.saturating_mul(ARCHIVE_RATIO));
    let mut left = most;
    let mut tensors = BTreeMap::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(unreadable(path))?;
        let Some(name) = npyz::npz::array_name_from_file_name(entry.name()).map(str::to_string) else {
            continue;
        };
        let about = |reason: String| unreadable(path)(format!("{name}: {reason}"));
        let too_large = || {
            about(format!(
                "the arrays take more than {most} bytes, far more than a file of {file_bytes} bytes holds: save them \
                 in several files"
            ))
        };
        // What the archive says of its size is a claim; what comes out is counted.
        if entry.size() > left {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        entry.by_ref().take(left + 1).read_to_end(&mut bytes).map_err(|error| about(error.to_string()))?;
        left = left.checked_sub(bytes.len() as u64).ok_or_else(too_large)?;
        let tensor = from_npy(&bytes).map_err(about)?;
        if tensors.insert(name.clone(), tensor).is_some() {
            return Err(about(String::from("two arrays have this name")));
        }
    }
    Ok(tensors)
}

/// Reads an array of which the whole file is in memory: nothing that its header says makes it take more.
fn from_npy(bytes: &[u8]) -> Result<Tensor, String> {
    check_header(bytes)?;
    let file = npyz::NpyFile::new(bytes).map_err(|error| error.to_string())?;
    if file.order() != Order::C && file.shape().len() > 1 {
        return Err("the array is in Fortran order; save numpy.ascontiguousarray(a)".to_string());
    }
    let shape = file.shape().to_vec();
    let (dtype, bytes) = elements(file)?;
    let expected =
        shape.iter().try_fold(u64::from(dtype.size()), |product, extent| product.checked_mul(*extent));
    if expected != Some(bytes.len() as u64) {
        return Err(format!(
            "it has {} bytes of elements, which are no array of shape {shape:?}",
            bytes.len()
        ));
    }
    Ok(Tensor { dtype, shape, bytes })
}

/// Checks what the library takes on trust: the length of the header, for which it makes room, and the shape, whose
/// extents it multiplies.
///
/// <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>
fn check_header(bytes: &[u8]) -> Result<(), String> {
    let not_npy = || String::from("it is no .npy file, which starts with \\x93NUMPY");
    let rest = bytes.strip_prefix(b"\x93NUMPY").ok_or_else(not_npy)?;
    let (version, rest) = rest.split_first_chunk::<2>().ok_or_else(not_npy)?;
    let (length, rest) = match version {
        [1, _] => {
            rest.split_first_chunk::<2>().map(|(length, rest)| (u64::from(u16::from_le_bytes(*length)), rest))
        }
        [2 | 3, _] => {
            rest.split_first_chunk::<4>().map(|(length, rest)| (u64::from(u32::from_le_bytes(*length)), rest))
        }
        [major, minor] => {
            return Err(format!("it has version {major}.{minor} of the format; 1.0 to 3.0 are known"));
        }
    }
    .ok_or_else(not_npy)?;
    if length > MAX_HEADER_BYTES {
        return Err(format!("its header has {length} bytes, {MAX_HEADER_BYTES} are the most"));
    }
    let cut_short = || format!("its header of {length} bytes is cut off");
    let (header, elements) = usize::try_from(length)
        .ok()
        .and_then(|length| rest.split_at_checked(length))
        .ok_or_else(cut_short)?;
    let header = std::str::from_utf8(header).map_err(|_| String::from("its header is no text"))?;
    for tuple in header.split('(').skip(1) {
        let tuple = tuple.split(')').next().unwrap_or_default();
        let extents = tuple.split(',').map(str::trim).filter(|extent| !extent.is_empty());
        let numbers: Result<Vec<u64>, _> = extents.map(str::parse::<u64>).collect();
        // The library multiplies in either order, so a zero in between saves nothing.
        let product = numbers.ok().and_then(|numbers| {
            let product = numbers.iter().try_fold(1u64, |all, one| all.checked_mul((*one).max(1)))?;
            Some(if numbers.contains(&0) { 0 } else { product })
        });
        // Every element takes a byte at least.
        if product.is_none_or(|product| product > elements.len() as u64) {
            let shape: String = tuple.chars().take(80).collect();
            return Err(format!(
                "it has {} bytes of elements, which are no array of shape ({shape})",
                elements.len()
            ));
        }
    }
    Ok(())
}

fn elements<R: Read>(mut file: npyz::NpyFile<R>) -> Result<(DType, Vec<u8>), String> {
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
    attempt!(f32 => DType::F32, f64 => DType::F64, u8 => DType::U8, i8 => DType::I8, i16 => DType::I16,
        u16 => DType::U16, i32 => DType::I32, u32 => DType::U32, i64 => DType::I64, u64 => DType::U64);
    match file.try_data::<bool>() {
        Ok(data) => {
            let bytes: Result<Vec<u8>, _> = data.map(|element| element.map(u8::from)).collect();
            Ok((DType::Bool, bytes.map_err(|error| error.to_string())?))
        }
        Err(file) => Err(format!("the element type {} is not supported", file.dtype().descr())),
    }
}

/// Rows of numbers; a first row that holds none is a header.
fn read_csv(path: &Path, file: File) -> Result<Tensor, TensorFileError> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).trim(csv::Trim::All).from_reader(file);
    let (mut values, mut rows, mut columns) = (Vec::new(), 0u64, 0u64);
    for (index, record) in reader.records().enumerate() {
        let record = record.map_err(unreadable(path))?;
        let cells: Vec<Result<f64, _>> = record.iter().map(str::parse::<f64>).collect();
        if index == 0 && cells.iter().all(Result::is_err) {
            continue;
        }
        (rows, columns) = (rows + 1, cells.len() as u64);
        for (cell, text) in cells.into_iter().zip(&record) {
            let line = record.position().map_or(0, csv::Position::line);
            let number = cell.map_err(|error| unreadable(path)(format!("line {line}: {text:?}: {error}")));
            values.push(number?);
        }
    }
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Ok(Tensor { dtype: DType::F64, shape: vec![rows, columns], bytes })
}

fn encode(dtype: DType, value: f64, bytes: &mut Vec<u8>) -> Result<(), TensorFileError> {
    let misfit = || TensorFileError::Value { value, dtype };
    macro_rules! integer {
        ($type:ty) => {{
            // The bounds of 64-bit types are not exact in a double, so the exact range is narrower.
            let (low, high) = ((<$type>::MIN as f64).max(-EXACT), (<$type>::MAX as f64).min(EXACT));
            if value.fract() != 0.0 || !(low..=high).contains(&value) {
                return Err(misfit());
            }
            bytes.extend((value as $type).to_le_bytes());
        }};
    }
    match dtype {
        DType::F32 => {
            let single = value as f32;
            if single.is_infinite() && value.is_finite() {
                return Err(misfit());
            }
            bytes.extend(single.to_le_bytes());
        }
        DType::F64 => bytes.extend(value.to_le_bytes()),
        DType::I8 => integer!(i8),
        DType::U8 => integer!(u8),
        DType::I16 => integer!(i16),
        DType::U16 => integer!(u16),
        DType::I32 => integer!(i32),
        DType::U32 => integer!(u32),
        DType::I64 => integer!(i64),
        DType::U64 => integer!(u64),
        DType::Bool => match value {
            0.0 => bytes.push(0),
            1.0 => bytes.push(1),
            _ => return Err(misfit()),
        },
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_survives_npy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let one = Tensor::from_f32(&[2, 1], &[0.0, 1.0]);
        let types = [
            DType::F32,
            DType::F64,
            DType::I8,
            DType::U8,
            DType::I16,
            DType::U16,
            DType::I32,
            DType::U32,
            DType::I64,
            DType::U64,
            DType::Bool,
        ];
        for dtype in types {
            let tensor = one.cast(dtype).unwrap();
            tensor.write_npy(&path).unwrap();
            assert_eq!(Tensor::read(&path).unwrap(), tensor, "{dtype}");
        }
    }

    #[test]
    fn arrays_survive_npz_with_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        let scalar = Tensor { dtype: DType::F64, shape: Vec::new(), bytes: 0.5f64.to_le_bytes().to_vec() };
        let arrays = BTreeMap::from([
            ("input/x".to_string(), Tensor::from_f32(&[2, 1], &[0.0, 1.0])),
            ("tolerance/y".to_string(), scalar),
        ]);
        write_npz(&path, &arrays).unwrap();
        assert_eq!(read_npz(&path).unwrap(), arrays);
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        for (value, dtype) in [
            (256.0, DType::U8),
            (-1.0, DType::U32),
            (0.5, DType::I64),
            (1e300, DType::F32),
            (2.0, DType::Bool),
            (f64::NAN, DType::I32),
            (1e19, DType::U64),
            (9_007_199_254_740_992.0, DType::I64),
        ] {
            let tensor = Tensor { dtype: DType::F64, shape: vec![1], bytes: value.to_le_bytes().to_vec() };
            assert_eq!(tensor.cast(dtype).unwrap_err().code().id, "tensor-shape", "{value} as {dtype}");
        }
    }

    #[test]
    fn csv_may_have_a_header_and_nothing_else_that_is_no_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        std::fs::write(&path, "a, b\n1, 2.5\n3,4\n").unwrap();
        let tensor = Tensor::read(&path).unwrap();
        assert_eq!((tensor.shape.clone(), tensor.to_f64()), (vec![2, 2], vec![1.0, 2.5, 3.0, 4.0]));
        // A slip in the first row is no header: a row must not vanish silently.
        for bad in ["1,2\n3\n", "1,2\n3,x\n", "1,x\n3,4\n"] {
            std::fs::write(&path, bad).unwrap();
            assert_eq!(Tensor::read(&path).unwrap_err().code().id, "tensor-file", "{bad:?}");
        }
    }

    #[test]
    fn rows_are_cut_from_the_outermost_axis() {
        let tensor = Tensor::from_f32(&[3, 2], &[1., 2., 3., 4., 5., 6.]);
        assert_eq!(tensor.rows(1, 2), Tensor::from_f32(&[1, 2], &[3., 4.]));
    }

    #[test]
    fn a_shape_that_the_elements_do_not_fill_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        Tensor::from_f32(&[3, 2], &[1., 2., 3., 4., 5., 6.]).write_npy(&path).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for cut in [0, 7, 40, whole.len() - 4] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(Tensor::read(&path).unwrap_err().code().id, "tensor-file", "{cut} bytes");
        }
    }

    /// A `.npy` file with this header.
    fn npy(version: u8, length: u32, header: &str, elements: usize) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY".to_vec();
        bytes.extend([version, 0]);
        match version {
            1 => bytes.extend((length as u16).to_le_bytes()),
            _ => bytes.extend(length.to_le_bytes()),
        }
        bytes.extend(header.as_bytes());
        bytes.resize(bytes.len() + elements, 0);
        bytes
    }

    #[test]
    fn claims_of_a_header_are_bounded() {
        let header = |shape: &str, order: &str, descr: &str| {
            format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}\n")
        };
        let file = |header: String| npy(1, header.len() as u32, &header, 24);
        let sound = from_npy(&file(header("(3, 2)", "False", "<f4"))).unwrap();
        assert_eq!((sound.shape, sound.bytes.len()), (vec![3, 2], 24));
        for (bytes, words) in [
            (npy(2, u32::MAX, "{", 100), "4294967295 bytes, 65536 are the most"),
            (npy(2, 60_000, "{", 100), "is cut off"),
            (npy(9, 2, "{}", 0), "version 9.0"),
            (file(header("(1099511627776,)", "False", "<f4")), "no array of shape (1099511627776,)"),
            (file(header("(4294967296, 4294967296, 2)", "False", "<f4")), "no array of shape"),
            (file(header("(0, 18446744073709551615, 2)", "False", "<f4")), "no array of shape"),
            (file(header("(4_294, 0)", "False", "<f4")), "no array of shape"),
            (file(header("(-1,)", "False", "<f4")), "no array of shape"),
            (file(header("(7,)", "False", "<f4")), ""),
            (file(header("(5,)", "False", "<f4")), "no array of shape [5]"),
            (file(header("(3, 2)", "True", "<f4")), "Fortran order"),
            (file(header("(3,)", "False", "|O")), ""),
            (file(header("(3,)", "False", "<c8")), "not supported"),
        ] {
            match from_npy(&bytes) {
                Err(reason) => assert!(reason.contains(words), "{reason}: {words}"),
                // What is behind the elements is not read.
                Ok(tensor) => assert!(words.contains("[5]"), "{tensor:?}"),
            }
        }
    }

    #[test]
    fn an_archive_takes_no_more_than_it_could_hold() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        let arrays = BTreeMap::from([("x".to_string(), Tensor::from_f32(&[2], &[0.0, 1.0]))]);
        let sound = to_npz(&arrays).unwrap();
        // The sizes that the archive claims, in its local and its central header.
        let mut claims = sound.clone();
        let central = claims.windows(4).rposition(|window| window == b"PK\x01\x02").unwrap();
        for at in [22, central + 24] {
            claims[at..at + 4].copy_from_slice(&0xffff_fff0u32.to_le_bytes());
        }
        std::fs::write(&path, &claims).unwrap();
        let error = read_npz(&path).unwrap_err();
        assert!(error.to_string().contains("x: the arrays take more than"), "{error}");
        assert_eq!(error.code().id, "tensor-file");
    }

    proptest::proptest! {
        /// Whatever a file says, it is refused, or its elements are those of its shape.
        #[test]
        fn a_mutated_file_is_refused_or_consistent(
            changes in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), 0u8..), 1..6),
            cut in proptest::prelude::any::<proptest::sample::Index>(),
            archive: bool,
        ) {
            let tensor = Tensor::from_f32(&[3, 2], &[1., 2., 3., 4., 5., 6.]);
            let arrays = BTreeMap::from([("input/x".to_string(), tensor.clone())]);
            let mut bytes = if archive { to_npz(&arrays).unwrap() } else { tensor.to_npy().unwrap() };
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if cut.index(4) == 0 {
                bytes.truncate(cut.index(bytes.len()));
            }
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(if archive { "a.npz" } else { "a.npy" });
            std::fs::write(&path, &bytes).unwrap();
            let read = if archive {
                read_npz(&path).map(|arrays| arrays.into_values().collect())
            } else {
                Tensor::read(&path).map(|tensor| vec![tensor])
            };
            for tensor in read.unwrap_or_default() {
                let elements: u64 = tensor.shape.iter().product();
                proptest::prop_assert_eq!(elements * u64::from(tensor.dtype.size()), tensor.bytes.len() as u64);
            }
        }
    }

    #[test]
    fn garbage_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.npy", "a.txt"] {
            let path = folder.path().join(name);
            std::fs::write(&path, b"garbage").unwrap();
            assert_eq!(Tensor::read(&path).unwrap_err().code().id, "tensor-file");
        }
        let path = folder.path().join("a.npz");
        std::fs::write(&path, b"garbage").unwrap();
        assert_eq!(read_npz(&path).unwrap_err().code().id, "tensor-file");
    }
}
