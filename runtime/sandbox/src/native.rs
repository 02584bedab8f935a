//! Machine code as bytes: what a cache keeps, and what one process compiles for another.
//!
//! Loading such bytes is running them. wasmtime checks that they were made by itself, with the same
//! settings and for a machine like this one; that nobody changed them since is for the caller to know,
//! which is why [`Engine::load`] is the one unsafe function of this crate.

use std::fs::File;

use dunlin_abi::Card;
use dunlin_core::Digest;
use wasmtime::Module;

use crate::compiled::CompiledModel;
use crate::engine::{CompileError, Engine};
use crate::limits::Limits;
use crate::work::{POLL_EVERY, Work};

/// What an engine must know of a model beside its machine code.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// The sha256 of the artifact.
    pub artifact: Digest,
    /// What the module says of itself, as admission read it.
    pub card: Card,
    /// How much one call can do, as admission proved it; how the code looks at the clock follows from it.
    pub work: Work,
    /// What each instance may take.
    pub limits: Limits,
}

impl Facts {
    /// Whether the code has checks in every loop and function, because what a call does is not bounded.
    pub fn is_interruptible(&self) -> bool {
        matches!(self.work, Work::Unbounded { .. })
    }

    /// Whether code without checks looks at the clock all the same, because a call may be long.
    pub(crate) fn is_polled(&self) -> bool {
        matches!(self.work, Work::Bounded { operators } if operators > POLL_EVERY)
    }
}

impl Engine {
    /// Makes a model out of machine code. The file is mapped, not read: weights stay in it until a model
    /// writes to them, and instances share them.
    ///
    /// # Errors
    /// [`CompileError::Native`]: the code was made for another engine; compile the artifact again.
    ///
    /// # Safety
    /// The file holds exactly what `CompiledModel::to_native` or `precompile` gave for a model with these facts, and
    /// nobody changes it for as long as the model lives: a sealed memory file, for one.
    #[allow(unsafe_code)]
    pub unsafe fn load(&self, code: File, facts: Facts) -> Result<CompiledModel, CompileError> {
        let refused = |error: wasmtime::Error| CompileError::Native(format!("{error:#}"));
        let compiler = self.compiler(facts.is_interruptible());
        // SAFETY: the caller promises what wasmtime asks for.
        let module = unsafe { Module::deserialize_open_file(compiler.wasmtime(), code) }.map_err(refused)?;
        let template = compiler.template(&module).map_err(refused)?;
        Ok(CompiledModel::new(self.clone(), template, facts))
    }
}
