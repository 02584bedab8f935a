//! Golden data: inputs with the outputs that a model must give, as arrays of one file.
//!
//! A sample that the model must refuse has its status in the array `status`, and its rows of outputs count for
//! nothing.
//!
//! `dunlin compile --check` compares, and a release packs them for its devices, which run them as they
//! are run here: one sample a call, each a stream of its own.

use std::collections::BTreeMap;

use dunlin_abi::{Card, DType, TensorSpec};
use dunlin_core::code::{self, Code, Coded};
use dunlin_core::golden::{
    DEFAULT_TOLERANCE, Golden, GoldenError, GoldenMismatch, GoldenVector, MAX_VECTORS, compare,
};
use dunlin_sandbox::CallError;
use serde::Serialize;

use crate::run::{Answer, Rows, RunError, Runner, joined};
use crate::tensor::Tensor;

/// The arrays of a golden file, by name: `input/<name>`, `output/<name>` and, optionally, `tolerance/<name>` and
/// `status`.
pub type Arrays = BTreeMap<String, Tensor>;

/// The array of statuses.
const STATUS: &str = "status";

/// Why golden data cannot be used, or what differs.
#[derive(Debug, thiserror::Error)]
pub enum GoldenFileError {
    /// The file lacks an array, has one too many, or one that does not fit.
    #[error("the golden file {0}")]
    File(String),
    /// The model does not run on its inputs.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The model gives other outputs.
    #[error("golden vector {vector}: {error}")]
    Failed {
        /// Which vector.
        vector: usize,
        /// What differs.
        error: GoldenMismatch,
    },
    /// They cannot be packed.
    #[error(transparent)]
    Pack(#[from] GoldenError),
}

impl Coded for GoldenFileError {
    fn code(&self) -> Code {
        match self {
            GoldenFileError::File(_) => code::fleet::TENSOR_SHAPE,
            GoldenFileError::Run(error) => error.code(),
            GoldenFileError::Failed { .. } => code::fleet::GOLDEN_FAILED,
            GoldenFileError::Pack(error) => error.code(),
        }
    }
}

/// How one output compares with what it must be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutputCheck {
    /// The output.
    pub output: String,
    /// How many samples were compared.
    pub samples: u64,
    /// The largest difference of two elements; 0 where all are equal.
    pub largest_difference: f64,
    /// The largest magnitude of what was expected.
    pub largest_expected: f64,
    /// What was allowed, relative to the largest expected magnitude of a sample, or to 1.
    pub tolerance: f64,
    /// The first sample that is not as it must be, and why.
    pub failure: Option<String>,
}

/// Runs the model on all inputs and compares every output.
///
/// # Errors
/// The arrays do not belong to the model, or it does not run on them. A difference is no error.
pub fn check(runner: &mut Runner, arrays: &Arrays) -> Result<Vec<OutputCheck>, GoldenFileError> {
    let data = Data::read(runner, arrays)?;
    let start = |(spec, tolerance): (&TensorSpec, &f64)| OutputCheck {
        output: spec.name.clone(),
        samples: data.samples,
        largest_difference: 0.0,
        largest_expected: 0.0,
        // Integers and truth values are compared exactly.
        tolerance: if matches!(spec.dtype, DType::F32 | DType::F64) { *tolerance } else { 0.0 },
        failure: None,
    };
    let mut checks: Vec<OutputCheck> = data.card.outputs.iter().zip(&data.tolerances).map(start).collect();
    data.run(runner, |sample, vector, actual| {
        if let Err(error) = Golden::compare_status(&vector, actual.status()) {
            for check in &mut checks {
                check.failure.get_or_insert_with(|| format!("sample {sample}: {error}"));
            }
        }
        let outputs = data.card.outputs.iter().zip(&vector.outputs).zip(actual.outputs());
        for (check, ((spec, expected), actual)) in checks.iter_mut().zip(outputs) {
            let (wanted, found) = (values(spec, expected), values(spec, &actual.bytes));
            for (wanted, found) in wanted.zip(found) {
                check.largest_difference = check.largest_difference.max(difference(wanted, found));
                check.largest_expected = check.largest_expected.max(wanted.abs());
            }
            let verdict = compare(spec, check.tolerance, expected, &actual.bytes);
            if let (Err(error), None) = (verdict, &check.failure) {
                check.failure = Some(format!("sample {sample}: {error}"));
            }
        }
        Ok(())
    })?;
    Ok(checks)
}

/// Golden data from what the model gives: its inputs, its outputs, and the tolerances of some of them; where it
/// refuses a sample, the status. Each sample is run as a device will, in a call of its own and after a reset.
///
/// # Errors
/// The inputs do not fit, the model does not run on them, or there are more than [`MAX_VECTORS`].
pub fn record(
    runner: &mut Runner,
    inputs: &BTreeMap<String, Tensor>,
    tolerances: &BTreeMap<String, f64>,
) -> Result<Arrays, GoldenFileError> {
    let rows = runner.fit(inputs)?;
    let samples = usize::try_from(rows.samples).unwrap_or(usize::MAX);
    if samples > MAX_VECTORS {
        return Err(GoldenError::Count(samples).into());
    }
    let card = runner.card().clone();
    if let Some(name) = tolerances.keys().find(|name| !card.outputs.iter().any(|spec| spec.name == **name)) {
        return Err(bad(format!("cannot have a tolerance for {name:?}, which is no output")));
    }
    let answers: Result<Vec<_>, RunError> =
        (0..rows.samples).map(|index| Ok((1, answer(runner, &rows, index)?))).collect();
    let replay = joined(&card, rows.stacked, answers?)?;
    let mut arrays = Arrays::new();
    if replay.refused() > 0 {
        arrays.insert(STATUS.to_string(), replay.status_tensor());
    }
    arrays.extend(replay.outputs.into_iter().map(|(name, tensor)| (format!("output/{name}"), tensor)));
    arrays.extend(rows.named(&card).into_iter().map(|(name, tensor)| (format!("input/{name}"), tensor)));
    for (name, tolerance) in tolerances {
        let bytes = tolerance.to_le_bytes().to_vec();
        let tensor = Tensor { dtype: DType::F64, shape: Vec::new(), bytes };
        arrays.insert(format!("tolerance/{name}"), tensor);
    }
    Ok(arrays)
}

/// The bytes of a release's attachment, and how many vectors it holds.
pub(crate) fn pack(runner: &mut Runner, arrays: &Arrays) -> Result<(Vec<u8>, usize), GoldenFileError> {
    let data = Data::read(runner, arrays)?;
    let count = usize::try_from(data.samples).unwrap_or(usize::MAX);
    if count > MAX_VECTORS {
        return Err(GoldenError::Count(count).into());
    }
    let mut golden = Golden { tolerances: data.tolerances.clone(), vectors: Vec::new() };
    data.run(runner, |_, vector, actual| {
        let number = golden.vectors.len();
        Golden::compare_status(&vector, actual.status())
            .map_err(|error| GoldenFileError::Failed { vector: number, error })?;
        for (output, (wanted, found)) in vector.outputs.iter().zip(actual.outputs()).enumerate() {
            golden
                .compare(&data.card, output, wanted, &found.bytes)
                .map_err(|error| GoldenFileError::Failed { vector: number, error })?;
        }
        golden.vectors.push(vector);
        Ok(())
    })?;
    Ok((golden.encode(&data.card)?, count))
}

fn values(spec: &TensorSpec, bytes: &[u8]) -> impl Iterator<Item = f64> {
    dunlin_core::drift::values(spec.dtype, bytes)
}

/// How far two numbers are apart; without bound where one of them is NaN.
pub(crate) fn difference(a: f64, b: f64) -> f64 {
    let same = a == b || a.is_nan() && b.is_nan();
    let apart = if same { 0.0 } else { (a - b).abs() };
    if apart.is_nan() { f64::INFINITY } else { apart }
}

/// A golden file that belongs to a model.
struct Data {
    card: Card,
    inputs: Rows,
    samples: u64,
    expected: Vec<Tensor>,
    /// Of each sample, 0 for outputs.
    statuses: Vec<u8>,
    tolerances: Vec<f64>,
}

impl Data {
    fn read(runner: &Runner, arrays: &Arrays) -> Result<Data, GoldenFileError> {
        let card = runner.card().clone();
        refuse_foreign(&card, arrays)?;
        let mut inputs = BTreeMap::new();
        for spec in &card.inputs {
            inputs.insert(spec.name.clone(), array(arrays, "input", spec)?.clone());
        }
        let inputs = runner.fit(&inputs)?;
        let samples = inputs.samples;
        let mut expected = Vec::new();
        for spec in &card.outputs {
            let cast = array(arrays, "output", spec)?.cast(spec.dtype);
            let mut output = cast.map_err(|error| bad(format!("has output {:?}: {error}", spec.name)))?;
            if !spec.is_batched() && output.shape.len() == spec.shape.len() {
                output.shape.insert(0, 1);
            }
            expected.push(output);
        }
        let tolerances: Result<_, _> = card.outputs.iter().map(|spec| tolerance(arrays, spec)).collect();
        let statuses = statuses(arrays, samples)?;
        Ok(Data { card, inputs, samples, expected, statuses, tolerances: tolerances? })
    }

    /// Runs sample after sample, and gives each with what is expected and what came.
    fn run(
        &self,
        runner: &mut Runner,
        mut each: impl FnMut(u64, GoldenVector, &Answer) -> Result<(), GoldenFileError>,
    ) -> Result<(), GoldenFileError> {
        for index in 0..self.samples {
            let actual = answer(runner, &self.inputs, index)?;
            let place = usize::try_from(index).unwrap_or(usize::MAX);
            let status = self.statuses.get(place).copied().unwrap_or_default();
            let expected = if status == 0 { &self.expected[..] } else { &[] };
            if status == 0 {
                self.expect_shapes(actual.outputs())?;
            }
            let vector = GoldenVector {
                inputs: self.inputs.bytes(index, 1).collect(),
                outputs: expected.iter().map(|output| output.rows(index, index + 1).bytes).collect(),
                status,
            };
            each(index, vector, &actual)?;
        }
        Ok(())
    }

    /// Every expected output is as many samples of what the model gave.
    fn expect_shapes(&self, actual: &[Tensor]) -> Result<(), GoldenFileError> {
        for (spec, (given, actual)) in self.card.outputs.iter().zip(self.expected.iter().zip(actual)) {
            let extents = actual.shape.get(usize::from(spec.is_batched())..).unwrap_or_default();
            let wanted = [&[self.samples], extents].concat();
            if given.shape != wanted {
                let (name, found) = (&spec.name, &given.shape);
                return Err(bad(format!("has output {name:?} of shape {found:?}, not {wanted:?}")));
            }
        }
        Ok(())
    }
}

/// Runs one sample as a device runs a golden vector.
fn answer(runner: &mut Runner, inputs: &Rows, index: u64) -> Result<Answer, RunError> {
    runner.reset()?;
    match runner.call(inputs, index, 1) {
        Ok(outputs) => Ok(Answer::Outputs(outputs)),
        Err(RunError::Call(CallError::Model { status })) => Ok(Answer::Status(status)),
        Err(error) => Err(error),
    }
}

fn bad(what: String) -> GoldenFileError {
    GoldenFileError::File(what)
}

fn refuse_foreign(card: &Card, arrays: &Arrays) -> Result<(), GoldenFileError> {
    let known = |key: &str, kind: &str, specs: &[TensorSpec]| {
        key.strip_prefix(kind).is_some_and(|name| specs.iter().any(|spec| spec.name == name))
    };
    let foreign = arrays.keys().find(|key| {
        !(*key == STATUS
            || known(key, "input/", &card.inputs)
            || known(key, "output/", &card.outputs)
            || known(key, "tolerance/", &card.outputs))
    });
    match foreign {
        Some(key) => Err(bad(format!("has the array {key:?}, which belongs to no tensor"))),
        None => Ok(()),
    }
}

fn array<'a>(arrays: &'a Arrays, kind: &str, spec: &TensorSpec) -> Result<&'a Tensor, GoldenFileError> {
    let key = format!("{kind}/{}", spec.name);
    arrays.get(&key).ok_or_else(|| bad(format!("has no array {key:?}")))
}

fn statuses(arrays: &Arrays, samples: u64) -> Result<Vec<u8>, GoldenFileError> {
    let Some(tensor) = arrays.get(STATUS) else { return Ok(Vec::new()) };
    let cast = tensor.cast(DType::U8).map_err(|error| bad(format!("has the array {STATUS:?}: {error}")))?;
    if cast.shape != [samples] {
        return Err(bad(format!("has the array {STATUS:?} of shape {:?}, not {:?}", cast.shape, [samples])));
    }
    Ok(cast.bytes)
}

fn tolerance(arrays: &Arrays, spec: &TensorSpec) -> Result<f64, GoldenFileError> {
    let key = format!("tolerance/{}", spec.name);
    let Some(tensor) = arrays.get(&key) else { return Ok(DEFAULT_TOLERANCE) };
    match tensor.to_f64()[..] {
        [value] if value.is_finite() && value >= 0.0 => Ok(value),
        _ => Err(bad(format!("has the array {key:?}, which is not one number of at least 0"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{adder, arrays};

    fn data(y: &[f32]) -> Arrays {
        arrays(&[
            ("input/x", Tensor::from_f32(&[2, 2], &[1., 2., 3., 400.])),
            ("output/y", Tensor::from_f32(&[2, 2], y)),
        ])
    }

    #[test]
    fn a_difference_is_told_with_its_size_and_its_place() {
        let mut runner = Runner::load(adder()).unwrap();
        let good = check(&mut runner, &data(&[2., 3., 4., 401.])).unwrap();
        assert_eq!((good[0].largest_difference, &good[0].failure), (0.0, &None));
        assert_eq!((good[0].samples, good[0].largest_expected, good[0].tolerance), (2, 401.0, 1e-4));
        let wrong = check(&mut runner, &data(&[2., 3.5, 4., 401.])).unwrap();
        assert_eq!(wrong[0].largest_difference, 0.5);
        assert!(wrong[0].failure.as_ref().unwrap().starts_with("sample 0: element 1 is 3"), "{wrong:?}");
        // The tolerance is of a sample's largest number; the first sample's is 1.
        let near = check(&mut runner, &data(&[2., 3., 4., 401.03])).unwrap();
        assert_eq!(near[0].failure, None);
        let nan = check(&mut runner, &data(&[f32::NAN, 3., 4., 401.])).unwrap();
        assert!(nan[0].failure.is_some() && nan[0].largest_difference == f64::INFINITY);
    }

    #[test]
    fn what_is_recorded_is_reproduced() {
        let mut runner = Runner::load(adder()).unwrap();
        let inputs = arrays(&[("x", Tensor::from_f32(&[4, 2], &[1., 2., 3., 4., 5., 6., 7., 8.]))]);
        let tolerances = BTreeMap::from([("y".to_string(), 0.5)]);
        let recorded = record(&mut runner, &inputs, &tolerances).unwrap();
        assert_eq!(recorded.keys().collect::<Vec<_>>(), ["input/x", "output/y", "tolerance/y"]);
        assert_eq!(check(&mut runner, &recorded).unwrap()[0].tolerance, 0.5);
        assert_eq!(pack(&mut runner, &recorded).unwrap().1, 4);
        let foreign = BTreeMap::from([("z".to_string(), 0.5)]);
        assert!(record(&mut runner, &inputs, &foreign).unwrap_err().to_string().contains("no output"));
        let many = arrays(&[("x", Tensor::from_f32(&[1025, 2], &[0.0; 2050]))]);
        assert!(matches!(record(&mut runner, &many, &tolerances), Err(GoldenFileError::Pack(_))));
    }

    #[test]
    fn data_of_another_model_are_refused() {
        let mut runner = Runner::load(adder()).unwrap();
        let mut foreign = data(&[0.; 4]);
        foreign.insert("output/z".into(), Tensor::from_f32(&[1], &[0.]));
        let error = check(&mut runner, &foreign).unwrap_err();
        assert_eq!(error.code().id, "tensor-shape");
        assert_eq!(
            error.to_string(),
            "the golden file has the array \"output/z\", which belongs to no tensor"
        );
    }
}
