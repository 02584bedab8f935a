//! Pad, in every mode and in the forms of every opset.

use proptest::prelude::*;

use crate::agree::{Case, EXACT};
use crate::builder::{float, ints, string};
use crate::choices::{Choices, Spread, cases, choices};
use crate::evaluator::Array;

fn pad(c: &mut Choices) {
    let batch = c.batch();
    let opset = c.one_of(&[13, 19, 10, 18]);
    let modes = if opset >= 19 { 4 } else { 3 };
    let mode = ["constant", "edge", "reflect", "wrap"][c.pick(modes)];
    let rank = c.between(1, 3);
    let sample = c.shape(rank, 150);
    let shape = batch.shape(&sample);
    let mut case = Case::new(c, opset, batch, EXACT);
    case.input(c, "x", batch, &sample, Spread::Any);
    // A reflection reaches no further than there are other numbers.
    let side = |c: &mut Choices, extent: i64| match mode {
        "constant" => c.int(-((extent - 1) / 2), 3),
        "edge" => c.int(0, 3),
        "reflect" => c.int(0, (extent - 1).min(3)),
        _ => c.int(0, extent.min(3)),
    };
    let least = usize::from(batch.max.is_some() || mode != "constant");
    let (mut axes, mut begins, mut ends) = (vec![], vec![], vec![]);
    for (axis, extent) in shape.iter().enumerate() {
        let named = axis >= least && c.pick(4) != 0;
        if named || opset < 18 {
            axes.push(if c.flag() { axis as i64 } else { axis as i64 - shape.len() as i64 });
            begins.push(if named { side(c, *extent as i64) } else { 0 });
            ends.push(if named { side(c, *extent as i64) } else { 0 });
        }
    }
    if axes.is_empty() {
        (axes, begins, ends) = (vec![rank as i64], vec![0], vec![0]);
    }
    let pads = [begins, ends].concat();
    let mut attributes = vec![];
    if mode != "constant" || c.flag() {
        attributes.push(string("mode", mode));
    }
    let value = c.flag().then(|| c.one_of(&[-1.5, f32::NEG_INFINITY, 7.0]));
    if opset < 11 {
        attributes.push(ints("pads", &pads));
        attributes.extend(value.map(|value| float("value", value)));
        return case.finish("Pad", &["x"], &attributes);
    }
    case.list("pads", &pads);
    case.list("axes", &axes);
    let mut operands = ["x", "pads", "", ""];
    if let Some(value) = value {
        case.values("value", &Array::new(&[], vec![f64::from(value)]));
        operands[2] = "value";
    }
    if opset >= 18 {
        operands[3] = "axes";
    }
    let used = operands.iter().rposition(|name| !name.is_empty()).unwrap();
    case.finish("Pad", &operands[..=used], &attributes);
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn paddings_agree(mut c in choices()) {
        pad(&mut c);
    }
}
