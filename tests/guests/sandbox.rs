//! Builds a guest in Rust as its README says, and calls any guest in the sandbox that devices use.

use std::path::{Path, PathBuf};
use std::process::Command;

use dunlin_abi::Import;
use dunlin_core::VerifiedArtifact;
use dunlin_sandbox::{Admission, Engine, EngineConfig, Instance, admit};

const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// The root of the repository; this file belongs to the package in `runtime/cli`.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Builds a guest in `folder` and reads the module at `path` below the target's release folder.
pub fn build(folder: &str, arguments: &[&str], path: &str) -> Vec<u8> {
    let target = root().join("target/guests");
    let build = Command::new(env!("CARGO"))
        .current_dir(root().join(folder))
        .args(["build", "--locked", "--release", "--target", WASM_TARGET, "--target-dir"])
        .arg(&target)
        .args(arguments)
        // Flags for the host would replace those of the guest's own configuration.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .expect("cargo runs, as it runs this test");
    let errors = String::from_utf8_lossy(&build.stderr);
    let missing = errors.contains("target may not be installed");
    assert!(!missing, "guests need the WebAssembly target: run `rustup target add {WASM_TARGET}`");
    assert!(build.status.success(), "the guest in {folder} does not build:\n{errors}");
    let module = target.join(WASM_TARGET).join("release").join(path);
    std::fs::read(&module).unwrap_or_else(|error| panic!("{}: {error}", module.display()))
}

/// Whether a toolchain is there; in CI, where all are demanded, it must be.
pub fn has(program: &str, package: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    demanded(found, program, package)
}

/// Says what is not tested because a toolchain is not there, or fails where it is demanded.
pub fn demanded(found: bool, program: &str, package: &str) -> bool {
    if !found {
        let message = format!("{program} is not installed: {package}");
        assert!(std::env::var_os("DUNLIN_REQUIRE_TOOLCHAINS").is_none(), "{message}");
        println!("NOT TESTED: {message}");
    }
    found
}

/// An instance, and the engine that ends its calls.
pub struct Running {
    pub instance: Instance,
    _engine: Engine,
}

pub fn start(module: &[u8], imports: &[Import]) -> Running {
    let admission = Admission { imports: imports.to_vec(), ..Admission::default() };
    let admitted = admit(VerifiedArtifact::trust_local(module.to_vec()), &admission).unwrap();
    let engine = Engine::new(EngineConfig::default()).unwrap();
    let instance = engine.compile(admitted).unwrap().instantiate().unwrap();
    Running { instance, _engine: engine }
}

pub fn write(instance: &mut Instance, index: usize, values: &[f32]) {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    instance.input_mut(index).unwrap()[..bytes.len()].copy_from_slice(&bytes);
}

pub fn read(instance: &Instance, index: usize, n: u32) -> Vec<f32> {
    let (values, rest) = instance.output(index, n).unwrap().as_chunks();
    assert!(rest.is_empty());
    values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}
