//! Arithmetic with broadcasting.

use proptest::prelude::*;

use crate::agree::{CURVE, Case, EXACT, ROUNDED, Tolerance};
use crate::builder::{float, int};
use crate::choices::{Batch, Choices, Spread, cases, choices};
use crate::evaluator::Array;

/// Powers are an exponential of a product.
const POWERS: Tolerance = Tolerance { each: 2e-5, whole: 0.0, floor: 1e-30 };
/// Sums of what may cancel.
const TERMS: Tolerance = Tolerance { each: 0.0, whole: 1e-6, floor: 0.0 };

/// A shape that broadcasts to `[samples] + sample`: some axes are 1, some in front are absent.
fn narrowed(c: &mut Choices, batch: Batch, sample: &[usize]) -> Vec<usize> {
    let all = if batch.max.is_some() { vec![1] } else { vec![batch.samples] };
    let all = [all.as_slice(), sample].concat();
    let from = c.pick(all.len() + 1);
    all[from..].iter().map(|extent| if c.pick(3) == 0 { 1 } else { *extent }).collect()
}

/// `count` operands, at least one of them an input of the whole batch.
pub fn operands(c: &mut Choices, case: &mut Case, batch: Batch, spreads: &[Spread]) -> Vec<String> {
    let rank = c.between(1, 3);
    let sample = c.shape(rank, 300);
    let fixed_place = c.pick(spreads.len());
    let mut names = vec![];
    for (index, spread) in spreads.iter().enumerate() {
        let name = format!("x{index}");
        if index == fixed_place || c.flag() {
            let own: Vec<usize> =
                sample.iter().map(|extent| if c.pick(4) == 3 { 1 } else { *extent }).collect();
            case.input(c, &name, batch, &own, *spread);
        } else {
            let shape = narrowed(c, batch, &sample);
            case.weights(c, &name, &shape, *spread);
        }
        names.push(name);
    }
    names
}

fn binary(c: &mut Choices) {
    let batch = c.batch();
    let operator = c.one_of(&["Add", "Sub", "Mul", "Div"]);
    let mut case = Case::new(c, 17, batch, ROUNDED);
    let spread = c.one_of(&[Spread::Small, Spread::Any, Spread::Extreme]);
    let names = operands(c, &mut case, batch, &[spread, spread]);
    case.finish(operator, &[&names[0], &names[1]], &[]);
}

fn variadic(c: &mut Choices) {
    let batch = c.batch();
    let operator = c.one_of(&["Max", "Min", "Sum", "Mean"]);
    let exact = matches!(operator, "Max" | "Min");
    let spread = if exact { Spread::Any } else { Spread::Small };
    let mut case = Case::new(c, 13, batch, if exact { EXACT } else { TERMS });
    let spreads = vec![spread; c.between(1, 4)];
    let names = operands(c, &mut case, batch, &spreads);
    case.finish(operator, &names.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
}

fn power(c: &mut Choices) {
    let batch = c.batch();
    let mut case = Case::new(c, 15, batch, POWERS);
    if c.flag() {
        let names = operands(c, &mut case, batch, &[Spread::Positive, Spread::Small]);
        return case.finish("Pow", &[&names[0], &names[1]], &[]);
    }
    // What models contain: squares, cubes, roots, and whole powers of negative numbers.
    let exponent = c.one_of(&[2.0, 0.5, 3.0, -1.0, 1.0, 0.0, 4.0, -2.0, 5.0, -0.5, 1.5]);
    let sample = c.shape(2, 200);
    let spread = if exponent == f64::trunc(exponent) { Spread::Small } else { Spread::Positive };
    case.input(c, "x", batch, &sample, spread);
    case.values("e", &Array::new(&[], vec![exponent]));
    case.finish("Pow", &["x", "e"], &[]);
}

fn modulo(c: &mut Choices) {
    let batch = c.batch();
    let mut case = Case::new(c, 13, batch, EXACT);
    let sample = c.shape(2, 200);
    let x = c.floats(&batch.shape(&sample), Spread::Wide);
    case.given("x", &batch.dims(&sample), x);
    let divisors = c.floats(&sample, Spread::Small).map(|v| if v == 0.0 { 0.625 } else { v });
    case.values("m", &divisors);
    case.finish("Mod", &["x", "m"], &[int("fmod", 1)]);
}

/// Operator, what it takes, how near it must be.
const UNARY: [(&str, Spread, Tolerance); 13] = [
    ("Neg", Spread::Any, EXACT),
    ("Abs", Spread::Any, EXACT),
    ("Sign", Spread::Extreme, EXACT),
    ("Sqrt", Spread::Any, ROUNDED),
    ("Reciprocal", Spread::Any, ROUNDED),
    ("Exp", Spread::Any, Tolerance { each: 5e-7, whole: 0.0, floor: 3e-45 }),
    ("Log", Spread::Any, CURVE),
    ("Sin", Spread::Small, CURVE),
    ("Cos", Spread::Small, CURVE),
    ("Floor", Spread::Any, EXACT),
    ("Ceil", Spread::Any, EXACT),
    ("Round", Spread::Any, EXACT),
    ("Erf", Spread::Any, CURVE),
];

fn unary(c: &mut Choices) {
    let batch = c.batch();
    let (operator, spread, tolerance) = c.one_of(&UNARY);
    let rank = c.between(1, 3);
    let sample = c.shape(rank, 400);
    let mut case = Case::new(c, 17, batch, tolerance);
    let mut x = c.floats(&batch.shape(&sample), spread);
    // Halves to round, angles of many turns, exponents that do not all overflow.
    match c.pick(3) {
        0 if operator == "Round" => x = x.map(|v| v.signum() * ((v.abs() * 7.0) % 9.0).trunc() + 0.5),
        0 if matches!(operator, "Sin" | "Cos") => x = x.map(|v| v * 200.0),
        0 if operator == "Exp" => x = c.floats(&batch.shape(&sample), Spread::Small).map(|v| v * 25.0),
        _ => {}
    }
    case.given("x", &batch.dims(&sample), x);
    case.finish(operator, &["x"], &[]);
}

fn clip(c: &mut Choices) {
    let batch = c.batch();
    let opset = c.one_of(&[13, 10]);
    let mut case = Case::new(c, opset, batch, EXACT);
    let sample = c.shape(2, 200);
    // Without a limit, infinities are limited to the largest number or not at all.
    let spread = c.one_of(&[Spread::Small, Spread::Any]);
    let x = c.floats(&batch.shape(&sample), spread).map(|v| if v.is_infinite() { v.signum() } else { v });
    case.given("x", &batch.dims(&sample), x);
    // One, both or none; the lower one may be above the upper one.
    let (low, high): (f32, f32) = (c.one_of(&[-1.0, 0.0, 2.0]), c.one_of(&[1.0, 6.0, 0.5]));
    let (has_low, has_high) = (c.flag(), c.flag());
    if opset < 11 {
        let low = has_low.then(|| float("min", low));
        let high = has_high.then(|| float("max", high.max(low.as_ref().map_or(0.5, |a| a.f()))));
        let attributes: Vec<_> = low.into_iter().chain(high).collect();
        return case.finish("Clip", &["x"], &attributes);
    }
    case.values("low", &Array::new(&[], vec![f64::from(low)]));
    case.values("high", &Array::new(&[], vec![f64::from(high)]));
    match (has_low, has_high) {
        (true, true) => case.finish("Clip", &["x", "low", "high"], &[]),
        (true, false) => case.finish("Clip", &["x", "low"], &[]),
        (false, true) => case.finish("Clip", &["x", "", "high"], &[]),
        (false, false) => case.finish("Clip", &["x"], &[]),
    }
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn sums_products_and_quotients_agree(mut c in choices()) {
        binary(&mut c);
    }

    #[test]
    fn several_operands_agree(mut c in choices()) {
        variadic(&mut c);
    }

    #[test]
    fn powers_agree(mut c in choices()) {
        power(&mut c);
    }

    #[test]
    fn remainders_agree(mut c in choices()) {
        modulo(&mut c);
    }

    #[test]
    fn functions_of_one_number_agree(mut c in choices()) {
        unary(&mut c);
    }

    #[test]
    fn limits_agree(mut c in choices()) {
        clip(&mut c);
    }
}
