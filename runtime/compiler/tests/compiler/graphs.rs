//! Random graphs: operators feed each other, tensors are read more than once, and some never.
//!
//! Functions that jump are left out: where they do, rounding decides.

use proptest::prelude::*;

use crate::agree::{Case, Tolerance};
use crate::builder::{float, int, ints, string};
use crate::choices::{Batch, Choices, Spread, cases, many_choices};
use crate::evaluator::Array;
use crate::onnx::AttributeProto;

/// Errors of a dozen nodes add up.
const MANY: Tolerance = Tolerance { each: 0.0, whole: 1e-4, floor: 0.0 };
/// The most numbers of a tensor of one sample.
const LARGEST: usize = 1500;

/// A tensor that nodes may read, with its axes but the batch.
#[derive(Clone)]
struct Live {
    name: String,
    sample: Vec<usize>,
}

struct Graph {
    case: Case,
    batch: Batch,
    live: Vec<Live>,
    names: usize,
}

impl Graph {
    /// Mostly the newest tensor.
    fn operand(&self, c: &mut Choices) -> Live {
        let last = self.live.len() - 1;
        self.live[if c.pick(3) == 2 { c.pick(last + 1) } else { last }].clone()
    }

    fn fresh(&mut self) -> String {
        self.names += 1;
        format!("t{}", self.names)
    }

    /// Adds a node over this and makes its result readable.
    fn push(&mut self, op: &str, inputs: &[&str], sample: &[usize], attributes: &[AttributeProto]) {
        let name = self.fresh();
        self.case.node(op, inputs, &name, attributes);
        self.live.push(Live { name, sample: sample.to_vec() });
    }

    /// Adds a constant whose sums over `width` stay small.
    fn weights(&mut self, c: &mut Choices, shape: &[usize], width: usize) -> String {
        let name = self.fresh();
        let array = c.floats(shape, Spread::Unit).map(|v| v / (width as f64).sqrt());
        self.case.values(&name, &array);
        name
    }

    fn list(&mut self, values: &[i64]) -> String {
        let name = self.fresh();
        self.case.list(&name, values);
        name
    }

    fn grow(&mut self, c: &mut Choices) {
        let x = self.operand(c);
        match (c.pick(4), x.sample.len()) {
            (0, _) => self.elementwise(c, &x),
            (1, _) => self.moved(c, &x),
            (2, 3) => self.image(c, &x),
            (_, _) => self.dense(c, &x),
        }
    }

    fn elementwise(&mut self, c: &mut Choices, x: &Live) {
        let curves =
            ["Relu", "Sigmoid", "Tanh", "Softplus", "LeakyRelu", "Elu", "Abs", "Neg", "Erf", "HardSigmoid"];
        match c.pick(4) {
            0 => self.push(c.one_of(&curves), &[&x.name], &x.sample, &[]),
            1 => {
                // With a constant that broadcasts, on either side.
                let shape: Vec<usize> = x.sample.iter().map(|e| if c.flag() { 1 } else { *e }).collect();
                let k = self.weights(c, &shape, 1);
                let operands = if c.flag() { [&x.name, &k] } else { [&k, &x.name] };
                let op = c.one_of(&["Add", "Mul", "Sub", "Max", "Min"]);
                self.push(op, &operands.map(String::as_str), &x.sample, &[]);
            }
            2 => {
                // A gate.
                self.push("Sigmoid", &[&x.name], &x.sample, &[]);
                let gate = self.live.last().unwrap().name.clone();
                self.push("Mul", &[&x.name, &gate], &x.sample, &[]);
            }
            _ => {
                // A residual connection, to whatever has this shape.
                let alike: Vec<String> =
                    self.live.iter().filter(|y| y.sample == x.sample).map(|y| y.name.clone()).collect();
                let other = &alike[c.pick(alike.len())];
                self.push(c.one_of(&["Add", "Sub", "Max"]), &[&x.name, other], &x.sample, &[]);
            }
        }
    }

    fn moved(&mut self, c: &mut Choices, x: &Live) {
        let rank = x.sample.len();
        let axis = c.pick(rank);
        let extent = x.sample[axis];
        let mut sample = x.sample.clone();
        match c.pick(6) {
            0 => {
                let turn = c.pick(rank);
                let perm: Vec<i64> = (0..rank).map(|i| ((i + turn) % rank + 1) as i64).collect();
                sample.rotate_left(turn);
                self.push(
                    "Transpose",
                    &[&x.name],
                    &sample,
                    &[ints("perm", &[&[0], perm.as_slice()].concat())],
                );
            }
            1 => {
                let count = x.sample.iter().product();
                let sample = if c.flag() { vec![count] } else { vec![x.sample[0], count / x.sample[0]] };
                let target: Vec<i64> = [0].into_iter().chain(sample.iter().map(|e| *e as i64)).collect();
                let list = self.list(&target);
                self.push("Reshape", &[&x.name, &list], &sample, &[]);
            }
            2 => {
                let fits = |y: &&Live| {
                    y.sample.len() == rank && (0..rank).all(|i| i == axis || y.sample[i] == x.sample[i])
                };
                let fitting: Vec<Live> = self.live.iter().filter(fits).cloned().collect();
                let other = &fitting[c.pick(fitting.len())];
                sample[axis] += other.sample[axis];
                if sample.iter().product::<usize>() <= LARGEST {
                    let at = [int("axis", axis as i64 + 1)];
                    self.push("Concat", &[&x.name, &other.name], &sample, &at);
                }
            }
            3 => {
                let start = c.pick(extent);
                let step = c.between(1, 2);
                sample[axis] = (extent - start).div_ceil(step);
                let lists = [start as i64, i64::MAX, axis as i64 + 1, step as i64].map(|v| self.list(&[v]));
                let [s, e, a, p] = lists.each_ref().map(String::as_str);
                self.push("Slice", &[&x.name, s, e, a, p], &sample, &[]);
            }
            4 if extent > 1 => {
                let first = c.between(1, extent - 1);
                let sizes = self.list(&[first as i64, (extent - first) as i64]);
                let (a, b) = (self.fresh(), self.fresh());
                let at = [int("axis", axis as i64 + 1)];
                self.case.nodes("Split", &[&x.name, &sizes], &[&a, &b], &at);
                sample[axis] = first;
                self.live.push(Live { name: a, sample: sample.clone() });
                sample[axis] = extent - first;
                self.live.push(Live { name: b, sample });
            }
            _ => {
                let mut pads = vec![0; 2 * rank + 2];
                (pads[axis + 1], pads[rank + axis + 2]) = (c.int(0, 2), c.int(0, 2));
                sample[axis] = (extent as i64 + pads[axis + 1] + pads[rank + axis + 2]) as usize;
                if sample.iter().product::<usize>() <= LARGEST {
                    let list = self.list(&pads);
                    let mode = [string("mode", c.one_of(&["constant", "edge"]))];
                    self.push("Pad", &[&x.name, &list], &sample, &mode);
                }
            }
        }
    }

    /// What reads `[channels, height, width]`.
    fn image(&mut self, c: &mut Choices, x: &Live) {
        let [channels, height, width] = x.sample[..] else { panic!("an image") };
        let same = string("auto_pad", c.one_of(&["SAME_UPPER", "SAME_LOWER"]));
        match c.pick(5) {
            0 => {
                let (kernel, stride, out) = (c.between(1, 3), c.between(1, 2), c.between(1, 9));
                let sample = [out, height.div_ceil(stride), width.div_ceil(stride)];
                let w = self.weights(c, &[out, channels, kernel, kernel], channels * kernel * kernel);
                let b = self.weights(c, &[out], 1);
                let attributes = [same, ints("strides", &[stride as i64; 2])];
                self.push("Conv", &[&x.name, &w, &b], &sample, &attributes);
            }
            1 => {
                let w = self.weights(c, &[channels, 1, 3, 3], 9);
                let attributes = [ints("pads", &[1; 4]), int("group", channels as i64)];
                self.push("Conv", &[&x.name, &w], &x.sample, &attributes);
            }
            2 => {
                let op = c.one_of(&["MaxPool", "AveragePool"]);
                let sample = [channels, height.div_ceil(2), width.div_ceil(2)];
                let attributes = [same, ints("kernel_shape", &[3, 2]), ints("strides", &[2, 2])];
                self.push(op, &[&x.name], &sample, &attributes);
            }
            3 => {
                let parts = [(); 3].map(|()| self.weights(c, &[channels], 1));
                let var = self.fresh();
                let positive = c.floats(&[channels], Spread::Positive);
                self.case.values(&var, &positive);
                let [scale, bias, mean] = parts.each_ref().map(String::as_str);
                let operands = [x.name.as_str(), scale, bias, mean, &var];
                self.push("BatchNormalization", &operands, &x.sample, &[]);
            }
            _ if x.sample.iter().product::<usize>() * 4 <= LARGEST => {
                let scales = self.fresh();
                self.case.values(&scales, &Array::new(&[4], vec![1.0, 1.0, 2.0, 2.0]));
                let mode = string("mode", c.one_of(&["nearest", "linear"]));
                let sample = [channels, height * 2, width * 2];
                self.push("Resize", &[&x.name, "", &scales], &sample, &[mode]);
            }
            _ => self.push("GlobalAveragePool", &[&x.name], &[channels, 1, 1], &[]),
        }
    }

    /// What reads the last axis, or several.
    fn dense(&mut self, c: &mut Choices, x: &Live) {
        let rank = x.sample.len();
        let last = x.sample[rank - 1];
        match c.pick(5) {
            0 | 1 => {
                let n = c.extent().min(17);
                let w = self.weights(c, &[last, n], last);
                let sample = [&x.sample[..rank - 1], &[n]].concat();
                if sample.iter().product::<usize>() <= LARGEST {
                    self.push("MatMul", &[&x.name, &w], &sample, &[]);
                }
            }
            2 => {
                let op = c.one_of(&["Softmax", "LogSoftmax"]);
                self.push(op, &[&x.name], &x.sample, &[int("axis", c.between(1, rank) as i64)]);
            }
            3 => {
                let (scale, bias) = (self.weights(c, &[last], 1), self.weights(c, &[last], 1));
                let attributes = [float("epsilon", 0.01)];
                self.push("LayerNormalization", &[&x.name, &scale, &bias], &x.sample, &attributes);
            }
            _ => {
                let axis = c.pick(rank);
                let axes = self.list(&[axis as i64 + 1]);
                let mut sample = x.sample.clone();
                sample[axis] = 1;
                let op = c.one_of(&["ReduceMean", "ReduceMax", "ReduceMin"]);
                self.push(op, &[&x.name, &axes], &sample, &[]);
            }
        }
    }
}

fn graph(c: &mut Choices) {
    let batch = c.batch();
    let case = Case::new(c, 18, batch, MANY);
    let mut graph = Graph { case, batch, live: vec![], names: 0 };
    for name in ["x", "z"].into_iter().take(c.between(1, 2)) {
        let sample = match c.pick(3) {
            0 => vec![c.between(1, 4), c.between(2, 9), c.between(2, 9)],
            1 => vec![c.between(2, 7), c.extent()],
            _ => vec![c.extent()],
        };
        graph.case.input(c, name, graph.batch, &sample, Spread::Small);
        graph.live.push(Live { name: name.into(), sample });
    }
    let nodes = c.between(3, 12);
    for _ in 0..nodes {
        graph.grow(c);
    }
    // The newest tensor leaves, and perhaps one before it.
    let last = graph.live.last().unwrap().name.clone();
    graph.case.outputs(&[&last]);
    let other = graph.operand(c).name;
    if other != last {
        graph.case.outputs(&[&other]);
    }
    graph.case.agree();
}

proptest! {
    #![proptest_config(cases(192))]

    #[test]
    fn random_graphs_agree(mut c in many_choices(300)) {
        graph(&mut c);
    }
}
