//! Every operator by itself, in the forms that random networks do not reach.

use dunlin_abi::Simd;
use dunlin_compiler::{Constant, ConstantData, Options, compile};

use crate::builder::{D, Model, float, int, numbers};
use crate::evaluator::{Array, evaluate};
use crate::run::{Running, difference};

fn elements(dims: &[i64]) -> usize {
    dims.iter().product::<i64>() as usize
}

/// Compares a model of fixed inputs with the evaluator, at every SIMD level.
fn check(model: &Model, inputs: &[(&str, &[i64])]) {
    let data: Vec<Vec<f32>> =
        inputs.iter().zip(7u64..).map(|((_, dims), seed)| numbers(seed, elements(dims))).collect();
    let arrays: Vec<(&str, Array)> = inputs
        .iter()
        .zip(&data)
        .map(|((name, dims), data)| {
            let shape: Vec<usize> = dims.iter().map(|d| *d as usize).collect();
            (*name, Array::new(&shape, data.iter().map(|v| f64::from(*v)).collect()))
        })
        .collect();
    let expected = evaluate(&model.proto, &arrays);
    for simd in [Simd::Relaxed, Simd::Deterministic, Simd::None] {
        let mut running = Running::new(&model.bytes(), &Options { simd, ..Options::default() });
        for (index, values) in (0i32..).zip(&data) {
            running.write(index, values);
        }
        assert_eq!(running.status(1), 0);
        for (index, expected) in (0i32..).zip(&expected) {
            let shape: Vec<u64> = expected.shape.iter().map(|e| *e as u64).collect();
            let declared = running.compiled.report.card.outputs[index as usize].shape.clone();
            let declared: Vec<u64> = declared
                .iter()
                .map(|dim| match dim {
                    dunlin_abi::Dim::Fixed(extent) => u64::from(*extent),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(declared, shape, "{simd:?}");
            let error = difference(&running.read(index, 1), &expected.data);
            assert!(error < 1e-6, "{simd:?}: {error}");
        }
    }
}

fn dims(dims: &[i64]) -> Vec<D> {
    dims.iter().map(|d| D::Fixed(*d)).collect()
}

#[test]
fn arithmetic_broadcasts_like_numpy() {
    let shapes: [(&[i64], &[i64]); 9] = [
        (&[2, 3, 5], &[2, 3, 5]),
        (&[2, 3, 5], &[5]),
        (&[2, 3, 5], &[3, 1]),
        (&[3, 1], &[2, 1, 5]),
        (&[2, 3, 5], &[1]),
        (&[4, 1, 2, 1], &[1, 3, 1, 6]),
        (&[17], &[17]),
        (&[1, 1], &[1]),
        (&[2, 1, 3, 1], &[2, 4, 3, 5]),
    ];
    for operator in ["Add", "Sub", "Mul"] {
        for (a, b) in shapes {
            let model = Model::new(17).input("a", &dims(a)).input("b", &dims(b));
            check(&model.node(operator, &["a", "b"], "y", &[]).output("y"), &[("a", a), ("b", b)]);
            let fixed = Model::new(17).input("a", &dims(a)).f32("b", b, &numbers(3, elements(b)));
            check(&fixed.node(operator, &["b", "a"], "y", &[]).output("y"), &[("a", a)]);
        }
    }
    let model = Model::new(17).input("a", &dims(&[2, 3])).f32("b", &[3], &[0.5, -4.0, 3.0]);
    check(&model.node("Div", &["a", "b"], "y", &[]).output("y"), &[("a", &[2, 3])]);
}

#[test]
fn softmax_works_along_every_axis_and_in_the_old_form() {
    for (opset, shape, axes) in
        [(17, &[3, 7, 5][..], -1..3), (17, &[2, 6, 1][..], 0..3), (11, &[2, 3, 5][..], 0..3)]
    {
        for axis in axes {
            let model = Model::new(opset).input("x", &dims(shape));
            check(&model.node("Softmax", &["x"], "y", &[int("axis", axis)]).output("y"), &[("x", shape)]);
        }
    }
}

#[test]
fn matrix_products_have_all_their_forms() {
    let forms: [(&[i64], &[i64], bool); 9] = [
        (&[4, 6], &[6, 9], true),
        (&[4, 6], &[6, 9], false),
        (&[2, 3, 6], &[6, 5], true),
        (&[2, 3, 6], &[6, 33], false),
        (&[1, 3, 6], &[1, 6, 5], true),
        (&[3, 6], &[6, 1], true),
        (&[1, 300], &[300, 37], true),
        (&[5, 13], &[13, 4], false),
        (&[5, 1], &[1, 34], false),
    ];
    for (a, b, constant) in forms {
        let model = Model::new(17).input("a", &dims(a));
        let values = numbers(5, elements(b));
        let model = if constant { model.f32("b", b, &values) } else { model.input("b", &dims(b)) };
        let inputs: &[(&str, &[i64])] = if constant { &[("a", a)] } else { &[("a", a), ("b", b)] };
        check(&model.node("MatMul", &["a", "b"], "y", &[]).output("y"), inputs);
    }
    // A constant on the left.
    let model = Model::new(17).input("b", &dims(&[6, 9])).f32("a", &[3, 6], &numbers(2, 18));
    check(&model.node("MatMul", &["a", "b"], "y", &[]).output("y"), &[("b", &[6, 9])]);
}

#[test]
fn gemm_transposes_scales_and_adds() {
    for (a, b, c, trans_a, trans_b) in [
        ([6i64, 4], [6i64, 9], &[4i64, 9][..], 1i64, 0i64),
        ([6, 4], [9, 6], &[4, 1], 1, 1),
        ([4, 6], [9, 6], &[9], 0, 1),
        ([4, 6], [6, 9], &[1, 1], 0, 0),
    ] {
        let attributes =
            [int("transA", trans_a), int("transB", trans_b), float("alpha", 0.25), float("beta", 1.5)];
        let model = Model::new(17).input("a", &dims(&a)).f32("b", &b, &numbers(4, 54));
        let fixed = model.clone().f32("c", c, &numbers(5, elements(c)));
        check(&fixed.node("Gemm", &["a", "b", "c"], "y", &attributes).output("y"), &[("a", &a)]);
        let free = model.input("c", &dims(c));
        let inputs: [(&str, &[i64]); 2] = [("a", &a), ("c", c)];
        check(&free.node("Gemm", &["a", "b", "c"], "y", &attributes).output("y"), &inputs);
    }
    let model = Model::new(17).input("a", &dims(&[2, 3])).input("b", &dims(&[3, 5])).input("c", &dims(&[5]));
    let attributes = [float("alpha", 2.0), float("beta", -1.0)];
    let inputs: [(&str, &[i64]); 3] = [("a", &[2, 3]), ("b", &[3, 5]), ("c", &[5])];
    check(&model.node("Gemm", &["a", "b", "c"], "y", &attributes).output("y"), &inputs);
}

#[test]
fn an_output_may_be_an_input_a_constant_or_used_further() {
    let model = Model::new(17)
        .input("x", &dims(&[2, 3]))
        .f32("c", &[5], &numbers(1, 5))
        .node("Identity", &["x"], "same", &[])
        .node("Relu", &["x"], "r", &[])
        .node("Tanh", &["r"], "t", &[])
        .node("Identity", &["t"], "u", &[])
        .output("same")
        .output("c")
        .output("r")
        .output("t")
        .output("u");
    check(&model, &[("x", &[2, 3])]);
}

#[test]
fn constants_are_folded_whatever_the_operator() {
    let model = Model::new(17)
        .input("x", &dims(&[2, 4]))
        .f32("a", &[4, 4], &numbers(1, 16))
        .f32("b", &[4], &numbers(2, 4))
        .node("Mul", &["a", "b"], "ab", &[])
        .node("Softmax", &["ab"], "p", &[])
        .node("Tanh", &["p"], "t", &[])
        .node("MatMul", &["t", "a"], "w", &[])
        .node("Gemm", &["x", "w", "b"], "y", &[])
        .output("y");
    check(&model, &[("x", &[2, 4])]);
    let compiled = compile(&model.bytes(), &Options::default()).unwrap();
    assert_eq!((compiled.report.macs, compiled.report.parameters), (2 * 4 * 4, 20));
}

#[test]
fn products_that_are_read_twice_keep_their_value() {
    let model = Model::new(17)
        .input("x", &dims(&[2, 4]))
        .f32("w", &[4, 3], &numbers(1, 12))
        .f32("b", &[3], &numbers(2, 3))
        .node("MatMul", &["x", "w"], "p", &[])
        .node("Add", &["p", "b"], "s", &[])
        .node("Relu", &["s"], "r", &[])
        .node("Sub", &["p", "r"], "d", &[])
        .node("Add", &["d", "d"], "y", &[])
        .output("y");
    check(&model, &[("x", &[2, 4])]);
}

#[test]
fn an_input_can_become_a_constant() {
    let model = Model::new(17)
        .input("x", &[D::Symbol("n"), D::Fixed(3)])
        .input("scale", &[D::Fixed(3)])
        .node("Mul", &["x", "scale"], "y", &[])
        .output("y");
    let scale = Constant::new(vec![3], ConstantData::F32(vec![2.0, 3.0, 4.0])).unwrap();
    let constants = vec![("scale".to_string(), scale)];
    let mut running =
        Running::new(&model.bytes(), &Options { constants, max_batch: 2, ..Options::default() });
    assert_eq!(running.infer(2, &[1.0, 1.0, 1.0, 2.0, 2.0, 2.0]), [2.0, 3.0, 4.0, 4.0, 6.0, 8.0]);
}

#[test]
fn a_matrix_product_within_each_sample_stays_within_it() {
    let model = Model::new(17)
        .input("x", &[D::Symbol("n"), D::Fixed(2), D::Fixed(3)])
        .input("z", &[D::Symbol("n"), D::Fixed(3), D::Fixed(5)])
        .node("MatMul", &["x", "z"], "y", &[])
        .output("y");
    let (x, z) = (numbers(1, 3 * 6), numbers(2, 3 * 15));
    let mut running = Running::new(&model.bytes(), &Options { max_batch: 3, ..Options::default() });
    running.write(0, &x);
    running.write(1, &z);
    assert_eq!(running.status(3), 0);
    let wide = |v: &[f32]| v.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
    let inputs = [("x", Array::new(&[3, 2, 3], wide(&x))), ("z", Array::new(&[3, 3, 5], wide(&z)))];
    let expected = evaluate(&model.proto, &inputs);
    assert!(difference(&running.read(0, 3), &expected[0].data) < 1e-6);
}
