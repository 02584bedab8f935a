//! Bad input is refused with a code and a message that helps, and never a panic.

use dunlin_compiler::{CompileError, Constant, ConstantData, Options, compile};
use dunlin_core::code::Coded as _;
use proptest::prelude::*;

use crate::builder::{D, Model, f32_tensor, int, numbers, string, value_info};
use crate::onnx::tensor_proto::{DataLocation, DataType};
use crate::onnx::{NodeProto, StringStringEntryProto, TensorProto};

fn good() -> Model {
    Model::new(17)
        .input("x", &[D::Symbol("n"), D::Fixed(4)])
        .f32("w", &[4, 3], &numbers(1, 12))
        .f32("b", &[3], &numbers(2, 3))
        .i64("s", &[2], &[0, -1])
        .node("Gemm", &["x", "w", "b"], "g", &[int("transB", 0)])
        .node("Relu", &["g"], "r", &[])
        .node("Reshape", &["r", "s"], "f", &[])
        .node("Softmax", &["f"], "y", &[])
        .output("y")
}

/// Compiles a changed model and checks the code and the message.
fn refused(model: &Model, code: &str, parts: &[&str]) {
    let error = compile(&model.bytes(), &Options::default()).expect_err(code);
    assert_eq!(error.code().id, code, "{error}");
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{text:?} should contain {part:?}");
    }
}

/// The model with one change.
fn changed(change: impl FnOnce(&mut Model)) -> Model {
    let mut model = good();
    change(&mut model);
    model
}

#[test]
fn the_good_model_is_good() {
    assert!(compile(&good().bytes(), &Options::default()).is_ok());
}

#[test]
fn a_file_that_is_no_model_is_refused() {
    for bytes in [&b""[..], b"\0asm\x01\0\0\0", b"hello", &[0xff; 40]] {
        let error = compile(bytes, &Options::default()).unwrap_err();
        assert!(["onnx-malformed", "onnx-version"].contains(&error.code().id), "{error}");
    }
}

#[test]
fn a_truncated_file_is_refused() {
    let bytes = good().bytes();
    for length in 0..bytes.len() {
        assert!(compile(&bytes[..length], &Options::default()).is_err(), "{length} of {}", bytes.len());
    }
}

#[test]
fn unknown_versions_are_refused() {
    refused(&changed(|m| m.proto.ir_version = Some(99)), "onnx-version", &["IR version 99"]);
    refused(&changed(|m| m.proto.opset_import[0].version = Some(6)), "onnx-version", &["opset 6", "7 to"]);
    refused(&changed(|m| m.proto.opset_import.clear()), "onnx-malformed", &["opset", "Gemm"]);
}

#[test]
fn every_unsupported_node_is_named_in_one_report() {
    let model = changed(|model| {
        let node = |op: &str, domain: &str, name: &str, input: &str, output: &str| NodeProto {
            op_type: Some(op.into()),
            domain: Some(domain.into()),
            name: Some(name.into()),
            input: vec![input.into()],
            output: vec![output.into()],
            ..Default::default()
        };
        model.graph().node.push(node("Scan", "", "first", "r", "e"));
        model.graph().node.push(node("Scaler", "ai.onnx.ml", "second", "e", "sc"));
        model.graph().node.push(node("Tanh", "", "known", "sc", "t"));
        model.graph().node.push(node("Loop", "", "third", "t", "l"));
    });
    let error = compile(&model.bytes(), &Options::default()).unwrap_err();
    let CompileError::Unsupported(nodes) = &error else { panic!("{error}") };
    let named: Vec<(&str, &str)> = nodes.iter().map(|n| (n.operator.as_str(), n.node.as_str())).collect();
    assert_eq!(named, [("Scan", "first"), ("ai.onnx.ml.Scaler", "second"), ("Loop", "third")]);
    assert!(nodes.iter().all(|node| !node.reason.is_empty() && !node.remedy.is_empty()));
    assert_eq!(error.code().id, "onnx-unsupported-operator");
}

#[test]
fn further_outputs_are_refused_where_anything_reads_them() {
    let dropout = |model: &mut Model| {
        model.graph().node[1].op_type = Some("Dropout".into());
        model.graph().node[1].output.push("mask".into());
    };
    assert!(compile(&changed(dropout).bytes(), &Options::default()).is_ok(), "nobody reads the mask");
    let read = changed(|model| {
        dropout(model);
        model.graph().node[2].input[0] = "mask".into();
    });
    refused(&read, "onnx-unsupported-operator", &["Dropout", "\"mask\""]);
    let output = changed(|model| {
        dropout(model);
        model.graph().output[0].name = Some("mask".into());
    });
    refused(&output, "onnx-unsupported-operator", &["Dropout", "\"mask\""]);
}

#[test]
fn unknown_attributes_and_forms_are_refused() {
    refused(
        &changed(|m| m.graph().node[0].attribute.push(int("transC", 1))),
        "onnx-unsupported-operator",
        &["Gemm", "transC"],
    );
    refused(&changed(|m| m.graph().node[0].attribute[0].i = Some(2)), "onnx-malformed", &["transB", "2"]);
    refused(
        &changed(|m| m.graph().node[0].attribute[0] = string("transB", "1")),
        "onnx-malformed",
        &["type"],
    );
    refused(&changed(|m| m.graph().node[1].input.push("g".into())), "onnx-malformed", &["2 inputs"]);
}

#[test]
fn cycles_and_wrong_orders_are_refused() {
    refused(&changed(|m| m.graph().node[0].input[0] = "y".into()), "onnx-malformed", &["cycle", "\"g\""]);
    refused(&changed(|m| m.graph().node.swap(0, 1)), "onnx-malformed", &["not sorted"]);
    refused(&changed(|m| m.graph().node[1].input[0] = "r".into()), "onnx-malformed", &["cycle"]);
}

#[test]
fn missing_and_duplicate_names_are_refused() {
    refused(&changed(|m| m.graph().initializer.truncate(1)), "onnx-malformed", &["\"b\"", "no input"]);
    let doubled = changed(|m| {
        let w = m.graph().initializer[0].clone();
        m.graph().initializer.push(w);
    });
    refused(&doubled, "onnx-malformed", &["two tensors are named \"w\""]);
    refused(&changed(|m| m.graph().node[1].output[0] = "x".into()), "onnx-malformed", &["two tensors"]);
    refused(&changed(|m| m.graph().output[0].name = Some("z".into())), "onnx-malformed", &["\"z\""]);
    refused(&changed(|m| m.graph().output.clear()), "onnx-unsupported-form", &["no outputs"]);
    refused(&changed(|m| m.graph().node[1].output.clear()), "onnx-malformed", &["\"r\"", "no input"]);
    let twice = changed(|m| {
        let input = m.graph().input[0].clone();
        m.graph().input.push(input);
    });
    refused(&twice, "onnx-malformed", &["two inputs"]);
}

#[test]
fn tensors_whose_numbers_do_not_fit_are_refused() {
    let with = |tensor: TensorProto| changed(|m| m.graph().initializer[0] = tensor);
    let base = || f32_tensor("w", &[4, 3], &numbers(1, 12));
    refused(&with(TensorProto { dims: vec![4, 4], ..base() }), "onnx-malformed", &["48 bytes", "64"]);
    refused(&with(TensorProto { raw_data: Some(vec![0; 47]), ..base() }), "onnx-malformed", &["47 bytes"]);
    refused(&with(TensorProto { raw_data: None, ..base() }), "onnx-malformed", &["0 numbers"]);
    refused(&with(TensorProto { dims: vec![-4, -3], ..base() }), "onnx-malformed", &["-4"]);
    refused(&with(TensorProto { dims: vec![1 << 31, 1 << 31, 8], ..base() }), "onnx-too-large", &["\"w\""]);
    refused(&with(TensorProto { dims: vec![i64::MAX, 3], ..base() }), "onnx-malformed", &["no extent"]);
    let float16 = TensorProto { data_type: Some(DataType::Float16 as i32), ..base() };
    refused(&with(float16), "onnx-unsupported-dtype", &["\"w\"", "float16", "float32"]);
    let unknown = TensorProto { data_type: Some(999), ..base() };
    refused(&with(unknown), "onnx-unsupported-dtype", &["999"]);
    let external = TensorProto {
        data_location: Some(DataLocation::External as i32),
        external_data: vec![StringStringEntryProto {
            key: Some("location".into()),
            value: Some("/etc/passwd".into()),
        }],
        raw_data: None,
        ..base()
    };
    refused(&with(external), "onnx-external-data", &["\"w\"", "\"/etc/passwd\""]);
}

#[test]
fn shapes_that_do_not_go_together_are_refused() {
    let w = |dims: &[i64], n| f32_tensor("w", dims, &numbers(1, n));
    let fixed = changed(|m| {
        m.graph().initializer[0] = w(&[3, 4], 12);
        m.graph().input[0] = value_info("x", &[D::Fixed(2), D::Fixed(4)], DataType::Float);
    });
    refused(&fixed, "onnx-malformed", &["\"g\"", "go together"]);
    // A file may be for one batch size, or for shapes that were not given.
    let open = changed(|m| m.graph().initializer[0] = w(&[3, 4], 12));
    refused(&open, "onnx-unsupported-operator", &["\"g\"", "go together", "fix it"]);
    let options = Options { inputs: vec![("x".into(), vec![2, 4])], ..Options::default() };
    let error = compile(&open.bytes(), &options).unwrap_err();
    assert_eq!(error.code().id, "onnx-unsupported-operator");
    assert!(error.to_string().contains("give shapes that fit"), "{error}");
    refused(&changed(|m| m.graph().initializer[0] = w(&[12], 12)), "onnx-malformed", &["no matrix"]);
    let bias = changed(|m| {
        m.graph().initializer[1] = f32_tensor("b", &[2], &[0.0; 2]);
        m.graph().input[0] = value_info("x", &[D::Fixed(2), D::Fixed(4)], DataType::Float);
    });
    refused(&bias, "onnx-malformed", &["\"g\"", "go together"]);
}

#[test]
fn inputs_of_other_types_are_refused() {
    let dims = [D::Symbol("n"), D::Fixed(4)];
    let model = changed(|m| m.graph().input[0] = value_info("x", &dims, DataType::Int8));
    refused(&model, "onnx-unsupported-dtype", &["\"x\"", "int8"]);
    let model = changed(|m| m.graph().input[0].r#type = None);
    refused(&model, "onnx-malformed", &["no type"]);
    let model =
        changed(|m| m.graph().input[0] = value_info("x", &[D::Fixed(1), D::Fixed(-7)], DataType::Float));
    refused(&model, "onnx-malformed", &["-7"]);
}

#[test]
fn names_and_counts_that_no_card_can_hold_are_refused() {
    let model = changed(|m| {
        m.graph().input[0].name = Some("a\nb".into());
        m.graph().node[0].input[0] = "a\nb".into();
    });
    refused(&model, "compile-card", &[]);
    let no_inputs = Model::new(17).f32("c", &[2], &[1.0, 2.0]).node("Relu", &["c"], "y", &[]).output("y");
    refused(&no_inputs, "compile-card", &["inputs"]);
}

#[test]
fn a_model_that_fits_no_memory_is_refused_before_anything_is_allocated() {
    let huge = Model::new(17)
        .input("x", &[D::Symbol("n"), D::Fixed(1 << 20)])
        .node("Relu", &["x"], "y", &[])
        .output("y");
    let error = compile(&huge.bytes(), &Options { max_batch: 4096, ..Options::default() }).unwrap_err();
    assert!(["compile-memory", "compile-card"].contains(&error.code().id), "{error}");
    let product = Model::new(17)
        .input("x", &[D::Fixed(1 << 20), D::Fixed(1)])
        .input("z", &[D::Fixed(1), D::Fixed(1 << 20)])
        .node("MatMul", &["x", "z"], "y", &[])
        .output("y");
    refused(&product, "onnx-too-large", &["\"y\""]);
}

#[test]
fn folding_cannot_fill_the_memory() {
    // Each node would make a constant of 32 million numbers out of a file of some kilobytes.
    let (rows, columns) = (numbers(1, 1 << 12), numbers(2, 1 << 13));
    let model = Model::new(17).input("x", &[D::Fixed(1)]);
    let mut model = model.f32("r", &[1 << 12, 1], &rows).f32("c", &[1, 1 << 13], &columns);
    for index in 0..2 {
        model = model.node("Add", &["r", "c"], &format!("a{index}"), &[]);
    }
    let model = model.node("Relu", &["x"], "y", &[]).output("y");
    assert!(compile(&model.bytes(), &Options::default()).is_ok());
}

#[test]
fn graphs_that_would_take_for_ever_are_refused() {
    let mut long = Model::new(17).input("x", &[D::Fixed(1)]);
    for index in 0..=1 << 15 {
        long = long.node("Relu", &["x"], &format!("y{index}"), &[]);
    }
    refused(&long.output("y0"), "onnx-too-large", &["nodes"]);
    let axes: Vec<i64> = (0..100).collect();
    let wide = Model::new(17).input("x", &[D::Fixed(1)]).i64("axes", &[100], &axes);
    let wide = wide.node("Unsqueeze", &["x", "axes"], "y", &[]).output("y");
    refused(&wide, "onnx-malformed", &["axes"]);
}

#[test]
fn options_that_do_not_fit_are_refused() {
    let wrong = |options: Options, part: &str| {
        let error = compile(&good().bytes(), &options).unwrap_err();
        assert_eq!(error.code().id, "compile-option");
        assert!(error.to_string().contains(part), "{error}");
    };
    let constant = |shape: Vec<u32>, data| vec![("x".to_string(), Constant { shape, data })];
    wrong(Options { max_batch: 0, ..Options::default() }, "max_batch is 0");
    wrong(Options { max_batch: 5000, ..Options::default() }, "max_batch is 5000");
    wrong(Options { inputs: vec![("z".into(), vec![1])], ..Options::default() }, "no input \"z\"");
    wrong(Options { inputs: vec![("x".into(), vec![1, 5])], ..Options::default() }, "[n, 4]");
    let short = constant(vec![1, 4], ConstantData::F32(vec![0.0; 3]));
    wrong(Options { constants: short, ..Options::default() }, "3 numbers");
    // Integers are numbers of a float input, unless one has no float of its value.
    let integers = constant(vec![1, 4], ConstantData::I64(vec![16_777_217; 4]));
    wrong(Options { constants: integers, ..Options::default() }, "i64, and a number would change");
    let shape = constant(vec![4, 1], ConstantData::F32(vec![0.0; 4]));
    wrong(Options { constants: shape, ..Options::default() }, "[n, 4]");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = compile(&bytes, &Options::default());
    }

    #[test]
    fn mutated_files_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = good().bytes();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = compile(&bytes, &Options { max_batch: 2, ..Options::default() });
    }
}

#[test]
fn pads_of_every_size_are_refused_or_taken() {
    for pad in [i64::MIN, i32::MIN.into(), -(1 << 24), 1 << 24, i64::MAX] {
        let model = Model::new(17)
            .input("x", &[D::Fixed(4)])
            .i64("pads", &[2], &[0, pad])
            .node("Pad", &["x", "pads"], "y", &[])
            .output("y");
        assert!(compile(&model.bytes(), &Options::default()).is_err(), "{pad}");
    }
}

#[test]
fn nodes_of_many_operands_are_bounded() {
    let model = |operator: &str, count: usize| {
        let names = vec!["x"; count];
        Model::new(17)
            .input("x", &[D::Fixed(3)])
            .node(operator, &names, "y", &[int("axis", 0)][..usize::from(operator == "Concat")])
            .output("y")
    };
    for operator in ["Sum", "Max", "Mean", "Concat"] {
        assert!(compile(&model(operator, 2_000).bytes(), &Options::default()).is_ok(), "{operator}");
        let error = compile(&model(operator, 500_000).bytes(), &Options::default()).expect_err(operator);
        assert_eq!(error.code().id, "onnx-too-large", "{error}");
    }
}

#[test]
fn splits_that_overflow_are_refused() {
    let model = Model::new(17)
        .input("x", &[D::Fixed(4)])
        .i64("split", &[2], &[i64::MAX, i64::MAX])
        .nodes("Split", &["x", "split"], &["y", "z"], &[])
        .output("y");
    refused(&model, "onnx-malformed", &["do not divide"]);
}
