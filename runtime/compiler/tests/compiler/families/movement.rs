//! Numbers that move: order, parts, repetitions.

use proptest::prelude::*;

use crate::agree::{Case, EXACT};
use crate::builder::{int, ints, string};
use crate::choices::{Batch, Choices, Spread, cases, choices};

fn start(c: &mut Choices, opset: i64, rank: usize) -> (Case, Batch, Vec<usize>) {
    let batch = c.batch();
    let sample = c.shape(rank, 300);
    let mut case = Case::new(c, opset, batch, EXACT);
    case.input(c, "x", batch, &sample, Spread::Any);
    (case, batch, sample)
}

/// An axis of `rank` and the batch in front, which stays out of it where it is open.
fn axis(c: &mut Choices, batch: Batch, rank: usize) -> usize {
    c.between(usize::from(batch.max.is_some()), rank)
}

/// As the file may write it: from the front or from the back.
fn written(c: &mut Choices, axis: usize, rank: usize) -> i64 {
    if c.flag() { axis as i64 } else { axis as i64 - rank as i64 - 1 }
}

fn transpose(c: &mut Choices) {
    let rank = c.between(1, 4);
    let (mut case, batch, _) = start(c, 13, rank);
    let mut left: Vec<i64> = (0..=rank as i64).collect();
    let mut perm: Vec<i64> = vec![];
    while !left.is_empty() {
        perm.push(left.remove(c.pick(left.len())));
    }
    if batch.max.is_none() {
        let attributes = [ints("perm", &perm)];
        return case.finish("Transpose", &["x"], if c.flag() { &attributes } else { &[] });
    }
    // An open batch may move about, but is in front in the end.
    let place = perm.iter().position(|axis| *axis == 0).unwrap() as i64;
    let back: Vec<i64> = [place].into_iter().chain((0..=rank as i64).filter(|axis| *axis != place)).collect();
    case.node("Transpose", &["x"], "moved", &[ints("perm", &perm)]);
    case.node("Neg", &["moved"], "changed", &[]);
    case.finish("Transpose", &["changed"], &[ints("perm", &back)]);
}

fn concat(c: &mut Choices) {
    let rank = c.between(1, 3);
    let (mut case, batch, sample) = start(c, 13, rank);
    let axis = axis(c, batch, rank);
    let mut operands = vec!["x"];
    for name in ["u", "v", "w"].into_iter().take(c.between(0, 3)) {
        operands.push(name);
        let mut whole = batch.shape(&sample);
        whole[axis] = c.between(1, 5);
        if batch.max.is_some() {
            case.input(c, name, batch, &whole[1..], Spread::Any);
        } else if c.flag() {
            case.weights(c, name, &whole, Spread::Any);
        } else {
            crate::agree::whole(&mut case, c, name, &whole, Spread::Any);
        }
    }
    if c.flag() {
        operands.push("x");
    }
    let attributes = [int("axis", written(c, axis, rank))];
    case.finish("Concat", &operands, &attributes);
}

fn split(c: &mut Choices) {
    let opset = c.one_of(&[13, 18, 11]);
    let batch = c.batch();
    let rank = c.between(1, 3);
    let mut sample = c.shape(rank, 100);
    let axis = c.between(1, rank);
    let mut sizes: Vec<i64> = (0..c.between(1, 4)).map(|_| c.int(1, 5)).collect();
    // How the sizes are told: one by one, or by how many there are.
    let told = c.flag();
    if !told {
        sizes = vec![sizes[0]; sizes.len()];
        if opset == 18 && sizes.len() > 1 {
            *sizes.last_mut().unwrap() = c.int(1, sizes[0]);
        }
    }
    sample[axis - 1] = sizes.iter().sum::<i64>() as usize;
    let mut case = Case::new(c, opset, batch, EXACT);
    case.input(c, "x", batch, &sample, Spread::Any);
    let mut attributes = vec![int("axis", written(c, axis, rank))];
    let mut operands = vec!["x"];
    match (told, opset) {
        (true, 11) => attributes.push(ints("split", &sizes)),
        (true, _) => {
            case.list("sizes", &sizes);
            operands.push("sizes");
        }
        (false, 18) => attributes.push(int("num_outputs", sizes.len() as i64)),
        (false, _) => {}
    }
    let names: Vec<String> = (0..sizes.len()).map(|index| format!("y{index}")).collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    case.nodes("Split", &operands, &names, &attributes);
    // Perhaps not all of them are used, and not in order.
    names.reverse();
    if c.flag() {
        names.truncate(1);
    }
    case.outputs(&names);
    case.agree();
}

fn slice(c: &mut Choices) {
    let opset = c.one_of(&[13, 11, 9]);
    let rank = c.between(1, 3);
    let (mut case, batch, sample) = start(c, opset, rank);
    let shape = batch.shape(&sample);
    let (mut starts, mut ends, mut axes, mut steps) = (vec![], vec![], vec![], vec![]);
    for (axis, extent) in shape.iter().enumerate().skip(usize::from(batch.max.is_some())) {
        if c.pick(3) == 0 && !(axis == rank && axes.is_empty()) {
            continue;
        }
        let extent = *extent as i64;
        let step = if opset == 9 { 1 } else { c.one_of(&[1, 1, 2, 3, -1, -2]) };
        // Something is left; ends may lie beyond the axis.
        let first = c.int(0, extent - 1);
        let more = c.int(0, 40);
        let (start, end) = if step > 0 { (first, first + 1 + more) } else { (first, first - 1 - more) };
        let far_start = step < 0 && first == extent - 1 && c.flag();
        starts.push(if far_start { i64::MAX } else { start - if c.flag() { extent } else { 0 } });
        ends.push(match end {
            // -1 would mean the last: beyond the front there is only what lies far beyond.
            end if end < 0 => c.one_of(&[i64::MIN, -extent - 1]),
            end if end >= extent => c.one_of(&[i64::MAX, i64::from(i32::MAX), end]),
            end => end - if c.flag() { extent } else { 0 },
        });
        axes.push(if opset == 9 { axis as i64 } else { written(c, axis, rank) });
        steps.push(step);
    }
    if opset == 9 {
        let attributes = [ints("starts", &starts), ints("ends", &ends), ints("axes", &axes)];
        return case.finish("Slice", &["x"], &attributes);
    }
    case.list("starts", &starts);
    case.list("ends", &ends);
    case.list("axes", &axes);
    case.list("steps", &steps);
    let plain = steps.iter().all(|step| *step == 1) && c.flag();
    let operands = ["x", "starts", "ends", "axes", "steps"];
    case.finish("Slice", &operands[..if plain { 4 } else { 5 }], &[]);
}

fn expand(c: &mut Choices) {
    let rank = c.between(1, 3);
    let sample: Vec<usize> = c.shape(rank, 200).iter().map(|e| if c.flag() { 1 } else { *e }).collect();
    let batch = c.batch();
    let mut case = Case::new(c, 13, batch, EXACT);
    case.input(c, "x", batch, &sample, Spread::Any);
    // From the back; axes that are 1 in the operand may grow, and those that are 1 here do not shrink.
    let mut target: Vec<i64> =
        sample.iter().map(|e| if *e == 1 { c.int(1, 5) } else { c.one_of(&[*e as i64, 1]) }).collect();
    target.drain(..c.pick(rank));
    if target.len() == rank && c.flag() {
        target.insert(0, if batch.max.is_some() { 1 } else { batch.samples as i64 });
    }
    case.list("target", &target);
    case.finish("Expand", &["x", "target"], &[]);
}

fn tile(c: &mut Choices) {
    let rank = c.between(1, 3);
    let (mut case, batch, _) = start(c, 13, rank);
    let first = if batch.max.is_some() { 1 } else { c.int(1, 2) };
    let repeats: Vec<i64> = [first].into_iter().chain((0..rank).map(|_| c.int(1, 3))).collect();
    case.list("repeats", &repeats);
    case.finish("Tile", &["x", "repeats"], &[]);
}

fn blocks(c: &mut Choices) {
    let batch = c.batch();
    let block = c.between(1, 3);
    let (channels, height, width) = (c.between(1, 4), c.between(1, 5), c.between(1, 5));
    let mut case = Case::new(c, 13, batch, EXACT);
    let mut attributes = vec![int("blocksize", block as i64)];
    if c.flag() {
        case.input(c, "x", batch, &[channels, height * block, width * block], Spread::Any);
        return case.finish("SpaceToDepth", &["x"], &attributes);
    }
    case.input(c, "x", batch, &[channels * block * block, height, width], Spread::Any);
    if c.flag() {
        attributes.push(string("mode", c.one_of(&["CRD", "DCR"])));
    }
    case.finish("DepthToSpace", &["x"], &attributes);
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn orders_of_axes_agree(mut c in choices()) {
        transpose(&mut c);
    }

    #[test]
    fn concatenations_agree(mut c in choices()) {
        concat(&mut c);
    }

    #[test]
    fn parts_agree(mut c in choices()) {
        split(&mut c);
    }

    #[test]
    fn slices_agree(mut c in choices()) {
        slice(&mut c);
    }

    #[test]
    fn expansions_agree(mut c in choices()) {
        expand(&mut c);
    }

    #[test]
    fn tiles_agree(mut c in choices()) {
        tile(&mut c);
    }

    #[test]
    fn depth_and_space_agree(mut c in choices()) {
        blocks(&mut c);
    }
}
