//! Every pass leaves what a graph computes as it was: each graph is computed before and after every pass, for
//! random inputs, straight from the definitions. A failure names the model and the pass.
//!
//! Kernels that no pass looks into, and that have no evaluation of their own, stand for unknown functions:
//! each is some fixed mixture of the elements of its operands, which depends on all that its debug text says.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use dunlin_abi::DType;

use super::{PASSES, apply, fold};
use crate::constant::{Constant, ConstantData};
use crate::graph::{Conv, Graph, Op, Shape, ValueId};
use crate::kernel::Layout;
use crate::{NoExternal, Options, import};

/// Larger models take too long without optimisation.
const MAX_MACS: u64 = 1 << 17;
/// Of the largest number of an output: passes change the order of sums.
const TOLERANCE: f64 = 1e-4;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn number(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

fn hash(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish() | 1
}

fn numbers(constant: &Constant) -> Vec<f64> {
    match &constant.data {
        ConstantData::F32(values) => values.iter().map(|v| f64::from(*v)).collect(),
        ConstantData::F64(values) => values.clone(),
        ConstantData::I32(values) => values.iter().map(|v| f64::from(*v)).collect(),
        ConstantData::I64(values) => values.iter().map(|v| *v as f64).collect(),
        ConstantData::Bool(values) => values.iter().map(|v| f64::from(u8::from(*v))).collect(),
    }
}

fn typed(numbers: Vec<f64>, dtype: DType, extents: &[u32]) -> Constant {
    let data = match dtype {
        DType::I32 => ConstantData::I32(numbers.into_iter().map(|v| (v * 4.0) as i32).collect()),
        DType::I64 => ConstantData::I64(numbers.into_iter().map(|v| (v * 4.0) as i64).collect()),
        DType::Bool => ConstantData::Bool(numbers.into_iter().map(|v| v > 0.0).collect()),
        _ => ConstantData::F32(numbers.into_iter().map(|v| v as f32).collect()),
    };
    Constant::new(extents.to_vec(), data).unwrap()
}

/// What every value of a graph holds.
struct Values<'a> {
    graph: &'a Graph,
    values: Vec<Option<Constant>>,
}

impl Values<'_> {
    fn of(graph: &Graph, seed: u64) -> Values<'_> {
        let mut values: Vec<Option<Constant>> = graph.values.iter().map(|v| v.constant.clone()).collect();
        for input in &graph.inputs {
            let value = graph.value(*input);
            let mut random = Random(hash(&(seed, &value.name)));
            let numbers = (0..value.shape.elements()).map(|_| random.number()).collect();
            values[input.0] = Some(typed(numbers, value.dtype, &value.shape.sample));
        }
        let mut all = Values { graph, values };
        for node in &graph.nodes {
            let result = all.node(&node.op, &node.inputs, node.output);
            all.values[node.output.0] = Some(result);
        }
        all
    }

    fn get(&self, id: ValueId) -> &Constant {
        self.values[id.0].as_ref().unwrap()
    }

    fn node(&self, op: &Op, inputs: &[ValueId], output: ValueId) -> Constant {
        let operands: Vec<&Constant> = inputs.iter().map(|input| self.get(*input)).collect();
        let value = self.graph.value(output);
        let extents = &value.shape.sample;
        if let Op::Conv(conv) = op {
            return convolution(conv, &operands, extents);
        }
        if let Some(mut result) = fold::evaluate(op, &operands, &Shape::fixed(extents.clone())) {
            if value.dtype == DType::Bool && result.f32s().is_some() {
                result = typed(numbers(&result), DType::Bool, extents);
            }
            return result;
        }
        // An unknown function. Casts that only copy for an output are known.
        let text = format!("{op:?}");
        if text.contains("IntegerMap { program: Program { insts: [Operand(0)] }") {
            return Constant { shape: extents.clone(), data: operands[0].data.clone() };
        }
        let mut random = Random(hash(&text));
        let columns: Vec<Vec<f64>> = operands.iter().map(|operand| numbers(operand)).collect();
        let mixed = (0..value.shape.elements()).map(|_| {
            let part = |column: &Vec<f64>| {
                let at = random.next() as usize % column.len().max(1);
                column.get(at).copied().unwrap_or(0.0) * 0.5
            };
            columns.iter().map(part).sum::<f64>()
        });
        typed(mixed.collect(), value.dtype, extents)
    }

    fn outputs(&self) -> Vec<Vec<f64>> {
        self.graph.outputs.iter().map(|output| numbers(self.get(output.value))).collect()
    }
}

/// Straight from the definition in [`Conv`].
fn convolution(conv: &Conv, operands: &[&Constant], extents: &[u32]) -> Constant {
    let (x, w) = (operands[0], operands[1]);
    let (xs, ws) = (numbers(x), numbers(w));
    let spatial = conv.windows.len();
    let channel = extents.len() - spatial - 1;
    let (x_at, w_at) = (Layout::row_major(&x.shape), Layout::row_major(&w.shape));
    let taps: Vec<u32> = conv.windows.iter().map(|window| window.size).collect();
    let (per_group, columns) = (w.shape[1], w.shape[0] / conv.groups);
    let bias = conv.bias.then(|| numbers(operands[2]));
    let extras: Vec<Vec<f32>> = operands[2 + usize::from(conv.bias)..]
        .iter()
        .map(|extra| {
            let all = extra.numbers().unwrap();
            let places = Layout::row_major(&extra.shape).broadcast(extents).places();
            places.map(|place| all[place as usize]).collect()
        })
        .collect();
    let coordinates = |mut index: usize, extents: &[u32]| {
        let mut all = vec![0i64; extents.len()];
        for (place, extent) in all.iter_mut().zip(extents).rev() {
            *place = (index % *extent as usize) as i64;
            index /= *extent as usize;
        }
        all
    };
    let count = Layout::row_major(extents).elements() as usize;
    let number = |index: usize| {
        let place = coordinates(index, extents);
        let m = place[channel];
        let mut sum = bias.as_ref().map_or(0.0, |bias| bias[m as usize]);
        for tap in 0..taps.iter().product::<u32>() as usize {
            let tap = coordinates(tap, &taps);
            let read: Option<Vec<i64>> = (0..spatial)
                .map(|axis| {
                    let (window, o) = (&conv.windows[axis], place[channel + 1 + axis]);
                    let (stride, dilation) = (i64::from(window.stride), i64::from(window.dilation));
                    let i = if conv.transposed {
                        let reached = o + i64::from(window.before) - tap[axis] * dilation;
                        if reached % stride != 0 {
                            return None;
                        }
                        reached / stride
                    } else {
                        o * stride + tap[axis] * dilation - i64::from(window.before)
                    };
                    (0..i64::from(x.shape[channel + 1 + axis])).contains(&i).then_some(i)
                })
                .collect();
            let Some(read) = read else { continue };
            for c in 0..i64::from(per_group) {
                let from = [&place[..channel], &[m / i64::from(columns) * i64::from(per_group) + c], &read];
                let weight = [&[m, c][..], &tap].concat();
                let at = |layout: &Layout, place: &[i64]| {
                    place.iter().zip(&layout.strides).map(|(i, stride)| i * stride).sum::<i64>() as usize
                };
                sum += xs[at(&x_at, &from.concat())] * ws[at(&w_at, &weight)];
            }
        }
        let result = conv.epilogue.evaluate(|operand| match operand.checked_sub(1) {
            None => sum as f32,
            Some(extra) => extras[extra][index],
        });
        f64::from(result)
    };
    typed((0..count).map(number).collect(), DType::F32, extents)
}

fn difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let scale = a.iter().filter(|v| v.is_finite()).fold(1.0f64, |max, v| max.max(v.abs()));
    let each = a
        .iter()
        .zip(b)
        .map(|(a, b)| if a == b || a.is_nan() && b.is_nan() { 0.0 } else { (a - b).abs() / scale });
    each.fold(0.0, |max, d| if d.is_nan() { f64::INFINITY } else { max.max(d) })
}

/// Checks one model; false if it is refused or too large.
fn check(name: &str, onnx: &[u8]) -> bool {
    let Ok(import::Imported { mut graph, .. }) = import::import(onnx, &Options::default(), &NoExternal)
    else {
        return false;
    };
    if graph.macs() > MAX_MACS {
        return false;
    }
    let seed = hash(&name);
    let mut before = Values::of(&graph, seed).outputs();
    for pass in PASSES {
        if apply(pass, &mut graph).unwrap_or_else(|error| panic!("{name}: {error}")) == 0 {
            continue;
        }
        let after = Values::of(&graph, seed).outputs();
        for (before, after) in before.iter().zip(&after) {
            let difference = difference(before, after);
            assert!(
                difference < TOLERANCE,
                "{name}: the pass {:?} changes an output by {difference}",
                pass.0
            );
        }
        before = after;
    }
    true
}

#[test]
fn passes_keep_what_models_compute() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut checked = 0;
    for folder in [root.join("../../tests/models"), root.join("tests/cases")] {
        let Ok(files) = std::fs::read_dir(folder) else { continue };
        let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        for file in files.iter().filter(|file| file.extension().is_some_and(|e| e == "onnx")) {
            checked += u32::from(check(&file.display().to_string(), &std::fs::read(file).unwrap()));
        }
    }
    assert!(checked >= 40, "{checked} models");
}
