//! Every function at every SIMD level against f64: the largest error over bit patterns of all exponents
//! and dense sweeps where the function bends, and the special cases by name.

use std::ops::Range;

use dunlin_abi::Simd;
use wasm_encoder::{
    CodeSection, EntityType, ExportKind, ExportSection, FunctionSection, ImportSection, MemoryType,
    TypeSection, ValType,
};
use wasmtime::{Engine, Linker, Memory, Module, Store};

use crate::emit::code::Code;
use crate::emit::expr::{Expr, Index, Vector};
use crate::emit::program::evaluate;
use crate::program::{Formula, Program, operand};

const LEVELS: [Simd; 3] = [Simd::Relaxed, Simd::Deterministic, Simd::None];
/// Numbers of a sweep.
const COUNT: u32 = 1 << 16;

/// A module that runs one function over memory: `run(result, first operand, second operand, vectors)`.
fn module(simd: Simd, write: impl Fn(&mut Code, [Vector; 2]) -> Expr) -> Vec<u8> {
    let mut code = Code::new(simd, 4);
    let [y, a, b, vectors] = [0, 1, 2, 3].map(Index);
    let lanes = code.lanes();
    code.counted_by(vectors, |code| {
        let operands = [a, b].map(|at| code.set(Expr::Load { at, offset: 0, lanes }));
        let result = write(code, operands);
        code.store(y, 0, lanes, result);
        [y, a, b].into_iter().for_each(|pointer| code.advance(pointer, i64::from(lanes) * 4));
    });
    assert!(code.local_count() <= 64, "{} locals", code.local_count());
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32; 4], []);
    let mut imports = ImportSection::new();
    let (minimum, maximum) = (1, None);
    let memory = MemoryType { minimum, maximum, memory64: false, shared: false, page_size_log2: None };
    imports.import("", "memory", EntityType::Memory(memory));
    let mut functions = FunctionSection::new();
    functions.function(0);
    let mut exports = ExportSection::new();
    exports.export("run", ExportKind::Func, 0);
    let mut bodies = CodeSection::new();
    bodies.function(&code.finish());
    let mut module = wasm_encoder::Module::new();
    module.section(&types).section(&imports).section(&functions).section(&exports).section(&bodies);
    module.finish()
}

/// The results of a function for pairs of operands.
fn run(simd: Simd, write: impl Fn(&mut Code, [Vector; 2]) -> Expr, operands: [&[f32]; 2]) -> Vec<f32> {
    let wasm = module(simd, write);
    let engine = Engine::default();
    let mut store = Store::new(&engine, ());
    let len = operands[0].len();
    let bytes = len.next_multiple_of(4) * 4;
    let pages = (bytes * 3).div_ceil(1 << 16);
    let memory = Memory::new(&mut store, wasmtime::MemoryType::new(pages as u32, None)).unwrap();
    let mut linker = Linker::new(&engine);
    linker.define(&store, "", "memory", memory).unwrap();
    for (place, operand) in operands.into_iter().enumerate() {
        let written: Vec<u8> = operand.iter().flat_map(|number| number.to_le_bytes()).collect();
        memory.write(&mut store, (place + 1) * bytes, &written).unwrap();
    }
    let module = Module::new(&engine, &wasm).unwrap();
    let instance = linker.instantiate(&mut store, &module).unwrap();
    let run = instance.get_typed_func::<(i32, i32, i32, i32), ()>(&mut store, "run").unwrap();
    let vectors = bytes / 4 / crate::emit::code::lanes(simd) as usize;
    run.call(&mut store, (0, bytes as i32, 2 * bytes as i32, vectors as i32)).unwrap();
    let read = &memory.data(&store)[..len * 4];
    read.chunks_exact(4).map(|word| f32::from_le_bytes(word.try_into().unwrap())).collect()
}

/// The results of a formula of one or two operands.
fn compute(simd: Simd, formula: &Formula, operands: [&[f32]; 2]) -> Vec<f32> {
    let program = Program::from(formula);
    run(simd, |code, operands| evaluate(code, &program, &operands).into(), operands)
}

/// Every f32 from some steps of the bit pattern: both signs, all exponents.
fn all_exponents() -> Vec<f32> {
    let step = u32::MAX / COUNT;
    (0..COUNT).map(|i| f32::from_bits(i * step)).filter(|x| x.is_finite()).collect()
}

/// Evenly spaced.
fn between(range: Range<f32>) -> Vec<f32> {
    let part = |i: u32| f64::from(i) / f64::from(COUNT);
    let (start, end) = (f64::from(range.start), f64::from(range.end));
    (0..COUNT).map(|i| (start + (end - start) * part(i)) as f32).collect()
}

/// The error in units in the last place of the exact result.
fn ulps(actual: f32, exact: f64) -> f64 {
    let rounded = exact as f32;
    if rounded.is_nan() || actual.is_nan() {
        return if rounded.is_nan() && actual.is_nan() { 0.0 } else { f64::INFINITY };
    }
    if rounded.is_infinite() || actual.is_infinite() {
        let steps = i64::from(rounded.abs().to_bits()) - i64::from(actual.abs().to_bits());
        return if rounded.signum() == actual.signum() { steps.abs() as f64 } else { f64::INFINITY };
    }
    let above = f32::from_bits(rounded.abs().to_bits() + 1);
    let unit = if above.is_finite() { f64::from(above) - f64::from(rounded.abs()) } else { 2f64.powi(104) };
    (f64::from(actual) - exact).abs() / unit
}

/// Holds the largest error of a function of one number over some operands.
fn hold(name: &str, formula: &Formula, exact: fn(f64) -> f64, bound: f64, sweeps: &[Vec<f32>]) {
    let x = sweeps.concat();
    for simd in LEVELS {
        let y = compute(simd, formula, [&x, &x]);
        hold_one(name, simd, bound, &x, &y, |i| exact(f64::from(x[i])));
    }
}

fn hold_one(name: &str, simd: Simd, bound: f64, x: &[f32], y: &[f32], exact: impl Fn(usize) -> f64) {
    let errors = y.iter().enumerate().map(|(i, y)| (i, ulps(*y, exact(i))));
    let (i, error) = errors.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    println!("{name:8} {simd:?}: {error:.2} at {} -> {} not {}", x[i], y[i], exact(i));
    assert!(error <= bound, "{name} {simd:?}: {error} at {}: {} not {}", x[i], y[i], exact(i));
}

#[test]
fn exp() {
    let sweeps = [all_exponents(), between(-1.0..1.0), between(-105.0..90.0)];
    hold("exp", &operand(0).exp(), f64::exp, 1.5, &sweeps);
}

#[test]
fn exp_of_nonpositive() {
    let sweeps = [between(-110.0..0.0), between(-1.0..0.0), between(-1e-3..0.0)];
    hold("exp <= 0", &operand(0).exp_down(), f64::exp, 1.5, &sweeps);
}

#[test]
fn log() {
    let sweeps = [all_exponents(), between(0.0..2.0), between(0.99..1.01), between(0.0..1e5)];
    hold("log", &operand(0).log(), f64::ln, 1.5, &sweeps);
}

/// Where sine and cosine hold.
fn angles() -> [Vec<f32>; 5] {
    let below = all_exponents().into_iter().filter(|x| x.abs() < 5e8).collect();
    let multiples = (0..COUNT / 4).map(|n| (f64::from(n) * std::f64::consts::FRAC_PI_2) as f32).collect();
    [below, multiples, between(-10.0..10.0), between(-8192.0..8192.0), between(-5e8..5e8)]
}

#[test]
fn sin() {
    hold("sin", &operand(0).sin(), f64::sin, 2.0, &angles());
}

#[test]
fn cos() {
    hold("cos", &operand(0).cos(), f64::cos, 2.0, &angles());
}

#[test]
fn tanh() {
    let sweeps = [all_exponents(), between(-1.0..1.0), between(-10.0..10.0)];
    hold("tanh", &operand(0).tanh(), f64::tanh, 2.0, &sweeps);
}

#[test]
fn sigmoid() {
    let exact = |x: f64| 1.0 / (1.0 + (-x).exp());
    let sweeps = [all_exponents(), between(-1.0..1.0), between(-20.0..20.0), between(-110.0..0.0)];
    hold("sigmoid", &operand(0).sigmoid(), exact, 3.0, &sweeps);
}

#[test]
fn erf() {
    let sweeps = [all_exponents(), between(-1.0..1.0), between(-4.0..4.0)];
    hold("erf", &operand(0).erf(), libm::erf, 2.5, &sweeps);
}

#[test]
fn pow() {
    let bases = [all_exponents(), between(0.0..2.0), between(0.9..1.1), between(-20.0..20.0)].concat();
    let exponents: Vec<f32> = (0..bases.len() as u32)
        .map(|i| match i % 4 {
            0 => f32::from_bits(i.wrapping_mul(2_654_435_761)),
            1 => (f64::from(i.wrapping_mul(2_654_435_761)) / 2f64.powi(32) * 40.0 - 20.0) as f32,
            2 => (i / 4 % 41) as f32 - 20.0,
            // So that the result is in range.
            _ => {
                let part = f64::from(i.wrapping_mul(2_654_435_761)) / 2f64.powi(31) - 1.0;
                (part * 104.0 / f64::from(bases[i as usize].abs()).ln()) as f32
            }
        })
        .collect();
    for simd in LEVELS {
        let y = compute(simd, &operand(0).pow(operand(1)), [&bases, &exponents]);
        let exact = |i: usize| f64::from(bases[i]).powf(f64::from(exponents[i]));
        hold_one("pow", simd, 2.0, &bases, &y, exact);
    }
    for exponent in [1.0, 2.0, 3.0, 0.5, -1.0, -0.5, 0.0, 1.25] {
        for simd in LEVELS {
            let x: Vec<f32> = bases.iter().copied().filter(|x| *x >= 0.0).collect();
            let y = compute(simd, &operand(0).pow(exponent), [&x, &x]);
            hold_one("pow", simd, 2.0, &x, &y, |i| f64::from(x[i]).powf(f64::from(exponent)));
        }
    }
}

/// Whether both are the same number with the same sign, or both NaN.
fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

const SPECIAL: [f32; 24] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    2.0,
    -2.0,
    3.0,
    -3.0,
    2.5,
    -2.5,
    1e-45,
    -1e-45,
    16_777_215.0,
    -16_777_215.0,
    16_777_216.0,
    -16_777_216.0,
    f32::MAX,
    f32::MIN,
    f32::MIN_POSITIVE,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
];

fn special_pairs() -> [Vec<f32>; 2] {
    let pairs = || SPECIAL.into_iter().flat_map(|a| SPECIAL.into_iter().map(move |b| (a, b)));
    [pairs().map(|(a, _)| a).collect(), pairs().map(|(_, b)| b).collect()]
}

#[test]
fn pow_has_the_special_cases_of_c() {
    let [a, b] = special_pairs();
    for simd in LEVELS {
        let y = compute(simd, &operand(0).pow(operand(1)), [&a, &b]);
        for ((a, b), y) in a.iter().zip(&b).zip(y) {
            let exact = libm::powf(*a, *b);
            let special = [0.0, 1.0, f32::INFINITY].contains(&exact.abs()) || exact.is_nan();
            let good = if special { same(exact, y) } else { ulps(y, exact.into()) <= 2.0 };
            assert!(good, "{simd:?}: {a}^{b} is {exact}, not {y}");
        }
    }
}

#[test]
fn native_functions_are_exact() {
    let x = [all_exponents(), between(-4.0..4.0), SPECIAL.to_vec()].concat();
    type Native = (Formula, fn(f32) -> f32);
    let functions: [Native; 7] = [
        (-operand(0), |x| -x),
        (operand(0).abs(), f32::abs),
        (operand(0).sqrt(), f32::sqrt),
        (operand(0).floor(), f32::floor),
        (operand(0).ceil(), f32::ceil),
        (operand(0).trunc(), f32::trunc),
        (operand(0).nearest(), f32::round_ties_even),
    ];
    for simd in LEVELS {
        for (formula, exact) in &functions {
            let y = compute(simd, formula, [&x, &x]);
            let wrong = x.iter().zip(&y).find(|(x, y)| !same(exact(**x), **y));
            assert_eq!(wrong, None, "{simd:?} {formula:?}");
        }
    }
}

#[test]
fn functions_of_two_numbers_are_exact() {
    let [a, b] = special_pairs();
    let pair = |function: fn(Formula, Formula) -> Formula| function(operand(0), operand(1));
    let truth = |holds: bool| f32::from(u8::from(holds));
    let least = |a: f32, b: f32| if a.is_nan() || b.is_nan() { f32::NAN } else { a.min(b) };
    let most = |a: f32, b: f32| if a.is_nan() || b.is_nan() { f32::NAN } else { a.max(b) };
    type OfTwo = (Formula, Box<dyn Fn(f32, f32) -> f32>);
    let functions: Vec<OfTwo> = vec![
        (pair(|a, b| a + b), Box::new(|a, b| a + b)),
        (pair(|a, b| a - b), Box::new(|a, b| a - b)),
        (pair(|a, b| a * b), Box::new(|a, b| a * b)),
        (pair(|a, b| a / b), Box::new(|a, b| a / b)),
        (pair(Formula::min), Box::new(least)),
        (pair(Formula::max), Box::new(most)),
        (pair(Formula::equal), Box::new(move |a, b| truth(a == b))),
        (pair(Formula::less), Box::new(move |a, b| truth(a < b))),
        (pair(Formula::less_or_equal), Box::new(move |a, b| truth(a <= b))),
        (pair(Formula::copy_sign), Box::new(f32::copysign)),
        (pair(|a, b| a.less(b.clone()).select(b, 7.0)), Box::new(|a, b| if a < b { b } else { 7.0 })),
        (pair(|a, b| a.clone().select(b, a)), Box::new(|a, b| if a == 0.0 { a } else { b })),
        (pair(|a, b| a.max(0.0) + b * 0.0), Box::new(move |a, b| most(a, 0.0) + b * 0.0)),
        (pair(|a, b| Formula::from(1.0).min(a) + b * 0.0), Box::new(move |a, b| least(1.0, a) + b * 0.0)),
    ];
    for simd in LEVELS {
        for (formula, exact) in &functions {
            let y = compute(simd, formula, [&a, &b]);
            for ((a, b), y) in a.iter().zip(&b).zip(y) {
                let exact = exact(*a, *b);
                // Of two zeros, minimum and maximum give either.
                assert!(same(exact, y) || exact == 0.0 && y == 0.0, "{simd:?} {a} {b}: {y} in {formula:?}");
            }
        }
    }
}

#[test]
fn limits_are_exact() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let x = [-inf, f32::MIN, -1e-45, -0.0, 0.0, 1e-45, f32::MAX, inf, nan];
    let x_of = operand;
    let cases: [(Formula, [f32; 9]); 7] = [
        (x_of(0).exp(), [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, inf, inf, nan]),
        (x_of(0).log(), [nan, nan, nan, -inf, -inf, -103.278_93, 88.722_84, inf, nan]),
        (x_of(0).sin(), [nan, nan, -1e-45, -0.0, 0.0, 1e-45, nan, nan, nan]),
        (x_of(0).cos(), [nan, nan, 1.0, 1.0, 1.0, 1.0, nan, nan, nan]),
        (x_of(0).tanh(), [-1.0, -1.0, -1e-45, -0.0, 0.0, 1e-45, 1.0, 1.0, nan]),
        (x_of(0).sigmoid(), [0.0, 0.0, 0.5, 0.5, 0.5, 0.5, 1.0, 1.0, nan]),
        (x_of(0).erf(), [-1.0, -1.0, -1e-45, -0.0, 0.0, 1e-45, 1.0, 1.0, nan]),
    ];
    for simd in LEVELS {
        for (formula, exact) in &cases {
            let y = compute(simd, formula, [&x, &x]);
            let good = exact.iter().zip(&y).all(|(exact, y)| same(*exact, *y));
            assert!(good, "{simd:?} {formula:?}: {y:?} not {exact:?}");
        }
    }
}

/// A chain of thirty different instructions needs few locals, which [`module`] holds.
#[test]
fn long_chains_have_few_locals() {
    let (mut long, mut exact) = (operand(0), 0.7f64);
    for step in 0..8 {
        let shift = step as f32 * 0.125;
        long = (long.clone().tanh() * operand(1) + shift).exp().log().max(long);
        exact = (exact.tanh() * 0.5 + f64::from(shift)).max(exact);
    }
    let y = LEVELS.map(|simd| compute(simd, &long, [&[0.7], &[0.5]])[0]);
    assert!(y.iter().all(|y| (f64::from(*y) - exact).abs() < 1e-5), "{y:?} not {exact}");
}
