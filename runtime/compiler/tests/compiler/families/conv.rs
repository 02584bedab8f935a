//! Conv, of one and two spatial axes.

use proptest::prelude::*;

use super::windows::{Windows, groups};
use crate::agree::{Case, SUMS};
use crate::builder::int;
use crate::choices::{Choices, Spread, cases, choices};

fn conv(c: &mut Choices, rank: usize) {
    let batch = c.batch();
    let opset = c.one_of(&[17, 11, 22]);
    let windows = Windows::choose(c, rank, true, false);
    let (group, inputs, outputs) = groups(c);
    let mut case = Case::new(c, opset, batch, SUMS);
    case.input(c, "x", batch, &[&[group * inputs], windows.extents.as_slice()].concat(), Spread::Small);
    case.weights(c, "w", &[&[group * outputs, inputs], windows.kernels.as_slice()].concat(), Spread::Unit);
    let mut attributes = windows.attributes.clone();
    if group != 1 || c.flag() {
        attributes.push(int("group", group as i64));
    }
    if c.flag() {
        attributes.push(windows.kernel_shape());
    }
    // A bias, none, or none by an empty name.
    match c.pick(3) {
        0 => case.finish("Conv", &["x", "w"], &attributes),
        1 => case.finish("Conv", &["x", "w", ""], &attributes),
        _ => {
            case.weights(c, "b", &[group * outputs], Spread::Small);
            case.finish("Conv", &["x", "w", "b"], &attributes);
        }
    }
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn convolutions_of_series_agree(mut c in choices()) {
        conv(&mut c, 1);
    }

    #[test]
    fn convolutions_of_images_agree(mut c in choices()) {
        conv(&mut c, 2);
    }
}
