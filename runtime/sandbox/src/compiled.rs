//! A model as machine code, from which any number of instances is made.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use dunlin_abi::Card;
use dunlin_core::Digest;
use wasmtime::InstancePre;

use crate::call::CallError;
use crate::engine::Engine;
use crate::host::Host;
use crate::instance::Instance;
use crate::limits::Limits;
use crate::native::Facts;

/// Machine code of one model. Cheap to clone and free to share between threads.
#[derive(Clone)]
pub struct CompiledModel {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    template: InstancePre<Host>,
    facts: Facts,
}

impl CompiledModel {
    pub(crate) fn new(engine: Engine, template: InstancePre<Host>, facts: Facts) -> Self {
        CompiledModel { inner: Arc::new(Inner { engine, template, facts }) }
    }

    /// What the model says of itself.
    pub fn card(&self) -> &Card {
        &self.inner.facts.card
    }

    /// What an engine must know of it to load its machine code again.
    pub fn facts(&self) -> &Facts {
        &self.inner.facts
    }

    /// The sha256 of the artifact.
    pub fn digest(&self) -> Digest {
        self.inner.facts.artifact
    }

    /// What each instance may take.
    pub fn limits(&self) -> &Limits {
        &self.inner.facts.limits
    }

    /// Makes an instance with a memory of its own and initialises it. Weights are mapped, not copied,
    /// so that this takes microseconds: it is the way back after a trap.
    ///
    /// # Errors
    /// Initialisation fails in any way that a call can, or a tensor lies where none may.
    pub fn instantiate(&self) -> Result<Instance, CallError> {
        Instance::new(self.clone())
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// Whether its code has checks in every loop, because what a call does is not bounded.
    pub fn is_interruptible(&self) -> bool {
        self.inner.facts.is_interruptible()
    }

    /// The deadline of a call, where its code looks at the clock at all.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        let facts = &self.inner.facts;
        (facts.is_interruptible() || facts.is_polled()).then_some(facts.limits.deadline)
    }

    pub(crate) fn template(&self) -> &InstancePre<Host> {
        &self.inner.template
    }
}

impl fmt::Debug for CompiledModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompiledModel").field("digest", &self.digest()).finish_non_exhaustive()
    }
}
