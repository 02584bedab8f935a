//! Making machine code, in builds that have a compiler: for this machine, and for others.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};

use dunlin_core::Digest;
use wasmtime::Module;

use crate::admission::AdmittedModel;
use crate::compiled::CompiledModel;
use crate::engine::{CompileError, Engine, EngineConfig, settings};
use crate::native::Facts;
use crate::polls;
use crate::target::Target;

fn refused(error: wasmtime::Error) -> CompileError {
    CompileError::Compile(format!("{error:#}"))
}

impl Engine {
    /// Compiles an admitted model to machine code. Takes tens of milliseconds for a model whose code
    /// has tens of kilobytes; weights cost nothing here.
    ///
    /// # Errors
    /// Cranelift gives up on the code.
    pub fn compile(&self, model: AdmittedModel) -> Result<CompiledModel, CompileError> {
        let facts = model.facts();
        let compiler = self.compiler(facts.is_interruptible());
        let wasm = instrumented(&model, &facts)?;
        let module = Module::new(compiler.wasmtime(), &wasm).map_err(refused)?;
        let template = compiler.template(&module).map_err(refused)?;
        Ok(CompiledModel::new(self.clone(), template, facts))
    }

    /// Stands for everything that decides whether this engine can run machine code, and would make it again:
    /// wasmtime's version, the settings, the processor and its features, what is added to modules.
    pub fn fingerprint(&self) -> Digest {
        let mut bytes = Collected(polls::VERSION.to_vec());
        for engine in self.wasmtime_engines() {
            engine.precompile_compatibility_hash().hash(&mut bytes);
        }
        Digest::of(&bytes.0)
    }
}

impl CompiledModel {
    /// The machine code with the module's data, for [`Engine::load`].
    ///
    /// # Errors
    /// wasmtime cannot write it.
    pub fn to_native(&self) -> Result<Vec<u8>, CompileError> {
        self.template().module().serialize().map_err(refused)
    }
}

/// Compiles an admitted model for a machine, which need not be this one: code that any processor of the
/// target's kind can run, for [`Engine::load`] there. Nothing is run here.
///
/// # Errors
/// Cranelift gives up on the code, or this build cannot make any for the target.
pub fn precompile(model: &AdmittedModel, target: Target) -> Result<Vec<u8>, CompileError> {
    let unable = |error: wasmtime::Error| CompileError::Engine(format!("no code for {target}: {error:#}"));
    let interruptible = model.facts().is_interruptible();
    let settings = settings(&EngineConfig::default(), Some(target), interruptible).map_err(unable)?;
    let engine = wasmtime::Engine::new(&settings).map_err(unable)?;
    engine.precompile_module(&instrumented(model, &model.facts())?).map_err(refused)
}

/// The module with its looks at the clock.
fn instrumented<'a>(model: &'a AdmittedModel, facts: &Facts) -> Result<Cow<'a, [u8]>, CompileError> {
    polls::instrument(model.artifact().bytes(), &facts.work)
        .map_err(|error| CompileError::Compile(format!("an admitted module is not valid: {error}")))
}

/// Hashes nothing: keeps what is fed to it.
struct Collected(Vec<u8>);

impl Hasher for Collected {
    fn finish(&self) -> u64 {
        0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}
