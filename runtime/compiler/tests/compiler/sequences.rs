//! Models of sequences as exporters write them: samples joined with other axes, heads of attention, and
//! normalisations that were taken apart. What is expected is computed from the formulas, naively.

use dunlin_abi::{Dim, Simd};
use dunlin_compiler::{CompileError, Options, compile};

use crate::builder::{D, Model, float, int, ints, numbers, string};
use crate::run::{Running, difference};

const LEVELS: [Simd; 3] = [Simd::Relaxed, Simd::Deterministic, Simd::None];

fn options(max_batch: u32, simd: Simd) -> Options {
    Options { max_batch, simd, ..Options::default() }
}

/// Runs `n` samples of every input at every level and compares the only output.
fn check(model: &Model, n: usize, inputs: &[Vec<f32>], expected: &[f64]) {
    for simd in LEVELS {
        let mut running = Running::new(&model.bytes(), &options(n as u32, simd));
        for (index, input) in (0i32..).zip(inputs) {
            running.write(index, input);
        }
        assert_eq!(running.status(n as i32), 0);
        let error = difference(&running.read(0, n), expected);
        assert!(error < 3e-6, "{simd:?}: {error}");
    }
}

/// The kernels of the compiled model, by their titles.
fn kernels(model: &Model) -> Vec<String> {
    let compiled = compile(&model.bytes(), &Options::default()).unwrap_or_else(|error| panic!("{error}"));
    compiled.report.layers.into_iter().map(|layer| layer.kernel).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

/// `[rows, k] x [k, n]`
fn product(x: &[f64], w: &[f64], k: usize, n: usize) -> Vec<f64> {
    let row = |x: &[f64]| (0..n).map(|j| (0..k).map(|i| x[i] * w[i * n + j]).sum()).collect::<Vec<f64>>();
    x.chunks(k).flat_map(row).collect()
}

#[test]
fn a_dense_layer_over_joined_samples_is_one_kernel() {
    let (w, b) = (numbers(1, 30), numbers(2, 5));
    let model = Model::new(17)
        .input("x", &[D::Symbol("n"), D::Fixed(4), D::Fixed(6)])
        .f32("w", &[6, 5], &w)
        .f32("b", &[5], &b)
        .i64("rows", &[2], &[-1, 6])
        .i64("apart", &[3], &[-1, 4, 5])
        .node("Reshape", &["x", "rows"], "r", &[])
        .node("Gemm", &["r", "w", "b"], "g", &[])
        .node("Relu", &["g"], "a", &[])
        .node("Reshape", &["a", "apart"], "y", &[])
        .output("y");
    let x = numbers(3, 3 * 24);
    let sums = product(&wide(&x), &wide(&w), 6, 5);
    let expected: Vec<f64> = sums
        .chunks(5)
        .flat_map(|row| row.iter().zip(&b).map(|(s, b)| (s + f64::from(*b)).max(0.0)))
        .collect();
    check(&model, 3, &[x], &expected);
    assert_eq!(kernels(&model).iter().filter(|kernel| !kernel.starts_with("product")).count(), 0);
}

#[test]
fn an_output_of_joined_samples_is_told_apart_on_the_card() {
    let model = Model::new(17)
        .input("x", &[D::Symbol("n"), D::Fixed(4), D::Fixed(6)])
        .i64("rows", &[2], &[-1, 3])
        .node("Reshape", &["x", "rows"], "r", &[])
        .node("Neg", &["r"], "y", &[])
        .output("y");
    let compiled = compile(&model.bytes(), &options(2, Simd::Relaxed)).unwrap();
    assert_eq!(compiled.report.card.outputs[0].shape, [Dim::Batch, Dim::Fixed(8), Dim::Fixed(3)]);
    assert!(compiled.report.warnings.iter().any(|warning| warning.contains("n * 8")));
    let x = numbers(3, 2 * 24);
    let expected: Vec<f64> = x.iter().map(|v| -f64::from(*v)).collect();
    check(&model, 2, &[x], &expected);
}

#[test]
fn shape_arithmetic_may_multiply_the_batch_size() {
    // [n, 4, 6] as [n * 4, 6] by ReduceProd, as tf2onnx writes it, and back.
    let model = Model::new(17)
        .input("x", &[D::Symbol("n"), D::Fixed(4), D::Fixed(6)])
        .i64("front", &[2], &[0, 1])
        .i64("back", &[1], &[2])
        .i64("rest", &[1], &[-1])
        .node("Shape", &["x"], "shape", &[])
        .node("Cast", &["shape"], "narrow", &[int("to", 6)])
        .node("Gather", &["narrow", "front"], "f", &[])
        .node("ReduceProd", &["f"], "p", &[int("keepdims", 1)])
        .node("Cast", &["p"], "q", &[int("to", 7)])
        .node("Concat", &["q", "rest"], "joined", &[int("axis", 0)])
        .node("Reshape", &["x", "joined"], "r", &[])
        .node("Abs", &["r"], "a", &[])
        .node("Reshape", &["a", "shape"], "y", &[])
        .output("y");
    let x = numbers(3, 2 * 24);
    let expected: Vec<f64> = x.iter().map(|v| f64::from(v.abs())).collect();
    check(&model, 2, &[x], &expected);
    let back = model.clone().node("Gather", &["shape", "back"], "z", &[]);
    assert!(compile(&back.bytes(), &Options::default()).is_ok());
}

#[test]
fn joined_samples_do_not_mix() {
    let joined = Model::new(17)
        .input("x", &[D::Symbol("n"), D::Fixed(4), D::Fixed(6)])
        .i64("rows", &[2], &[-1, 6])
        .node("Reshape", &["x", "rows"], "r", &[]);
    let wrong = [
        joined.clone().node("ReduceSum", &["r"], "y", &[]).output("y"),
        joined.clone().node("Softmax", &["r"], "y", &[int("axis", 0)]).output("y"),
        joined.clone().f32("c", &[4, 6], &[1.0; 24]).node("Add", &["r", "c"], "y", &[]).output("y"),
        joined.clone().node("Flatten", &["r"], "y", &[int("axis", 0)]).output("y"),
        joined.i64("s", &[3], &[4, -1, 6]).node("Reshape", &["r", "s"], "y", &[]).output("y"),
    ];
    for model in wrong {
        let error = compile(&model.bytes(), &Options::default()).unwrap_err();
        assert!(matches!(error, CompileError::Unsupported(_)), "{error}");
    }
}

/// `softmax(q k' * scale + mask) v` for `[heads, rows, size]`.
fn attention(
    q: &[f64],
    k: &[f64],
    v: &[f64],
    (rows, columns, size): (usize, usize, usize),
    causal: bool,
) -> Vec<f64> {
    let mut y = Vec::new();
    for head in 0..q.len() / (rows * size) {
        for i in 0..rows {
            let q = &q[(head * rows + i) * size..][..size];
            let score = |j: usize| -> f64 {
                let k = &k[(head * columns + j) * size..][..size];
                q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>() / (size as f64).sqrt()
            };
            let until = if causal { i + 1 } else { columns };
            let exps: Vec<f64> = (0..until).map(|j| score(j).exp()).collect();
            let sum: f64 = exps.iter().sum();
            y.extend((0..size).map(|c| {
                exps.iter()
                    .enumerate()
                    .map(|(j, e)| e / sum * v[(head * columns + j) * size + c])
                    .sum::<f64>()
            }));
        }
    }
    y
}

#[test]
fn the_operator_for_attention_is_attention() {
    let (heads, rows, columns, size) = (3, 5, 7, 8);
    let [q, k, v] =
        [(1, rows), (2, columns), (3, columns)].map(|(seed, len)| numbers(seed, 2 * heads * len * size));
    for causal in [false, true] {
        let dims = |len: usize| [D::Symbol("n"), D::Fixed(3), D::Fixed(len as i64), D::Fixed(8)];
        let model = Model::new(23)
            .input("q", &dims(rows))
            .input("k", &dims(columns))
            .input("v", &dims(columns))
            .node("Attention", &["q", "k", "v"], "y", &[int("is_causal", causal.into())])
            .output("y");
        let expected = attention(&wide(&q), &wide(&k), &wide(&v), (rows, columns, size), causal);
        check(&model, 2, &[q.clone(), k.clone(), v.clone()], &expected);
    }
}

#[test]
fn heads_are_split_and_joined_without_copies() {
    // As PyTorch writes it: the samples are joined with the heads, and come second.
    let (heads, rows, size) = (2i64, 6i64, 4i64);
    let wide_rows = heads * size;
    let w = numbers(1, (wide_rows * 3 * wide_rows) as usize);
    let model = Model::new(17)
        .input("x", &[D::Symbol("n"), D::Fixed(rows), D::Fixed(wide_rows)])
        .f32("w", &[wide_rows, 3 * wide_rows], &w)
        .f32("scale", &[1], &[0.5])
        .f32(
            "eye",
            &[wide_rows, wide_rows],
            &(0..64).map(|i| f32::from(u8::from(i / 8 == i % 8))).collect::<Vec<_>>(),
        )
        .i64("three", &[4], &[rows, -1, 3, wide_rows])
        .i64("by_head", &[3], &[rows, -1, size])
        .i64("flat", &[2], &[-1, wide_rows])
        .i64("apart", &[3], &[rows, -1, wide_rows])
        .node("Transpose", &["x"], "t", &[ints("perm", &[1, 0, 2])])
        .node("MatMul", &["t", "w"], "p", &[])
        .node("Reshape", &["p", "three"], "p4", &[]);
    let part = |model: Model, name: &str, place: i64| {
        let (index, one, joined) = (format!("{name}i"), format!("{name}1"), format!("{name}2"));
        model
            .i64(&index, &[], &[place])
            .node("Gather", &["p4", &index], &one, &[int("axis", 2)])
            .node("Reshape", &[&one, "by_head"], &joined, &[])
            .node("Transpose", &[&joined], name, &[ints("perm", &[1, 0, 2])])
    };
    let model = part(part(part(model, "q", 0), "k", 1), "v", 2)
        .i64("headed", &[4], &[-1, heads, rows, size])
        .node("Mul", &["q", "scale"], "qs", &[])
        .node("Transpose", &["k"], "kt", &[ints("perm", &[0, 2, 1])])
        .node("MatMul", &["qs", "kt"], "s", &[])
        .node("Softmax", &["s"], "a", &[int("axis", -1)])
        .node("MatMul", &["a", "v"], "o", &[])
        .node("Reshape", &["o", "headed"], "o4", &[])
        .node("Transpose", &["o4"], "ot", &[ints("perm", &[2, 0, 1, 3])])
        .node("Reshape", &["ot", "flat"], "of", &[])
        .node("MatMul", &["of", "eye"], "z", &[])
        .node("Reshape", &["z", "apart"], "z3", &[])
        .node("Transpose", &["z3"], "zt", &[ints("perm", &[1, 0, 2])])
        .node("Add", &["zt", "x"], "y", &[])
        .output("y");
    let x = numbers(5, 3 * (rows * wide_rows) as usize);
    let mut expected = Vec::new();
    for sample in wide(&x).chunks((rows * wide_rows) as usize) {
        let p = product(sample, &wide(&w), wide_rows as usize, 3 * wide_rows as usize);
        let head = |part: usize| -> Vec<f64> {
            let place = |h: usize, r: usize, c: usize| p[r * 24 + part * 8 + h * 4 + c];
            (0..2)
                .flat_map(|h| (0..6).flat_map(move |r| (0..4).map(move |c| (h, r, c))))
                .map(|(h, r, c)| place(h, r, c))
                .collect()
        };
        let y = attention(&head(0), &head(1), &head(2), (6, 6, 4), false);
        expected.extend(
            (0..6)
                .flat_map(|r| (0..8).map(move |c| (r, c)))
                .map(|(r, c)| y[(c / 4 * 6 + r) * 4 + c % 4] + sample[r * 8 + c]),
        );
    }
    check(&model, 3, &[x], &expected);
    let kernels = kernels(&model);
    let moves = kernels.iter().filter(|kernel| kernel.starts_with("copy") || kernel.starts_with("element"));
    // Keys are turned; nothing else is moved, scaled or added by itself.
    assert_eq!(moves.count(), 1, "{kernels:?}");
}

#[test]
fn products_by_equation_are_products() {
    let equations: [(&str, &[usize], &[usize]); 9] = [
        ("abc,cde->abde", &[2, 5, 6], &[6, 3, 4]),
        ("aecd,abcd->acbe", &[2, 5, 3, 4], &[2, 7, 3, 4]),
        ("acbe,aecd->abcd", &[2, 3, 7, 5], &[2, 5, 3, 4]),
        ("abcd,cde->abe", &[2, 5, 3, 4], &[3, 4, 6]),
        ("ij,jk->ik", &[3, 4], &[4, 5]),
        ("ij,kj->ki", &[3, 4], &[5, 4]),
        ("bc,bc->b", &[3, 4], &[3, 4]),
        ("i,j->ij", &[3], &[4]),
        ("bhqk,bkhd->bqhd", &[2, 3, 4, 6], &[2, 6, 3, 5]),
    ];
    for (equation, a, b) in equations {
        let dims = |shape: &[usize]| shape.iter().map(|e| D::Fixed(*e as i64)).collect::<Vec<_>>();
        let model = Model::new(17)
            .input("a", &dims(a))
            .input("b", &dims(b))
            .node("Einsum", &["a", "b"], "y", &[string("equation", equation)])
            .output("y");
        let data = [numbers(1, a.iter().product()), numbers(2, b.iter().product())];
        let (operands, result) = equation.split_once("->").unwrap();
        let (left, right) = operands.split_once(',').unwrap();
        let letters: Vec<char> = {
            let mut all: Vec<char> = result.chars().chain(left.chars()).chain(right.chars()).collect();
            let mut once = Vec::new();
            all.drain(..).for_each(|l| {
                if !once.contains(&l) {
                    once.push(l)
                }
            });
            once
        };
        let extent = |l: &char| left.find(*l).map_or_else(|| b[right.find(*l).unwrap()], |at| a[at]);
        let extents: Vec<usize> = letters.iter().map(extent).collect();
        let place = |text: &str, at: &[usize]| {
            text.chars().fold(0, |place, l| {
                let axis = letters.iter().position(|other| *other == l).unwrap();
                place * extents[axis] + at[axis]
            })
        };
        let mut expected = vec![0.0; result.chars().map(|l| extent(&l)).product()];
        for at in crate::evaluator::coordinates(&extents) {
            expected[place(result, &at)] +=
                f64::from(data[0][place(left, &at)]) * f64::from(data[1][place(right, &at)]);
        }
        check(&model, 1, &data, &expected);
    }
}

fn triangle(upper: bool, k: i64, x: &[f32], rows: usize, columns: usize) -> Vec<f64> {
    let kept = |place: usize| {
        let distance = (place % columns) as i64 - (place / columns % rows) as i64;
        if upper { distance >= k } else { distance <= k }
    };
    x.iter().enumerate().map(|(place, v)| if kept(place) { f64::from(*v) } else { 0.0 }).collect()
}

#[test]
fn triangles_are_cut() {
    let x = numbers(1, 40);
    for (upper, k) in
        [(true, 0), (true, 2), (false, -1), (false, 0), (true, -9), (false, 9), (true, i64::MIN + 7)]
    {
        let attributes = [int("upper", i64::from(upper))];
        let start = Model::new(17).i64("k", &[], &[k]);
        let given = start.clone().input("x", &[D::Fixed(2), D::Fixed(4), D::Fixed(5)]);
        let model = given.node("Trilu", &["x", "k"], "y", &attributes).output("y");
        let expected = triangle(upper, k, &x, 4, 5);
        check(&model, 1, std::slice::from_ref(&x), &expected);
        let known = start.input("z", &[D::Fixed(1)]).f32("x", &[2, 4, 5], &x);
        let known = known.node("Trilu", &["x", "k"], "t", &attributes).node("Add", &["t", "z"], "y", &[]);
        check(&known.output("y"), 1, &[vec![0.0]], &expected);
    }
}

/// A layer normalisation, one sample a row of `len`.
fn normalised(x: &[f32], len: usize, scale: &[f32], bias: &[f32]) -> Vec<f64> {
    let row = |row: &[f32]| {
        let row = wide(row);
        let mean = row.iter().sum::<f64>() / len as f64;
        let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / len as f64;
        let place = |(i, x): (usize, &f64)| {
            (x - mean) / (variance + 1e-5).sqrt() * f64::from(scale[i]) + f64::from(bias[i])
        };
        row.iter().enumerate().map(place).collect::<Vec<f64>>()
    };
    x.chunks(len).flat_map(row).collect()
}

#[test]
fn a_normalisation_that_was_taken_apart_is_one_kernel() {
    let (scale, bias) = (numbers(1, 12), numbers(2, 12));
    let start = || {
        Model::new(13)
            .input("x", &[D::Symbol("n"), D::Fixed(5), D::Fixed(12)])
            .f32("scale", &[12], &scale)
            .f32("bias", &[12], &bias)
            .f32("two", &[], &[2.0])
            .f32("epsilon", &[], &[1e-5])
    };
    let axes = [ints("axes", &[-1])];
    // PyTorch before opset 17.
    let pytorch = start()
        .node("ReduceMean", &["x"], "mean", &axes)
        .node("Sub", &["x", "mean"], "d", &[])
        .node("Pow", &["d", "two"], "d2", &[])
        .node("ReduceMean", &["d2"], "variance", &axes)
        .node("Add", &["variance", "epsilon"], "v", &[])
        .node("Sqrt", &["v"], "deviation", &[])
        .node("Div", &["d", "deviation"], "q", &[])
        .node("Mul", &["q", "scale"], "s", &[])
        .node("Add", &["s", "bias"], "y", &[])
        .output("y");
    // tf2onnx, of Keras.
    let keras = start()
        .node("ReduceMean", &["x"], "mean", &axes)
        .node("Sub", &["x", "mean"], "d", &[])
        .node("Mul", &["d", "d"], "d2", &[])
        .node("ReduceMean", &["d2"], "variance", &axes)
        .node("Add", &["variance", "epsilon"], "v", &[])
        .node("Sqrt", &["v"], "deviation", &[])
        .node("Reciprocal", &["deviation"], "r", &[])
        .node("Mul", &["r", "scale"], "f", &[])
        .node("Mul", &["x", "f"], "xf", &[])
        .node("Neg", &["mean"], "m", &[])
        .node("Mul", &["m", "f"], "mf", &[])
        .node("Add", &["mf", "bias"], "b", &[])
        .node("Add", &["xf", "b"], "y", &[])
        .output("y");
    let x = numbers(3, 2 * 60);
    let expected = normalised(&x, 12, &scale, &bias);
    for model in [pytorch, keras] {
        check(&model, 2, std::slice::from_ref(&x), &expected);
        assert_eq!(kernels(&model), ["normalisation over [12] of [5, 12]"]);
    }
}

#[test]
fn a_softmax_that_was_taken_apart_keeps_its_exponentials() {
    let model = Model::new(13)
        .input("x", &[D::Symbol("n"), D::Fixed(3), D::Fixed(9)])
        .i64("axes", &[1], &[-1])
        .node("ReduceMax", &["x"], "m", &[ints("axes", &[-1])])
        .node("Sub", &["x", "m"], "d", &[])
        .node("Exp", &["d"], "e", &[])
        .node("ReduceSum", &["e", "axes"], "s", &[])
        .node("Div", &["e", "s"], "y", &[])
        .output("y");
    let x = numbers(3, 2 * 27);
    let row = |row: &[f32]| {
        let sum: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
        row.iter().map(|x| f64::from(*x).exp() / sum).collect::<Vec<f64>>()
    };
    let expected: Vec<f64> = x.chunks(9).flat_map(row).collect();
    check(&model, 2, &[x], &expected);
    assert_eq!(kernels(&model), ["normalisation over [9] of [3, 9]"]);
}

#[test]
fn what_others_read_stays_apart() {
    let model = Model::new(13)
        .input("x", &[D::Symbol("n"), D::Fixed(9)])
        .node("ReduceMean", &["x"], "mean", &[ints("axes", &[-1])])
        .node("Sub", &["x", "mean"], "y", &[])
        .node("Relu", &["mean"], "z", &[])
        .output("y")
        .output("z");
    let mut running = Running::new(&model.bytes(), &Options::default());
    let x = numbers(3, 9);
    running.write(0, &x);
    assert_eq!(running.status(1), 0);
    let mean = wide(&x).iter().sum::<f64>() / 9.0;
    let expected: Vec<f64> = x.iter().map(|x| f64::from(*x) - mean).collect();
    assert!(difference(&running.read(0, 1), &expected) < 1e-6);
    assert!(difference(&running.read(1, 1), &[mean.max(0.0)]) < 1e-6);
}

#[test]
fn a_group_normalisation_of_pytorch_is_one_kernel_with_what_follows() {
    let (w, scale, bias) = (numbers(1, 8 * 3), numbers(2, 8), numbers(3, 8));
    let model = Model::new(17)
        .input("x", &[D::Symbol("n"), D::Fixed(3), D::Fixed(5), D::Fixed(4)])
        .f32("w", &[8, 3, 1, 1], &w)
        .f32("ones", &[4], &[1.0; 4])
        .f32("zeros", &[4], &[0.0; 4])
        .f32("scale", &[8, 1, 1], &scale)
        .f32("bias", &[8, 1, 1], &bias)
        .i64("groups", &[3], &[0, 4, -1])
        .node("Conv", &["x", "w"], "c", &[])
        .node("Reshape", &["c", "groups"], "g", &[])
        .node("InstanceNormalization", &["g", "ones", "zeros"], "i", &[float("epsilon", 1e-5)])
        .node("Shape", &["c"], "shape", &[])
        .node("Reshape", &["i", "shape"], "back", &[])
        .node("Mul", &["back", "scale"], "m", &[])
        .node("Add", &["m", "bias"], "a", &[])
        .node("Sigmoid", &["a"], "s", &[])
        .node("Mul", &["a", "s"], "y", &[])
        .output("y");
    let x = numbers(4, 2 * 60);
    let mut expected = Vec::new();
    for sample in x.chunks(60) {
        let place = |m: usize, i: usize| (0..3).map(|c| w[m * 3 + c] * sample[c * 20 + i]).sum::<f32>();
        let c: Vec<f32> =
            (0..8).flat_map(|m| (0..20).map(move |i| (m, i))).map(|(m, i)| place(m, i)).collect();
        let channel = |values: &[f32], group: usize| -> Vec<f32> {
            (0..40).map(|i| values[group * 2 + i / 20]).collect()
        };
        for group in 0..4 {
            let y = normalised(&c[group * 40..][..40], 40, &channel(&scale, group), &channel(&bias, group));
            expected.extend(y.iter().map(|a| a / (1.0 + (-a).exp())));
        }
    }
    check(&model, 2, &[x], &expected);
    let kernels = kernels(&model);
    assert_eq!(kernels.last().unwrap(), "instance normalisation over [2, 5, 4] of [4, 2, 5, 4]");
    assert!(kernels.iter().rev().skip(1).all(|kernel| kernel.starts_with("conv")), "{kernels:?}");
}

#[test]
fn a_nan_is_the_greatest_and_the_least() {
    let mut x = numbers(1, 4 * 21);
    x[21 + 20] = f32::NAN;
    x[2 * 21] = f32::NAN;
    for operator in ["ReduceMax", "ReduceMin"] {
        let model = Model::new(13)
            .input("x", &[D::Fixed(4), D::Fixed(21)])
            .node(operator, &["x"], "y", &[ints("axes", &[1]), int("keepdims", 0)])
            .output("y");
        for simd in LEVELS {
            let mut running = Running::new(&model.bytes(), &options(1, simd));
            let nan: Vec<bool> = running.infer(1, &x).iter().map(|y| y.is_nan()).collect();
            assert_eq!(nan, [false, true, true, false], "{operator} {simd:?}");
        }
    }
}
