//! Inputs and outputs that are not float32: indices that pick slabs, truth values that choose.

use dunlin_abi::{DType, Simd};
use dunlin_compiler::{Options, compile};

use crate::builder::{D, Model, int, value_info};
use crate::onnx::tensor_proto::DataType;
use crate::run::Running;

const LEVELS: [Simd; 3] = [Simd::Relaxed, Simd::Deterministic, Simd::None];

/// An embedding of 7 rows of 5 numbers, over `[n, 3]` indices.
fn embedding(dtype: DataType) -> Model {
    let table: Vec<f32> = (0..35u8).map(f32::from).collect();
    let mut model = Model::new(17);
    model.graph().input.push(value_info("ids", &[D::Symbol("n"), D::Fixed(3)], dtype));
    model.f32("table", &[7, 5], &table).node("Gather", &["table", "ids"], "y", &[int("axis", 0)]).output("y")
}

#[test]
fn indices_pick_rows_from_both_ends_and_never_read_elsewhere() {
    let ids = [[0i64, 6, -1], [-7, 3, 2], [7, i64::MAX, i64::MIN]];
    let rows = [[0, 6, 6], [0, 3, 2], [6, 6, 6]];
    let expected: Vec<f32> =
        rows.iter().flatten().flat_map(|row| (row * 5..row * 5 + 5).map(|v| v as f32)).collect();
    for simd in LEVELS {
        let options = Options { max_batch: 3, simd, ..Options::default() };
        let mut running = Running::new(&embedding(DataType::Int64).bytes(), &options);
        assert_eq!(running.compiled.report.card.inputs[0].dtype, DType::I64);
        let bytes: Vec<u8> = ids.iter().flatten().flat_map(|id| id.to_le_bytes()).collect();
        running.write_bytes(0, &bytes);
        assert_eq!(running.status(3), 0);
        assert_eq!(running.read(0, 3), expected);
    }
}

#[test]
fn indices_of_32_bits_are_read_as_they_are() {
    let mut running = Running::new(&embedding(DataType::Int32).bytes(), &Options::default());
    let bytes: Vec<u8> = [2i32, -1, 1].iter().flat_map(|id| id.to_le_bytes()).collect();
    running.write_bytes(0, &bytes);
    assert_eq!(running.status(1), 0);
    assert_eq!(running.read(0, 1)[..6], [10.0, 11.0, 12.0, 13.0, 14.0, 30.0]);
}

#[test]
fn integers_become_numbers_only_where_the_model_casts_them() {
    let mut model = Model::new(17);
    model.graph().input.push(value_info("x", &[D::Fixed(4)], DataType::Int64));
    let cast = model.clone().node("Cast", &["x"], "y", &[int("to", DataType::Float as i64)]).output("y");
    let mut running = Running::new(&cast.bytes(), &Options::default());
    let bytes: Vec<u8> = [3i64, -2, 0, 70_000].iter().flat_map(|v| v.to_le_bytes()).collect();
    running.write_bytes(0, &bytes);
    assert_eq!(running.status(1), 0);
    assert_eq!(running.read(0, 1), [3.0, -2.0, 0.0, 70_000.0]);
    let wrong = model.node("Sqrt", &["x"], "y", &[]).output("y");
    let error = compile(&wrong.bytes(), &Options::default()).unwrap_err().to_string();
    assert!(error.contains("is i64, not f32"), "{error}");
}

#[test]
fn truth_values_come_in_and_go_out_as_bytes() {
    for simd in LEVELS {
        let mut model = Model::new(17);
        model.graph().input.push(value_info("c", &[D::Fixed(6)], DataType::Bool));
        let model = model
            .input("x", &[D::Fixed(6)])
            .f32("zero", &[], &[0.0])
            .node("Where", &["c", "x", "zero"], "y", &[])
            .node("Greater", &["y", "zero"], "positive", &[])
            .output("y")
            .output("positive");
        let mut running = Running::new(&model.bytes(), &Options { simd, ..Options::default() });
        assert_eq!(running.compiled.report.card.outputs[1].dtype, DType::Bool);
        running.write_bytes(0, &[1, 0, 255, 1, 0, 1]);
        running.write(1, &[1.0, 2.0, 3.0, -4.0, 5.0, f32::NAN]);
        assert_eq!(running.status(1), 0);
        let y = running.read(0, 1);
        assert_eq!(y[..5], [1.0, 0.0, 3.0, -4.0, 0.0]);
        assert!(y[5].is_nan());
        assert_eq!(running.read_bytes(1, 6), [1, 0, 1, 0, 0, 0]);
    }
}
