//! Machine code in the process that proves it: from the compiler, where this build has one, or from a variant
//! that the role `precompiled` signed.

use std::fs::File;

use dunlin_core::VerifiedArtifact;
use dunlin_core::precompiled::{Head, Machine};
use dunlin_sandbox::{AdmittedModel, CompiledModel, Engine, Target, WASMTIME_VERSION};

use super::sealed;
use crate::data::{DataError, load_sealed};

/// Machine code of a variant: its head, and the code in a sealed file.
#[derive(Debug)]
pub(super) struct Variant {
    pub(super) head: Head,
    pub(super) code: File,
}

impl Variant {
    /// Parts the attachment of a release.
    ///
    /// # Errors
    /// It is no such file, or there is no memory.
    pub(super) fn of(file: &VerifiedArtifact) -> Result<Variant, DataError> {
        let (head, code) = Head::parse(file.bytes()).map_err(|error| DataError::model(&error))?;
        let code = sealed::file("dunlin-code", code)
            .map_err(|error| DataError::Ended(format!("no memory file: {error}")))?;
        Ok(Variant { head, code })
    }

    /// Makes a model of it, if it is what the admitted module wants on this machine.
    ///
    /// # Errors
    /// It was made from another module, for another machine, or without the checks that the module needs; or
    /// wasmtime does not take it.
    pub(super) fn load(self, engine: &Engine, model: &AdmittedModel) -> Result<CompiledModel, DataError> {
        let machine = Machine { target: Target::HERE.to_string(), wasmtime: WASMTIME_VERSION.to_string() };
        let facts = model.facts();
        self.head
            .expect(facts.artifact, &machine, facts.is_interruptible())
            .map_err(|error| DataError::model(&error))?;
        load_sealed(engine, self.code, facts)
    }
}

/// Compiles a model.
///
/// # Errors
/// Cranelift gives up on it.
#[cfg(feature = "compiler")]
pub(super) fn compile(engine: &Engine, model: AdmittedModel) -> Result<CompiledModel, DataError> {
    engine.compile(model).map_err(|error| DataError::model(&error))
}

/// The code of a model that was compiled here.
///
/// # Errors
/// wasmtime cannot write it.
#[cfg(feature = "compiler")]
pub(super) fn native(model: &CompiledModel) -> Result<Vec<u8>, DataError> {
    model.to_native().map_err(|error| DataError::model(&error))
}

#[cfg(not(feature = "compiler"))]
pub(super) fn compile(_: &Engine, _: AdmittedModel) -> Result<CompiledModel, DataError> {
    Err(no_compiler())
}

#[cfg(not(feature = "compiler"))]
pub(super) fn native(_: &CompiledModel) -> Result<Vec<u8>, DataError> {
    Err(no_compiler())
}

#[cfg(not(feature = "compiler"))]
fn no_compiler() -> DataError {
    let message = "this build of the agent has no compiler, and no machine code came with the release";
    DataError::Model { code: dunlin_core::code::module::NO_PRECOMPILED, message: message.into() }
}
