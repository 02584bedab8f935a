//! Valid files that are unusual: compiled, or refused by what they have, never as broken.

use dunlin_compiler::{CompileError, Options, compile};
use dunlin_core::code::Coded as _;

use crate::builder::{D, Model, f32_tensor, int, ints, numbers, tensor, value_info};
use crate::onnx::tensor_proto::DataType;
use crate::onnx::{
    AttributeProto, FunctionProto, GraphProto, NodeProto, OperatorSetIdProto, SparseTensorProto,
    StringStringEntryProto, TypeProto, ValueInfoProto, attribute_proto::AttributeType, type_proto,
};
use crate::run::Running;

fn relu(opset: i64) -> Model {
    let model = Model::new(opset).input("x", &[D::Symbol("n"), D::Fixed(4)]);
    model.node("Relu", &["x"], "y", &[]).output("y")
}

fn refused(model: &Model, code: &str, parts: &[&str]) -> CompileError {
    let error = compile(&model.bytes(), &Options::default()).expect_err(code);
    assert_eq!(error.code().id, code, "{error}");
    for part in parts {
        assert!(error.to_string().contains(part), "{error} should contain {part:?}");
    }
    error
}

fn import(model: &mut Model, domain: &str, version: i64) {
    let entry = OperatorSetIdProto { domain: Some(domain.into()), version: Some(version) };
    model.proto.opset_import.push(entry);
}

#[test]
fn an_opset_imported_twice_is_its_highest_version() {
    for (first, second) in [(17, 17), (13, 17), (17, 13)] {
        let mut model = relu(first);
        import(&mut model, "ai.onnx", second);
        compile(&model.bytes(), &Options::default()).unwrap();
    }
    let mut model = relu(17);
    import(&mut model, "ai.onnx", 99);
    refused(&model, "onnx-version", &["opset 99"]);
}

#[test]
fn a_model_of_another_domain_is_refused_by_its_nodes() {
    let mut model = relu(17);
    model.proto.opset_import.clear();
    import(&mut model, "ai.onnx.ml", 3);
    model.graph().node[0].domain = Some("ai.onnx.ml".into());
    model.graph().node[0].op_type = Some("TreeEnsembleClassifier".into());
    let parts = ["ai.onnx.ml.TreeEnsembleClassifier", "\"ai.onnx.ml\"", "hummingbird"];
    refused(&model, "onnx-unsupported-operator", &parts);
}

#[test]
fn forms_besides_nodes_are_named() {
    let mut sparse = relu(17);
    let values = Some(f32_tensor("s", &[1], &[1.0]));
    sparse.graph().sparse_initializer.push(SparseTensorProto { values, ..Default::default() });
    refused(&sparse, "onnx-unsupported-form", &["\"s\"", "sparse", "dense"]);

    let mut sequence = relu(17);
    let value = Some(type_proto::Value::SequenceType(Default::default()));
    sequence.graph().input[0].r#type = Some(TypeProto { value, ..Default::default() });
    refused(&sequence, "onnx-unsupported-form", &["\"x\"", "a sequence"]);

    let mut empty = relu(17);
    empty.graph().output.clear();
    refused(&empty, "onnx-unsupported-form", &["no outputs"]);

    let turned = Model::new(17).input("x", &[D::Symbol("n"), D::Fixed(4)]);
    let turned = turned.node("Transpose", &["x"], "y", &[ints("perm", &[1, 0])]).output("y");
    refused(&turned, "onnx-unsupported-form", &["\"y\"", "[4, n]", "transpose"]);
}

#[test]
fn a_function_of_the_file_is_called_one() {
    let mut model = relu(17);
    import(&mut model, "mine", 1);
    model.graph().node[0].domain = Some("mine".into());
    model.graph().node[0].op_type = Some("Twice".into());
    let (name, domain) = (Some("Twice".into()), Some("mine".into()));
    model.proto.functions.push(FunctionProto { name, domain, ..Default::default() });
    refused(&model, "onnx-unsupported-operator", &["mine.Twice", "function", "inline_local_functions"]);
}

#[test]
fn refusals_name_the_layer_and_come_once() {
    let mut model = Model::new(17).input("x", &[D::Symbol("n"), D::Fixed(4)]);
    for index in 0..12 {
        let input = if index == 0 { "x".to_string() } else { format!("h{}", index - 1) };
        model = model.node("Loop", &[&input], &format!("h{index}"), &[]);
        model.graph().node[index].name = Some(format!("/layer{index}/decoder/Loop"));
    }
    model.graph().node[11].metadata_props.push(StringStringEntryProto {
        key: Some("pkg.torch.onnx.name_scopes".into()),
        value: Some("['', 'net', 'net.last', 'loop']".into()),
    });
    let error = refused(
        &model.output("h11"),
        "onnx-unsupported-operator",
        &[
            "12 x Loop",
            "first at node \"/layer0/decoder/Loop\" of layer \"layer0/decoder\"",
            "layer \"net.last\"",
            "onnxsim",
        ],
    );
    assert_eq!(error.to_string().lines().count(), 2, "{error}");
}

#[test]
fn operators_have_a_remedy_of_their_own() {
    for (operator, remedy) in [
        ("DequantizeLinear", "--weights f16"),
        ("NonMaxSuppression", "extract_model"),
        ("SequenceAt", "onnxsim"),
    ] {
        let mut model = relu(17);
        model.graph().node[0].op_type = Some(operator.into());
        refused(&model, "onnx-unsupported-operator", &[operator, remedy]);
    }
}

#[test]
fn attributes_without_their_zeros_have_them() {
    let missing = |name: &str, kind: AttributeType| AttributeProto {
        name: Some(name.into()),
        r#type: Some(kind as i32),
        ..Default::default()
    };
    let model = Model::new(17).input("x", &[D::Symbol("n"), D::Fixed(4)]).f32("w", &[4, 3], &numbers(1, 12));
    let attributes = [missing("transB", AttributeType::Int), missing("beta", AttributeType::Float)];
    let model =
        model.f32("c", &[3], &numbers(2, 3)).node("Gemm", &["x", "w", "c"], "y", &attributes).output("y");
    compile(&model.bytes(), &Options::default()).unwrap();
}

fn declares(info: ValueInfoProto, at: fn(&mut GraphProto) -> &mut Vec<ValueInfoProto>) -> Model {
    let mut model = Model::new(17).input("x", &[D::Symbol("n"), D::Fixed(4)]);
    model = model.node("Relu", &["x"], "h", &[]).node("Tanh", &["h"], "y", &[]).output("y");
    let list = at(model.graph());
    list.retain(|other| other.name != info.name);
    list.push(info);
    model
}

#[test]
fn a_declared_shape_that_is_wrong_is_refused() {
    let wrong: [&[D]; 3] =
        [&[D::Symbol("n"), D::Fixed(5)], &[D::Symbol("n")], &[D::Symbol("n"), D::Fixed(4), D::Fixed(1)]];
    for dims in wrong {
        let output = declares(value_info("y", dims, DataType::Float), |graph| &mut graph.output);
        refused(&output, "onnx-declared-shape", &["\"y\"", "Tanh", "[n, 4]"]);
        let between = declares(value_info("h", dims, DataType::Float), |graph| &mut graph.value_info);
        refused(&between, "onnx-declared-shape", &["\"h\"", "Relu", "[n, 4]"]);
        // Where the shapes were given, the file may tell of others.
        let options = Options { inputs: vec![("x".into(), vec![2, 4])], ..Options::default() };
        let report = compile(&between.bytes(), &options).unwrap().report;
        assert_eq!(report.warnings.len(), 1, "{:?}", report.warnings);
    }
}

#[test]
fn declared_shapes_that_are_open_fit() {
    let open: [&[D]; 6] = [
        &[D::Symbol("n"), D::Fixed(4)],
        &[D::Symbol("other"), D::Symbol("width")],
        &[D::Fixed(1), D::Fixed(4)],
        &[D::Fixed(-1), D::Fixed(0)],
        &[D::Symbol(""), D::Symbol("")],
        &[],
    ];
    for dims in open {
        let output = declares(value_info("y", dims, DataType::Float), |graph| &mut graph.output);
        let report = compile(&output.bytes(), &Options::default()).unwrap().report;
        assert_eq!(report.warnings, [""; 0], "{dims:?}");
    }
}

/// A class token before (or behind) the tokens of each sample.
fn class_token(front: bool, model: Model) -> Model {
    let model = model
        .i64("one", &[1], &[1])
        .i64("five", &[1], &[5])
        .node("Shape", &["x"], "n", &[int("start", 0), int("end", 1)])
        .node("Concat", &["n", "one", "five"], "shape", &[int("axis", 0)]);
    let parts = if front { ["token", "x"] } else { ["x", "token"] };
    model.node("Concat", &parts, "y", &[int("axis", 1)]).output("y")
}

#[test]
fn a_class_token_is_the_same_for_every_sample() {
    let token = numbers(3, 5);
    for front in [true, false] {
        let model = Model::new(17).input("x", &[D::Symbol("n"), D::Fixed(2), D::Fixed(5)]);
        let model = model.f32("cls", &[1, 1, 5], &token);
        let mut model = class_token(front, model);
        let expand = NodeProto {
            op_type: Some("Expand".into()),
            input: vec!["cls".into(), "shape".into()],
            output: vec!["token".into()],
            ..Default::default()
        };
        model.graph().node.insert(2, expand);
        check_token(&model, &token, front);

        let model = Model::new(17).input("x", &[D::Symbol("n"), D::Fixed(2), D::Fixed(5)]);
        let mut model = class_token(front, model);
        let fill = NodeProto {
            op_type: Some("ConstantOfShape".into()),
            input: vec!["shape".into()],
            output: vec!["token".into()],
            attribute: vec![tensor("value", f32_tensor("v", &[1], &[2.5]))],
            ..Default::default()
        };
        model.graph().node.insert(2, fill);
        check_token(&model, &[2.5; 5], front);
    }
}

fn check_token(model: &Model, token: &[f32], front: bool) {
    for (samples, max_batch) in [(1usize, 1), (3, 4), (4, 4)] {
        let options = Options { max_batch, ..Options::default() };
        let x = numbers(9, samples * 10);
        let expected: Vec<f32> = x
            .chunks(10)
            .flat_map(|sample| if front { [token, sample].concat() } else { [sample, token].concat() })
            .collect();
        let actual = Running::new(&model.bytes(), &options).infer(samples, &x);
        assert_eq!(actual, expected, "{samples} samples");
    }
}

#[test]
fn parts_that_differ_between_samples_are_not_joined() {
    let model = Model::new(17).input("x", &[D::Symbol("n"), D::Fixed(2), D::Fixed(5)]);
    for dims in [&[2, 1, 5][..], &[1, 5]] {
        let count = dims.iter().product::<i64>() as usize;
        let model = model.clone().f32("c", dims, &numbers(1, count));
        let model = model.node("Concat", &["c", "x"], "y", &[int("axis", 1)]).output("y");
        refused(&model, "onnx-unsupported-operator", &["Concat"]);
    }
}
