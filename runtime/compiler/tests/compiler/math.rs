//! exp, through softmax, against f64, and functions at their edges. The errors of every function by itself
//! are held where the functions are, in `src/emit/math/tests.rs`.

use dunlin_abi::Simd;
use dunlin_compiler::Options;

use crate::builder::{D, Model, int};
use crate::run::Running;

const LEVELS: [Simd; 3] = [Simd::Relaxed, Simd::Deterministic, Simd::None];

fn run(operator: &str, simd: Simd, x: &[f32]) -> Vec<f32> {
    let model = Model::new(17)
        .input("x", &[D::Fixed(1), D::Fixed(x.len() as i64)])
        .node(operator, &["x"], "y", &[])
        .output("y");
    Running::new(&model.bytes(), &Options { simd, ..Options::default() }).infer(1, x)
}

/// The largest error in units in the last place of the exact result.
fn ulps(actual: &[f32], exact: impl Iterator<Item = f64>) -> f64 {
    actual.iter().zip(exact).fold(0.0, |max, (actual, exact)| {
        let rounded = exact as f32;
        let unit = f64::from(f32::from_bits(rounded.abs().to_bits() + 1)) - f64::from(rounded.abs());
        let error = (f64::from(*actual) - exact).abs() / unit;
        assert!(!error.is_nan(), "{actual} for {exact}");
        max.max(error)
    })
}

fn sigmoid(x: f32) -> f64 {
    1.0 / (1.0 + (-f64::from(x)).exp())
}

#[test]
fn a_softmax_is_within_four_units_in_the_last_place() {
    // Of two numbers x <= 0 and 0 softmax gives exp(x) / (1 + exp(x)), whose error has one more division
    // and one more addition than exp has; two more units are theirs.
    for simd in LEVELS {
        let x: Vec<f32> = (0..2000).map(|i| -(i as f32) / 2000.0 * 110.0).collect();
        let pairs: Vec<f32> = x.iter().flat_map(|x| [*x, 0.0]).collect();
        let model = Model::new(17)
            .input("x", &[D::Fixed(2000), D::Fixed(2)])
            .node("Softmax", &["x"], "y", &[])
            .output("y");
        let y = Running::new(&model.bytes(), &Options { simd, ..Options::default() }).infer(1, &pairs);
        let smaller: Vec<f32> = y.iter().step_by(2).copied().collect();
        let error = ulps(&smaller, x.iter().map(|x| sigmoid(*x)));
        println!("exp {simd:?}: {error:.2} ulp");
        assert!(error <= 4.0, "{simd:?}: {error}");
    }
}

#[test]
fn infinities_give_limits_and_nan_gives_nan() {
    let x = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -0.0, f32::MAX, f32::MIN, 1e-42];
    for simd in LEVELS {
        let y = run("Tanh", simd, &x);
        assert_eq!((y[0], y[1], y[3].to_bits(), y[4], y[5]), (1.0, -1.0, (-0.0f32).to_bits(), 1.0, -1.0));
        assert_eq!(y[6], 1e-42);
        let s = run("Sigmoid", simd, &x);
        assert_eq!((s[0], s[1], s[3], s[4], s[5]), (1.0, 0.0, 0.5, 1.0, 0.0));
        let r = run("Relu", simd, &x);
        assert_eq!((r[0], r[1], r[4], r[5]), (f32::INFINITY, 0.0, f32::MAX, 0.0));
        for (function, y) in [("tanh", y[2]), ("sigmoid", s[2]), ("relu", r[2])] {
            assert!(y.is_nan(), "{function} of NaN is {y}");
        }
        let p = run("Softmax", simd, &[f32::NEG_INFINITY, 1.0, 1.0]);
        assert_eq!(p, [0.0, 0.5, 0.5]);
        assert!(run("Softmax", simd, &[1.0, f32::NAN, 0.0, 2.0, 3.0]).iter().all(|p| p.is_nan()));
    }
}

#[test]
fn remainders_are_exact() {
    // Bit patterns of all exponents, so that quotients have up to 277 bits, and the edges.
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        f32::from_bits((state >> 32) as u32)
    };
    let edges =
        [0.0, -0.0, 1.0, -3.0, 0.7, 1e10, f32::MAX, f32::MIN_POSITIVE, 1e-45, f32::INFINITY, f32::NAN];
    let mut pairs: Vec<(f32, f32)> = edges.iter().flat_map(|a| edges.iter().map(move |b| (*a, *b))).collect();
    pairs.extend((0..20_000).map(|_| (next(), next())));
    let (a, b): (Vec<f32>, Vec<f32>) = pairs.iter().copied().unzip();
    let count = a.len() as i64;
    let model = Model::new(17)
        .input("a", &[D::Fixed(count)])
        .input("b", &[D::Fixed(count)])
        .node("Mod", &["a", "b"], "y", &[int("fmod", 1)])
        .output("y");
    let mut running = Running::new(&model.bytes(), &Options::default());
    running.write(0, &a);
    running.write(1, &b);
    assert_eq!(running.status(1), 0);
    for ((a, b), y) in pairs.iter().zip(running.read(0, 1)) {
        let exact = a % b;
        assert!(
            y.to_bits() == exact.to_bits() || y.is_nan() && exact.is_nan(),
            "{a:e} % {b:e}: {y:e}, {exact:e}"
        );
    }
}
