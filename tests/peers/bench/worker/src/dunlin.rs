//! Dunlin, compiled from the ONNX file: in the sandbox as a device runs it, and with checks in its loops.
//!
//! `Sandboxed` is what `dunlin bench` measures: `dunlin-sandbox` with its own settings, which proves that
//! these models end in time. `Checked` runs the same module in wasmtime with a check for its deadline in
//! every loop, as a module without a proof is run; what lies between the two is the price of checks.

use anyhow::Context;
use dunlin_core::VerifiedArtifact;
use dunlin_sandbox::{Admission, Engine, EngineConfig, Instance, Limits};
use wasmtime::{Memory, Store, TypedFunc};

use crate::{Candidate, floats, number, wasm};

pub(crate) struct Sandboxed(Instance);

fn module(path: &str) -> anyhow::Result<Vec<u8>> {
    let onnx = std::fs::read(path).context("cannot read the model")?;
    Ok(dunlin_compiler::compile(&onnx, &dunlin_compiler::Options::default())?.wasm)
}

fn fill(bytes: &mut [u8]) {
    for (place, element) in bytes.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        *element = number(place).to_le_bytes();
    }
}

impl Sandboxed {
    pub(crate) fn load(path: &str) -> anyhow::Result<Sandboxed> {
        let bytes = module(path)?;
        let summary = dunlin_sandbox::inspect(&bytes)?;
        let limits = Limits { memory_bytes: 4 << 30, ..Limits::default() };
        let admission = Admission { limits, imports: summary.imports, card_digest: None };
        let admitted = dunlin_sandbox::admit(VerifiedArtifact::trust_local(bytes), &admission)?;
        let mut instance = Engine::new(EngineConfig::default())?.compile(admitted)?.instantiate()?;
        for index in 0..instance.card().inputs.len() {
            fill(instance.input_mut(index)?);
        }
        Ok(Sandboxed(instance))
    }
}

impl Candidate for Sandboxed {
    fn call(&mut self) -> anyhow::Result<()> {
        Ok(self.0.infer(1)?)
    }

    fn output(&mut self) -> anyhow::Result<Vec<f32>> {
        Ok(floats(self.0.output(0, 1)?))
    }
}

pub(crate) struct Checked {
    store: Store<()>,
    memory: Memory,
    infer: TypedFunc<u32, i32>,
    output: std::ops::Range<usize>,
}

impl Checked {
    pub(crate) fn load(path: &str) -> anyhow::Result<Checked> {
        let bytes = module(path)?;
        let card = dunlin_sandbox::inspect(&bytes)?.card;
        let (mut store, instance) = wasm::instantiate(&bytes, 256 * 1024)?;
        let memory = instance.get_memory(&mut store, "memory").context("no memory")?;
        if let Ok(init) = instance.get_typed_func::<(), i32>(&mut store, "dunlin_init") {
            anyhow::ensure!(init.call(&mut store, ())? == 0, "dunlin_init failed");
        }
        let mut places = |name: &str, tensor: &dunlin_abi::TensorSpec, index: u32| {
            let address = instance.get_typed_func::<u32, u32>(&mut store, name)?.call(&mut store, index)?;
            let elements: u64 = tensor.shape.iter().map(extent).product();
            let bytes = (elements * u64::from(tensor.dtype.size())) as usize;
            anyhow::Ok(address as usize..address as usize + bytes)
        };
        let mut inputs = Vec::new();
        for (index, tensor) in (0..).zip(&card.inputs) {
            inputs.push(places("dunlin_input", tensor, index)?);
        }
        let output = places("dunlin_output", card.outputs.first().context("no output")?, 0)?;
        for range in inputs {
            fill(memory.data_mut(&mut store).get_mut(range).context("an input is outside of memory")?);
        }
        let infer = instance.get_typed_func(&mut store, "dunlin_infer")?;
        Ok(Checked { store, memory, infer, output })
    }
}

fn extent(dim: &dunlin_abi::Dim) -> u64 {
    match *dim {
        dunlin_abi::Dim::Batch => 1,
        dunlin_abi::Dim::Fixed(extent) | dunlin_abi::Dim::AtMost(extent) => extent.into(),
    }
}

impl Candidate for Checked {
    fn call(&mut self) -> anyhow::Result<()> {
        anyhow::ensure!(self.infer.call(&mut self.store, 1)? == 0, "dunlin_infer failed");
        Ok(())
    }

    fn output(&mut self) -> anyhow::Result<Vec<f32>> {
        Ok(floats(self.memory.data(&self.store).get(self.output.clone()).context("outside of memory")?))
    }
}
