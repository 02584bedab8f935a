//! wasmtime with the settings of the sandbox, and tract inside of it.
//!
//! The settings are those of `runtime/sandbox/src/engine.rs` for modules without a proof; tract gets more
//! stack, because it optimises its model in there.

use anyhow::Context;
use wasmtime::{Config, Engine, Instance, Memory, Module, Store, TypedFunc};

use crate::{Candidate, floats};

/// Instantiates a module without imports.
pub(crate) fn instantiate(bytes: &[u8], stack_bytes: usize) -> anyhow::Result<(Store<()>, Instance)> {
    let mut settings = Config::new();
    settings
        .epoch_interruption(true)
        .consume_fuel(false)
        .max_wasm_stack(stack_bytes)
        .parallel_compilation(true)
        .wasm_simd(true)
        .wasm_relaxed_simd(true)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .wasm_tail_call(false)
        .wasm_extended_const(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false);
    let engine = Engine::new(&settings)?;
    let module = Module::new(&engine, bytes)?;
    let mut store = Store::new(&engine, ());
    // The code compares with the epoch as on a device; nobody advances it.
    store.set_epoch_deadline(u64::MAX / 2);
    let instance = Instance::new(&mut store, &module, &[])?;
    Ok((store, instance))
}

/// The module of `tract-guest`, with epoch interruption as a guest on a device has it.
pub(crate) struct TractGuest {
    store: Store<()>,
    memory: Memory,
    run: TypedFunc<(), u32>,
    place: TypedFunc<(), u32>,
    numbers: usize,
}

impl TractGuest {
    pub(crate) fn load(guest: &str, model: &str) -> anyhow::Result<TractGuest> {
        let bytes = std::fs::read(guest).context("cannot read the module of tract")?;
        let onnx = std::fs::read(model).context("cannot read the model")?;
        let (mut store, instance) = instantiate(&bytes, 2 << 20)?;
        let memory = instance.get_memory(&mut store, "memory").context("no memory")?;
        // A module without a `main` has its constructors here; tract registers its kernels with them.
        if let Ok(constructors) = instance.get_typed_func::<(), ()>(&mut store, "_initialize") {
            constructors.call(&mut store, ())?;
        }
        let room = instance.get_typed_func::<u32, u32>(&mut store, "room")?;
        let address = room.call(&mut store, u32::try_from(onnx.len())?)?;
        memory.write(&mut store, address as usize, &onnx)?;
        let refusal = instance.get_typed_func::<(), u32>(&mut store, "load")?.call(&mut store, ())?;
        if refusal > 0 {
            let address = instance.get_typed_func::<(), u32>(&mut store, "message")?.call(&mut store, ())?;
            let mut text = vec![0; refusal as usize];
            memory.read(&store, address as usize, &mut text)?;
            anyhow::bail!("{}", String::from_utf8_lossy(&text).trim());
        }
        let run = instance.get_typed_func(&mut store, "run")?;
        let place = instance.get_typed_func(&mut store, "output")?;
        Ok(TractGuest { store, memory, run, place, numbers: 0 })
    }
}

impl Candidate for TractGuest {
    fn call(&mut self) -> anyhow::Result<()> {
        self.numbers = self.run.call(&mut self.store, ())? as usize;
        anyhow::ensure!(self.numbers > 0, "tract failed");
        Ok(())
    }

    fn output(&mut self) -> anyhow::Result<Vec<f32>> {
        let address = self.place.call(&mut self.store, ())? as usize;
        let range = address..address + 4 * self.numbers;
        Ok(floats(self.memory.data(&self.store).get(range).context("outside of memory")?))
    }
}
