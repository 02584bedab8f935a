//! How weights are stored: as halves, which hold the numbers that a half can hold, and in the order of an
//! earlier module.

use dunlin_abi::Simd;
use dunlin_compiler::{Layer, Options, WeightFormat};

use crate::builder::{D, Model, numbers};
use crate::run::Running;

/// A dense layer of 96 to 100, with weights of 38,400 bytes.
fn model(weights: &[f32]) -> Vec<u8> {
    let model = Model::new(17).input("x", &[D::Symbol("n"), D::Fixed(96)]).f32("w", &[96, 100], weights);
    model.node("MatMul", &["x", "w"], "y", &[]).output("y").bytes()
}

#[test]
fn numbers_that_a_half_can_hold_stay_as_they_are() {
    // Steps of 2^-10 below 1, signs, zeros, and the smallest subnormal half.
    let mut weights: Vec<f32> = numbers(7, 9600).iter().map(|w| (w * 1024.0).round() / 1024.0).collect();
    (weights[0], weights[1], weights[2]) = (f32::from_bits(0x3380_0000), -0.0, -65_504.0);
    let x = numbers(8, 96);
    for simd in [Simd::Relaxed, Simd::Deterministic, Simd::None] {
        let stored = |weights_format| {
            let options = Options { simd, weights: weights_format, ..Options::default() };
            Running::new(&model(&weights), &options)
        };
        let (mut whole, mut half) = (stored(WeightFormat::F32), stored(WeightFormat::F16));
        half.init();
        assert_eq!(half.infer(1, &x), whole.infer(1, &x), "{simd:?}");
        let (whole, half) = (whole.compiled.report, half.compiled.report);
        assert!(
            half.weight_bytes * 2 <= whole.weight_bytes + 64,
            "{} of {}",
            half.weight_bytes,
            whole.weight_bytes
        );
    }
}

#[test]
fn a_tensor_that_no_half_can_hold_stays_as_it_is() {
    let mut weights = numbers(7, 9600);
    weights[5] = 70_000.0;
    let options = |weights| Options { weights, ..Options::default() };
    let x = numbers(8, 96);
    let mut whole = Running::new(&model(&weights), &options(WeightFormat::F32));
    let mut half = Running::new(&model(&weights), &options(WeightFormat::F16));
    assert_eq!(half.infer(1, &x), whole.infer(1, &x));
    assert_eq!(half.compiled.report.weight_bytes, whole.compiled.report.weight_bytes);
}

/// The large data segments of `rows` rows times a matrix, the layers, and the result.
fn product(rows: i64, like: &[Layer]) -> (Vec<Vec<u8>>, Vec<Layer>, Vec<f32>) {
    let model = Model::new(17).input("x", &[D::Fixed(rows), D::Fixed(96)]);
    let onnx = model.f32("w", &[96, 100], &numbers(7, 9600)).node("MatMul", &["x", "w"], "y", &[]);
    let options = Options { like: like.to_vec(), ..Options::default() };
    let mut running = Running::new(&onnx.output("y").bytes(), &options);
    let y = running.infer(1, &numbers(8, rows as usize * 96));
    let wasm = &running.compiled.wasm;
    let places = dunlin_sandbox::inspect(wasm).unwrap().segments;
    let large = places.iter().map(|place| wasm[place.start as usize..place.end as usize].to_vec());
    (large.collect(), dunlin_compiler::layers(wasm).unwrap().unwrap(), y)
}

#[test]
fn weights_lie_as_in_an_earlier_module() {
    let (old, layers, _) = product(1, &[]);
    let (own, _, expected) = product(64, &[]);
    assert_eq!((old.len(), own.len()), (1, 1));
    assert_ne!(old, own, "one row and 64 rows read them in different orders");
    let (kept, again, y) = product(64, &layers);
    assert_eq!(kept, old);
    assert_eq!(layers[0].block, again[0].block);
    assert!(y.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5));
}

#[test]
fn layers_of_anything_else_do_no_harm() {
    let (own, layers, expected) = product(3, &[]);
    for block in [None, Some(0), Some(1), Some(5), Some(1000), Some(u32::MAX)] {
        let like = Layer { block, ..layers[0].clone() };
        let (_, _, y) = product(3, &[like]);
        assert!(y.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5), "{block:?}");
    }
    let foreign = Layer { node: "another".into(), ..product(64, &[]).1[0].clone() };
    assert_eq!(product(3, &[foreign]).0, own);
}
