//! Runs a compiled module in wasmtime.

use dunlin_compiler::{Compiled, Options, compile};
use wasmtime::{Engine, Instance, Memory, Module, Store};

pub struct Running {
    store: Store<()>,
    instance: Instance,
    memory: Memory,
    pub compiled: Compiled,
}

/// Whether modules fill what holds nothing of use with NaN before every kernel.
pub fn poison() -> bool {
    std::env::var_os("DUNLIN_POISON").is_some_and(|value| value == "1")
}

impl Running {
    pub fn new(onnx: &[u8], options: &Options) -> Running {
        Running::as_shipped(onnx, &Options { poison: poison(), ..options.clone() })
    }

    /// Without anything that is for tests only.
    pub fn as_shipped(onnx: &[u8], options: &Options) -> Running {
        let compiled = compile(onnx, options).unwrap_or_else(|error| panic!("{error}"));
        let engine = Engine::default();
        let module = Module::new(&engine, &compiled.wasm).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        Running { store, instance, memory, compiled }
    }

    pub fn address(&mut self, function: &str, index: i32) -> usize {
        let function = self.instance.get_typed_func::<i32, i32>(&mut self.store, function).unwrap();
        function.call(&mut self.store, index).unwrap() as u32 as usize
    }

    /// Calls `dunlin_init`, which must be there.
    pub fn init(&mut self) {
        let init = self.instance.get_typed_func::<(), i32>(&mut self.store, "dunlin_init").unwrap();
        assert_eq!(init.call(&mut self.store, ()).unwrap(), 0);
    }

    pub fn status(&mut self, n: i32) -> i32 {
        let infer = self.instance.get_typed_func::<i32, i32>(&mut self.store, "dunlin_infer").unwrap();
        infer.call(&mut self.store, n).unwrap()
    }

    pub fn memory(&self) -> &[u8] {
        self.memory.data(&self.store)
    }

    pub fn write(&mut self, input: i32, values: &[f32]) {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.write_bytes(input, &bytes);
    }

    pub fn write_bytes(&mut self, input: i32, bytes: &[u8]) {
        let address = self.address("dunlin_input", input);
        self.memory.data_mut(&mut self.store)[address..address + bytes.len()].copy_from_slice(bytes);
    }

    pub fn read_bytes(&mut self, output: i32, count: usize) -> Vec<u8> {
        let address = self.address("dunlin_output", output);
        self.memory.data(&self.store)[address..address + count].to_vec()
    }

    pub fn read(&mut self, output: i32, samples: usize) -> Vec<f32> {
        let elements = self.compiled.report.card.outputs[output as usize].sample_elements().unwrap() as usize;
        let address = self.address("dunlin_output", output);
        let bytes = &self.memory.data(&self.store)[address..address + samples * elements * 4];
        bytes.chunks_exact(4).map(|word| f32::from_le_bytes(word.try_into().unwrap())).collect()
    }

    pub fn input_bytes(&mut self, input: i32, count: usize) -> Vec<u8> {
        let address = self.address("dunlin_input", input);
        self.memory.data(&self.store)[address..address + count].to_vec()
    }

    /// Runs `n` samples of the only input and gives the only output.
    pub fn infer(&mut self, n: usize, input: &[f32]) -> Vec<f32> {
        self.write(0, input);
        assert_eq!(self.status(n as i32), 0);
        let written = self.address("dunlin_input", 0);
        let kept = &self.memory()[written..written + input.len() * 4];
        assert!(kept.iter().copied().eq(input.iter().flat_map(|v| v.to_le_bytes())), "the input was written");
        self.read(0, n)
    }
}

/// The largest difference, relative to the largest expected number or 1.
pub fn difference(actual: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(actual.len(), expected.len());
    let scale = expected.iter().fold(1.0f64, |max, v| max.max(v.abs()));
    actual.iter().zip(expected).fold(0.0f64, |max, (a, e)| {
        let d = (f64::from(*a) - e).abs() / scale;
        if d.is_nan() { f64::INFINITY } else { max.max(d) }
    })
}
