//! Modules that a verb runs here, compiled as on a device: by a child with bounds.

use std::time::Duration;

use dunlin_agent::worker::{CompileBounds, Program, compile_here};
use dunlin_core::VerifiedArtifact;
use dunlin_fleet::run::{Runner, keeps_streams, local_limits};
use dunlin_sandbox::{Admission, CompiledModel, Engine, EngineConfig, inspect};

use crate::failure::Outcome;
use crate::trap;

/// A module that was compiled.
pub(crate) struct Compiled {
    pub(crate) engine: Engine,
    pub(crate) model: CompiledModel,
    /// The time that the compiler took.
    pub(crate) took: Duration,
}

/// Compiles a module on these terms.
pub(crate) fn compiled(module: Vec<u8>, terms: &Admission) -> Outcome<Compiled> {
    let engine = Engine::new(EngineConfig::default())?;
    let (program, artifact) = (Program::this(&["agent"]), VerifiedArtifact::trust_local(module));
    let made = compile_here(&program, CompileBounds::DEFAULT, &engine, artifact, terms)?;
    Ok(Compiled { engine, model: made.model, took: made.took })
}

/// A module that is ready to run, on these terms or on what it asks for itself.
pub(crate) fn runner(module: Vec<u8>, terms: Option<&Admission>) -> Outcome<Runner> {
    let own = || -> Outcome<Admission> {
        let summary = inspect(&module)?;
        Ok(Admission { limits: local_limits(&summary), imports: summary.imports, card_digest: None })
    };
    let terms = terms.cloned().map_or_else(own, Ok)?;
    keeps_streams(&inspect(&module)?)?;
    let Compiled { engine, model, .. } = compiled(module.clone(), &terms)?;
    Runner::ready(engine, model).map_err(|error| trap::explained(&error.into(), &module))
}
