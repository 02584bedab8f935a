//! A module whose layers can be called one by one, made from any module of this compiler.
//!
//! The calls of kernels in `dunlin_infer` are read back with their addresses of the first sample
//! ([`calls`]), and for each of them a function `dunlin_layer_<i>(times)` is appended and exported,
//! which makes the call that many times: a host can then measure layers shorter than the cost of a
//! call from outside. Whatever was there keeps its index and its bytes. A tool for measuring: a
//! profiled module is never released.

mod calls;
mod rebuild;

use dunlin_core::code::{Code, Coded, onnx};
use wasmparser::{Parser, Payload};

use crate::report::{LAYERS_SECTION, Layer};

/// The most calls of a layer that one call of its export makes: with more, numbers that a layer writes
/// over would leave the range in which they are in a whole inference.
pub const MAX_TIMES: u32 = 64;

/// A module with its layers exported.
#[derive(Clone, Debug)]
pub struct Profiled {
    /// The module; its other exports are as they were.
    pub wasm: Vec<u8>,
    /// The layers, in the order of the calls.
    pub layers: Vec<Layer>,
    /// The exports `(times: i32) -> ()`, one a layer. They do nothing unless `times` is 1 to
    /// [`MAX_TIMES`].
    pub exports: Vec<String>,
}

/// Why a module cannot be taken apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// It is not WebAssembly, or damaged.
    #[error("the module cannot be read: {0}")]
    Damaged(String),
    /// The section is missing.
    #[error("the module has no section `{LAYERS_SECTION}`: `dunlin compile` writes it")]
    NoLayers,
    /// The section is no list of layers.
    #[error("the section `{LAYERS_SECTION}` is not a list of layers: {0}")]
    BadLayers(String),
    /// There is no `dunlin_infer`.
    #[error("the module defines and exports no function `dunlin_infer`")]
    NoInfer,
    /// `dunlin_infer` is not as this compiler writes it.
    #[error("`dunlin_infer` is not of the form that `dunlin compile` writes: {0}")]
    Form(String),
    /// More or fewer calls than layers.
    #[error("`dunlin_infer` calls {calls} kernels, the section `{LAYERS_SECTION}` tells of {layers}")]
    Count {
        /// In the code.
        calls: usize,
        /// In the section.
        layers: usize,
    },
}

impl Coded for ProfileError {
    fn code(&self) -> Code {
        onnx::PROFILE
    }
}

impl From<wasmparser::Error> for ProfileError {
    fn from(error: wasmparser::Error) -> Self {
        ProfileError::Damaged(error.to_string())
    }
}

/// The layers that a module tells of, or nothing where it has no such section.
///
/// # Errors
/// The module or the section is damaged.
pub fn layers(wasm: &[u8]) -> Result<Option<Vec<Layer>>, ProfileError> {
    for payload in Parser::new(0).parse_all(wasm) {
        if let Payload::CustomSection(section) = payload?
            && section.name() == LAYERS_SECTION
        {
            let layers = serde_json::from_slice(section.data());
            return layers.map(Some).map_err(|error| ProfileError::BadLayers(error.to_string()));
        }
    }
    Ok(None)
}

/// Appends and exports a function for each call of a kernel.
///
/// # Errors
/// The module was not made by this compiler, or is damaged.
pub fn profiled(wasm: &[u8]) -> Result<Profiled, ProfileError> {
    let layers = layers(wasm)?.ok_or(ProfileError::NoLayers)?;
    let calls = calls::read(wasm)?;
    if calls.len() != layers.len() {
        return Err(ProfileError::Count { calls: calls.len(), layers: layers.len() });
    }
    let exports: Vec<String> = (0..calls.len()).map(|index| format!("dunlin_layer_{index}")).collect();
    let wasm = rebuild::with_functions(wasm, &calls, &exports)?;
    Ok(Profiled { wasm, layers, exports })
}
