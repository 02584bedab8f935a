//! `Dense(x) + constant` becomes `Dense(x)` with a bias, where nothing else reads the product and the
//! constant is the same for every row.
//!
//! A fused node stays in the place of the product, which is before every reader of the sum.

use crate::constant::{Constant, ConstantData};
use crate::graph::{Binary, Dense, Graph, Node, Op, Unary, ValueId, ZipAxis};

pub(super) fn fuse(graph: &mut Graph) {
    let uses = graph.uses();
    let mut maker = vec![None; graph.values.len()];
    let mut kept: Vec<Node> = Vec::with_capacity(graph.nodes.len());
    for node in std::mem::take(&mut graph.nodes) {
        match fusion(graph, &node, &kept, &maker, &uses) {
            Some((place, bias)) => {
                let name = graph.value(node.output).name.clone();
                let bias = graph.add_constant(&name, bias);
                maker.resize(graph.values.len(), None);
                maker[node.output.0] = Some(place);
                if let Some(product) = kept.get_mut(place) {
                    product.inputs.push(bias);
                    product.output = node.output;
                }
            }
            None => {
                maker[node.output.0] = Some(kept.len());
                kept.push(node);
            }
        }
    }
    graph.nodes = kept;
}

/// The place of the product that `node` adds a bias to, and the bias.
fn fusion(
    graph: &Graph,
    node: &Node,
    kept: &[Node],
    maker: &[Option<usize>],
    uses: &[u32],
) -> Option<(usize, Constant)> {
    let Op::Zip { function: Binary::Add, axes } = &node.op else { return None };
    let [a, b] = node.inputs.as_slice() else { return None };
    let candidate = |product: ValueId, bias: ValueId, flipped: bool| {
        let place = maker[product.0].filter(|_| uses[product.0] == 1)?;
        let Node { op: Op::Dense(dense), inputs, .. } = kept.get(place)? else { return None };
        let free = inputs.len() == 2 && dense.activation == Unary::Identity;
        let bias = row(graph.constant(bias)?.f32s()?, axes, flipped, dense)?;
        free.then_some((place, bias))
    };
    candidate(*a, *b, false).or_else(|| candidate(*b, *a, true))
}

/// The constant as one bias a column, if every row gets the same and the product does not repeat.
fn row(values: &[f32], axes: &[ZipAxis], flipped: bool, dense: &Dense) -> Option<Constant> {
    let sides: Vec<(u32, bool, bool)> = axes
        .iter()
        .map(
            |axis| {
                if flipped { (axis.len, axis.right, axis.left) } else { (axis.len, axis.left, axis.right) }
            },
        )
        .collect();
    let (rows, n) = (dense.rows, dense.n);
    let numbers = match (sides.as_slice(), values) {
        ([(len, true, false)], [value]) if u64::from(*len) == u64::from(rows) * u64::from(n) => {
            vec![*value; n as usize]
        }
        ([(len, true, true)], _) if rows == 1 && *len == n => values.to_vec(),
        ([(outer, true, false), (len, true, true)], _) if *outer == rows && *len == n => values.to_vec(),
        _ => return None,
    };
    (numbers.len() == n as usize).then(|| Constant { shape: vec![n], data: ConstantData::F32(numbers) })
}
