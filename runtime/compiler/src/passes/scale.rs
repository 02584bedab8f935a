//! A factor of an operand of a product becomes a factor of the result: `(a x) (b y) = a b (x y)`. Attention
//! scales its queries and keys; behind the product the factor costs nothing.

use super::chain::only_reader;
use super::{Exhausted, Fuel};
use crate::graph::{Graph, Node, Op, Value};
use crate::program::{Binary, Inst, Program, operand};

/// Every factor that is found loses its node, and the one that is put in is behind the product.
pub(super) fn hoist(graph: &mut Graph, fuel: &mut Fuel) -> Result<u32, Exhausted> {
    let mut moved = 0;
    let mut index = 0;
    while index < graph.nodes.len() {
        let mut factor = 1.0;
        // Both operands may have one, and each may have several.
        while let Some((scale, found)) = (0..2).find_map(|side| find(graph, index, side)) {
            fuel.burn()?;
            factor *= found;
            let (from, to) = (graph.nodes[scale].output, graph.nodes[scale].inputs[0]);
            for node in &mut graph.nodes {
                node.inputs.iter_mut().filter(|input| **input == from).for_each(|input| *input = to);
            }
            graph.nodes.remove(scale);
            index -= 1;
            moved += 1;
        }
        if factor != 1.0 {
            let output = graph.nodes[index].output;
            let value = graph.value(output);
            let plain = Value { constant: None, ..value.clone() };
            let product = graph.add_value(plain);
            graph.nodes[index].output = product;
            let op = Op::Pointwise(Program::from(&(operand(0) * factor)));
            let origins = graph.nodes[index].origins.clone();
            graph.nodes.insert(index + 1, Node { op, inputs: vec![product], output, origins });
        }
        index += 1;
    }
    Ok(moved)
}

/// The node that scales operand `side` of the product `index`, perhaps through views, and its factor.
fn find(graph: &Graph, index: usize, side: usize) -> Option<(usize, f32)> {
    let node = &graph.nodes[index];
    let Op::MatMul(matmul) = &node.op else { return None };
    if matmul.bias || !matmul.epilogue.is_identity() || node.inputs.len() != 2 {
        return None;
    }
    let (mut value, mut reader) = (node.inputs[side], index);
    loop {
        let maker = graph.nodes[..reader].iter().rposition(|other| other.output == value)?;
        if !only_reader(graph, value, reader) || node.inputs[1 - side] == value {
            return None;
        }
        match (&graph.nodes[maker].op, graph.nodes[maker].inputs.as_slice()) {
            (Op::Rearrange(_), [source]) => (value, reader) = (*source, maker),
            (Op::Pointwise(program), [source]) if graph.extents(*source) == graph.extents(value) => {
                return Some((maker, factor(program)?));
            }
            _ => return None,
        }
    }
}

/// The number by which a program multiplies its operand, if that is all that it does.
fn factor(program: &Program) -> Option<f32> {
    let factor = match *program.insts() {
        [Inst::Operand(0), Inst::Number(bits), Inst::Binary(Binary::Mul, ..)]
        | [Inst::Number(bits), Inst::Operand(0), Inst::Binary(Binary::Mul, ..)] => f32::from_bits(bits),
        [Inst::Operand(0), Inst::Number(bits), Inst::Binary(Binary::Div, 0, 1)] => {
            f32::from_bits(bits).recip()
        }
        _ => return None,
    };
    factor.is_normal().then_some(factor)
}
