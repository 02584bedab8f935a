//! Layers taken apart: called one by one, they compute what the whole computes.

use dunlin_abi::Simd;
use dunlin_compiler::{LAYERS_SECTION, Layer, Options, ProfileError, compile, layers, profiled};
use wasm_encoder::{CustomSection, Module};
use wasmtime::{Engine, Instance, Module as Compiled, Store};

use crate::builder::{D, Model, numbers};
use crate::run::Running;

fn model() -> Model {
    Model::new(17)
        .input("x", &[D::Symbol("n"), D::Fixed(20)])
        .f32("w", &[20, 40], &numbers(1, 800))
        .f32("v", &[40, 40], &numbers(2, 1600))
        .node("MatMul", &["x", "w"], "h", &[])
        .node("Tanh", &["h"], "t", &[])
        .node("MatMul", &["t", "v"], "a", &[])
        .node("MatMul", &["a", "v"], "b", &[])
        .node("Add", &["a", "b"], "c", &[])
        .node("Softmax", &["c"], "y", &[])
        .output("y")
}

#[test]
fn the_layers_in_turn_are_the_whole() {
    let onnx = model().bytes();
    let x = numbers(7, 20);
    for (max_batch, simd) in [(1, Simd::Relaxed), (3, Simd::Relaxed), (3, Simd::None)] {
        let options = Options { max_batch, simd, ..Options::default() };
        let mut running = Running::as_shipped(&onnx, &options);
        let expected = running.infer(1, &x);
        let parts = profiled(&running.compiled.wasm).unwrap();
        let mut layers = running.compiled.report.layers.clone();
        layers.iter_mut().for_each(|layer| layer.estimated_ns = 0);
        assert_eq!(parts.layers, layers);
        assert!(parts.layers.len() >= 4, "{:?}", parts.layers);

        let engine = Engine::default();
        let module = Compiled::new(&engine, &parts.wasm).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        let (input, output) = (running.address("dunlin_input", 0), running.address("dunlin_output", 0));
        let bytes: Vec<u8> = x.iter().flat_map(|number| number.to_le_bytes()).collect();
        memory.write(&mut store, input, &bytes).unwrap();
        // No time at all is no call, and a layer that is called twice computes the same again.
        for (times, same) in [(0, false), (1, true), (2, true)] {
            for export in &parts.exports {
                let layer = instance.get_typed_func::<u32, ()>(&mut store, export).unwrap();
                layer
                    .call(&mut store, if parts.exports.last() == Some(export) { times } else { times.min(1) })
                    .unwrap();
            }
            let found = &memory.data(&store)[output..output + 160];
            let found: Vec<f32> =
                found.chunks_exact(4).map(|word| f32::from_le_bytes(word.try_into().unwrap())).collect();
            assert_eq!(found == expected, same, "{times} times, batch {max_batch}, {simd:?}");
        }
        let infer = instance.get_typed_func::<i32, i32>(&mut store, "dunlin_infer").unwrap();
        assert_eq!(infer.call(&mut store, 1).unwrap(), 0, "what was there is still there");
    }
}

#[test]
fn the_section_tells_what_the_report_tells() {
    let compiled = compile(&model().bytes(), &Options::default()).unwrap();
    let mut told = compiled.report.layers.clone();
    told.iter_mut().for_each(|layer| layer.estimated_ns = 0);
    assert_eq!(layers(&compiled.wasm).unwrap(), Some(told));
    let macs: u64 = compiled.report.layers.iter().map(|layer| layer.macs).sum();
    assert_eq!(macs, compiled.report.macs);
    let guessed: u64 = compiled.report.layers.iter().map(|layer| layer.estimated_ns).sum();
    assert_eq!(guessed, compiled.report.estimated_ns);
    assert!(compiled.report.passes.iter().any(|(_, changes)| *changes > 0), "{:?}", compiled.report.passes);
    // What an earlier compiler did not write is not there.
    let short = r#"[{"node": "a", "operator": "Relu", "kernel": "map", "macs": 3}]"#;
    let read: Vec<Layer> = serde_json::from_str(short).unwrap();
    assert_eq!((read[0].weight_bytes, read[0].estimated_ns), (0, 0));
}

#[test]
fn a_module_that_is_not_ours_is_refused() {
    let section = |data: &[u8]| {
        let mut module = Module::new();
        module.section(&CustomSection { name: LAYERS_SECTION.into(), data: data.into() });
        module.finish()
    };
    assert_eq!(profiled(&Module::new().finish()).unwrap_err(), ProfileError::NoLayers);
    assert!(matches!(profiled(&section(b"[1]")).unwrap_err(), ProfileError::BadLayers(_)));
    assert_eq!(profiled(&section(b"[]")).unwrap_err(), ProfileError::NoInfer);
    assert!(matches!(profiled(b"rubbish").unwrap_err(), ProfileError::Damaged(_)));
    assert_eq!(layers(&Module::new().finish()).unwrap(), None);
    // Any cut and any flipped bit is an error or a module, never a panic.
    let wasm = compile(&model().bytes(), &Options::default()).unwrap().wasm;
    let code = wasm.len() - 800 * 4 - 1600 * 4;
    for place in 8..code {
        let mut broken = wasm.clone();
        broken[place] ^= 0x55;
        let _ = profiled(&broken);
        if place % 7 == 0 {
            let _ = profiled(&wasm[..place]);
        }
    }
}
