//! Weights stored as halves: half the bytes, and the numbers that a half can hold are the same.

use dunlin_abi::Simd;
use dunlin_compiler::{Options, WeightFormat};

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
