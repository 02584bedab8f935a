//! ConvTranspose, of one and two spatial axes.

use proptest::prelude::*;

use super::windows::groups;
use crate::agree::{Case, SUMS};
use crate::builder::{int, ints, string};
use crate::choices::{Choices, Spread, cases, choices};

fn transposed(c: &mut Choices, rank: usize) {
    let batch = c.batch();
    let opset = c.one_of(&[17, 11, 22]);
    let (group, inputs, outputs) = groups(c);
    // Explicit paddings, a wanted shape, the input times the strides, or no padding.
    let form = c.one_of(&["pads", "output_shape", "SAME_UPPER", "SAME_LOWER", "VALID"]);
    let (mut kernels, mut strides, mut dilations, mut extents) = (vec![], vec![], vec![], vec![]);
    let (mut begins, mut ends, mut added, mut wanted) = (vec![], vec![], vec![], vec![]);
    for _ in 0..rank {
        let kernel = c.int(1, 4);
        let dilation = c.one_of(&[1, 1, 2]);
        let reach = (kernel - 1) * dilation + 1;
        // Where the input times the strides is more than there is, ONNX contradicts itself.
        let stride = c.int(1, 3).min(if form.starts_with("SAME") { reach } else { 3 });
        let more = if form.starts_with("SAME") { 0 } else { c.int(0, stride - 1) };
        let extent = c.int(1, 7);
        let full = stride * (extent - 1) + more + reach;
        let begin = c.int(0, kernel - 1).min(full - 1);
        begins.push(begin);
        ends.push(c.int(0, kernel - 1).min(full - 1 - begin));
        wanted.push((full - c.int(0, 3)).max(1));
        kernels.push(kernel as usize);
        extents.push(extent as usize);
        strides.push(stride);
        dilations.push(dilation);
        added.push(more);
    }
    let mut attributes = vec![int("group", group as i64), ints("strides", &strides)];
    if dilations.iter().any(|d| *d != 1) {
        attributes.push(ints("dilations", &dilations));
    }
    if added.iter().any(|a| *a != 0) {
        attributes.push(ints("output_padding", &added));
    }
    match form {
        "pads" => attributes.push(ints("pads", &[begins, ends].concat())),
        "output_shape" => {
            attributes.push(ints("output_shape", &wanted));
            if c.flag() {
                attributes.push(string("auto_pad", c.one_of(&["SAME_UPPER", "SAME_LOWER"])));
            }
        }
        auto_pad => attributes.push(string("auto_pad", auto_pad)),
    }
    let mut case = Case::new(c, opset, batch, SUMS);
    case.input(c, "x", batch, &[&[group * inputs], extents.as_slice()].concat(), Spread::Small);
    case.weights(c, "w", &[&[group * inputs, outputs], kernels.as_slice()].concat(), Spread::Unit);
    if c.flag() {
        case.weights(c, "b", &[group * outputs], Spread::Small);
        case.finish("ConvTranspose", &["x", "w", "b"], &attributes);
    } else {
        case.finish("ConvTranspose", &["x", "w"], &attributes);
    }
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn transposed_convolutions_of_series_agree(mut c in choices()) {
        transposed(&mut c, 1);
    }

    #[test]
    fn transposed_convolutions_of_images_agree(mut c in choices()) {
        transposed(&mut c, 2);
    }
}
