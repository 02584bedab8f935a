//! Exchanging a model without a stop.
//!
//! The next model is admitted, compiled, instantiated and warmed on a thread of its own. The thread that
//! answers looks between two calls whether it is ready, and moves it in: it never waits, and no call meets
//! half of an exchange. If the next model fails in any way, the one before goes on.

use std::error::Error;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::thread;

use dunlin_core::VerifiedArtifact;
use dunlin_sandbox::{Admission, CompiledModel, Engine, Instance, Limits, NATIVE_STACK_BYTES, admit};

type Prepared = Result<Instance, String>;

/// The model that answers, and the one that may be on its way.
pub struct Slot {
    current: Instance,
    next: Option<Receiver<Prepared>>,
    exchanges: usize,
}

impl Slot {
    pub fn new(current: Instance) -> Slot {
        Slot { current, next: None, exchanges: 0 }
    }

    pub fn instance(&mut self) -> &mut Instance {
        &mut self.current
    }

    pub fn model(&self) -> &CompiledModel {
        self.current.model()
    }

    /// How often a new model has taken over.
    pub fn exchanges(&self) -> usize {
        self.exchanges
    }

    /// Begins to prepare the next model; one that is on its way already is forgotten.
    pub fn prepare(&mut self, engine: Engine, wasm: Vec<u8>) -> Result<(), Box<dyn Error>> {
        let (ready, next) = sync_channel(1);
        // It calls the model to warm it, so it needs the stack that a model needs.
        thread::Builder::new().name("prepare".into()).stack_size(NATIVE_STACK_BYTES).spawn(move || {
            // Nobody waits for one that was forgotten.
            let _ = ready.send(prepare(&engine, wasm).map_err(|error| error.to_string()));
        })?;
        self.next = Some(next);
        Ok(())
    }

    /// Moves the next model in if it is ready; whether it did. An error is the next model's: the current
    /// one is as it was.
    pub fn exchange(&mut self) -> Result<bool, String> {
        let Some(next) = &self.next else { return Ok(false) };
        let next = match next.try_recv() {
            Err(TryRecvError::Empty) => return Ok(false),
            Err(TryRecvError::Disconnected) => Err("the thread that prepares ended".to_string()),
            Ok(next) => next,
        };
        self.next = None;
        let before = std::mem::replace(&mut self.current, next?);
        self.exchanges += 1;
        // Giving its memory back takes microseconds, which are not this thread's.
        thread::spawn(move || drop(before));
        Ok(true)
    }
}

/// From bytes to an instance that has answered once: pages are mapped and caches filled.
pub fn prepare(engine: &Engine, wasm: Vec<u8>) -> Result<Instance, Box<dyn Error>> {
    // These bytes are ours. On a device they come verified, out of a signed release.
    let artifact = VerifiedArtifact::trust_local(wasm);
    let limits = Limits {
        memory_bytes: 64 << 20,
        deadline: std::time::Duration::from_millis(100),
        ..Limits::default()
    };
    let model = engine.compile(admit(artifact, &Admission { limits, ..Admission::default() })?)?;
    let mut instance = model.instantiate()?;
    instance.infer(1)?;
    Ok(instance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digits;
    use dunlin_sandbox::EngineConfig;

    /// Answers until something comes of what was asked for, or for two minutes.
    fn until_exchanged(slot: &mut Slot) -> (Result<bool, String>, usize) {
        let start = std::time::Instant::now();
        for (calls, (image, label)) in (1..).zip(digits::images().take(20).cycle()) {
            assert_eq!(digits::infer(slot.instance(), image).unwrap(), label);
            match slot.exchange() {
                Ok(false) if start.elapsed().as_secs() < 120 => {}
                end => return (end, calls),
            }
        }
        unreachable!("images go round")
    }

    #[test]
    fn calls_are_answered_before_while_and_after() {
        let engine = Engine::new(EngineConfig::default()).unwrap();
        let mut slot = Slot::new(prepare(&engine, digits::first().unwrap()).unwrap());
        let before = slot.model().digest();
        assert_eq!(slot.exchange(), Ok(false), "nothing was asked for");
        slot.prepare(engine, digits::second().unwrap()).unwrap();
        let (end, calls) = until_exchanged(&mut slot);
        assert_eq!((end, slot.exchanges()), (Ok(true), 1));
        assert!(calls > 1, "compilation is slower than a call");
        assert_ne!(slot.model().digest(), before);
        let (image, label) = digits::images().next().unwrap();
        assert_eq!(digits::infer(slot.instance(), image).unwrap(), label);
    }

    #[test]
    fn a_model_that_is_refused_changes_nothing() {
        let engine = Engine::new(EngineConfig::default()).unwrap();
        let mut slot = Slot::new(prepare(&engine, digits::first().unwrap()).unwrap());
        let before = slot.model().digest();
        slot.prepare(engine, b"no module".to_vec()).unwrap();
        let (end, _) = until_exchanged(&mut slot);
        assert!(end.unwrap_err().contains("not a WebAssembly module"));
        assert_eq!((slot.model().digest(), slot.exchanges()), (before, 0));
    }
}
