//! Random dense networks: the module gives what the evaluator gives.

use dunlin_abi::Simd;
use dunlin_compiler::Options;
use proptest::prelude::*;

use crate::builder::{D, Model, float, int, numbers};
use crate::evaluator::{Array, evaluate};
use crate::run::{Running, difference};

/// One layer of a random network.
#[derive(Clone, Debug)]
struct Layer {
    width: usize,
    gemm: bool,
    trans_b: bool,
    scale: (f32, f32),
    bias: u8,
    activation: u8,
}

fn layer() -> impl Strategy<Value = Layer> {
    let width = prop_oneof![1usize..12, 28usize..38, 60usize..70];
    let scale = prop_oneof![Just((1.0, 1.0)), Just((0.5, 2.0)), Just((1.0, 0.0))];
    (width, any::<bool>(), any::<bool>(), scale, 0u8..5, 0u8..5).prop_map(
        |(width, gemm, trans_b, scale, bias, activation)| Layer {
            width,
            gemm,
            trans_b,
            scale,
            bias,
            activation,
        },
    )
}

/// The network with a batch axis, or with `rows` fixed rows.
fn network(layers: &[Layer], start: usize, rows: Option<usize>, opset: i64) -> Model {
    let first = rows.map_or(D::Symbol("batch"), |rows| D::Fixed(rows as i64));
    let mut model = Model::new(opset).input("x", &[first, D::Fixed(start as i64)]);
    let (mut k, mut last) = (start, "x".to_string());
    for (index, layer) in layers.iter().enumerate() {
        let (n, seed) = (layer.width, index as u64 + 1);
        let name = |kind: &str| format!("{kind}{index}");
        let values: Vec<f32> = numbers(seed, k * n).iter().map(|v| v / (k as f32).sqrt()).collect();
        let trans_b = layer.gemm && layer.trans_b;
        let dims = if trans_b { [n as i64, k as i64] } else { [k as i64, n as i64] };
        model = model.f32(&name("w"), &dims, &values);
        let many_rows = rows.filter(|_| layer.bias == 3);
        let bias_dims: Vec<i64> = match (layer.bias, many_rows) {
            (0, _) => vec![n as i64],
            (1, _) => vec![1, n as i64],
            (2, _) => vec![],
            (3, Some(rows)) => vec![rows as i64, n as i64],
            (3, None) => vec![1, 1],
            _ => vec![1],
        };
        let bias = numbers(seed + 50, bias_dims.iter().product::<i64>() as usize);
        model = model.f32(&name("b"), &bias_dims, &bias);
        if layer.gemm {
            let attributes =
                [float("alpha", layer.scale.0), float("beta", layer.scale.1), int("transB", trans_b.into())];
            model = model.node("Gemm", &[&last, &name("w"), &name("b")], &name("s"), &attributes);
        } else {
            model = model.node("MatMul", &[&last, &name("w")], &name("p"), &[]);
            let operands = [name("p"), name("b")];
            let flip = usize::from(layer.trans_b);
            model = model.node("Add", &[&operands[flip], &operands[1 - flip]], &name("s"), &[]);
        }
        let activation = ["Relu", "Sigmoid", "Tanh", "Softmax", "Identity"][usize::from(layer.activation)];
        model = model.node(activation, &[&name("s")], &name("y"), &[]);
        (k, last) = (n, name("y"));
    }
    model.output(&last)
}

fn agree(model: &Model, start: usize, samples: usize, rows: usize, options: &Options) {
    let input = numbers(99, samples * rows * start);
    let mut running = Running::new(&model.bytes(), options);
    let actual = running.infer(samples, &input);
    let wide: Vec<f64> = input.iter().map(|v| f64::from(*v)).collect();
    let expected = evaluate(&model.proto, &[("x", Array::new(&[samples * rows, start], wide))]);
    let error = difference(&actual, &expected[0].data);
    assert!(error < 1e-5, "{error}");
}

fn level() -> impl Strategy<Value = Simd> {
    prop_oneof![Just(Simd::Relaxed), Just(Simd::Deterministic), Just(Simd::None)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_batch_gives_what_the_formulas_give(
        layers in prop::collection::vec(layer(), 1..4),
        start in 1usize..70,
        max_batch in 1u32..6,
        fewer in 0u32..3,
        simd in level(),
    ) {
        let model = network(&layers, start, None, 13);
        let options = Options { max_batch, simd, ..Options::default() };
        agree(&model, start, max_batch.saturating_sub(fewer).max(1) as usize, 1, &options);
    }

    #[test]
    fn fixed_rows_give_what_the_formulas_give(
        layers in prop::collection::vec(layer(), 1..4),
        start in 1usize..40,
        rows in 1usize..5,
        opset in prop_oneof![Just(11i64), Just(17)],
        simd in level(),
    ) {
        let model = network(&layers, start, Some(rows), opset);
        agree(&model, start, 1, rows, &Options { simd, ..Options::default() });
    }
}
