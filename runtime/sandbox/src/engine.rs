//! How models are compiled, and the clock that stops them.
//!
//! A model whose work is bounded is compiled without checks in its loops, any other with them: see
//! [`Work`](crate::Work). wasmtime decides that for an engine, so there are two.

use core::num::NonZeroUsize;
use core::time::Duration;
use std::io;
use std::sync::Arc;

use dunlin_core::code::{self, Code, Coded};
use wasmtime::{Config, InstancePre, Linker, Module, ModuleVersionStrategy};

use crate::host::{self, Host};
use crate::limits::MAX_STACK_BYTES;
use crate::target::Target;
use crate::ticker::Ticker;

/// The version of wasmtime. It runs code of this very version and of no other: a patch may change what
/// code and engine expect of each other.
pub const WASMTIME_VERSION: &str = "48.0.8";

/// How an engine compiles and ticks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// How often running models are compared with their deadlines, and so by how much one may pass
    /// its own; those without checks in their loops look at the clock by themselves. The tick costs a wake-up of a thread while models run, and nothing while none does.
    pub tick: Duration,
    /// Whether one model is compiled on all cores, or on the caller's alone. Says nothing in a build
    /// without a compiler.
    pub parallel_compilation: bool,
}

impl Default for EngineConfig {
    /// 10 ms: a hundred wake-ups a second while a model runs, too few to show in its latency, and
    /// deadlines are there to end what is stuck, not to schedule. Compiles on all cores.
    fn default() -> Self {
        EngineConfig { tick: Duration::from_millis(10), parallel_compilation: true }
    }
}

/// Compiles models and keeps their time. Cheap to clone; the clock stops with the last clone and the
/// last model that was compiled by it.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    /// For models with checks in every loop.
    interruptible: Compiler,
    /// For models whose work is bounded.
    bounded: Compiler,
    ticker: Ticker,
}

/// A wasmtime engine with the host's functions.
pub(crate) struct Compiler {
    wasmtime: wasmtime::Engine,
    linker: Linker<Host>,
}

impl Compiler {
    fn new(config: &EngineConfig, target: Option<Target>, interruptible: bool) -> wasmtime::Result<Compiler> {
        let wasmtime = wasmtime::Engine::new(&settings(config, target, interruptible)?)?;
        let linker = host::linker(&wasmtime)?;
        Ok(Compiler { wasmtime, linker })
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.wasmtime
    }

    /// The module with the host's functions, ready to be instantiated.
    pub(crate) fn template(&self, module: &Module) -> wasmtime::Result<InstancePre<Host>> {
        self.linker.instantiate_pre(module)
    }
}

impl Engine {
    /// Starts an engine and its clock.
    ///
    /// # Errors
    /// wasmtime does not know this machine, or no thread can be started.
    pub fn new(config: EngineConfig) -> Result<Engine, CompileError> {
        let interprets = cfg!(not(feature = "compiler")) && Target::HERE == Target::INTERPRETER;
        Engine::of(&config, interprets.then_some(Target::HERE))
    }

    /// Starts an engine that runs code for wasmtime's interpreter, and its clock. Slow; where the processor
    /// is one that Cranelift does not know, [`Engine::new`] gives the same.
    ///
    /// # Errors
    /// Those of [`Engine::new`].
    #[cfg(feature = "pulley")]
    pub fn interpreter(config: EngineConfig) -> Result<Engine, CompileError> {
        Engine::of(&config, Some(Target::INTERPRETER))
    }

    fn of(config: &EngineConfig, target: Option<Target>) -> Result<Engine, CompileError> {
        let compiler = |interruptible| {
            let made = Compiler::new(config, target, interruptible);
            made.map_err(|error| CompileError::Engine(format!("{error:#}")))
        };
        let (interruptible, bounded) = (compiler(true)?, compiler(false)?);
        // A tick of zero would be a busy loop.
        let tick = config.tick.max(Duration::from_micros(100));
        let ticking = interruptible.wasmtime.clone();
        let ticker = Ticker::start(tick, move || ticking.increment_epoch()).map_err(CompileError::Clock)?;
        Ok(Engine { inner: Arc::new(Inner { interruptible, bounded, ticker }) })
    }

    pub(crate) fn compiler(&self, interruptible: bool) -> &Compiler {
        if interruptible { &self.inner.interruptible } else { &self.inner.bounded }
    }

    #[cfg(feature = "compiler")]
    pub(crate) fn wasmtime_engines(&self) -> [&wasmtime::Engine; 2] {
        [&self.inner.interruptible.wasmtime, &self.inner.bounded.wasmtime]
    }

    pub(crate) fn ticker(&self) -> &Ticker {
        &self.inner.ticker
    }
}

/// wasmtime's settings. Admission has validated the module with fewer features than these; what can
/// be turned off here is turned off once more.
pub(crate) fn settings(
    config: &EngineConfig,
    target: Option<Target>,
    interruptible: bool,
) -> wasmtime::Result<Config> {
    let mut settings = Config::new();
    if let Some(target) = target {
        settings.target(target.triple())?;
    }
    #[cfg(feature = "compiler")]
    settings.parallel_compilation(config.parallel_compilation);
    #[cfg(not(feature = "compiler"))]
    let EngineConfig { tick: _, parallel_compilation: _ } = config;
    settings
        .module_version(ModuleVersionStrategy::Custom(WASMTIME_VERSION.into()))?
        .epoch_interruption(interruptible)
        .consume_fuel(false)
        .max_wasm_stack(MAX_STACK_BYTES as usize)
        .wasm_backtrace_max_frames(NonZeroUsize::new(8))
        .wasm_simd(true)
        .wasm_relaxed_simd(true)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_tail_call(false)
        .wasm_extended_const(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false);
    Ok(settings)
}

/// Why no machine code was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// wasmtime cannot work here.
    #[error("the WebAssembly engine cannot start on this machine: {0}")]
    Engine(String),
    /// The thread of the clock cannot be started.
    #[error("the clock for deadlines cannot start: {0}; the machine may be out of threads or memory")]
    Clock(#[source] io::Error),
    /// The compiler gave up.
    #[error("the module was admitted but cannot be compiled: {0}")]
    Compile(String),
    /// Machine code for something else.
    #[error("the machine code was not made for this engine: {0}")]
    Native(String),
}

impl Coded for CompileError {
    fn code(&self) -> Code {
        match self {
            CompileError::Engine(_) | CompileError::Clock(_) => code::module::ENGINE,
            CompileError::Compile(_) => code::module::COMPILE,
            CompileError::Native(_) => code::module::NATIVE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_wasmtime_is_the_one_that_is_locked() {
        let locked = format!("name = \"wasmtime\"\nversion = \"{WASMTIME_VERSION}\"\n");
        assert!(include_str!("../../../Cargo.lock").contains(&locked), "{locked}");
    }

    /// A model whose calls do not end.
    #[cfg(feature = "compiler")]
    const ENDLESS: &str = r#"(module
        (@custom "dunlin.card" (before first) "{\"abi\":1,\"max_batch\":1,\"producer\":\"test\","
            "\"inputs\":[{\"name\":\"x\",\"dtype\":\"f32\",\"shape\":[1]}],"
            "\"outputs\":[{\"name\":\"y\",\"dtype\":\"f32\",\"shape\":[1]}]}")
        (memory (export "memory") 1)
        (func (export "dunlin_input") (param i32) (result i32) (i32.const 1024))
        (func (export "dunlin_output") (param i32) (result i32) (i32.const 2048))
        (func (export "dunlin_infer") (param i32) (result i32) (loop (br 0)) (i32.const 0)))"#;

    /// Ticks come when they come: at once, and then every few milliseconds, where one an hour was asked for.
    #[cfg(feature = "compiler")]
    #[test]
    fn clock_decides_and_not_the_ticks() {
        use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
        let tick = Duration::from_secs(3600);
        let engine = Engine::new(EngineConfig { tick, ..EngineConfig::default() }).unwrap();
        let deadline = Duration::from_millis(200);
        let limits = crate::Limits { deadline, ..crate::Limits::default() };
        let admission = crate::Admission { limits, ..crate::Admission::default() };
        let artifact = dunlin_core::VerifiedArtifact::trust_local(wat::parse_str(ENDLESS).unwrap());
        let model = engine.compile(crate::admit(artifact, &admission).unwrap()).unwrap();
        let mut instance = model.instantiate().unwrap();
        let ended = AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                while !ended.load(Relaxed) {
                    engine.compiler(true).wasmtime().increment_epoch();
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
            let started = std::time::Instant::now();
            let stopped = instance.infer(1);
            ended.store(true, Relaxed);
            assert_eq!(stopped, Err(crate::CallError::Deadline { deadline }));
            assert!(started.elapsed() >= deadline, "{:?}", started.elapsed());
        });
    }
}
