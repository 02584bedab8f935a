//! What goes in wrong comes out as a clear message with a stable code, and nothing is lost.

use crate::world::{Device, Process, World, digits, eventually, free_port, ok, refused, run};

#[test]
fn a_file_that_is_not_webassembly_is_refused() {
    for verb in ["inspect", "validate", "bench"] {
        refused(&[verb, &digits("digits.onnx")], 3, "module-not-wasm");
    }
}

#[test]
fn a_module_with_foreign_imports_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wasi.wasm");
    let text = r#"(module (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32))))"#;
    std::fs::write(&path, wat::parse_str(text).unwrap()).unwrap();
    let message = refused(&["inspect", path.to_str().unwrap()], 3, "module-import-foreign");
    assert!(message.contains("fd_write"), "the message names the import: {message}");
}

#[test]
fn a_truncated_onnx_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let whole = std::fs::read(digits("digits.onnx")).unwrap();
    for length in [1, 100, whole.len() / 2, whole.len() - 1] {
        std::fs::write(path("cut.onnx"), &whole[..length]).unwrap();
        refused(&["compile", &path("cut.onnx"), "-o", &path("cut.wasm")], 3, "onnx-malformed");
        assert!(!std::path::Path::new(&path("cut.wasm")).exists(), "nothing is written");
    }
}

#[test]
fn an_unsupported_operator_is_named_with_its_node() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    // The same length, so that the protobuf stays whole.
    let mut onnx = std::fs::read(digits("digits.onnx")).unwrap();
    let at = onnx.windows(7).position(|window| window == b"Softmax").unwrap();
    onnx[at..at + 7].copy_from_slice(b"Haramax");
    std::fs::write(path("odd.onnx"), onnx).unwrap();
    let message =
        refused(&["compile", &path("odd.onnx"), "-o", &path("odd.wasm")], 3, "onnx-unsupported-operator");
    assert!(message.contains("Haramax"), "{message}");
}

/// Every occurrence of some bytes replaced by as many others, so that the protobuf stays whole.
fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes.to_vec();
    let places: Vec<usize> =
        (0..=bytes.len() - from.len()).filter(|place| bytes[*place..].starts_with(from.as_bytes())).collect();
    assert!(!places.is_empty());
    for place in places {
        bytes[place..place + to.len()].copy_from_slice(to.as_bytes());
    }
    bytes
}

/// What a terminal would obey, but for the line breaks between the lines themselves.
fn commands(text: &[u8]) -> Vec<char> {
    let text = String::from_utf8_lossy(text);
    text.chars().filter(|c| c.is_control() && *c != '\n' || ('\u{202a}'..='\u{202e}').contains(c)).collect()
}

#[test]
fn names_from_a_file_command_no_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let digits = std::fs::read(digits("digits.onnx")).unwrap();
    let operator = replaced(&digits, "Softmax", "\u{1b}]0;xy\u{7}");
    std::fs::write(path("operator.onnx"), operator).unwrap();
    let compile = ["compile", &path("operator.onnx"), "-o", &path("operator.wasm")];
    let message = refused(&compile, 3, "onnx-unsupported-operator");
    assert!(message.contains(r"\u{1b}]0;xy\u{7}"), "{message}");
    assert!(commands(message.as_bytes()).is_empty(), "{message:?}");

    let name = "\n\u{1b}[2J\u{9b}\u{202e}evil";
    std::fs::write(path("node.onnx"), replaced(&digits, "hidden_1_dense", name)).unwrap();
    let wasm = path("node.wasm");
    for arguments in [
        &["compile", &path("node.onnx"), "-o", &wasm, "--explain"][..],
        &["compile", &path("node.onnx"), "-o", &wasm, "--json"],
        &["inspect", &wasm],
        &["inspect", &wasm, "--json"],
        &["bench", &wasm, "--profile"],
    ] {
        let output = run(arguments);
        assert!(output.status.success(), "{arguments:?}");
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(commands(&output.stdout).is_empty(), "{arguments:?}: {shown:?}");
        assert!(shown.contains("evil") && !shown.contains("\u{202e}"), "{arguments:?}: {shown:?}");
        if arguments.contains(&"--json") {
            let json: serde_json::Value = serde_json::from_str(&shown).unwrap();
            let layers = json["layers"].as_array().unwrap();
            assert!(layers.iter().any(|layer| layer["node"].as_str().unwrap().contains(name)), "{json}");
        }
    }
}

#[test]
fn weights_beside_a_model_are_read_from_its_folder_only() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("model");
    std::fs::create_dir(&inner).unwrap();
    let path = |name: &str| inner.join(name).display().to_string();
    // x [n, 2] times w [2, 1], which is in another file: ModelProto in protobuf, by hand.
    let model = |location: &str| {
        let field = |tag: u8, content: &[u8]| {
            let length = u16::try_from(content.len()).unwrap();
            let length = [(length & 0x7f) as u8 | 0x80, (length >> 7) as u8];
            [&[tag << 3 | 2][..], &length, content].concat()
        };
        let entry = |key: &str, value: &str| {
            field(13, &[field(1, key.as_bytes()), field(2, value.as_bytes())].concat())
        };
        let dims = [1, 2].map(|extent| field(1, &if extent == 1 { field(2, b"n") } else { vec![8, extent] }));
        let input = [field(1, b"x"), field(2, &field(1, &[vec![8, 1], field(2, &dims.concat())].concat()))];
        let w = [
            &[8, 2, 8, 1, 16, 1][..],
            &field(8, b"w"),
            &entry("location", location),
            &entry("offset", "4"),
            &entry("length", "8"),
            &[14 << 3, 1],
        ];
        let node = [field(1, b"x"), field(1, b"w"), field(2, b"y"), field(4, b"MatMul")];
        let graph = [
            field(1, &node.concat()),
            field(5, &w.concat()),
            field(11, &input.concat()),
            field(12, &field(1, b"y")),
        ];
        [&[8, 8][..], &field(8, &[16, 17]), &field(7, &graph.concat())].concat()
    };
    let compile = ["compile", &path("m.onnx"), "-o", &path("m.wasm")];
    let data: Vec<u8> = [0.0f32, 1.5, -2.5].iter().flat_map(|number| number.to_le_bytes()).collect();
    std::fs::write(path("m.onnx.data"), &data).unwrap();
    std::fs::write(folder.path().join("outside"), &data).unwrap();
    std::os::unix::fs::symlink("../outside", path("link")).unwrap();
    std::fs::write(path("m.onnx"), model("m.onnx.data")).unwrap();
    ok(&compile);
    let wasm = std::fs::read(path("m.wasm")).unwrap();
    let has = |number: f32| wasm.windows(4).any(|window| window == number.to_le_bytes());
    assert!(has(1.5) && has(-2.5), "the weights are in the module");
    let outside = folder.path().join("outside").display().to_string();
    for location in ["../outside", "link", "none", &outside] {
        std::fs::write(path("m.onnx"), model(location)).unwrap();
        let message = refused(&compile, 3, "onnx-external-data");
        assert!(message.contains("\"w\"") && message.contains(&format!("{location:?}")), "{message}");
    }
    std::fs::write(path("m.onnx.data"), &data[..11]).unwrap();
    std::fs::write(path("m.onnx"), model("m.onnx.data")).unwrap();
    assert!(refused(&compile, 3, "onnx-external-data").contains("11 bytes"));
}

#[test]
fn no_broker_at_the_address_is_said_soon() {
    let world = World::new();
    world.release_digits("1.0.0", 1);
    let url = format!("mqtt://127.0.0.1:{}", free_port());
    let message = refused(
        &["publish", "digits@1.0.0", "--fleet", &world.fleet(), "--broker", &url],
        4,
        "broker-unreachable",
    );
    assert!(message.contains(&url), "{message}");
}

#[test]
fn a_port_that_is_taken_is_said() {
    let world = World::new();
    let address = world.url.strip_prefix("mqtt://").unwrap();
    refused(&["broker", "--listen", address], 1, "listen-address-in-use");
    let device = world.enroll("alpha");
    let _taken = std::net::TcpListener::bind(device.api).unwrap();
    refused(&["agent", "--config", &device.config()], 1, "listen-address-in-use");
}

#[test]
fn a_second_agent_on_the_same_folder_is_refused() {
    let world = World::new();
    let device = world.enroll("alpha");
    let _agent = device.start();
    eventually("the first agent lives", || (device.get("/v2/health/live")?.0 == 200).then_some(()));
    let other = device.bundle.join("other.toml");
    let text = std::fs::read_to_string(device.config()).unwrap();
    let listen = device.api.to_string();
    std::fs::write(&other, text.replace(&listen, &format!("127.0.0.1:{}", free_port()))).unwrap();
    refused(&["agent", "--config", other.to_str().unwrap()], 1, "agent-already-running");
}

#[test]
fn a_config_with_an_unknown_key_is_refused() {
    let world = World::new();
    let device = world.enroll("alpha");
    ok(&["agent", "check-config", "--config", &device.config()]);
    let text = std::fs::read_to_string(device.config()).unwrap();
    std::fs::write(device.config(), format!("colour = \"red\"\n{text}")).unwrap();
    let message = refused(&["agent", "check-config", "--config", &device.config()], 2, "config-invalid");
    assert!(message.contains("colour"), "the message names the key: {message}");
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    let device = world.enroll("alpha");
    let key = device.bundle.join("device.key");
    std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o644)).unwrap();
    refused(&["agent", "check-config", "--config", &device.config()], 3, "secret-file-mode");
}

#[test]
fn wrong_requests_are_refused_and_right_ones_still_served() {
    let world = World::new();
    let device = world.enroll("alpha");
    let _agent: Process = device.start();
    world.release_digits("1.0.0", 16);
    world.publish("digits@1.0.0");
    world.deploy("digits@1.0.0", "stable");
    device.serves("1.0.0");
    let request = |datatype: &str, shape: &[usize], data: Vec<f32>| serde_json::json!({ "inputs": [{ "name": "pixels", "datatype": datatype, "shape": shape, "data": data }] });
    let infer =
        |device: &Device, body: &serde_json::Value| device.post("/v2/models/digits/infer", body).unwrap();
    let cases = [
        (request("FP32", &[1, 63], vec![0.0; 63]), 400, "input-shape"),
        (request("FP64", &[1, 64], vec![0.0; 64]), 400, "input-dtype"),
        (request("FP32", &[1, 64], vec![0.0; 63]), 400, "input-data"),
        (serde_json::json!({ "inputs": [] }), 400, "input-missing"),
    ];
    for (body, status, code) in &cases {
        let (actual, answer) = infer(&device, body);
        assert_eq!((actual, &answer["code"]), (*status, &serde_json::json!(code)), "{answer}");
        assert!(answer["error"].as_str().is_some_and(|text| !text.is_empty()));
        let (right, _) = infer(&device, &request("FP32", &[1, 64], vec![0.0; 64]));
        assert_eq!(right, 200, "a good request after {code}");
    }
    // Said before the body comes, by its announced length.
    let answer = device.announce("/v2/models/digits/infer", 1 << 40);
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("request-too-large"), "{answer}");
    let (status, answer) = device.get("/v2/models/nothing").unwrap();
    assert_eq!((status, &answer["code"]), (404, &serde_json::json!("model-unknown")));
}

#[test]
fn an_altered_blob_is_not_published() {
    let world = World::new();
    world.release_digits("1.0.0", 1);
    let blobs = std::path::Path::new(&world.fleet()).join("blobs");
    let first = std::fs::read_dir(blobs).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&first).unwrap();
    bytes[10] ^= 1;
    std::fs::write(&first, bytes).unwrap();
    refused(
        &["publish", "digits@1.0.0", "--fleet", &world.fleet(), "--broker", &world.url],
        3,
        "blob-altered",
    );
}

#[test]
fn a_release_whose_golden_vectors_fail_is_not_signed() {
    let world = World::new();
    let (onnx, wasm) = (world.path("other.onnx"), world.path("d.wasm"));
    // Other weights: a few of them become 48.6.
    let mut bytes = std::fs::read(digits("digits.onnx")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].fill(0x42);
    std::fs::write(&onnx, bytes).unwrap();
    ok(&["compile", &onnx, "-o", &wasm]);
    let message = refused(
        &[
            "release",
            &wasm,
            "--fleet",
            &world.fleet(),
            "--name",
            "digits",
            "--version",
            "1.0.0",
            "--golden",
            &digits("golden.npz"),
        ],
        3,
        "golden-failed",
    );
    assert!(message.contains("golden vector"), "{message}");
    assert!(!std::path::Path::new(&world.fleet()).join("releases/digits").exists(), "nothing was signed");
}

#[test]
fn names_and_versions_are_not_used_twice() {
    let world = World::new();
    world.enroll("alpha");
    let again = [
        "enroll",
        "alpha",
        "--fleet",
        &world.fleet(),
        "--broker",
        &world.url,
        "--channel",
        "stable",
        "-o",
        &world.path("again"),
    ];
    refused(&again, 2, "device-exists");
    refused(&["init", &world.fleet(), "--fleet", "test", "--no-passphrase"], 2, "fleet-exists");
    world.release_digits("1.0.0", 1);
    let wasm = world.path("digits-1.wasm");
    let again = ["release", &wasm, "--fleet", &world.fleet(), "--name", "digits", "--version", "1.0.0"];
    refused(&again, 2, "release-exists");
    refused(
        &["publish", "digits@9", "--fleet", &world.fleet(), "--broker", &world.url],
        2,
        "release-unknown",
    );
    refused(
        &["publish", "digits@9", "--fleet", &world.path("nowhere"), "--broker", &world.url],
        2,
        "fleet-missing",
    );
}

#[test]
fn an_argument_that_makes_no_sense_is_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (onnx, wasm, out) = (digits("digits.onnx"), path("digits.wasm"), path("out"));
    refused(&["compile", &onnx, "-o", &wasm, "--const", "pixels=1e40"], 2, "argument");
    assert!(!std::path::Path::new(&wasm).exists());
    ok(&["compile", &onnx, "-o", &wasm]);
    let input = format!("pixels={}", digits("test_images.npy"));
    refused(&["run", &wasm, "--input", &input, "--input", &input, "--output-dir", &out], 2, "argument");
    assert!(!std::path::Path::new(&out).exists());
}
