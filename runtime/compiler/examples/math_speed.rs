//! What the functions of single numbers cost: nanoseconds for four numbers, of 4,096 in one model.
//!
//! `cargo run --release -p dunlin-compiler --example math_speed` prints a table, the least of 4,000 runs
//! at each SIMD level, because other work can only make a run longer.
#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "it is a measurement for people")]
#![allow(unreachable_pub, dead_code, reason = "it shares files with the tests")]

#[path = "../tests/compiler/builder.rs"]
mod builder;
#[rustfmt::skip]
#[path = "../src/import/onnx.rs"]
mod onnx;

use std::time::Instant;

use builder::{D, Model};
use dunlin_abi::Simd;
use dunlin_compiler::{Options, compile};
use wasmtime::{Engine, Instance, Module, Store};

const LEN: usize = 4096;
const RUNS: usize = 4000;

/// Operators, and between which numbers their operands lie.
const FUNCTIONS: [(&str, f32, f32); 14] = [
    ("Abs", -5.0, 5.0),
    ("Sqrt", 0.0, 5.0),
    ("Exp", -5.0, 5.0),
    ("Log", 0.0, 5.0),
    ("Sin", -5.0, 5.0),
    ("Cos", -5.0, 5.0),
    ("Tanh", -5.0, 5.0),
    ("Sigmoid", -5.0, 5.0),
    ("Erf", -5.0, 5.0),
    ("Pow", 0.0, 5.0),
    ("Max", -5.0, 5.0),
    ("Less", -5.0, 5.0),
    ("Gelu", -5.0, 5.0),
    ("Softmax", -5.0, 5.0),
];

fn main() {
    println!("{:8} {:>8} {:>13} {:>8}", "", "relaxed", "deterministic", "none");
    for (name, least, most) in FUNCTIONS {
        let [relaxed, deterministic, none] =
            [Simd::Relaxed, Simd::Deterministic, Simd::None].map(|simd| nanoseconds(name, least, most, simd));
        println!("{name:8} {relaxed:8.2} {deterministic:13.2} {none:8.2}");
    }
}

fn nanoseconds(operator: &str, least: f32, most: f32, simd: Simd) -> f64 {
    let dims = [D::Fixed(1), D::Fixed(LEN as i64)];
    let mut model = Model::new(20).input("x", &dims);
    let mut operands = vec!["x"];
    if ["Pow", "Max", "Less"].contains(&operator) {
        model = model.input("z", &dims);
        operands.push("z");
    }
    model = model.node(operator, &operands, "y", &[]);
    if operator == "Less" {
        // Truth values are no output of a model.
        model = model.node("Where", &["y", "x", "z"], "chosen", &[]).output("chosen");
    } else {
        model = model.output("y");
    }
    let compiled = compile(&model.bytes(), &Options { simd, ..Options::default() }).unwrap();
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let module = Module::new(&engine, &compiled.wasm).unwrap();
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let memory = instance.get_memory(&mut store, "memory").unwrap();
    let input = instance.get_typed_func::<i32, i32>(&mut store, "dunlin_input").unwrap();
    for index in 0..operands.len() {
        let address = input.call(&mut store, index as i32).unwrap() as usize;
        // Neither in order nor alike in both operands.
        let number = |i: usize| ((i * 1237 + index * 411) % LEN) as f32 / LEN as f32;
        let numbers = (0..LEN).map(|i| least + (most - least) * number(i));
        let bytes: Vec<u8> = numbers.flat_map(f32::to_le_bytes).collect();
        memory.write(&mut store, address, &bytes).unwrap();
    }
    let infer = instance.get_typed_func::<i32, i32>(&mut store, "dunlin_infer").unwrap();
    let mut shortest = f64::INFINITY;
    for _ in 0..RUNS {
        let start = Instant::now();
        assert_eq!(infer.call(&mut store, 1).unwrap(), 0);
        shortest = shortest.min(start.elapsed().as_secs_f64());
    }
    shortest * 1e9 / (LEN as f64 / 4.0)
}
