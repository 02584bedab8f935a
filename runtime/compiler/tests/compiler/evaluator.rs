//! A slow and simple evaluator of ONNX models in f64, written apart from the compiler: it walks the
//! nodes of the file, knows shapes only at run time and indexes with coordinates.

use std::collections::HashMap;

use crate::onnx::tensor_proto::DataType;
use crate::onnx::{ModelProto, NodeProto};

#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    pub shape: Vec<usize>,
    pub data: Vec<f64>,
}

impl Array {
    pub fn new(shape: &[usize], data: Vec<f64>) -> Array {
        assert_eq!(shape.iter().product::<usize>(), data.len());
        Array { shape: shape.to_vec(), data }
    }

    fn at(&self, coordinates: &[usize]) -> f64 {
        // Right-aligned, and repeating along axes of extent 1.
        let skip = coordinates.len() - self.shape.len();
        let place = self.shape.iter().zip(&coordinates[skip..]).fold(0, |place, (extent, coordinate)| {
            place * extent + if *extent == 1 { 0 } else { *coordinate }
        });
        self.data[place]
    }
}

fn coordinates(shape: &[usize]) -> Vec<Vec<usize>> {
    let mut all = vec![vec![]];
    for extent in shape {
        all = all
            .iter()
            .flat_map(|front| (0..*extent).map(move |i| [front.as_slice(), &[i]].concat()))
            .collect();
    }
    all
}

fn elementwise(a: &Array, b: &Array, f: fn(f64, f64) -> f64) -> Array {
    let rank = a.shape.len().max(b.shape.len());
    let extent =
        |x: &Array, axis: usize| (axis + x.shape.len()).checked_sub(rank).map_or(1, |axis| x.shape[axis]);
    let shape: Vec<usize> = (0..rank).map(|axis| extent(a, axis).max(extent(b, axis))).collect();
    let data = coordinates(&shape).iter().map(|c| f(a.at(c), b.at(c))).collect();
    Array { shape, data }
}

fn transpose(x: &Array) -> Array {
    let (rows, columns) = (x.shape[0], x.shape[1]);
    let data =
        (0..columns).flat_map(|j| (0..rows).map(move |i| (i, j))).map(|(i, j)| x.data[i * columns + j]);
    Array { shape: vec![columns, rows], data: data.collect() }
}

/// `[..., m, k] x [k, n]`, or one matrix for each leading index on both sides.
fn matmul(a: &Array, b: &Array) -> Array {
    let k = *a.shape.last().unwrap();
    let n = *b.shape.last().unwrap();
    let front = &a.shape[..a.shape.len() - 1];
    let shape = [front, &[n]].concat();
    let data = coordinates(&shape)
        .iter()
        .map(|c| {
            let (row, j) = (&c[..c.len() - 1], c[c.len() - 1]);
            let lead = if b.shape.len() > 2 { &row[..row.len() - 1] } else { &row[..0] };
            (0..k).map(|i| a.at(&[row, &[i]].concat()) * b.at(&[lead, &[i, j]].concat())).sum()
        })
        .collect();
    Array { shape, data }
}

fn softmax(x: &Array, axis: usize) -> Array {
    let data = coordinates(&x.shape)
        .iter()
        .map(|c| {
            let along = |i: usize| {
                let mut other = c.clone();
                other[axis] = i;
                x.at(&other)
            };
            let max = (0..x.shape[axis]).map(along).fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = (0..x.shape[axis]).map(|i| (along(i) - max).exp()).sum();
            (x.at(c) - max).exp() / sum
        })
        .collect();
    Array { shape: x.shape.clone(), data }
}

fn int(node: &NodeProto, name: &str, default: i64) -> i64 {
    node.attribute.iter().find(|a| a.name() == name).map_or(default, |a| a.i())
}

fn float(node: &NodeProto, name: &str, default: f64) -> f64 {
    node.attribute.iter().find(|a| a.name() == name).map_or(default, |a| f64::from(a.f()))
}

fn apply(node: &NodeProto, x: &[&Array], opset: i64) -> Array {
    let map = |f: fn(f64) -> f64| Array {
        shape: x[0].shape.clone(),
        data: x[0].data.iter().map(|v| f(*v)).collect(),
    };
    match node.op_type() {
        "Relu" => map(|v| if v < 0.0 { 0.0 } else { v }),
        "Sigmoid" => map(|v| 1.0 / (1.0 + (-v).exp())),
        "Tanh" => map(f64::tanh),
        "Identity" | "Dropout" => x[0].clone(),
        "Add" => elementwise(x[0], x[1], |a, b| a + b),
        "Sub" => elementwise(x[0], x[1], |a, b| a - b),
        "Mul" => elementwise(x[0], x[1], |a, b| a * b),
        "Div" => elementwise(x[0], x[1], |a, b| a / b),
        "MatMul" => matmul(x[0], x[1]),
        "Gemm" => {
            let a = if int(node, "transA", 0) == 1 { transpose(x[0]) } else { x[0].clone() };
            let b = if int(node, "transB", 0) == 1 { transpose(x[1]) } else { x[1].clone() };
            let mut product = matmul(&a, &b);
            let (alpha, beta) = (float(node, "alpha", 1.0), float(node, "beta", 1.0));
            product.data.iter_mut().for_each(|v| *v *= alpha);
            match x.get(2) {
                None => product,
                Some(c) => {
                    let scaled =
                        Array { shape: c.shape.clone(), data: c.data.iter().map(|v| v * beta).collect() };
                    elementwise(&product, &scaled, |a, b| a + b)
                }
            }
        }
        "Softmax" => {
            let rank = x[0].shape.len() as i64;
            let axis = int(node, "axis", if opset < 13 { 1 } else { -1 });
            let axis = (if axis < 0 { axis + rank } else { axis }) as usize;
            if opset >= 13 {
                return softmax(x[0], axis);
            }
            let front: usize = x[0].shape[..axis].iter().product();
            let flat = Array::new(&[front, x[0].data.len() / front], x[0].data.clone());
            Array::new(&x[0].shape, softmax(&flat, 1).data)
        }
        "Flatten" => {
            let axis = int(node, "axis", 1) as usize;
            let front: usize = x[0].shape[..axis].iter().product();
            Array::new(&[front, x[0].data.len() / front], x[0].data.clone())
        }
        "Reshape" => {
            let mut shape: Vec<usize> = vec![];
            let mut free = None;
            for (index, extent) in x[1].data.iter().enumerate() {
                shape.push(match *extent as i64 {
                    0 => x[0].shape[index],
                    -1 => {
                        free = Some(index);
                        1
                    }
                    extent => extent as usize,
                });
            }
            if let Some(free) = free {
                shape[free] = x[0].data.len() / shape.iter().product::<usize>();
            }
            Array::new(&shape, x[0].data.clone())
        }
        other => panic!("the evaluator does not know {other}"),
    }
}

/// Evaluates a model on its inputs and gives its outputs.
pub fn evaluate(model: &ModelProto, inputs: &[(&str, Array)]) -> Vec<Array> {
    let graph = model.graph.as_ref().unwrap();
    let opset = model.opset_import[0].version();
    let mut values: HashMap<String, Array> = HashMap::new();
    for tensor in &graph.initializer {
        let shape: Vec<usize> = tensor.dims.iter().map(|d| *d as usize).collect();
        let data = if tensor.data_type() == DataType::Int64 as i32 {
            tensor.int64_data.iter().map(|v| *v as f64).collect()
        } else {
            let words = tensor.raw_data().chunks_exact(4);
            words.map(|w| f64::from(f32::from_le_bytes(w.try_into().unwrap()))).collect()
        };
        values.insert(tensor.name().into(), Array::new(&shape, data));
    }
    values.extend(inputs.iter().map(|(name, array)| ((*name).to_string(), array.clone())));
    for node in &graph.node {
        let operands: Vec<&Array> = node.input.iter().map(|name| &values[name]).collect();
        let result = apply(node, &operands, opset);
        values.insert(node.output[0].clone(), result);
    }
    graph.output.iter().map(|output| values[output.name()].clone()).collect()
}
