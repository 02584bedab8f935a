//! Builds a guest in Rust as its README says, and calls any guest in the sandbox that devices use.

use dunlin_abi::Import;
use dunlin_core::VerifiedArtifact;
use dunlin_sandbox::{Admission, Engine, EngineConfig, Instance, admit};

use crate::toolchain;

/// Builds a guest in `folder` and reads the module at `path` below the target's release folder; nothing where the
/// target is missing.
pub fn build(folder: &str, arguments: &[&str], path: &str) -> Option<Vec<u8>> {
    let module = toolchain::build_guest(folder, arguments, "guests", None)?.join(path);
    Some(std::fs::read(&module).unwrap_or_else(|error| panic!("{}: {error}", module.display())))
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
