//! Guests of `examples/`, built as their READMEs say, and what they must answer.

use std::collections::BTreeMap;

use dunlin_fleet::tensor::{Tensor, read_npz};

use crate::toolchain;
use crate::world::{ok, repository};

/// Builds the guest in `examples/<name>` for wasm32 and in release, and gives the path of its module; nothing where
/// the target is missing.
pub fn build(name: &str) -> Option<String> {
    build_package(name, name)
}

/// Likewise, a package of the workspace in `examples/<name>`.
pub fn build_package(name: &str, package: &str) -> Option<String> {
    let modules = toolchain::build_guest(&format!("examples/{name}"), &["-p", package], "guests", None)?;
    Some(modules.join(format!("{}.wasm", package.replace('-', "_"))).display().to_string())
}

/// The arrays of a file in `examples/<name>`.
pub fn arrays(name: &str, file: &str) -> BTreeMap<String, Tensor> {
    read_npz(&repository().join("examples").join(name).join(file)).unwrap()
}

/// Runs the module on the inputs of `reference.npz`, and holds each output to the one there within `tolerance`.
pub fn gives_its_reference(name: &str, module: &str, tolerance: f64) {
    let reference = arrays(name, "reference.npz");
    let part = |kind: &str| -> BTreeMap<String, Tensor> {
        let named =
            |(key, tensor): (&String, &Tensor)| Some((key.strip_prefix(kind)?.to_string(), tensor.clone()));
        reference.iter().filter_map(named).collect()
    };
    let (inputs, outputs) = (part("input/"), part("output/"));
    assert!(!outputs.is_empty(), "the reference holds no output");
    let found = run(module, &inputs, outputs.keys());
    for (output, wanted) in &outputs {
        are_close(output, &found[output], wanted, tolerance);
    }
}

/// A panic names its file; a module in which no name of a file is left cannot panic.
pub fn cannot_panic(module: &str) {
    let bytes = std::fs::read(module).unwrap();
    assert!(!bytes.windows(3).any(|text| text == b".rs"), "{module} holds a panic");
}

/// Runs the module with `dunlin run`, and gives the outputs of these names.
pub fn run<'a>(
    module: &str,
    inputs: &BTreeMap<String, Tensor>,
    outputs: impl IntoIterator<Item = &'a String>,
) -> BTreeMap<String, Tensor> {
    let folder = tempfile::tempdir().unwrap();
    let path = |file: &str| folder.path().join(file).display().to_string();
    let mut arguments = vec!["run".to_string(), module.to_string(), "--output-dir".to_string(), path("out")];
    for (input, tensor) in inputs {
        let file = path(&format!("{input}.npy"));
        tensor.write_npy(file.as_ref()).unwrap();
        arguments.extend(["--input".to_string(), format!("{input}={file}")]);
    }
    ok(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let read = |name: &String| Tensor::read(path(&format!("out/{name}.npy")).as_ref()).unwrap();
    outputs.into_iter().map(|name| (name.clone(), read(name))).collect()
}

/// Holds a tensor to the wanted one within `tolerance`.
pub fn are_close(name: &str, found: &Tensor, wanted: &Tensor, tolerance: f64) {
    assert_eq!((found.dtype, &found.shape), (wanted.dtype, &wanted.shape), "{name}");
    let pairs = found.to_f64().into_iter().zip(wanted.to_f64());
    // Not `f64::max`, which passes a NaN over.
    let worst = pairs.map(|(a, b)| (a - b).abs()).max_by(f64::total_cmp).unwrap();
    println!("{name} differs by {worst:e} at most");
    assert!(worst <= tolerance, "{name}: {worst:e}");
}
