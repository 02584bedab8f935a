//! Pools, of one and two spatial axes, and over all of them.

use proptest::prelude::*;

use super::windows::Windows;
use crate::agree::{Case, EXACT, SUMS};
use crate::builder::int;
use crate::choices::{Choices, Spread, cases, choices};

fn pool(c: &mut Choices, operator: &str) {
    let batch = c.batch();
    let rank = c.between(1, 2);
    // Since when the operator has dilations and rounds up.
    let (since, tolerance) = match operator {
        "MaxPool" => (12, EXACT),
        "AveragePool" => (19, SUMS),
        _ => (18, SUMS),
    };
    let opset = c.one_of(&[17, 22]).max(if c.flag() { since } else { 0 });
    let windows = Windows::choose(c, rank, opset >= since, true);
    let mut attributes = windows.attributes.clone();
    attributes.push(windows.kernel_shape());
    let explicit = !windows.attributes.iter().any(|a| a.name() == "auto_pad" && a.s() != b"NOTSET");
    if explicit && c.flag() && (operator != "LpPool" || opset >= since) {
        attributes.push(int("ceil_mode", 1));
    }
    if operator == "AveragePool" && c.flag() {
        attributes.push(int("count_include_pad", 1));
    }
    if operator == "LpPool" && c.flag() {
        attributes.push(int("p", c.int(1, 3)));
    }
    let mut case = Case::new(c, opset, batch, tolerance);
    let channels = c.one_of(&[1, 2, 3, 4, 7, 16, 17]);
    case.input(c, "x", batch, &[&[channels], windows.extents.as_slice()].concat(), Spread::Small);
    case.finish(operator, &["x"], &attributes);
}

fn global(c: &mut Choices) {
    let batch = c.batch();
    let operator = c.one_of(&["GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"]);
    let rank = c.between(1, 2);
    let shape = [vec![c.extent()], c.shape(rank, 120)].concat();
    let mut case = Case::new(c, 17, batch, if operator == "GlobalMaxPool" { EXACT } else { SUMS });
    case.input(c, "x", batch, &shape, Spread::Small);
    let p = [int("p", c.int(1, 3))];
    let attributes = if operator == "GlobalLpPool" && c.flag() { &p[..] } else { &[] };
    case.finish(operator, &["x"], attributes);
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn largest_numbers_agree(mut c in choices()) {
        pool(&mut c, "MaxPool");
    }

    #[test]
    fn averages_agree(mut c in choices()) {
        pool(&mut c, "AveragePool");
    }

    #[test]
    fn norms_agree(mut c in choices()) {
        pool(&mut c, "LpPool");
    }

    #[test]
    fn pools_over_everything_agree(mut c in choices()) {
        global(&mut c);
    }
}
