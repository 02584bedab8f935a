//! The comparison of a compiled model with the evaluator.

use dunlin_abi::{DType, Dim, Simd};
use dunlin_compiler::Options;

use crate::builder::{D, Model};
use crate::choices::{Batch, Choices, Spread, fixed};
use crate::evaluator::{Array, Kind, evaluate};
use crate::onnx::attribute_proto::AttributeType;
use crate::onnx::tensor_proto::DataType;
use crate::onnx::{AttributeProto, NodeProto, TensorProto};
use crate::run::Running;

/// How far a number may be from the expected one.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// Times the expected number.
    pub each: f64,
    /// Times the largest finite expected number of the tensor, or 1.
    pub whole: f64,
    /// As it is.
    pub floor: f64,
}

/// Numbers that are moved, chosen or compared.
pub const EXACT: Tolerance = Tolerance { each: 0.0, whole: 0.0, floor: 0.0 };
/// One operation that IEEE 754 rounds; results may be subnormal.
pub const ROUNDED: Tolerance = Tolerance { each: 1.2e-7, whole: 0.0, floor: 3e-45 };
/// A function that is approximated.
pub const CURVE: Tolerance = Tolerance { each: 2e-6, whole: 0.0, floor: 1e-6 };
/// Sums of many numbers, in any order.
pub const SUMS: Tolerance = Tolerance { each: 0.0, whole: 1e-5, floor: 0.0 };

/// A model with its inputs.
pub struct Case {
    pub model: Model,
    pub inputs: Vec<(String, Array)>,
    pub options: Options,
    pub tolerance: Tolerance,
}

impl Case {
    /// An empty model at a random SIMD level.
    pub fn new(c: &mut Choices, opset: i64, batch: Batch, tolerance: Tolerance) -> Case {
        let simd = c.one_of(&[Simd::Relaxed, Simd::Deterministic, Simd::None]);
        let options = Options { simd, max_batch: batch.max.unwrap_or(1) as u32, ..Options::default() };
        Case { model: Model::new(opset), inputs: vec![], options, tolerance }
    }

    /// Adds an input, its first axis the batch.
    pub fn input(&mut self, c: &mut Choices, name: &str, batch: Batch, sample: &[usize], spread: Spread) {
        let array = c.floats(&batch.shape(sample), spread);
        self.given(name, &batch.dims(sample), array);
    }

    /// Adds an input with these numbers.
    pub fn given(&mut self, name: &str, dims: &[D], array: Array) {
        let array = array.rounded();
        let elem_type = match array.kind {
            Kind::Float => DataType::Float,
            Kind::Double => DataType::Double,
            Kind::Int => DataType::Int64,
            Kind::Bool => DataType::Bool,
        };
        self.edit(|model| model.typed_input(name, dims, elem_type));
        self.inputs.push((name.into(), array));
    }

    /// Adds a constant of random floats.
    pub fn weights(&mut self, c: &mut Choices, name: &str, shape: &[usize], spread: Spread) {
        let array = c.floats(shape, spread);
        self.values(name, &array);
    }

    /// Adds a constant of floats.
    pub fn values(&mut self, name: &str, array: &Array) {
        let dims: Vec<i64> = array.shape.iter().map(|e| *e as i64).collect();
        let values: Vec<f32> = array.data.iter().map(|v| *v as f32).collect();
        self.edit(|model| model.f32(name, &dims, &values));
    }

    /// Adds a list of int64.
    pub fn list(&mut self, name: &str, values: &[i64]) {
        self.edit(|model| model.i64(name, &[values.len() as i64], values));
    }

    pub fn constant(&mut self, tensor: TensorProto) {
        self.edit(|model| model.constant(tensor));
    }

    pub fn node(&mut self, op: &str, inputs: &[&str], output: &str, attributes: &[AttributeProto]) {
        self.edit(|model| model.node(op, inputs, output, attributes));
    }

    pub fn nodes(&mut self, op: &str, inputs: &[&str], outputs: &[&str], attributes: &[AttributeProto]) {
        self.edit(|model| model.nodes(op, inputs, outputs, attributes));
    }

    pub fn outputs(&mut self, names: &[&str]) {
        names.iter().for_each(|name| self.edit(|model| model.output(name)));
    }

    fn edit(&mut self, f: impl FnOnce(Model) -> Model) {
        let model = std::mem::replace(&mut self.model, Model::new(0));
        self.model = f(model);
    }

    /// Adds the last node, which makes `y`, and compares.
    pub fn finish(mut self, op: &str, inputs: &[&str], attributes: &[AttributeProto]) {
        self.node(op, inputs, "y", attributes);
        self.outputs(&["y"]);
        self.agree();
    }

    pub fn agree(&self) {
        let inputs: Vec<(&str, Array)> =
            self.inputs.iter().map(|(name, array)| (name.as_str(), array.clone())).collect();
        agree(&self.model, &inputs, &self.options, self.tolerance);
    }
}

/// No batch axis: inputs have the shapes that they have.
pub const NO_BATCH: Batch = Batch { samples: 1, max: None };

/// Adds an input without a batch axis.
pub fn whole(case: &mut Case, c: &mut Choices, name: &str, shape: &[usize], spread: Spread) {
    let array = c.floats(shape, spread);
    case.given(name, &fixed(shape), array);
}

/// Compiles the model, runs it and compares every output, its type and its shape with the evaluator's.
///
/// An input has its batch in its first axis. The module runs on other numbers first, so that nothing which
/// it leaves behind may matter.
pub fn agree(model: &Model, inputs: &[(&str, Array)], options: &Options, tolerance: Tolerance) {
    let expected = evaluate(&model.proto, inputs);
    let told = || describe(model, inputs, options);
    let onnx = model.bytes();
    if let Err(error) = dunlin_compiler::compile(&onnx, options) {
        panic!("{error}\n{}", told());
    }
    let mut running = Running::new(&onnx, options);
    let card = running.compiled.report.card.clone();
    let batched = card.inputs[0].shape.first() == Some(&Dim::Batch);
    let samples = if batched { inputs[0].1.shape[0] } else { 1 };
    let stale: Vec<Vec<u8>> = inputs.iter().map(|(_, x)| bytes(&x.map(|_| f64::NAN))).collect();
    let fresh: Vec<Vec<u8>> = inputs.iter().map(|(_, x)| bytes(x)).collect();
    for data in [&stale, &fresh] {
        for (index, data) in (0i32..).zip(data) {
            running.write_bytes(index, data);
        }
        assert_eq!(running.status(samples as i32), 0, "status\n{}", told());
    }
    for (index, data) in (0i32..).zip(&fresh) {
        assert!(running.input_bytes(index, data.len()) == *data, "input {index} was written\n{}", told());
    }
    assert_eq!(card.outputs.len(), expected.len(), "outputs\n{}", told());
    for (index, (declared, expected)) in card.outputs.iter().zip(&expected).enumerate() {
        let extent = |dim: &Dim| match dim {
            Dim::Batch => samples,
            Dim::Fixed(extent) => *extent as usize,
            other => panic!("{other:?}"),
        };
        let shape: Vec<usize> = declared.shape.iter().map(extent).collect();
        assert_eq!(shape, expected.shape, "shape of output {index}\n{}", told());
        let kind = kind_of(declared.dtype);
        assert_eq!(kind, expected.kind, "type of output {index}\n{}", told());
        let raw = running.read_bytes(index as i32, expected.data.len() * size_of_dtype(declared.dtype));
        for (place, (a, e)) in numbers_of(&raw, declared.dtype).iter().zip(&expected.data).enumerate() {
            let fault = fault(*a, *e, &expected.data, tolerance);
            assert!(!fault, "output {index}, number {place} is {a:e}, expected {e:e}\n{}", told());
        }
    }
}

fn fault(actual: f64, expected: f64, all: &[f64], tolerance: Tolerance) -> bool {
    if actual == expected || actual.is_nan() && expected.is_nan() {
        return false;
    }
    let finite = all.iter().filter(|v| v.is_finite());
    let scale = finite.fold(1.0f64, |max, v| max.max(v.abs()));
    let allowed = tolerance.each * expected.abs() + tolerance.whole * scale + tolerance.floor;
    let distance = (actual - expected).abs();
    !distance.is_finite() || distance > allowed
}

fn bytes(x: &Array) -> Vec<u8> {
    let number = |v: &f64| match x.kind {
        Kind::Float => (*v as f32).to_le_bytes().to_vec(),
        Kind::Double => v.to_le_bytes().to_vec(),
        Kind::Int => (*v as i64).to_le_bytes().to_vec(),
        Kind::Bool => vec![u8::from(*v == 1.0)],
    };
    x.data.iter().flat_map(number).collect()
}

fn kind_of(dtype: DType) -> Kind {
    match dtype {
        DType::F32 => Kind::Float,
        DType::F64 => Kind::Double,
        DType::I32 | DType::I64 => Kind::Int,
        DType::Bool => Kind::Bool,
        other => panic!("{other:?}"),
    }
}

fn size_of_dtype(dtype: DType) -> usize {
    match dtype {
        DType::F64 | DType::I64 => 8,
        DType::Bool => 1,
        _ => 4,
    }
}

fn numbers_of(bytes: &[u8], dtype: DType) -> Vec<f64> {
    let number = |word: &[u8]| match dtype {
        DType::F32 => f64::from(f32::from_le_bytes(word.try_into().unwrap())),
        DType::F64 => f64::from_le_bytes(word.try_into().unwrap()),
        DType::I32 => f64::from(i32::from_le_bytes(word.try_into().unwrap())),
        DType::I64 => i64::from_le_bytes(word.try_into().unwrap()) as f64,
        _ => f64::from(word[0]),
    };
    bytes.chunks_exact(size_of_dtype(dtype)).map(number).collect()
}

/// The model for people: what the bytes of a failing case do not tell.
fn describe(model: &Model, inputs: &[(&str, Array)], options: &Options) -> String {
    let graph = model.proto.graph.as_ref().unwrap();
    let opset = model.proto.opset_import[0].version();
    let mut lines = vec![format!("opset {opset}, {:?}, max_batch {}", options.simd, options.max_batch)];
    for (info, (name, array)) in graph.input.iter().zip(inputs) {
        let dims = &info.r#type.as_ref().unwrap().value;
        let batched = format!("{dims:?}").contains("DimParam");
        let batch = if batched { ", its first axis the batch" } else { "" };
        lines.push(format!("input {name}: {:?} {:?}{batch}", array.kind, array.shape));
    }
    for tensor in &graph.initializer {
        let short = tensor.int64_data.len() + tensor.int32_data.len() > 0;
        let values = if short { format!(" = {:?}", Array::from_proto(tensor).data) } else { String::new() };
        lines.push(format!("constant {}: {:?}{values}", tensor.name(), tensor.dims));
    }
    lines.extend(graph.node.iter().map(line));
    lines.join("\n")
}

fn line(node: &NodeProto) -> String {
    let value = |a: &AttributeProto| match a.r#type() {
        AttributeType::Float => format!("{}", a.f()),
        AttributeType::Int => format!("{}", a.i()),
        AttributeType::String => String::from_utf8_lossy(a.s()).into_owned(),
        AttributeType::Floats => format!("{:?}", a.floats),
        AttributeType::Ints => format!("{:?}", a.ints),
        AttributeType::Strings => {
            format!("{:?}", a.strings.iter().map(|s| String::from_utf8_lossy(s)).collect::<Vec<_>>())
        }
        _ => "...".into(),
    };
    let attributes: Vec<String> =
        node.attribute.iter().map(|a| format!("{}={}", a.name(), value(a))).collect();
    let (outputs, inputs) = (node.output.join(", "), node.input.join(", "));
    format!("{outputs} = {}({inputs}) {}", node.op_type(), attributes.join(" "))
}
