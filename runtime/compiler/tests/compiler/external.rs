//! Weights in files beside the model.

use std::cell::RefCell;

use dunlin_compiler::{CompileError, External, MAX_ONNX_BYTES, Options, compile, compile_with};
use dunlin_core::code::Coded as _;

use crate::builder::{D, Model, f32_tensor, i64_tensor, numbers, tensor};
use crate::onnx::tensor_proto::{DataLocation, DataType};
use crate::onnx::{StringStringEntryProto, TensorProto};

/// One file, and what was read of it.
struct Beside {
    bytes: Vec<u8>,
    reads: RefCell<Vec<(String, u64, u64)>>,
}

impl Beside {
    fn new(bytes: Vec<u8>) -> Beside {
        Beside { bytes, reads: RefCell::default() }
    }
}

impl External for Beside {
    fn read(&self, location: &str, offset: u64, length: u64) -> Result<Vec<u8>, String> {
        self.reads.borrow_mut().push((location.to_string(), offset, length));
        let end = offset.checked_add(length).ok_or("too far")?;
        let range = usize::try_from(offset).unwrap()..usize::try_from(end).unwrap();
        self.bytes.get(range).map(<[u8]>::to_vec).ok_or_else(|| "it is too short".to_string())
    }
}

/// The tensor with its numbers taken out into `file` at an offset.
fn external(tensor: TensorProto, properties: &[(&str, &str)]) -> TensorProto {
    let entry = |(key, value): &(&str, &str)| StringStringEntryProto {
        key: Some((*key).into()),
        value: Some((*value).into()),
    };
    TensorProto {
        raw_data: None,
        int64_data: vec![],
        data_location: Some(DataLocation::External as i32),
        external_data: properties.iter().map(entry).collect(),
        ..tensor
    }
}

fn model(w: TensorProto, s: TensorProto, unused: Option<TensorProto>) -> Model {
    let model = Model::new(17).input("x", &[D::Symbol("n"), D::Fixed(4)]).constant(w);
    let model = unused.into_iter().fold(model, Model::constant);
    model
        .node("Constant", &[], "s", &[tensor("value", s)])
        .node("MatMul", &["x", "w"], "h", &[])
        .node("Reshape", &["h", "s"], "y", &[])
        .output("y")
}

#[test]
fn a_model_in_two_files_is_the_model_in_one() {
    let (w, s) = (f32_tensor("w", &[4, 6], &numbers(1, 24)), i64_tensor("s", &[3], &[-1, 2, 3]));
    let whole = compile(&model(w.clone(), s.clone(), None).bytes(), &Options::default()).unwrap();
    let mut bytes = vec![7; 16];
    bytes.extend(w.raw_data.clone().unwrap());
    bytes.extend(s.int64_data.iter().flat_map(|number| number.to_le_bytes()));
    let beside = Beside::new(bytes);
    let w = external(w, &[("location", "m.data"), ("offset", "16"), ("length", "96")]);
    let s = external(s, &[("location", "m.data"), ("offset", "112"), ("checksum", "0")]);
    let unused = external(f32_tensor("u", &[1 << 20], &[]), &[("location", "none")]);
    let parts = model(w, s, Some(unused)).bytes();
    let parts = compile_with(&parts, &Options::default(), &beside).unwrap();
    // The card has the digest of the file; all else is the same.
    assert_eq!(parts.report.layers, whole.report.layers);
    assert_eq!(parts.wasm.len(), whole.wasm.len());
    let reads = beside.reads.into_inner();
    assert_eq!(reads, [("m.data".to_string(), 16, 96), ("m.data".to_string(), 112, 24)]);
}

/// Compiles with a changed description of w, and checks the code and the message.
fn refused(w: TensorProto, code: &str, parts: &[&str]) -> Vec<(String, u64, u64)> {
    let beside = Beside::new(vec![0; 96]);
    let model = model(w, i64_tensor("s", &[3], &[-1, 2, 3]), None);
    let error = compile_with(&model.bytes(), &Options::default(), &beside).unwrap_err();
    assert_eq!(error.code().id, code, "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "{error} should contain {part:?}");
    }
    beside.reads.into_inner()
}

#[test]
fn descriptions_that_do_not_fit_are_refused_before_a_read() {
    let w = || f32_tensor("w", &[4, 6], &[]);
    let none: [(String, u64, u64); 0] = [];
    let wrong = [("offset", "-1"), ("offset", "x"), ("length", "95"), ("length", "18446744073709551616")];
    for (key, value) in wrong {
        let w = external(w(), &[("location", "m.data"), (key, value)]);
        assert_eq!(refused(w, "onnx-external-data", &["\"w\"", "\"m.data\"", key]), none);
    }
    assert_eq!(refused(external(w(), &[]), "onnx-malformed", &["\"w\"", "none is named"]), none);
    let half = TensorProto { data_type: Some(DataType::Float16 as i32), ..w() };
    assert_eq!(
        refused(external(half, &[("location", "m.data")]), "onnx-unsupported-dtype", &["float16"]),
        none
    );
    let huge = f32_tensor("w", &[1 << 15, 1 << 15], &[]);
    let huge = external(huge, &[("location", "m.data")]);
    assert_eq!(refused(huge, "onnx-too-large", &["other files", &MAX_ONNX_BYTES.to_string()]), none);
}

#[test]
fn a_file_that_is_too_short_is_named() {
    let w = external(f32_tensor("w", &[4, 6], &[]), &[("location", "m.data"), ("offset", "4")]);
    let reads = refused(w, "onnx-external-data", &["\"w\"", "\"m.data\"", "it is too short"]);
    assert_eq!(reads, [("m.data".to_string(), 4, 96)]);
}

#[test]
fn without_other_files_it_is_refused() {
    let w = external(f32_tensor("w", &[4, 6], &[]), &[("location", "m.data")]);
    let model = model(w, i64_tensor("s", &[3], &[-1, 2, 3]), None);
    let error = compile(&model.bytes(), &Options::default()).unwrap_err();
    assert!(matches!(error, CompileError::ExternalData { .. }), "{error}");
}
