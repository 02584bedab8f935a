//! New shapes, given or calculated by the model.

use proptest::prelude::*;

use crate::agree::{Case, EXACT};
use crate::builder::{int, ints};
use crate::choices::{Choices, Spread, cases, choices};

/// A chain of nodes that each change the shape and nothing else.
fn chain(c: &mut Choices) {
    let batch = c.batch();
    let opset = c.one_of(&[17, 11]);
    let rank = c.between(1, 3);
    let mut sample = c.shape(rank, 200);
    let mut case = Case::new(c, opset, batch, EXACT);
    case.input(c, "s0", batch, &sample, Spread::Any);
    let count = c.between(1, 4);
    for index in 0..count {
        let (from, to) = (format!("s{index}"), format!("s{}", index + 1));
        let list = format!("l{index}");
        let given = |case: &mut Case, op: &str, axes: &[i64]| {
            if opset >= 13 {
                case.list(&list, axes);
                case.node(op, &[&from, &list], &to, &[]);
            } else {
                case.node(op, &[&from], &to, &[ints("axes", axes)]);
            }
        };
        match c.pick(4) {
            0 => {
                sample = reshaped(c, &sample);
                let mut target: Vec<i64> = sample.iter().map(|extent| *extent as i64).collect();
                // The batch is kept by 0 or by -1, and another axis may be what is left.
                let free = c.pick(target.len() + 1);
                target.insert(0, if free == 0 { -1 } else { 0 });
                if free > 0 {
                    target[free] = -1;
                }
                case.list(&list, &target);
                case.node("Reshape", &[&from, &list], &to, &[]);
            }
            1 => {
                sample = vec![sample.iter().product()];
                let axis = [int("axis", 1)];
                case.node("Flatten", &[&from], &to, if c.flag() { &axis } else { &[] });
            }
            2 if sample.len() < 4 => {
                let place = c.between(1, sample.len() + 1);
                sample.insert(place - 1, 1);
                let written = if c.flag() { place as i64 } else { place as i64 - sample.len() as i64 - 1 };
                given(&mut case, "Unsqueeze", &[written]);
            }
            _ => match sample.iter().position(|extent| *extent == 1) {
                Some(place) => {
                    sample.remove(place);
                    given(&mut case, "Squeeze", &[place as i64 + 1]);
                }
                None => case.node("Identity", &[&from], &to, &[]),
            },
        }
    }
    case.finish("Identity", &[&format!("s{count}")], &[]);
}

/// Another shape for as many numbers.
fn reshaped(c: &mut Choices, sample: &[usize]) -> Vec<usize> {
    let count: usize = sample.iter().product();
    let divisors: Vec<usize> = (1..=count).filter(|d| count.is_multiple_of(*d)).collect();
    let first = c.one_of(&divisors);
    match c.pick(3) {
        0 => vec![count],
        1 => vec![first, count / first],
        _ => vec![first, 1, count / first],
    }
}

/// `x.view(x.size(0), x.size(1) * x.size(2), -1)` and its kind, as exporters write it out.
fn calculated(c: &mut Choices) {
    let batch = c.batch();
    let mut case = Case::new(c, 17, batch, EXACT);
    let sample = [c.extent(), c.between(1, 5), c.between(1, 4) * 2];
    case.input(c, "x", batch, &sample, Spread::Any);
    case.node("Shape", &["x"], "shape", &[]);
    for (name, axis) in [("zero", 0), ("one", 1), ("two", 2), ("three", 3)] {
        case.constant(crate::builder::i64_tensor(name, &[], &[axis]));
    }
    case.list("front", &[0]);
    case.list("rest", &[-1]);
    for (name, axis) in [("n", "zero"), ("a", "one"), ("b", "two"), ("d", "three")] {
        case.node("Gather", &["shape", axis], name, &[int("axis", 0)]);
    }
    let (first, second) = match c.pick(4) {
        0 => {
            case.node("Mul", &["a", "b"], "ab", &[]);
            ("ab", "rest")
        }
        1 => {
            case.node("Div", &["d", "two"], "half", &[]);
            case.node("Unsqueeze", &["half", "front"], "last", &[]);
            ("a", "last")
        }
        2 => {
            case.node("Add", &["d", "one"], "more", &[]);
            case.node("Sub", &["more", "one"], "same", &[]);
            ("same", "rest")
        }
        _ => {
            case.node("Mod", &["d", "two"], "even", &[]);
            case.node("Add", &["even", "b"], "same", &[]);
            ("same", "rest")
        }
    };
    let all = [("n", "n1"), (first, "first1")];
    for (scalar, list) in all {
        case.node("Unsqueeze", &[scalar, "front"], list, &[]);
    }
    // Where the last extent is calculated, another takes what is left.
    let order: &[&str] = if second == "last" { &["n1", "rest", "last"] } else { &["n1", "first1", "rest"] };
    case.node("Concat", order, "target", &[int("axis", 0)]);
    case.finish("Reshape", &["x", "target"], &[]);
}

/// Flatten at any axis, and Squeeze of everything, of fixed shapes.
fn fixed_shapes(c: &mut Choices) {
    let mut case = Case::new(c, 13, crate::agree::NO_BATCH, EXACT);
    let rank = c.between(1, 4);
    let shape = c.shape(rank, 200);
    crate::agree::whole(&mut case, c, "x", &shape, Spread::Any);
    if c.flag() {
        return case.finish("Squeeze", &["x"], &[]);
    }
    let axis = c.int(-(rank as i64), rank as i64);
    case.finish("Flatten", &["x"], &[int("axis", axis)]);
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn shapes_agree(mut c in choices()) {
        chain(&mut c);
    }

    #[test]
    fn calculated_shapes_agree(mut c in choices()) {
        calculated(&mut c);
    }

    #[test]
    fn fixed_shapes_agree(mut c in choices()) {
        fixed_shapes(&mut c);
    }
}
